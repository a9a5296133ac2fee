"""What a recipe printed is kept for each release of torch, and compared.

``transcripts`` are the kept outputs. ``recording`` writes them or has ``drift`` compare
them with a live run, ``times`` shows recorded running times. ``records`` says what is
known of a recipe under one release, ``history`` under all; ``differences`` says how one
cell differs between them, ``news`` what a release changes in all recipes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Set up the room."""
    for name in ("times", "recording", "history"):
        app.setup_extension(f"{__name__}.{name}")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
