"""What a cell did besides printing is noted, as it is on any machine."""

from __future__ import annotations

import os
import sysconfig
import tempfile

import pytest
from _ext.run import capture


def test_exceptions_that_are_raised_from_each_other():
    """Each of them is noted once."""
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    noted = capture.Capture()
    try:
        raise first
    except ValueError:
        noted._note()
    assert noted.caught == [["ValueError", "first"]]
    assert noted.causes == [["KeyError", "'second'"]]


@pytest.mark.parametrize(
    ("folder", "sep", "text", "expected"),
    [
        ("/lib", "/", 'File "/lib/torch/x.py"', 'File "torch/x.py"'),
        (
            "C:\\lib",
            "\\",
            'File "C:\\lib\\torch\\x.py"',
            'File "torch\\x.py"',
        ),
        (
            "C:\\lib",
            "\\",
            repr(["C:\\lib\\torch\\x.py"]),
            repr(["torch\\x.py"]),
        ),
    ],
)
def test_paths_are_shortened(monkeypatch, folder, sep, text, expected):
    """The folder in which packages are installed is cut off, on Windows too."""
    paths = dict.fromkeys(("purelib", "platlib", "stdlib"), folder)
    monkeypatch.setattr(sysconfig, "get_paths", lambda: paths)
    monkeypatch.setattr(os, "sep", sep)
    assert capture.shortened(text) == expected


def test_command_of_a_compiler_is_left_out(monkeypatch):
    """Its flags are those of this machine, and its files have other names each time."""
    monkeypatch.setattr(tempfile, "tempdir", "/place/tmp")
    command = "C++ compile error\n\nCommand:\n{}\n\nOutput:\n{}a.cpp: no"
    text = command.format("g++ /a.cpp -L/b", "/place/tmp/")
    assert capture.shortened(text) == command.format("(left out)", "")
