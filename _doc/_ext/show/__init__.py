"""The page of a recipe, and what a page tells others of itself.

``answer`` is the card with the answer, ``outputs`` adds what other releases print and
``picker`` lets a reader choose one.
``pictures`` draws the programs of a recipe: ``programs`` reads one, ``layout`` says
where its parts are, ``svg`` writes it. ``links`` leads to the repository, ``metadata``
describes a page to search engines, ``policy`` forbids it to load anything from another
host. ``nodes`` is what they build pages of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MODULES = (
    "nodes",
    "pictures",
    "outputs",
    "answer",
    "picker",
    "links",
    "metadata",
    "policy",
)


def setup(app: Sphinx) -> dict[str, Any]:
    """Set up the room."""
    for name in MODULES:
        app.setup_extension(f"{__name__}.{name}")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
