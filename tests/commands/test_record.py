"""Transcripts of other releases: what is recorded, and when it is recorded again."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from _ext import commands
from _ext.commands import nightly, record
from _ext.files import digest
from _ext.recipe import installed_torch
from _ext.releases import recording, transcripts
from _ext.releases.transcripts import PACKAGES
from _ext.run.outcome import Outcome
from conftest import RECIPES, ROOT

RELEASES = commands.all_releases()


@pytest.fixture(scope="module")
def site(make_site):
    """Record a site of recipes that catch, fail and do not apply."""
    return make_site("plot_catches", "plot_newer", "plot_raises", "plot_exits").record()


def transcript(site, name):
    """Return the transcript of a recipe."""
    return json.loads(site.transcript(name).read_text("utf-8"))


def test_caught_exceptions(site):
    """A caught exception is recorded with its type and message, cell by cell."""
    cells = transcript(site, "plot_catches")["cells"]
    (caught,) = cells[0]["caught"]
    assert caught[0] == "RuntimeError"
    assert caught[1] == cells[0]["output"][0]
    assert cells[1]["caught"] == []


def test_stacks_in_messages(site):
    """The frames of a stack inside a message are not recorded."""
    (caught,) = transcript(site, "plot_catches")["cells"][2]["caught"]
    assert caught == ["ValueError", "why\nStack:\nEnd"]


def test_causes_and_warnings(site):
    """What an exception was raised from is noted, and so is a recorded warning."""
    cell = transcript(site, "plot_catches")["cells"][3]
    assert cell["caught"] == [["RuntimeError", "outer"]]
    assert cell["causes"] == [["KeyError", "'inner'"]]
    assert cell["warned"] == [["DeprecationWarning", "look out"]]


def test_recipe_that_does_not_apply(site):
    """A recipe that needs a newer release is not run, and its record says so."""
    record_ = transcript(site, "plot_newer")
    assert (record_["status"], record_["needs"]) == ("does not apply", "99.0")
    assert "sphx-glr-script-out" not in site.page("plot_newer")


def test_recipe_that_fails(site):
    """A recipe that raises is recorded as failing, in the cell where it did."""
    record_ = transcript(site, "plot_raises")
    assert record_["status"] == "fails"
    errors = [cell["error"] for cell in record_["cells"]]
    assert errors == [None, "RuntimeError: as it must"]


def test_recipe_that_dies(site):
    """A recipe that ends its process is recorded with the reason."""
    record_ = transcript(site, "plot_exits")
    assert record_["status"] == "fails"
    assert "exit status 3" in record_["death"]


def test_installed_packages(site):
    """What was installed is recorded once."""
    (path,) = site.folder.glob(f"_doc/transcripts/*/{PACKAGES}")
    installed = json.loads(path.read_text("utf-8"))["installed"]
    assert installed["torch"].startswith(installed_torch())


@pytest.mark.parametrize("name", RELEASES)
def test_all_recipes_are_recorded(name):
    """Each recipe has a current transcript under each release, and none fails."""
    assert record.stale(name, RECIPES) == []
    for path in RECIPES:
        text = (record.TRANSCRIPTS / name / f"{path.stem}.json").read_text("utf-8")
        assert json.loads(text)["status"] in {"runs", "does not apply"}, path.stem


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """Return a recipe and its transcript under a release, both current."""
    folder = tmp_path / "transcripts/2.9.1"
    folder.mkdir(parents=True)
    monkeypatch.setattr(record, "TRANSCRIPTS", folder.parent)
    recipe = tmp_path / "plot_any.py"
    recipe.write_text('"""\nAny\n===\n"""\nimport numpy\n', "utf-8")
    text = {"recipe": digest(recipe.read_text("utf-8"))}
    (folder / "plot_any.json").write_text(json.dumps(text), "utf-8")
    pinned = record.pins(record.requirements("2.9.1"), "3.11.7")
    text = {"python": "3.11.7", "installed": pinned}
    (folder / PACKAGES).write_text(json.dumps(text), "utf-8")
    return recipe, folder


def test_current_transcript_is_kept(recorded):
    """Nothing is run where nothing changed."""
    recipe, _ = recorded
    assert record.stale("2.9.1", [recipe]) == []


def test_edited_recipe_is_stale(recorded):
    """An edited recipe runs again."""
    recipe, _ = recorded
    recipe.write_text(recipe.read_text("utf-8") + "\n", "utf-8")
    assert record.stale("2.9.1", [recipe]) == [recipe]


@pytest.mark.parametrize(
    ("name", "is_stale"), [("numpy", True), ("sphinx-gallery", True), ("pytest", False)]
)
def test_other_package_is_stale(recorded, name, is_stale):
    """Another version of a package concerns the recipes that import it, or all."""
    recipe, folder = recorded
    path = folder / PACKAGES
    text = json.loads(path.read_text("utf-8"))
    text["installed"][name] = "0"
    path.write_text(json.dumps(text), "utf-8")
    assert record.stale("2.9.1", [recipe]) == [recipe] * is_stale


@pytest.mark.parametrize("name", ["numpy", "joblib"])
def test_transcript_knows_better_than_the_list(recorded, name):
    """What a transcript was recorded with counts, where it says so itself."""
    recipe, folder = recorded
    path = folder / "plot_any.json"
    text = json.loads(path.read_text("utf-8"))
    pinned = record.pins(record.requirements("2.9.1"), "3.11.7")
    text |= {"python": "3.11.7", "packages": {**pinned, name: "0"}}
    path.write_text(json.dumps(text), "utf-8")
    assert record.stale("2.9.1", [recipe]) == [recipe]
    text["packages"] = pinned
    path.write_text(json.dumps(text), "utf-8")
    (folder / PACKAGES).write_text('{"python": "3.11.7", "installed": {}}', "utf-8")
    assert record.stale("2.9.1", [recipe]) == []


@pytest.mark.parametrize("says", [False, True])
def test_interrupted_run(monkeypatch, tmp_path, says):
    """After a shard, or Ctrl-C, what was recorded is current and the rest is stale."""
    app = SimpleNamespace(srcdir=tmp_path, confdir=tmp_path / "nowhere")
    release, text = installed_torch(), '"""\nAny\n===\n"""\nimport numpy\n'
    installed = transcripts.installed(text)
    pinned = "\n".join(f"{name}=={version}" for name, version in installed.items())
    monkeypatch.setattr(record, "TRANSCRIPTS", tmp_path / "transcripts")
    monkeypatch.setattr(record, "requirements", lambda _: pinned)
    old = dict.fromkeys(installed, "0")
    recipes = [tmp_path / f"auto_recipes/plot_{i}.py" for i in range(4)]
    for recipe in recipes:
        recipe.parent.mkdir(exist_ok=True)
        recipe.write_text(text, "utf-8")
        path = transcripts.path(tmp_path, recipe.stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        made = transcripts.made(text, Outcome())
        made |= {"packages": old} if says else {}
        if not says:
            del made["packages"], made["python"]
        path.write_text(json.dumps(made), "utf-8")
    packages = json.dumps({"python": "3.11.7", "installed": old})
    path.with_name(PACKAGES).write_text(packages, "utf-8")
    assert record.stale(release, recipes) == recipes
    for recipe in record.shard(recipes, "1/2"):
        Outcome().write(recipe)
        recording._update_transcript(app, recipe)
    recording._write_packages(app)
    assert record.stale(release, recipes) == record.shard(recipes, "2/2")


def test_pins_of_a_python():
    """A transcript is compared with the pins of the Python that it is of."""
    text = 'numpy==2; python_version >= "3.11"\nnumpy==1; python_version < "3.11"\n'
    assert record.pins(text, "3.10.13") == {"numpy": "1"}
    assert record.pins(text, "3.11.7") == {"numpy": "2"}


def test_kept_environment_follows_the_requirements(monkeypatch, tmp_path):
    """An environment that was kept gets what was added to the requirements since."""
    asked = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(record.subprocess, "run", run)
    (tmp_path / "made").write_text("of another day", "utf-8")
    record._environment("2.9.1", tmp_path)
    assert "install" in asked[0]
    assert (tmp_path / "requirements.txt").read_text("utf-8").count("torch==2.9.1")
    record._environment("2.9.1", tmp_path)
    assert len(asked) == 1


def test_requirements_name_the_release():
    """The environment of a release is the site's with that release of torch."""
    assert "\ntorch==2.9.1\n" in record.requirements("2.9.1")


@pytest.mark.parametrize("release", ["2.11.0", "2.12.1", record.NIGHTLY])
def test_requirements_of_newer_recipes_only(release):
    """What no recipe of a release imports is not installed, as it may break others."""
    text = record.requirements(release)
    assert ("torchao==" in text) == (release != "2.11.0")
    assert "transformers==" in text


def test_unknown_release():
    """A release that the site does not know is answered with those it does."""
    with pytest.raises(record.RecordError, match=r"'1.0': give all, or one of 2.6.0"):
        record._releases("1.0")


def test_shards():
    """All shards together are all recipes, each once."""
    recipes = [ROOT / f"plot_{i}.py" for i in range(10)]
    parts = [record.shard(recipes, f"{part}/4") for part in range(1, 5)]
    assert sorted(itertools.chain(*parts)) == sorted(recipes)


@pytest.mark.parametrize("wrong", ["5/4", "0/4", "a", "1/b"])
def test_wrong_shard(wrong):
    """A shard that does not exist is answered with an example."""
    with pytest.raises(record.RecordError, match="give something like 2/4"):
        record.shard([], wrong)


def test_full_disk(monkeypatch, recorded, tmp_path):
    """Where there is no room, nothing is installed, and the message says how much."""
    recipe, _ = recorded
    monkeypatch.setattr(record, "WORK", tmp_path / "work")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(record.RecordError, match=r"1 GiB are free .* needs up to 16"):
        record.record_release("2.9.1", [recipe], keep=False, jobs=1)


def test_failed_installation(monkeypatch, recorded, tmp_path):
    """Where pip fails the message says so, and no environment is left."""
    recipe, _ = recorded
    monkeypatch.setattr(record, "WORK", tmp_path / "work")
    monkeypatch.setattr(record, "requirements", lambda _: "not a requirement at all")
    monkeypatch.setattr(record, "DISK", 0)
    with pytest.raises(record.RecordError, match="pip could not install it"):
        record.record_release("2.9.1", [recipe], keep=False, jobs=1)
    assert not (tmp_path / "work/2.9.1").exists()


def write(folder, *cells, status="runs"):
    """Write a transcript."""
    folder.mkdir()
    text = {"status": status, "cells": list(cells)}
    (folder / "plot_any.json").write_text(json.dumps(text), "utf-8")
    return folder


def cell(*output, caught=()):
    """Return a cell of a transcript."""
    return {"line": 7, "output": list(output), "caught": list(caught), "error": None}


def test_nightly_without_drift(tmp_path):
    """Where the recipes do the same, but for the names of symbols, nothing is said."""
    old = write(tmp_path / "2.15.0", cell("s0"))
    new = write(tmp_path / "2.16.0.dev1", cell("s77"))
    assert not nightly.report(old, new)


def test_nightly_with_drift(tmp_path):
    """Where they do not, the report names recipe, line and what changed."""
    old = write(tmp_path / "2.15.0", cell("no", caught=[["ValueError", "no"]]))
    new = write(tmp_path / "2.16.0.dev1", cell("yes"))
    report = nightly.report(old, new)
    assert "Against torch 2.15.0, torch 2.16.0.dev1 changes" in report
    assert "- `plot_any`, line 7: raises no more: `ValueError: no`" in report


def test_nightly_failure(tmp_path):
    """A recipe that fails now is reported as such."""
    old = write(tmp_path / "2.15.0", cell("ok"))
    new = write(tmp_path / "2.16.0.dev1", cell("ok"), status="fails")
    assert "`plot_any`: runs before, fails now" in nightly.report(old, new)
