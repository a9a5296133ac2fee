"""Read an exported program as boxes and arrows, for :mod:`_ext.show.pictures` to draw.

Parameters, buffers and constants are folded into the operators that take them. So is
what takes one part out of several results, and what computes with sizes: the sizes are
written where they are used. Checks are left out. Operators that follow each other
without a branch share a box. Of a large program the boxes are modules.

Nothing here computes with tensors, and a size is only turned into text: what a recipe
prints does not depend on whether its programs are drawn.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass, field
from typing import Any

#: A program with more operators is shown by modules.
LARGE = 60

#: The least and the greatest number of boxes, where they are modules.
FEW, ENOUGH = 3, 40

#: What is longer than this, in characters, is left out of a label; of a size only the
#: symbols are named.
LONG, LONG_SIZE = 24, 16

_SYMBOL = re.compile(r"\b[a-z]+\d+\b")
_DTYPES = {
    "float": "f",
    "bfloat": "bf",
    "complex": "c",
    "uint": "u",
    "int": "i",
    "bool": "bool",
}


@dataclass(frozen=True)
class Line:
    """A line of a box: an operator, an input or an output, with what it gives.

    Attributes
    ----------
    text
        What it is.
    result
        Its result: pieces of text, each with whether it is a dynamic size.
    """

    text: str
    result: tuple[tuple[str, bool], ...] = ()


@dataclass
class Box:
    """Lines that share a box; ``kind`` is ``input``, ``operators`` or ``output``."""

    kind: str
    lines: list[Line]


@dataclass
class Program:
    """What is drawn of an exported program.

    Attributes
    ----------
    boxes
        The boxes, each after those that it takes something from.
    arrows
        Pairs of positions in ``boxes``: from, to.
    operators
        The number of operators.
    folded
        The number of parameters, buffers and constants.
    sizes
        The dynamic sizes, by symbol, with the smallest and the largest value; None
        stands for no limit.
    """

    boxes: list[Box] = field(default_factory=list)
    arrows: list[tuple[int, int]] = field(default_factory=list)
    operators: int = 0
    folded: int = 0
    sizes: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)


def read(program: Any) -> Program:
    """Return what is drawn of a :class:`torch.export.ExportedProgram`."""
    found = _Reader(program).read()
    _join_chains(found)
    return found


class _Reader:
    """Goes through the nodes of a program."""

    def __init__(self, program: Any) -> None:
        self.signature = program.graph_signature
        self.nodes = list(program.graph.nodes)
        self.root = program.graph_module
        self.constants = getattr(program, "range_constraints", {})
        #: For each node the boxes that its value comes from.
        self.origin: dict[Any, list[int]] = {}
        self.found = Program()

    def read(self) -> Program:
        """Read all nodes."""
        operators = [node for node in self.nodes if _is_operator(node)]
        self.found.operators = len(operators)
        depth = _depth(operators)
        for node in self.nodes:
            if node.op == "placeholder":
                self._input(node)
            elif node.op == "output":
                self._outputs(node)
            elif _is_operator(node) and depth:
                self._in_module(node, depth)
            elif _is_operator(node):
                self._add(Box("operators", self._lines(node)), node)
            else:
                of_size = _name(node).startswith("sym_")
                self.origin[node] = [] if of_size else self._sources(node)
        self.found.sizes = _sizes(self.constants, self.found)
        return self.found

    def _add(self, box: Box, node: Any) -> None:
        """Add a box for a node, with the arrows that lead to it."""
        number = len(self.found.boxes)
        self.found.boxes.append(box)
        self.found.arrows += [(source, number) for source in self._sources(node)]
        self.origin[node] = [number]

    def _sources(self, node: Any) -> list[int]:
        """Return the boxes that a node takes something from."""
        found = [box for part in node.all_input_nodes for box in self.origin[part]]
        return list(dict.fromkeys(found))

    def _input(self, node: Any) -> None:
        """Show an input of the user; fold a parameter, a buffer or a constant."""
        spec = self.signature.input_specs[len(self.origin)]
        if spec.kind.name != "USER_INPUT":
            self.origin[node] = []
            self.found.folded += spec.kind.name != "TOKEN"
            return
        value = node.meta.get("val", getattr(spec.arg, "value", None))
        self._add(Box("input", [Line(node.name, _result(value, dtype=True))]), node)

    def _outputs(self, node: Any) -> None:
        """Show each output, in a box of its own."""
        values = node.args[0]
        for spec, value in zip(self.signature.output_specs, values, strict=False):
            what = spec.kind.name.lower().replace("_", " ").replace("user ", "")
            if what == "token":
                continue
            target = f" {spec.target}" if spec.target and what != "output" else ""
            is_node = hasattr(value, "all_input_nodes")
            meta = value.meta.get("val") if is_node else value
            line = Line(what + target, _result(meta, dtype=True))
            number = len(self.found.boxes)
            self.found.boxes.append(Box("output", [line]))
            for source in self.origin[value] if is_node else []:
                self.found.arrows.append((source, number))

    def _lines(self, node: Any) -> list[Line]:
        """Return the line of an operator, and one for each of its branches."""
        line = Line(_label(node), _result(node.meta.get("val")))
        branches = [
            Line(
                f"  {_branch(part.target)}: {_summary(getattr(self.root, part.target))}"
            )
            for part in node.all_input_nodes
            if part.op == "get_attr" and hasattr(self.root, part.target)
            if hasattr(getattr(self.root, part.target), "graph")
        ]
        return [line, *branches]

    def _in_module(self, node: Any, depth: int) -> None:
        """Add an operator to the box of its module, if that is the last one."""
        title = _module(node, depth)
        boxes = self.found.boxes
        if (
            not boxes
            or boxes[-1].kind != "operators"
            or boxes[-1].lines[0].text != title
        ):
            self._add(Box("operators", [Line(title), Line("")]), node)
        else:
            number = len(boxes) - 1
            new = [(source, number) for source in self._sources(node)]
            known = {*self.found.arrows, (number, number)}
            self.found.arrows += [arrow for arrow in new if arrow not in known]
            self.origin[node] = [number]
        box = boxes[-1]
        count = int(box.lines[1].text.split()[0] if box.lines[1].text else 0) + 1
        words = f"  {count} operator{'s' * (count > 1)}"
        box.lines[1] = Line(words, _result(node.meta.get("val")))


def _is_operator(node: Any) -> bool:
    """Tell whether a node computes something from tensors, and is no mere check."""
    if node.op != "call_function" or node.target is operator.getitem:
        return False
    if _name(node).startswith(("_assert", "sym_")):
        return False
    values = [part.meta.get("val") for part in node.all_input_nodes]
    return not values or not all(map(_is_number, values))


def _is_number(value: Any) -> bool:
    """Tell whether a value is a number, a truth value or a symbol for one."""
    return hasattr(value, "node") or isinstance(value, bool | int | float)


def _name(node: Any) -> str:
    """Return the name of an operator, without its overload."""
    return str(getattr(node.target, "__name__", node.target)).partition(".")[0]


def _label(node: Any) -> str:
    """Return the name of an operator with the numbers that it is given.

    A shape that it is given and gives is not repeated.
    """
    shape = "".join(text for text, _ in _result(node.meta.get("val")))
    given = [_literal(value) for value in (*node.args, *node.kwargs.values())]
    return " ".join([_name(node), *(text for text in given if text not in ("", shape))])


def _literal(value: Any) -> str:
    """Return a number or a list of numbers as text; of the rest nothing."""
    if hasattr(value, "all_input_nodes"):  # a node
        value = value.meta.get("val")
    if isinstance(value, (list, tuple)):
        parts = [_literal(part) for part in value]
        text = f"[{', '.join(parts)}]" if parts and all(parts) else ""
    elif isinstance(value, float):
        text = f"{value:.4g}"
    elif _is_number(value) and not isinstance(value, bool):
        text = "end" if isinstance(value, int) and value >= 2**62 else str(value)
    else:
        text = value if isinstance(value, str) else ""
    return text if len(text) <= LONG else ""


def _summary(module: Any) -> str:
    """Return the names of the operators of a branch."""
    names = [_label(node) for node in module.graph.nodes if _is_operator(node)]
    text = ", ".join(names) or "nothing"
    return text if len(text) <= 2 * LONG else f"{len(names)} operators"


def _branch(target: str) -> str:
    """Return ``true`` for ``true_graph_0``, ``body`` for ``loop_body_graph_0``."""
    return re.sub(r"_graph(_\d+)?$", "", target).rpartition("_")[2] or target


def _module(node: Any, depth: int) -> str:
    """Return the path of the module that called an operator, up to a depth."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    odd = ("", "_empty_nn_module_stack_from_metadata_hook")
    parts = [part for part in path.split(".") if part not in odd and part[:2] != "L["]
    return ".".join(parts[:depth]) or "the model itself"


def _depth(operators: list[Any]) -> int:
    """Return up to which depth modules are boxes; 0 if each operator is shown.

    It is the deepest that gives most boxes, but not too many.
    """
    if len(operators) <= LARGE:
        return 0

    def boxes(depth: int) -> int:
        titles = [_module(node, depth) for node in operators]
        return sum(a != b for a, b in zip(titles, [None, *titles], strict=False))

    fitting = [depth for depth in range(1, 6) if FEW <= boxes(depth) <= ENOUGH]
    return max(fitting, key=lambda depth: (boxes(depth), depth), default=0)


def _result(value: Any, *, dtype: bool = False) -> tuple[tuple[str, bool], ...]:
    """Return what a node gives, as pieces of text; dynamic sizes are pieces."""
    if isinstance(value, (list, tuple)):
        shown = [_result(part) for part in value if part is not None]
        if not shown:
            return ()
        more = f" and {len(shown) - 1} more" if shown[1:] else ""
        return (*shown[0], (more, False))
    if hasattr(value, "shape"):
        kind = f"{_dtype(value.dtype)} " if dtype else ""
        pieces = [(kind + "[", False)]
        for number, size in enumerate(value.shape):
            pieces += [(", ", False)] * bool(number) + [_size(size)]
        return (*pieces, ("]", False))
    return () if value is None else (_size(value),)


def _size(value: Any) -> tuple[str, bool]:
    """Return a size as text, and whether it is dynamic."""
    text = str(value)
    symbols = list(dict.fromkeys(_SYMBOL.findall(text)))
    if len(text) > LONG_SIZE and symbols:
        text = f"f({', '.join(symbols)})"
    return text, hasattr(value, "node") and bool(symbols)


def _dtype(dtype: Any) -> str:
    """Return ``f32`` for ``torch.float32``."""
    text = str(dtype).removeprefix("torch.")
    name = re.sub(r"[^a-z].*", "", text)
    return _DTYPES.get(name, name) + text[len(name) :]


def _sizes(
    constraints: dict[Any, Any], found: Program
) -> dict[str, tuple[int | None, int | None]]:
    """Return the ranges of the symbols that are in sight."""
    shown = {
        symbol
        for box in found.boxes
        for line in box.lines
        for text, dynamic in line.result
        if dynamic
        for symbol in _SYMBOL.findall(text)
    }
    ranges = {
        str(symbol): (_limit(r.lower), _limit(r.upper))
        for symbol, r in constraints.items()
    }
    return {s: (ranges.get(s, (None, None))) for s in sorted(shown, key=_by_number)}


def _by_number(symbol: str) -> tuple[str, int]:
    letters = symbol.rstrip("0123456789")
    return letters, int(symbol[len(letters) :])


def _limit(value: Any) -> int | None:
    """Return a limit of a range as a number, or None where there is none."""
    text = str(value)
    return int(text) if re.fullmatch(r"-?\d{1,12}", text) else None


def _join_chains(program: Program) -> None:
    """Put operators that follow each other without a branch into one box."""
    into = dict.fromkeys(range(len(program.boxes)), 0)
    out = dict(into)
    for start, end in program.arrows:
        out[start] += 1
        into[end] += 1
    place = {number: number for number in into}
    for start, end in sorted(program.arrows, key=lambda arrow: arrow[1]):
        a, b = program.boxes[start], program.boxes[end]
        if out[start] == into[end] == 1 and a.kind == b.kind == "operators":
            place[end] = place[start]
            program.boxes[place[start]].lines += b.lines
    kept = sorted(set(place.values()))
    number = {old: new for new, old in enumerate(kept)}
    moved = [(number[place[a]], number[place[b]]) for a, b in program.arrows]
    program.arrows = sorted({(a, b) for a, b in moved if a != b})
    program.boxes = [program.boxes[old] for old in kept]
