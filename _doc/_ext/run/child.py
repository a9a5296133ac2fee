"""What happens in the process of a recipe.

A recipe runs in an empty temporary folder, under its bare file name. What torch
prints about source lines is therefore ``plot_exporter_x.py:80``, on every machine. Its
own folder for temporary files, in which AOTInductor unpacks, lies beside that one, like
two logs; all go when the recipe has ended.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import logging
import math
import os
import shutil
import signal
import tempfile
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sphinx.util import logging as sphinx_logging
from sphinx.util.console import strip_escape_sequences

from _ext import files, gallery
from _ext.run import capture, leaks, outcome
from _ext.run.settings import ALARM_GRACE, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path
    from types import FrameType
    from typing import TextIO


@dataclass(frozen=True)
class Job:
    """A recipe to run.

    Attributes
    ----------
    source
        The recipe.
    shown
        Its name for whoever reads a message.
    place
        A temporary folder for all that it needs while it runs.
    target
        Where its copy goes, and beside it the page.
    conf
        Sphinx-Gallery's configuration.
    limit
        The seconds of CPU time that it may take.
    """

    source: Path
    shown: str
    place: Path
    target: Path
    conf: dict[str, Any]
    limit: float


@dataclass(frozen=True)
class Report:
    """What the process says when the recipe has ended.

    Attributes
    ----------
    result
        What Sphinx-Gallery returned.
    logged
        What it logged: level, message and type of each warning.
    leaked
        What the recipe left behind, a sentence each.
    """

    result: gallery.Result
    logged: list[tuple[int, str, str | None]]
    leaked: list[str]


def main(sender: Connection, job: Job) -> None:
    """Run one recipe; the body of its process."""
    if hasattr(os, "setsid"):
        os.setsid()
    source, place, target = job.source, job.place, job.target
    shutil.copyfile(source, place / "run" / source.name)
    os.chdir(place / "run")
    os.environ["TMPDIR"] = tempfile.tempdir = str(place / "tmp")
    # What torch logs goes to a file, which is shown if the process dies.
    os.dup2(os.open(place / "stderr", os.O_WRONLY), 2)
    with (place / "log").open("w", encoding="utf-8") as dump:
        faulthandler.enable(dump)
        try:
            folder_watch = leaks.FolderWatch(source.name)
            before = leaks.Snapshot.take()
            capture.current.start()
            _set_limits(source.name, job.limit, dump)
            with _collected_warnings() as records:
                result = gallery.build(source.name, target.parent, ".", job.conf)
            leaked = before.leaks(leaks.Snapshot.take())
            if leaked:
                alone = leaks.of_imports(source.read_text("utf-8"), leaked)
                leaked = [leak for leak in leaked if leak not in alone]
            leaked += folder_watch.leaks()
            page = target.with_suffix(".rst")
            files.replace(page, capture.shortened(page.read_text("utf-8")))
            outcome.harvest(target, capture.current.cells).write(target)
            logged = _named(records, job)
            sender.send(Report(result, logged, leaked))
        except Exception:
            traceback.print_exc(file=dump)
            raise


def _set_limits(recipe: str, limit: float, dump: TextIO) -> None:
    """End this process when it has taken too long, and leave the line where it was.

    A Python signal handler sees the whole stack, however deep inside torch it is. It
    does not run while compiled code does not return; the kernel or faulthandler then
    ends the process, with the innermost 100 frames.

    Processes that the recipe starts have the kernel's limit each; and all are ended
    with the recipe.
    """
    patience = limit * PATIENCE
    if hasattr(signal, "setitimer"):
        for number, timer, seconds, word in (
            (signal.SIGPROF, signal.ITIMER_PROF, limit, "CPU time"),
            (signal.SIGALRM, signal.ITIMER_REAL, patience, "Timeout"),
        ):
            signal.signal(number, functools.partial(_end, recipe, dump, word))
            signal.setitimer(timer, seconds)
        _set_kernel_limit(limit + ALARM_GRACE, dump)
    faulthandler.dump_traceback_later(patience + ALARM_GRACE, exit=True, file=dump)


def _end(recipe: str, dump: TextIO, word: str, _: int, frame: FrameType | None) -> None:
    """End this process; the body of a signal handler."""
    while frame is not None and frame.f_code.co_filename != recipe:
        frame = frame.f_back
    line = f", line {frame.f_lineno}" if frame else ""
    dump.write(f'{word}: File "{recipe}"{line}')
    dump.flush()
    os._exit(1)


def _set_kernel_limit(seconds: float, dump: TextIO) -> None:
    """Let the kernel end this process after some more seconds of CPU time."""
    import resource  # noqa: PLC0415 (Windows does not have it)

    faulthandler.register(signal.SIGXCPU, dump, chain=True)
    soft = math.ceil(time.process_time() + seconds)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard == resource.RLIM_INFINITY or soft < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


class _Collector(logging.Handler):
    """A handler that keeps what is logged."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append(record)


@contextlib.contextmanager
def _collected_warnings() -> Iterator[list[logging.LogRecord]]:
    """Collect what Sphinx-Gallery logs, for the parent to say it again."""
    handler = _Collector(logging.WARNING)
    root = logging.getLogger(sphinx_logging.NAMESPACE)
    root.addHandler(handler)
    try:
        yield handler.records
    finally:
        root.removeHandler(handler)


def _named(records: list, job: Job) -> list[tuple]:
    """Make log records sendable, with the recipe's name as its author knows it."""
    odd = os.path.relpath(job.source.name, job.conf["src_dir"])
    messages = [strip_escape_sequences(r.getMessage()).strip() for r in records]
    return [
        (r.levelno, message.replace(odd, job.shown), r.type)
        for r, message in zip(records, messages, strict=True)
    ]
