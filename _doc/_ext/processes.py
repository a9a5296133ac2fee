"""A joblib backend that runs each recipe in a process of its own.

Where the platform allows it, that process is forked from a server that has already
imported torch (see :mod:`_ext.warm`) and, for many recipes, exported a small model (see
:mod:`_ext.exercise`), so isolation does not cost an import each time.

A recipe runs in an empty temporary folder, under its bare file name. What torch
prints about source lines is therefore ``plot_exporter_x.py:80``, on every machine. Its
own folder for temporary files, in which AOTInductor unpacks, lies beside that one, like
two logs; all go when the recipe has ended.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import multiprocessing
import os
import re
import shutil
import signal
import sysconfig
import tempfile
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joblib.parallel import ParallelBackendBase
from sphinx.util import logging as sphinx_logging
from sphinx.util.console import strip_escape_sequences
from sphinx_gallery.gen_rst import generate_file_rst
from sphinx_gallery.py_source_parser import extract_file_config

from _ext import capture, freshness, isolation, leaks, transcripts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from multiprocessing.connection import Connection
    from types import FrameType
    from typing import TextIO


logger = sphinx_logging.getLogger(__name__)

#: Seconds beyond a recipe's limit after which compiled code that does not return is
#: ended, and after which the process is killed: it has also to start.
ALARM_GRACE, GRACE = 5, 60

#: Seconds that a process has to end by itself when the recipe has.
EXIT = 1


class RecipeBackend(ParallelBackendBase):
    """A joblib backend that gives each Sphinx-Gallery example its own process."""

    supports_retrieve_callback = True

    def __init__(
        self,
        jobs: int,
        limit: float,
        start_method: str,
        finished: Callable[[Path], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.jobs = jobs
        self.limit = limit
        self.context = multiprocessing.get_context(start_method)
        self.pool = ThreadPoolExecutor(jobs)
        self.lock = threading.Lock()
        self.finished = finished
        self.running: set[multiprocessing.process.BaseProcess] = set()
        self.aborted = False

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return the number of recipes that run side by side, whatever is asked."""
        return self.jobs

    def submit(self, func: Any, callback: Any = None) -> Future:
        """Queue one example and call ``callback`` with its future when it is done."""
        ((_, arguments, _),) = func.items
        future = self.pool.submit(self._finish, *arguments)
        future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, future: Future) -> list:
        """Return what joblib expects of a batch: a list of results."""
        return [future.result()]

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: FBT001, FBT002 (joblib's signature)
        """End all running recipes, as after Ctrl-C."""
        self.aborted = True
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in list(self.running):
            _kill(process)

    def terminate(self) -> None:
        """Wait for the threads that watched the recipes."""
        self.pool.shutdown()

    def _finish(self, name: str, target_dir: Any, src_dir: Any, conf: dict) -> tuple:
        """Build the page of one recipe, and say that it is there."""
        result = self._build(name, target_dir, src_dir, conf)
        self.finished(Path(target_dir, name))
        return result

    def _build(self, name: str, target_dir: Any, src_dir: Any, conf: dict) -> tuple:
        """Build the page of one recipe; run it where its output is not current."""
        target = Path(target_dir, name)
        source = Path(src_dir, name)
        if not transcripts.applies(source.read_text("utf-8")):
            return self._show(source, target, {**conf, "plot_gallery": False})
        if not freshness.must_run(target, conf):
            return self._show(source, target, conf)
        limit = time_limit(source, self.limit)
        with tempfile.TemporaryDirectory(prefix="recipe-") as place:
            job = (source, Path(place), target, conf, limit)
            outcome, death = self._run(job)
        if self.aborted:
            raise InterruptedError(source)
        if outcome is None:
            return self._report_death(source, target, conf, death)
        result, records, leaked = outcome
        for level, message, kind in records:
            logger.log(level, "%s", message, type=kind)
        for leak in leaked:
            logger.warning("%s: %s", _shown(source), leak, type="recipe.leak")
        if "passing" in result[3]:
            seconds = transcripts.settle_time(target, conf["src_dir"], result[2][0])
            result = (*result[:2], (seconds, result[2][1]), result[3])
            if not leaked:
                freshness.mark(target)
        return result

    def _show(self, source: Path, target: Path, conf: dict) -> tuple:
        """Build the page of a recipe that is not executed, or not again."""
        with self.lock:  # Sphinx-Gallery redirects sys.stdout even here
            return generate_file_rst(source.name, target.parent, source.parent, conf)

    def _run(self, job: tuple) -> tuple[tuple | None, str]:
        """Run a recipe in a process and return its outcome, or how it died."""
        place, limit = job[1], job[4]
        (place / "run").mkdir()
        (place / "tmp").mkdir()
        (place / "stderr").touch()
        receiver, sender = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_child, args=(sender, job))
        try:
            with self.lock, isolation.environment():
                process.start()
            self.running.add(process)
            sender.close()
            try:
                if receiver.poll(limit + GRACE):
                    outcome = receiver.recv()
                    # Killed, it would leave its locks to Python's resource tracker,
                    # which warns of them when the build is over.
                    process.join(EXIT)
                    return outcome, ""
            except EOFError:  # the process ended without a word
                process.join(GRACE)
            logger.info("%s", (place / "stderr").read_text("utf-8", "replace"))
            return None, _cause_of_death(process, job)
        finally:
            _kill(process)
            self.running.discard(process)

    def _report_death(
        self, source: Path, target: Path, conf: dict, death: str
    ) -> tuple:
        """Write the page without outputs, and say why it has none."""
        message = f"{_shown(source)} did not finish: {death}"
        logger.warning("%s", message, type="recipe.died")
        transcripts.notes_path(target).write_text(json.dumps({"death": death}), "utf-8")
        result = self._show(source, target, {**conf, "plot_gallery": False})
        page = target.with_suffix(".rst")
        box = f".. error::\n\n   {message}\n\n.. rst-class:: sphx-glr-example-title"
        text = page.read_text("utf-8")
        text = text.replace(".. rst-class:: sphx-glr-example-title", box, 1)
        page.write_text(text, "utf-8")
        result[3]["formatted_exception"] = message
        return result


def time_limit(source: Path, default: float) -> float:
    """Return how many seconds a recipe may take.

    A recipe raises its own limit by a comment: ``# sphinx_gallery_time_limit = 300``.
    """
    conf = extract_file_config(source.read_text("utf-8"))
    return float(conf.get("time_limit", default))


def _shown(source: Path) -> str:
    """Name a recipe the way the reader of a message will look for it."""
    return f"{source.parent.name}/{source.name}"


def _kill(process: multiprocessing.process.BaseProcess) -> None:
    """End a recipe together with the processes that it started."""
    if process.pid is None:
        return
    if hasattr(os, "killpg"):
        # The child leads a process group of its own (os.setsid in _child).
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _cause_of_death(process: Any, job: tuple) -> str:
    """Say how a process ended, with the recipe's line where that is known."""
    source, place, _, _, limit = job
    log = place / "log"
    dump = log.read_text("utf-8", "replace") if log.exists() else ""
    line = re.search(rf'File "{re.escape(source.name)}", line (\d+)', dump)
    where = f" at line {line[1]}" if line else ""
    if process.exitcode is None or dump.startswith("Timeout"):
        return (
            f"it was still running{where} after {limit:g} s and was ended. Make it "
            "shorter, or set '# sphinx_gallery_time_limit = <seconds>' in it."
        )
    if dump.startswith("Traceback"):
        return f"Sphinx-Gallery failed on it.\n\n{dump}"
    if process.exitcode < 0:
        name = signal.Signals(-process.exitcode).name
        hint = ", often for want of memory" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{where}{hint}."
    return f"its process ended by itself with exit status {process.exitcode}{where}."


def _child(sender: Connection, job: tuple) -> None:
    """Run one recipe; the body of its process."""
    if hasattr(os, "setsid"):
        os.setsid()
    source, place, target, conf, limit = job
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
            _set_alarm(source.name, limit, dump)
            with _collected_warnings() as records:
                result = generate_file_rst(source.name, target.parent, ".", conf)
            leaked = before.leaks(leaks.Snapshot.take()) + folder_watch.leaks()
            capture.current.write(transcripts.notes_path(target))
            _strip_prefixes(target.with_suffix(".rst"))
            _strip_prefixes(transcripts.notes_path(target))
            sender.send((result, _named(records, source, conf), leaked))
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
        (r.levelno, message.replace(odd, _shown(source)), r.type)
        for r, message in zip(records, messages, strict=True)
    ]


def _strip_prefixes(page: Path) -> None:
    """Shorten the paths of installed modules, which torch prints in programs.

    ``/any/where/site-packages/torch/x.py`` becomes ``torch/x.py``.
    """
    text = page.read_text("utf-8")
    paths = sysconfig.get_paths()
    for folder in (paths["purelib"], paths["platlib"], paths["stdlib"]):
        text = text.replace(folder + os.sep, "")
    page.write_text(text, "utf-8")
