"""Measure the build of the site and print a table; ``make bench`` runs it.

Builds are compared that were made in turns, because seconds depend on the machine and
on what else it does. All are made in ``build/bench`` from copies of all recipes and
pages, each with a ``conf.py`` that runs the real one and changes only what is said
here; the folder is removed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
import venv
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build/bench"

#: What is installed beside the site's own requirements.
MYST = "myst-nb==1.4.0"

CONF = f'''\
"""The real configuration, with what a benchmark changes."""

__file__ = {str(ROOT / "conf.py")!r}
with open(__file__, encoding="utf-8") as _file:
    exec(compile(_file.read(), __file__, "exec"))
'''

#: Without this site's extensions, that is without isolation. A directive of theirs is
#: an error message in the log then, and costs nothing. There is no matplotlib, which
#: the default image scraper needs; and our templates need our extensions. In one
#: process torch keeps the first recipe's ``__main__`` for all: a quarter of the recipes
#: would end at their first strict export.
WITHOUT_OURS = """
def forget_main(gallery_conf, name):
    if convert := sys.modules.get("torch._dynamo.symbolic_convert"):
        convert._import_module.cache_clear()
    for module in list(sys.modules.values()):
        if "__import___main__" in getattr(module, "__dict__", {}):
            del module.__import___main__


sphinx_gallery_conf["reset_modules"] = (forget_main,)
extensions = [name for name in extensions if not name.startswith("_ext.")]
sphinx_gallery_conf["image_scrapers"] = ()
templates_path = []
"""

PARALLEL = WITHOUT_OURS + 'sphinx_gallery_conf["parallel"] = 2\n'

#: Sphinx alone reads the pages that Sphinx-Gallery wrote. The few directives that it
#: does not know are error messages when the pages are read, and not read again when
#: there is nothing to do: nothing has to be taken out of the pages.
WITHOUT_GALLERY = WITHOUT_OURS + 'extensions.remove("sphinx_gallery.gen_gallery")\n'

NOTEBOOKS = f"""{WITHOUT_GALLERY}
extensions.append("myst_nb")
nb_execution_mode = "force"
nb_execution_timeout = 300
"""

INDEX = """\
Recipes
=======

.. toctree::
   :glob:

   {}
"""

#: A recipe that hardly does anything.
SCRIPT = '''\
"""
.. _l-{name}:

A small one
===========

A page of the benchmark.
"""

print("{name}")
'''


class BenchError(Exception):
    """A build went wrong, so there is nothing to compare."""


@dataclass
class Site:
    """A folder with recipes and pages, and how it is built.

    Attributes
    ----------
    folder
        Where it lies; ``conf.py``, ``recipes``, ``_doc`` and ``build`` are in it.
    python
        The interpreter with Sphinx.
    log
        What the last build printed.
    """

    folder: Path
    python: Path = Path(sys.executable)
    log: str = field(default="", repr=False)

    def empty(self) -> None:
        """Remove all that a build makes."""
        shutil.rmtree(self.folder / "build", ignore_errors=True)
        shutil.rmtree(self.folder / "_doc/auto_recipes", ignore_errors=True)
        (self.folder / "_doc/sg_execution_times.rst").unlink(missing_ok=True)

    def build(self, *options: str, watch: Memory | None = None) -> float:
        """Build it as ``make html`` does, and return the seconds that it took.

        Raises
        ------
        BenchError
            If Sphinx fails.
        """
        command = [str(self.python), "-m", "sphinx", "-c", ".", "-n", "-j", "auto"]
        command += ["-d", "build/doctrees", *options, "_doc", "build/html"]
        with watch or contextlib.nullcontext():
            seconds, status, self.log = run(command, self.folder)
        say(f"  {self.folder.name}: {seconds:.1f} s")
        if status:
            raise BenchError(
                f"{self.folder}: Sphinx ended with {status}:\n{self.tail()}"
            )
        return seconds

    def tail(self) -> str:
        """Return the end of the log."""
        return "\n".join(self.log.splitlines()[-40:])

    def cold(self, *options: str) -> float:
        """Build it from nothing."""
        self.empty()
        return self.build(*options)

    def executed(self) -> tuple[int, int]:
        """Return how many recipes the last build ran to their end, out of how many."""
        found = re.search(r"successfully executed (\d+) out of (\d+)", self.log)
        return (int(found[1]), int(found[2])) if found else (0, 0)


class Memory:
    """Watch how much memory this process's descendants take together.

    Attributes
    ----------
    peak
        The most that was seen, in MiB. A page that several processes share counts once
        (Linux's PSS); 0 where the system does not tell.
    """

    def __init__(self, interval: float = 0.5):
        self.interval = interval
        self.peak = 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _sample(self) -> None:
        while not self.over.wait(self.interval):
            used = sum(_proportional(pid) for pid in descendants(os.getpid()))
            self.peak = max(self.peak, used / 1024)


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that a process started, and those that they started."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name of the command, in brackets, may hold blanks.
            parent = int(path.read_text("utf-8").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    queue = [pid]
    while queue:
        found = children.get(queue.pop(), [])
        queue += found
        yield from found


def _proportional(pid: int) -> int:
    """Return the proportional share of memory of a process in KiB."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8")
    except OSError:  # it ended, or this is not Linux
        return 0
    found = re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def run(command: list[str], folder: Path) -> tuple[float, int, str]:
    """Run a command; return its seconds, its exit status and what it printed."""
    start = time.perf_counter()
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "NO_COLOR": "1"},
        cwd=folder,
        check=False,
        text=True,
        errors="replace",
    )
    return time.perf_counter() - start, done.returncode, done.stdout


def say(text: str) -> None:
    """Tell whoever waits what goes on; the table alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


# -- The sites -------------------------------------------------------------------------


def make_site(name: str, changes: str = "", **rest: Any) -> Site:
    """Make a copy of the site, without what builds put there."""
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    generated = ("_ext", "__pycache__", "auto_recipes", "sg_execution_times.rst")
    ignored = shutil.ignore_patterns(*generated)
    for part in ("_doc", "recipes"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    (folder / "conf.py").write_text(CONF + changes, "utf-8")
    return Site(folder, **rest)


def make_small_site(count: int) -> Site:
    """Make a site of recipes that hardly do anything, and of no other pages."""
    site = make_site(f"small-{count}")
    for path in [*site.folder.rglob("*.rst"), *site.folder.glob("recipes/*.py")]:
        path.unlink()
    shutil.rmtree(site.folder / "_doc/transcripts")
    (site.folder / "recipes/index.rst").write_text(":orphan:\n\nAll\n===\n", "utf-8")
    index = INDEX.format("auto_recipes/plot*")
    (site.folder / "_doc/index.rst").write_text(index, "utf-8")
    for number in range(count):
        name = f"plot_small_{number:04}"
        text = SCRIPT.format(name=name)
        (site.folder / f"recipes/{name}.py").write_text(text, "utf-8")
    return site


def make_plain_sphinx(ours: Site) -> Site:
    """Make a site of the pages that were built, without the gallery."""
    site = make_site("sphinx", WITHOUT_GALLERY)
    shutil.rmtree(site.folder / "_doc")
    shutil.copytree(ours.folder / "_doc", site.folder / "_doc")
    return site


def make_notebooks(serial: Site) -> Site:
    """Make a site of the notebooks that Sphinx-Gallery wrote, for MyST-NB."""
    site = make_site("myst", NOTEBOOKS, python=_environment())
    pages = site.folder / "_doc"
    for path in pages.rglob("*.rst"):
        path.unlink()
    (pages / "notebooks").mkdir()
    for path in (serial.folder / "_doc/auto_recipes").glob("plot_*.ipynb"):
        shutil.copy(path, pages / "notebooks")
    (pages / "index.rst").write_text(INDEX.format("notebooks/*"), "utf-8")
    return site


def _environment() -> Path:
    """Return the interpreter of an environment with MyST-NB; make it first."""
    folder = WORK / "venv"
    python = folder / "bin/python"
    wanted = (ROOT / "requirements.txt").read_text("utf-8") + MYST
    made = folder / "made"
    if made.exists() and made.read_text("utf-8") == wanted:
        return python
    say(f"making an environment with {MYST}")
    venv.create(folder, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", MYST]
    _, status, log = run([*command, "-r", "requirements.txt"], ROOT)
    if status:
        raise BenchError(f"pip could not install MyST-NB; try --without-myst.\n{log}")
    made.write_text(wanted, "utf-8")
    return python


# -- The measurements ------------------------------------------------------------------


def in_turns(rounds: int, **measures: Callable[[], float]) -> dict[str, list[float]]:
    """Take several measurements A B A B, so that all see the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for name, measure in measures.items():
            seconds[name].append(measure())
    return seconds


def ratio(seconds: dict[str, list[float]], one: str, other: str) -> float:
    """Return the median of the ratios of each round."""
    pairs = zip(seconds[one], seconds[other], strict=False)
    return statistics.median(a / b for a, b in pairs)


def compare(
    goal: float, what: str, seconds: dict[str, list[float]], one: str, other: str
) -> tuple[str, ...]:
    """Return the row of a comparison."""
    found = ratio(seconds, one, other)
    times = [statistics.median(seconds[name]) for name in (one, other)]
    row = what, f"{found:.2f}", "{:.1f} s / {:.1f} s".format(*times)
    return (*row, f"≤ {goal:.2f}", _verdict(met=found <= goal))


def _verdict(*, met: bool) -> str:
    return "met" if met else "**not met**"


def cold_builds(ours: Site, given: argparse.Namespace) -> list[tuple[str, ...]]:
    """Compare a build from nothing with those of other tools."""
    say("cold builds")
    serial = make_site("serial", WITHOUT_OURS)
    loky = make_site("loky", PARALLEL)
    seconds = in_turns(given.rounds, ours=ours.cold, serial=serial.cold, loky=loky.cold)
    plain = f"cold build / Sphinx-Gallery, serial{_failed(serial)}"
    joblib = f"cold build / Sphinx-Gallery, joblib's two workers{_failed(loky)}"
    rows = [
        compare(0.6, plain, seconds, "ours", "serial"),
        compare(1.0, joblib, seconds, "ours", "loky"),
    ]
    if given.without_myst:
        return rows
    myst = make_notebooks(serial)
    # Sphinx reads pages, and with them executes notebooks, one by one unless it is told
    # otherwise; the other builds are told.
    seconds = in_turns(
        1, ours=ours.cold, two=myst.cold, one=lambda: myst.cold("-j", "1")
    )
    failed = myst.log.count("Executing notebook failed")
    what = "cold build / MyST-NB, {} at a time"
    what += f" ({failed} of them failed)" if failed else ""
    return [
        *rows,
        compare(0.2, what.format("one notebook"), seconds, "ours", "one"),
        compare(0.2, what.format("two notebooks"), seconds, "ours", "two"),
    ]


def _failed(site: Site) -> str:
    """Say whether recipes disturbed each other in a build without isolation."""
    done, all_ = site.executed()
    if done < all_ / 2:
        raise BenchError(f"{site.folder}: {done} of {all_} recipes ran:\n{site.tail()}")
    return f" ({done} of {all_} recipes ran to their end)" if done < all_ else ""


def warm_builds(ours: Site, given: argparse.Namespace) -> list[tuple[str, ...]]:
    """Compare a build that has nothing to do with one of the same pages alone."""
    say("builds with nothing to do")
    plain = make_plain_sphinx(ours)
    plain.build()
    ours.build()
    seconds = in_turns(given.rounds, ours=ours.build, sphinx=plain.build)
    what = "nothing to do / nothing to do in Sphinx with the same pages"
    return [compare(1.3, what, seconds, "ours", "sphinx")]


def edits(ours: Site, given: argparse.Namespace) -> list[tuple[str, ...]]:
    """Measure a build after the edit of one recipe, without the recipe's own time.

    Its own time is once that of the script when it is run alone, as its author runs it,
    and once that of its cells in the build, where torch is loaded and warm.
    """
    say("builds after an edit")
    recipe = ours.folder / f"recipes/{_median_recipe()}.py"
    notes = ours.folder / f"_doc/auto_recipes/{recipe.stem}.run.json"
    seconds: dict[str, list[float]] = {"build": [], "alone": [], "cells": []}
    for number in range(given.rounds):
        with recipe.open("a", encoding="utf-8") as file:
            file.write(f"\n# %%\n# Edit {number}.\n")
        seconds["build"].append(ours.build())
        seconds["alone"].append(run([sys.executable, recipe.name], recipe.parent)[0])
        cells = json.loads(notes.read_text("utf-8"))["cells"]
        seconds["cells"].append(sum(cell["seconds"] for cell in cells))
    what = "one edited recipe, without its running time "
    return [
        _rest(3, what + "as a script", seconds, "alone"),
        _rest(3, what + "inside the build", seconds, "cells"),
    ]


def _median_recipe() -> str:
    """Return the name of a recipe that takes neither long nor short."""
    release = metadata.version("torch").partition("+")[0]
    folder = ROOT / "_doc/transcripts" / release
    seconds = {
        path.stem: json.loads(path.read_text("utf-8"))["seconds"]
        for path in sorted(folder.glob("plot_*.json"))
    }
    return sorted(seconds, key=seconds.get)[len(seconds) // 2]


def _rest(
    goal: float, what: str, seconds: dict[str, list[float]], less: str
) -> tuple[str, ...]:
    """Return the row of a difference."""
    pairs = zip(seconds["build"], seconds[less], strict=True)
    found = statistics.median(a - b for a, b in pairs)
    times = [statistics.median(seconds[name]) for name in ("build", less)]
    row = what, f"{found:.1f} s", "{:.1f} s - {:.1f} s".format(*times)
    return (*row, f"≤ {goal:.1f} s", _verdict(met=found <= goal))


def growth(counts: list[int]) -> list[tuple[str, ...]]:
    """Build more and more small recipes."""
    rows = []
    for count in counts:
        say(f"{count} small recipes")
        site = make_small_site(count)
        memory = Memory()
        seconds = site.build("-D", "record_transcripts=1", watch=memory)
        each = f"{1000 * seconds / count:.0f} ms"
        rows.append((f"{count}", f"{seconds:.1f} s", each, f"{memory.peak:.0f} MiB"))
        shutil.rmtree(site.folder)
    return rows


# -- The report ------------------------------------------------------------------------


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """Say where and with what the table was made."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("torch", "Sphinx", "sphinx-gallery")
    versions = [f"{name} {metadata.version(name)}" for name in packages]
    return (
        f"{time.strftime('%Y-%m-%d')}, {len(os.sched_getaffinity(0))} cores, "
        f"{memory:.0f} GiB of memory, load {os.getloadavg()[0]:.1f} at the start; "
        f"Python {platform.python_version()}, {', '.join(versions)}"
    )


def report(given: argparse.Namespace) -> str:
    """Measure everything and return the report."""
    where = machine()
    ours = make_site("ours")
    rows = cold_builds(ours, given)
    rows += warm_builds(ours, given)
    rows += edits(ours, given)
    count = len(list((ROOT / "recipes").glob("plot_*.py")))
    rounds = f"Medians of {given.rounds} rounds; one round for {MYST}."
    parts = [f"{where}.", f"{count} recipes. {rounds.replace('==', ' ')}"]
    parts.append(table(("build", "measured", "seconds", "goal", ""), rows))
    if given.growth:
        head = "small recipes", "cold build", "each", "peak memory of all processes"
        parts.append(table(head, growth(given.growth)))
    return "\n\n".join(parts)


def counts(text: str) -> list[int]:
    """Read ``10,100``."""
    return [int(number) for number in text.split(",") if number]


def main() -> int:
    """Print the report; return the exit status."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="builds of each kind")
    parser.add_argument(
        "--growth", type=counts, default="10,100,1000", help="numbers of small recipes"
    )
    parser.add_argument("--without-myst", action="store_true", help="skip MyST-NB")
    parser.add_argument("--keep", action="store_true", help=f"keep {WORK.name}")
    given = parser.parse_args()
    try:
        print(report(given))
    except BenchError as error:
        sys.exit(f"make bench: {error}")
    finally:
        if not given.keep:
            shutil.rmtree(WORK, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
