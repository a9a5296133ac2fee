"""Nodes of HTML that docutils does not have, and the links between our pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator


class tag(nodes.General, nodes.Element):  # noqa: N801
    """An element of HTML: its name is ``tag``, its attributes are ``attrs``."""


def element(name: str, /, *children: nodes.Node, kind: str = "", **attrs: str) -> tag:
    """Make an element of HTML with classes ``kind``; ``data_x`` becomes ``data-x``."""
    named = {key.replace("_", "-"): value for key, value in attrs.items()}
    return tag("", *children, tag=name, attrs=named, classes=kind.split())


def page_link(docname: str) -> addnodes.pending_xref:
    """Return a link to a page that shows its title."""
    return addnodes.pending_xref(
        "",
        nodes.inline(),
        refdomain="std",
        reftype="doc",
        reftarget=docname,
        refexplicit=False,
        refwarn=True,
    )


def _visit_tag(self: HTML5Translator, node: tag) -> None:
    self.body.append(self.starttag(node, node["tag"], "", **node["attrs"]))


def _depart_tag(self: HTML5Translator, node: tag) -> None:
    self.body.append(f"</{node['tag']}>")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.add_node(tag, html=(_visit_tag, _depart_tag))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
