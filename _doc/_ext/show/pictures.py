"""Draw every exported program on a page, as an SVG that is part of the page.

Sphinx-Gallery calls :func:`scrape` after each cell. It finds the exported programs
among the variables of the recipe, so recipes need no code for it. The layers and the
way of the arrows are igraph's, by the method of Sugiyama; colours are in
``_static/pictures.css``, so that a picture follows light and dark. The largest picture
of a recipe, without its words, is its thumbnail.
"""

from __future__ import annotations

import html
import re
import statistics
import textwrap
from difflib import SequenceMatcher
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import igraph
from docutils import nodes

from _ext.show import programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.config import Config

    from _ext.show.programs import Box, Line, Program

# Pixels. Letters of 12 px are 7.2 px wide in the monospaced fonts of the theme.
LETTER, LINE, PAD, GAP, LAYER, MARGIN = 7.25, 18, 8, 18, 26, 2

#: The width of the text, in pixels, and how far a wider picture is made smaller.
COLUMN, SMALLEST = 700, 0.75

#: The number of boxes that can be made out on a card.
ON_A_CARD = 14

#: The colours of a card, which are seen on white and on black.
CARD = {
    "input": "#8a8f98",
    "operators": "#5b8dd9",
    "output": "#8a8f98",
    "dynamic": "#e08a3c",
}

#: How often the layers are placed, down and up.
ROUNDS = 6

#: Programs that have less than this in common are not compared.
ALIKE = 0.4


class Drawn:
    """What was drawn for the recipe of this process."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any, Program]] = []
        self.card: Program | None = None
        self.path: Path | None = None

    def new(self, variables: dict[str, Any]) -> Iterator[tuple[str, Program]]:
        """Yield the programs that are new, or were changed, by name."""
        for name, program in _programs(variables):
            content = programs.read(program)
            if any(p is program and c == content for _, p, c in self.seen):
                continue
            yield name, content
            self.seen.append((name, program, content))


#: What was drawn for the recipe of this process.
current = Drawn()


def scrape(block: tuple, block_vars: dict, gallery_conf: dict) -> str:
    """Return the pictures of the programs that a cell made, for its page."""
    del block, gallery_conf
    found = []
    for name, content in current.new(block_vars["example_globals"]):
        found.append(_figure(name, content, current.seen))
        if current.card is None or _weight(content) > _weight(current.card):
            current.card = content
            _write_card(block_vars["image_path_iterator"], content)
    return "".join(map(_directive, found))


def _programs(variables: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the exported programs among variables, and in their lists and dicts."""
    for name, value in list(variables.items()):
        if name.startswith("__"):
            continue
        if isinstance(value, dict):
            parts = [(f"{name}[{key!r}]", part) for key, part in value.items()]
        elif isinstance(value, (list, tuple)):
            parts = [(f"{name}[{key}]", part) for key, part in enumerate(value)]
        else:
            parts = [(name, value)]
        for shown, part in parts:
            kind = type(part).__name__
            if kind == "ExportedProgram":
                yield shown, part
            elif kind == "ONNXProgram" and part.exported_program is not None:
                yield f"{shown}.exported_program", part.exported_program


def _weight(content: Program) -> int:
    """Tell how good a program is for a card: large, but still to be made out."""
    count = len(content.boxes)
    return count if count <= ON_A_CARD else -count


def _directive(figure: str) -> str:
    """Return the reStructuredText of a picture."""
    head = ".. raw:: html\n   :class: program-picture\n\n"
    return f"\n{head}{textwrap.indent(figure, '    ')}\n"


def _write_card(paths: Iterator[str], content: Program) -> None:
    """Write the thumbnail of a recipe: the picture without its words."""
    if current.path is None:
        current.path = Path(next(paths)).with_suffix(".svg")
    current.path.write_text(_card(content), "utf-8")


def _card(content: Program) -> str:
    """Return an SVG that is a file: its colours fit light and dark."""
    drawing = _Drawing(content)
    boxes = {kind: [] for kind in CARD}
    for number, box in enumerate(content.boxes):
        x, y = drawing.corner(number)
        width, height = drawing.sizes[number]
        dynamic = any(flag for line in box.lines for _, flag in line.result)
        kind = "dynamic" if dynamic else box.kind
        boxes[kind].append(f"M{x:.0f} {y:.0f}h{width:.0f}v{height:.0f}h-{width:.0f}z")
    width, height = f"{drawing.width:.0f}", f"{drawing.height:.0f}"
    paths = "".join(
        f'<path fill="{colour}" d="{"".join(boxes[kind])}"/>'
        for kind, colour in CARD.items()
        if boxes[kind]
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<path fill="none" stroke="#8a8f98" stroke-width="3" d="{drawing.arrows()}"/>'
        f"{paths}</svg>\n"
    )


# -- The figure ------------------------------------------------------------------------


def _figure(name: str, content: Program, seen: list[tuple]) -> str:
    """Return the figure of a program: its picture, what it has, what is new in it."""
    same = [entry for entry in seen if entry[2] == content]
    if same:
        what = "the picture before" if same[-1] is seen[-1] else "an earlier picture"
        words = f"<code>{html.escape(name)}</code> has the graph of {what}."
        return f'<p class="program-same">{words}</p>'
    before = seen[-1] if seen else None
    fresh = _fresh(content, before[2]) if before else set()
    caption = f"<code>{html.escape(name)}</code>: {_describe(content)}"
    if fresh:
        caption += " A bar marks what differs from the picture before."
    label = html.escape(f"Graph of {name}: {_plain(content)}", quote=True)
    return (
        '<figure class="program">'
        f'<div class="program-scroll" role="group" tabindex="0" '
        f'aria-label="Graph of {html.escape(name, quote=True)}">'
        f"{_svg(content, label, fresh)}</div>"
        f"<figcaption>{caption}</figcaption></figure>"
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
    drawing = _Drawing(content)
    scale = min(1.0, max(SMALLEST, COLUMN / drawing.width))
    head = (
        f'<svg role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg" '
        f'width="{drawing.width * scale:.0f}" height="{drawing.height * scale:.0f}" '
        f'viewBox="0 0 {drawing.width:.0f} {drawing.height:.0f}">'
    )
    parts = [head, f'<path class="arrow" d="{drawing.arrows()}"/>']
    for number, box in enumerate(content.boxes):
        x, y = drawing.corner(number)
        width, height = drawing.sizes[number]
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


class _Drawing:
    """Where everything is: sizes in pixels, the origin at the top left.

    Of igraph's layout the layers, the order in each and the bends of the arrows are
    kept. It knows no sizes, so the places are computed here.
    """

    def __init__(self, content: Program) -> None:
        self.content = content
        self.sizes = [_box_size(box) for box in content.boxes]
        self.widths = [width for width, _ in self.sizes]
        self.row = _layers(content)
        self.x = [0.0] * len(self.row)
        #: For each arrow the items on its way: a box, its bends, a box.
        self.ways: list[list[int]] = []
        whole = igraph.Graph(len(self.row), content.arrows)
        for part in whole.connected_components():
            self._order(part)
        self._place()
        self._stack()

    def _order(self, part: list[int]) -> None:
        """Place boxes that hang together, right of what is placed.

        igraph 1.0.0 gives other places in each run where the graph has several parts;
        ``test_places_are_the_same_in_each_run`` shows it.
        """
        number = {box: place for place, box in enumerate(part)}
        arrows = [(a, b) for a, b in self.content.arrows if a in number]
        graph = igraph.Graph(
            len(part), [(number[a], number[b]) for a, b in arrows], directed=True
        )
        top = min(self.row[box] for box in part)
        layers = [self.row[box] - top for box in part]
        layout = graph.layout_sugiyama(layers=layers)
        left = max(self.x) + 1
        for box, (x, _) in zip(part, layout, strict=True):
            self.x[box] = left + x
        for (start, end), bends in zip(arrows, layout.edge_routing, strict=True):
            between = [self._bend(left + x, top + round(y)) for x, y in bends]
            self.ways.append([start, *between, end])

    def _bend(self, x: float, row: int) -> int:
        """Add an item without width, where an arrow passes a layer."""
        self.x.append(x)
        self.row.append(row)
        self.widths.append(0.0)
        return len(self.x) - 1

    def _place(self) -> None:
        """Place each layer under its neighbours, in its order, as near as they fit."""
        items = sorted(range(len(self.x)), key=lambda item: self.x[item])
        layers = [[i for i in items if self.row[i] == r] for r in sorted({*self.row})]
        near: dict[int, list[int]] = {item: [] for item in items}
        for way in self.ways:
            for a, b in pairwise(way):
                near[a].append(b)
                near[b].append(a)
        self.x = [x * LETTER * 8 for x in self.x]
        for layer in [*layers, *reversed(layers)] * ROUNDS:
            wanted = [
                statistics.fmean([self.x[n] for n in near[item]] or [self.x[item]])
                for item in layer
            ]
            for item, x in zip(layer, self._spread(layer, wanted), strict=True):
                self.x[item] = x
        ends = list(zip(self.x, self.widths, strict=True))
        left = min(x - width / 2 for x, width in ends) - MARGIN
        self.width = max(x + width / 2 for x, width in ends) - left + MARGIN
        self.x = [x - left for x in self.x]

    def _spread(self, layer: list[int], wanted: list[float]) -> list[float]:
        """Return places in order and far enough apart, nearest to those wanted.

        This is isotonic regression, by pooling adjacent violators.
        """
        widths = [self.widths[item] for item in layer]
        steps = [(a + b) / 2 + GAP for a, b in pairwise(widths)]
        offsets = list(accumulate(steps, initial=0.0))
        pools: list[tuple[float, int]] = []
        for want, offset in zip(wanted, offsets, strict=True):
            pools.append((want - offset, 1))
            while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
                (a, m), (b, n) = pools[-2:]
                pools[-2:] = [((a * m + b * n) / (m + n), m + n)]
        starts = [start for start, count in pools for _ in range(count)]
        return [start + offset for start, offset in zip(starts, offsets, strict=True)]

    def _stack(self) -> None:
        """Give each layer its top and its height."""
        heights = dict.fromkeys(self.row, 0.0)
        for row, (_, height) in zip(self.row, self.sizes, strict=False):
            heights[row] = max(heights[row], height)
        self.layers: dict[int, tuple[float, float]] = {}
        top = float(MARGIN)
        for row in sorted(heights):
            self.layers[row] = top, heights[row]
            top += heights[row] + LAYER
        self.height = top - LAYER + MARGIN

    def corner(self, number: int) -> tuple[float, float]:
        """Return the top left corner of a box."""
        top, _ = self.layers[self.row[number]]
        return self.x[number] - self.widths[number] / 2, top

    def arrows(self) -> str:
        """Return the way of all arrows, from bottoms to tops, with their heads."""
        return "".join(map(self._arrow, self.ways))

    def _arrow(self, way: list[int]) -> str:
        start, *bends, end = way
        x, y = self.x[start], self.corner(start)[1] + self.sizes[start][1]
        drawn = [f"M{x:.0f} {y:.0f}"]
        # Straight down to the end of the layer, not behind a higher box beside it.
        y = sum(self.layers[self.row[start]])
        drawn.append(f"V{y:.0f}")
        for bend in bends:
            top, height = self.layers[self.row[bend]]
            drawn.append(_curve(x, y, self.x[bend], top))
            x, y = self.x[bend], top + height
            drawn.append(f"V{y:.0f}")
        drawn.append(_curve(x, y, self.x[end], self.corner(end)[1]))
        return "".join([*drawn, "m-4-6l4 6l4-6"])


def _layers(content: Program) -> list[int]:
    """Return the layer of each box: under what it needs; an input, over what needs it.

    The boxes come in an order in which all arrows lead forward.
    """
    layers = [0] * len(content.boxes)
    for start, end in sorted(content.arrows, key=lambda arrow: arrow[1]):
        layers[end] = max(layers[end], layers[start] + 1)
    above = {number: layers[number] for number in range(len(layers))}
    for start in {start for start, _ in content.arrows} - {
        end for _, end in content.arrows
    }:
        above[start] = min(layers[b] for a, b in content.arrows if a == start) - 1
    return list(above.values())


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    """Return a curve that begins and ends vertically."""
    middle = (y + to_y) / 2
    return f"C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {to_y:.0f}"


def _box_size(box: Box) -> tuple[float, float]:
    """Return the width and the height of a box."""
    letters = max(
        len(line.text)
        + 2 * bool(line.result and line.text)
        + sum(len(t) for t, _ in line.result)
        for line in box.lines
    )
    return letters * LETTER + 2 * PAD, LINE * len(box.lines) + 2 * PAD - 4


# -- The page --------------------------------------------------------------------------


def _put_after_output(_: Sphinx, doctree: nodes.document) -> None:
    """Put a picture under what its cell printed; Sphinx-Gallery puts it above."""
    for picture in list(doctree.findall(nodes.raw)):
        after = picture.next_node(descend=False, siblings=True)
        if "program-picture" not in picture["classes"] or after is None:
            continue
        while "program-picture" in after.get("classes", ()):
            after = after.next_node(descend=False, siblings=True)
        if after is not None and "sphx-glr-script-out" in after.get("classes", ()):
            picture.parent.remove(picture)
            place = after.parent.index(after) + 1
            after.parent.insert(place, picture)


def _set_default(app: Sphinx, config: Config) -> None:
    """Show a picture of its own for a recipe that has no program in its variables."""
    path = Path(app.confdir, "_doc/_static/no-program.svg")
    config.sphinx_gallery_conf["default_thumb_file"] = str(path)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx, before outputs are put into other blocks."""
    app.connect("config-inited", _set_default)
    app.connect("doctree-read", _put_after_output, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
