"""A recipe says what it is: its docstring and its configuration comments.

Which release of torch is installed, and whether that has what a recipe needs, is here
too: all later rooms ask for it.
"""

from __future__ import annotations

import ast
import functools
import re
import shutil
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from packaging.version import Version
from sphinx.errors import SphinxError

from _ext import gallery

if TYPE_CHECKING:
    from pathlib import Path

#: What a comment "# sphinx_gallery_<name>" in a recipe may set. Not what Sphinx-Gallery
#: knows besides: "parallel" would run a recipe in Sphinx's own process.
SETTINGS = (
    "end_ignore",
    "needs_program",
    "needs_torch",
    "start_ignore",
    "tags",
    "time_limit",
    "wording",
)

_LABEL = re.compile(r"^\.\. _([\w-]+):$", re.MULTILINE)
_META = re.compile(r"^ +:(\w+): (.+(?:\n {6,}.+)*)", re.MULTILINE)


class RecipeError(SphinxError):
    """A recipe that no page can be made of; the message says what to do."""

    category = "Recipe error"


@dataclass(frozen=True)
class Front:
    """What a recipe says of itself.

    Attributes
    ----------
    name
        The name of its file, without the suffix.
    label
        What other pages refer to it by; empty if there is none.
    title
        Its title.
    symptom
        The first paragraph after the title, in reStructuredText.
    description
        What to do, in one sentence; empty if there is none.
    keywords
        The words that readers search for.
    tags
        Its topic and the kinds of its symptom.
    wordings
        Other wordings of the symptom, which the recipe does not print.
    """

    name: str
    label: str
    title: str
    symptom: str
    description: str
    keywords: tuple[str, ...]
    tags: tuple[str, ...]
    wordings: tuple[str, ...]


@functools.cache
def tree(text: str) -> ast.Module:
    """Return the syntax tree of a recipe, which nobody changes."""
    return ast.parse(text)


def read(path: Path) -> Front:
    """Return what the recipe in a file says of itself.

    Raises
    ------
    RecipeError
        If it is not Python, has no docstring with a title, or has a comment for
        Sphinx-Gallery that is not known or not a Python value, or a time limit that is
        no number.
    """
    text = path.read_text("utf-8")
    shown = f"{path.parent.name}/{path.name}"
    try:
        docstring = ast.get_docstring(tree(text)) or ""
    except SyntaxError as error:
        raise RecipeError(
            f"{shown}, line {error.lineno}, is not Python: {error.msg}."
        ) from None
    paragraphs = [
        paragraph
        for paragraph in docstring.split("\n\n")
        if not paragraph.startswith(".. ")
    ]
    title = re.match(r"(.+)\n=+$", paragraphs[0]) if paragraphs else None
    if title is None:
        raise RecipeError(
            f"{shown} has no title: begin its docstring with a label, then a line "
            "of text that is underlined with '='."
        )
    label = _LABEL.search(docstring)
    meta = dict(_META.findall(docstring.rpartition(".. meta::")[2]))
    comments = _comments(shown, text)
    for seconds in comments.get("time_limit", []):
        if not isinstance(seconds, (int, float)):
            raise RecipeError(
                f"{shown}: '# sphinx_gallery_time_limit' is {seconds!r}: give seconds."
            )
    return Front(
        name=path.stem,
        label=label[1] if label else "",
        title=title[1],
        symptom=paragraphs[1] if paragraphs[1:] else "",
        description=" ".join(meta.get("description", "").split()),
        keywords=tuple(" ".join(meta.get("keywords", "").split()).split(", ")),
        tags=tuple(tag for tags in comments.get("tags", []) for tag in tags),
        wordings=tuple(comments.get("wording", [])),
    )


def _comments(name: str, text: str) -> dict[str, list]:
    """Return the values of the comments that configure a recipe, by their names.

    Sphinx-Gallery keeps the last value of a name only.
    """
    found: dict[str, list] = {}
    for match in gallery.INFILE_CONFIG_PATTERN.finditer(text):
        if match[1] not in SETTINGS:
            raise RecipeError(
                f"{name}: '# sphinx_gallery_{match[1]}' is not known: take one of "
                f"{', '.join(SETTINGS)}, or remove it."
            )
        try:
            value = ast.literal_eval(match[3] or "None")
        except (SyntaxError, ValueError):
            raise RecipeError(
                f"{name}: the value of '# sphinx_gallery_{match[1]}' is not a Python "
                f"value: {match[3]}."
            ) from None
        found.setdefault(match[1], []).append(value)
    return found


# -- What it needs ---------------------------------------------------------------------


@functools.cache
def installed_torch() -> str:
    """Return the installed release of torch, without importing it."""
    return metadata.version("torch").partition("+")[0]


def needed_torch(source: str) -> str | None:
    """Return the release of torch from which on a recipe can run, if it names one.

    A recipe names it by a comment: ``# sphinx_gallery_needs_torch = "2.8"``.
    """
    return gallery.settings(source).get("needs_torch")


def applies(source: str) -> bool:
    """Tell whether the installed release of torch has what a recipe needs."""
    needed = needed_torch(source)
    return needed is None or Version(installed_torch()) >= Version(needed)


def needed_program(source: str) -> str | None:
    """Return the program without which a recipe prints something else, if it names one.

    A recipe names it by a comment: ``# sphinx_gallery_needs_program = "g++"``.
    """
    return gallery.settings(source).get("needs_program")


def missing_program(source: str) -> str | None:
    """Return the program that a recipe needs and this machine does not have."""
    program = needed_program(source)
    return program if program and not shutil.which(program) else None


def time_limit(source: str, default: float) -> float:
    """Return how many seconds a recipe may take.

    A recipe raises its own limit by a comment: ``# sphinx_gallery_time_limit = 300``.
    """
    return float(gallery.settings(source).get("time_limit", default))


def shown(source: Path) -> str:
    """Name a recipe the way the reader of a message will look for it."""
    return f"{source.parent.name}/{source.name}"
