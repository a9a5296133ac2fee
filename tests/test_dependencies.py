"""A page is read again when what it shows of recipes has changed, and only then."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
from _ext import dependencies, noop
from _ext.find import messages as finder
from _ext.releases.history import Recipe
from conftest import Site
from sphinx.config import Config


@pytest.fixture(scope="module")
def built(recorded, tmp_path_factory):
    """Copy the site with several releases, as it is, and build the copy."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(recorded.folder, folder, dirs_exist_ok=True)
    return Site(folder).build()


@pytest.fixture
def site(built, tmp_path):
    """Return that site, as it was."""
    with built.put_back(tmp_path / "kept") as site:
        yield site


def edit(site, old, new):
    """Change the text of a recipe, build, and return the pages that were read."""
    before = read_at(site)
    path = site.recipe("plot_differs")
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    site.record()
    assert site.returncode == 0, site.log
    after = read_at(site)
    return {name for name in after if after[name] != before.get(name)}


def read_at(site):
    """Return when each page was read."""
    folder = site.folder / "doctrees"
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path.stat().st_mtime_ns
        for path in folder.rglob("*.doctree")
    }


#: What has a recipe's running time, or the zip of all recipes, in it.
ALWAYS = {"auto_recipes/plot_differs", "auto_recipes/index", "sg_execution_times"}


def test_other_words(site):
    """Words that no other page shows: no other page is read again."""
    assert edit(site, "# Silence.", "# Quiet now.") <= ALWAYS


def test_moved_lines(site):
    """The lines of cells are elsewhere: links to cells are what they were."""
    assert edit(site, "# A number.", "# A number.\n# It is large.") <= ALWAYS


def test_title(site):
    """The title is another: lists that show it are read again."""
    assert "releases" in edit(site, "Differ\n======", "Change\n======")
    assert "Change" in (site.folder / "html/releases.html").read_text("utf-8")


def test_transcript(site):
    """A release is recorded: the table is read again, and the recipe's page."""
    before = read_at(site)
    (site.folder / "_doc/transcripts/2.9.1/plot_differs.json").unlink()
    site.build()
    after = read_at(site)
    read = {name for name in after if after[name] != before[name]}
    lists = {name for name in read if name.startswith("releases")}
    assert read - lists == {"auto_recipes/plot_differs"}
    assert "releases" in lists and "releases/2.9" in lists


def test_kind_that_is_no_longer_known(monkeypatch):
    """A page that an older version of this site noted a kind for is read again."""
    monkeypatch.setitem(dependencies._digests, "card", lambda _, of: f"{of} now")
    monkeypatch.setattr(noop, "nothing_changed", lambda _: False)
    shown = {
        "same": {("card", "a"): "a now"},
        "changed": {("card", "b"): "b then"},
        "renamed": {("a kind of old", "a"): "a now"},
        "nothing": {},
    }
    metadata = {page: {"shown": notes} for page, notes in shown.items()}
    env = SimpleNamespace(metadata=metadata | {"plain": {}})
    assert dependencies._find_outdated(None, env) == ["changed", "renamed"]


def test_messages_outlive_an_edit(site):
    """What was recorded for the same code is found where the code is now."""
    config = Config({"torch_releases": ["2.10.0"]})
    config.add("torch_releases", [], "", list)
    config.add("torch_pinned", "2.13", "", str)

    def messages():
        page = site.folder / "_doc/auto_recipes/plot_differs.rst"
        return finder._recipe(Recipe(page, site.folder / "_doc", config))["messages"]

    (before,) = messages()
    edit(site, "# A number.", "# A number.\n# It is large.")
    (after,) = messages()
    assert before["releases"] == after["releases"] == ["2.10", "2.13"]
    assert before["cell"] == after["cell"]
