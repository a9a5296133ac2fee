"""A notebook's kernel, in a process that is forked from one that has imported torch.

It differs from the kernel that Jupyter starts in nothing else, but that Inductor
compiles quickly: as the recipes do it where their pages do not show it.
``test_recipes.py`` executes the notebooks in it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING

import forks
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


@contextlib.contextmanager
def started(folder: Path, own: Path) -> Iterator[BlockingKernelClient]:
    """Start a kernel in a folder, and end it; what it keeps is in another one."""
    own.mkdir()
    connection, _ = write_connection_file(
        str(own / "kernel.json"), transport="ipc", ip=str(own / "socket")
    )
    process = forks.start(_main, folder, own)
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
    forks.write_to(own / "log", 1, 2)
    os.chdir(folder)
    os.environ |= dict.fromkeys((*PLACES, "TMPDIR"), str(own))
    # A kernel that believes to be tested does not show what compiled code prints.
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    tempfile.tempdir = None
    forks.compile_quickly()
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"
    kernelapp.launch_new_instance(argv=["-f", str(own / "kernel.json"), parent])
