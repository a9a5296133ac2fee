"""Each recipe runs alone, from an empty folder, and leaves nothing there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
from _ext.processes import time_limit
from _ext.transcripts import missing_program, release
from conftest import RECIPES, ROOT

#: What torch 2.13 prints on stderr and a recipe cannot help. Look again with a new pin.
EXPECTED_ON_STDERR = {
    "its log, which a failing export writes": r"[EW]\d{4} \d\d:\d\d:\d\d\.\d+ .*",
    "its own use of LeafSpec, when it copies a program": (
        r".*copyreg.py:\d+: FutureWarning: `isinstance\(treespec, LeafSpec\)` .*"
        r"|  return cls.__new__\(cls, \*args\)"
    ),
    "the graph of an export that failed": r"class GraphModule\(|def forward\(| +\S",
    "a traceback that it, or onnxscript, logs": (
        r"--- Logging error ---|Traceback |During handling |Call stack:|Message: |\t"
        r"|Arguments: |[\w.]+Error: |Check the documentation of torch.load"
    ),
    "onnxscript's, where an opset cannot be converted": (
        r"The model version conversion is not |"
        r"Failed to convert the model to the target"
    ),
    "onnxruntime's, of a run that fails": r"\x1b\[(1;31m.*\[E:onnxruntime|m$)",
    "AOTInductor's, of an input that a package refuses": r"Error: input_handles\[",
    "its own, about the list in which an LSTM keeps its weights": (
        r".*UserWarning: The tensor attributes self\.layer\._flat_weights"
    ),
    "its profiler's": r"USDT:.* profiler_st",
}


def unexpected(stderr: str) -> list[str]:
    """Return the lines that no entry above allows."""
    allowed = re.compile("|".join(EXPECTED_ON_STDERR.values()))
    return [
        line for line in stderr.splitlines() if line.strip() and not allowed.match(line)
    ]


def recorded_output(recipe: str) -> str:
    """Return all that a recipe prints, from its transcript."""
    (path,) = ROOT.glob(f"_doc/transcripts/{release()}/{recipe}.json")
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return "\n".join(line for cell in cells for line in cell["output"])


def lines(text: str) -> list[str]:
    """Return the lines of a text, without what a page does not keep: outer spaces."""
    return [line.strip() for line in text.expandtabs().splitlines() if line.strip()]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_runs_as_a_script(path, tmp_path):
    """The script prints what its page shows, is silent on stderr, and leaves no file.

    It runs in a process that has torch from nothing, and so shows that the process
    from which the site's recipes are forked gives nothing away.
    """
    if program := missing_program(path.read_text("utf-8")):
        pytest.skip(f"{program} is not installed; the page shows what it gives.")
    shutil.copy(path, tmp_path)
    done = subprocess.run(
        [sys.executable, path.name],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        text=True,
        timeout=time_limit(path, 120),
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.replace(f"{tmp_path}/", "")
    assert lines(printed) == lines(recorded_output(path.stem))
    assert unexpected(done.stderr) == []
    assert [left.name for left in tmp_path.iterdir()] == [path.name]


def test_there_are_recipes():
    """The two recipes that everything began with keep their addresses."""
    assert {
        "plot_exporter_exporter_inputs",
        "plot_exporter_exporter_with_dynamic_cache",
    } <= {path.stem for path in RECIPES}
