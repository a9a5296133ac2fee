"""The error finder: which recipe answers an error.

The index is made of the transcripts: each exception and warning that a recipe met
under any release, with the cell that shows it. A recipe adds wordings that it does not
print, in its own file (see :mod:`_ext.recipe`). ``errors.json`` is the index; the page
works with the same data, as a script, because a page that is opened from a disk may not
read files. The matching itself is in ``_static/errors.js``.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from _ext import dependencies, files, noop
from _ext.answer import plain
from _ext.find import topics
from _ext.recipe import read
from _ext.releases.differences import label
from _ext.releases.history import folders, load, recipes, short
from _ext.show.answer import FIX
from _ext.show.nodes import element, page_link

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config
    from sphinx.environment import BuildEnvironment

    from _ext.find.catalogue import Catalogue, Decision
    from _ext.releases.history import Recipe, Record

#: The version of the format of ``errors.json``; it changes when a reader would break.
FORMAT = 2

#: Characters of a message that are kept. The rest is advice that others have, too.
LONGEST = 2000

#: Characters of a text that no recipe answers: enough to know it.
SHORTER = 200

#: What is decided of a text that no recipe answers.
SILENT = ("internal", "open")

#: What a cell notes besides its output, see :mod:`_ext.run.capture`.
NOTES = ("caught", "causes", "warned")

BOX = """\
<form class="error-box" action="#" hidden>
  <label for="error-text">Paste an error, a warning or a whole traceback.</label>
  <textarea id="error-text" rows="5" spellcheck="false" autocomplete="off"></textarea>
  <p class="error-hint">It stays in your browser: nothing is sent anywhere.</p>
  <p id="error-status" role="status"></p>
  <ol id="error-matches"></ol>
</form>
"""


def index(srcdir: Path, config: Config) -> dict[str, Any]:
    """Return the index of all messages, as ``errors.json`` has it."""
    found = [load(page, srcdir, config) for page in recipes(srcdir, config)]
    return {
        "format": FORMAT,
        "releases": list(folders(config)),
        "recipes": [_recipe(recipe) for recipe in found],
    }


def templates(found: Catalogue) -> list[dict[str, Any]]:
    """Return what the index says of torch's messages, see the page that explains it."""
    return [
        _template(decision)
        for decision in found.decisions
        if decision.messages
    ]


def _template(decision: Decision) -> dict[str, Any]:
    silent = decision.role in SILENT
    entry: dict[str, Any] = {"role": "none" if silent else decision.role}
    optional = {
        "recipe": decision.recipe,
        "also": decision.also,
        "when": decision.when,
    }
    entry |= {key: value for key, value in optional.items() if value}
    entry["texts"] = [
        [
            message["text"][: SHORTER if silent else None],
            message["kind"],
            message["since"] and short(message["since"]),
            message["until"] and short(message["until"]),
        ]
        for message in decision.messages
    ]
    return entry


@functools.cache
def _recipe(recipe: Recipe) -> dict[str, Any]:
    """Return what the index says of one recipe; each is loaded once."""
    about = read(recipe.script)
    messages: dict[tuple, dict[str, Any]] = {}
    for release, record in recipe.records.items():
        for number, kind, message in _messages(record):
            key = (number, kind, re.sub(r"\d+", "0", message))
            entry = messages.setdefault(
                key, {"cell": recipe.anchor(number), "type": kind, "releases": []}
            )
            entry["message"] = message
            if release not in entry["releases"]:
                entry["releases"].append(release)
    return {
        "name": recipe.name,
        "page": f"{recipe.docname}.html",
        "title": about.title,
        "topic": about.tags[0] if about.tags else "",
        "symptom": re.sub(r":\w+:`~?([^`]*)`|``", r"\1", about.symptom),
        "advice": about.description,
        "answer": _answer(recipe),
        "keywords": list(about.keywords),
        "wordings": list(about.wordings),
        "messages": list(messages.values()),
    }


def _answer(recipe: Recipe) -> dict[str, Any] | None:
    """Return what the index says of the answer of a recipe, as plain text."""
    found = recipe.answer
    if found is None:
        return None
    return {
        "cause": found.text,
        "change": list(found.change),
        "cost": plain(found.cost),
        "works": recipe.works(),
        "fix": FIX,
    }


def _messages(record: Record) -> list[tuple[int, str, str]]:
    """Return (number of the cell, type, message) of all that a transcript notes."""
    return [
        (number, kind, message.strip()[:LONGEST])
        for number, cell in enumerate(record.cells)
        if cell
        for note in NOTES
        for kind, message in cell.get(note, ())
        if message.strip()
    ]


class ErrorBox(SphinxDirective):
    """``.. error-box::`` puts the box, and the answers, into a page."""

    def run(self) -> list[nodes.Node]:
        """Return the box."""
        self.env.metadata[self.env.docname]["error_box"] = "yes"
        return [nodes.raw("", BOX, format="html")]


class ErrorIndex(SphinxDirective):
    """``.. error-index::`` lists all messages by topic and recipe."""

    def run(self) -> list[nodes.Node]:
        """Return a section for each topic."""
        dependencies.note(self.env, "messages")
        found = index(Path(self.env.srcdir), self.config)
        known = {recipe["name"]: recipe for recipe in found["recipes"]}
        return [
            self._section(topic, [known[name] for name in names if name in known])
            for topic in self.config.recipe_topics
            if (names := topics.listed(self.env.srcdir, topic))
        ]

    def _section(self, topic: str, listed: list[dict]) -> nodes.section:
        ids = [nodes.make_id(f"errors-{topic}")]
        title = topics.heading(self.env.srcdir, topic)
        section = nodes.section("", nodes.title("", title), ids=ids)
        for recipe in listed:
            docname = f"/{recipe['page'].removesuffix('.html')}"
            section += nodes.paragraph("", "", page_link(docname))
            section += element("ul", *self._entries(recipe), kind="error-list")
        return section

    def _entries(self, recipe: dict[str, Any]) -> list[nodes.Node]:
        """Return an entry for each wording, and for each first line of a message."""
        lines: dict[str, tuple[str, str, list[str]]] = {}
        for message in recipe["messages"]:
            first = message["message"].splitlines()[0]
            key = re.sub(r"\d+", "0", first)
            known = lines.setdefault(key, (first, message["cell"], []))
            known[2].extend(r for r in message["releases"] if r not in known[2])
        return [
            *(element("li", nodes.literal("", text)) for text in recipe["wordings"]),
            *(self._entry(recipe, *line) for line in lines.values()),
        ]

    def _entry(
        self, recipe: dict, first: str, cell: str, releases: list[str]
    ) -> nodes.Node:
        uri = self.env.app.builder.get_relative_uri(
            self.env.docname, recipe["page"].removesuffix(".html")
        )
        link = nodes.reference(
            "", "", nodes.literal("", first[:300]), refuri=f"{uri}#{cell}"
        )
        order = list(folders(self.config))
        words = f" ({label(sorted(releases, key=order.index), order)})"
        return element("li", nodes.inline("", "", link, nodes.Text(words)))


@dependencies.kind("messages")
def _digest(env: BuildEnvironment, _: str) -> str:
    """Return a digest of all messages, and of what is said of their recipes."""
    return files.digest(repr(index(Path(env.srcdir), env.config)))


def _add_script(
    app: Sphinx, page: str, _template: str, _context: dict, _doctree: object
) -> None:
    """Load the script on the pages that have the box."""
    if "error_box" in app.env.metadata.get(page, {}):
        app.add_js_file("errors.js", loading_method="defer")


def _write(app: Sphinx, error: Exception | None) -> None:
    """Write the index, for tools and for the page, unless it is up to date."""
    used = any("error_box" in metadata for metadata in app.env.metadata.values())
    if error is not None or app.builder.format != "html" or not used:
        return
    target = Path(app.outdir, "errors.json")
    if noop.nothing_changed(app) and target.exists():
        return
    text = json.dumps(index(Path(app.srcdir), app.config), indent=1) + "\n"
    target.write_text(text, "utf-8")
    script = Path(app.outdir, "_static/errors-index.js")
    script.write_text(f"globalThis.cookbookErrors = {text.strip()};\n", "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.setup_extension("_ext.find.topics")
    app.add_directive("error-box", ErrorBox)
    app.add_directive("error-index", ErrorIndex)
    app.connect("html-page-context", _add_script)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
