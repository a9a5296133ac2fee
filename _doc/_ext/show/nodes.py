"""Nodes of HTML that docutils does not have, and the links between our pages.

Only the builders of HTML know what to make of the node ``tag``. For all others it is
replaced by what docutils has for it, so that text, manual and LaTeX show its text.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes

from _ext import site

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment
    from sphinx.writers.html5 import HTML5Translator


class tag(nodes.General, nodes.Element):  # noqa: N801
    """An element of HTML: its name is ``tag``, its attributes are ``attrs``."""


#: What docutils has for an element of HTML. Of others only what is in them is shown.
PLAIN: dict[str, type[nodes.Element]] = {
    "details": nodes.container,
    "div": nodes.container,
    "li": nodes.list_item,
    "p": nodes.paragraph,
    "span": nodes.inline,
    "summary": nodes.paragraph,
    "ul": nodes.bullet_list,
}


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


def place_link(
    docname: str, anchor: str, *shown: nodes.Node, release: str = ""
) -> addnodes.pending_xref:
    """Return a link to a place on a page, as it is under a release if one is named.

    Where a page is, only the builder knows: see :func:`_resolve`.
    """
    return addnodes.pending_xref(
        "",
        nodes.inline("", "", *shown),
        refdomain="",
        reftype="place",
        reftarget=docname,
        place_anchor=anchor,
        place_release=release,
    )


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, shown: nodes.inline
) -> nodes.Element | None:
    """Make a link to a place; where it has no words, they are title and anchor."""
    if node["reftype"] != "place":
        return None
    target, anchor = node["reftarget"], node["place_anchor"]
    if not shown.children:
        title = env.titles[target].astext()
        shown += nodes.Text(f"{title}, {anchor.replace('-', ' ')}")
    page = app.builder.get_relative_uri(node["refdoc"], target)
    if node["place_release"] and site.is_made(app):
        page += f"?torch={node['place_release']}"
    uri = f"{page}#{anchor}"
    return nodes.reference("", "", *shown.children, internal=True, refuri=uri)


def _make_plain(app: Sphinx, doctree: nodes.document, _docname: str) -> None:
    """Replace our elements where what is built is not HTML."""
    if not site.is_made(app):
        for node in reversed(list(doctree.findall(tag))):  # the innermost first
            node.parent.replace(node, _plain(node))


def _plain(node: tag) -> list[nodes.Node]:
    """Return what stands for an element of HTML; its children are plain already."""
    needs_browser = node["tag"] == "form" or "hidden" in node["attrs"]
    if needs_browser or "recipe-picture" in node["classes"]:
        return []  # what is left says nothing that a title does not
    if node["tag"] == "pre":
        text = node.astext()
        return [nodes.literal_block(text, text, language="diff")]
    make = PLAIN.get(node["tag"])
    if make is None:
        return node.children
    if node["ids"]:
        return [nodes.target("", "", ids=node["ids"]), *node.children]
    block = not issubclass(make, (nodes.inline, nodes.paragraph, nodes.bullet_list))
    children = _in_paragraphs(node.children) if block else node.children
    return [make("", *children, classes=node["classes"])]


def _in_paragraphs(children: Iterable[nodes.Node]) -> list[nodes.Node]:
    """Put text that stands between blocks into paragraphs."""
    found: list[nodes.Node] = []
    for inline, group in groupby(children, key=_is_inline):
        some = list(group)
        found += [nodes.paragraph("", "", *some)] if inline else some
    return found


def _is_inline(node: nodes.Node) -> bool:
    return isinstance(node, (nodes.Inline, nodes.Text))


def _visit_tag(self: HTML5Translator, node: tag) -> None:
    self.body.append(self.starttag(node, node["tag"], "", **node["attrs"]))


def _depart_tag(self: HTML5Translator, node: tag) -> None:
    self.body.append(f"</{node['tag']}>")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.add_node(tag, html=(_visit_tag, _depart_tag))
    app.connect("missing-reference", _resolve)
    app.connect("doctree-resolved", _make_plain)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
