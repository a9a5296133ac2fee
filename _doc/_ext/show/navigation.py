"""Make furo's navigation once for all pages of a folder, not once a page.

Furo lists every page of the site beside every page, and reads that list with an HTML
parser each time: minutes for a thousand pages. Between the pages of a folder only the
marks differ that say where the reader is. So furo gets the list without marks, and the
marks are set here in what it made. The pages are the same as without this module.

Upstream: https://github.com/pradyunsg/furo/pull/939.
"""

from __future__ import annotations

import functools
import posixpath
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_LINK = re.compile(r'<a class="reference internal" href="([^"]*)">')


def unmarked(tree: str, address: str) -> str:
    """Return the list of pages as Sphinx makes it, without the marks for one page.

    Parameters
    ----------
    tree
        The list, in HTML.
    address
        Where the other pages of the folder find that page.
    """
    tree = tree.replace('<ul class="current">', "<ul>")
    tree = re.sub(r'(<li class="toctree-l\d+) current"', r'\1"', tree)
    return tree.replace(
        '<a class="current reference internal" href="#">',
        f'<a class="reference internal" href="{address}">',
    )


def marked(tree: str, address: str) -> str:
    """Return the list of pages as furo makes it, with the marks for one page."""
    outline, places = _outline(tree)
    if address not in places:
        return tree
    pieces = list(outline)
    for link, _ in places[address]:
        pieces[link] = '<a class="current reference internal" href="#">'
    for number in {n for _, around in places[address] for tags in around for n in tags}:
        pieces[number] = _marked_tag(pieces[number])
    own, *_ = places[address][-1][1][-1]
    pieces[own] = pieces[own].replace('">', ' current-page">')
    return "".join(pieces)


def _marked_tag(tag: str) -> str:
    """Return a tag around the link to the page with its mark."""
    if tag.startswith("<input"):
        return tag.replace(' class="', ' checked="" class="')
    if tag.startswith("<li"):
        return re.sub(r"toctree-l\d+", r"\g<0> current", tag)
    return '<ul class="current">'


@functools.cache
def _outline(tree: str) -> tuple[list[str], dict[str, list[tuple[int, list]]]]:
    """Take a list of pages apart.

    Returns
    -------
    list of str
        Its tags and texts.
    dict
        By address, for each link the number of its tag, and for each element around it
        the numbers of its tags: for a list one, for an entry that of its box too.
    """
    pieces = re.split(r"(<[^>]+>)", tree)
    places: dict[str, list[tuple[int, list]]] = {}
    around: list[list[int]] = []
    for number, piece in enumerate(pieces):
        if piece.startswith(("<ul", "<li")):
            around.append([number])
        elif piece in {"</ul>", "</li>"}:
            around.pop()
        elif piece.startswith("<input"):  # after the link of its entry
            around[-1].append(number)
        elif link := _LINK.fullmatch(piece):
            places.setdefault(link[1], []).append((number, list(around)))
    return pieces, places


def _share(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], _: object
) -> None:
    """Let furo have the same list for all pages of a folder."""
    if "toctree" not in context or app.builder.name != "html":
        return
    make = context["toctree"]
    folder, address = posixpath.split(app.builder.get_target_uri(page))

    def shared(**options: Any) -> str:
        key = (folder, repr(sorted(options.items())))
        if key not in app.navigation:
            app.navigation[key] = unmarked(make(**options), address)
        return app.navigation[key]

    context["toctree"] = shared


def _mark(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], _: object
) -> None:
    """Say in the list where the reader is."""
    if app.builder.name == "html":
        address = posixpath.basename(app.builder.get_target_uri(page))
        context["furo_navigation_tree"] = marked(
            context["furo_navigation_tree"], address
        )


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx, around furo."""
    app.navigation = {}
    app.connect("html-page-context", _share, priority=400)
    app.connect("html-page-context", _mark, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
