"""Transcripts are written where something changed, whole, and say what with."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from _ext import recipe
from _ext.releases import recording, transcripts
from _ext.run.outcome import Outcome

SOURCE = "'''\nAny\n===\n'''\nimport numpy\n"


@pytest.fixture
def app(caplog, tmp_path):
    """Return what of Sphinx is asked for."""
    caplog.set_level("INFO")
    return SimpleNamespace(srcdir=tmp_path / "_doc", confdir=tmp_path / "nowhere")


@pytest.fixture
def run(app):
    """Return a function that records a run of a recipe, and returns the transcript."""

    def run(*output, source=SOURCE, name="plot_any"):
        copy = app.srcdir / f"auto_recipes/{name}.py"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(source, "utf-8")
        cell = {"line": 5, "source": "1", "output": list(output), "error": None}
        Outcome([{**cell, "caught": [], "seconds": 1.0}], reached=1).write(copy)
        recording._update_transcript(app, copy)
        return transcripts.path(app.srcdir, name)

    return run


def load(path):
    """Return what a file of JSON holds."""
    return json.loads(path.read_text("utf-8"))


def edit(path, **changes):
    """Change a transcript and return its text; None takes an entry out."""
    changed = {**load(path), **changes}
    kept = {key: value for key, value in changed.items() if value is not None}
    path.write_text(json.dumps(kept), "utf-8")
    return path.read_text("utf-8")


def write_packages(path, **installed):
    """Write what was installed when the older transcripts were recorded."""
    packages = {**transcripts.installed(SOURCE), **installed}
    text = {"python": platform.python_version(), "installed": packages}
    place = path.with_name(transcripts.PACKAGES)
    place.write_text(json.dumps(text), "utf-8")
    return place


def test_what_it_was_recorded_with(run):
    """A transcript says the versions of what the recipe imports and of what runs it."""
    found = load(run("a"))
    assert found["python"] == platform.python_version()
    names = ("joblib", "numpy", "sphinx-gallery")
    assert found["packages"] == {name: metadata.version(name) for name in names}


def test_same_again(run, caplog):
    """What is as recorded stays as it is, whatever the time."""
    before = edit(run("a"), seconds=7)
    caplog.clear()
    assert run("a").read_text("utf-8") == before
    assert not caplog.records


def test_older_transcript_stays(run):
    """A transcript is not written to say what the list of packages says already."""
    path = run("a")
    before = edit(path, packages=None, python=None)
    write_packages(path, numpy=f"{metadata.version('numpy')}+cpu")
    assert run("a").read_text("utf-8") == before


@pytest.mark.parametrize("changes", [{"numpy": "0"}, {"joblib": "0"}])
def test_other_versions_are_written(run, changes):
    """The same output under another version is written: it is current again."""
    path = run("a")
    new = load(path)
    edit(path, packages={**new["packages"], **changes})
    assert load(run("a")) == new
    edit(path, packages=None, python=None)
    write_packages(path, **changes)
    assert load(run("a")) == new


@pytest.mark.parametrize(("python", "is_written"), [("3.1.0", True), (None, False)])
def test_another_python_is_written(run, python, is_written):
    """So is another Python, but for the last number of its version."""
    path = run("a")
    same = ".".join([*platform.python_version_tuple()[:2], "99"])
    edit(path, python=python or same)
    assert (load(run("a"))["python"] == platform.python_version()) == is_written


def test_list_of_packages_stays_while_it_is_needed(app, run):
    """Older transcripts go by it, until each of them says itself what it needs."""
    path, other = run("a"), run("b", name="plot_other")
    edit(other, packages=None, python=None)
    place = write_packages(path, numpy="0")
    recording._write_packages(app)
    assert load(place)["installed"]["numpy"] == "0"
    run("b", name="plot_other")
    recording._write_packages(app)
    assert load(place)["installed"]["numpy"] == metadata.version("numpy")
    assert "pytest" in load(place)["installed"]


def test_what_changed_is_shown(run, caplog):
    """Recording anew prints the difference to the old transcript."""
    run("something else")
    assert "plot_any.json: recorded" in caplog.messages[-1]
    run("a")
    assert "recorded anew" in caplog.messages[-1]
    assert "-something else\n+a" in caplog.messages[-1]


NEEDS = f'{SOURCE}# sphinx_gallery_needs_program = "g++"\n'


@pytest.fixture
def without_program(monkeypatch):
    """Return a function that takes the program away."""
    return lambda: monkeypatch.setattr(recipe.shutil, "which", lambda _: None)


def test_transcript_of_a_program_stays(run, caplog, without_program):
    """What a recipe prints without its program is not recorded, and that is said."""
    before = run("compiled", source=NEEDS).read_text("utf-8")
    without_program()
    assert run("no g++ here", source=NEEDS).read_text("utf-8") == before
    (said,) = caplog.records[1:]
    assert said.levelname == "INFO"
    assert said.getMessage() == (
        "recipes/plot_any.py was not recorded, because g++ is not installed; its "
        "transcript stays as it is."
    )


def test_edited_recipe_of_a_program(run, caplog, without_program):
    """Where it has to be recorded, that is a warning that says what to do."""
    before = run("compiled", source=NEEDS).read_text("utf-8")
    without_program()
    assert run("none", source=f"{NEEDS}\n").read_text("utf-8") == before
    assert not run("none", source=NEEDS, name="plot_new").exists()
    for said in caplog.records[1:]:
        assert said.levelname == "WARNING"
        assert "install g++, and run 'make transcripts' again" in said.getMessage()
    assert len(caplog.records) == 3


def test_recipe_that_prints_the_same_without_its_program(run, caplog, without_program):
    """Nothing is said where nothing is lost."""
    run("the same", source=NEEDS)
    without_program()
    caplog.clear()
    run("the same", source=NEEDS)
    assert not caplog.records


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("moments", [("write_text", "write_bytes"), ("replace",)])
def test_killed_while_it_writes(run, monkeypatch, moments):
    """The old transcript is there until the new one is whole."""
    path = run("a")
    before = path.read_text("utf-8")

    def end_halfway(real):
        def end(self, what, *encoding):
            if not self.name.startswith(path.name):
                return real(self, what, *encoding)
            if isinstance(what, (str, bytes)):
                real(self, what[: len(what) // 2], *encoding)
            raise KilledError

        return end

    for moment in moments:
        monkeypatch.setattr(Path, moment, end_halfway(getattr(Path, moment)))
    with pytest.raises(KilledError):
        run("b")
    assert path.read_text("utf-8") == before
