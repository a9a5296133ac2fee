"""What a recipe prints is what its transcript says, or the build fails."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from _ext.releases import drift, transcripts
from conftest import Site
from sphinx.errors import ConfigError

NAME = "plot_unicode"


def change(path, edit):
    """Edit a transcript."""
    record = json.loads(path.read_text("utf-8"))
    edit(record)
    path.write_text(json.dumps(record), "utf-8")


def test_transcript_holds_each_cell(recorded):
    """A transcript has the outputs of the page, cell by cell."""
    record = json.loads(recorded.transcript(NAME).read_text("utf-8"))
    assert [cell["output"] for cell in record["cells"]] == [
        ["naïve → ∀x ∈ ℝ: 日本語 🔥"],
        ["a       b", "", "  c"],
    ]
    assert [cell["line"] for cell in record["cells"]] == [7, 12]


def test_no_drift(recorded):
    """A build that prints what is recorded says nothing."""
    assert recorded.returncode == 0, recorded.log
    assert ": recorded" not in recorded.log
    assert "no longer prints" not in recorded.log


def test_drift_fails_the_build(recorded, tmp_path):
    """Another output is an error; the times are the recorded ones."""
    shutil.copytree(recorded.folder, tmp_path, dirs_exist_ok=True)
    site = Site(tmp_path)

    def edit(record):
        record["cells"][1]["output"][2] = "  d"
        record["seconds"] = 61.5

    change(site.transcript(NAME), edit)
    site.build()
    assert site.returncode == 1
    assert "recipes/plot_unicode.py no longer prints what _doc/tr" in site.log
    assert "-  d\n+  c" in site.log
    times = (site.folder / "html/sg_execution_times.html").read_text("utf-8")
    assert "01:01.500" in times


@pytest.fixture
def compared(caplog, tmp_path):
    """Return a transcript, and a function that compares its recipe with it.

    The function returns the level and the text of what is said.
    """
    app = SimpleNamespace(srcdir=tmp_path / "_doc", confdir=tmp_path)
    copy = app.srcdir / "auto_recipes/plot_any.py"
    copy.parent.mkdir(parents=True)
    copy.write_text("'''\nAny\n===\n'''\n", "utf-8")
    path = transcripts.path(app.srcdir, copy.stem)
    path.parent.mkdir(parents=True)
    cells = [{"line": 7, "source": "1", "output": ["a"], "caught": [], "error": None}]
    path.write_text(json.dumps({"cells": cells}), "utf-8")
    caplog.set_level("INFO")

    def compare():
        caplog.clear()
        drift.compare(app, copy, cells)
        return "\n".join(f"{r.levelname} {r.getMessage()}" for r in caplog.records)

    return path, compare


def test_same_output(compared):
    """Nothing is said of what is as recorded."""
    _, compare = compared
    assert compare() == ""


def test_difference(compared):
    """A difference is shown with recipe, cell and lines."""
    path, compare = compared
    change(path, lambda record: record["cells"][0].update(output=["b"]))
    said = compare()
    assert said.startswith("WARNING recipes/plot_any.py no longer prints what _doc/tr")
    assert "--- recorded, cell at line 7" in said
    assert "-b\n+a" in said


@pytest.mark.parametrize("where", ["transcript", "packages"])
def test_another_python_is_an_excuse(compared, where):
    """Under another Python than the recorded one a difference is a notice.

    The transcript says which that was, an older one leaves it to the list of packages.
    """
    path, compare = compared
    change(path, lambda record: record["cells"][0].update(output=["b"]))
    if where == "transcript":
        change(path, lambda record: record.update(python="3.1.0", packages={}))
    else:
        text = json.dumps({"python": "3.1.0", "installed": {}})
        path.with_name(transcripts.PACKAGES).write_text(text, "utf-8")
    said = compare()
    assert said.startswith("INFO recipes/plot_any.py prints something else, under Py")
    assert "the transcripts are of Python 3.1." in said
    assert "-b\n" in said


def test_missing_program_is_an_excuse(compared, monkeypatch):
    """Without a program that the recipe names a difference is a notice."""
    path, compare = compared
    change(path, lambda record: record["cells"][0].update(output=["b"]))
    monkeypatch.setattr(transcripts, "missing_program", lambda _: "g++")
    assert "INFO recipes/plot_any.py prints something else, because g++" in compare()


def test_edited_recipe(compared):
    """A transcript of another text is an error that says what to do."""
    path, compare = compared
    change(path, lambda record: record["cells"][0].update(source="2"))
    assert compare().startswith("WARNING recipes/plot_any.py was edited after _doc/tr")


def test_missing_transcript(compared):
    """A recipe without a transcript is an error that says what to do."""
    path, compare = compared
    path.unlink()
    assert "WARNING recipes/plot_any.py has no transcript _doc/tr" in compare()
    assert "plot_any.json: run 'make transcripts'" in compare()


def test_broken_transcript(compared):
    """A transcript that cannot be read is named, with the command to record it anew."""
    path, compare = compared
    path.write_text("{", "utf-8")
    with pytest.raises(ConfigError, match=r"plot_any\.json is not valid JSON") as error:
        compare()
    assert f"make transcripts RELEASE={path.parent.name}'" in str(error.value)


def test_two_releases_with_one_name():
    """Releases that the reader cannot tell apart are an error."""
    config = SimpleNamespace(torch_releases=["2.9.0", "2.9.1"], torch_pinned="2.13")
    with pytest.raises(ConfigError, match="torch_releases names two releases"):
        transcripts.folders(config)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("as everywhere", None),
        ("at 0x7f0123456789", "prints a memory address: at 0x7f0123456789;"),
        (f"in {Path.home()}/x", f"prints a path: in {Path.home()}/x;"),
        (f"in {sys.prefix}/lib", f"prints a path: in {sys.prefix}/lib;"),
        ("in /the/checkout/conf.py", "prints a path: in /the/checkout/conf.py;"),
    ],
)
def test_traces_of_the_machine(caplog, output, said):
    """What would be another output on another machine is named, with its cell."""
    cells = [{"line": 7, "output": ["first", output]}]
    app = SimpleNamespace(confdir="/the/checkout")
    drift.warn_of_machine_traces(app, Path("plot_any.py"), cells)
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == (1 if said else 0)
    for message in found:
        assert message.startswith(f"recipes/plot_any.py: the cell at line 7 {said}")
