"""The answer is of one form, is written once, and each of its lines is proved."""

from __future__ import annotations

import json
import re
import runpy

import pytest
from _ext import answer, gallery, recipe
from conftest import RECIPES, ROOT, needs_chromium

CONF = runpy.run_path(str(ROOT / "conf.py"))

ANSWERED = [path for path in RECIPES if recipe.read(path).answer]

#: The kinds of symptom that are an exception.
FAILS = {"export fails", "run fails", "conversion fails"}

each_answer = pytest.mark.parametrize("path", ANSWERED, ids=lambda path: path.stem)

WHOLE = """\
.. _l-plot-x:

A title
=======

.. answer::
   :cost: Nothing at run
      time.

   The size, 4, is hard-coded in ``reshape``,
   see :func:`torch.reshape`.

   .. code-block:: diff

      -    return x.reshape(4)
      +    return x.reshape(n)
           # a line between

   Not your case?

   * ``constant (1)``: your example:
     :ref:`l-plot-y`.
   * Another one.

.. meta::
   :keywords: sizes
"""


def test_parts_of_an_answer():
    """Cause, change, cost and other causes are read, each as it is shown."""
    found = answer.find(WHOLE)
    assert found.text == "The size, 4, is hard-coded in reshape, see torch.reshape."
    assert found.change == (
        "- return x.reshape(4)",
        "+ return x.reshape(n)",
        "  # a line between",
    )
    assert found.cost == "Nothing at run time."
    assert found.others == (
        "``constant (1)``: your example: :ref:`l-plot-y`.",
        "Another one.",
    )


def test_what_is_left_without_an_answer():
    """The rest of a docstring stays as it is."""
    left = answer.without(WHOLE)
    assert "A title\n=======\n\n.. meta::\n   :keywords: sizes\n" in left
    assert answer.find(left) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (".. code-block:: diff", ".. code-block:: python", "no cause and change"),
        ("   The size", "   One.\n\n   The size", "no cause and change"),
        ("      +    return", "      x    return", "begin each with"),
        ("      +    return x.reshape(n)", "      +x\n" * 10, "give 1 to 10"),
    ],
)
def test_answer_of_another_form(old, new, message):
    """What an answer lacks is said, with the form that it has to have."""
    assert old in WHOLE
    text = WHOLE.replace(old, new)
    with pytest.raises(answer.AnswerError, match=message):
        answer.find(text)


def cells(path):
    """Return the code of each cell, as the page shows it."""
    blocks = [block for block in gallery.blocks(path) if block.type == "code"]
    return [gallery.without_comments(block.content) for block in blocks]


def records(path):
    """Return what the cells did, under each release with which the recipe runs."""
    found = []
    for release in CONF["torch_releases"]:
        place = ROOT / f"_doc/transcripts/{release}/{path.stem}.json"
        record = json.loads(place.read_text("utf-8"))
        if record["status"] == "runs":
            found.append(record["cells"])
    return found


@each_answer
def test_each_line_of_the_change_ran(path):
    """A line that the change adds or removes stands in code of the recipe."""
    left = recipe.read(path).answer.unproved(cells(path))
    assert not left, f"{path.name}: no cell has the line of the answer: {left[0]}"


@each_answer
def test_fix_works(path):
    """The cell of the fix raises nothing and catches nothing, under some releases."""
    number = recipe.read(path).answer.fix(cells(path))
    clean = [
        not run[number]["error"] and not run[number]["caught"] for run in records(path)
    ]
    assert any(clean), f"{path.name}: the fix, cell {number + 1}, works nowhere."


@each_answer
def test_failure_was_caught(path):
    """Where the symptom is an exception, the recipe met it before the fix.

    Or it prints the exception: what fails in a thread is caught by the thread.
    """
    about = recipe.read(path)
    if not FAILS & set(about.tags):
        return
    fix = about.answer.fix(cells(path))
    caught = [cell["caught"] for run in records(path) for cell in run[:fix]]
    lines = [ln for run in records(path) for cell in run for ln in cell["output"]]
    printed = [line for line in lines if re.match(r"\w+Error: ", line)]
    assert any(caught) or printed, f"{path.name}: no cell meets the failure."


#: Windows of a laptop and of a phone, in pixels.
LAPTOP, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def window(browser):
    """Return a window that is used for one page after the other."""
    return browser.new_page()


@needs_chromium
@each_answer
def test_answer_is_seen_without_scrolling(window, html, path):
    """A laptop shows the whole card, a phone the cause and the start of the change."""
    window.goto((html / f"auto_recipes/{path.stem}.html").as_uri())
    for size, last in (LAPTOP, ".answer"), (PHONE, ".answer-change > *"):
        window.set_viewport_size(size)
        box = window.locator(last).first.bounding_box()
        bottom = box["y"] + box["height"]
        assert bottom <= size["height"], f"{path.name}: ends at {bottom} in {size}"
