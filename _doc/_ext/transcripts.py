"""Keep what each recipe printed, and notice when it prints something else.

A transcript is ``_doc/transcripts/<release of torch>/<recipe>.json``. It is harvested
from the page that Sphinx-Gallery wrote, so a recorded output and a live one can be
compared letter by letter. Nothing in an output is normalised: a recipe runs under its
bare file name, and the paths of installed modules are cut off before the page is
written (see :mod:`_ext.processes`), so there is nothing left that may vary.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import textwrap
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name
from packaging.version import Version
from sphinx.errors import ConfigError
from sphinx.util import logging
from sphinx_gallery.gen_rst import TIMING_CONTENT, executable_script
from sphinx_gallery.py_source_parser import (
    extract_file_config,
    split_code_and_text_blocks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.config import Config

logger = logging.getLogger(__name__)

#: The file beside the transcripts of a release that says what was installed.
PACKAGES = "packages.json"

#: What a cell may have noted, each a list of types and messages.
NOTED = ("caught", "causes", "warned")

_CELL = re.compile(
    r"^\.\. GENERATED FROM PYTHON SOURCE LINES (\d+)-\d+\n", re.MULTILINE
)
_OUTPUT = re.compile(
    r"^\.\. rst-class:: sphx-glr-script-out\n\n"
    r" ?\.\. code-block:: (?P<kind>none|pytb)\n\n"
    r"(?P<text>(?: {4}.*\n|[ \t]*\n)+)",
    re.MULTILINE,
)
_TIME = re.compile(r"\n\.\. rst-class:: sphx-glr-timing\n\n   .*\n\n")
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")


@functools.cache
def release() -> str:
    """Return the installed release of torch, without importing it."""
    return metadata.version("torch").partition("+")[0]


def harvest(page: Path) -> list[dict[str, Any]]:
    """Return the code cells of a recipe with what they did.

    Parameters
    ----------
    page
        The reStructuredText that Sphinx-Gallery wrote, beside its copy of the recipe.

    Returns
    -------
    list of dict
        For each cell ``line`` (its first line in the recipe), ``source`` (a digest of
        its code), ``output`` (a list of lines), ``caught`` (the exceptions that it
        caught, each with type and message), ``error`` (the last line of the traceback
        where it raised, or None) and ``seconds`` (its time). Where there are any,
        ``causes`` has what the exceptions were raised from, ``warned`` the warnings.
    """
    _, blocks = split_code_and_text_blocks(page.with_suffix(".py"))
    pieces = _CELL.split(page.read_text("utf-8"))
    bodies = dict(zip(map(int, pieces[1::2]), pieces[2::2], strict=True))
    notes = load(notes_path(page)) or {}
    idle = {"caught": [], "seconds": 0.0}
    return [
        {
            "line": block.lineno,
            "source": digest(block.content),
            **_output(bodies.get(block.lineno, "")),
            **notes.get(str(block.lineno), idle),
        }
        for block in blocks
        if block.type == "code"
    ]


def notes_path(target: Path) -> Path:
    """Return where :mod:`_ext.capture` notes what the cells of a recipe did."""
    return target.with_suffix(".cells.json")


def digest(text: str) -> str:
    """Return a short fingerprint of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _output(body: str) -> dict[str, Any]:
    """Return the output of a cell, and the error that ended it."""
    found = _OUTPUT.search(body)
    if found is None:
        return {"output": [], "error": None}
    text = textwrap.dedent(found["text"]).strip("\n")
    lines = [line.rstrip() for line in text.splitlines()]
    return {"output": lines, "error": lines[-1] if found["kind"] == "pytb" else None}


def transcript_path(srcdir: Any, recipe: str, folder: str | None = None) -> Path:
    """Return where a transcript lies; the folder is that of the installed release."""
    return Path(srcdir, "transcripts", folder or release(), f"{recipe}.json")


def load(path: Path) -> dict[str, Any] | None:
    """Return what a file of JSON holds, or None where there is no such file.

    Raises
    ------
    ConfigError
        If it does not hold JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ConfigError(
            f"{path} is not valid JSON ({error}): remove it, and run 'make "
            f"transcripts RELEASE={path.parent.name}', or without RELEASE if it is of "
            "the pinned release."
        ) from None


def settle_time(target: Path, srcdir: Any, measured: float) -> float:
    """Show the recorded running time of a recipe instead of the measured one.

    A measured time differs in each build, and the pages of two builds would too. The
    time in the transcript says the same to the reader: how long the recipe takes.

    Returns
    -------
    float
        Seconds: the recorded time, or the measured one where nothing is recorded.
    """
    record = load(transcript_path(srcdir, target.stem))
    seconds = record["seconds"] if record else measured
    timing = TIMING_CONTENT.format(*divmod(seconds, 60))
    _rewrite(target.with_suffix(".rst"), lambda text: _TIME.sub(lambda _: timing, text))
    cost = target.with_name(f"{target.stem}.cost.json")
    _rewrite(cost, lambda text: json.dumps({**json.loads(text), "time": seconds}))
    return seconds


def _rewrite(path: Path, change: Any) -> None:
    """Change a file, touching it only where its text becomes another."""
    old = path.read_text("utf-8")
    new = change(old)
    if new != old:
        path.write_text(new, "utf-8")


def _executed(app: Sphinx) -> Iterator[Path]:
    """Yield the copies of the recipes whose outputs are on their pages."""
    for gallery in app.config.sphinx_gallery_conf["gallery_dirs"]:
        for stamp in sorted(Path(app.srcdir, gallery).glob("*.py.md5")):
            yield stamp.with_suffix("")


def _recipes(app: Sphinx) -> Iterator[Path]:
    """Yield the copies of all recipes, whether they ran to their end or not."""
    for gallery in app.config.sphinx_gallery_conf["gallery_dirs"]:
        for target in sorted(Path(app.srcdir, gallery).glob("*.py")):
            if is_recipe(target, app.config):
                yield target


def _settle_times(app: Sphinx) -> None:
    """Give cached recipes the recorded times too, before the times are listed."""
    for target in _executed(app):
        cost = json.loads(target.with_name(f"{target.stem}.cost.json").read_text())
        settle_time(target, app.srcdir, cost["time"])


def note_finished(app: Sphinx, target: Path) -> None:
    """Record a recipe as soon as its page is there, so that Ctrl-C loses nothing."""
    if app.config.record_transcripts and is_recipe(target, app.config):
        _record(app, target)


def is_recipe(script: Path, config: Config) -> bool:
    """Tell whether a file is Sphinx-Gallery's copy of a recipe that is run."""
    return script.exists() and executable_script(script, config.sphinx_gallery_conf)


def _check(app: Sphinx) -> None:
    """Compare all outputs with the transcripts, or record them."""
    if app.config.record_transcripts:
        for target in _recipes(app):
            _record(app, target)
        _record_packages(app)
        return
    for target in _executed(app):
        cells = harvest(target.with_suffix(".rst"))
        _warn_of_machine_traces(app, target, cells)
        _compare(app, target, cells)


def _warn_of_machine_traces(app: Sphinx, target: Path, cells: list[dict]) -> None:
    """Warn of outputs that would be others on another machine."""
    places = {str(Path.home()), sys.prefix, tempfile.gettempdir(), str(app.confdir)}
    places.discard("/")
    paths = re.compile("|".join(re.escape(place + os.sep) for place in sorted(places)))
    for cell in cells:
        text = "\n".join(cell["output"])
        for what, pattern in (("memory address", _ADDRESS), ("path", paths)):
            if found := pattern.search(text):
                line = text[: found.start()].count("\n")
                logger.warning(
                    "%s: the cell at line %d prints a %s: %s; print what is the same "
                    "on each machine.",
                    f"recipes/{target.name}",
                    cell["line"],
                    what,
                    cell["output"][line].strip(),
                    type="recipe.machine",
                )


def _compare(app: Sphinx, target: Path, cells: list[dict]) -> None:
    """Warn where a recipe printed something else than its transcript says."""
    path = transcript_path(app.srcdir, target.stem)
    shown = path.relative_to(Path(app.srcdir).parent).as_posix()
    record = load(path)
    if record is None:
        problem = f"has no transcript {shown}: run 'make transcripts'."
    elif [c["source"] for c in record["cells"]] != [c["source"] for c in cells]:
        problem = f"was edited after {shown} was recorded: run 'make transcripts'."
    elif differences := _differences(record["cells"], cells):
        if reason := excuse(target.read_text("utf-8"), path.with_name(PACKAGES)):
            text = f"recipes/{target.name} prints something else, {reason}."
            logger.info("%s\n%s", text, differences)
            return
        problem = (
            f"no longer prints what {shown} says. If the new output is right, run "
            "'make transcripts'; if it is another each time, set a seed.\n"
            f"{differences}"
        )
    else:
        return
    logger.warning("recipes/%s %s", target.name, problem, type="recipe.drift")


def _differences(recorded: list[dict], live: list[dict]) -> str:
    """Return a unified diff for each cell whose output changed."""
    return "\n".join(
        line
        for old, new in zip(recorded, live, strict=True)
        for line in difflib.unified_diff(
            old["output"],
            new["output"],
            f"recorded, cell at line {new['line']}",
            f"printed, cell at line {new['line']}",
            lineterm="",
        )
    )


def _record(app: Sphinx, target: Path) -> None:
    """Write the transcript where it changed, and say what changed."""
    cells = harvest(target.with_suffix(".rst"))
    _warn_of_machine_traces(app, target, cells)
    path = transcript_path(app.srcdir, target.stem)
    shown = path.relative_to(Path(app.srcdir).parent).as_posix()
    old, new = load(path), _transcript(target, cells)
    if old and lasting(old) == lasting(new):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(new, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if old is None:
        logger.info("%s: recorded", shown)
    elif len(old["cells"]) != len(cells):
        logger.info("%s: recorded anew, the recipe has other cells", shown)
    else:
        logger.info("%s: recorded anew\n%s", shown, _differences(old["cells"], cells))


def _record_packages(app: Sphinx) -> None:
    """Write the versions of all that is installed, once a release."""
    found = metadata.distributions()
    installed = {canonicalize_name(d.metadata["Name"]): d.version for d in found}
    text = {
        "python": platform.python_version(),
        "installed": dict(sorted(installed.items())),
    }
    path = transcript_path(app.srcdir, "any").with_name(PACKAGES)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(text, indent=1) + "\n", "utf-8")


def _transcript(target: Path, cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is kept of one run of a recipe."""
    source = target.read_text("utf-8")
    new = {"torch": release(), "recipe": digest(source), "status": "runs"}
    death = (load(notes_path(target)) or {}).get("death")
    if not applies(source):
        new |= {"status": "does not apply", "needs": needed_release(source)}
        cells = []
    elif death or any(cell["error"] for cell in cells):
        new |= {"status": "fails", "death": death}
    # Never 0, which Sphinx-Gallery takes for a sign that nothing ran.
    seconds = max(0.01, round(sum(cell["seconds"] for cell in cells), 2))
    return {**new, "seconds": seconds, "cells": cells}


def lasting(record: dict[str, Any]) -> Any:
    """Return what of a transcript is the same in each run: not the times.

    Of an exception or a warning only the type counts: some messages list a set.
    """
    cells = [
        {**cell, "seconds": None}
        | {key: [kind for kind, _ in cell[key]] for key in NOTED if key in cell}
        for cell in record["cells"]
    ]
    return {**record, "seconds": None, "cells": cells}


def needed_release(source: str) -> str | None:
    """Return the release of torch from which on a recipe can run, if it names one.

    A recipe names it by a comment: ``# sphinx_gallery_needs_torch = "2.8"``.
    """
    return extract_file_config(source).get("needs_torch")


def missing_program(source: str) -> str | None:
    """Return the program that a recipe needs and this machine does not have.

    A recipe that prints something else without a program names it by a comment:
    ``# sphinx_gallery_needs_program = "g++"``.
    """
    program = extract_file_config(source).get("needs_program")
    return program if program and not shutil.which(program) else None


def excuse(source: str, packages: Path) -> str | None:
    """Say why a recipe may print something else here than its transcript, if it may.

    A program is missing, or this is another Python than the recorded one, in the first
    two numbers of its version: torch and its messages depend on it.
    """
    if program := missing_program(source):
        return f"because {program} is not installed"
    recorded = (load(packages) or {}).get("python", platform.python_version())
    here, there = (
        ".".join(version.split(".")[:2])
        for version in (platform.python_version(), recorded)
    )
    if here == there:
        return None
    return f"under Python {here}; the transcripts are of Python {there}"


def applies(source: str) -> bool:
    """Tell whether the installed release of torch has what a recipe needs."""
    needed = needed_release(source)
    return needed is None or Version(release()) >= Version(needed)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.add_config_value("record_transcripts", False, "", bool)
    app.connect("builder-inited", _settle_times, priority=200)
    app.connect("builder-inited", _check, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
