"""Where a builder puts the pages of a site, if what it makes is one: of HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.builders.html import StandaloneHTMLBuilder


def is_made(app: Sphinx) -> bool:
    """Tell whether a build makes a site: ``html``, ``dirhtml`` or ``singlehtml``."""
    return app.builder.format == "html"


def address(app: Sphinx, docname: str) -> str:
    """Return the address of a page, relative to the top of the site.

    Where a build makes no page of it, that of the builder ``html``.
    """
    if is_made(app) and app.builder.name != "singlehtml":
        return app.builder.get_target_uri(docname)
    return f"{docname}.html"


def file(app: Sphinx, docname: str) -> Path:
    """Return the file that a page is written to; ``singlehtml`` writes only one."""
    builder = cast("StandaloneHTMLBuilder", app.builder)
    return Path(builder.get_outfilename(docname))
