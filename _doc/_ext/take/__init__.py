"""What readers carry away.

``notebooks`` writes the notebook of a recipe with its outputs, ``archives`` the zips,
``twins`` the pages of recipes as Markdown, ``llms`` lists of them for programs,
``offline`` the whole site as a zip. ``explain`` is the command that answers errors in a
terminal, ``command`` puts the index into it, ``skill`` is for coding assistants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Set up the room."""
    for name in ("archives", "twins", "llms", "command", "skill"):
        app.setup_extension(f"{__name__}.{name}")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
