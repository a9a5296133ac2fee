"""What a page tells others of itself, the map of the site, the page that is not found.

The date of a page is that of the last commit that changed what it is made from; the
page of a recipe is made from the recipe. Where Git knows nothing, there is no date.
"""

from __future__ import annotations

import re
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urljoin, urlsplit
from xml.sax.saxutils import escape

from _ext import files, recipe, site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

_RELATIVE = re.compile(
    r'\b(href|src|action|data-content_root)="(?![a-z]+:|/|#)([^"]*)"'
)


def _note_recipe(app: Sphinx, env: BuildEnvironment) -> None:
    """Let the page of a recipe have the date of the recipe."""
    for docname in env.found_docs:
        source = Path(app.srcdir.parent, "recipes", f"{Path(docname).name}.py")
        if docname.startswith("auto_recipes/") and source.exists():
            env.dependencies[docname].add(cast("Any", source))


def _describe(
    app: Sphinx,
    page: str,
    _template: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Tell the templates what a page is about, for those who link to it."""
    script = Path(app.srcdir, f"{page}.py")
    context["summary"] = recipe.read(script).description if script.exists() else ""


def _pages(app: Sphinx) -> list[str]:
    """Return the pages that others may find, in the order of their names."""
    hidden = (name for name, of in app.env.metadata.items() if "orphan" in of)
    found = sorted(app.env.found_docs - set(hidden))
    return [name for name in found if site.file(app, name).exists()]


def _write_map(app: Sphinx) -> None:
    """Write ``sitemap.xml``, whatever this build had to write."""
    base = app.config.html_baseurl.rstrip("/")
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    lines += ['<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">']
    for page in _pages(app):
        address = escape(f"{base}/{site.address(app, page)}")
        lines += [f"<url><loc>{address}</loc>{_date(app, page)}</url>"]
    text = "\n".join([*lines, "</urlset>", ""])
    files.replace(Path(app.outdir, "sitemap.xml"), text)


def _date(app: Sphinx, page: str) -> str:
    """Return when a page was changed, if Git knows."""
    stamp, _ = getattr(app.env, "git_last_updated", {}).get(page) or (None, False)
    if stamp is None:
        return ""
    changed = datetime.fromtimestamp(int(stamp), timezone.utc)
    return f"<lastmod>{changed:%Y-%m-%d}</lastmod>"


def _lost_page(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Add ``404.html``."""
    yield "404", {"title": "Page not found"}, "404.html"


def absolute(text: str, at: str) -> str:
    """Make the relative addresses of a page absolute.

    Parameters
    ----------
    text
        The page.
    at
        Where it is, without the host.
    """
    return _RELATIVE.sub(lambda m: f'{m[1]}="{urljoin(at, m[2])}"', text)


def _finish(app: Sphinx, error: Exception | None) -> None:
    """Write what needs all pages."""
    if error is not None or not site.is_made(app):
        return
    _move_lost_page(app)
    if app.config.html_baseurl:
        _write_map(app)


def _move_lost_page(app: Sphinx) -> None:
    """Let ``404.html``, at the top of the site, have links that work at any depth."""
    made, lost = site.file(app, "404"), Path(app.outdir, "404.html")
    if not made.exists():  # singlehtml writes none
        return
    folder = urlsplit(app.config.html_baseurl).path.rstrip("/")
    at = f"{folder}/{site.address(app, '404')}"
    files.replace(lost, absolute(made.read_text("utf-8"), at))
    if made != lost:  # dirhtml gives it a folder
        shutil.rmtree(made.parent)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx; ``_note_recipe`` comes before the dates."""
    app.connect("env-updated", _note_recipe, priority=400)
    app.connect("html-collect-pages", _lost_page)
    app.connect("html-page-context", _describe)
    app.connect("build-finished", _finish, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
