"""What a release changes for a reader: functions of recorded cells alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from _ext.releases.news import news, sentences


class Recipe(SimpleNamespace):
    """A recipe that can be a key, as real ones can."""

    __hash__ = object.__hash__


def cell(*caught, output="", **more):
    """Return what a cell did: the exceptions that it caught, and what it printed."""
    pairs = [tuple(each.split(": ", 1)) for each in caught]
    return {"output": output.splitlines(), "error": None, "caught": pairs} | more


def recipe(old, new, *, works=("old", "new"), may_be_silent=False):
    """Return a recipe with two cells, of which the second is the fix."""
    records = {
        release: SimpleNamespace(state="runs", cells=[did, cell()])
        for release, did in (("old", old), ("new", new))
    }
    return Recipe(
        name="plot_a",
        fix=1,
        problem=range(1),
        records=records,
        may_be_silent=may_be_silent,
        works=lambda: works,
        is_recorded=lambda _: True,
    )


def compare(*args, **more):
    """Return what changes, by kind: the lines, or how many recipes."""
    found = vars(news("old", "new", [recipe(*args, **more)]))
    return {
        kind: list(some) if isinstance(some, dict) else len(some)
        for kind, some in found.items()
        if some and kind not in ("said", "unsaid")
    }


ERROR = "ValueError: batch 4 is constant"


@pytest.mark.parametrize(
    ("old", "new", "more", "expected"),
    [
        (cell(ERROR), cell(ERROR), {}, {}),
        (cell(), cell(ERROR), {}, {"new": [ERROR]}),
        (cell(ERROR), cell(), {}, {"gone": [ERROR]}),
        (cell(ERROR), cell(), {"may_be_silent": True}, {"silent": [ERROR]}),
        (cell(ERROR), cell("TypeError: no"), {}, {"types": [(ERROR, "TypeError: no")]}),
        (cell(), cell(), {"works": ["new"]}, {"works": 1}),
        (cell(), cell(), {"works": ["old"]}, {"broken": 1}),
        (cell(output="1"), cell(output="2"), {}, {"output": 1}),
        # numbers, colors, code, carets and places differ, and nothing else
        (cell(ERROR), cell("ValueError: batch 5 is constant"), {}, {}),
        (cell(ERROR), cell("ValueError: \x1b[96mbatch 4\x1b[0m is constant"), {}, {}),
        (cell(f"{ERROR}\n    ^^^^"), cell(f"{ERROR}\n    ~~^^"), {}, {}),
        (
            cell(f"{ERROR}\n(torch/a.py:1 in f)"),
            cell(f"{ERROR}\n(torch/a.py:2 in f)"),
            {},
            {},
        ),
        (cell(output="  x\n  ^"), cell(output="  x\n  ~"), {}, {}),
        # one of two exceptions is gone: the other is not another one
        (cell(ERROR, "TypeError: no"), cell("TypeError: no"), {}, {"gone": [ERROR]}),
    ],
)
def test_news(old, new, more, expected):
    """Each change is of one kind, and what means nothing is no change."""
    assert compare(old, new, **more) == expected


def test_sentences_that_are_new():
    """A sentence counts once, with all recipes that show it, if no message had it."""
    advice = "Consider to use torch.sym_not() instead."
    found = news("old", "new", [recipe(cell(ERROR), cell(f"{ERROR}\n{advice}"))])
    assert list(found.said) == [advice]
    moved = recipe(
        cell("ValueError: x", f"TypeError: {advice}"), cell(f"ValueError: {advice}")
    )
    assert news("old", "new", [moved]).said == {}


def test_recipe_that_needs_the_release():
    """It is named as that, and its errors are not new ones."""
    newer = recipe(cell(), cell(ERROR))
    newer.records["old"] = SimpleNamespace(state="does not apply", cells=[])
    found = news("old", "new", [newer])
    assert found.applies == [newer]
    assert not found.new


def test_sentences():
    """Prose is split at its ends; code, places and context are no prose."""
    said = """\
Could not guard on it (u0). Consider annotating your code with torch._check().
Caused by: (_export/non_strict_utils.py:1051 in __torch_function__)
    if x.sum() > 0 and this looks like a sentence:
  File "a.py", line 1, in forward with more words than one
  - You marked batch as dynamic but it is 4."""
    assert list(sentences(said).values()) == [
        "Could not guard on it (u0).",
        "Consider annotating your code with torch._check().",
        "You marked batch as dynamic but it is 4.",
    ]
