"""All commands are called the same way, and answer a wrong call in one line."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest
from conftest import ROOT

#: The commands, each with what of make calls it and a call that is right but for what
#: is added to it.
COMMANDS = {
    "inventories": ("inventories", []),
    "messages": ("messages", []),
    "new": ("new", ["plot_exporter_shapes_example"]),
    "nightly": ("nightly", []),
    "preview": ("recipe", ["plot_exporter_shapes_ranges"]),
    "record": ("transcripts", ["2.9.1"]),
}


def main(name):
    """Return the function of a command."""
    return importlib.import_module(f"_ext.commands.{name}").main


def test_each_command_is_here():
    """No command is left out of these tests."""
    modules = (ROOT / "_doc/_ext/commands").glob("[a-z]*.py")
    names = {path.stem for path in modules if "\ndef main(" in path.read_text("utf-8")}
    assert names == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name):
    """Each is a module that can be run, and says what it does."""
    command = [sys.executable, "-m", f"_ext.commands.{name}", "--help"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "_doc")}
    done = subprocess.run(command, capture_output=True, check=True, env=env, text=True)
    assert done.stdout.startswith(f"usage: make {COMMANDS[name][0]} ")
    assert f"make {COMMANDS[name][0]}" in done.stdout.partition("\n")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_call(name, capsys):
    """A call with something that is not known has status 2, and does nothing."""
    target, arguments = COMMANDS[name]
    with pytest.raises(SystemExit) as end:
        main(name)([*arguments, "--wrong"])
    assert end.value.code == 2
    said = capsys.readouterr()
    expected = f"make {target}: unrecognized arguments: --wrong\n"
    assert (said.out, said.err) == ("", expected)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("new", [], "the following arguments are required: name"),
        ("new", ["shapes"], 'NAME is "shapes": call it plot_exporter_<topic>_<what>'),
        ("preview", ["plot_nothing"], "there is no recipes/plot_nothing.py"),
        ("record", ["1.0"], "RELEASE is '1.0': give all, or one of 2.6.0"),
        ("record", ["all", "--shard", "3/2"], "SHARD is '3/2': give something like"),
        ("record", ["all", "--jobs", "many"], "argument --jobs: invalid int value"),
    ],
)
def test_what_is_wrong(name, arguments, message, capsys):
    """What is wrong with an argument is said in one line, with what to give instead."""
    with pytest.raises(SystemExit) as end:
        main(name)(arguments)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"make {COMMANDS[name][0]}: {message}")
    assert said.count("\n") == 1
