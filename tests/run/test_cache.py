"""An output is reused while nothing changed, and each ingredient counts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from _ext import gallery
from _ext.run import cache
from conftest import ROOT


@pytest.fixture
def site(copy_pair):
    """Return a site whose outputs are all current."""
    return copy_pair()


def test_nothing_changed(site):
    """A second build runs nothing, imports no torch, and warns of nothing."""
    site.build()
    assert site.returncode == 0, site.log
    assert site.executed() == 0


def test_edited_recipe(site):
    """A change of one recipe runs that one; its transcript is out of date then."""
    path = site.recipe("plot_unicode")
    path.write_text(path.read_text("utf-8").replace("naïve", "naive"), "utf-8")
    site.build()
    assert site.executed() == 1
    assert "plot_unicode.py runs again: changed text" in site.log
    assert "recipes/plot_unicode.py was edited after" in site.log


@pytest.fixture
def current(site):
    """Let the output of a recipe in that site be current for this process."""
    source = site.recipe("plot_unicode")
    copy = site.folder / "_doc/auto_recipes/plot_unicode.py"
    record = json.loads(copy.with_suffix(".run.json").read_text("utf-8"))
    record["key"] = cache.ingredients(source, "settings")
    write(copy, record)
    return source, copy


def write(copy, record):
    """Write the record of a run."""
    copy.with_suffix(".run.json").write_text(json.dumps(record), "utf-8")


def is_current(source, copy):
    """Tell whether the output of a recipe is used again."""
    cache._check(source, copy, "settings")
    return gallery.stamp(copy).exists()


def test_ingredients_are_the_same(current):
    """What has not changed does not run again."""
    assert is_current(*current)


@pytest.mark.parametrize(
    "ingredient", ["text", "python", "packages", "programs", "settings", "runner"]
)
def test_changed_ingredient(current, ingredient):
    """A recipe that was run with another ingredient runs again."""
    source, copy = current
    record = json.loads(copy.with_suffix(".run.json").read_text("utf-8"))
    record["key"][ingredient] = "another"
    write(copy, record)
    assert not is_current(source, copy)
    # An interrupted run leaves no record of the one before.
    assert not copy.with_suffix(".run.json").exists()


@pytest.mark.parametrize("suffix", cache.OUTPUTS)
def test_removed_output(current, suffix):
    """A recipe of whose output a part is gone runs again."""
    source, copy = current
    copy.with_suffix(suffix).unlink()
    assert not is_current(source, copy)


@pytest.mark.parametrize("suffix", [".svg", ".gif"])
def test_pictures_that_did_not_change_keep_their_time(current, suffix):
    """Sphinx reads no page again for them, and an old thumbnail is not in the way."""
    source, copy = current
    picture = copy.parent / "images/sphx_glr_plot_unicode_001.svg"
    changed = copy.parent / "images/sphx_glr_plot_unicode_002.svg"
    thumbnail = copy.parent / f"images/thumb/sphx_glr_plot_unicode_thumb{suffix}"
    times = {picture: 1_000, changed: 2_000, thumbnail: 3_000}
    for path, seconds in times.items():
        path.write_text("before", "utf-8")
        os.utime(path, (seconds, seconds))
    gallery.stamp(copy).unlink()
    copy.with_suffix(".run.json").unlink()
    assert not is_current(source, copy)
    assert not thumbnail.exists()
    for path in times:
        path.write_text("before" if path != changed else "after", "utf-8")
    cache._restore_times(SimpleNamespace())
    kept = [path for path in times if path.stat().st_mtime == times[path]]
    assert kept == [picture, thumbnail]


def test_removed_recipe(site):
    """Nothing of a recipe that is gone is built, and nothing warns of it."""
    site.recipe("plot_unicode").unlink()
    site.build()
    assert site.returncode == 0, site.log
    assert not list(site.folder.glob("_doc/auto_recipes/*unicode*"))


def test_program_is_installed(make_site, tmp_path, monkeypatch):
    """A recipe runs again when a program that it needs goes, and when it is there."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    program = tmp_path / "program-of-the-cookbook"
    program.write_text("", "utf-8")
    program.chmod(0o755)
    site = make_site("plot_program").record()
    hidden = program.rename(tmp_path / "hidden")
    for there, shown in ((False, "False"), (True, "True")):
        if there:
            hidden.rename(program)
        site.build()
        assert site.returncode == 0, site.log
        assert "plot_program.py runs again: changed programs" in site.log
        assert shown in site.page("plot_program")


@pytest.mark.parametrize(
    ("attribute", "value", "changed"),
    [
        ("platform.python_version", lambda: "3.99.0", "python"),
        ("_requirements", lambda _: ("99", []), "packages"),
        ("_runner_digest", lambda: "another", "runner"),
        ("shutil.which", lambda _: "/another", "programs"),
    ],
)
def test_ingredient(monkeypatch, attribute, value, changed):
    """Each ingredient on its own makes another record."""
    source = ROOT / "tests/site/recipes/plot_program.py"
    before = cache.ingredients(source, "")
    monkeypatch.setattr(f"_ext.run.cache.{attribute}", value)
    after = cache.ingredients(source, "")
    assert [name for name in before if before[name] != after[name]] == [changed]


CONF = {
    "recommender": {"enable": True, "n_examples": 4},
    "within_subsection_order": "FileNameSortKey",
    "prefer_full_module": {0, 8},  # its order is that in which they were added
    "line_numbers": True,
}


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({}, False),
        ({"prefer_full_module": {8, 0}}, False),
        ({"recommender": {"enable": True, "n_examples": 5}}, False),
        ({"within_subsection_order": "FileSizeSortKey"}, False),
        ({"only_warn_on_example_error": True}, False),
        ({"recommender": {"enable": False, "n_examples": 4}}, True),
        ({"line_numbers": False}, True),
        ({"capture_repr": ()}, True),
        ({"a_setting_of_a_later_release": 1}, True),
    ],
)
def test_settings(change, counts):
    """Those count that change what a recipe prints or what is on its page."""
    assert (cache.relevant(CONF) != cache.relevant({**CONF, **change})) is counts


@pytest.mark.parametrize("name", cache.RUNNER_MODULES)
def test_module_that_runs_recipes(monkeypatch, name):
    """A change of any of them is one of the ingredients."""
    before = cache._runner_digest.__wrapped__()
    changed = Path(cache.__file__).parents[1] / name
    read = Path.read_text

    def read_changed(path, *arguments):
        return read(path, *arguments) + "\n" * (path == changed)

    monkeypatch.setattr(Path, "read_text", read_changed)
    assert cache._runner_digest.__wrapped__() != before


def test_packages_are_those_that_a_recipe_imports():
    """A recipe depends on torch and what torch requires only if it imports torch."""
    folder = ROOT / "tests/site/recipes"
    exports = cache.ingredients(folder / "plot_export.py", "")["packages"]
    prints = cache.ingredients(folder / "plot_unicode.py", "")["packages"]
    assert {"torch", "sympy", "sphinx-gallery"} <= exports.keys()
    assert {"torch", "sympy"}.isdisjoint(prints)
