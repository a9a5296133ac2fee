"""A process that takes too long ends itself, and leaves the line where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

#: Runs code as that of a recipe, with a limit, how much more it has by the clock, and
#: a file for what is left. Compiled code that goes on has little more.
PROCESS = """
import sys
from _ext.run import child
code, limit, child.PATIENCE = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
child.ALARM_GRACE = 0.2
with open(sys.argv[4], "w") as dump:
    child._set_limits("plot_x.py", limit, dump)
    exec(compile(code, "plot_x.py", "exec"))
"""

COMPUTES = "\nwhile True: pass"
SLEEPS = "\nimport time; time.sleep(1000)"
#: Compiled code that does not return: no handler of a signal in Python runs.
STALLS = "import collections, itertools\ncollections.deque(itertools.repeat(0), 0)"


pytestmark = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="Windows counts no CPU time"
)


def run(code, limit, patience, log=os.devnull):
    """Run code as that of a recipe; return the exit status."""
    command = [sys.executable, "-c", PROCESS, code, str(limit), str(patience), log]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "_doc")}
    return subprocess.run(command, env=environment, timeout=300, check=False).returncode


@pytest.mark.parametrize(
    ("code", "limits", "expected"),
    [
        (COMPUTES, (0.5, 1000), 'CPU time: File "plot_x.py", line 2'),
        (SLEEPS, (1, 1), 'Timeout: File "plot_x.py", line 2'),
    ],
)
def test_limit(tmp_path, code, limits, expected):
    """Whether a recipe computes or waits, it says so and has the line."""
    assert run(code, *limits, tmp_path / "log") == 1
    assert (tmp_path / "log").read_text("utf-8") == expected


@pytest.mark.parametrize(
    ("limits", "status", "expected"),
    [
        ((0.5, 1000), -signal.SIGXCPU, "Current thread"),
        ((100, 0.01), 1, "Timeout ("),
    ],
)
def test_limit_of_compiled_code(tmp_path, limits, status, expected):
    """Where Python does not come to see a signal, the process ends all the same."""
    assert run(STALLS, *limits, tmp_path / "log") == status
    log = (tmp_path / "log").read_text("utf-8")
    assert log.startswith(expected)
    assert 'File "plot_x.py", line 2' in log


def test_processes_of_a_recipe():
    """One that a recipe starts and waits for does not compute forever."""
    command = f"[sys.executable, '-c', {COMPUTES!r}]"
    code = f"import subprocess, sys\nsubprocess.run({command})"
    assert run(code, 0.5, 1000) == 0
