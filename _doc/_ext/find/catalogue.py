"""What torch can say, and which recipe answers it.

The catalogue, ``messages/<area>.jsonl``, has the texts (see
:mod:`_ext.commands.messages`). What is decided of them stands beside it, in
``messages/answers/<area>.toml``, by hand:

``[[answer]]``
   A recipe answers the texts. ``also`` names others that may; each rule of ``when``
   says which recipe it is if what stands in a hole, the first being 1, is of a form; of
   hole 0, if something of that form stands anywhere in what a reader pasted. The first
   rule that fits wins; with ``recipe = ""`` no recipe is certain then. With ``certain =
   false``, no cause is much more frequent than the others: only a rule is certain.
``[[wrapper]]``
   The texts surround a cause. A recipe that it names is for texts without a cause.
``[[internal]]``, ``[[open]]``
   A reader cannot cause the texts, or no recipe answers them. Besides ``texts`` they
   may have ``match``, patterns of texts, and ``files``, for what stands nowhere else.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sphinx.errors import ConfigError

from _ext.noop import stats

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # Sphinx brings it

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

#: What may be decided, in the order in which the page counts it.
ROLES = ("answer", "wrapper", "internal", "open")
UNDECIDED = "undecided"

#: The keys of each, besides ``texts``.
KEYS = {
    "answer": {"recipe", "also", "when", "certain"},
    "wrapper": {"recipe", "also", "when"},
    "internal": {"why", "match", "files"},
    "open": {"why", "match", "files"},
}

#: What Python knows in a pattern and a browser does not.
_PYTHON_ONLY = re.compile(r"\(\?(P|#|[aiLmsux]+[-:)])|\\[AZ]")


@dataclass
class Decision:
    """What is decided of some texts.

    Attributes
    ----------
    role
        One of :data:`ROLES`.
    recipe, also
        The recipe that answers, and others that may.
    when
        The rules on holes: ``hole``, ``is`` and ``recipe`` of each.
    certain
        Whether the recipe is the most frequent cause where no rule fits.
    messages
        The lines of the catalogue, each once.
    """

    role: str
    recipe: str = ""
    also: list[str] = field(default_factory=list)
    when: list[dict[str, Any]] = field(default_factory=list)
    certain: bool = True
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def recipes(self) -> list[str]:
        """Return the recipes that it names."""
        named = [self.recipe, *self.also, *(rule["recipe"] for rule in self.when)]
        return [name for name in named if name]


@dataclass
class Catalogue:
    """The texts and what is decided of them.

    Attributes
    ----------
    decisions
        In the order of the files.
    counts
        How many texts of each area have a role, or are undecided.
    """

    decisions: list[Decision] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=dict)


def load(folder: Path, recipes: Collection[str]) -> Catalogue:
    """Return the catalogue in a folder; it is read once for each state of its files.

    Parameters
    ----------
    folder
        The folder; it may be missing, then there is no message.
    recipes
        The names of all recipes.

    Raises
    ------
    ConfigError
        If what is decided does not fit the catalogue, the recipes or the form.
    """
    found = [*folder.glob("*.jsonl"), *folder.glob("answers/*.toml")]
    return _load(folder, frozenset(recipes), stats(sorted(found)))


@functools.cache
def _load(folder: Path, recipes: frozenset[str], _: str) -> Catalogue:
    catalogue = Catalogue()
    for file in sorted(folder.glob("*.jsonl")):
        lines = file.read_text("utf-8").splitlines()
        messages = {line["text"]: line for line in map(json.loads, lines)}
        decided = _read(folder / "answers" / f"{file.stem}.toml", messages, recipes)
        catalogue.decisions += decided
        _count(catalogue.counts, messages, decided)
    for file in sorted(folder.glob("answers/*.toml")):
        if not (folder / f"{file.stem}.jsonl").exists():
            raise ConfigError(f"{file}: there is no catalogue {file.stem}.jsonl.")
    return catalogue


def _read(
    file: Path, messages: dict[str, dict[str, Any]], recipes: frozenset[str]
) -> list[Decision]:
    """Return what a file decides of the messages of its area."""
    if not file.exists():
        return []
    try:
        said = tomllib.loads(file.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {error}") from None
    entries = list(_entries(file, said))
    free = dict(messages)
    for role, entry in entries:
        _check(file, role, entry, messages, recipes)
        for text in entry.get("texts", ()):
            if free.pop(text, None) is None:
                raise ConfigError(f"{file}: decided twice: {text!r}")
    return [_decision(role, entry, messages, free) for role, entry in entries]


def _entries(file: Path, said: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the entries of a file with their roles."""
    for role, entries in said.items():
        if role not in ROLES or not isinstance(entries, list):
            known = ", ".join(f"[[{name}]]" for name in ROLES)
            raise ConfigError(f"{file}: {role!r} is none of {known}.")
        for entry in entries:
            yield role, entry


def _check(
    file: Path,
    role: str,
    entry: dict[str, Any],
    messages: dict[str, dict[str, Any]],
    recipes: frozenset[str],
) -> None:
    """Raise an error that says what is wrong with an entry."""
    texts = entry.get("texts", [])
    where = f"{file}: [[{role}]] of {(texts or [str(entry)])[0]!r}"
    if unknown := entry.keys() - KEYS[role] - {"texts"}:
        raise ConfigError(f"{where}: unknown key {min(unknown)!r}.")
    if role == "answer" and "recipe" not in entry:
        raise ConfigError(f"{where}: it names no recipe.")
    for text in texts:
        if text not in messages:
            raise ConfigError(f"{file}: not in the catalogue: {text!r}")
    for name in [entry.get("recipe", ""), *entry.get("also", ())]:
        _check_recipe(where, name, recipes)
    for rule in entry.get("when", ()):
        _check_rule(where, rule, texts, recipes)
    for pattern in entry.get("match", ()):
        _check_pattern(where, pattern)


def _check_recipe(where: str, name: str, recipes: frozenset[str]) -> None:
    if name and name not in recipes:
        raise ConfigError(f"{where}: there is no recipe {name!r}.")


def _check_rule(
    where: str, rule: dict[str, Any], texts: list[str], recipes: frozenset[str]
) -> None:
    if rule.keys() != {"hole", "is", "recipe"}:
        raise ConfigError(f"{where}: a rule has a hole, 'is' and a recipe: {rule}")
    _check_recipe(where, rule["recipe"], recipes)
    _check_pattern(where, rule["is"])
    if _PYTHON_ONLY.search(rule["is"]):
        raise ConfigError(f"{where}: a browser does not know all of {rule['is']!r}.")
    fewest = min((text.count("{}") for text in texts), default=0)
    if not 0 <= rule["hole"] <= fewest:
        raise ConfigError(f"{where}: not all texts have a hole {rule['hole']}.")


def _check_pattern(where: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{where}: {pattern!r} is no pattern: {error}.") from None


def _decision(
    role: str,
    entry: dict[str, Any],
    messages: dict[str, dict[str, Any]],
    free: dict[str, dict[str, Any]],
) -> Decision:
    """Return an entry with its messages; those it takes are no longer free."""
    taken = [messages[text] for text in entry.get("texts", ())]
    patterns = [re.compile(pattern) for pattern in entry.get("match", ())]
    folders = tuple(entry.get("files", ()))
    for text, message in list(free.items()):
        if any(pattern.search(text) for pattern in patterns) or (
            folders and _lies_in(message["files"], folders)
        ):
            taken.append(free.pop(text))
    also = list(entry.get("also", ()))
    rules = list(entry.get("when", ()))
    certain = entry.get("certain", True)
    return Decision(role, entry.get("recipe", ""), also, rules, certain, taken)


def _lies_in(files: list[str], folders: tuple[str, ...]) -> bool:
    return bool(files) and all(file.startswith(folders) for file in files)


def _count(
    counts: dict[str, Counter[str]],
    messages: dict[str, dict[str, Any]],
    decided: Iterable[Decision],
) -> None:
    """Count the messages of a file by area and role."""
    roles = {
        message["text"]: decision.role
        for decision in decided
        for message in decision.messages
    }
    for text, message in messages.items():
        area = counts.setdefault(message["area"], Counter())
        area[roles.get(text, UNDECIDED)] += 1
