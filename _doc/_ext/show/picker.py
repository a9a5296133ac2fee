"""The picker at the top of pages with outputs: which release they are of.

What a choice does is in ``_static/releases.js``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from _ext import files
from _ext.releases.transcripts import folders, newest

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_SCRIPT = Path(__file__).parents[2] / "_static/releases.js"


def _add_picker(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], _: object
) -> None:
    """Tell the templates about the releases."""
    context["torch_releases"] = list(folders(app.config))
    context["torch_picker"] = "picker" in app.env.metadata.get(page, {})
    context["torch_newest"] = newest(app.srcdir, app.config)
    context["torch_pinned"] = app.config.torch_pinned
    context["releases_version"] = files.digest(_SCRIPT.read_text("utf-8"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.connect("html-page-context", _add_picker)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
