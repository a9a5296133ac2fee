"""Write ``explain.py``: the command, in one file with its index.

The command is the module :mod:`_ext.take.explain`, as it is; only the line that holds
its index is another. It stands at the top of the site, as ``errors.json`` does. Pages
lead there by links ``site:explain.py``.
"""

from __future__ import annotations

import base64
import textwrap
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.osutil import relative_uri

from _ext import files, noop, site

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: The name of the command, and of its module.
NAME = "explain.py"

#: The page that explains it.
PAGE = "terminal"

#: How a link to a file at the top of the site begins.
FILE = "site:"

#: What the index takes the place of.
EMPTY = '\nINDEX = ""\n'


def filled(source: str, index: bytes) -> str:
    """Return the command with an index.

    Raises
    ------
    ValueError
        If the command has no place for it.
    """
    if source.count(EMPTY) != 1:
        raise ValueError(f"{NAME} has no line {EMPTY.strip()!r}.")
    code = base64.b64encode(zlib.compress(index, 9)).decode()
    lines = "\n".join(textwrap.wrap(code, 88))
    return source.replace(EMPTY, f'\nINDEX = """\n{lines}\n"""\n')


def _write(app: Sphinx, error: Exception | None) -> None:
    """Write the command, unless it is up to date or there is no index."""
    index, target = Path(app.outdir, "errors.json"), Path(app.outdir, NAME)
    if error is not None or not site.is_made(app) or not index.exists():
        return
    if not (noop.nothing_changed(app) and target.exists()):
        source = Path(__file__).with_name(NAME).read_text("utf-8")
        files.replace(target, filled(source, index.read_bytes()))


def _lead(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: object
) -> None:
    """Let the pages of topics lead to that of the command, as the front page does."""
    if page.startswith("topics/") and PAGE in app.env.found_docs:
        context["elsewhere"] = app.builder.get_relative_uri(page, PAGE)


def _find_files(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let links ``site:<file>`` lead to files at the top of the site.

    ``SITE/`` in code stands for the address of the site.
    """
    here = site.address(app, docname)
    for link in doctree.findall(nodes.reference):
        if link.get("refuri", "").startswith(FILE):
            link["refuri"] = relative_uri(here, link["refuri"].removeprefix(FILE))
            link["internal"] = True
    base = app.config.html_baseurl.rstrip("/") or "https://<this site>"
    for text in list(doctree.findall(_is_addressed)):
        said = text.astext().replace("SITE/", f"{base}/")
        text.parent.replace(text, nodes.Text(said))


def _is_addressed(node: nodes.Node) -> bool:
    code = nodes.literal, nodes.literal_block
    return (
        isinstance(node, nodes.Text)
        and isinstance(node.parent, code)
        and "SITE/" in node.astext()
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx, after that of the index."""
    app.connect("doctree-resolved", _find_files)
    app.connect("html-page-context", _lead)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
