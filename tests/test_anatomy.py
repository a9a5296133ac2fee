"""Each recipe has the parts that readers, and the pages around it, rely on."""

from __future__ import annotations

import ast
import functools
import json
import re
import runpy
import sys
from typing import TYPE_CHECKING

import pytest
from _ext import recipe
from _ext.find import topics
from conftest import RECIPES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

CONF = runpy.run_path(str(ROOT / "conf.py"))

#: What a recipe may import besides the standard library, and more by its topic.
PACKAGES = {"numpy", "torch"}
TOPIC_PACKAGES = {
    # It is not in requirements.txt: a recipe uses it where it is installed.
    "after the export": {"executorch"},
    "modules": {"torchao"},
    "onnx": {"onnx", "onnxruntime", "onnxscript", "transformers"},
    "whole models": {"transformers"},
}

#: Labels that are older than the rule.
LABELS = {
    "plot_exporter_exporter_inputs": "l-plot-exporter-nn_modules_inputs",
    "plot_exporter_exporter_with_dynamic_cache": (
        "l-plot-torch-export-with-dynamic-cache-201"
    ),
    "plot_exporter_shapes_lost_dimension": "l-plot-exporter-lost_dynamic_dimension",
}

#: The sections of a recipe, in their order, and those that each has.
SECTIONS = (
    "The problem",
    "The fix",
    "Why it happens",
    "Other fixes",
    "Check",
    "Limitations",
    "Summary",
)
REQUIRED = ("The problem", "The fix", "Why it happens", "Check", "Summary")

#: Exceptions that also mean that the recipe itself is wrong.
BROAD = {"BaseException", "Exception"}

#: Seconds that a recipe may take under the pinned release, recorded beside others.
LONGEST = 30


def each_recipe(check):
    """Make one test of what is checked of each recipe; it names all that are wrong.

    The check of one recipe is its attribute ``check``.
    """

    def test(subtests):
        for path in RECIPES:
            with subtests.test(recipe=path.stem):
                check(path)

    test.__doc__, test.check = check.__doc__, check
    return test


def nodes(path: Path) -> list[ast.AST]:
    """Return all nodes of a recipe."""
    return list(ast.walk(recipe.tree(path.read_text("utf-8"))))


@each_recipe
def test_front(path):
    """A recipe says what it is called, what to do, and how readers look for it."""
    about = recipe.read(path)
    label = LABELS.get(path.stem, path.stem.replace("plot_", "l-plot-", 1))
    if path.stem not in LABELS:
        label = label.replace("_", "-")
    assert about.label == label, f"Begin the docstring with '.. _{label}:'."
    assert len(about.title) <= 72, "Shorten the title to 72 characters."
    assert about.symptom, "Say the symptom in a paragraph under the title."
    if about.answer:
        assert len(about.description.split()) <= 50, (
            "Shorten the cause in the answer to 50 words."
        )
    else:
        assert 20 <= len(about.description) <= 160, (
            "End the docstring with '.. meta::' and a ':description:' of 20 to 160 "
            "characters that says what to do."
        )
    assert len(about.keywords) >= 3, (
        "Give at least three search words in ':keywords:', separated by commas."
    )


@each_recipe
def test_nothing_is_left_to_write(path):
    """A recipe has none of the places that ``make new`` leaves to its author."""
    lines = enumerate(path.read_text("utf-8").splitlines(), 1)
    left = [number for number, line in lines if re.search("[Ww]rite this[:,]", line)]
    assert not left, f"Line {left[0]}: put your own words in place of 'write this'."


@each_recipe
def test_symptom_is_shown(path):
    """A recipe raises its symptom live."""
    tries = [node for node in nodes(path) if isinstance(node, ast.Try)]
    assert any(node.handlers for node in tries), (
        "Show what fails: catch it with try and except, by its type, and print it."
    )


@each_recipe
def test_answer_is_there(path):
    """A recipe has an answer, and its sections in their order."""
    about = recipe.read(path)
    assert about.answer, (
        "Write the directive '.. answer::' under the title: CONTRIBUTING.md says how."
    )
    found = [name for name in headings(path) if name in SECTIONS]
    wanted = [name for name in SECTIONS if name in found]
    assert found == wanted, f"Put the sections in this order: {', '.join(wanted)}."
    missing = [name for name in REQUIRED if name not in found]
    assert not missing, f"It has no section '{missing[0]}'."


def headings(path: Path) -> list[str]:
    """Return the titles of the sections of a recipe."""
    text = path.read_text("utf-8")
    return re.findall(r"^# (\S.*)\n# \+{3,}$", text, re.MULTILINE)


@each_recipe
def test_tags(path):
    """A recipe has one topic, whose page lists it, and a kind of symptom."""
    about = recipe.read(path)
    assert about.tags, (
        "Say above the first import what it is about, for example "
        '# sphinx_gallery_tags = ["inputs", "export fails"]'
    )
    topic, *kinds = about.tags
    assert topic in CONF["recipe_topics"], (
        f"The first tag is the topic: one of {CONF['recipe_topics']}."
    )
    assert kinds, f"Add a kind of symptom: {CONF['recipe_symptoms']}."
    assert set(kinds) <= set(CONF["recipe_symptoms"]), (
        f"The tags after the first are of {CONF['recipe_symptoms']}."
    )
    assert path.stem in topics.listed(ROOT / "_doc", topic), (
        f"Add it to the recipes of _doc/{topics.page(topic)}.rst."
    )


def test_topics_list_each_recipe_once():
    """The pages of the topics list what there is, and nothing twice."""
    listed = [
        name
        for topic in CONF["recipe_topics"]
        for name in topics.listed(ROOT / "_doc", topic)
    ]
    assert sorted(listed) == [path.stem for path in RECIPES]


@each_recipe
def test_exceptions_are_caught_narrowly(path):
    """A recipe catches the exception that it is about, not any."""
    for node in nodes(path):
        if isinstance(node, ast.ExceptHandler):
            names = {ast.unparse(name) for name in _types(node)}
            assert names and not names & BROAD, (
                f"Line {node.lineno}: name the type of the exception that is expected."
            )


def _types(handler: ast.ExceptHandler) -> list[ast.expr]:
    """Return the types that a clause catches."""
    if isinstance(handler.type, ast.Tuple):
        return handler.type.elts
    return [handler.type] if handler.type else []


@each_recipe
def test_no_assertion_where_it_would_be_caught(path):
    """An assertion stands after the try statement, where nothing catches it.

    A comparison that is expected to fail is caught by its exact type.
    """
    for node in nodes(path):
        if isinstance(node, ast.Try) and node.handlers:
            caught = [ast.unparse(name) for h in node.handlers for name in _types(h)]
            if caught == ["AssertionError"] and node.orelse:
                continue
            inside = [found for part in node.body for found in ast.walk(part)]
            lines = [n.lineno for n in inside if _is_assertion(n)]
            assert not lines, (
                f"Line {lines[0]}: move the assertion behind the try statement, or "
                "into its else clause."
            )


def _is_assertion(node: ast.AST) -> bool:
    """Tell whether a node is an assertion or a comparison of tensors."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func).endswith("assert_close")
    return isinstance(node, ast.Assert)


@each_recipe
def test_results_are_compared(path):
    """A recipe compares the program with the model, and asserts what it claims."""
    found = {type(node) for node in nodes(path) if _is_assertion(node)}
    assert ast.Call in found, (
        "Compare the results of program and model with torch.testing.assert_close, on "
        "at least three shapes that were not traced."
    )
    assert ast.Assert in found, "Put an assert behind each claim."


@each_recipe
def test_imports(path):
    """A recipe needs what its reader has: torch, NumPy, the standard library."""
    modules = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.partition(".")[0])
    allowed = PACKAGES | TOPIC_PACKAGES.get(recipe.read(path).tags[0], set())
    others = modules - allowed - sys.stdlib_module_names
    assert not others, (
        f"Do without {', '.join(sorted(others))}, or add it to requirements.txt and to "
        "TOPIC_PACKAGES in this test."
    )


@each_recipe
def test_reader_is_led_on(path):
    """A recipe ends with what to read next."""
    text = path.read_text("utf-8")
    last = text.rpartition("# %%")[2]
    assert re.search(r":(ref|doc):`", last), (
        "End the last cell with 'Next:' and a :ref: to the recipe that readers need "
        "after this one."
    )
    labels = re.findall(r":ref:`(?:[^`<]*<)?([\w-]+)>?`", last)
    unknown = sorted(set(labels) - _labels())
    assert not unknown, (
        f"There is no label {', '.join(unknown)}: take the one in the first line of "
        "the docstring of the recipe that you mean."
    )


@functools.cache
def _labels() -> set[str]:
    """Return the labels of all recipes and pages."""
    paths = [
        *RECIPES,
        *(ROOT / "_doc").glob("*.rst"),
        *(ROOT / "_doc/topics").iterdir(),
    ]
    texts = [path.read_text("utf-8") for path in paths]
    return {
        label
        for text in texts
        for label in re.findall(r"^\.\. _([\w-]+):$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("release", CONF["torch_releases"])
def test_recorded_under_each_release(release, subtests):
    """A recipe runs to its end under each release that has what it needs."""
    for path in RECIPES:
        record = ROOT / f"_doc/transcripts/{release}/{path.stem}.json"
        with subtests.test(recipe=path.stem):
            assert record.exists(), f"Run 'make transcripts RELEASE={release}'."
            found = json.loads(record.read_text("utf-8"))
            assert found["status"] != "fails", (
                f"It fails with torch {release}: catch what this release raises, or "
                "say '# sphinx_gallery_needs_torch'."
            )


@each_recipe
def test_running_time(path):
    """A recipe is fast enough to be run while one reads."""
    (pinned,) = re.findall(
        r"^torch==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE
    )
    record = ROOT / f"_doc/transcripts/{pinned}/{path.stem}.json"
    assert record.exists(), "Run 'make transcripts'."
    seconds = json.loads(record.read_text("utf-8"))["seconds"]
    assert seconds <= LONGEST, f"It took {seconds} s: make the model smaller."
