"""Say how one cell differs between releases of torch: functions of data alone.

A *cell* is an entry of a transcript: a dictionary with ``output`` (lines), ``caught``
(exceptions, each with type and message) and ``error`` (the end of the traceback of an
uncaught exception, or None). A *history* maps the releases under which the cell was
run, oldest first, to what it did there. *Releases* are all that the site knows, oldest
first, each named as the reader does: ``2.9``.
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

Cell = dict[str, Any]
History = dict[str, Cell]

#: How many characters are shown before the place where two lines differ.
CONTEXT = 40

#: What the guards of an exported program raise, before 2.9 and since. The page of
#: releases says it once, so that pages need not.
GUARDS = {"RuntimeError", "AssertionError"}

COLOR = re.compile(r"\x1b\[[0-9;]*m")
_TRACEBACK = "Traceback (most recent call last):\n"
_SYMBOL = re.compile(r"\b(ps|s|u|zf|zuf)\d+\b")
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
_FOLDER = re.compile(r"(?<![\w./])(?:[A-Za-z]:\\|/)(?:[\w.+@-]+[/\\])+")
_TORCH_LINE = re.compile(
    r'(\b(?:torch|_export|_\w+)/[\w/]+\.py|\.cpp)(?::|", line )\d+'
)
#: What marks a part of the line above it.
_CARETS = re.compile(r"^[ ^~]*[\^~][ ^~]*(?:\n|\Z)", re.MULTILINE)
_CUDA_CLASS = ("torch._utils._CudaDeviceProperties", "torch._C._CudaDeviceProperties")
_TRITON_CLASS = re.compile(r", <class 'triton[\w.]*'>|<class 'triton[\w.]*'>, ")
_CLASSES = re.compile(r"<class '[^']*'>(?:, <class '[^']*'>)+")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]*\w)")


@functools.cache  # each text is compared with many
def normalize(text: str) -> str:
    """Take out of a text what differs between releases without meaning anything.

    Symbols (``s77``, ``u0``, ``zuf3``) are numbered in the order in which they appear;
    addresses, folders, the line numbers of torch's own files and lines of carets are
    dropped. Classes in a row, which torch takes from a set, are sorted; a build without
    CUDA has one of them in another module and none of Triton's.
    """
    text = _FOLDER.sub("/", _ADDRESS.sub("0x", text))
    text = _TRITON_CLASS.sub("", text.replace(*_CUDA_CLASS))
    text = _CARETS.sub("", _TORCH_LINE.sub(r"\1", text))
    text = _sort_classes(text)
    names: dict[str, str] = {}
    return _SYMBOL.sub(
        lambda found: names.setdefault(found[0], f"{found[1]}{len(names)}"), text
    )


def _sort_classes(text: str) -> str:
    return _CLASSES.sub(lambda found: ", ".join(sorted(found[0].split(", "))), text)


def printed(cell: Cell) -> str:
    """Return what a cell printed, normalized."""
    return normalize("\n".join(cell["output"]))


def label(some: list[str], releases: list[str]) -> str:
    """Name some of the releases: ``2.6, 2.9 – 2.10``."""
    runs = [
        list(run)
        for wanted, run in itertools.groupby(releases, some.__contains__)
        if wanted
    ]
    return ", ".join(
        run[0] if len(run) == 1 else f"{run[0]} – {run[-1]}" for run in runs
    )


def groups(history: History) -> list[list[str]]:
    """Return the releases in groups, those that print the same in one."""
    found: dict[str, list[str]] = {}
    for release, cell in history.items():
        found.setdefault(printed(cell), []).append(release)
    return list(found.values())


def when(some: list[str], known: list[str], releases: list[str]) -> str:
    """Say when something is so: ``since 2.9``, ``up to 2.7``, ``only on 2.8``.

    These are said only where the releases next to the change are recorded. Otherwise
    nobody knows in which release the change came: ``on 2.7, not on 2.13``.

    Parameters
    ----------
    some
        The releases for which it is so.
    known
        The releases that are recorded.
    releases
        All releases.
    """
    first, last = releases.index(some[0]), releases.index(some[-1])
    others = [release for release in known if release not in some]
    older = [release for release in others if release in releases[:first]]
    newer = [release for release in others if release in releases[last:]]
    starts = bool(older) and older[-1] == releases[first - 1]
    ends = bool(newer) and newer[0] == releases[last + 1]
    if starts and older == others:
        return f"since {some[0]}"
    if ends and newer == others:
        return f"up to {some[-1]}"
    if starts and ends and first == last:
        return f"only on {some[0]}"
    return f"on {label(some, releases)}, not on {label(others, releases)}"


def exceptions(cell: Cell) -> list[tuple[str, str]]:
    """Return type and message of what a cell raised, caught or not."""
    caught = [(kind, message) for kind, message in cell.get("caught") or ()]
    return caught + ([_uncaught(cell)] if cell.get("error") else [])


def _uncaught(cell: Cell) -> tuple[str, str]:
    """Find the exception in a traceback: its first line that is not indented."""
    trace = "\n".join(cell["output"]).rpartition(_TRACEBACK)[2].split("\n")
    lines = list(itertools.dropwhile(lambda line: line[:1] in ("", " "), trace))
    kind, _, message = "\n".join(lines or [cell["error"]]).partition(": ")
    return kind, message


def _kinds(cell: Cell) -> str:
    """Name the types of the exceptions that a cell caught, each once."""
    kinds = [_name(kind) for kind, _ in cell.get("caught") or ()]
    return " and ".join(dict.fromkeys(kinds))


def _name(kind: str) -> str:
    return kind.rpartition(".")[2]


def behavior(history: History, releases: list[str]) -> list[str]:
    """Say in words how a cell behaves differently; nothing where it only prints more.

    A release under which the cell was not run, or is not recorded, says nothing.

    The rules, in order:

    1. An uncaught exception under some releases: ``Fixed in 2.10`` where it is gone
       since then, ``Fails since 2.9`` and the like otherwise.
    2. Among the other releases, exceptions that the cell catches under some of them:
       ``Raises since 2.9``, ``Raises up to 2.7``, ``Raised only on 2.9``. No judgement:
       an exception may be what the recipe is about.
    3. Among those that catch one, another type: ``Raises another exception since 2.9``;
       nothing where they are those of :data:`GUARDS`.
    4. If none of these applies, and outputs differ in nothing but numbers: ``Another
       number since 2.9``.
    """
    failing = {release: cell for release, cell in history.items() if cell.get("error")}
    lasting = {r: cell for r, cell in history.items() if r not in failing}
    raising = {release: cell for release, cell in lasting.items() if _kinds(cell)}
    notes = _failures(failing, history, releases)
    notes += _raises(raising, lasting, releases)
    notes += _types(raising, releases)
    return notes or _numbers(lasting, releases)


def _failures(failing: History, history: History, releases: list[str]) -> list[str]:
    """Apply the first rule."""
    if not failing or len(failing) == len(history):
        return []
    kinds = _list(_name(_uncaught(cell)[0]) for cell in failing.values())
    since = when(list(failing), list(history), releases)
    if since.startswith("up to"):
        fixed = releases[releases.index(list(failing)[-1]) + 1]
        return [f"Fixed in {fixed}: {kinds} before."]
    return [f"Fails {since}: {kinds}."]


def _raises(raising: History, lasting: History, releases: list[str]) -> list[str]:
    """Apply the second rule."""
    if not raising or len(raising) == len(lasting):
        return []
    since = when(list(raising), list(lasting), releases)
    verb = "Raised" if since.startswith("only") else "Raises"
    kinds = _list(map(_kinds, raising.values()))
    return [f"{verb} {since}: {kinds}."]


def _types(raising: History, releases: list[str]) -> list[str]:
    """Apply the third rule."""
    by_kind: dict[str, list[str]] = {}
    for release, cell in raising.items():
        by_kind.setdefault(_kinds(cell), []).append(release)
    if len(by_kind) <= 1 or set(by_kind) == GUARDS:
        return []
    old, new, *more = by_kind
    words = when(by_kind[new], list(raising), releases)
    if not more and words.startswith("since"):
        return [f"Raises another exception {words}: {new}, before {old}."]
    each = "; ".join(f"{kind} on {label(of, releases)}" for kind, of in by_kind.items())
    return [f"Raises different exceptions: {each}."]


def _numbers(history: History, releases: list[str]) -> list[str]:
    """Apply the fourth rule."""
    found = groups(history)
    texts = [printed(history[group[0]]) for group in found]
    if len(found) <= 1 or len({_NUMBER.sub("0", text) for text in texts}) > 1:
        return []
    old, new, *more = map(_NUMBER.findall, texts)
    words = when(found[1], list(history), releases)
    if more or not words.startswith("since"):
        labels = " and on ".join(label(group, releases) for group in found)
        return [f"Different numbers on {labels}."]
    pairs = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    if len(pairs) > 1:
        return [f"Other numbers {words}."]
    return [f"Another number {words}: {pairs[0][1]}, before {pairs[0][0]}."]


def _list(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


@dataclass(frozen=True)
class Change:
    """What changed in one cell from one release to the next.

    Attributes
    ----------
    kind
        ``appeared``, ``disappeared``, ``type``, ``wording`` (of an exception), or
        ``output`` where the cell prints something else and raises the same.
    before, now
        A line of each message, as far as there is one.
    about
        The first line of the message, where a later one differs.
    """

    kind: str
    before: str = ""
    now: str = ""
    about: str = ""


def changes(old: Cell, new: Cell) -> list[Change]:
    """Compare what one cell did under two releases."""
    pairs = itertools.zip_longest(exceptions(old), exceptions(new))
    found = [change for a, b in pairs if (change := _change(a, b))]
    if not found and printed(old) != printed(new):
        return [Change("output")]
    return found


def _change(old: tuple[str, str] | None, new: tuple[str, str] | None) -> Change | None:
    """Compare two exceptions, of which one may be missing."""
    if old is None:
        return Change("appeared", now=first_line(new)) if new else None
    if new is None:
        return Change("disappeared", before=first_line(old))
    if old[0] != new[0]:
        return Change("type", first_line(old), first_line(new))
    if normalize(old[1]).rstrip("\n") == normalize(new[1]).rstrip("\n"):
        return None
    return _wording(old, new)


def first_line(error: tuple[str, str]) -> str:
    """Return the type and the first line of an exception, without colors."""
    line = f"{_name(error[0])}: {error[1].strip()}".split("\n", 1)[0]
    return COLOR.sub("", line)


def _wording(old: tuple[str, str], new: tuple[str, str]) -> Change:
    """Show the first lines in which two messages of one type differ.

    The messages are normalized as a whole: a line may differ in nothing but in which of
    its symbols are those of the lines above. Then the normalized lines are shown.
    """
    normal = _line_pairs(normalize(old[1]), normalize(new[1]))
    number = next(number for number, (a, b) in enumerate(normal) if a != b)
    shown = _line_pairs(_sort_classes(old[1]), _sort_classes(new[1]))[number]
    if shown[0] == shown[1]:
        shown = normal[number]
    before, now = _without_start(shown[0].strip(), shown[1].strip())
    return Change("wording", before, now, first_line(new) if number else _name(new[0]))


def _line_pairs(old: str, new: str) -> list[tuple[str, str]]:
    """Return the lines of two texts side by side, the shorter one filled up."""
    pairs = itertools.zip_longest(old.split("\n"), new.split("\n"), fillvalue="")
    return list(pairs)


def _without_start(old: str, new: str) -> tuple[str, str]:
    """Cut off what two lines have in common, but for the last words before it ends."""
    pairs = zip(old, new, strict=False)
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    start = old.rfind(" ", 0, max(same - CONTEXT, 0)) + 1
    cut = "… " if start else ""
    return f"{cut}{old[start:]}", f"{cut}{new[start:]}"
