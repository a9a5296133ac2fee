"""However a build ends, nothing of it goes on, and what was finished is whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from locks import is_held


def start(site, *options, **environment):
    """Start a build, and do not wait for it."""
    command = [sys.executable, "-m", "sphinx", "-q", "-c", ROOT, "-j", "auto", *options]
    command += ["-d", site.folder / "doctrees", site.folder / "_doc"]
    return subprocess.Popen(
        [*command, site.folder / "html"],
        env={**os.environ, **environment},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=listen,  # noqa: PLW1509 (nothing else runs in it before the build)
    )


def listen():
    """Ignore no signal that tells to end, as what is run in the background does."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def wait_for(condition):
    """Wait until something is there."""
    deadline = time.monotonic() + 300
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal(make_site, tmp_path, number):
    """A build that is told to end leaves no recipe, process or folder behind."""
    held = tmp_path / "held"
    site = make_site("plot_waits")
    with start(site, HELD_BY_A_RECIPE=str(held), TMPDIR=str(tmp_path)) as build:
        wait_for(lambda: held.exists() and is_held(held))
        build.send_signal(number)
        assert build.wait(timeout=120) != 0
    assert not is_held(held)
    assert not list(tmp_path.glob("recipe-*"))


def test_kill(make_site, tmp_path):
    """A build that is killed keeps the recipes that were finished, whole."""
    site, held = make_site("plot_export", "plot_waits"), str(tmp_path / "held")
    options = ["-D", "record_transcripts=1"]
    with start(site, *options, HELD_BY_A_RECIPE=held) as build:
        wanted = "_doc/transcripts/*/plot_export.json"  # the last that is written
        wait_for(lambda: list(site.folder.glob(wanted)))
        os.killpg(build.pid, signal.SIGKILL)
    site.recipe("plot_waits").unlink()
    site.record()
    assert site.returncode == 0, site.log
    assert site.executed() == 0
    assert "relu" in site.page("plot_export")
