"""The record of one run: what each cell of a recipe did, and what that depends on.

It is harvested once, at the end of the run, from the page that Sphinx-Gallery wrote and
from what :mod:`_ext.run.capture` noted, and lies beside the page as
``<recipe>.run.json``. All that later rooms know of a run they read from there.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from _ext import files, gallery

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What one run of a recipe did.

    Attributes
    ----------
    cells
        For each cell of code ``line`` (its first line in the recipe), ``source`` (a
        digest of its code), ``output`` (a list of lines), ``error`` (the last line of
        the traceback where it raised, or None), ``caught`` (the exceptions that it
        caught, each with type and message) and ``seconds`` (its time). Where there are
        any, ``causes`` has what the exceptions were raised from, ``warned`` the
        warnings.
    reached
        How many of the cells were run, the last of them perhaps not to its end.
    death
        How the process ended, if not by itself.
    key
        What the output depends on; None if it is not to be used again.
    downloads
        A digest of what notebook and zip were made from, once they are there.
    """

    cells: list[dict[str, Any]] = field(default_factory=list)
    reached: int = 0
    death: str | None = None
    key: dict[str, Any] | None = None
    downloads: str | None = None

    @property
    def fails(self) -> bool:
        """Tell whether the recipe did not run to its end."""
        return bool(self.death) or any(cell["error"] for cell in self.cells)

    def write(self, copy: Path) -> None:
        """Write the record beside the copy of a recipe."""
        files.replace(path(copy), json.dumps(asdict(self), indent=1))


def path(copy: Path) -> Path:
    """Return where the record of a recipe lies."""
    return copy.with_suffix(".run.json")


def read(copy: Path) -> Outcome:
    """Return the record of a recipe, an empty one if there is none."""
    try:
        return Outcome(**json.loads(path(copy).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return Outcome()


def harvest(
    copy: Path, notes: dict[int, dict[str, Any]], death: str | None = None
) -> Outcome:
    """Return what a recipe did.

    Parameters
    ----------
    copy
        The copy of the recipe, with its page beside it.
    notes
        What was noted while it ran, by the line at which a cell begins.
    death
        How the process ended, if not by itself.
    """
    printed = gallery.outputs(copy.with_suffix(".rst"))
    nothing: dict[str, Any] = {"output": [], "error": None}
    unnoted = {"caught": [], "seconds": 0.0}
    cells = [
        {
            "line": block.lineno,
            "source": files.digest(block.content),
            **printed.get(block.lineno, nothing),
            **notes.get(block.lineno, unnoted),
        }
        for block in gallery.blocks(copy)
        if block.type == "code"
    ]
    reached = sum(cell["line"] in notes or bool(cell["error"]) for cell in cells)
    return Outcome(cells, reached, death)
