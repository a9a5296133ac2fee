"""The build's side of a run: a joblib backend that gives each recipe its own process.

Where the platform allows it, that process is forked from a server that has already
imported torch (see :mod:`_ext.run.preload`), so isolation does not cost an import each
time.
What happens in that process is :mod:`_ext.run.child`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joblib.parallel import ParallelBackendBase
from sphinx.util import logging

from _ext import gallery
from _ext.recipe import applies, shown, time_limit
from _ext.run import cache, child, outcome, settings
from _ext.run.settings import EXIT, GRACE, PATIENCE

if TYPE_CHECKING:
    from concurrent.futures import Future

    from sphinx.events import EventManager


logger = logging.getLogger(__name__)


#: Signals that end a build as Ctrl-C does: recipes and their folders go with it.
ENDS = [getattr(signal, n) for n in ("SIGTERM", "SIGHUP") if hasattr(signal, n)]

_ADVICE = "Make it shorter, or set '# sphinx_gallery_time_limit = <seconds>' in it."


class RecipeBackend(ParallelBackendBase):
    """A joblib backend that gives each Sphinx-Gallery example its own process."""

    supports_retrieve_callback = True

    def __init__(
        self,
        jobs: int,
        limit: float,
        start_method: str,
        events: EventManager,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.jobs = jobs
        self.limit = limit
        self.context: Any = multiprocessing.get_context(start_method)
        self.pool = ThreadPoolExecutor(jobs)
        self.lock = threading.Lock()
        self.events = events
        self.running: set[multiprocessing.process.BaseProcess] = set()
        self.aborted = False
        self.handlers: dict[int, Any] = {}

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return how many recipes are handed over at a time, whatever is asked.

        Where that is one, joblib runs it in Sphinx's own process and not here.
        """
        return max(self.jobs, 2)

    def submit(self, func: Any, callback: Any = None) -> Future:
        """Queue one example and call ``callback`` with its future when it is done."""
        ((_, arguments, _),) = func.items
        future = self.pool.submit(self._finish, *arguments)
        future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, future: Future) -> list:
        """Return what joblib expects of a batch: a list of results."""
        return [future.result()]

    def start_call(self) -> None:
        """Let other signals do what Ctrl-C does, where they have their usual effect."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in ENDS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, signal.default_int_handler)
                self.handlers[number] = signal.SIG_DFL

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: FBT001, FBT002 (joblib's signature)
        """End all running recipes, as after Ctrl-C."""
        self.aborted = True
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in list(self.running):
            _kill(process)

    def terminate(self) -> None:
        """Wait for the threads that watched the recipes, which remove the folders."""
        self.pool.shutdown()
        for number in self.handlers:
            signal.signal(number, self.handlers[number])

    def _finish(self, name: str, target_dir: Any, src_dir: Any, conf: dict) -> tuple:
        """Build the page of one recipe, and say that it is there."""
        target = Path(target_dir, name)
        result = self._build(Path(src_dir, name), target, conf)
        self.events.emit("recipe-finished", target)
        return result.as_tuple()

    def _build(self, source: Path, target: Path, conf: dict) -> gallery.Result:
        """Build the page of one recipe; run it where its output is not current."""
        text = source.read_text("utf-8")
        if not applies(text):
            return self._show(source, target, {**conf, "plot_gallery": False})
        if not cache.must_run(target, conf):
            return self._show(source, target, conf)
        limit = time_limit(text, self.limit)
        with tempfile.TemporaryDirectory(prefix="recipe-") as place:
            job = child.Job(source, shown(source), Path(place), target, conf, limit)
            report, death = self._run(job)
        if self.aborted:
            raise InterruptedError(source)
        if report is None:
            return self._report_death(source, target, conf, death)
        return self._conclude(source, target, report)

    def _conclude(
        self, source: Path, target: Path, report: child.Report
    ) -> gallery.Result:
        """Say what went wrong in the process of a recipe, and mark what is whole."""
        for level, message, kind in report.logged:
            logger.log(level, "%s", message, type=kind)
        for leak in report.leaked:
            logger.warning("%s: %s", shown(source), leak, type="recipe.leak")
        result = report.result
        if result.passed:
            seconds = self.events.emit_firstresult("recipe-passed", target)
            if seconds is not None:
                result = result.timed(seconds)
            if not report.leaked:
                cache.mark(target)
        return result

    def _show(self, source: Path, target: Path, conf: dict) -> gallery.Result:
        """Build the page of a recipe that is not executed, or not again."""
        with self.lock:  # Sphinx-Gallery redirects sys.stdout even here
            result = gallery.build(source.name, target.parent, source.parent, conf)
        if not outcome.path(target).exists():
            outcome.harvest(target, {}).write(target)
        return result

    def _run(self, job: child.Job) -> tuple[child.Report | None, str]:
        """Run a recipe in a process and return its report, or how it died."""
        place = job.place
        (place / "run").mkdir()
        (place / "tmp").mkdir()
        (place / "stderr").touch()
        receiver, sender = self.context.Pipe(duplex=False)
        process = self.context.Process(target=child.main, args=(sender, job))
        try:
            with self.lock, settings.environment():
                process.start()
            self.running.add(process)
            sender.close()
            if self.aborted:  # while it started
                return None, ""
            try:
                if receiver.poll(job.limit * PATIENCE + GRACE):
                    report = receiver.recv()
                    # Killed, it would leave its locks to Python's resource tracker,
                    # which warns of them when the build is over.
                    process.join(EXIT)
                    return report, ""
            except EOFError:  # the process ended and sent nothing
                process.join(GRACE)
            logger.info("%s", (place / "stderr").read_text("utf-8", "replace"))
            return None, _cause_of_death(process, job)
        finally:
            _kill(process)
            self.running.discard(process)

    def _report_death(
        self, source: Path, target: Path, conf: dict, death: str
    ) -> gallery.Result:
        """Write the page without outputs, and say why it has none."""
        message = f"{shown(source)} did not finish: {death}"
        logger.warning("%s", message, type="recipe.died")
        result = self._show(source, target, {**conf, "plot_gallery": False})
        outcome.harvest(target, {}, death).write(target)
        gallery.show_death(target.with_suffix(".rst"), message)
        return result.failed(message)


def _kill(process: multiprocessing.process.BaseProcess) -> None:
    """End a recipe together with the processes that it started."""
    if process.pid is None:
        return
    if hasattr(os, "killpg"):
        # The child leads a process group of its own (os.setsid in _ext.run.child).
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _cause_of_death(process: Any, job: child.Job) -> str:
    """Say how a process ended, with the recipe's line where that is known."""
    log = job.place / "log"
    dump = log.read_text("utf-8", "replace") if log.exists() else ""
    line = re.search(rf'File "{re.escape(job.source.name)}", line (\d+)', dump)
    where = f" at line {line[1]}" if line else ""
    if dump.startswith("CPU time") or _is_signal(process.exitcode, "SIGXCPU"):
        return (
            f"it had taken {job.limit:g} s of CPU time{where} and was ended. {_ADVICE}"
        )
    if process.exitcode is None or dump.startswith("Timeout"):
        return (
            f"it was still running{where} after {job.limit * PATIENCE:g} s and was "
            f"ended, with less than {job.limit:g} s of CPU time: it waits for "
            f"something. {_ADVICE}"
        )
    if dump.startswith("Traceback"):
        return f"Sphinx-Gallery failed on it.\n\n{dump}"
    if process.exitcode < 0:
        hint = ", often for want of memory" * _is_signal(process.exitcode, "SIGKILL")
        return f"its process was ended by {_signal(process.exitcode)}{where}{hint}."
    return f"its process ended by itself with exit status {process.exitcode}{where}."


def _is_signal(exitcode: int | None, name: str) -> bool:
    """Tell whether a process was ended by a signal, which a platform may not have."""
    return exitcode is not None and exitcode == -getattr(signal, name, 0) != 0


def _signal(exitcode: int) -> str:
    """Name the signal that ended a process; not all of them have a name."""
    try:
        return signal.Signals(-exitcode).name
    except ValueError:
        return f"signal {-exitcode}"
