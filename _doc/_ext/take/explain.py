"""Explain an error of torch.export: the cause, and the lines to change.

    python explain.py error.txt                what a file says; "-" is the input
    python my_export.py 2>&1 | python explain.py
    python explain.py run my_export.py ...     runs it; the answer follows the traceback
    python explain.py TX001                    the answer of one recipe

It finds what the box for errors of the torch.export cookbook finds, without a network:
the messages of torch and the answers are in this file. An answer is certain only if the
text has one of torch's own messages in it, and someone has decided which recipe answers
that message; everything else is a guess, and says so. Python 3.10 or later is all that
it needs.

The exit status is 0 if there is a certain answer, 3 if there is none, 2 for a wrong
call; after "run" it is that of the script.
"""

# The matching is that of _static/errors-match.js, function by function, with the same
# regular expressions, see js(), and lengths that count as there, see utf16(). A test
# holds both equal, answer by answer. Until the site is built, this module has no index:
# then it takes errors.json beside it.

from __future__ import annotations

import argparse
import base64
import functools
import itertools
import json
import math
import os
import re
import subprocess
import sys
import textwrap
import zlib
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The index, errors.json, deflated and in base64; the site puts it here.
INDEX = ""

# -- What JavaScript means by it -------------------------------------------------------

# White space, and what ends a line. Inside of brackets.
_SPACE = r"\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_ENDS = r"\n\r\u2028\u2029"
_WHITE = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_SIGN = re.compile(r"\\.|[^\\]", re.DOTALL)
_IN_BRACKETS = {r"\s": _SPACE, "[": r"\["}
_ALONE = {
    r"\s": f"[{_SPACE}]",
    r"\S": f"[^{_SPACE}]",
    ".": f"[^{_ENDS}]",
    "$": r"\Z",
}
_MANY_LINES = {
    "^": rf"(?:\A|(?<=[{_ENDS}]))",
    "$": rf"(?:\Z|(?=[{_ENDS}]))",
}


@functools.cache
def js(source: str, flags: str = "") -> re.Pattern[str]:
    """Return a regular expression of JavaScript as one of Python."""
    alone = {**_ALONE, **_MANY_LINES} if "m" in flags else _ALONE
    made = []
    inside = False
    for sign in _SIGN.findall(source):
        made.append((_IN_BRACKETS if inside else alone).get(sign, sign))
        inside = sign != "]" if inside else sign == "["
    ignore = re.IGNORECASE if "i" in flags else 0
    return re.compile("".join(made), re.ASCII | ignore)


def any_of(flags: str, *sources: str) -> re.Pattern[str]:
    """Return an expression that fits where one of several does."""
    return js("|".join(f"(?:{source})" for source in sources), flags)


def trim(text: str) -> str:
    """Return a text without white space around it."""
    return text.strip(_WHITE)


def utf16(text: str) -> str:
    """Return a text in which a character counts as often as in JavaScript."""
    if text.isascii() or max(text) <= "\uffff":
        return text
    pairs = text.encode("utf-16-le", "surrogatepass")
    units = (pairs[i : i + 2] for i in range(0, len(pairs), 2))
    return "".join(unit.decode("utf-16-le", "surrogatepass") for unit in units)


def characters(text: str) -> str:
    """Return a text of utf16() as Python has it."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# -- Reading a text --------------------------------------------------------------------

_LONGEST = 200000  # characters of a text that are read, from each end
_RANKED = 30000  # the same, where words are compared
_MANY = 300  # lines of a text in which repeated ones are read once
_HOLE = 4000  # characters that may stand in a hole
_LETTERS = 15  # letters and words that a template must have to be certain
_WORDS = 3
_SHORT = 7  # letters of a template that has too few for that
_FURTHER = 400  # characters after a hole that may belong to it
_SHOWN = 5  # answers
_QUOTED = 600  # characters of a text that are shown again
_LONG = 30  # letters of a template that is told by its words alone
_NEVER = sys.maxsize

_ANSI = js(r"(?:\x1b|\u241b|\\x1b|\\033|\\u001b)\[[\d;]*[A-Za-z]|\[\d{1,2}(?:;\d+)*m")
_BAR = js(r"^.*?\d+%\|[^|]*\| *[^\[\n]*\[[^\]\n]*\](?:, [\w.= -]+$)?")
_LEVEL = r"(?:DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL|EXCEPTION)"
_DAY = r"\d{4}[-/]\d\d[-/]\d\d[T ]"
_CLOCK = r"\d{1,2}:\d\d:\d\d(?:[.,]\d+)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?"
_PREFIXES = [
    js(r"^\s*(?:>(?!>>) ?)+(?=\S| {0,4}\S)"),  # quoted in a mail or in Markdown
    js(r"^\[(?:default\d*|rank *\d+|node[\w-]*|\d+,\d+)\](?:<std\w+>)?:? ?", "i"),
    js(r"^(?:rank *\d+|\d+): (?=\[?\w)", "i"),
    js(
        r"^\[?[IWEVFDC]\d{3,4} [\d:.]+ +(?:\d+ )?[^\]\s]*:\d+\] ?"
        r"(?:\[\d+\/[\d_]+\] ?)*(?:\[__\w+\] ?)*"
    ),
    js(rf"^[[(]?(?:{_DAY})?{_CLOCK}[\])]?(?: *[|:-] +|,? |$)"),
    js(rf"^{_LEVEL}:[\w.]+:(?=\S)"),  # ERROR:root:
    js(rf"^[[(]?{_LEVEL}[\])]?(?: *[|:-] ?| +)"),
    js(r"^(?:std(?:err|out) [FP] )"),
    js(r"^(?:[\w.]+:[\w<>]+:\d+ - )"),  # loguru
    js(r"^[\w.-]+ +(?:- +|\| +)(?=\[?(?:DEBUG|INFO|WARN|ERROR|CRITICAL))"),
    js(r"^\((?:[\w.:/-]+,? )*pid=\d+[^)]*\) ?"),  # ray
    js(r"^[a-z][\w./-]* *\| ", "i"),  # docker compose
    js(r"^#\d+ (?:\d+\.\d+ ?)"),  # docker build
    js(r"^##\[\w+\]"),
    js(r"^[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d [\w.-]+ [\w./@-]+(?:\[\d+\])?: ?"),
    js(r"^\[[A-Za-z][\w-]*\] (?=\[)"),
    js(r"^E {1,7}(?=\S)|^E {7}"),  # pytest
    js(r"^ *[│┃║] ?"),
]
_SEVERE = js(r"^(?:E|F|C)\d{3}|ERROR|CRITICAL|FATAL|EXCEPTION")
_MILD = js(r"^(?:W|I|V|D)\d{3}|WARN|INFO|DEBUG|NOTICE")


@dataclass
class _Line:
    """A line without its prefixes, and what they said."""

    line: str
    level: str = ""
    record: str = ""


def _stripped(line: str) -> _Line:
    """Return a line without what a terminal, a logger or a person put before it."""
    made = _Line(line)
    for _ in range(8):
        prefix = _prefix(made.line)
        if not prefix:
            break
        plain = js(r"^[\s[(]+").sub("", prefix, count=1)
        if _SEVERE.search(plain):
            made.level = "severe"
        elif _MILD.search(plain):
            made.level = made.level or "mild"
        made.record += prefix
        made.line = made.line[len(prefix) :]
    line = js(r"\s*[│┃║]\s*$").sub("", made.line, count=1)
    made.line = js(r"^(\s*)([`\"])([^`\"]+)\2$").sub(r"\1\3", line, count=1)
    return made


def _prefix(line: str) -> str:
    """Return what the first expression that fits finds before a line."""
    for each in _PREFIXES:
        if found := each.search(line):
            return found[0]
    return ""


def _common_prefix(lines: list[str]) -> re.Pattern[str] | None:
    """Return what stands before the tracebacks of a text, and so before other lines."""
    seen: dict[str, int] = {}
    for line in lines:
        trace = line.find("Traceback (most recent call last):")
        end = trace if trace > 0 else line.find('  File "')
        before = trim(line[:end]) if 0 < end < 120 else ""  # noqa: PLR2004
        if before:
            form = js(r"[.*+?^${}()|[\]\\]").sub(r"\\\g<0>", before)
            form = js(r"\d+").sub(r"\\d+", form)
            form = js(r"\s+").sub(r"\\s+", form)
            seen[form] = seen.get(form, 0) + 1
    often = [form for form, count in seen.items() if count > 1]
    return js(rf"^\s*(?:{'|'.join(often)}) ?") if often else None


def _distinct(lines: list[str]) -> list[str]:
    """Drop the lines of a long log that differ from an earlier one in numbers only."""
    if len(lines) < _MANY:
        return lines
    seen: set[str] = set()
    kept = []
    for line in lines:
        key = js(r"\d+").sub("0", line)
        if not js(r"^\S.*\d").search(line) or key not in seen:
            seen.add(key)
            kept.append(line)
    return kept


_PLAIN = {
    **dict.fromkeys(map(ord, "\u2018\u2019"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d"), '"'),
    **dict.fromkeys(map(ord, "\u00a0\u200b\ufeff"), " "),
}


def _cleaned(text: str) -> list[_Line]:
    """Return the lines of a text, each with what its prefix says."""
    if len(text) > 2 * _LONGEST:
        text = f"{text[:_LONGEST]}\n{text[-_LONGEST:]}"
    plain = _ANSI.sub("", text).translate(_PLAIN)
    plain = js(r"\\(['\"])").sub(r"\1", plain)
    # A message inside of another one as repr() shows it.
    plain = js(r"\\n(?=\\n|[ A-Z\-(]|$)", "m").sub("\n", plain)
    lines = js(r"\r?\n|\r").split(plain)
    full = [line for line in lines if trim(line)]
    if sum(bool(js(r"^\s*#").search(line)) for line in full) > len(full) * 0.6:
        lines = [js(r"^\s*# ?").sub("", line, count=1) for line in lines]
    common = _common_prefix(lines)
    return [_clean_line(line, common) for line in _distinct(lines)]


def _clean_line(line: str, common: re.Pattern[str] | None) -> _Line:
    """Return a line without a progress bar and its prefixes."""
    bare = _BAR.sub("", line, count=1)
    without = common.sub("", bare, count=1) if common else bare
    found = _stripped(without)
    if without != bare:
        found.record = found.record or "prefix"
    return found


_FRAME = any_of(
    "",
    r"""^\s*File ["'][^"']*["'], line \d+""",
    r"^\s*File \S.*?(?::\d+|, line \d+),? in ",  # a notebook
    r"^\s*Cell In ?\[\d+\], line \d+",
    r"""^\s*\[?[~.\w\/-]*\.py(?:\]\(\S*\)|["'], line \d+,|:\d+,?)? in \w""",
    r"^\s*at \S+\(\S+:\d+\)$",  # Java
)
_PYTEST = js(r"^\S+\.py:\d+: ?(?:in .*|[\w.]+)?$")
_MARK = any_of(
    "",
    r"^\s*(?:[\^~]+|_{2,}[ _]*|-{5,}|\.{3,}|…+|`{3,}\w*)\s*$",
    r"^\s*[─━═╭╮╰╯┌└]",
    r"^\s*(?:\.\.\.)?<\d+ lines>\.*\s*$",
)
_NUMBERED = js(r"^\s*(?:-+>|❱|>>>?)?\s*\d+(?:\s*[│|]| |$)")
_STATEMENT = js(r"^\s+(?:raise|return|warnings\.warn\(|yield|await) ?")
_TRACE = js(r"^(?:[\s-]*|[\w.]+ +)Traceback \(most recent call last\)")
_CAUSE = js(r"The above exception was the direct cause of|^\s*(?:\u2b06\ufe0f?|⬆️)\s*$")
_CONTEXT = js(r"During handling of the above exception, another")
_NAME = r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*"
_CLASS = (
    rf"(?:{_NAME}(?:Error|Exception|Warning|Unsupported|Failed|Failure|Fail|Interrupt|"
    r"GuardOnDataDependentSymNode|Violation|NotFound\w*|InvalidArgument|Deprecated)|"
    r"torch(?:\.\w+)+\.[A-Z]\w+)"
)
_HEADERS = [
    js(rf"^\s{{0,3}}(?:<class ')?({_CLASS})(?:'>)?(?::|\s*$)\s*"),
    js(rf"^(?:.{{0,160}}?[\s\]:*`\"'-])(?:<class ')?({_CLASS})(?:'>)?: *"),
]
_MAY_BE_HEADER = js(
    r"Error|Exception|Warning|Unsupported|Fail|Interrupt|SymNode|Violation|NotFound|"
    r"InvalidArgument|Deprecated|torch\.\w+\."
)


def header(line: str) -> tuple[str, int] | None:
    """Return the class of an exception or a warning, and where its text begins."""
    if not _MAY_BE_HEADER.search(line):
        return None
    for each in _HEADERS:
        if found := each.search(line):
            return found[1].rpartition(".")[2], len(found[0])
    return None


_PLACE = js(
    r"""([\w.\-\/\\]+\.py)["']?(?:\]\(\S*\))?(?:, line \d+|:\d+)?[:,]? in ([\w<>]+)"""
)


def _frame(line: str) -> Iterator[str]:
    """Yield what a frame runs: the end of the path, and the function."""
    if found := _PLACE.search(line):
        path = "/".join(js(r"[\/\\]").split(found[1])[-4:])
        yield f"{path}: {found[2]}"


def _shortest(text: str) -> str:
    """Return the beginning and the end of a text, where words are looked for."""
    if len(text) > 2 * _RANKED:
        return f"{text[:_RANKED]}\n{text[-_RANKED:]}"
    return text


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(_WHITE))


@dataclass
class Part:
    """A part of a text.

    Attributes
    ----------
    kind
        ``exception``, ``warning``, ``error``, ``log``, ``text`` or ``frames``.
    type
        The class of an exception or a warning.
    link
        Whether the exception before it is its cause.
    lines, text
        What it says, before and after lines are folded.
    whole
        What it says, and the beginning and the end of all of the text.
    """

    kind: str
    type: str
    link: str
    lines: list[str] = field(default_factory=list)
    text: str = ""
    whole: str = ""


class _Reader:
    """Reads a text line by line into its parts."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.frames: list[str] = []
        self.part: Part | None = None
        self.link = ""
        self.frame = -1  # the indentation of the frame that is read, or -1
        self.numbered = False
        self.left = 0  # lines of source that may still follow
        self.last = ""

    def read(self, one: _Line) -> None:
        """Read a line."""
        if not (self._ends_part(one.line) or self._is_frame(one.line)):
            head = header(one.line)
            if not self._is_source(one.line, head):
                self._add(one, head)

    def _ends_part(self, line: str) -> bool:
        """Tell whether a line is empty or stands between exceptions."""
        if not trim(line):
            self.numbered, self.frame = False, -1
            return True
        is_cause = _CAUSE.search(line)
        if is_cause or _CONTEXT.search(line):
            self.link = "cause" if is_cause else "context"
            self.part, self.frame = None, -1
            return True
        if _TRACE.search(line):
            self.link = self.link or "new"
            self.part, self.frame, self.left = None, _indent(line), 0
            return True
        return False

    def _is_frame(self, line: str) -> bool:
        """Tell whether a line belongs to a traceback and is no source."""
        if _PYTEST.search(line):
            self.frames += _frame(line)
            return True
        if _FRAME.search(line):
            self.frames += _frame(line)
            self.frame = _indent(line)
            is_script = js(r"line \d+, in|line \d+$").search(line)
            self.numbered = not is_script or "Cell In" in line
            self.left = 12
            return True
        return bool(_MARK.search(line))

    def _is_source(self, line: str, head: tuple[str, int] | None) -> bool:
        """Tell whether a line is one of source."""
        if self.numbered and (
            _NUMBERED.search(line) or js(r"^\s*\(\.\.\.\)|^\s{4}").search(line)
        ):
            return True
        deep = _indent(line)
        is_below = self.frame >= 0 and self.left > 0 and deep > self.frame
        if is_below and not (head and deep < 4):  # noqa: PLR2004
            self.left -= 1
            return True
        if js(r"^\s*-+> *\d+ |^\s*❱ *\d+").search(line) or _STATEMENT.search(line):
            return True
        return self._is_flat_source(line, head)

    def _is_flat_source(self, line: str, head: tuple[str, int] | None) -> bool:
        """Tell the line of source of a frame that lost its indentation."""
        is_next = self.frame == 0 and self.left == 12  # noqa: PLR2004
        if not is_next or head or _indent(line):
            return False
        self.left = 0
        return bool(js(r"[(=.]").search(line) and not js(r"[.:!]$").search(line))

    def _add(self, one: _Line, head: tuple[str, int] | None) -> None:
        """Add a line to its part."""
        self.frame, self.numbered = -1, False
        place = js(r"[^\]]*?(\S+:\d+)\].*").sub(r"\1", one.record, count=1)
        if head and (head[1] < len(one.line) or self.part is None):
            is_warning = head[0].endswith("Warning")
            part = self._begin("warning" if is_warning else "exception", head[0])
            part.lines += [one.line[head[1] :]] * (head[1] < len(one.line))
        elif one.level and (self.part is None or place != self.last or not one.record):
            self._begin("error" if one.level == "severe" else "log").lines.append(
                one.line
            )
        else:
            (self.part or self._begin("text")).lines.append(one.line)
        self.last = place if one.level else ""

    def _begin(self, kind: str, type_: str = "") -> Part:
        self.part = Part(kind, type_, self.link)
        self.parts.append(self.part)
        self.link = ""
        return self.part


def read(text: str) -> list[Part]:
    """Return the parts of a text: exceptions, log records, warnings, text, frames."""
    reader = _Reader()
    for line in _cleaned(text):
        reader.read(line)
    parts = [*reader.parts, Part("frames", "", "", reader.frames)]
    for part in parts:
        part.text = _folded(part.lines)
        part.whole = f"{part.text}\n{_shortest(text)}"
    return [part for part in parts if part.text or part.type]


def _folded(lines: list[str]) -> str:
    """Join lines as the catalogue has them: single blanks, no empty lines."""
    made = (js(r"\s+").sub(" ", trim(line)).removeprefix("# ") for line in lines)
    return "\n".join(filter(None, made))


# -- Templates -------------------------------------------------------------------------

_NO_LETTERS = re.compile(r"[^A-Za-z]+")
_IN_TEXT = re.compile(r"[A-Za-z_]{2,}")
_SAID = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}")
_SPECIAL = re.compile(r"[.*+?^${}()|[\]\\]")
_BLANKS = re.compile(r"[ \n]+")
_FIRST_WORD = re.compile(r"\A\w+", re.ASCII)
_LAST_WORD = re.compile(r"\w+\Z", re.ASCII)
_OPENING = js(r"^\s*(\S[^\n]{20,}?[.!?:])[ \n]|^\s*(\S[^\n]+)\n")


def _letters(text: str) -> int:
    return len(_NO_LETTERS.sub("", text))


class _Piece:
    """Fixed text of a template, between two holes.

    Attributes
    ----------
    text
        It.
    hole
        How many holes stand before it.
    letters, words
        How many of each it has: ``call_method UserDefinedObjectVariable`` says six.
    """

    def __init__(self, text: str, hole: int) -> None:
        self.text, self.hole = text, hole
        self.letters = _letters(text)
        self.words = len(_SAID.findall(text))

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """An expression that finds it; where it is wrapped does not matter."""
        breaks = "[ \\\\n]+" if trim(self.text) else "\\\\n"
        return re.compile(_BLANKS.sub(breaks, _SPECIAL.sub(r"\\\g<0>", self.text)))

    @functools.cached_property
    def beginning(self) -> _Piece:
        """The first line or sentence of it, for a text that ends there."""
        found = _OPENING.search(self.text)
        line = (found[1] if found[1] is not None else found[2]) if found else self.text
        return self if line == self.text else _Piece(line, self.hole)

    def search(self, text: str, at: int, limit: int = _NEVER) -> tuple[int, int] | None:
        """Find it in a text from a place on; return where it begins and ends."""
        found = self.pattern.search(text, at)
        return found.span() if found and found.start() <= at + limit else None


@dataclass
class Form:
    """A template: a text with holes.

    Attributes
    ----------
    answer
        What is decided of it, as the index has it.
    kind, since, until
        The class of exceptions, or what else prints it; the releases with it.
    is_wording
        Whether a recipe brings it along: then it has examples where others have holes.
    is_headed, is_short
        Whether it says the class, too; whether it says too little to be certain.
    pieces, holes, head
        Its fixed parts, how many holes it has, and how many parts an instance needs.
    letters, words, required
        How much its fixed parts say, and the words that stand in any instance.
    """

    answer: dict[str, Any]
    kind: str
    since: str | None
    until: str | None
    is_wording: bool
    is_headed: bool
    pieces: list[_Piece]
    holes: int
    head: int
    letters: int
    words: int
    required: list[str]
    is_short: bool = False
    classes: tuple[str, ...] = ()


def template(
    text: str,
    answer: dict[str, Any],
    about: Iterable[str | None] = ("", None, None),
    *,
    is_wording: bool = False,
) -> Form | None:
    """Make a template of a text with holes; None if it says nothing."""
    text = utf16(text)
    fixed = (re.sub(r"(?m)^# ", "", text) if "# " in text else text).split("{}")
    pieces = [
        _Piece(part, hole)
        for hole, part in enumerate(fixed)
        if trim(part) or "\n" in part
    ]
    if not any(piece.letters for piece in pieces):
        return None
    kind, since, until = about
    return Form(
        answer=answer,
        kind=kind or "",
        since=since,
        until=until,
        is_wording=is_wording,
        is_headed=bool(_MAY_BE_HEADER.search(text) and _HEADERS[0].search(text)),
        pieces=pieces,
        holes=len(fixed) - 1,
        head=_head(pieces),
        letters=sum(piece.letters for piece in pieces),
        words=sum(piece.words for piece in pieces),
        required=_required(pieces[0], len(fixed)),
    )


def _head(pieces: list[_Piece]) -> int:
    """Return how many parts an instance needs: a line, more if that says too little."""
    said = count = 0
    for number, piece in enumerate(pieces, 1):
        said += piece.letters
        count += piece.words
        has_line = "\n" in piece.text.lstrip(_WHITE)
        if has_line and said >= 25 and count >= 5:  # noqa: PLR2004
            return number
    return len(pieces)


def _required(first: _Piece, parts: int) -> list[str]:
    """Return the words of the first part that stand in any instance as they are."""
    inner = opening = first.beginning.text
    if first.hole:
        inner = _FIRST_WORD.sub("", inner)
    if opening == first.text and parts > 1:
        inner = _LAST_WORD.sub("", inner)
    return _IN_TEXT.findall(inner)


# -- Matching --------------------------------------------------------------------------


@dataclass(eq=False)
class Match:
    """An instance of a template in a text, or an attempt at one.

    Attributes
    ----------
    form, part
        The template, and the part of the text.
    start, end, spans
        Where it is, and where its fixed parts are.
    letters, words, missing
        How much of the fixed parts is there, and how many parts are not.
    holes, ats, begins
        What stands in the holes; where those begin that a line ends; where each does.
    fits
        Whether it is an instance.
    """

    form: Form
    start: int
    letters: int
    words: int
    missing: int
    end: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)
    holes: list[str] = field(default_factory=list)
    ats: list[int] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    fits: bool = False
    part: Part | None = None


def match(form: Form, text: str) -> Match | None:
    """Match a template in a text."""
    best, start = None, 0
    for _ in range(20):
        found = _attempt(form, text, start)
        if found is None:
            break
        if found.fits and (best is None or found.letters > best.letters):
            best = found
        start = found.start + 1
    return best


def _attempt(form: Form, text: str, start: int) -> Match | None:
    """Match a template whose first part begins at a place or later."""
    first = opening = form.pieces[0]
    span = first.search(text, start)
    if span is None and first.letters > _LONG:
        begun = first.beginning
        if begun.letters >= 25 and begun.words >= 4:  # noqa: PLR2004
            opening, span = begun, begun.search(text, start)
    if span is None:
        return None
    is_begun = opening is not first
    found = Match(form, span[0], opening.letters, opening.words, int(is_begun))
    spans: list[tuple[int, int] | None] = [span]
    misses = _follow(form, text, found, spans)
    found.spans = [each for each in spans if each]
    _fill_holes(found, text, spans)
    is_whole = not found.missing and _may_end(text, found.end, form)
    is_cut = (
        not form.is_wording and found.missing and _is_begun(found, is_begun, misses)
    )
    found.fits = _may_begin(text, found.start, form) and bool(is_whole or is_cut)
    return found


def _follow(
    form: Form, text: str, found: Match, spans: list[tuple[int, int] | None]
) -> int:
    """Find the other parts; return how many of those that are needed are missing."""
    at, misses = spans[0][1] if spans[0] else 0, 0
    for number, piece in enumerate(form.pieces[1:], 1):
        said, span = piece, piece.search(text, at, _HOLE)
        if span is None:
            found.missing += 1
            said = piece.beginning
            span = said.search(text, at, _HOLE) if said is not piece else None
        spans.append(span)
        if span:
            found.letters += said.letters
            found.words += said.words
            at = span[1]
        elif number < form.head:
            misses += 1
    found.end = at
    return misses


def _is_begun(found: Match, is_begun: bool, misses: int) -> bool:  # noqa: FBT001
    """Tell whether enough of a template is there for a message that is cut."""
    if is_begun:
        return True
    return (
        len(found.form.pieces) > 1
        and (misses == 0 or found.words >= 5)  # noqa: PLR2004
        and found.letters >= 25  # noqa: PLR2004
        and (found.letters >= found.form.letters * 0.3 or found.letters >= 36)  # noqa: PLR2004
    )


def _is_word(char: str) -> bool:
    return char == "_" or (char.isascii() and char.isalnum())


def _may_begin(text: str, at: int, form: Form) -> bool:
    """Tell whether a template may begin at a place."""
    if at and _is_word(text[at - 1]) and _is_word(text[at : at + 1]):
        return False
    if form.pieces[0].hole or form.letters >= _LONG:
        return True
    return not js(r"[\w,] *$").search(text[max(0, at - 50) : at])


def _may_end(text: str, at: int, form: Form) -> bool:
    """Tell whether a template may end at a place."""
    if form.pieces[-1].hole < form.holes:
        return True  # a hole follows
    after = text[at : at + 1]
    if _is_word(after) and at and _is_word(text[at - 1]):
        return False
    return form.letters >= _LONG or not after or after in "\n.,;:!)'\"`]|"


def _fill_holes(found: Match, text: str, spans: list[tuple[int, int] | None]) -> None:
    """Note what stands in the holes of a match."""
    form = found.form
    found.holes, found.ats = [""] * form.holes, [-1] * form.holes
    first = form.pieces[0]
    if first.hole:
        begin = text.rfind("\n", 0, max(found.start, 1)) + 1
        if first.text.startswith("\n"):
            begin = max(0, found.start - _HOLE)
        found.holes[first.hole - 1] = text[begin : found.start]
    for number, piece in enumerate(form.pieces):
        span = spans[number]
        if span and piece.hole < form.holes:
            end = _end_of_hole(text, spans, number)
            found.holes[piece.hole] = text[span[1] : end]
            if text[end : end + 1] == "\n":
                found.ats[piece.hole] = span[1]
            found.begins.append(span[1])


def _end_of_hole(text: str, spans: list[tuple[int, int] | None], number: int) -> int:
    """Return where the hole after a part ends."""
    begin = spans[number][1]  # type: ignore[index]
    later = range(number + 1, len(spans))
    following = next((each for each in later if spans[each]), -1)
    end = spans[following][0] if following >= 0 else min(len(text), begin + _HOLE)  # type: ignore[index]
    line = text.find("\n", begin)
    if following != number + 1 and number + 1 < len(spans) and line >= 0:
        end = min(end, line)
    return end


# -- What is certain -------------------------------------------------------------------

_PYTHONS = js(
    r"^(?:(?:Runtime|Value|Type|Key|Index|Attribute|Import|NotImplemented|OS)Error|"
    r"Exception)$"
)
_CLASSES = js(r"^[A-Z]\w*$")
_SPOKEN = {"graph break": "Unsupported", "assert": "AssertionError"}
# Dynamo says the same to those who compile: without an export nothing is certain.
_COMPILED = any_of(
    "i",
    r"\btorch[._]compile|inductor\b|torchinductor|cudagraph|compiled?_autograd",
    r"\b(?:vllm|unsloth|sglang)\b|deepspeed",
    r"\bfsdp|DistributedDataParallel|optimizer\.step",
)
_EXPORTED = js(r"export|onnx|aoti|\.pt2\b", "i")
_ROLES = ("none", "wrapper", "answer")


@dataclass
class Index:
    """The index, prepared.

    Attributes
    ----------
    raw
        It, as ``errors.json`` has it.
    by_name, by_id
        Its recipes.
    forms
        The templates, each under its rarest word.
    """

    raw: dict[str, Any]
    by_name: dict[str, dict[str, Any]]
    by_id: dict[str, dict[str, Any]]
    forms: dict[str, list[Form]]

    @functools.cached_property
    def ranks(self) -> Ranks:
        """What words are compared with; made once something is ranked."""
        return Ranks(self.raw)


def prepare(raw: dict[str, Any]) -> Index:
    """Prepare an index: where to find each template, and each recipe."""
    by_name = {recipe["name"]: recipe for recipe in raw["recipes"]}
    by_id = {recipe["id"]: recipe for recipe in raw["recipes"] if recipe.get("id")}
    return Index(raw, by_name, by_id, _by_word(list(_forms(raw))))


def _forms(raw: dict[str, Any]) -> Iterator[Form]:
    """Yield the templates that may be certain."""
    for answer in raw.get("templates", ()):
        for text, *about in answer["texts"]:
            made = template(text, answer, about)
            if made and _is_told(made):
                yield made
    for recipe in raw["recipes"]:
        answer = {"role": "answer", "recipe": recipe["name"]}
        for text in recipe["wordings"]:
            bare = text[(header(text) or ("", 0))[1] :].replace("...", "{}")
            made = template(bare, answer, is_wording=True)
            if made and made.letters >= _LETTERS + 5 and made.words >= _WORDS:
                yield made


def _is_told(form: Form) -> bool:
    """Tell whether a template says enough, or belongs to a class of torch's own."""
    form.is_short = form.letters < _LETTERS or form.words < _WORDS
    if not form.is_short:
        return True
    form.classes = tuple(_SPOKEN.get(kind, kind) for kind in form.kind.split(", "))
    own = any(_CLASSES.search(of) and not _PYTHONS.search(of) for of in form.classes)
    says = form.words > 1 or form.kind == "graph break"
    return own and form.letters >= _SHORT and says


def _by_word(forms: list[Form]) -> dict[str, list[Form]]:
    """Return the templates under the rarest of their words."""
    having: dict[str, int] = {}
    for form in forms:
        for word in set(form.required):
            having[word] = having.get(word, 0) + 1
    found: dict[str, list[Form]] = {}
    for form in forms:
        rarest = min(form.required, key=having.__getitem__, default="")
        found.setdefault(rarest, []).append(form)
    return found


def _is_whole_text(found: Match, part: Part) -> bool:
    """Tell whether a short template is the whole text of an exception of its class."""
    before = len(found.holes[0]) if found.form.pieces[0].hole else 0
    is_whole = found.start == before and not found.missing
    return is_whole and part.type in found.form.classes


def _contradicts(form: Form, type_: str) -> bool:
    """Tell whether the class of an exception speaks against a short template."""
    if not type_ or not form.kind or form.letters >= _LONG:
        return False
    kinds = [kind for kind in form.kind.split(", ") if _CLASSES.search(kind)]
    is_other = bool(kinds) and type_ not in kinds
    return is_other and not re.search("Runtime|User|Unsupported", type_)


def _matches(index: Index, part: Part, release: str) -> list[Match]:
    """Return the matches in one part of a text, the best first."""
    headed = f"{part.type}: {part.text}" if part.type else part.text
    present = dict.fromkeys(_IN_TEXT.findall(headed))
    found = []
    for word in [*present, ""]:
        for form in index.forms.get(word, ()):
            if not all(each in present for each in form.required):
                continue
            one = _instance(form, part, headed)
            if one:
                one.part = part
                found.append(one)
    found.sort(key=lambda one: _order(index, one, release))
    return [one for one in found if not _is_outer(one, found)]


def _instance(form: Form, part: Part, headed: str) -> Match | None:
    """Return the match of a template in a part, if it says enough."""
    is_place = part.kind == "frames"
    if _contradicts(form, part.type) or is_place != (form.kind == "frames"):
        return None
    one = match(form, headed if form.is_headed else part.text)
    if one is None:
        return None
    fits = _is_whole_text(one, part) if form.is_short else one.letters >= _LETTERS
    return one if fits and not (is_place and one.missing) else None


def _order(index: Index, one: Match, release: str) -> tuple[float, int, bool, int]:
    """Return what comes first: more letters, then what exists in a release."""
    form = one.form
    # A wording has examples where a template has holes: they are no more specific.
    weight = one.letters * (0.7 if form.is_wording else 1)
    there = bool(release) and _exists(index, form, release)
    return -weight, one.missing, not there, -_ROLES.index(form.answer["role"])


def _exists(index: Index, form: Form, release: str) -> bool:
    """Tell whether a template exists in a release."""
    releases = index.raw["releases"]
    at = _place(releases, release)
    start = _place(releases, form.since) if form.since else 0
    end = _place(releases, form.until) if form.until else len(releases)
    return start <= at <= end


def _place(releases: list[str], release: str) -> int:
    return releases.index(release) if release in releases else -1


def _is_outer(worse: Match, found: list[Match]) -> bool:
    """Tell whether a better match explains the same words; a wrapper is no better."""
    size = sum(end - start for start, end in worse.spans)
    is_wrapper = worse.form.answer["role"] == "wrapper"
    for better in found:
        if better is worse:
            return False
        counts = is_wrapper or better.form.answer["role"] != "wrapper"
        if counts and _shared(better, worse) > 0.3 * size:
            return True
    return False


def _shared(a: Match, b: Match) -> int:
    """Return how many characters the fixed parts of two matches have in common."""
    return sum(
        max(0, min(end, to) - max(start, begin))
        for start, end in a.spans
        for begin, to in b.spans
    )


def _ordered(parts: list[Part]) -> list[Part]:
    """Order the parts of a text: what to believe first."""
    chains: list[list[Part]] = []
    for part in parts:
        if part.kind == "exception":
            if part.link == "cause" and chains:
                chains[-1].append(part)
            else:
                chains.append([part])

    def of(kind: str) -> list[Part]:
        return [part for part in parts if part.kind == kind]

    exceptions = [part for chain in reversed(chains) for part in chain]
    lasts = [*of("error")[::-1], *of("text"), *of("warning")[::-1], *of("log")[::-1]]
    return exceptions + lasts


def _deciding(one: Match) -> dict[str, Any]:
    """Return what decides the recipe of a match: the rule that fits, or the answer.

    A message that somebody wrapped ends a hole too early: then look a little further.
    What a rule on hole 0 says may stand anywhere in the text.
    """
    answer, rules = one.form.answer, one.form.answer.get("when", ())
    for rule in rules:
        if not rule["hole"]:
            if one.part and js(rule["is"]).search(one.part.whole):
                return rule
        elif _fits(rule, one.holes[rule["hole"] - 1]):
            return rule
    for rule in rules:
        at = one.ats[rule["hole"] - 1] if rule["hole"] else -1
        if at >= 0 and _fits(rule, _text(one)[at : at + _FURTHER]):
            return rule
    return answer


def _text(one: Match) -> str:
    return one.part.text if one.part else ""


def _fits(rule: dict[str, Any], hole: str) -> bool:
    form = js(f"^(?:{rule['is']})$")
    return bool(form.search(hole) or form.search(hole.replace("\n", " ")))


def _decided(one: Match) -> str:
    return _deciding(one).get("recipe", "")


def _is_usual(one: Match) -> bool:
    """Tell whether a message has other causes, and nothing in it says which it is."""
    return _is_undecided(one) and bool(one.form.answer.get("also"))


def _is_undecided(one: Match) -> bool:
    return _deciding(one) is one.form.answer


def _is_open(one: Match) -> bool:
    """Tell whether no cause is the usual one, and nothing says which it is."""
    return one.form.answer.get("certain") is False and _is_undecided(one)


@dataclass
class Answer:
    """A recipe that may answer a text.

    Attributes
    ----------
    recipe
        As the index has it.
    certain, usual
        Whether it is certain; whether it is the most frequent of several causes.
    is_open
        Whether it is one of several causes, and none is the most frequent.
    why
        Why it is shown: ``message``, ``other``, ``frames``, ``wrapper``, ``also``,
        ``close`` or ``id``.
    match
        The message that matched.
    quote, message, words
        The part of the text that matched, the message of the recipe's page, the words
        in common.
    """

    recipe: dict[str, Any]
    certain: bool
    usual: bool
    why: str
    match: Match | None = None
    quote: str | None = None
    message: dict[str, Any] | None = None
    words: list[str] | None = None
    is_open: bool = False


class _Answers:
    """The answers to a text, each recipe once."""

    def __init__(self, index: Index) -> None:
        self.index, self.list = index, []  # type: Index, list[Answer]

    def add(self, name: str, why: str, one: Match, *, certain: bool = False) -> None:
        """Add a recipe, unless it is there or there is none."""
        if not name or any(each.recipe["name"] == name for each in self.list):
            return
        is_first = certain and not self.list
        usual = is_first and _is_usual(one)
        recipe = self.index.by_name[name]
        is_open = why == "message" and _is_open(one)
        self.list.append(Answer(recipe, is_first, usual, why, one, is_open=is_open))


def find(index: Index, text: str, release: str = "") -> list[Answer]:
    """Find the answers that are certain, and what else the text speaks of.

    A usual answer is the most frequent cause of a message that has several.
    """
    read_ = read(text)
    parts = _ordered(read_)
    every = [(part, _matches(index, part, release)) for part in parts]
    is_raised = any(part.kind == "exception" for part in parts)
    may_be_certain = not _COMPILED.search(text) or bool(_EXPORTED.search(text))
    said = [
        (
            one,
            may_be_certain
            and not (is_raised and _is_aside(one, part))
            and not _is_open(one),
        )
        for part, found in every
        for one in _innermost([one for one in found if _role(one) == "answer"])
    ]
    answers = _Answers(index)
    for one, certain in said:
        why = "other" if answers.list else "message"
        answers.add(_decided(one), why, one, certain=certain)
    places = [part for part in read_ if part.kind == "frames"]
    hints = [one for part in places for one in _matches(index, part, release)]
    hints.sort(key=lambda one: -one.end)
    for one in hints:
        answers.add(_decided(one), "frames", one)
    for one in (one for _, found in every for one in found if _role(one) == "wrapper"):
        answers.add(_decided(one), "wrapper", one)
    for one in [*(one for one, _ in said), *hints]:
        # A rule without a recipe says that there is none; there may be hints alone.
        if _decided(one) or not one.form.answer.get("recipe"):
            for name in one.form.answer.get("also", ()):
                answers.add(name, "also", one)
    return answers.list


def _is_aside(one: Match, part: Part) -> bool:
    """Tell whether a message is a warning: by the text around it, or by what says it.

    Where something was raised, that is not the cause.
    """
    return bool({part.kind, one.form.kind} & {"warning", "log"})


def _role(one: Match) -> str:
    return one.form.answer["role"]


def _innermost(found: list[Match]) -> list[Match]:
    """Order matches of one part: what stands inside of another comes first."""
    by_start = sorted(found, key=lambda one: one.start)
    ordered: dict[Match, None] = {}

    def add(one: Match) -> None:
        for each in by_start:
            if _is_inside(each, one):
                add(each)
        ordered[one] = None

    for one in by_start:
        add(one)
    return list(ordered)


def _is_inside(a: Match, b: Match) -> bool:
    """Tell whether a match stands in a hole of another one, in the first line of it."""
    if a.start <= b.start or a.letters < 20:  # noqa: PLR2004
        return False
    begin = max((each for each in b.begins if each <= a.start), default=-1)
    return begin >= 0 and "\n" not in trim(_text(a)[begin : a.start])


# -- Comparing words -------------------------------------------------------------------

_WORD = re.compile(r"[a-z_]+|\/\/|[=!<>]=|[-+*\/%<>]|[0-9]+")
# What stands below any error; it says nothing of the cause.
_ADVICE = any_of(
    "m",
    r"^Set TORCH.*$",
    r"^You can suppress this exception.*$",
    r"^import torch\._dynamo$|^torch\._dynamo\.config\.suppress.*$",
    r"^For more information about this error.*$",
    r"^The error above occurred when.*$",
    r"^\(Refer to the full stack.*$",
    r"^For C\+\+ stack trace.*$",
)
# Something of an export is in the text: then less is enough to be shown.
_SPEAKS = js(r"export|onnx|_dynamo|aoti|FakeTensor|SymInt|torch\.fx|executorch", "i")


def _word_list(text: str) -> list[str]:
    """Split a text into words; numbers are "#", symbols of sizes are "sym"."""
    plain = js(r"0x[0-9a-f]+", "i").sub(" ", text)
    plain = js(r"\b(?:\w+\.)+(?=[A-Z])").sub("", plain)  # torch._dynamo.exc.UserError
    plain = js(r"\b(?:zuf|zf|u|s)\d+\b").sub(" sym ", plain.lower())
    return ["#" if word[0].isdigit() else word for word in _WORD.findall(plain)]


def _terms(text: str) -> dict[str, None]:
    """Return the words, parts of names and pairs of neighbors, each once, in order."""
    found: dict[str, None] = {}
    before = ""
    for word in _word_list(text):
        if word != "#":
            found[word] = None
        if "_" in word:
            found |= dict.fromkeys(name for name in word.split("_") if len(name) > 2)  # noqa: PLR2004
        if before:
            found[f"{before} {word}"] = None
        before = word
    found.pop("# #", None)
    return found


class Place:
    """A text of a recipe that words are compared with.

    Attributes
    ----------
    recipe
        The number of the recipe.
    factor
        How much it counts.
    message
        The message, or what is known of a text that is none; None for what a recipe
        says of itself.
    terms, weight
        Its words and pairs, and what they weigh together.
    """

    def __init__(
        self, recipe: int, text: str, factor: float, message: dict[str, Any] | None
    ) -> None:
        self.recipe, self.factor, self.message = recipe, factor, message
        self.terms = _terms(utf16(text))
        self.weight = 0.0


_TELLING = js(r"^(?=.{7})\w*[a-z]_[a-z]\w*$")


class Ranks:
    """The texts of an index to compare with, and where each word is."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.recipes = len(raw["recipes"])
        places = [*_places(raw), *_places_of_templates(raw)]
        having: dict[str, set[int]] = {}
        for place in places:
            for term in place.terms:
                having.setdefault(term, set()).add(place.recipe)
        self.having = {term: len(numbers) for term, numbers in having.items()}
        self.places: dict[str, list[Place]] = {}
        for place in places:
            for term in place.terms:
                place.weight += self.weight(term)
                self.places.setdefault(term, []).append(place)

    def weight(self, term: str) -> float:
        """Return what a word or a pair weighs: more if few recipes have it."""
        some = math.log(1 + self.recipes / self.having.get(term, 1))
        return some * (1.5 if self.is_name(term) else 1 if " " in term else 0.5)

    def is_name(self, term: str) -> bool:
        """Tell whether it is a name, such as view_as_complex, that few recipes have."""
        return bool(_TELLING.search(term)) and 0 < self.having.get(term, 0) <= 4  # noqa: PLR2004


def _places(raw: dict[str, Any]) -> Iterator[Place]:
    """Yield what the recipes say."""
    for number, recipe in enumerate(raw["recipes"]):
        messages = recipe["messages"]
        for each in messages:
            name = each["type"].rpartition(".")[2]
            factor = 1.15 if each["cell"] == messages[0]["cell"] else 1
            yield Place(number, f"{name} {each['message']}", factor, each)
        for text in recipe["wordings"]:
            yield Place(number, text, 1.1, {"message": text})
        yield Place(number, f"{recipe['title']}. {recipe['symptom']}", 0.8, None)
        yield Place(number, ". ".join(recipe["keywords"]), 1, None)
        cause = (recipe.get("answer") or {}).get("cause")
        said = recipe.get("advice", "") if cause is None else cause
        yield Place(number, said, 0.5, None)


def _places_of_templates(raw: dict[str, Any]) -> Iterator[Place]:
    """Yield what torch can say that a recipe answers."""
    numbers = {recipe["name"]: i for i, recipe in enumerate(raw["recipes"])}
    for answer in raw.get("templates", ()):
        number = numbers.get(answer.get("recipe", ""))
        if answer["role"] == "answer" and number is not None:
            for text, kind, *_ in answer["texts"]:
                said = utf16(text)[:400].replace("{}", " ")
                if kind != "frames":
                    yield Place(number, said, 1, {"text": text})


@dataclass
class Rank:
    """How close a recipe comes to a text.

    Attributes
    ----------
    number
        Of the recipe.
    best, more
        The score of the message that comes closest, and of what the recipe says.
    whole
        How much of the message, or of the text, is shared.
    place
        The message.
    is_named
        Whether a name is shared that few recipes have.
    """

    number: int
    best: float = 0
    more: float = 0
    whole: float = 0
    place: Place | None = None
    is_named: bool = False

    @property
    def score(self) -> float:
        """The score of the recipe."""
        return self.best + self.more

    def is_close(self, *, speaks: bool) -> bool:
        """Tell whether it is close enough to be shown."""
        return (
            self.score >= 21  # noqa: PLR2004
            or (self.score >= 13 and self.whole >= 0.75)  # noqa: PLR2004
            or (self.score >= 6 and self.whole >= 0.9)  # noqa: PLR2004
            or (speaks and self.score >= 5 and self.whole >= 0.1)  # noqa: PLR2004
            or (self.is_named and self.score >= 3)  # noqa: PLR2004
        )

    def add(self, place: Place, weight: float, total: float) -> None:
        """Count a text that has words in common."""
        score = weight * (weight / place.weight) ** 0.35 * place.factor
        if place.message is None:
            self.more += score
        elif score > self.best:
            self.best, self.place = score, place
            self.whole = max(weight / place.weight, weight / total)


def rank(index: Index, query: str) -> list[Rank]:
    """Rank the recipes for a text, the closest first."""
    parts = [part for part in read(query) if part.kind != "frames"]
    said = "\n".join(f"{part.type} {part.text}" for part in parts)
    text = _shortest(_ADVICE.sub("", said))
    ranks, total = index.ranks, 0.0
    shared: dict[Place, float] = {}
    named: set[int] = set()
    for term in _terms(text):
        weight, places = ranks.weight(term), ranks.places.get(term, ())
        total += weight
        for place in places:
            shared[place] = shared.get(place, 0) + weight
        if ranks.is_name(term):
            named |= {place.recipe for place in places}
    found: dict[int, Rank] = {}
    for place, weight in shared.items():
        is_named = place.recipe in named
        one = found.setdefault(place.recipe, Rank(place.recipe, is_named=is_named))
        one.add(place, weight, total)
    return sorted(found.values(), key=lambda one: -one.score)


def _shared_words(index: Index, query: str, place: Place | None) -> list[str]:
    """Return the words of a text that made a recipe come close, the rarest first."""
    has = place.terms if place else {}
    some = [
        term
        for term in _terms(query)
        if " " not in term and re.search(r"(?a:\w{3})", term) and term in has
    ]
    return sorted(some, key=lambda term: -index.ranks.weight(term))[:6]


# -- The answers -----------------------------------------------------------------------

_ID = js(r"^\s*(TX\d+)\s*$", "i")


def answer(index: Index, text: str, release: str = "") -> list[Answer]:
    """Return the answers to a text; only the first one may be certain.

    Parameters
    ----------
    index
        The index.
    text
        What a reader pastes, or the id of a recipe.
    release
        The release of torch whose wording is preferred: ``2.9``.
    """
    named = _ID.search(text)
    if named and (recipe := index.by_id.get(named[1].upper())):
        return [Answer(recipe, certain=True, usual=False, why="id")]
    found = find(index, text, release)
    for each in found:
        if each.match:
            each.quote = None if each.why == "also" else _quoted(each.match)
            each.message = _reproduced(index, each.recipe, each.match.form)
    close = [] if found and found[0].certain else _closest(index, text, found)
    # A template that only hints at recipes comes after the closest one.
    first = int(all(_is_hint(each) for each in found))
    return [*close[:first], *found, *close[first:]][:_SHOWN]


def _is_hint(one: Answer) -> bool:
    is_told = one.match is not None and one.match.form.answer.get("recipe")
    return one.why == "also" and not is_told


def _quoted(one: Match) -> str:
    """Return the part of a text that matched, to be shown again."""
    before = len(one.holes[0]) if one.form.pieces[0].hole else 0
    return _text(one)[one.start - before :][:_QUOTED]


def _closest(index: Index, text: str, found: list[Answer]) -> list[Answer]:
    """Return the recipes that come close, if the best does."""
    ranked, speaks = rank(index, text), bool(_SPEAKS.search(text))
    if not ranked or not ranked[0].is_close(speaks=speaks):
        return []
    known = {each.recipe["name"] for each in found}
    close = []
    for one in ranked:
        recipe = index.raw["recipes"][one.number]
        if one.score >= ranked[0].score / 3 and recipe["name"] not in known:
            message = one.place.message if one.place else None
            close.append(
                Answer(
                    recipe,
                    certain=False,
                    usual=False,
                    why="close",
                    message=message if message and message.get("cell") else None,
                    words=_shared_words(index, text, one.place),
                )
            )
    return close[:_SHOWN]


def _reproduced(
    index: Index, recipe: dict[str, Any], form: Form
) -> dict[str, Any] | None:
    """Return the message of a recipe that is an instance of a template.

    Best one that its page prints. It gets the releases of all that the same cell met.
    """
    instances = [each for each in recipe["messages"] if _is_instance(form, each)]
    if not instances:
        return None
    shown = [each for each in instances if each.get("printed", True)]
    best = (shown or instances)[0]
    seen = {
        release
        for each in instances
        if each["cell"] == best["cell"] and each.get("printed") == best.get("printed")
        for release in each["releases"]
    }
    return {**best, "releases": [r for r in index.raw["releases"] if r in seen]}


def _is_instance(form: Form, message: dict[str, Any]) -> bool:
    before = f"{message['type']}: " if form.is_headed else ""
    return match(form, utf16(before + message["message"])) is not None


# -- The command -----------------------------------------------------------------------

FORMAT = 2  # of the index
CERTAIN, WRONG_CALL, NOT_CERTAIN = 0, 2, 3
_RAISED = 1  # how Python ends with an exception
_WIDTH = 88
_HERE = Path(__file__).resolve().parent
_CHAINED = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
_TRACEBACK = re.compile(r"^(?=(?:  \+ Exception Group )?Traceback \()", re.MULTILINE)
# Why an answer is shown, in the words of the box.
_REASONS = {
    "also": "The same message has other causes:",
    "frames": "Your traceback goes through:",
    "other": "Your text has another message:",
    "wrapper": "This stands around any cause:",
}


class CallError(Exception):
    """A wrong call; the message says what to do."""


def load(file: Path | None = None) -> dict[str, Any]:
    """Return the index: that of a file, the one in here, or the one beside this file.

    Raises
    ------
    CallError
        If there is none.
    """
    path = file or _HERE / "errors.json"
    try:
        if file is None and INDEX:
            said = zlib.decompress(base64.b64decode(INDEX)).decode()
        else:
            said = path.read_text("utf-8")
        made = json.loads(said)
    except (OSError, ValueError) as error:
        raise CallError(f"{path} cannot be read as an index: {error}.") from None
    if not isinstance(made, dict) or made.get("format") != FORMAT:
        raise CallError(f"{path} is no index of the format {FORMAT}.")
    return made


def installed() -> str:
    """Return the installed release of torch, as in 2.9; empty if there is none."""
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return ""
    return ".".join(version.partition("+")[0].split(".")[:2])


def spans(releases: list[str], order: list[str]) -> str:
    """Name releases in a row by the first and the last: 2.6 – 2.8, 2.10."""
    rows: list[list[str]] = []
    for release in releases:
        if rows and order.index(rows[-1][-1]) + 1 == order.index(release):
            rows[-1].append(release)
        else:
            rows.append([release])
    return ", ".join(r[0] if len(r) == 1 else f"{r[0]} – {r[-1]}" for r in rows)


def reason(one: Answer) -> str:
    """Say why an answer is shown, in the words of the box."""
    if one.why == "id":
        return "The recipe of this id:"
    if one.usual:
        return "Exact message, its most frequent cause:"
    if one.certain:
        return "Exact match"
    if one.is_open:
        return "One of several causes of this message:"
    if one.words is not None:
        return f"Words in common: {', '.join(one.words)}"
    return _REASONS.get(one.why, "Not certain:")


def address(raw: dict[str, Any], page: str) -> str:
    """Return where a page is: on the site, in the folder of this file, or its name."""
    if raw.get("site"):
        return f"{raw['site']}{page}"
    name, hash_, anchor = page.partition("#")
    path = _HERE / name
    return f"{path.as_uri()}{hash_}{anchor}" if path.exists() else page


def for_programs(raw: dict[str, Any], one: Answer) -> dict[str, Any]:
    """Return an answer for programs."""
    recipe, said = one.recipe, one.recipe["answer"] or {}
    return {
        "id": recipe.get("id", ""),
        "name": recipe["name"],
        "title": recipe["title"],
        "address": address(raw, recipe["page"]),
        "certain": one.certain,
        "usual": one.usual,
        "why": one.why,
        "reason": reason(one),
        "cause": said.get("cause", recipe["advice"]),
        "change": said.get("change", []),
        "cost": said.get("cost", ""),
        "works": said.get("works", []),
        "quote": one.quote,
        "message": one.message,
        "words": one.words or [],
    }


def _wrapped(text: str) -> str:
    """Return a paragraph; code in it is not broken."""
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def shown(raw: dict[str, Any], one: Answer, release: str) -> str:
    """Return an answer as text: title, cause, change, where it works, address."""
    recipe, said = one.recipe, one.recipe["answer"]
    head = [reason(one), _title(recipe), _seen(raw, one)]
    if said is None:
        rest = [_wrapped(recipe["advice"]), address(raw, recipe["page"])]
    else:
        change = "\n".join(f"    {line}".rstrip() for line in said["change"])
        facts = _wrapped(_facts(said, raw["releases"], release))
        fix = address(raw, f"{recipe['page']}#{said['fix']}")
        rest = [_wrapped(said["cause"]), change, facts, fix]
    return "\n\n".join(filter(None, [*head, *rest]))


def _brief(raw: dict[str, Any], others: list[Answer]) -> Iterator[str]:
    """Yield the answers after the first; those with one reason stand together."""
    for why, some in itertools.groupby(others, reason):
        yield why
        for recipe in (one.recipe for one in some):
            yield f"{_title(recipe)}\n{address(raw, recipe['page'])}"


def _title(recipe: dict[str, Any]) -> str:
    return _wrapped(f"{recipe.get('id', '')} {recipe['title']}".strip())


def _seen(raw: dict[str, Any], one: Answer) -> str:
    """Return what matched or came close, and where it was seen."""
    said = one.quote or (one.message or {}).get("message")
    if not said:
        return ""
    lines = [f"  | {line}" for line in said.split("\n")[:2]]
    if one.message:
        named = spans(one.message["releases"], raw["releases"])
        lines.append(f"  Seen with PyTorch {named}.")
    return "\n".join(line[: 4 * _WIDTH] for line in lines)


def _facts(said: dict[str, Any], order: list[str], release: str) -> str:
    """Say what a change costs, and with which releases it works."""
    facts = [f"Cost: {said['cost']}"] if said["cost"] else []
    if works := said["works"]:
        facts.append(f"Works with PyTorch {spans(works, order)}.")
        if release in order and release not in works:
            facts.append(f"You have {release}.")
    return " ".join(facts)


def report(raw: dict[str, Any], found: list[Answer], release: str) -> str:
    """Return all answers as text, the first one whole; say if none is certain."""
    if not found:
        return "Nothing is certain: no recipe matches."
    first, *others = found
    texts = [shown(raw, first, release), *_brief(raw, others)]
    if not first.certain:
        texts.insert(0, "Nothing is certain: no exact match. Closest recipes:")
    return "\n\n".join(texts)


def _read(name: str) -> str:
    """Return the text of a file or of the input."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CallError(f"{name} cannot be read: {error.strerror}.") from None
    # The shell of Windows writes UTF-16.
    is_wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return data.decode("utf-16" if is_wide else "utf-8-sig", "replace")


def _asked(index: Index, what: str | None) -> str:
    """Return the text to explain: a file, the input, a message, or an id."""
    if what is None:
        if sys.stdin.isatty():
            raise CallError("Give a file, an id, or a text that is piped in.")
        return _read("-")
    if named := _ID.search(what):
        if named[1].upper() not in index.by_id:
            raise CallError(f"There is no recipe {what}.")
        return what
    is_message = " " in what and not os.path.exists(what)  # noqa: PTH110 (of any length)
    return what if is_message else _read(what)


def run(command: list[str], stdout: Any = None) -> tuple[int, str]:
    """Run a script as Python does; return its exit status, and its last traceback.

    It has a process of its own, which is as it would be without this command, but that
    what it writes to the standard error passes through here.

    Raises
    ------
    CallError
        If there is no such script.
    """
    if not Path(command[0]).is_file():
        raise CallError(f"There is no script {command[0]}.")
    command = [sys.executable, *command]
    kept = b""
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE) as process:
        while data := _written(process.stderr):
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()
            kept = (kept + data)[-4 * _LONGEST :]
    said = kept.decode("utf-8", "replace").replace("\r\n", "\n")
    is_raised = process.returncode == _RAISED
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return status, last_traceback(said) if is_raised else ""


def _written(stream: Any) -> bytes:
    """Return what a process has written since; Ctrl-C is for the process."""
    while True:
        try:
            return os.read(stream.fileno(), 1 << 16)
        except KeyboardInterrupt:
            continue


def last_traceback(text: str) -> str:
    """Return the last traceback of a text, with those of its causes; empty if none."""
    _, *pieces = _TRACEBACK.split(_ANSI.sub("", text))
    kept: list[str] = []
    for piece in reversed(pieces):
        if kept and not piece.rstrip().endswith(_CHAINED):
            break
        kept.insert(0, piece)
    return "".join(kept)


def _parser() -> argparse.ArgumentParser:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(
        prog="explain.py",
        usage="explain.py [options] [FILE | ID | MESSAGE | run SCRIPT ...]",
        description=lines[0],
        epilog="\n".join(lines[2:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--torch", metavar="RELEASE", help="prefer its wording to the installed one's"
    )
    parser.add_argument(
        "--index", type=Path, metavar="FILE", help="another errors.json"
    )
    return parser


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the arguments of this command, and what it is to run."""
    if "run" not in arguments:
        return arguments, []
    at = arguments.index("run")
    if not arguments[at + 1 :]:
        raise CallError("Say which script it is to run: run my_export.py")
    return arguments[:at], arguments[at + 1 :]


def _release(raw: dict[str, Any], wanted: str | None) -> str:
    """Return the release whose wording is preferred."""
    if wanted and wanted not in raw["releases"]:
        raise CallError(f"RELEASE is one of {', '.join(raw['releases'])}.")
    return wanted or installed()


def _explain(given: argparse.Namespace, raw: dict[str, Any], release: str) -> int:
    """Explain a text; return the exit status."""
    index = prepare(raw)
    found = answer(index, trim(utf16(_asked(index, given.what))), release)
    sys.stdout.write(_told(given, raw, found, release))
    return CERTAIN if found and found[0].certain else NOT_CERTAIN


def _follow_script(
    given: argparse.Namespace, raw: dict[str, Any], release: str, script: list[str]
) -> int:
    """Run a script; explain how it ended, and return its exit status.

    What is for programs stands alone in the standard output.
    """
    status, text = run(script, sys.stderr if given.json else None)
    if text or given.json:
        found = answer(prepare(raw), trim(utf16(text)), release) if text else []
        stream = sys.stdout if given.json else sys.stderr
        stream.write(f"\n{_told(given, raw, found, release)}")
    return status


def _told(
    given: argparse.Namespace, raw: dict[str, Any], found: list[Answer], release: str
) -> str:
    """Return what is written of the answers."""
    if not given.json:
        return characters(report(raw, found, release)) + "\n"
    answers = [for_programs(raw, one) for one in found]
    certain = bool(found) and found[0].certain
    said = {"torch": release, "certain": certain, "answers": answers}
    return json.dumps(said, indent=2) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Explain what the command line names; return the exit status."""
    parser = _parser()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        own, script = _split(sys.argv[1:] if arguments is None else arguments)
        given = parser.parse_args(own)
        raw = load(given.index)
        release = _release(raw, given.torch)
        if script:
            return _follow_script(given, raw, release, script)
        return _explain(given, raw, release)
    except CallError as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
