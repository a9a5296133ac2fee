"""A transcript: what one recipe printed, cell by cell, under one release of torch.

It is ``_doc/transcripts/<release of torch>/<recipe>.json``, made from the record of a
run (see :mod:`_ext.run.outcome`), so a recorded output and a live one can be compared
letter by letter. Nothing in an output is normalized: a recipe runs under its bare file
name, and the paths of installed modules are cut off (see :mod:`_ext.run.child`), so
there is nothing left that may vary.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name
from packaging.version import Version
from sphinx.errors import ConfigError

from _ext import files
from _ext.recipe import applies, installed_torch, missing_program, needed_torch
from _ext.run import cache

if TYPE_CHECKING:
    from sphinx.config import Config

    from _ext.run.outcome import Outcome

#: The file beside the transcripts of a release that says what was installed. Older
#: transcripts do not say themselves what they were recorded with.
PACKAGES = "packages.json"

#: What a cell may have noted, each a list of types and messages.
NOTED = ("caught", "causes", "warned")


def short(version: str) -> str:
    """Name a release as the reader does: 2.9 for 2.9.1."""
    return "{0.major}.{0.minor}".format(Version(version))


def folders(config: Config) -> dict[str, str]:
    """Return the folder of transcripts of each release, by its short name, in order.

    The pinned release is among them even where ``torch_releases`` does not name it.
    """
    named = {short(release): release for release in config.torch_releases}
    if len(named) < len(config.torch_releases):
        raise ConfigError(
            "torch_releases names two releases that differ in the last number only: "
            "keep the newer one."
        )
    named[config.torch_pinned] = installed_torch()
    return dict(sorted(named.items(), key=lambda item: Version(item[0])))


def newest(srcdir: Any, config: Config) -> str:
    """Return the newest release under which anything is recorded, by its short name."""
    places = Path(srcdir, "transcripts")
    there = [
        name for name, folder in folders(config).items() if (places / folder).is_dir()
    ]
    return there[-1] if there else config.torch_pinned


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
        "python": platform.python_version(),
        "packages": installed(source),
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


def installed(source: str) -> dict[str, str]:
    """Return the versions of what a recipe imports and of what runs it."""
    names = {canonicalize_name(n) for n in (*cache.imported(source), *cache.RUNNERS)}
    found = {name: cache.version(name).partition("+")[0] for name in sorted(names)}
    return {name: version for name, version in found.items() if version}


def recorded_with(place: Path) -> tuple[str | None, dict[str, str]]:
    """Return the Python and the packages that a transcript was recorded with.

    One that does not say was recorded with what :data:`PACKAGES` beside it lists;
    without that file nothing is known.
    """
    found = load(place) or {}
    packages = found.get("packages")
    if packages is None:
        found = load(place.with_name(PACKAGES)) or {}
        packages = found.get("installed", {})
    without_build = {name: v.partition("+")[0] for name, v in packages.items()}
    return found.get("python"), without_build


def lasting(record: dict[str, Any]) -> Any:
    """Return what of a transcript is the same in each run: not the times.

    Of an exception or a warning only the type counts: some messages list a set. What it
    was recorded with is compared by :func:`recorded_with`.
    """
    cells = [
        {**cell, "seconds": None}
        | {key: [kind for kind, _ in cell[key]] for key in NOTED if key in cell}
        for cell in record["cells"]
    ]
    unset = dict.fromkeys(("seconds", "python", "packages"))
    return {**record, **unset, "cells": cells}


def excuse(source: str, place: Path) -> str | None:
    """Say why a recipe may print something else here than its transcript, if it may.

    A program is missing, or this is another Python than the recorded one, in the first
    two numbers of its version: torch and its messages depend on it.
    """
    if program := missing_program(source):
        return f"because {program} is not installed"
    here = short(platform.python_version())
    recorded, _ = recorded_with(place)
    there = short(recorded) if recorded else here
    if here == there:
        return None
    return f"under Python {here}; the transcripts are of Python {there}"
