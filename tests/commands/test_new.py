"""A new recipe begins whole, and what is wrong with one is said in plain words."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
import test_anatomy
from _ext import recipe
from _ext.commands import new, preview
from _ext.find import topics
from conftest import ROOT

NAME = "plot_exporter_shapes_example"


@pytest.fixture
def root(tmp_path):
    """Return a copy of the sources, in which a recipe can be begun."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    shutil.copytree(ROOT / "_doc/topics", tmp_path / "_doc/topics")
    shutil.copytree(ROOT / "_doc/_templates", tmp_path / "_doc/_templates")
    shutil.copy(ROOT / "_doc/addresses.txt", tmp_path / "_doc")
    shutil.copy(ROOT / "_doc/ids.txt", tmp_path / "_doc")
    shutil.copy(ROOT / "conf.py", tmp_path)
    return tmp_path


def test_skeleton_has_the_anatomy(root, monkeypatch):
    """The skeleton passes each check but the one for its author's own words."""
    path, _ = new.create(NAME, root)
    monkeypatch.setattr(test_anatomy, "ROOT", root)
    test_anatomy.test_front.check(path)
    test_anatomy.test_tags.check(path)
    test_anatomy.test_symptom_is_shown.check(path)
    test_anatomy.test_exceptions_are_caught_narrowly.check(path)
    test_anatomy.test_no_assertion_where_it_would_be_caught.check(path)
    test_anatomy.test_results_are_compared.check(path)
    test_anatomy.test_imports.check(path)
    test_anatomy.test_reader_is_led_on.check(path)
    with pytest.raises(AssertionError, match="put your own words"):
        test_anatomy.test_nothing_is_left_to_write.check(path)


def test_skeleton_runs(root):
    """The skeleton runs to its end as a script."""
    path, _ = new.create(NAME, root)
    subprocess.run([sys.executable, path], check=True, cwd=root, capture_output=True)


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("plot_exporter_shapes_example", "dynamic shapes"),
        ("plot_exporter_ops_example", "operators"),
        ("plot_exporter_exporter_example", "start here"),
    ],
)
def test_skeleton_has_the_topic_of_its_name(root, name, topic):
    """The recipe is tagged and listed under the topic that its name says."""
    path, _ = new.create(name, root)
    assert recipe.read(path).tags[0] == topic
    assert topics.listed(root / "_doc", topic)[-1] == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shapes_example", "call it plot_exporter_<topic>_<what>"),
        ("plot_exporter_shapes", "call it plot_exporter_<topic>_<what>"),
        ("plot_exporter_shapes_../x", "call it plot_exporter_<topic>_<what>"),
        ("plot_exporter_shape_example", '"shape" in .* is no topic.*\n.*: start here'),
        ("plot_exporter_shapes_ranges", "exists: edit it"),
    ],
)
def test_wrong_name(root, name, message):
    """A name that no recipe can have is rejected, and nothing is written."""
    before = sorted(root.rglob("*"))
    with pytest.raises(new.RecipeNameError, match=message):
        new.create(name, root)
    assert sorted(root.rglob("*")) == before


def test_recipe_that_was_given_up(root):
    """A recipe that the list still names is no reason not to begin another."""
    path, _ = new.create(NAME, root)
    path.unlink()
    assert new.create(f"{NAME}_2", root)[0].exists()


@pytest.mark.parametrize("there", [False, True])
def test_page_that_was_not_built(monkeypatch, tmp_path, there):
    """The command fails where Sphinx has left the page out."""
    page = tmp_path / "build/recipe/plot_x/html/auto_recipes/plot_x.html"

    def build(_):
        page.parent.mkdir(parents=True)
        if there:
            page.touch()
        return 0

    monkeypatch.setattr(preview, "ROOT", tmp_path)
    monkeypatch.setattr(preview, "all_recipes", lambda: [tmp_path / "plot_x.py"])
    monkeypatch.setattr(preview, "prepare", lambda _: page.parents[2])
    monkeypatch.setattr(preview.subprocess, "call", build)
    assert preview.main(["plot_x", "--once"]) == (0 if there else 1)


def test_page_alone(root):
    """One page is built from links to the recipe and to the transcripts."""
    folder = preview.prepare("plot_exporter_shapes_ranges", root)
    links = {path.name for path in folder.rglob("*") if path.is_symlink()}
    folders = {"transcripts", "inventories", "_templates"}
    assert links == {"plot_exporter_shapes_ranges.py", *folders}


#: What is wrong with a recipe: the check, what is replaced by what, the message.
BROKEN = [
    ("front", ".. _l-plot-", ".. _plot-", "Begin the docstring with '.. _l-plot-"),
    ("front", "Write this: what to do", "Write " * 12, "Shorten the title"),
    ("front", "   Write this: the cause", "   Write" + " so" * 50, "to 50 words"),
    ("front", "write this, Con", "Con;", "at least three search words"),
    ("tags", "# sphinx_gallery_tags", "# gallery_tags", "Say above the first import"),
    ("tags", '["dynamic shapes"', '["shapes"', "The first tag is the topic: one of"),
    ("tags", ', "export fails"]', "]", "Add a kind of symptom"),
    ("tags", '"export fails"]', '"fails"]', "The tags after the first are of"),
    ("answer_is_there", ".. answer::", ".. note::", "Write the directive"),
    ("answer_is_there", "# The fix\n", "# Check\n", "sections in this order"),
    ("answer_is_there", "# Summary\n", "# The end\n", "no section 'Summary'"),
    (
        "exceptions_are_caught_narrowly",
        "torch._dynamo.exc.UserError",
        "Exception",
        r"Line \d+: name the type",
    ),
    (
        "no_assertion_where_it_would_be_caught",
        "    exported(torch.rand(1025, 6))",
        "    assert exported",
        r"Line \d+: move the assertion behind",
    ),
    ("results_are_compared", "assert_close", "close", "torch.testing.assert_close"),
    ("results_are_compared", "\nassert ", "\n0, ", "Put an assert behind each claim"),
    ("imports", "import torch", "import torch, pandas", "Do without pandas"),
    ("reader_is_led_on", ":ref:", "", "End the last cell with 'Next:'"),
    ("reader_is_led_on", ":ref:`l-", ":ref:`m-", "There is no label m-plot-exporter"),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken[3][:40])
def test_broken_recipe(root, monkeypatch, broken):
    """What is wrong with a recipe is named, with the remedy."""
    check, old, wrong, message = broken
    path, _ = new.create(NAME, root)
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, wrong), "utf-8")
    monkeypatch.setattr(test_anatomy, "ROOT", root)
    with pytest.raises(AssertionError, match=re.compile(message, re.DOTALL)):
        getattr(test_anatomy, f"test_{check}").check(path)


def test_recipe_without_a_failure(root):
    """A recipe that catches nothing is told to show what fails."""
    path, _ = new.create(NAME, root)
    text = re.sub(
        "^except .*:$", "finally:", path.read_text("utf-8"), flags=re.MULTILINE
    )
    path.write_text(text, "utf-8")
    with pytest.raises(AssertionError, match="Show what fails"):
        test_anatomy.test_symptom_is_shown.check(path)


def test_unlisted_recipe(root, monkeypatch):
    """A recipe that no topic lists is told which page to edit."""
    path, page = new.create(NAME, root)
    page.write_text(page.read_text("utf-8").replace(f"   {NAME}\n", ""), "utf-8")
    monkeypatch.setattr(test_anatomy, "ROOT", root)
    with pytest.raises(AssertionError, match=r"recipes of _doc/topics/dynamic-shapes"):
        test_anatomy.test_tags.check(path)
