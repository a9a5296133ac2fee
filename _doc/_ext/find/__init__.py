"""How readers get to a recipe.

``topics`` knows the recipes of each topic, in the order in which they are to be read,
and ``cards`` shows them; ``messages`` finds the recipe for an error; ``search`` makes
the index of the search; ``functions`` lists recipes by what they call;
``release_pages`` says how they fare under each release, and what it changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Set up the room."""
    for name in ("topics", "cards", "messages", "functions", "release_pages", "search"):
        app.setup_extension(f"{__name__}.{name}")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
