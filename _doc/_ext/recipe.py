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
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.core import publish_doctree
from packaging.version import InvalidVersion, Version
from sphinx.errors import SphinxError

from _ext import answer, gallery

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _ext.answer import Answer

#: The meta directive at the end of a docstring, with its content.
META = re.compile(
    r"^\.\. meta::[ \t]*(?:\n|\Z)(?:[ \t]+.*(?:\n|\Z)|[ \t]*\n)*", re.MULTILINE
)

_LABEL = re.compile(r"^\.\. _([\w-]+):$", re.MULTILINE)


@dataclass(frozen=True)
class Setting:
    """What a comment ``# sphinx_gallery_<name> = <value>`` in a recipe may set.

    Attributes
    ----------
    fits
        Tells whether a value is one.
    hint
        Says what to write instead.
    many
        Whether a recipe may have several; of all others it has one.
    """

    fits: Callable[[Any], bool]
    hint: str
    many: bool = False


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_release(value: Any) -> bool:
    try:
        Version(value)
    except (InvalidVersion, TypeError):
        return False
    return True


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_is_text, value))


def _is_time(value: Any) -> bool:
    return type(value) in {int, float} and 0 < value < float("inf")


#: Not what Sphinx-Gallery knows besides: "parallel" would run a recipe in Sphinx's own
#: process.
SETTINGS = {
    "end_ignore": Setting(lambda value: value is None, "give no value", many=True),
    "needs_program": Setting(_is_text, 'name the program, as in "g++"'),
    "needs_torch": Setting(_is_release, 'give the release as text, as in "2.8"'),
    "picture": Setting(_is_text, "say what to see in the picture", many=True),
    "start_ignore": Setting(lambda value: value is None, "give no value", many=True),
    "tags": Setting(_is_list_of_texts, 'give a list, as in ["inputs", "run fails"]'),
    "time_limit": Setting(_is_time, "give seconds, as in 300"),
    "wording": Setting(_is_text, 'give a text, as in "sizes must match"', many=True),
}


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
    answer
        What a reader needs who has no time; None if the page has none.
    """

    name: str
    label: str
    title: str
    symptom: str
    description: str
    keywords: tuple[str, ...]
    tags: tuple[str, ...]
    wordings: tuple[str, ...]
    answer: Answer | None = None


@functools.cache
def tree(text: str) -> ast.Module:
    """Return the syntax tree of a recipe, which nobody changes."""
    return ast.parse(text)


def read(path: Path) -> Front:
    """Return what the recipe in a file says of itself.

    Raises
    ------
    RecipeError
        If it is not Python, has no docstring with a title, or has an answer, a
        description or a comment for Sphinx-Gallery that nothing can be made of.
    """
    text, name = _text(path), shown(path)
    docstring = _docstring(text, name)
    found = _answer(docstring, name)
    paragraphs = [
        paragraph
        for paragraph in re.split(r"\n\s*\n", answer.without(docstring))
        if not paragraph.startswith(".. ")
    ]
    title = re.match(r"(.+)\n=+$", paragraphs[0]) if paragraphs else None
    if title is None:
        raise RecipeError(
            f"{name} has no title: begin its docstring with a label, then a line "
            "of text that is underlined with '='."
        )
    label = _LABEL.search(docstring)
    meta = _meta(docstring, text, name)
    said = _settings(text, name)
    return Front(
        name=path.stem,
        label=label[1] if label else "",
        title=title[1],
        symptom=paragraphs[1] if paragraphs[1:] else found.cause if found else "",
        description=found.text if found else meta.get("description", ""),
        keywords=_words(meta.get("keywords", "")),
        tags=tuple(said.get("tags", ())),
        wordings=tuple(said.get("wording", ())),
        answer=found,
    )


def _answer(docstring: str, name: str) -> Answer | None:
    """Return the answer in a docstring, if there is one."""
    try:
        return answer.find(docstring)
    except answer.AnswerError as error:
        raise RecipeError(f"{name}: {error}") from None


def _text(path: Path) -> str:
    """Return the text of a recipe."""
    data = path.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            f"{shown(path)}, line {line}, is not UTF-8: save it in that encoding."
        ) from None
    if text.startswith("\ufeff"):
        raise RecipeError(
            f"{shown(path)}, line 1, begins with a byte order mark: save it as UTF-8 "
            "without one."
        )
    return text.replace("\r\n", "\n")


def _docstring(text: str, name: str) -> str:
    """Return the docstring of a recipe, empty if there is none."""
    try:
        return ast.get_docstring(tree(text)) or ""
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)  # none for a null byte
        where = f"{name}, line {line}," if line else name
        what = getattr(error, "msg", error)
        raise RecipeError(f"{where} is not Python: {what}.") from None


def _meta(docstring: str, text: str, name: str) -> dict[str, str]:
    """Return what the meta directive of a docstring says."""
    block = META.search(docstring)
    if block is None:
        return {}
    found, wrong = _parsed(block[0])
    if wrong:
        line = text.count("\n", 0, text.find(".. meta::")) + 1
        raise RecipeError(
            f"{name}, line {line}: {wrong} Write ':description:' and ':keywords:' "
            "below '.. meta::', each with its text, and indent its other lines further."
        )
    return found


@functools.cache
def _parsed(block: str) -> tuple[dict[str, str], str]:
    """Let docutils read a meta directive; return its content, and what is wrong."""
    quiet = {"report_level": 1, "halt_level": 5, "warning_stream": False}
    document = publish_doctree(block, settings_overrides=quiet)
    found = {
        node["name"]: " ".join(node["content"].split())
        for node in document.findall(nodes.meta)
    }
    messages = document.findall(nodes.system_message)
    return found, next((message[0].astext() for message in messages), "")


def _words(text: str) -> tuple[str, ...]:
    """Return what commas separate."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


@functools.cache
def _settings(text: str, name: str = "The recipe") -> dict[str, Any]:
    """Return what the comments of a recipe set; a list of what it may have often.

    Raises
    ------
    RecipeError
        If a comment is not in :data:`SETTINGS`, or its value does not fit.
    """
    found: dict[str, Any] = {}
    for match in gallery.INFILE_CONFIG_PATTERN.finditer(text):
        key, line = match[1], text.count("\n", 0, match.start(1)) + 1
        where = f"{name}, line {line}: '# sphinx_gallery_{key}'"
        if key not in SETTINGS:
            raise RecipeError(
                f"{where} is not known: take one of {', '.join(SETTINGS)}, or remove "
                "it."
            )
        value = _value(match[3], where, SETTINGS[key])
        if SETTINGS[key].many:
            found.setdefault(key, []).append(value)
        elif key in found:
            raise RecipeError(f"{where} is there a second time: remove one of both.")
        else:
            found[key] = value
    return found


def _value(literal: str | None, where: str, setting: Setting) -> Any:
    """Return the value of a comment."""
    try:
        value = ast.literal_eval(literal or "None")
    except (SyntaxError, ValueError):
        raise RecipeError(
            f"{where} is not a Python value: {literal}; {setting.hint}."
        ) from None
    if not setting.fits(value):
        given = f"is {value!r}" if literal else "has no value"
        raise RecipeError(f"{where} {given}: {setting.hint}.")
    return value


# -- What it needs ---------------------------------------------------------------------


@functools.cache
def installed_torch() -> str:
    """Return the installed release of torch, without importing it."""
    return metadata.version("torch").partition("+")[0]


def needed_torch(source: str) -> str | None:
    """Return the release of torch from which on a recipe can run, if it names one.

    A recipe names it by a comment: ``# sphinx_gallery_needs_torch = "2.8"``.
    """
    return _settings(source).get("needs_torch")


def applies(source: str) -> bool:
    """Tell whether the installed release of torch has what a recipe needs."""
    needed = needed_torch(source)
    return needed is None or Version(installed_torch()) >= Version(needed)


def needed_program(source: str) -> str | None:
    """Return the program without which a recipe prints something else, if it names one.

    A recipe names it by a comment: ``# sphinx_gallery_needs_program = "g++"``.
    """
    return _settings(source).get("needs_program")


def missing_program(source: str) -> str | None:
    """Return the program that a recipe needs and this machine does not have."""
    program = needed_program(source)
    return program if program and not shutil.which(program) else None


def time_limit(source: str, default: float) -> float:
    """Return how many seconds a recipe may take.

    A recipe raises its own limit by a comment: ``# sphinx_gallery_time_limit = 300``.
    """
    return float(_settings(source).get("time_limit", default))


def shown(source: Path) -> str:
    """Name a recipe the way the reader of a message will look for it."""
    return f"{source.parent.name}/{source.name}"
