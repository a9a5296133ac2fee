"""Where everything of a picture is: boxes, layers and the way of the arrows.

The layers and the order in each are igraph's, by the method of Sugiyama.
"""

from __future__ import annotations

import statistics
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import igraph

if TYPE_CHECKING:
    from _ext.show.programs import Box, Program

# Pixels. Letters of 12 px are 7.2 px wide in the monospaced fonts of the theme.
LETTER, LINE, PAD, GAP, LAYER, MARGIN = 7.25, 18, 8, 18, 26, 2

#: How often the layers are placed, down and up.
ROUNDS = 6


class Layout:
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
        """Place each layer under its neighbors, in its order, as near as they fit."""
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
