"""Notice when a recipe prints something else than its transcript says: drift.

A difference is a warning, which fails ``make html``, with the cell and the lines.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.util import logging

from _ext.releases import transcripts

if TYPE_CHECKING:
    from sphinx.application import Sphinx

    from _ext.releases.differences import Cell

logger = logging.getLogger(__name__)

_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")


def warn_of_machine_traces(app: Sphinx, copy: Path, cells: list[Cell]) -> None:
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
                    f"recipes/{copy.name}",
                    cell["line"],
                    what,
                    cell["output"][line].strip(),
                    type="recipe.machine",
                )


def compare(app: Sphinx, copy: Path, cells: list[Cell]) -> None:
    """Warn where a recipe printed something else than its transcript says."""
    path = transcripts.path(app.srcdir, copy.stem)
    shown = path.relative_to(Path(app.srcdir).parent).as_posix()
    recorded = transcripts.load(path)
    if recorded is None:
        problem = f"has no transcript {shown}: run 'make transcripts'."
    elif [c["source"] for c in recorded["cells"]] != [c["source"] for c in cells]:
        problem = f"was edited after {shown} was recorded: run 'make transcripts'."
    elif found := differences(recorded["cells"], cells):
        source = copy.read_text("utf-8")
        if reason := transcripts.excuse(source, path):
            text = f"recipes/{copy.name} prints something else, {reason}."
            logger.info("%s\n%s", text, found)
            return
        problem = (
            f"no longer prints what {shown} says. If the new output is right, run "
            f"'make transcripts'; if it is another each time, set a seed.\n{found}"
        )
    else:
        return
    logger.warning("recipes/%s %s", copy.name, problem, type="recipe.drift")


def differences(recorded: list[Cell], live: list[Cell]) -> str:
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
