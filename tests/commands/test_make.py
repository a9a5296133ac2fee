"""The front door answers a wrong call with what to do instead."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


def make(*arguments: str, cwd=ROOT) -> subprocess.CompletedProcess:
    """Run make in the repository."""
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, capture_output=True, check=False, cwd=cwd, text=True)


def script(path, text):
    """Write a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)


@pytest.fixture
def called(tmp_path):
    """Return a function that calls make, and what Python was called with, by words.

    Its environment has a Python that notes its arguments and does nothing.
    """
    noted = tmp_path / "noted"
    script(tmp_path / "venv/bin/python", f"""printf '%s\\n' "$@" >> '{noted}'""")
    (tmp_path / "venv/made").touch()

    def call(*arguments):
        noted.write_text("", "utf-8")
        done = make(*arguments, f"VENV={tmp_path}/venv")
        return done, noted.read_text("utf-8").splitlines()

    return call


def test_help_lists_each_target():
    """All targets are explained."""
    text = make("help").stdout
    for target in (
        "html",
        "zip",
        "test",
        "new",
        "recipe",
        "lint",
        "linkcheck",
        "transcripts",
        "messages",
        "bench",
        "serve",
        "clean",
        "help",
    ):
        assert f"make {target} " in text


@pytest.mark.parametrize("wrong", ["many", "", "1\n2 x", "1; touch x"])
def test_wrong_jobs(wrong):
    """JOBS must be a number."""
    done = make("html", f"JOBS={wrong}")
    assert done.returncode != 0
    assert f'JOBS is "{wrong}": give a number' in done.stderr


@pytest.mark.parametrize("wrong", ["oldest", "lowest newest"])
def test_wrong_sphinx(wrong):
    """SPHINX is one of two words."""
    done = make("html", f"SPHINX={wrong}")
    assert done.returncode != 0
    assert f'SPHINX is "{wrong}": lowest, newest' in done.stderr


def test_wrong_python(tmp_path):
    """PYTHON must exist."""
    done = make("html", "PYTHON=python0.0", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert 'There is no "python0.0"' in done.stderr


def test_old_python(tmp_path):
    """PYTHON must not be too old; here it says that it is."""
    python = tmp_path / "of old/python3.9"
    lie = "import sys; sys.version_info = (3, 9, 18); $2"
    script(python, f'exec "{sys.executable}" -c "{lie}"')
    done = make("html", f"PYTHON={python}", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert f'"{python}" is too old: install Python 3.10' in done.stderr
    assert not (tmp_path / "venv").exists()


def test_other_python(tmp_path):
    """Make says so if the environment that is there is of a different Python."""
    script(tmp_path / "bin/python", "echo Python 3.99.0")
    (tmp_path / "made").touch()
    done = make("html", f"PYTHON={sys.executable}", f"VENV={tmp_path}")
    assert done.returncode != 0
    assert f"{tmp_path} has Python 3.99.0, not {sys.executable}" in done.stderr


def test_link_to_an_environment(tmp_path):
    """An environment that is used through a link is not emptied."""
    script(tmp_path / "others/bin/python", "exit 0")
    (tmp_path / "venv").symlink_to("others")
    python = tmp_path / "python"
    script(python, f'case "$*" in *--clear*) rm -r "{tmp_path}/others";; esac')
    done = make("html", f"PYTHON={python}", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert f"{tmp_path}/venv is a link" in done.stderr
    assert (tmp_path / "others/bin/python").exists()


#: Each ends the word that it is in, or has make expand it, and makes a file.
NOT_TEXT = (
    "x || touch {mark}",
    "x' || touch {mark} || '",
    'x" || touch {mark} || "',
    "x; touch {mark} #",
    "`touch {mark}`",
    "$(touch {mark})",
    "$$(touch {mark})",
    "$(shell touch {mark})",
    "x'\ntouch {mark} #",
)


@pytest.mark.parametrize("value", NOT_TEXT)
@pytest.mark.parametrize(
    "call",
    [
        "new NAME",
        "recipe NAME",
        "recipe NAME=plot_x ONCE",
        "transcripts RELEASE",
        "transcripts RELEASE=all SHARD",
        "transcripts RELEASE=all KEEP",
        "transcripts RELEASE=all JOBS",
        "bench ARGS",
        "messages ARGS",
        "html JOBS",
        "html SPHINX",
        "html PYTHON",
    ],
)
def test_what_is_given_is_not_run(called, monkeypatch, tmp_path, call, value):
    """What a variable has, from the command line or the environment, is text."""
    *target, variable = call.split()
    mark = tmp_path / "mark"
    value = value.format(mark=mark)
    called(*target, f"{variable}={value}")
    assert not mark.exists()
    monkeypatch.setenv(variable, value)
    called(*target)
    assert not mark.exists()


@pytest.mark.parametrize("value", [v for v in NOT_TEXT if "\n" not in v])
def test_what_is_given_arrives(called, tmp_path, value):
    """It reaches the command as it was given."""
    value = value.format(mark=tmp_path / "mark")
    _, words = called("new", f"NAME={value}")
    assert words == ["-m", "_ext.commands.new", "--", value]
    _, words = called("recipe", f"NAME={value}", "ONCE=1")
    assert words == ["-m", "_ext.commands.preview", "--once", "--", value]
    _, words = called("transcripts", f"RELEASE={value}", f"SHARD={value}", "KEEP=1")
    command = ["-m", "_ext.commands.record", "--jobs", "0", "--keep"]
    assert words == [*command, f"--shard={value}", "--", value]
    _, words = called("bench", f"ARGS=--quick {value}")
    assert words == ["tests/bench.py", "--quick", *value.split()]
    _, words = called("messages", f"ARGS=--source {value}")
    assert words == ["-m", "_ext.commands.messages", "--source", *value.split()]


@pytest.mark.parametrize("target", ["new", "recipe"])
def test_name_is_missing(target):
    """The targets for one recipe ask for its name."""
    done = make(target)
    assert done.returncode != 0
    assert f"make {target} NAME=plot_exporter_" in done.stderr


def test_unknown_target():
    """A target that is not there is answered with where to look."""
    done = make("htlm")
    assert done.returncode != 0
    assert "make help" in done.stderr


def test_path_with_a_space(tmp_path):
    """The repository works in a folder with a space; here a copy with one recipe."""
    root = tmp_path / "a b"
    shutil.copytree(ROOT / "tests/site/_doc", root / "_doc")
    for name in ("_ext", "_static", "_templates", "inventories", "releases"):
        shutil.copytree(ROOT / "_doc" / name, root / "_doc" / name)
    (root / "recipes").mkdir()
    for name in ("GALLERY_HEADER.rst", "plot_unicode.py"):
        shutil.copy(ROOT / "tests/site/recipes" / name, root / "recipes")
    for name in ("Makefile", "conf.py", "requirements.txt"):
        shutil.copy2(ROOT / name, root)
    script(root / ".venv/bin/python", f'exec "{sys.executable}" "$@"')
    (root / ".venv/made").touch()
    done = make("transcripts", cwd=root)
    assert done.returncode == 0, done.stderr
    assert (root / "build/html/auto_recipes/plot_unicode.html").exists()
    done = make("zip", cwd=root)
    assert done.returncode == 0, done.stderr
    done = make("transcripts", "RELEASE=1.0", cwd=root)
    assert "RELEASE is '1.0'" in done.stderr
