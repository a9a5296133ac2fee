"""The topics: which recipes each has, and in which order.

Each tag in ``recipe_topics`` has a page ``_doc/topics/<tag>.rst``. The directive
``recipes`` on that page lists the recipes of the topic, in the order in which they are
to be read. Nothing else lists them: whoever asks for them reads that page, by
docutils' own parser, with :func:`names` as the directive itself does.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import frontend, nodes, utils
from docutils.parsers.rst import Directive, Parser
from sphinx.errors import ConfigError
from sphinx.util.docutils import CustomReSTDispatcher

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sphinx.application import Sphinx


@dataclass(frozen=True)
class Topic:
    """What the page of a topic says.

    Attributes
    ----------
    heading
        Its title.
    introduction
        Its first paragraph, in reStructuredText.
    recipes
        The names of its recipes, in their order.
    """

    heading: str
    introduction: str
    recipes: tuple[str, ...]


def page(topic: str) -> str:
    """Return the name of the page of a topic."""
    return f"topics/{topic.replace(' ', '-')}"


def path(srcdir: Any, topic: str) -> Path:
    """Return the file of the page of a topic."""
    return Path(srcdir, f"{page(topic)}.rst")


def names(content: Iterable[str]) -> tuple[str, ...]:
    """Return the recipes that the content of the directive ``recipes`` lists."""
    return tuple(line.strip() for line in content if line.strip())


def listed(srcdir: Any, topic: str) -> list[str]:
    """Return the names of the recipes of a topic, in their order."""
    return list(read(srcdir, topic).recipes)


def heading(srcdir: Any, topic: str) -> str:
    """Return the title of the page of a topic."""
    return read(srcdir, topic).heading


def read(srcdir: Any, topic: str) -> Topic:
    """Return what the page of a topic says.

    Raises
    ------
    ConfigError
        If there is no such page, or it has no title or does not begin with prose.
    """
    file = path(srcdir, topic)
    shown = f"_doc/{page(topic)}.rst"
    if not file.exists():
        raise ConfigError(
            f'There is no page {shown}: write it, or take "{topic}" out of '
            "recipe_topics in conf.py."
        )
    found = _parsed(file.read_text("utf-8"))
    if not (found.heading and found.introduction):
        raise ConfigError(
            f"{shown} has no introduction: begin it with a title and a paragraph."
        )
    return found


@functools.cache
def _parsed(text: str) -> Topic:
    """Let docutils read the page of a topic."""
    settings = frontend.get_default_settings(Parser)
    settings.report_level = settings.halt_level = 5
    document = utils.new_document("topic", settings)
    with _Dispatcher():
        Parser().parse(text, document)
    title = document.next_node(nodes.title)
    paragraph = title and title.next_node(nodes.paragraph, descend=False, siblings=True)
    recipes = [name for node in document.findall(_listing) for name in node["names"]]
    return Topic(
        title.rawsource if title else "",
        paragraph.rawsource if paragraph else "",
        tuple(recipes),
    )


class _listing(nodes.General, nodes.Element):  # noqa: N801
    """What the directive ``recipes`` lists."""


class _Listing(Directive):
    """The directive ``recipes``, for a reader that makes no page."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the names."""
        return [_listing(names=names(self.content))]


class _Skipped(Directive):
    """Any other directive."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return nothing."""
        return []


class _Dispatcher(CustomReSTDispatcher):
    """Has docutils skip the directives and roles that Sphinx knows."""

    def directive(self, name: str, *_: Any) -> Any:
        """Return the class of a directive."""
        return (_Listing if name == "recipes" else _Skipped), []

    def role(self, *_: Any) -> Any:
        """Return the function of a role."""
        return (lambda _name, raw, *_: ([nodes.inline(raw, raw)], [])), []


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the settings."""
    app.add_config_value("recipe_topics", [], "env", list)
    app.add_config_value("recipe_symptoms", [], "env", list)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
