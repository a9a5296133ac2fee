"""The topics: which recipes each has, in which order, and the cards that show them.

Each tag in ``recipe_topics`` has a page ``_doc/topics/<tag>.rst``. The directive
``recipes`` on that page lists the recipes of the topic, in the order in which they are
to be read. Nothing else lists them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from _ext import front
from _ext.releases import element, page_link

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_LISTED = re.compile(r"^\.\. recipes::\n\n((?: {3}\w+\n)+)", re.MULTILINE)
_TITLE = re.compile(r"^(.+)\n=+$", re.MULTILINE)
_PARAGRAPH = re.compile(r"^=+\n\n(.+?)\n\n", re.MULTILINE | re.DOTALL)


def page(topic: str) -> str:
    """Return the name of the page of a topic."""
    return f"topics/{topic.replace(' ', '-')}"


def listed(srcdir: Path, topic: str) -> list[str]:
    """Return the names of the recipes of a topic, in their order."""
    text = Path(srcdir, f"{page(topic)}.rst").read_text("utf-8")
    found = _LISTED.search(text)
    return found[1].split() if found else []


def heading(srcdir: Path, topic: str) -> str:
    """Return the title of the page of a topic."""
    text = Path(srcdir, f"{page(topic)}.rst").read_text("utf-8")
    return _TITLE.search(text)[1]


class _Cards(SphinxDirective):
    """A directive that shows recipes."""

    def cards(self, names: list[str]) -> nodes.Node:
        """Return a list with a card for each recipe."""
        return element("ul", *map(self._card, names), kind="recipe-cards", role="list")

    def _card(self, name: str) -> nodes.Node:
        script = Path(self.env.srcdir, "auto_recipes", f"{name}.py")
        self.env.note_dependency(script)
        if not script.exists():
            raise self.error(f"There is no recipe {name} in the folder recipes.")
        about = front.read(script)
        symptom, _ = self.parse_inline(about.symptom.replace("\n", " "))
        kinds = [element("li", nodes.Text(tag)) for tag in about.tags[1:]]
        return element(
            "li",
            nodes.paragraph("", "", page_link(f"/auto_recipes/{name}")),
            nodes.paragraph("", "", *symptom),
            element("ul", *kinds, kind="recipe-tags"),
            kind="recipe-card",
        )


class Recipes(_Cards):
    """``.. recipes::`` lists the recipes of a topic, one name a line."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the cards, and the entries for the side bar."""
        names = list(self.content)
        entries = [".. toctree::", "   :hidden:", ""]
        entries += [f"   /auto_recipes/{name}" for name in names]
        return [self.cards(names), *self.parse_text_to_nodes("\n".join(entries))]


class RecipeTopics(SphinxDirective):
    """``.. recipe-topics::`` puts the pages of all topics into the side bar."""

    def run(self) -> list[nodes.Node]:
        """Return the entries."""
        lines = [".. toctree::", "   :caption: Topics", "   :maxdepth: 1", ""]
        lines += [f"   /{page(topic)}" for topic in self.config.recipe_topics]
        return self.parse_text_to_nodes("\n".join(lines))


class RecipeGallery(_Cards):
    """``.. recipe-gallery::`` shows all recipes by topic, with the introductions."""

    def run(self) -> list[nodes.Node]:
        """Return a section for each topic."""
        return [self._section(topic) for topic in self.config.recipe_topics]

    def _section(self, topic: str) -> nodes.section:
        path = Path(self.env.srcdir, f"{page(topic)}.rst")
        self.env.note_dependency(path)
        text = path.read_text("utf-8")
        title = nodes.title("", heading(self.env.srcdir, topic))
        section = nodes.section("", title, ids=[nodes.make_id(topic)])
        lines = _PARAGRAPH.search(text)[1].splitlines()
        lines += ["", f":doc:`Read the introduction </{page(topic)}>`."]
        self.state.nested_parse(StringList(lines, str(path)), 0, section)
        section += self.cards(listed(self.env.srcdir, topic))
        return section


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directives."""
    app.setup_extension("_ext.releases")
    app.add_config_value("recipe_topics", [], "env", list)
    app.add_config_value("recipe_symptoms", [], "env", list)
    app.add_directive("recipes", Recipes)
    app.add_directive("recipe-topics", RecipeTopics)
    app.add_directive("recipe-gallery", RecipeGallery)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
