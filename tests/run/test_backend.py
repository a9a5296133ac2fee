"""The build's side of a run: its signals, and how it names what went wrong."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from _ext.run import backend, child, settings


@pytest.mark.parametrize(
    ("exitcode", "log", "expected"),
    [
        (1, 'CPU time: File "plot_x.py", line 7', "it had taken 2 s of CPU time at "),
        (-24, 'Current thread:\n  File "plot_x.py", line 7', "it had taken 2 s of CPU"),
        (1, 'Timeout: File "plot_x.py", line 7', "it was still running at line 7 "),
        (1, 'Timeout (0:00:13)!\n  File "plot_x.py", line 7', "it was still running"),
        (None, "", "it was still running after 20 s and was ended, with less than 2 s"),
        (1, "Traceback: x", "Sphinx-Gallery failed on it.\n\nTraceback: x"),
        (-9, "", "its process was ended by SIGKILL, often for want of memory."),
        (
            -11,
            'File "plot_x.py", line 7',
            "its process was ended by SIGSEGV at line 7.",
        ),
        (-40, "", "its process was ended by signal 40."),
        (3, "", "its process ended by itself with exit status 3."),
    ],
)
def test_cause_of_death(tmp_path, exitcode, log, expected):
    """The exit status and the log of a process say how it ended."""
    (tmp_path / "log").write_text(log, "utf-8")
    source = Path("recipes/plot_x.py")
    job = child.Job(source, "recipes/plot_x.py", tmp_path, source, {}, 2)
    process = SimpleNamespace(exitcode=exitcode)
    assert backend._cause_of_death(process, job).startswith(expected)


@pytest.fixture
def recipe_backend():
    """Make a backend that runs nothing."""
    return backend.RecipeBackend(1, 1, "spawn", SimpleNamespace())


@pytest.fixture
def listening():
    """Ignore none of the signals, as what is run in the background may do."""
    before = {n: signal.signal(n, signal.SIG_DFL) for n in backend.ENDS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("listening")
def test_signals_end_a_build_as_ctrl_c_does(recipe_backend):
    """While recipes run, and not longer."""
    before = [signal.getsignal(number) for number in backend.ENDS]
    recipe_backend.start_call()
    for number in backend.ENDS:
        assert signal.getsignal(number) is signal.default_int_handler
    recipe_backend.terminate()
    assert [signal.getsignal(number) for number in backend.ENDS] == before


def test_ignored_signals_stay_ignored(recipe_backend):
    """As under nohup."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        recipe_backend.start_call()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        recipe_backend.terminate()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_process_that_starts_while_the_build_ends(recipe_backend, tmp_path):
    """It is ended, and not waited for."""
    recipe_backend.aborted = True
    source = Path(tmp_path, "plot_x.py")
    job = child.Job(source, "recipes/plot_x.py", tmp_path, source, {}, 100)
    assert recipe_backend._run(job) == (None, "")
    assert recipe_backend.running == set()


@pytest.mark.parametrize("before", ["7", None])
def test_environment(monkeypatch, before):
    """What recipes are started with is there for as long as it takes."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if before:
        monkeypatch.setenv("OMP_NUM_THREADS", before)
    with contextlib.suppress(InterruptedError), settings.environment():
        assert os.environ["OMP_NUM_THREADS"] == "1"
        raise InterruptedError
    assert os.environ.get("OMP_NUM_THREADS") == before
