"""What runs on GitHub: releases are recorded in shards, and put together again."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from _ext import commands
from conftest import ROOT

WORKFLOW = (ROOT / ".github/workflows/transcripts.yml").read_text("utf-8")
BASH = shutil.which("bash") or "/bin/bash"
COMMIT = "git -c user.name=a -c user.email=a@example.org commit -q -m x"


def shell(folder, command):
    """Run a command in a folder."""
    subprocess.run([BASH, "-eu", "-c", command], check=True, cwd=folder)


@pytest.fixture
def checkout(tmp_path):
    """Return a function that makes a checkout with two old transcripts."""
    first = tmp_path / "first"
    (first / "_doc/transcripts/2.9.1").mkdir(parents=True)
    for name in ("plot_a", "plot_b", "packages"):
        (first / f"_doc/transcripts/2.9.1/{name}.json").write_text("old", "utf-8")
    (first / ".github").mkdir()
    shutil.copy(ROOT / ".github/changed-transcripts", first / ".github")
    shell(first, f"git init -q . && git add . && {COMMIT}")

    def clone(name):
        shell(tmp_path, f"git clone -q first {name}")
        return tmp_path / name

    return clone


def collect(root):
    """Call what the workflow calls, and return the folder that it uploads."""
    (command,) = re.findall(r"run: (\.github/changed-\w+ .*)", WORKFLOW)
    (folder,) = re.findall(r"path: (build/.*)", WORKFLOW)
    shell(root, command)
    return root / folder


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_shards_are_put_together(checkout, order):
    """Each shard hands on what it wrote, so that no old file comes back."""
    target = checkout("target") / "_doc/transcripts"
    for name in order:
        root = checkout(f"shard_{name}")
        folder = root / "_doc/transcripts/2.9.1"
        (folder / f"plot_{name}.json").write_text(f"new {name}", "utf-8")
        (folder / f"plot new {name}.json").write_text("first", "utf-8")
        (folder / f"plot_{name}.json.new").write_text("half", "utf-8")
        shutil.copytree(collect(root), target, dirs_exist_ok=True)
    found = {path.name: path.read_text("utf-8") for path in target.rglob("*.json*")}
    assert found == {
        "packages.json": "old",
        "plot_a.json": "new a",
        "plot_b.json": "new b",
        "plot new a.json": "first",
        "plot new b.json": "first",
    }


def test_nothing_changed(checkout):
    """A shard that wrote nothing hands on nothing, and that is no failure."""
    root = checkout("shard")
    (root / "_doc/transcripts/2.9.1/plot_a.json").unlink()
    assert list(collect(root).iterdir()) == []


def test_shards_are_unpacked_where_they_belong():
    """All artifacts are put into the folder that they were taken from."""
    steps = WORKFLOW.partition("  propose:")[2]
    assert "path: _doc/transcripts\n          merge-multiple: true\n" in steps
    assert "if-no-files-found: ignore" in WORKFLOW


def test_releases_to_choose_from():
    """The form for a run by hand offers the releases of conf.py, and no free text."""
    (options,) = re.findall(
        r"type: choice\n(?: .*\n)*? +options:\n((?: +- .*\n)+)", WORKFLOW
    )
    assert re.findall(r"- (.*)", options) == ["all", *commands.all_releases()]
