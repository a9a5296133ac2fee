"""The index of the search: what each page says, by how much that says about the page.

A reader asks in words of their own. What tells a recipe from others is its title, the
keywords, what readers see (the tables of topics, other wordings), the answer; all other
words of a page, code and outputs among them, count least, and only once. All of it is
little, so the index is one script, which a page that is opened from a disk may load,
too. ``_static/search-rank.js`` ranks, ``_static/search.js`` shows.

Pages that only repeat what others say are left out: those with ``:nosearch:`` or
``:orphan:`` at their top.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.errors import ExtensionError

from _ext import files, gallery, noop, site
from _ext.answer import plain
from _ext.find import topics
from _ext.recipe import read
from _ext.releases.differences import exceptions, first_line
from _ext.releases.history import load

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: Characters of the text of a page that has no answer, to be shown.
EXCERPT = 200

#: Characters of a message that are kept.
LONGEST = 200

#: The longest word that somebody may look for.
WORD = 40

_ARTICLE = re.compile(r"<article role=\"main\".*</article>", re.DOTALL)
#: Parts of an article that nobody looks for: controls, lists, downloads, drawings.
_AROUND = re.compile(
    r"<(section|div|ul|svg|script|form)\b[^>]*(?:release-picker|related-recipes|"
    r"sphx-glr-footer|sphx-glr-thumbnails|viewBox|error-box)"
    r".*?</\1>",
    re.DOTALL,
)
_PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)
#: Within a word, for color or a link; any other tag ends one.
_INLINE = re.compile(r"</?(?:a|code|em|mark|span|strong)\b[^>]*>")
_TAG = re.compile(r"<[^>]*>")
_WORD = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
#: A row of a table of a topic: what a reader sees, and the recipe to read.
_ROW = re.compile(
    r"^ +\* - (?P<seen>(?:(?! +\* ).+\n)+?) +- :ref:`(?P<label>[\w-]+)`", re.MULTILINE
)

#: What an answer says of another recipe, which it leads to.
_LINK = re.compile(r"([^`]*(?:``[^`]*``[^`]*)*):ref:`([\w-]+)`")


def _seen(app: Sphinx) -> dict[str, list[str]]:
    """Return how a recipe is spoken of where something leads to it, by its label.

    That is what readers see, as the tables of topics and other answers say it.
    """
    found: dict[str, list[str]] = {}
    for topic in app.config.recipe_topics:
        path = topics.path(app.srcdir, topic)
        for row in _ROW.finditer(path.read_text("utf-8") if path.exists() else ""):
            found.setdefault(row["label"], []).append(plain(row["seen"]))
    for script in gallery.recipes(app.srcdir, app.config.sphinx_gallery_conf):
        about = read(script)
        for other in about.answer.others if about.answer else ():
            for said, label in _LINK.findall(other):
                found.setdefault(label, []).append(plain(said))
    return found


def _pages(app: Sphinx) -> list[dict[str, Any]]:
    """Return what the index says of each page."""
    seen = _seen(app)
    of = {topics.page(topic): topic for topic in app.config.recipe_topics}
    found = []
    for docname in sorted(app.env.found_docs):
        if {"nosearch", "orphan"} & app.env.metadata[docname].keys():
            continue
        path = site.file(app, docname)
        if not path.exists():
            continue
        text = article(path)
        page = {"url": site.address(app, docname), "topic": of.get(docname, "")}
        page |= {"title": app.env.titles[docname].astext(), "body": words(text)}
        script = Path(app.srcdir, f"{docname}.py")
        about = _recipe(app, script, seen) if script.exists() else _other(text)
        found.append(page | about)
    return found


def _recipe(app: Sphinx, script: Path, seen: dict[str, list[str]]) -> dict[str, Any]:
    """Return what the index says of a recipe."""
    about = read(script)
    recipe = load(script.with_suffix(".rst"), app.srcdir, app.config)
    raised = (error for cell in recipe.cells for error in exceptions(cell))
    messages = dict.fromkeys(first_line(error)[:LONGEST] for error in raised)
    return {
        "name": about.name,
        "topic": about.tags[0] if about.tags else "",
        "answer": plain(about.answer.cause if about.answer else about.symptom),
        "change": list(about.answer.change) if about.answer else [],
        "keywords": list(about.keywords),
        "seen": [*seen.get(about.label, ()), *about.wordings],
        "messages": list(messages),
    }


def _other(text: str) -> dict[str, Any]:
    """Return what the index says of a page that is no recipe: how it begins."""
    begins = _PARAGRAPH.search(text)
    return {"answer": _plain(begins[1])[:EXCERPT] if begins else ""}


def article(path: Path) -> str:
    """Return the article of a page.

    Raises
    ------
    ExtensionError
        If the page has none.
    """
    found = _ARTICLE.search(path.read_text("utf-8"))
    if found is None:
        raise ExtensionError(
            f"{path} has no article to search in: has the theme changed? See _ARTICLE "
            f"in {__name__}."
        )
    return _AROUND.sub(" ", found[0])


def words(text: str) -> str:
    """Return the words and the names of an article, each once, in order."""
    found = {word.lower() for word in _WORD.findall(_plain(text))}
    return " ".join(sorted(word for word in found if 1 < len(word) <= WORD))


def _plain(text: str) -> str:
    return html.unescape(" ".join(_TAG.sub(" ", _INLINE.sub("", text)).split()))


def _write(app: Sphinx, error: Exception | None) -> None:
    """Write the index, unless it is up to date."""
    if error is not None or not site.is_made(app):
        return
    target = Path(app.outdir, "_static/search-index.js")
    if noop.nothing_changed(app) and target.exists():
        return
    found = json.dumps({"pages": _pages(app)}, separators=(",", ":"))
    files.replace(target, f"globalThis.cookbookSearch = {found};\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
