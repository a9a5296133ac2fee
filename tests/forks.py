"""Processes that are forked from one that has imported torch.

Importing torch, and what its first export imports, takes longer than most recipes and
than nearly all small problems. The notebooks are executed in such processes, and the
problems of ``test_problems.py``.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING

from _ext.run import settings
from scripts import STREAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Seconds that a script may take.
LIMIT = 300

#: Inductor compiles in the process, without headers that are compiled beforehand, and
#: without trying out what the processor has: both take seconds.
QUICKLY = {
    "compile_threads": 1,
    "cpp.vec_isa_ok": False,
    "aot_inductor.compile_wrapper_opt_level": "O0",
    "aot_inductor.precompile_headers": False,
    "cpp_cache_precompile_headers": False,
}


def start_server(modules: Iterable[str]) -> None:
    """Start the process that others are forked from, which imports these modules."""
    forkserver.set_forkserver_preload([__name__, "kernel", "_ext.run.preload"])
    with settings.environment(modules):
        forkserver.ensure_running()


def start(target: Callable, *arguments: object) -> multiprocessing.Process:
    """Call a function in a new process."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def run(code: str, folder: Path) -> subprocess.CompletedProcess:
    """Run code as a script of its own in a folder, without warnings.

    Raises
    ------
    subprocess.TimeoutExpired
        If it takes longer than ``LIMIT``.
    """
    with tempfile.TemporaryDirectory() as own:
        script = Path(own, "script.py")
        script.write_text(code, "utf-8")
        process = start(_run, script, folder)
        process.join(LIMIT)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(code, LIMIT)
        stdout, stderr = (Path(own, name).read_text("utf-8") for name in STREAMS)
    return subprocess.CompletedProcess(code, process.exitcode, stdout, stderr)


def _run(script: Path, folder: Path) -> None:
    """Be a script; the body of its process."""
    for number, name in enumerate(STREAMS, start=1):
        write_to(script.with_name(name), number)
    os.chdir(folder)
    warnings.simplefilter("ignore")
    compile_quickly()
    sys.argv = [str(script)]
    runpy.run_path(str(script), run_name="__main__")


def compile_quickly() -> None:
    """Let Inductor compile quickly in this process."""
    from torch._inductor import config  # noqa: PLC0415 (the tests do without torch)

    config.patch(QUICKLY).__enter__()


def write_to(path: Path, *streams: int) -> None:
    """Lead some streams of this process into a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    for stream in streams:
        os.dup2(file, stream)
