"""The error finder: which recipe answers an error.

The index has what torch can say with the recipes that answer it (see
:mod:`_ext.find.catalogue`), and each exception and warning that a recipe met under any
release, with the cell that shows it. A recipe adds wordings that it does not print, in
its own file (see :mod:`_ext.recipe`). ``errors.json`` is the index; the page works with
the same data, as a script, because a page that is opened from a disk may not read
files. The matching itself is in ``_static/errors-match.js``.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from _ext import dependencies, files, ids, noop, site
from _ext.answer import plain
from _ext.find import catalogue, topics
from _ext.find.catalogue import UNDECIDED
from _ext.recipe import read
from _ext.releases.differences import label
from _ext.releases.history import folders, load, recipes, short
from _ext.show.answer import FIX
from _ext.show.nodes import element, page_link, place_link

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.config import Config
    from sphinx.environment import BuildEnvironment

    from _ext.find.catalogue import Catalogue, Decision
    from _ext.releases.history import Recipe, Record

#: The version of the format of ``errors.json``; it changes when a reader would break.
FORMAT = 2

#: What ``errors.json`` is made of, as a JSON schema; published beside it.
SCHEMA = Path(__file__).with_name("errors.schema.json")

#: The folder of the catalogue in the source folder.
MESSAGES = "messages"

#: Characters of a message that are kept. The rest is advice that others have, too.
LONGEST = 1200

#: Characters of a text that no recipe answers: enough to know it.
SHORTER = 200

#: How what is decided of a text stands in the index.
ROLES = {"answer": "answer", "wrapper": "wrapper", "internal": "none", "open": "none"}

#: Characters of a message by which it is found in what a cell printed.
BEGINNING = 40

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")

#: What a cell notes besides its output, see :mod:`_ext.run.capture`.
NOTES = ("caught", "causes", "warned")

#: The columns of the table of counts.
COLUMNS = {
    "answer": "Answered",
    "wrapper": "Around a cause",
    "open": "No recipe",
    "internal": "Internal",
    UNDECIDED: "Undecided",
}

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
    """Return the index of all messages; ``page`` is the name of a page."""
    found = _recipes(srcdir, config)
    said = catalogue.load(srcdir / MESSAGES, [recipe["name"] for recipe in found])
    return {
        "format": FORMAT,
        "releases": list(folders(config)),
        "recipes": found,
        "templates": templates(said),
    }


def _recipes(srcdir: Path, config: Config) -> list[dict[str, Any]]:
    """Return what the index says of all recipes; an id where there is one."""
    known = ids.read(srcdir)
    found = [_recipe(load(page, srcdir, config)) for page in recipes(srcdir, config)]
    return [
        {"id": known[one["name"]], **one} if one["name"] in known else one
        for one in found
    ]


def templates(found: Catalogue) -> list[dict[str, Any]]:
    """Return what the index says of the texts of the catalogue."""
    return [_template(decision) for decision in found.decisions if decision.messages]


def _template(decision: Decision) -> dict[str, Any]:
    """Return a decision with its texts; what it does not say is left out."""
    role = ROLES[decision.role]
    optional = {
        "recipe": decision.recipe,
        "also": decision.also,
        "when": decision.when,
    }
    return {
        "role": role,
        **{key: value for key, value in optional.items() if value},
        **({} if decision.certain else {"certain": False}),
        "texts": [_text(message, role) for message in decision.messages],
    }


def _text(message: dict[str, Any], role: str) -> list[str | None]:
    """Return the text of a message, its kind, and the first and the last release."""
    ends = [message[end] and short(message[end]) for end in ("since", "until")]
    longest = SHORTER if role == "none" else None
    return [message["text"][:longest], message["kind"], *ends]


@functools.cache
def _recipe(recipe: Recipe) -> dict[str, Any]:
    """Return what the index says of one recipe; each is loaded once."""
    about = read(recipe.script)
    messages: dict[tuple, dict[str, Any]] = {}
    printed: dict[tuple, bool] = {}
    for release, record in recipe.records.items():
        for number, kind, message, is_printed in _messages(record):
            key = (number, kind, re.sub(r"\d+", "0", message))
            entry = messages.setdefault(
                key, {"cell": recipe.anchor(number), "type": kind, "releases": []}
            )
            entry["message"] = message
            printed[key] = printed.get(key, False) or is_printed
            if release not in entry["releases"]:
                entry["releases"].append(release)
    return {
        "name": recipe.name,
        "page": recipe.docname,
        "title": about.title,
        "topic": about.tags[0] if about.tags else "",
        "symptom": re.sub(r":\w+:`~?([^`]*)`|``", r"\1", about.symptom),
        "advice": about.description,
        "answer": _answer(recipe),
        "keywords": list(about.keywords),
        "wordings": list(about.wordings),
        "messages": [
            entry if printed[key] else {**entry, "printed": False}
            for key, entry in messages.items()
        ],
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


def _messages(record: Record) -> Iterator[tuple[int, str, str, bool]]:
    """Yield what a transcript notes: cell, type, message, whether it was printed."""
    cells = [(number, cell) for number, cell in enumerate(record.cells) if cell]
    output = _flat("\n".join(line for _, cell in cells for line in cell["output"]))
    for number, cell in cells:
        for note in NOTES:
            for kind, message in cell.get(note, ()):
                said = _ESCAPE.sub("", message).strip()[:LONGEST]
                if said:
                    yield number, kind, said, _flat(said)[:BEGINNING] in output


def _flat(text: str) -> str:
    """Return a text without colors and white space, for lines are wrapped."""
    return "".join(_ESCAPE.sub("", text).split())


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
            section += nodes.paragraph("", "", page_link(f"/{recipe['page']}"))
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
        link = place_link(recipe["page"], cell, nodes.literal("", first[:300]))
        order = list(folders(self.config))
        words = f" ({label(sorted(releases, key=order.index), order)})"
        return element("li", nodes.inline("", "", link, nodes.Text(words)))


@dependencies.kind("messages")
def _digest(env: BuildEnvironment, _: str) -> str:
    """Return a digest of all messages, and of what is said of their recipes."""
    return files.digest(repr(_recipes(Path(env.srcdir), env.config)))


class MessageCounts(SphinxDirective):
    """``.. message-counts::`` shows how much of what torch can say is answered."""

    def run(self) -> list[nodes.Node]:
        """Return a table of the areas."""
        dependencies.note(self.env, "catalogue")
        counts = _catalogue(self.env).counts
        total = sum(counts.values(), Counter())
        rows = [[area, *_row(counts[area])] for area in sorted(counts)]
        head = ["Area", *COLUMNS.values(), "All"]
        return [_table(head, [*rows, ["All", *_row(total)]])]


def _row(count: Counter[str]) -> list[str]:
    return [str(count[role]) for role in COLUMNS] + [str(count.total())]


def _table(head: list[str], rows: list[list[str]]) -> nodes.table:
    """Return a table of texts."""
    group = nodes.tgroup("", cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    group += nodes.thead("", _line(head))
    group += nodes.tbody("", *map(_line, rows))
    return nodes.table("", group)


def _line(texts: list[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", t)) for t in texts))


def _catalogue(env: BuildEnvironment) -> Catalogue:
    """Return the catalogue of the site."""
    pages = recipes(Path(env.srcdir), env.config)
    return catalogue.load(Path(env.srcdir, MESSAGES), [page.stem for page in pages])


@dependencies.kind("catalogue")
def _counts_digest(env: BuildEnvironment, _: str) -> str:
    """Return a digest of the counts."""
    return files.digest(repr(_catalogue(env).counts))


def _add_script(
    app: Sphinx, page: str, _template: str, _context: dict, _doctree: object
) -> None:
    """Load the script on the pages that have the box."""
    if "error_box" in app.env.metadata.get(page, {}):
        app.add_js_file("errors-match.js", loading_method="defer")
        app.add_js_file("errors.js", loading_method="defer")


def _write(app: Sphinx, error: Exception | None) -> None:
    """Write the index, for tools and for the page, unless it is up to date."""
    used = any("error_box" in metadata for metadata in app.env.metadata.values())
    if error is not None or not site.is_made(app) or not used:
        return
    target = Path(app.outdir, "errors.json")
    if noop.nothing_changed(app) and target.exists():
        return
    text = json.dumps(_addressed(app), separators=(",", ":"))
    files.replace(target, f"{text}\n")
    files.replace(Path(app.outdir, SCHEMA.name), SCHEMA.read_text("utf-8"))
    script = Path(app.outdir, "_static/errors-index.js")
    files.replace(script, f"globalThis.cookbookErrors = {text};\n")


def _addressed(app: Sphinx) -> dict[str, Any]:
    """Return the index with the addresses of pages, and that of the site if known."""
    found = index(Path(app.srcdir), app.config)
    if base := app.config.html_baseurl.rstrip("/"):
        found["site"] = f"{base}/"
    found["recipes"] = [
        {**recipe, "page": site.address(app, recipe["page"])}
        for recipe in found["recipes"]
    ]
    return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.add_directive("error-box", ErrorBox)
    app.add_directive("error-index", ErrorIndex)
    app.add_directive("message-counts", MessageCounts)
    app.connect("html-page-context", _add_script)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
