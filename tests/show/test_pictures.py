"""Every exported program on a page is drawn, so that it can be read and trusted."""

from __future__ import annotations

import itertools
import random
import re

import pytest
import torch
from _ext import recipe
from _ext.show import layout, pictures, programs, svg
from _ext.show.programs import Box, Line, Program
from bs4 import BeautifulSoup
from conftest import RECIPES, ROOT, soup

#: Warnings of torch, while it exports, are its own affair.
pytestmark = pytest.mark.filterwarnings("ignore")

COUNT = re.compile(r"(\d+) operators?\b")


class Block(torch.nn.Module):
    """A layer, a branch on a size and a sum with the input."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, x):
        """Take (n, 4), give (n, 4) and (2n, 4)."""
        y = self.layer(x).relu()
        y = torch.cond(x.sum() > 0, torch.sin, torch.cos, (y,))
        return y * 3 + x, y.reshape(x.shape[0], 4).repeat(2, 1)


class Deep(torch.nn.Module):
    """So many operators that modules are drawn instead."""

    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(4, 4), *[torch.nn.ReLU()] * 19)
            for _ in range(4)
        )

    def forward(self, x):
        """Apply all blocks."""
        for block in self.blocks:
            x = block(x) + x
        return x


def export(model, *, dynamic=True):
    """Export a model of one input."""
    torch.manual_seed(0)
    shapes = ({0: torch.export.Dim.DYNAMIC if dynamic else None},)
    return torch.export.export(model, (torch.randn(3, 4),), dynamic_shapes=shapes)


@pytest.fixture(scope="module")
def block():
    """Export the block for any number of rows."""
    return export(Block())


def texts(content):
    """Return all lines of a picture."""
    return [svg._text(line) for box in content.boxes for line in box.lines]


def test_what_is_drawn(block):
    """Inputs, operators with their numbers and branches, and outputs are drawn."""
    content = programs.read(block)
    size = next(iter(content.sizes))
    assert sorted(texts(content)) == sorted(
        [
            f"x f32 [{size}, 4]",
            f"linear [{size}, 4]",
            f"relu [{size}, 4]",
            "sum []",
            "gt 0 []",
            f"cond [{size}, 4]",
            "true: sin",
            "false: cos",
            f"mul 3 [{size}, 4]",
            f"add [{size}, 4]",
            f"reshape [{size}, 4]",
            f"repeat [2, 1] [2*{size}, 4]",
            f"output f32 [{size}, 4]",
            f"output f32 [2*{size}, 4]",
        ]
    )
    assert content.operators == 9
    assert content.folded == 2


def test_dynamic_sizes_are_told(block):
    """Dynamic sizes are marked and named with their range; fixed ones are not."""
    content = programs.read(block)
    assert list(content.sizes.values()) == [(2, None)]
    marked = {t for b in content.boxes for line in b.lines for t, d in line.result if d}
    size = next(iter(content.sizes))
    assert marked == {size, f"2*{size}"}
    fixed = programs.read(export(Block(), dynamic=False))
    assert fixed.sizes == {}
    assert "All sizes are fixed." in svg._describe(fixed)


def test_operators_in_a_row_share_a_box(block):
    """What follows without a branch is one box, and arrows lead between boxes."""
    content = programs.read(block)
    boxes = [[line.text for line in box.lines] for box in content.boxes]
    assert ["linear", "relu"] in boxes
    assert ["sum", "gt 0"] in boxes
    assert all(start < end for start, end in content.arrows)
    assert len(content.arrows) == len(set(content.arrows))


def test_large_programs_are_drawn_by_modules():
    """Of a large program the modules are boxes, with the number of operators."""
    content = programs.read(export(Deep()))
    assert content.operators > programs.LARGE
    assert 4 <= len(content.boxes) <= programs.ENOUGH
    assert any(text.startswith("blocks.3") for text in texts(content))
    counts = [int(found[1]) for t in texts(content) if (found := COUNT.match(t))]
    assert sum(counts) == content.operators


def test_reading_changes_nothing(block):
    """A program prints the same before and after it is drawn, and has no new guard."""
    shapes = next(
        node.meta["val"].fake_mode.shape_env
        for node in block.graph.nodes
        if hasattr(node.meta.get("val"), "fake_mode")
    )
    before = str(block), len(shapes.guards)
    svg.figure("block", programs.read(block), [])
    assert (str(block), len(shapes.guards)) == before


def random_program(seed):
    """Make up a program with boxes and arrows of any form."""
    chance = random.Random(seed)
    count = chance.randint(1, 25)
    boxes = [
        Box("operators", [Line("o" * chance.randint(1, 30))] * chance.randint(1, 4))
        for _ in range(count)
    ]
    pairs = list(itertools.combinations(range(count), 2))
    arrows = sorted(chance.sample(pairs, min(len(pairs), chance.randint(0, 40))))
    return Program(boxes, arrows)


@pytest.mark.parametrize("seed", range(60))
def test_nothing_overlaps(seed):
    """No two boxes touch, all are inside the picture, and arrows lead downwards."""
    content = random_program(seed)
    drawing = layout.Layout(content)
    places = [
        (*drawing.corner(number), *drawing.sizes[number])
        for number in range(len(content.boxes))
    ]
    for x, y, width, height in places:
        assert x >= 0
        assert y >= 0
        assert x + width <= drawing.width
        assert y + height <= drawing.height
    for (x, y, w, h), (x2, y2, w2, h2) in itertools.combinations(places, 2):
        beside = x + w <= x2 or x2 + w2 <= x
        above = y + h <= y2 or y2 + h2 <= y
        assert beside or above
    for start, end in content.arrows:
        assert places[start][1] + places[start][3] < places[end][1]


@pytest.mark.parametrize("seed", range(60))
def test_places_are_the_same_in_each_run(seed):
    """A program is drawn in the same way each time, also if it has several parts."""
    content = random_program(seed)
    drawn = {svg._svg(content, "", set()) for _ in range(15)}
    assert len(drawn) == 1


def test_difference_is_marked(block):
    """What an alike program did not have is marked; an unlike one is not compared."""

    class Other(Block):
        def forward(self, x):
            y, z = super().forward(x)
            return y.tanh(), z

    before = [programs.read(block)]
    figure = svg.figure("other", programs.read(export(Other())), before)
    page = BeautifulSoup(figure, "html.parser")
    marked = [bar.find_next("text").text for bar in page.select("path.fresh")]
    assert marked == ["tanh"]
    assert "A bar marks what differs" in page.figcaption.text
    unlike = svg.figure("deep", programs.read(export(Deep())), before)
    assert "fresh" not in unlike


def test_numbers_of_symbols_make_no_difference():
    """Each export gives symbols other numbers; that is not marked as new."""

    def program(symbol):
        sizes = (("[", False), (symbol, True), ("]", False))
        return Program([Box("input", [Line("x", sizes), Line("y", sizes)])])

    assert svg._fresh(program("s77"), program("s3")) == set()
    assert svg._fresh(program("u0"), program("s3")) == set()  # nothing in common
    longer = Program([Box("input", [*program("s1").boxes[0].lines, Line("z")])])
    assert svg._fresh(longer, program("s3")) == {(0, 2)}


def test_card_shows_what_can_be_made_out():
    """The largest program is on the card, but one of too many boxes is the last."""
    sizes = [3, pictures.ON_A_CARD, pictures.ON_A_CARD + 1, 60]
    drawn = [Program([Box("operators", [])] * size) for size in sizes]
    assert sorted(sizes, key=lambda n: pictures._weight(drawn[sizes.index(n)])) == [
        60,
        pictures.ON_A_CARD + 1,
        3,
        pictures.ON_A_CARD,
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**63 - 1, "end"),
        (2**62, "end"),
        (3, "3"),
        (True, ""),
        (0.123456, "0.1235"),
        ([1, 2], "[1, 2]"),
        ([1, None], ""),
        ("mean", "mean"),
        ("x" * (programs.LONG + 1), ""),
    ],
)
def test_literals(value, text):
    """Numbers are written briefly; the end of a slice is no number of 19 digits."""
    assert programs._literal(value) == text


def test_same_graph_is_drawn_once(block):
    """A program with the graph of an earlier one is not drawn again."""
    content = programs.read(block)
    seen = [content, programs.read(export(Deep()))]
    assert svg.figure("third", content, seen) == ""


def test_a_picture_with_words_is_open(block):
    """Pictures are folded but for those of which the recipe says what to see."""
    content = programs.read(block)
    assert '<details class="program">' in svg.figure("x", content, [])
    opened = svg.figure("x", content, [], "See <this>.")
    assert '<details class="program" open>' in opened
    assert "<figcaption>See &lt;this&gt;.</figcaption>" in opened


def test_programs_are_found_where_recipes_keep_them(block):
    """Variables, lists and dictionaries are looked at, each program once a change."""
    drawn = pictures.Drawn()
    variables = {"a": block, "many": [block], "named": {"x": block}, "__b": block}
    assert [name for name, _ in drawn.new(variables)] == ["a"]
    assert list(drawn.new(variables)) == []
    other = export(Deep())
    assert [n for n, _ in drawn.new({"named": {"x": other}})] == ["named['x']"]


def test_readers_text_is_no_markup():
    """A name or a label cannot become a part of the page."""
    content = Program([Box("input", [Line('<b>"', (("<i>", True),))])], [])
    page = BeautifulSoup(svg.figure('n["<u>"]', content, []), "html.parser")
    assert page.find(["b", "i", "u"]) is None or "program-size" in str(page.b)
    assert '<b>"' in page.svg["aria-label"]


@pytest.mark.parametrize("name", [path.stem for path in RECIPES])
def test_pictures_of_a_recipe(name, html):
    """Each page has pictures, with words that say what they show, under its outputs."""
    figures = soup(html / f"auto_recipes/{name}.html").select("details.program")
    text = (ROOT / f"recipes/{name}.py").read_text("utf-8")
    assert bool(figures) == recipe.applies(text)
    for figure in figures:
        assert figure.svg["role"] == "img"
        words = figure.svg["aria-label"]
        parts = r"Graph of .+: \d+ inputs?, .*Inputs: .*Outputs: .*Dynamic sizes: .*"
        assert re.fullmatch(parts, words, re.DOTALL)
        assert re.search(r"\d+ inputs?, .*\.", figure.summary.text)
        assert bool(figure.figcaption.text) >= figure.has_attr("open")
        after = figure.find_next_sibling()
        assert after is None or "sphx-glr-script-out" not in after.get("class", [])
