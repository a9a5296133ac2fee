"""The pages of releases: how each recipe fares, and what a release changes.

``.. release-table::`` says, for each recipe and release, whether the problem occurs and
whether the fix works. ``.. release-list::`` leads to the page of each release, which is
``.. release-changes:: 2.9``. ``.. release-news::`` has of the newest release what
matters most. All are made from the transcripts; nothing is typed.
"""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from _ext import dependencies, files
from _ext.find import topics
from _ext.releases import differences
from _ext.releases import news as news_module
from _ext.releases.history import FARES, Recipe, folders, load, recipes
from _ext.releases.news import count, news
from _ext.show.answer import FIX
from _ext.show.nodes import element, page_link, place_link

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

    from _ext.releases.news import News, Places

#: How many characters of a message are shown.
LONGEST = 240

#: How many recipes are named in which something is seen.
FEW = 3

#: How many changes the front page names.
HEADLINES = 3

#: What is said of the recipes in which something changes, in the order of importance.
#: The keys are those of :class:`_ext.releases.news.News`.
HEADINGS = {
    "new": "New errors",
    "silent": "No longer an error: check the result",
    "gone": "Errors that are gone",
    "broken": "Fixes that no longer work",
    "works": "Fixes that work now",
    "types": "Exceptions of another type",
    "said": "What messages say now",
    "unsaid": "What messages no longer say",
    "applies": "Recipes that need this version",
    "elsewhere": "Errors besides the problem of a recipe, raised now",
    "quiet": "Errors besides the problem of a recipe, no longer raised",
    "output": "Other output without an error",
}

#: The same in a few words, with their number before them.
COUNTS = {
    "new": "new error(s)",
    "silent": "error(s) no longer raised",
    "gone": "error(s) gone",
    "broken": "fix(es) broken",
    "works": "fix(es) that work now",
    "types": "exception type(s) changed",
    "said": "new sentence(s) in messages",
}

_CODE = [Path(__file__)] + [
    Path(str(module.__file__)) for module in (differences, news_module)
]


def _all_recipes(env: BuildEnvironment) -> list[Recipe]:
    pages = recipes(env.srcdir, env.config)
    return [load(page, env.srcdir, env.config) for page in pages]


@dependencies.kind("all recipes")
def _digest(env: BuildEnvironment, _: str) -> str:
    """Return a digest of all that a page of this module is made from."""
    found = [
        (r.name, r.digest, r.title, r.topic, r.may_be_silent) for r in _all_recipes(env)
    ]
    code = [path.read_text("utf-8") for path in _CODE]
    return files.digest(repr((code, found)))


class _ReleaseDirective(SphinxDirective):
    """A directive that shows what is known of all recipes."""

    def recipes(self) -> list[Recipe]:
        """Return all recipes."""
        dependencies.note(self.env, "all recipes")
        return _all_recipes(self.env)

    def pairs(self) -> list[tuple[str, str]]:
        """Return each release with the one before it, the newest first."""
        return list(itertools.pairwise(folders(self.config)))[::-1]


# -- The table -------------------------------------------------------------------------


class ReleaseTable(_ReleaseDirective):
    """``.. release-table::`` shows how each recipe fares, folded by topic."""

    def run(self) -> list[nodes.Node]:
        """Return what the signs mean, and a table for each topic."""
        releases = list(folders(self.config))
        found = self.recipes()
        known = {recipe.fares(r) for recipe in found for r in releases}
        folded = itertools.starmap(self._topic, self._topics(found))
        return [_legend(known), *folded]

    def _topics(self, found: list[Recipe]) -> Iterator[tuple[str, list[Recipe]]]:
        """Yield the heading and the recipes of each topic that has any."""
        for topic in [*self.config.recipe_topics, ""]:
            some = [recipe for recipe in found if recipe.topic == topic]
            if some:
                srcdir = self.env.srcdir
                yield topics.heading(srcdir, topic) if topic else "Recipes", some

    def _topic(self, heading: str, some: list[Recipe]) -> nodes.Node:
        releases = list(folders(self.config))
        summary = element(
            "summary",
            nodes.Text(f"{heading} "),
            element("span", nodes.Text(_summary(some, releases)), kind="release-sum"),
        )
        box = element(
            "div",
            _table(releases, some),
            kind="release-table",
            tabindex="0",
            role="region",
            aria_label=f"{heading}: recipes and versions",
        )
        return element("details", summary, box, kind="release-topic")


def _summary(some: list[Recipe], releases: list[str]) -> str:
    """Say how many recipes there are, and whether a reader has to look."""
    alike = sum({r.fares(release) for release in releases} == {"works"} for r in some)
    number = "1 recipe" if len(some) == 1 else f"{len(some)} recipes"
    if alike == len(some):
        return f"{number}, all as in every version"
    verb = "depends" if len(some) - alike == 1 else "depend"
    return f"{number}, of which {len(some) - alike} {verb} on the version"


def _legend(states: set[str]) -> nodes.Node:
    """Say what the signs in the table mean."""
    items = [
        element("li", _sign(state), nodes.Text(f" {words}"))
        for state, (_, words) in FARES.items()
        if state in states
    ]
    return element("ul", *items, kind="release-legend", role="list")


def _sign(state: str) -> nodes.Node:
    kind = f"release-sign release-{state.replace(' ', '-')}"
    return element("span", nodes.Text(FARES[state][0]), kind=kind, aria_hidden="true")


def _table(releases: list[str], found: list[Recipe]) -> nodes.table:
    """Return a row for each recipe, with a column for each release."""
    head = [nodes.paragraph("", word) for word in ("Recipe", *releases)]
    group = nodes.tgroup("", cols=len(head))
    group += [nodes.colspec("", colwidth=1, stub=not i) for i in range(len(head))]
    group += nodes.thead("", _row(head))
    rows = (
        _row([_paragraph(page_link(f"/{recipe.docname}")), *_states(recipe, releases)])
        for recipe in found
    )
    group += nodes.tbody("", *rows)
    return nodes.table("", group)


def _row(cells: list[nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def _states(recipe: Recipe, releases: list[str]) -> Iterator[nodes.Node]:
    """Yield how a recipe fares under each release, with a link where it differs."""
    for release in releases:
        state = recipe.fares(release)
        sign, words = FARES[state]
        if state not in ("partly", "silent", "absent", "broken"):
            yield _paragraph(sign)  # nearly all cells: the legend is enough
            continue
        said = element("span", nodes.Text(words), kind="release-words")
        anchor = _fix(recipe) if state == "broken" else recipe.anchor(0)
        shown = (_sign(state), said)
        yield _paragraph(place_link(recipe.docname, anchor, *shown, release=release))


def _fix(recipe: Recipe) -> str:
    """Return the anchor of the fix, or of the first cell of a recipe without one."""
    return recipe.anchor(0) if recipe.fix is None else FIX


# -- What a release changes ------------------------------------------------------------


class ReleaseChanges(_ReleaseDirective):
    """``.. release-changes:: 2.9`` says what 2.9 changes for a reader."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a section for each kind of change."""
        new = self.arguments[0]
        old = {new: old for old, new in self.pairs()}.get(new)
        if old is None:
            raise self.error(
                f"{new} is not among torch_releases in conf.py, or is the first."
            )
        found = [r for r in self.recipes() if r.is_recorded(old) and r.is_recorded(new)]
        if not found:
            return [_paragraph(f"No recipe is recorded with both {old} and {new}.")]
        changed = news(old, new, found)
        if not changed:
            return [_paragraph(f"Nothing: the recipes do what they did with {old}.")]
        lead = f"Compared with {old}, by running {len(found)} recipes with both."
        sections = (_section(key, changed, old, new) for key in HEADINGS)
        return [_paragraph(lead), *filter(None, sections)]


def _section(key: str, changed: News, old: str, new: str) -> nodes.section | None:
    """Return the section of a kind of change, if there is any."""
    found = getattr(changed, key)
    release = old if key in ("silent", "gone", "quiet", "unsaid") else new
    items = [nodes.list_item("", *item) for item in _entries(key, found, release)]
    if not items:
        return None
    title = nodes.title("", HEADINGS[key])
    listed = nodes.bullet_list("", *items)
    return nodes.section("", title, listed, ids=[key])


def _entries(key: str, found: Any, release: str) -> Iterator[list[nodes.Node]]:
    """Yield the nodes of each change of one kind."""
    if key in ("works", "broken", "applies"):
        for recipe in found:
            yield [_paragraph(_title(recipe, _fix(recipe), release))]
    elif key == "output":
        yield from ([_paragraph(_title(*_first(p), release))] for p in _each(found))
    else:
        for text, places in found.items():
            if key != "unsaid" or count(places) > 1:  # what one said nobody misses
                yield [_said(text), _places(places, release)]


def _said(text: str | tuple[str, str]) -> nodes.Node:
    """Return a text of messages, or what is raised before and now."""
    if isinstance(text, str):
        return _message(text)
    old, new = map(_literal, text)
    before, now = nodes.Text("before: "), nodes.Text("now: ")
    lines = element("span", before, old), element("span", now, new)
    return element("p", *lines, kind="release-message release-pair")


def _each(places: Places) -> Iterator[Places]:
    """Yield the places in each recipe."""
    for _, some in itertools.groupby(places, key=lambda place: place[0].name):
        yield list(some)


def _first(places: Places) -> tuple[Recipe, str]:
    """Return a recipe, and the anchor of the first of some places in it."""
    recipe, number = places[0]
    return recipe, recipe.anchor(number)


def _places(places: Places, release: str) -> nodes.Node:
    """Say in how many recipes something is seen, with links to the first of them."""
    ordered = sorted(places, key=lambda place: (place[0].name, place[1]))
    links = [_title(*_first(some), release) for some in _each(ordered)]
    lead = "In " if len(links) <= FEW else f"In {len(links)} recipes, such as "
    commas = [nodes.Text(lead), *itertools.repeat(nodes.Text(", "), FEW)]
    return _paragraph(*itertools.chain(*zip(commas, links[:FEW], strict=False)))


def _title(recipe: Recipe, anchor: str, release: str) -> nodes.Node:
    """Return a link, with the title of a recipe, to a cell as it is under a release."""
    words = nodes.Text(recipe.title)
    return place_link(recipe.docname, anchor, words, release=release)


def _message(line: str) -> nodes.Node:
    return element("p", _literal(line), kind="release-message")


def _literal(line: str) -> nodes.literal:
    return nodes.literal("", textwrap.shorten(line, LONGEST, placeholder=" …"))


def _paragraph(*shown: nodes.Node | str) -> nodes.paragraph:
    made = (nodes.Text(each) if isinstance(each, str) else each for each in shown)
    return nodes.paragraph("", "", *made)


# -- What matters most -----------------------------------------------------------------


class ReleaseList(_ReleaseDirective):
    """``.. release-list::`` leads to what each release changes, the newest first."""

    def run(self) -> list[nodes.Node]:
        """Return a list, and the entries for the side bar."""
        found = self.recipes()
        items = [
            element(
                "li",
                nodes.inline("", "", page_link(f"/{_page(new)}")),
                nodes.Text(f": {_counted(news(old, new, found))}"),
            )
            for old, new in self.pairs()
        ]
        for item, (_, new) in zip(items, self.pairs(), strict=True):
            item["ids"].append(f"changes-{new.replace('.', '-')}")  # an old address
        entries = [".. toctree::", "   :hidden:", ""]
        entries += [f"   /{_page(new)}" for _, new in self.pairs()]
        shown = element("ul", *items, kind="release-list")
        return [shown, *self.parse_text_to_nodes("\n".join(entries))]


def _page(release: str) -> str:
    """Return the name of the page of a release."""
    return f"releases/{release}"


def _counted(changed: News) -> str:
    """Say in a line what changes."""
    parts = [
        f"{number} {words.replace('(s)', 's' * (number > 1)).replace('(es)', 'es')}"
        for key, words in COUNTS.items()
        if (number := len(getattr(changed, key)))
    ]
    return ", ".join(parts) or "little"


class ReleaseNews(_ReleaseDirective):
    """``.. release-news::`` names what matters most of the newest release."""

    def run(self) -> list[nodes.Node]:
        """Return a list of changes, and a link to all."""
        old, new = self.pairs()[0]
        found = itertools.islice(_headlines(news(old, new, self.recipes()), new), 3)
        items = [nodes.list_item("", *item) for item in found]
        lead = f"What {new} changes most, compared with {old}:"
        link = _paragraph("All changes: ", page_link(f"/{_page(new)}"), ".")
        return [
            *([_paragraph(lead), nodes.bullet_list("", *items)] if items else []),
            link,
        ]


def _headlines(changed: News, release: str) -> Iterable[list[nodes.Node]]:
    """Yield the changes, the most important first."""
    for key, heading in HEADINGS.items():
        for item in _entries(key, getattr(changed, key), release):
            item[0].insert(0, element("strong", nodes.Text(f"{heading}: ")))
            yield item


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.add_directive("release-table", ReleaseTable)
    app.add_directive("release-list", ReleaseList)
    app.add_directive("release-changes", ReleaseChanges)
    app.add_directive("release-news", ReleaseNews)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
