"""Run scripts, each in a process that is forked from one that has imported torch.

To import torch, and what its first export imports, takes longer than most recipes. Each
environment has one such process: this file, run by the environment's own Python.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The files that have what a script printed.
STREAMS = ("stdout", "stderr")


class Server:
    """A process that others are forked from.

    Parameters
    ----------
    python
        The Python of an environment.
    environment
        The variables of its environment.
    modules
        What it imports, where it is there.
    """

    def __init__(
        self, python: Path, environment: dict[str, str], modules: list[str]
    ) -> None:
        self.process = subprocess.Popen(
            [python, __file__, *modules],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, script: Path, seconds: float) -> subprocess.CompletedProcess:
        """Run a script in its folder; after these seconds a signal ends it."""
        with tempfile.TemporaryDirectory() as own:
            job = {"script": str(script), "seconds": int(seconds), "own": own}
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
            status = int(self.process.stdout.readline())
            printed = (Path(own, name).read_text("utf-8") for name in STREAMS)
            return subprocess.CompletedProcess([str(script)], status, *printed)

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def _jobs() -> Iterator[dict]:
    """Give each job to a process of its own, and return there."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            yield json.loads(line)
            return
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _run(job: dict) -> None:
    """Be a script; the body of its process."""
    signal.alarm(job["seconds"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in enumerate(STREAMS, start=1):
        file = os.open(Path(job["own"], name), os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
    script = Path(job["script"])
    os.chdir(script.parent)
    sys.argv = [script.name]
    sys.path[0] = str(script.parent)
    runpy.run_path(script.name, run_name="__main__")


if __name__ == "__main__":
    gc.disable()  # as in _ext/run/preload.py
    for module in sys.argv[1:]:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    gc.freeze()
    gc.enable()
    for job in _jobs():
        _run(job)
