"""A recipe runs alone, under a limit, when it has to; what it did is noted.

``scheduler`` starts what runs recipes, ``cache`` decides which of them run again,
``backend`` is the build's side of a run and ``child`` the other side, where ``capture``
notes what cells catch and ``leaks`` what stays behind. The result is an ``outcome``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Set up the room."""
    for name in ("cache", "scheduler"):
        app.setup_extension(f"{__name__}.{name}")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
