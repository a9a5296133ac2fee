"""The front door answers a wrong call with what to do instead."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


def make(*arguments: str) -> subprocess.CompletedProcess:
    """Run make in the repository."""
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command, capture_output=True, check=False, cwd=ROOT, text=True
    )


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
        "bench",
        "serve",
        "clean",
        "help",
    ):
        assert f"make {target} " in text


def test_wrong_jobs():
    """JOBS must be a number."""
    done = make("html", "JOBS=many")
    assert done.returncode != 0
    assert 'JOBS is "many": give a number' in done.stderr


def test_wrong_python(tmp_path):
    """PYTHON must exist."""
    done = make("html", "PYTHON=python0.0", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert 'There is no "python0.0"' in done.stderr


def test_old_python(tmp_path):
    """PYTHON must not be too old; here it says that it is."""
    python = tmp_path / "python3.9"
    lie = "import sys; sys.version_info = (3, 9, 18); $2"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{lie}"\n', "utf-8")
    python.chmod(0o755)
    done = make("html", f"PYTHON={python}", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert f'"{python}" is too old: install Python 3.10' in done.stderr
    assert not (tmp_path / "venv").exists()


def test_other_python(tmp_path):
    """An environment that is there is not of another Python without a word."""
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho Python 3.99.0\n", "utf-8")
    python.chmod(0o755)
    (tmp_path / "made").touch()
    done = make("html", f"PYTHON={sys.executable}", f"VENV={tmp_path}")
    assert done.returncode != 0
    assert f"{tmp_path} has Python 3.99.0, not {sys.executable}" in done.stderr


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
