"""What a release of torch changes for a reader, from the transcripts of all recipes.

A reader wants to know whether a problem is new, gone, or no longer raises anything;
whether a fix still works; which exception to catch; what messages advise. Letters that
differ are none of that. So messages are compared sentence by sentence, over all recipes
together: a sentence counts as new only if the older release says it nowhere, in
whatever numbers, names and order.
"""

from __future__ import annotations

import difflib
import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from _ext.releases.differences import COLOR, Cell, exceptions, first_line, normalize
from _ext.releases.transcripts import NOTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _ext.releases.history import Recipe

#: The recipes and the numbers of their cells in which something is seen.
Places = list[tuple["Recipe", int]]

#: How many words a sentence has at least; less is a piece of code or a value.
SHORTEST = 4

_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"'])")
#: Lines of a message that are code, or say where in the code something is.
_CODE = re.compile(
    r"\s{4,}\S"  # indented
    r"|\s*(Traceback|File \"|Caused by:|Developer debug context:|%|#|[\^~ ]*$)"
    r"|.*(\.py:\d+ in |[sS]tack( \(|:))"
    r"|\s*(def|class|return|import|if|for|with|while|raise) .*[:(]"
    r"|\s*\w+ = "
)
_PLACE = re.compile(r"^\S+\.(cpp|h):\d+: | Found in <bound method .*")
_WORD = re.compile(r"[A-Za-z'-]+")
_PUBLIC = re.compile(r"(torch|Dim|export|dynamic|strict)[\w.]*")


@dataclass
class News:
    """What changes from one release to the next.

    Attributes
    ----------
    new, gone, silent
        What the problem of a recipe raises now, and no longer; what is no longer raised
        where a wrong result may take its place. The first lines of exceptions, each
        with its places.
    elsewhere, quiet
        The same for what a recipe shows besides its problem: raised now, and no longer.
    works, broken
        Recipes whose fix works now, and no longer.
    applies
        Recipes that need this release.
    types
        A line of an exception before and now, with the places of those of these types.
    said, unsaid
        What messages say now, and no longer.
    output
        Cells that print something else, and raise the same.
    """

    new: dict[str, Places] = field(default_factory=dict)
    gone: dict[str, Places] = field(default_factory=dict)
    silent: dict[str, Places] = field(default_factory=dict)
    elsewhere: dict[str, Places] = field(default_factory=dict)
    quiet: dict[str, Places] = field(default_factory=dict)
    works: list[Recipe] = field(default_factory=list)
    broken: list[Recipe] = field(default_factory=list)
    applies: list[Recipe] = field(default_factory=list)
    types: dict[tuple[str, str], Places] = field(default_factory=dict)
    said: dict[str, Places] = field(default_factory=dict)
    unsaid: dict[str, Places] = field(default_factory=dict)
    output: Places = field(default_factory=list)

    def __bool__(self) -> bool:
        """Tell whether anything changes."""
        return any(vars(self).values())


def news(old: str, new: str, recipes: Iterable[Recipe]) -> News:
    """Compare what recipes did under two releases."""
    found = News()
    compared = [r for r in recipes if r.is_recorded(old) and r.is_recorded(new)]
    for recipe in compared:
        _compare(found, recipe, old, new)
    both = [r for r in compared if r.records[old].cells and r.records[new].cells]
    before, now = _sentences(both, old), _sentences(both, new)
    found.said = _joined({key: now[key] for key in now if key not in before})
    found.unsaid = _joined({key: before[key] for key in before if key not in now})
    for kind in ("new", "gone", "silent", "elsewhere", "quiet"):
        setattr(found, kind, _together(getattr(found, kind), _masked))
    found.types = _together(found.types, _types)
    return found


def _compare(found: News, recipe: Recipe, old: str, new: str) -> None:
    """Note what changes in one recipe."""
    before, now = recipe.records[old], recipe.records[new]
    if before.state == "does not apply" != now.state:
        found.applies.append(recipe)
        return
    worked, works = (release in recipe.works() for release in (old, new))
    if works and not worked:
        found.works.append(recipe)
    if worked and not works:
        found.broken.append(recipe)
    for number, (a, b) in enumerate(zip(before.cells, now.cells, strict=False)):
        if a is not None and b is not None:
            _compare_cells(found, recipe, number, a, b)


def _compare_cells(
    found: News, recipe: Recipe, number: int, old: Cell, new: Cell
) -> None:
    """Note what changes in one cell."""
    is_problem = number in recipe.problem
    gone = found.silent if recipe.may_be_silent else found.gone
    same = True
    for a, b in _aligned(exceptions(old), exceptions(new)):
        same = False
        place = recipe, number
        if a is None and b is not None:
            kind = found.new if is_problem else found.elsewhere
            kind.setdefault(first_line(b), []).append(place)
        elif b is None and a is not None:
            kind = gone if is_problem else found.quiet
            kind.setdefault(first_line(a), []).append(place)
        elif a and b and a[0] != b[0]:
            pair = first_line(a), first_line(b)
            found.types.setdefault(pair, []).append(place)
    if same and not exceptions(new) and _printed(old) != _printed(new):
        found.output.append((recipe, number))


Error = tuple[str, str]


def _aligned(
    old: list[Error], new: list[Error]
) -> Iterator[tuple[Error | None, Error | None]]:
    """Yield the exceptions of two runs side by side, but for those that are alike."""
    a, b = ([(kind, _masked(said[:200])) for kind, said in some] for some in (old, new))
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    for what, i, j, k, m in matcher.get_opcodes():
        if what != "equal":
            yield from itertools.zip_longest(old[i:j], new[k:m])


def _printed(cell: Cell) -> str:
    """Return what a cell printed, without code and places."""
    lines = (COLOR.sub("", line) for line in cell["output"])
    return normalize("\n".join(line for line in lines if not _CODE.match(line)))


def _together(found: dict[Any, Places], key: Callable[[Any], Any]) -> dict[Any, Places]:
    """Put together what has the same key, under the first line of it."""
    names: dict[Any, Any] = {}
    together: dict[Any, Places] = {}
    for line, places in found.items():
        together.setdefault(names.setdefault(key(line), line), []).extend(places)
    return _sorted(together)


def _types(lines: tuple[str, str]) -> tuple[str, ...]:
    """Return the types of two exceptions by their first lines."""
    return tuple(line.partition(":")[0] for line in lines)


# -- Sentences -------------------------------------------------------------------------


def _sentences(
    recipes: list[Recipe], release: str
) -> dict[str, tuple[str, dict[tuple[Recipe, int], None]]]:
    """Return the sentences of all messages: by what they say, as said, and where."""
    found: dict[str, tuple[str, dict[tuple[Recipe, int], None]]] = {}
    for recipe in recipes:
        for number, cell in enumerate(recipe.records[release].cells):
            for note in NOTED:
                for _, message in (cell or {}).get(note, ()):
                    for key, sentence in sentences(message).items():
                        places = found.setdefault(key, (sentence, {}))[1]
                        places[recipe, number] = None
    return found


def sentences(message: str) -> dict[str, str]:
    """Return the sentences of a message by what they say, numbers and names aside."""
    found: dict[str, str] = {}
    for line in COLOR.sub("", message).splitlines():
        if _CODE.match(line):
            continue
        for sentence in _END.split(_PLACE.sub("", line.strip(" -*•"))):
            words = [word.strip(".,;:!?()\"'`") for word in sentence.split()]
            if sum(map(str.isalpha, words)) >= SHORTEST:
                found.setdefault(_masked(sentence), sentence)
    return found


def _masked(text: str) -> str:
    """Return a text without what varies: numbers, symbols, names of the model."""
    masks = (_mask(word.strip(".,;:!?()\"'`")) for word in text.split())
    return " ".join(mask for mask, _ in itertools.groupby(masks))


def _mask(word: str) -> str:
    if _PUBLIC.match(word):
        return word
    return word.lower() if _WORD.fullmatch(word) else "…"


def _joined(
    found: dict[str, tuple[str, dict[tuple[Recipe, int], None]]],
) -> dict[str, Places]:
    """Put sentences that are seen in the same places together."""
    together: dict[tuple[tuple[Recipe, int], ...], list[str]] = {}
    for sentence, places in found.values():
        together.setdefault(tuple(places), []).append(sentence)
    texts = {" ".join(some): list(places) for places, some in together.items()}
    return _sorted(texts)


def _sorted(found: dict) -> dict:
    """Put first what most recipes show."""
    return dict(sorted(found.items(), key=lambda item: -count(item[1])))


def count(places: Places) -> int:
    """Return in how many recipes something is seen."""
    return len({recipe.name for recipe, _ in places})
