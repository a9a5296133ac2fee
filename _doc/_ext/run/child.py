"""What happens in the process of a recipe.

A recipe runs in an empty temporary folder, under its bare file name. What torch
prints about source lines is therefore ``plot_exporter_x.py:80``, on every machine. Its
own folder for temporary files, in which AOTInductor unpacks, lies beside that one, like
two logs; all go when the recipe has ended.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import shutil
import signal
import tempfile
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sphinx.util import logging as sphinx_logging
from sphinx.util.console import strip_escape_sequences

from _ext import files, gallery
from _ext.recipe import shown
from _ext.run import capture, leaks, outcome
from _ext.run.settings import ALARM_GRACE

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
    place
        A temporary folder for all that it needs while it runs.
    target
        Where its copy goes, and beside it the page.
    conf
        Sphinx-Gallery's configuration.
    limit
        The seconds that it may take.
    """

    source: Path
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
            _set_alarm(source.name, job.limit, dump)
            with _collected_warnings() as records:
                result = gallery.build(source.name, target.parent, ".", job.conf)
            leaked = before.leaks(leaks.Snapshot.take()) + folder_watch.leaks()
            page = target.with_suffix(".rst")
            files.replace(page, capture.shortened(page.read_text("utf-8")))
            outcome.harvest(target, capture.current.cells).write(target)
            logged = _named(records, source, job.conf)
            sender.send(Report(result, logged, leaked))
        except Exception:
            traceback.print_exc(file=dump)
            raise


def _set_alarm(recipe: str, limit: float, dump: TextIO) -> None:
    """End this process after ``limit`` seconds, and leave the line where it was.

    A Python signal handler sees the whole stack, however deep inside torch it is. It
    does not run while compiled code does not return; faulthandler then ends the
    process, with the innermost 100 frames.
    """

    def on_alarm(_: int, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code.co_filename != recipe:
            frame = frame.f_back
        line = f", line {frame.f_lineno}" if frame else ""
        dump.write(f'Timeout: File "{recipe}"{line}')
        dump.flush()
        os._exit(1)

    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, limit)
    faulthandler.dump_traceback_later(limit + ALARM_GRACE, exit=True, file=dump)


@contextlib.contextmanager
def _collected_warnings() -> Iterator[list[logging.LogRecord]]:
    """Collect what Sphinx-Gallery logs, for the parent to say it again."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append
    root = logging.getLogger(sphinx_logging.NAMESPACE)
    root.addHandler(handler)
    try:
        yield records
    finally:
        root.removeHandler(handler)


def _named(records: list, source: Path, conf: dict) -> list[tuple]:
    """Make log records sendable, with the recipe's name as its author knows it."""
    odd = os.path.relpath(source.name, conf["src_dir"])
    messages = [strip_escape_sequences(r.getMessage()).strip() for r in records]
    return [
        (r.levelno, message.replace(odd, shown(source)), r.type)
        for r, message in zip(records, messages, strict=True)
    ]
