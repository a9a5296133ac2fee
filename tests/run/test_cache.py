"""An output is reused while nothing changed, and each ingredient counts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from _ext.run import cache
from conftest import ROOT, Site

NAMES = ["plot_export", "plot_unicode"]


@pytest.fixture(scope="module")
def built(make_site):
    """Build a site whose outputs are all current."""
    site = make_site(*NAMES).record()
    assert site.returncode == 0, site.log
    assert site.executed() == len(NAMES)
    return site


@pytest.fixture
def site(built, tmp_path):
    """Copy that site."""
    shutil.copytree(built.folder, tmp_path, dirs_exist_ok=True)
    return Site(tmp_path)


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


def test_edited_recipe_leaves_pictures_of_others(site):
    """A recipe whose name begins with that of the edited one keeps its thumbnail."""
    longer = site.recipe("plot_unicode_longer")
    shutil.copy(site.recipe("plot_unicode"), longer)
    site.record()
    path = site.recipe("plot_unicode")
    path.write_text(path.read_text("utf-8") + "\n# %%\n# More.\n", "utf-8")
    site.record()
    assert site.executed() == 1
    folder = site.folder / "_doc/auto_recipes/images/thumb"
    assert list(folder.glob("sphx_glr_plot_unicode_longer_thumb.*"))


@pytest.mark.parametrize(
    "ingredient", ["text", "python", "packages", "settings", "runner"]
)
def test_changed_ingredient(site, ingredient):
    """A recipe that was run with another ingredient runs again, it alone."""
    path = site.folder / "_doc/auto_recipes/plot_unicode.run.json"
    record = json.loads(path.read_text("utf-8"))
    record["key"][ingredient] = "another"
    path.write_text(json.dumps(record), "utf-8")
    site.build()
    assert site.returncode == 0, site.log
    assert site.executed() == 1
    assert f"plot_unicode.py runs again: changed {ingredient}" in site.log


@pytest.mark.parametrize("suffix", cache.OUTPUTS)
def test_removed_output(site, suffix):
    """A recipe of whose output a part is gone runs again."""
    (site.folder / f"_doc/auto_recipes/plot_unicode{suffix}").unlink()
    site.build()
    assert site.returncode == 0, site.log
    assert site.executed() == 1


def test_removed_recipe(site):
    """Nothing of a recipe that is gone is built, and nothing warns of it."""
    site.recipe("plot_unicode").unlink()
    site.build()
    assert site.returncode == 0, site.log
    assert not list(site.folder.glob("_doc/auto_recipes/*unicode*"))


def test_killed_build(make_site):
    """A build that is killed keeps the recipes that were finished, whole."""
    site = make_site("plot_export", "plot_hangs")
    command = [sys.executable, "-c", _BUILD, str(site.folder)]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as build:
        wanted = "_doc/transcripts/*/plot_export.json"  # the last that is written
        deadline = time.monotonic() + 60
        while not list(site.folder.glob(wanted)) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(build.pid, signal.SIGKILL)
    assert site.transcript("plot_export").exists()
    site.recipe("plot_hangs").unlink()
    site.record()
    assert site.returncode == 0, site.log
    assert site.executed() == 0
    assert "relu" in site.page("plot_export")


_BUILD = """
import sys
from pathlib import Path
from tests.conftest import Site
Site(Path(sys.argv[1])).record()
"""


@pytest.mark.parametrize(
    ("attribute", "value", "changed"),
    [
        ("platform.python_version", lambda: "3.99.0", "python"),
        ("_requirements", lambda _: ("99", []), "packages"),
        ("_runner_digest", lambda: "another", "runner"),
    ],
)
def test_ingredient(monkeypatch, site, attribute, value, changed):
    """Each ingredient on its own makes another record."""
    source = site.recipe("plot_export")
    before = cache.ingredients(source, "")
    monkeypatch.setattr(f"_ext.cache.{attribute}", value)
    after = cache.ingredients(source, "")
    assert [name for name in before if before[name] != after[name]] == [changed]


def test_packages_are_those_that_a_recipe_imports(site):
    """A recipe depends on torch and what torch requires only if it imports torch."""
    exports = cache.ingredients(site.recipe("plot_export"), "")["packages"]
    prints = cache.ingredients(site.recipe("plot_unicode"), "")["packages"]
    assert {"torch", "sympy", "sphinx-gallery"} <= exports.keys()
    assert {"torch", "sympy"}.isdisjoint(prints)
