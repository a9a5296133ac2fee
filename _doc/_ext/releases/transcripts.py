"""A transcript: what one recipe printed, cell by cell, under one release of torch.

It is ``_doc/transcripts/<release of torch>/<recipe>.json``, made from the record of a
run (see :mod:`_ext.run.outcome`), so a recorded output and a live one can be compared
letter by letter. Nothing in an output is normalised: a recipe runs under its bare file
name, and the paths of installed modules are cut off (see :mod:`_ext.run.child`), so
there is nothing left that may vary.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.errors import ConfigError

from _ext import files
from _ext.recipe import applies, installed_torch, missing_program, needed_torch

if TYPE_CHECKING:
    from _ext.run.outcome import Outcome

#: The file beside the transcripts of a release that says what was installed.
PACKAGES = "packages.json"

#: What a cell may have noted, each a list of types and messages.
NOTED = ("caught", "causes", "warned")


def path(srcdir: Any, recipe: str, folder: str | None = None) -> Path:
    """Return where a transcript lies; the folder is that of the installed release."""
    return Path(srcdir, "transcripts", folder or installed_torch(), f"{recipe}.json")


def load(place: Path) -> dict[str, Any] | None:
    """Return what a file of JSON holds, or None where there is no such file.

    Raises
    ------
    ConfigError
        If it does not hold JSON.
    """
    try:
        return json.loads(place.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ConfigError(
            f"{place} is not valid JSON ({error}): remove it, and run 'make "
            f"transcripts RELEASE={place.parent.name}', or without RELEASE if it is of "
            "the pinned release."
        ) from None


def made(source: str, outcome: Outcome) -> dict[str, Any]:
    """Return the transcript of one run of a recipe.

    Parameters
    ----------
    source
        The text of the recipe.
    outcome
        What it did.
    """
    new: dict[str, Any] = {
        "torch": installed_torch(),
        "recipe": files.digest(source),
        "status": "runs",
    }
    cells = outcome.cells
    if not applies(source):
        new |= {"status": "does not apply", "needs": needed_torch(source)}
        cells = []
    elif outcome.fails:
        new |= {"status": "fails", "death": outcome.death}
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
