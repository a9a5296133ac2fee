"""Work out what an expression in a Python source file can say, without running it.

A text is a string in which :data:`HOLE` stands for what varies. An expression has
several texts where the source decides between wordings. A list is a text in which
:data:`ITEM` ends each element, so that a list can be built up, concatenated and
joined like a string.
"""

from __future__ import annotations

import ast
import itertools
import math
import posixpath
import re
import string
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HOLE = "\0"
ITEM = "\1"
FEWEST_LETTERS = 7  # fixed ones, of a text that says something
LIMIT = 8  # wordings of one message; what would make more of them becomes a hole

Texts = tuple[str, ...]
UNKNOWN: Texts = (HOLE,)

_PERCENT = re.compile(
    r"%(?:\((\w+)\))?[-+ #0]*(?:\*|\d+)?(?:\.(?:\*|\d+))?([sdrfgixXeac%])"
)
# Calls that change blanks, which are folded anyway, or what stands in a hole.
_IDENTITIES = frozenset(
    {"strip", "lstrip", "rstrip", "expandtabs", "removesuffix", "removeprefix"}
)
_WRAPPERS = frozenset({"dedent", "cleandoc", "indent", "fill", "str", "create"})
_LONGEST_REPEAT = 200
_WORD = re.compile(r"[^\W\d_]{2,}")


class Names(Protocol):
    """What an expression may refer to."""

    def name(self, name: str) -> Texts:
        """Return what a name may stand for."""

    def attribute(self, node: ast.Attribute) -> Texts:
        """Return what an attribute may stand for."""

    def call(self, node: ast.Call) -> Texts:
        """Return what a call may return."""


def letters(text: str) -> int:
    """Return the number of fixed letters of a text."""
    return sum(character.isalpha() for character in text)


def words(text: str) -> int:
    """Return the number of fixed words of a text."""
    return len(_WORD.findall(text))


def dotted(node: ast.expr) -> str:
    """Return a name with dots, with a question mark for what is no name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return f"{dotted(node.func)}()" if isinstance(node, ast.Call) else "?"


def union(*found: Texts) -> Texts:
    """Return all of the texts once; of many, some and what all have in common."""
    texts = tuple(dict.fromkeys(itertools.chain(*found)))
    return texts if len(texts) <= LIMIT else (*texts[: LIMIT - 1], common(texts))


def common(texts: Texts) -> str:
    """Return what texts begin and end with, and a hole in between."""
    begin = posixpath.commonprefix(texts)
    rests = [text[len(begin) :][::-1] for text in texts]
    return begin + HOLE + posixpath.commonprefix(rests)[::-1]


def product(parts: Iterable[Texts]) -> Texts:
    """Return the texts of a concatenation.

    While there are too many, the part that says least is reduced to what its texts
    have in common.
    """
    parts = list(parts)
    while math.prod(map(len, parts)) > LIMIT:
        several = [i for i, part in enumerate(parts) if len(part) > 1]
        least = min(several, key=lambda i: min(map(letters, parts[i])))
        parts[least] = (common(parts[least]),)
    return tuple(dict.fromkeys(map("".join, itertools.product(*parts))))


def items(text: str) -> list[str]:
    """Return the elements of a list."""
    *found, rest = text.split(ITEM)
    return [*found, rest] if rest else found


def evaluate(node: ast.expr | None, names: Names) -> Texts:
    """Return what an expression can say.

    Parameters
    ----------
    node
        The expression.
    names
        What it may refer to.

    Returns
    -------
    tuple of str
        One text or more; :data:`HOLE` alone if nothing is known.
    """
    rule = _RULES.get(type(node))
    return union(rule(node, names)) if rule else UNKNOWN


def _constant(node: ast.Constant, names: Names) -> Texts:
    return (node.value,) if isinstance(node.value, str) else UNKNOWN


def _name(node: ast.Name, names: Names) -> Texts:
    return names.name(node.id)


def _attribute(node: ast.Attribute, names: Names) -> Texts:
    return names.attribute(node)


def _fstring(node: ast.JoinedStr, names: Names) -> Texts:
    return product(evaluate(value, names) for value in node.values)


def _field(node: ast.FormattedValue, names: Names) -> Texts:
    if node.conversion != -1 or node.format_spec:
        return UNKNOWN
    if isinstance(node.value, ast.Constant):
        return (str(node.value.value),)
    texts = _within(evaluate(node.value, names))
    calls = any(isinstance(part, ast.Call) for part in ast.walk(node.value))
    return UNKNOWN if calls and len(texts) > 1 else texts


def _within(texts: Texts) -> Texts:
    """Return texts as parts of another: a list in it is shown in a way not known."""
    return union(tuple(HOLE if ITEM in text else text for text in texts))


def _choice(node: ast.IfExp, names: Names) -> Texts:
    return union(evaluate(node.body, names), evaluate(node.orelse, names))


def _either(node: ast.BoolOp, names: Names) -> Texts:
    if isinstance(node.op, ast.And):
        return evaluate(node.values[-1], names)
    return union(*(evaluate(value, names) for value in node.values))


def _operation(node: ast.BinOp, names: Names) -> Texts:
    left = evaluate(node.left, names)
    if isinstance(node.op, ast.Add):
        return product([left, evaluate(node.right, names)])
    if isinstance(node.op, ast.Mod):
        return percent(left, *_operands(node.right), names)
    if isinstance(node.op, ast.Mult):
        return tuple(_repeated(text, node.right) for text in left)
    return UNKNOWN


def _repeated(text: str, count: ast.expr) -> str:
    value = count.value if isinstance(count, ast.Constant) else None
    if isinstance(value, int) and value * len(text) <= _LONGEST_REPEAT:
        return text * value
    return HOLE


def _operands(node: ast.expr) -> tuple[list[ast.expr], dict[str, ast.expr]]:
    """Return what fills the places of ``%``, by position and by name."""
    if isinstance(node, ast.Tuple):
        return node.elts, {}
    if isinstance(node, ast.Dict):
        keys = (key.value for key in node.keys if isinstance(key, ast.Constant))
        pairs = zip(keys, node.values, strict=False)
        return [], {key: value for key, value in pairs if isinstance(key, str)}
    return [node], {}


def percent(
    texts: Texts, values: list[ast.expr], named: dict[str, ast.expr], names: Names
) -> Texts:
    """Return texts whose ``%s`` and the like are filled.

    Parameters
    ----------
    texts
        The texts with places to fill.
    values, named
        What fills them, by position and by name.
    names
        What these may refer to.
    """
    return union(*(_percent(text, values, named, names) for text in texts))


def _percent(
    text: str, values: list[ast.expr], named: dict[str, ast.expr], names: Names
) -> Texts:
    parts: list[Texts] = []
    end, position = 0, iter(values)
    for match in _PERCENT.finditer(text):
        parts.append((text[end : match.start()],))
        end = match.end()
        if match[2] == "%":
            parts.append(("%",))
            continue
        value = named.get(match[1]) if match[1] else next(position, None)
        known = match[2] == "s" and value is not None
        parts.append(_within(evaluate(value, names)) if known else UNKNOWN)
    return product([*parts, (text[end:],)])


def _format(method: ast.Attribute, node: ast.Call, names: Names) -> Texts:
    named = {word.arg: word.value for word in node.keywords if word.arg}
    known = not any(isinstance(value, ast.Starred) for value in node.args)
    values = node.args if known else []
    texts = evaluate(method.value, names)
    return union(*(_formatted(text, values, named, names) for text in texts))


def _formatted(
    text: str, values: list[ast.expr], named: dict[str, ast.expr], names: Names
) -> Texts:
    """Return a text whose ``{}`` and the like are filled."""
    keyed = {**{str(i): value for i, value in enumerate(values)}, **named}
    parts: list[Texts] = []
    position = itertools.count()
    try:
        for literal, field, form, conversion in string.Formatter().parse(text):
            parts.append((literal,))
            if field is not None:
                value = keyed.get(field or str(next(position)))
                known = value is not None and not form and not conversion
                parts.append(_within(evaluate(value, names)) if known else UNKNOWN)
    except ValueError:  # braces that are no places, after a hole was put in
        return (text,)
    return product(parts)


def _join(method: ast.Attribute, node: ast.Call, names: Names) -> Texts:
    separators = evaluate(method.value, names)
    lists = evaluate(node.args[0] if node.args else None, names)
    pairs = itertools.product(separators, lists)
    return union(tuple(_joined(*pair) for pair in pairs))


def _joined(separator: str, text: str) -> str:
    return separator.join(items(text)) if ITEM in text else HOLE


def _get(method: ast.Attribute, node: ast.Call, names: Names) -> Texts:
    found = _elements(evaluate(method.value, names))
    default = evaluate(node.args[1], names) if len(node.args) > 1 else ()
    return union(found, default)


def _elements(texts: Texts) -> Texts:
    """Return what an element of a list may be."""
    return union(*(tuple(items(text)) if ITEM in text else UNKNOWN for text in texts))


def _changed_case(method: ast.Attribute, node: ast.Call, names: Names) -> Texts:
    change = getattr(str, method.attr)
    return tuple(change(text) for text in evaluate(method.value, names))


def _replace(method: ast.Attribute, node: ast.Call, names: Names) -> Texts:
    texts = evaluate(method.value, names)
    match [arg.value if isinstance(arg, ast.Constant) else None for arg in node.args]:
        case [str(old), str(new)]:
            return tuple(text.replace(old, new) for text in texts)
        case [str(old), str(new), int(count)]:
            return tuple(text.replace(old, new, count) for text in texts)
    return texts


_METHODS: dict[str, Callable[[ast.Attribute, ast.Call, Names], Texts]] = {
    "format": _format,
    "join": _join,
    "get": _get,
    "replace": _replace,
    "lower": _changed_case,
    "upper": _changed_case,
    "capitalize": _changed_case,
}


def _called(node: ast.Call, names: Names) -> Texts:
    function = node.func
    name = dotted(function)
    if isinstance(function, ast.Attribute):
        name = function.attr
        if name in _METHODS:
            return _METHODS[name](function, node, names)
        if name in _IDENTITIES:
            return evaluate(function.value, names)
    if name in _WRAPPERS and node.args:
        return evaluate(node.args[0], names)
    if name == "cast" and len(node.args) > 1:
        return evaluate(node.args[1], names)
    return names.call(node)


def _list(node: ast.List | ast.Tuple | ast.Set, names: Names) -> Texts:
    return product(_element(element, names) for element in node.elts)


def _element(node: ast.expr, names: Names) -> Texts:
    if not isinstance(node, ast.Starred):
        return product([_within(evaluate(node, names)), (ITEM,)])
    texts = evaluate(node.value, names)
    return union(tuple(text if ITEM in text else HOLE + ITEM for text in texts))


def _dict(node: ast.Dict, names: Names) -> Texts:
    return _list(ast.List(elts=node.values), names)


def _subscript(node: ast.Subscript, names: Names) -> Texts:
    return _elements(evaluate(node.value, names))


def _comprehension(node: ast.ListComp | ast.GeneratorExp, names: Names) -> Texts:
    """Return a list of one element, with a hole at its end for all others."""
    texts = _within(evaluate(node.elt, names))
    least = 3  # words; an element that says less is no more than a value
    known = all(words(text) >= least for text in texts)
    return product([texts if known else ("",), (HOLE + ITEM,)])


def _body(node: ast.Lambda, names: Names) -> Texts:
    return evaluate(node.body, names)


def _value(node: ast.NamedExpr | ast.Await, names: Names) -> Texts:
    return evaluate(node.value, names)


_RULES: dict[type, Callable[..., Texts]] = {
    ast.Attribute: _attribute,
    ast.Await: _value,
    ast.BinOp: _operation,
    ast.BoolOp: _either,
    ast.Call: _called,
    ast.Constant: _constant,
    ast.Dict: _dict,
    ast.FormattedValue: _field,
    ast.GeneratorExp: _comprehension,
    ast.IfExp: _choice,
    ast.JoinedStr: _fstring,
    ast.Lambda: _body,
    ast.List: _list,
    ast.ListComp: _comprehension,
    ast.Name: _name,
    ast.NamedExpr: _value,
    ast.Set: _list,
    ast.Subscript: _subscript,
    ast.Tuple: _list,
}
