"""The page of releases: how each recipe fares, and what changed with each release.

``.. release-table::`` makes the table of recipes and releases, ``.. release-changes::``
a section per release. Both are made from the transcripts; nothing is typed.
"""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from _ext import dependencies, files
from _ext.recipe import read
from _ext.releases.differences import Change, changes
from _ext.releases.history import STATES, Recipe, folders, load, recipes
from _ext.show.nodes import element, page_link, place_link
from _ext.show.outputs import signed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

#: The headings under a release, by the kind of change.
HEADINGS = {
    "applies": "What needs {new} and did not apply to {old}",
    "does not apply": "What no longer applies",
    "disappeared": "No longer raised",
    "appeared": "Raised now, and not with {old}",
    "type": "Another exception",
    "wording": "The same exception in other words",
    "output": "Other output, the same exceptions or none",
}

#: How many characters of a message are shown.
LONGEST = 200

#: Each change with the recipes and numbers of the cells in which it is seen.
Places = dict[Change, list[tuple[Recipe, int]]]


def _all_recipes(env: BuildEnvironment) -> list[Recipe]:
    pages = recipes(env.srcdir, env.config)
    return [load(page, env.srcdir, env.config) for page in pages]


@dependencies.kind("all recipes")
def _digest(env: BuildEnvironment, _: str) -> str:
    """Return a digest of all that a page of this module is made from."""
    found = [
        (recipe.name, recipe.digest, read(recipe.script).title)
        for recipe in _all_recipes(env)
    ]
    return files.digest(Path(__file__).read_text("utf-8") + repr(found))


class _ReleaseDirective(SphinxDirective):
    """A directive that shows what is known of all recipes."""

    def recipes(self) -> list[Recipe]:
        """Return all recipes."""
        dependencies.note(self.env, "all recipes")
        return _all_recipes(self.env)


class ReleaseTable(_ReleaseDirective):
    """``.. release-table::`` shows how each recipe fares under each release."""

    def run(self) -> list[nodes.Node]:
        """Return the table in a box that scrolls, and what its signs mean."""
        releases = list(folders(self.config))
        found = self.recipes()
        box = element(
            "div",
            _table(releases, found),
            kind="release-table",
            tabindex="0",
            role="region",
            aria_label="Recipes and releases",
        )
        return [box, _legend({recipe.state(r) for recipe in found for r in releases})]


def _table(releases: list[str], found: list[Recipe]) -> nodes.table:
    """Return a row for each recipe, with a column for each release."""
    head = [nodes.paragraph("", word) for word in ("Recipe", *releases)]
    group = nodes.tgroup("", cols=len(head))
    group += [nodes.colspec("", colwidth=1, stub=not i) for i in range(len(head))]
    group += nodes.thead("", _row(head))
    group += nodes.tbody(
        "",
        *(
            _row(
                [
                    nodes.paragraph("", "", page_link(f"/{recipe.docname}")),
                    *(_state(recipe, release) for release in releases),
                ]
            )
            for recipe in found
        ),
    )
    return nodes.table("", group)


def _row(cells: list[nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def _state(recipe: Recipe, release: str) -> nodes.Node:
    """Return how a recipe fares under a release, with a link where it differs."""
    state = recipe.state(release)
    sign = element("span", nodes.Text(STATES[state][0]), aria_hidden="true")
    words = element(
        "span", nodes.Text(f"{release}: {STATES[state][1]}"), kind="release-words"
    )
    number = recipe.first_difference(release)
    shown = [sign, words]
    if number is not None:
        shown = [_link(recipe, number, release, *shown)]
    return nodes.paragraph("", "", *shown)


def _link(recipe: Recipe, number: int, release: str, *shown: nodes.Node) -> nodes.Node:
    """Return a link to a cell as it is under a release."""
    return place_link(recipe.docname, recipe.anchor(number), *shown, release=release)


def _legend(states: set[str]) -> nodes.Node:
    """Say what the signs in the table mean."""
    items = [
        element("li", *signed(state, words))
        for state, (_, words) in STATES.items()
        if state in states
    ]
    return element("ul", *items, kind="release-legend")


class ReleaseChanges(_ReleaseDirective):
    """``.. release-changes::`` says what each release changed, the newest first."""

    def run(self) -> list[nodes.Node]:
        """Return a section for each release but the first."""
        pairs = list(itertools.pairwise(folders(self.config)))
        found = self.recipes()
        return [_section(old, new, found) for old, new in reversed(pairs)]


class ReleaseNews(_ReleaseDirective):
    """``.. release-news::`` counts what the newest release changed."""

    def run(self) -> list[nodes.Node]:
        """Return a list of counts, and a link to the changes themselves."""
        old, new = list(folders(self.config))[-2:]
        compared = [
            r for r in self.recipes() if r.is_recorded(old) and r.is_recorded(new)
        ]
        changed = _collect(old, new, compared)
        items = [
            nodes.list_item("", nodes.paragraph("", f"{heading}: {len(changed[kind])}"))
            for kind, heading in _headings(old, new).items()
            if kind in changed
        ]
        words = nodes.Text(f"What changed for export in {new}")
        link = place_link("releases", _anchor(new), words)
        lead = f"The newest release here is {new}. Against {old}, in these recipes:"
        shown = [nodes.paragraph("", lead), nodes.bullet_list("", *items)]
        return [*(shown if items else []), nodes.paragraph("", "", link)]


def _headings(old: str, new: str) -> dict[str, str]:
    """Return the headings of the changes from one release to the next."""
    return {kind: text.format(old=old, new=new) for kind, text in HEADINGS.items()}


def _anchor(release: str) -> str:
    """Return the anchor of the changes of a release on its page."""
    return f"changes-{release.replace('.', '-')}"


def _section(old: str, new: str, found: list[Recipe]) -> nodes.section:
    """Return what changed from one release to the next."""
    title = nodes.title("", f"What changed for export in {new}")
    section = nodes.section("", title, ids=[_anchor(new)])
    compared = [r for r in found if r.is_recorded(old) and r.is_recorded(new)]
    changed = _collect(old, new, compared)
    if not compared:
        words = f"No recipe is recorded with both {old} and {new}."
        section += nodes.paragraph("", words)
    elif not changed:
        words = f"Nothing: the recipes print and raise what they did with {old}."
        section += nodes.paragraph("", words)
    for kind, heading in _headings(old, new).items():
        if kind in changed:
            section += nodes.rubric("", heading)
            section += _list(changed[kind], new)
    return section


def _collect(old: str, new: str, found: list[Recipe]) -> dict[str, Places]:
    """Return the changes by kind, the same change in several places as one."""
    collected: dict[str, Places] = {}
    for recipe in found:
        for change, number in _changes(recipe, old, new):
            places = collected.setdefault(change.kind, {}).setdefault(change, [])
            places.append((recipe, number))
    return collected


def _changes(recipe: Recipe, old: str, new: str) -> Iterator[tuple[Change, int]]:
    """Yield what changed in each cell of a recipe."""
    before, now = recipe.records[old], recipe.records[new]
    if before.state != "does not apply" and now.state == "does not apply":
        yield Change("does not apply"), 0
    if before.state == "does not apply" and now.state != "does not apply":
        yield Change("applies"), 0
    for number, (a, b) in enumerate(zip(before.cells, now.cells, strict=False)):
        if a is not None and b is not None:
            for change in changes(a, b):
                yield change, number


def _list(changed: Places, release: str) -> nodes.Node:
    """Return a list of changes, each with links to its places."""
    entries = nodes.bullet_list()
    for change, places in changed.items():
        links = nodes.paragraph()
        for number, place in enumerate(places):
            links += [nodes.Text(", ")] * bool(number) + [_link(*place, release)]
        entries += nodes.list_item("", *_messages(change), links)
    return entries


def _messages(change: Change) -> list[nodes.Node]:
    """Return the lines of a change, as far as it has any."""
    both = change.kind in ("type", "wording")
    lines = {"before": change.before, "now": change.now}
    messages = [_message("", change.about)] if change.about else []
    for words, line in lines.items():
        if both or line:
            messages.append(_message(f"{words}: " if both else "", line))
    return messages


def _message(words: str, line: str) -> nodes.Node:
    """Return a line of a message, with words before it."""
    shown = nodes.literal("", textwrap.shorten(line, LONGEST, placeholder=" …"))
    if not line:
        shown = nodes.emphasis("", "no such line")
    return element("p", nodes.Text(words), shown, kind="release-message")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.add_directive("release-table", ReleaseTable)
    app.add_directive("release-changes", ReleaseChanges)
    app.add_directive("release-news", ReleaseNews)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
