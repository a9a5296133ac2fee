"""Show the recorded running time of a recipe instead of the measured one.

A measured time differs in each build, and the pages of two builds would too. The time
in the transcript says the same to the reader: how long the recipe takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from _ext import gallery, noop
from _ext.releases import transcripts

if TYPE_CHECKING:
    from pathlib import Path

    from sphinx.application import Sphinx


def _settle(app: Sphinx, copy: Path) -> float | None:
    """Show the recorded time of a recipe and return it, in seconds, if there is one."""
    recorded = transcripts.load(transcripts.path(app.srcdir, copy.stem))
    if recorded is None:
        return None
    gallery.set_time(copy, recorded["seconds"])
    return recorded["seconds"]


@noop.skipped
def _settle_all(app: Sphinx) -> None:
    """Give cached recipes the recorded times too, before the times are listed."""
    for copy in gallery.current(app.srcdir, app.config.sphinx_gallery_conf):
        _settle(app, copy)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.connect("recipe-passed", _settle)
    app.connect("builder-inited", _settle_all, priority=200)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
