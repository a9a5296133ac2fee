"""The answer of a recipe: what a reader needs who has no time.

It is written once, in the docstring of the recipe, as the directive ``answer``::

    .. answer::
       :cost: Nothing at run time.

       The batch size, 4, is hard-coded in ``reshape``.

       .. code-block:: diff

          -        return x.reshape(4, 2, 3)
          +        return x.reshape(x.shape[0], 2, 3)

       Not your case?

       * ``constant (1)``: your example has one row: :ref:`l-plot-...`.

All that shows an answer (the page, the notebook, the zip, the box for errors, lists)
reads it here.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

#: How many lines a change may have.
LEAST, MOST = 1, 10

#: The words between the change and the links to recipes for other causes.
OTHERWISE = "Not your case?"

_FORM = (
    "give a paragraph with the cause, then '.. code-block:: diff' with the change, "
    f"then, if the message has other causes, the line '{OTHERWISE}' and a list"
)
_BLOCK = re.compile(
    r"^\.\. answer::[ ]*\n(?P<body>(?:[ ]{3}.*\n|[ ]*\n)*)", re.MULTILINE
)
_OPTION = re.compile(
    r"^:(?P<name>[\w-]+):[ ]*(?P<value>.*(?:\n[ ]+\S.*)*)", re.MULTILINE
)
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,2})(?=\S)(.+?)(?<=\S)\1(?!\w)")
_ROLE = re.compile(r":[a-z:]+:`~?([^`<]*?)(?: ?<[^`]*>)?`")


class AnswerError(ValueError):
    """An answer that is not of the form; the message says what to do."""


@dataclass(frozen=True)
class Answer:
    """The cause, and what to write instead.

    Attributes
    ----------
    cause
        Why it happens, in reStructuredText: one paragraph.
    change
        The lines of the change; each begins with ``-``, ``+`` or a space.
    cost
        What the change costs, in reStructuredText; may be empty.
    others
        Where to go if the message has another cause: an entry each, in
        reStructuredText.
    """

    cause: str
    change: tuple[str, ...]
    cost: str = ""
    others: tuple[str, ...] = ()

    def lines(self, sign: str) -> list[str]:
        """Return the lines that the change adds (``+``) or removes (``-``)."""
        return [
            bare(line[1:])
            for line in self.change
            if line.startswith(sign) and bare(line[1:])
        ]

    def fix(self, cells: list[str]) -> int | None:
        """Return the number of the cell that has most of the added lines: the fix.

        Parameters
        ----------
        cells
            The code of each cell, as its page shows it.
        """
        wanted = set(self.lines("+"))
        found = [len(wanted & {bare(line) for line in c.splitlines()}) for c in cells]
        return found.index(max(found)) if any(found) else None

    def unproved(self, cells: list[str]) -> list[str]:
        """Return the lines of the change that no cell has."""
        shown = {bare(line) for code in cells for line in code.splitlines()}
        lines = [*self.lines("-"), *self.lines("+")]
        return [line for line in lines if line not in shown]

    @property
    def text(self) -> str:
        """Return the cause as plain text."""
        return plain(self.cause)


def bare(line: str) -> str:
    """Return a line of code in which white space does not count."""
    return " ".join(line.split())


def plain(text: str) -> str:
    """Return reStructuredText as plain text on one line."""
    text = _ROLE.sub(r"\1", text).replace("``", "")
    return " ".join(_EMPHASIS.sub(r"\2", text).split())


def find(docstring: str) -> Answer | None:
    """Return the answer in the docstring of a recipe, if there is one.

    Raises
    ------
    AnswerError
        If it is not of the form.
    """
    found = _BLOCK.search(docstring.rstrip() + "\n")
    if found is None:
        return None
    body = textwrap.dedent(found["body"]).strip("\n")
    head, _, rest = body.partition("\n\n")
    options = {m["name"]: " ".join(m["value"].split()) for m in _OPTION.finditer(head)}
    return parse(rest if options else body, options.get("cost", ""))


def without(text: str) -> str:
    """Return a docstring, or a block of text, without its answer."""
    return replaced(text, "")


def replaced(text: str, by: str) -> str:
    """Return a text with something else in the place of its answer."""
    return _BLOCK.sub(lambda _: by, text.rstrip() + "\n")


def parse(content: str, cost: str = "") -> Answer:
    """Return the answer that the content of the directive has.

    Raises
    ------
    AnswerError
        If it is not of the form.
    """
    cause, mark, rest = content.strip("\n").partition("\n\n.. code-block:: diff\n\n")
    if not mark or "\n\n" in cause:
        raise AnswerError(f"The answer has no cause and change: {_FORM}.")
    change, _, others = rest.partition(f"\n\n{OTHERWISE}\n\n")
    lines = textwrap.dedent(change).rstrip().split("\n")
    _check_change(lines)
    return Answer(" ".join(cause.split()), _aligned(lines), cost, _entries(others))


def _aligned(lines: list[str]) -> tuple[str, ...]:
    """Return the lines of a change without the indentation that all have in common."""
    code = textwrap.dedent("\n".join(line[1:] for line in lines)).split("\n")
    return tuple(
        f"{line[:1] or ' '} {rest}" for line, rest in zip(lines, code, strict=True)
    )


def _check_change(lines: list[str]) -> None:
    for line in lines:
        if line and line[0] not in "-+ ":
            raise AnswerError(
                f"The change of the answer has the line '{line}': begin each with "
                f"'-', '+' or a space, and after it {_FORM}."
            )
    changed = [line for line in lines if line[:1] in {"-", "+"} and bare(line[1:])]
    if not changed or not LEAST <= len(lines) <= MOST:
        raise AnswerError(
            f"The change of the answer has {len(lines)} lines, {len(changed)} of them "
            f"changed: give {LEAST} to {MOST}."
        )


def _entries(text: str) -> tuple[str, ...]:
    """Return the entries of a bullet list, each on one line."""
    found = re.split(r"^\* ", text.strip(), flags=re.MULTILINE)
    return tuple(" ".join(entry.split()) for entry in found if entry.strip())
