"""What is known of a recipe under one release of torch: its record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from _ext.recipe import applies, needed_torch
from _ext.releases import transcripts

if TYPE_CHECKING:
    from pathlib import Path

    from _ext.releases.differences import Cell
    from _ext.run.outcome import Outcome


@dataclass
class Record:
    """What is known of a recipe under one release.

    Attributes
    ----------
    state
        ``runs``, ``fails``, ``does not apply``, ``stale`` or ``missing``.
    cells
        What was recorded for each cell; None for a cell that was not reached.
    needs
        The release that has what the recipe needs, where it does not apply.
    """

    state: str
    cells: list[Cell | None] = field(default_factory=list)
    needs: str | None = None


def live(done: Outcome, source: str, cells: list[Cell]) -> Record:
    """Return the record of the pinned release: what the page shows."""
    if not applies(source):
        return Record("does not apply", needs=needed_torch(source))
    reached = _reached(cells, died=bool(done.death))
    return Record("fails" if done.fails else "runs", reached)


def recorded(path: Path, source: str, live_cells: list[Cell]) -> Record:
    """Return the record that a transcript holds, of a recipe and what it does now."""
    found = transcripts.load(path)
    if found is None:
        return Record("missing")
    state, cells = found.get("status", "runs"), found["cells"]
    if state == "does not apply":
        current = found.get("needs") == needed_torch(source)
        return Record(state if current else "stale", needs=found.get("needs"))
    if _sources(cells) != _sources(live_cells):
        return Record("stale")
    return Record(state, _reached(cells, died=bool(found.get("death"))))


def settled(live_cells: list[Cell], path: Path) -> list[Cell]:
    """Return what was recorded of the cells, unless they did something else now.

    A message that lists a set is another in each build, and its pages would be too.
    """
    found = transcripts.load(path)
    if found is None:
        return live_cells
    lasting = transcripts.lasting({"cells": live_cells})["cells"]
    same = transcripts.lasting(found)["cells"] == lasting
    return found["cells"] if same else live_cells


def _sources(cells: list[Cell]) -> list[str]:
    return [cell["source"] for cell in cells]


def _reached(cells: list[Cell], *, died: bool) -> list[Cell | None]:
    """Replace the cells that were not run, because the recipe had failed, by None."""
    if died:
        return [None] * len(cells)
    ends = [number for number, cell in enumerate(cells) if cell.get("error")]
    last = min(ends, default=len(cells))
    return [cell if number <= last else None for number, cell in enumerate(cells)]
