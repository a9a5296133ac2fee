"""The cards that show recipes: those of a topic, all of them, and those of topics."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from _ext import dependencies, files
from _ext.find import topics
from _ext.recipe import read
from _ext.releases.history import load
from _ext.show.nodes import element, page_link

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

    from _ext.releases.history import Recipe


def _script(env: BuildEnvironment, name: str) -> Path:
    """Return the copy of a recipe that Sphinx-Gallery made."""
    return Path(env.srcdir, "auto_recipes", f"{name}.py")


@dependencies.kind("card")
def _digest(env: BuildEnvironment, name: str) -> str:
    """Return a digest of what the card of a recipe shows."""
    script = _script(env, name)
    about = read(script) if script.exists() else None
    return files.digest(repr(about))


class _Cards(SphinxDirective):
    """A directive that shows recipes."""

    def cards(self, names: Iterable[str]) -> nodes.Node:
        """Return a list with a card for each recipe."""
        return element("ul", *map(self._card, names), kind="recipe-cards", role="list")

    def _card(self, name: str) -> nodes.Node:
        script = _script(self.env, name)
        if not script.exists():
            raise self.error(f"There is no recipe {name} in the folder recipes.")
        dependencies.note(self.env, "card", name)
        about = read(script)
        said = about.answer.cause if about.answer else about.symptom
        words, _ = self.parse_inline(said.replace("\n", " "))
        kinds = [element("li", nodes.Text(tag)) for tag in about.tags[1:]]
        return element(
            "li",
            nodes.paragraph("", "", page_link(f"/auto_recipes/{name}")),
            nodes.paragraph("", "", *words),
            element("ul", *kinds, kind="recipe-tags", role="list"),
            kind="recipe-card",
            data_symptoms="|".join(about.tags[1:]),
            data_fails=" ".join(self.failing(script)),
        )

    def failing(self, script: Path) -> list[str]:
        """Return the releases under which a recipe fails; here nobody asks."""
        del script
        return []


def failing(recipe: Recipe) -> list[str]:
    """Return the releases under which a recipe meets an error that not all raise."""
    found = set()
    for number in range(len(recipe.cells)):
        history = recipe.history(number)
        caught = {release for release in history if history[release]["caught"]}
        if len(caught) < len(history):
            found |= caught
    return [release for release in recipe.releases if release in found]


class Recipes(_Cards):
    """``.. recipes::`` lists the recipes of a topic, one name a line."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the cards, and the entries for the side bar."""
        names = topics.names(self.content)
        entries = [".. toctree::", "   :hidden:", ""]
        entries += [f"   /auto_recipes/{name}" for name in names]
        return [self.cards(names), *self.parse_text_to_nodes("\n".join(entries))]


class RecipeTopics(SphinxDirective):
    """``.. recipe-topics::`` puts the pages of all topics into the side bar."""

    def run(self) -> list[nodes.Node]:
        """Return the entries."""
        lines = [
            ".. toctree::",
            "   :caption: Topics",
            "   :hidden:",
            "   :maxdepth: 1",
            "",
        ]
        lines += [f"   /{topics.page(topic)}" for topic in self.config.recipe_topics]
        return self.parse_text_to_nodes("\n".join(lines))


class RecipeGallery(_Cards):
    """``.. recipe-gallery::`` shows all recipes by topic."""

    def run(self) -> list[nodes.Node]:
        """Return what filters the recipes, and a section for each topic."""
        metadata = self.env.metadata[self.env.docname]
        metadata["gallery"] = metadata["picker"] = "yes"
        metadata["hide-toc"] = ""  # furo's: three columns need the place
        dependencies.note(self.env, "all recipes")
        sections = [self._section(topic) for topic in self.config.recipe_topics]
        return [self._filter(), *sections]

    def failing(self, script: Path) -> list[str]:
        """Return the releases under which a recipe fails, and not under all."""
        srcdir = Path(self.env.srcdir)
        return failing(load(script.with_suffix(".rst"), srcdir, self.config))

    def _filter(self) -> nodes.Node:
        """Return the controls; the script of the page shows them."""
        known = {
            nodes.make_id(topic): topics.heading(self.env.srcdir, topic)
            for topic in self.config.recipe_topics
        }
        symptoms = {symptom: symptom for symptom in self.config.recipe_symptoms}
        box = element("input", type="checkbox", name="fails")
        release = element("output", name="release")
        before, after = " Only problems of ", " that not every version has"
        return element(
            "form",
            _choice("topic", "Topic", "All topics", known),
            _choice("symptom", "Symptom", "All symptoms", symptoms),
            element("label", box, nodes.Text(before), release, nodes.Text(after)),
            element("p", role="status"),
            element(
                "button", nodes.Text("Show all recipes"), type="reset", hidden="hidden"
            ),
            kind="gallery-filter",
            hidden="hidden",
            aria_label="Filter the recipes",
        )

    def _section(self, topic: str) -> nodes.section:
        path = topics.path(self.env.srcdir, topic)
        self.env.note_dependency(path)
        said = topics.read(self.env.srcdir, topic)
        title = nodes.title("", said.heading)
        section = nodes.section("", title, ids=[nodes.make_id(topic)])
        section["classes"].append("gallery-topic")
        lines = [f":doc:`What do you see? </{topics.page(topic)}>`"]
        self.state.nested_parse(StringList(lines, str(path)), 0, section)
        section += self.cards(said.recipes)
        return section


def _choice(
    name: str, words: str, everything: str, known: dict[str, str]
) -> nodes.Node:
    """Return a list to choose one value from, or all."""
    options = [
        element("option", nodes.Text(text), value=value)
        for value, text in {"": everything, **known}.items()
    ]
    return element(
        "label", nodes.Text(f"{words} "), element("select", *options, name=name)
    )


class TopicCards(SphinxDirective):
    """``.. topic-cards::`` shows the topics, each with how it begins."""

    def run(self) -> list[nodes.Node]:
        """Return a list with a card for each topic."""
        cards = map(self._card, self.config.recipe_topics)
        return [element("ul", *cards, kind="recipe-cards", role="list")]

    def _card(self, topic: str) -> nodes.Node:
        self.env.note_dependency(topics.path(self.env.srcdir, topic))
        said = topics.read(self.env.srcdir, topic)
        words, _ = self.parse_inline(_beginning(said.introduction))
        tag = element("li", nodes.Text(f"{len(said.recipes)} recipes"))
        return element(
            "li",
            nodes.paragraph("", "", page_link(f"/{topics.page(topic)}")),
            nodes.paragraph("", "", *words),
            element("ul", tag, kind="recipe-tags", role="list"),
            kind="recipe-card",
        )


def _beginning(paragraph: str) -> str:
    """Return the first sentences of a paragraph, of 60 characters or more."""
    text = " ".join(paragraph.splitlines())
    end = re.search(r"[.?](?= |$)", text[60:])
    return text[: 60 + end.end()] if end else text


def _add_script(
    app: Sphinx, docname: str, _template: str, _context: dict, _doctree: object
) -> None:
    """Load the script of the filter on the page that has one."""
    if "gallery" in app.env.metadata.get(docname, {}):
        app.add_js_file("gallery.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directives."""
    app.add_directive("recipes", Recipes)
    app.add_directive("recipe-topics", RecipeTopics)
    app.add_directive("recipe-gallery", RecipeGallery)
    app.add_directive("topic-cards", TopicCards)
    app.connect("html-page-context", _add_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
