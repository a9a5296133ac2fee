"""The picker at the top of pages with outputs: which release they are of.

What a choice does is in ``_static/releases.js``. The links to torch then lead to the
documentation of that release; ``release-links.js``, made here, says where it has what.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _ext import files, site
from _ext.releases.transcripts import folders, newest

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_SCRIPT = Path(__file__).parents[2] / "_static/releases.js"


def _places(app: Sphinx) -> str:
    """Return the script on the documentation of earlier releases."""
    known = {"address": app.config.torch_docs, "torch": app.config.torch_places}
    text = json.dumps(known, separators=(",", ":"))
    return f"globalThis.cookbookDocs = {text};\n"


def _add_picker(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], _: object
) -> None:
    """Tell the templates about the releases."""
    context["torch_releases"] = list(folders(app.config))
    context["torch_picker"] = "picker" in app.env.metadata.get(page, {})
    context["torch_newest"] = newest(app.srcdir, app.config)
    context["torch_pinned"] = app.config.torch_pinned
    context["torch_documented"] = list(app.config.torch_places)
    scripts = _SCRIPT.read_text("utf-8") + _places(app)
    context["releases_version"] = files.digest(scripts)


def _write(app: Sphinx, error: Exception | None) -> None:
    """Write the script on the documentation of earlier releases."""
    if error is None and site.is_made(app):
        files.replace(Path(app.outdir, "_static/release-links.js"), _places(app))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.connect("html-page-context", _add_picker)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
