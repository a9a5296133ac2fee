"""Write the picture of a program as SVG: the figure of a page, the card of a recipe.

Colors of a figure are in ``_static/pictures.css``, so that it follows light and dark.
"""

from __future__ import annotations

import html
import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from _ext.show.layout import LETTER, LINE, PAD, Layout

if TYPE_CHECKING:
    from _ext.show.programs import Box, Line, Program

#: The width of the text, in pixels, and how far a wider picture is made smaller.
COLUMN, SMALLEST = 700, 0.75

#: The colors of a card, which are seen on white and on black.
CARD = {
    "input": "#8a8f98",
    "operators": "#5b8dd9",
    "output": "#8a8f98",
    "dynamic": "#e08a3c",
}

#: Programs that have less than this in common are not compared.
ALIKE = 0.4


# -- The figure ------------------------------------------------------------------------


def figure(name: str, content: Program, seen: list[Program], words: str = "") -> str:
    """Return the figure of a program: its picture, what it has, what is new in it.

    Parameters
    ----------
    name
        What the recipe calls the program.
    seen
        The programs of earlier figures. There is no figure of one of them.
    words
        What is to be seen in the picture; it is folded where that is not said.
    """
    if content in seen:
        return ""
    fresh = _fresh(content, seen[-1]) if seen else set()
    caption = html.escape(words)
    if fresh:
        caption += " A bar marks what differs from the picture before."
    label = html.escape(f"Graph of {name}: {_plain(content)}", quote=True)
    summary = f"Graph of <code>{html.escape(name)}</code>: {_describe(content)}"
    return (
        f'<details class="program"{" open" * bool(words)}><summary>{summary}</summary>'
        '<figure><div class="program-scroll" role="group" tabindex="0" '
        f'aria-label="Graph of {html.escape(name, quote=True)}">'
        f"{_svg(content, label, fresh)}</div>"
        f"<figcaption>{caption.strip()}</figcaption></figure></details>"
    )


def _describe(content: Program) -> str:
    """Say in HTML what a program has."""
    sizes = [
        f'<b class="program-size">{symbol}</b>{_range(*limits)}'
        for symbol, limits in content.sizes.items()
    ]
    return f"{_counts(content)}. " + (
        f"Dynamic: {', '.join(sizes)}." if sizes else "All sizes are fixed."
    )


def _range(lower: int | None, upper: int | None) -> str:
    """Say in which range a size lies."""
    if lower is None:
        return ""
    return f" ({lower} or more)" if upper is None else f" ({lower} to {upper})"


def _counts(content: Program) -> str:
    """Count what a program has."""
    kinds = [box.kind for box in content.boxes]
    counted = [
        (kinds.count("input"), "input"),
        (content.operators, "operator"),
        (kinds.count("output"), "output"),
    ]
    text = ", ".join(f"{n} {what}{'s' * (n != 1)}" for n, what in counted)
    if content.folded:
        text += f"; {content.folded} parameters or constants are folded in"
    return text


def _plain(content: Program) -> str:
    """Say in words what the picture shows: inputs, outputs, dynamic sizes."""
    ends = {
        kind: [
            _text(line)
            for box in content.boxes
            if box.kind == kind
            for line in box.lines
        ]
        for kind in ("input", "output")
    }
    dynamic = ", ".join(content.sizes) or "none"
    return (
        f"{_counts(content)}. Inputs: {'; '.join(ends['input']) or 'none'}. "
        f"Outputs: {'; '.join(ends['output']) or 'none'}. Dynamic sizes: {dynamic}."
    )


def _text(line: Line) -> str:
    return f"{line.text} {''.join(text for text, _ in line.result)}".strip()


def _comparable(line: Line) -> str:
    """Return a line without the numbers of symbols, which each export gives anew."""
    return re.sub(r"\b([a-z]+)\d+\b", r"\1", _text(line))


def _fresh(content: Program, before: Program) -> set[tuple[int, int]]:
    """Return the lines, as (box, line), that an alike program did not have."""
    places = [
        (b, n) for b, box in enumerate(content.boxes) for n in range(len(box.lines))
    ]
    new = [_comparable(content.boxes[b].lines[n]) for b, n in places]
    old = [_comparable(line) for box in before.boxes for line in box.lines]
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < ALIKE:
        return set()
    return {
        places[number]
        for kind, _, _, start, end in matcher.get_opcodes()
        if kind != "equal"
        for number in range(start, end)
    }


# -- The picture -----------------------------------------------------------------------


def _svg(content: Program, label: str, fresh: set[tuple[int, int]]) -> str:
    """Return the SVG of a program."""
    layout = Layout(content)
    scale = min(1.0, max(SMALLEST, COLUMN / layout.width))
    head = (
        f'<svg role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg" '
        f'width="{layout.width * scale:.0f}" height="{layout.height * scale:.0f}" '
        f'viewBox="0 0 {layout.width:.0f} {layout.height:.0f}">'
    )
    parts = [head, f'<path class="arrow" d="{layout.arrows()}"/>']
    for number, box in enumerate(content.boxes):
        x, y = layout.corner(number)
        width, height = layout.sizes[number]
        parts.append(
            f'<g class="{box.kind}" transform="translate({x:.0f} {y:.0f})">'
            f'<rect width="{width:.0f}" height="{height:.0f}" rx="5"/>'
            f"{_words(box, width, {n for b, n in fresh if b == number})}</g>"
        )
    return "".join([*parts, "</svg>"])


def _words(box: Box, width: float, fresh: set[int]) -> str:
    """Return the lines of a box as text elements."""
    found = []
    for number, line in enumerate(box.lines):
        y = PAD + LINE * number + 13
        if number in fresh:
            bar = f"M2 {y - 11}v{LINE - 4}"
            found.append(f'<path class="fresh" d="{bar}"/>')
        pieces = "".join(
            f'<tspan class="size">{html.escape(text)}</tspan>'
            if dynamic
            else html.escape(text)
            for text, dynamic in line.result
        )
        indent = len(line.text) - len(line.text.lstrip())
        x = PAD + indent * LETTER
        found.append(
            f'<text x="{x:.0f}" y="{y}">{html.escape(line.text.strip())}</text>'
        )
        if pieces:
            found.append(
                f'<text x="{width - PAD:.0f}" y="{y}" class="result">{pieces}</text>'
            )
    return "".join(found)


# -- The card --------------------------------------------------------------------------


def card(content: Program) -> str:
    """Return an SVG that is a file: its colors fit light and dark."""
    layout = Layout(content)
    boxes: dict[str, list[str]] = {kind: [] for kind in CARD}
    for number, box in enumerate(content.boxes):
        x, y = layout.corner(number)
        width, height = layout.sizes[number]
        dynamic = any(flag for line in box.lines for _, flag in line.result)
        kind = "dynamic" if dynamic else box.kind
        boxes[kind].append(f"M{x:.0f} {y:.0f}h{width:.0f}v{height:.0f}h-{width:.0f}z")
    across, down = f"{layout.width:.0f}", f"{layout.height:.0f}"
    paths = "".join(
        f'<path fill="{color}" d="{"".join(boxes[kind])}"/>'
        for kind, color in CARD.items()
        if boxes[kind]
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" '
        f'width="{across}" height="{down}" viewBox="0 0 {across} {down}">'
        f'<path fill="none" stroke="#8a8f98" stroke-width="3" d="{layout.arrows()}"/>'
        f"{paths}</svg>\n"
    )
