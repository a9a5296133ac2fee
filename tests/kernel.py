"""A notebook's kernel, in a process that is forked from one that has imported torch.

It differs from the kernel that Jupyter starts in nothing else. Importing torch, and
what its first export imports, takes longer than most recipes. ``test_recipes.py``
executes the notebooks in it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
from multiprocessing import forkserver
from typing import TYPE_CHECKING

from _ext.run import settings
from ipykernel import kernelapp
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Seconds that a kernel has to start, and to end.
PATIENCE = 60

#: What says where Jupyter keeps its files.
PLACES = (
    "IPYTHONDIR",
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
)


def start_server() -> None:
    """Start the process that kernels are forked from."""
    forkserver.set_forkserver_preload([__name__, "_ext.run.preload"])
    with settings.environment():
        forkserver.ensure_running()


@contextlib.contextmanager
def started(folder: Path, own: Path) -> Iterator[BlockingKernelClient]:
    """Start a kernel in a folder, and end it; what it keeps is in another one."""
    own.mkdir()
    connection, _ = write_connection_file(
        str(own / "kernel.json"), transport="ipc", ip=str(own / "socket")
    )
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_main, args=(folder, own))
    process.start()
    client = BlockingKernelClient(connection_file=connection)
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(PATIENCE)
        yield client
        client.shutdown()
        process.join(PATIENCE)
        assert process.exitcode == 0, (own / "log").read_text("utf-8", "replace")
    finally:
        client.stop_channels()
        process.kill()
        process.join()


def _main(folder: Path, own: Path) -> None:
    """Be a kernel; the body of its process."""
    log = os.open(own / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(folder)
    os.environ |= dict.fromkeys((*PLACES, "TMPDIR"), str(own))
    # A kernel that believes to be tested does not show what compiled code prints.
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    tempfile.tempdir = None
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"
    kernelapp.launch_new_instance(argv=["-f", str(own / "kernel.json"), parent])
