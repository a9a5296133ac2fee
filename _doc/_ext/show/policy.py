"""The Content-Security-Policy: a page loads its own files and nothing else.

The policy itself is in ``_templates/base.html``. Furo writes one style into each page,
which the policy allows by its hash. Sphinx-Gallery writes scripts of other hosts into
the page of running times, which sort its table; they are taken out.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def hashes(markup: str) -> str:
    """Return the sources that allow the styles written into some markup."""
    digests = [hashlib.sha256(text.encode()) for text in _STYLE.findall(markup)]
    codes = [base64.b64encode(digest.digest()).decode() for digest in digests]
    return " ".join(f"'sha256-{code}'" for code in codes)


def _add_hashes(
    app: Sphinx, _page: str, _template: str, context: dict[str, Any], _: object
) -> None:
    """Let the templates compute hashes."""
    context["csp_hashes"] = hashes


def _drop_strangers(app: Sphinx, doctree: nodes.document) -> None:
    """Take out what loads something from another host."""
    for node in list(doctree.findall(nodes.raw)):
        if re.search(r"<(script|link)\b[^>]*https?:", node.astext()):
            node.parent.remove(node)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.connect("doctree-read", _drop_strangers)
    app.connect("html-page-context", _add_hashes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
