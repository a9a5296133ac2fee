"""Follow the statements of a module or a function, and note the messages in them.

What a name stands for is known from the assignments before the message, with both
branches of a condition and the first round of a loop.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, NamedTuple

from _ext.commands.message_calls import (
    FEWEST_WORDS,
    FEWEST_WORDS_PRINTED,
    RULES,
    argument,
    arguments,
    case_of,
    kind_of,
    last,
    prints,
)
from _ext.commands.message_texts import (
    FEWEST_LETTERS,
    HOLE,
    ITEM,
    UNKNOWN,
    Texts,
    dotted,
    evaluate,
    items,
    letters,
    product,
    union,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _ext.commands.message_source import Module

DEPTH = 3  # calls of functions that are followed from a message
LONGEST_FUNCTION = 80  # lines of one that is followed
FEWEST_WORDS_OF_A_REPORT = 4

Function = ast.FunctionDef | ast.AsyncFunctionDef

_REPORTERS = re.compile(
    r"__str__|print|_*format\w*|\w*(message|msg|report|reason|warning|error"
    r"|hint|explanation|suggest|help|advice|summary)\w*"
)
_CONSTANTS = re.compile(
    r"\w*(MSG|MESSAGE|ERROR|WARN|HINT|REPORT|HELP|REASON|_NOTE)\w*"
    r"|_*(\w+_)?(msg|message|hint)(_\w+)?"
)
# Variables and arguments that hold a message, wherever it is printed in the end.
_MESSAGES = re.compile(r"_*(\w+_)?(msg|message|reason|explanation|hint)s?(_\w+)?")
_GENERATED = re.compile(r"""_assert\(.*, (["'])(.*)\1\)""")
_HINTS = "graph_break_hints"


class Found(NamedTuple):
    """A message that a file can print.

    Attributes
    ----------
    text
        The message, with holes.
    kind
        The class of the exception, or what else prints it.
    case
        The example that the message refers to, as torch calls it; mostly none.
    """

    text: str
    kind: str
    case: str = ""


class Walk:
    """Follow the statements of a module, a class or a function.

    Parameters
    ----------
    module
        The module that they are in.
    local
        What the names of an enclosing function stand for.
    owner
        The class that they are in.
    depth
        How many calls lead here from a message; messages are noted at depth 0 only.

    Attributes
    ----------
    found
        The messages.
    returned
        What the function returns.
    """

    def __init__(
        self,
        module: Module,
        local: dict[str, Texts] | None = None,
        owner: ast.ClassDef | None = None,
        depth: int = 0,
    ) -> None:
        self.module = module
        self.local = local or {}
        self.owner = owner
        self.depth = depth
        self.found: list[Found] = []
        self.returned: list[Texts] = []
        self._later: list[Function] = []
        self._held: list[Texts] = []

    # -- What names stand for --

    def name(self, name: str) -> Texts:
        """Return what a name may stand for."""
        if name in self.local:
            return self.local[name]
        if name in self.module.constants:
            return self.module.constants[name]
        if name in self.module.imports:
            return self._elsewhere(*self.module.imports[name])
        return UNKNOWN

    def attribute(self, node: ast.Attribute) -> Texts:
        """Return what an attribute may stand for: of a class, or of a module."""
        if not isinstance(node.value, ast.Name):
            return UNKNOWN
        origin, original = self.module.imports.get(node.value.id, ("", ""))
        if origin:
            name = f"{origin}.{original}" if original else origin
            return self._elsewhere(name, node.attr)
        return self.module.attributes.get(node.attr, UNKNOWN)

    def _elsewhere(self, origin: str, name: str) -> Texts:
        """Return what a name of another module stands for."""
        if origin.endswith(_HINTS):
            return (HOLE + ITEM,)  # hints that many graph breaks share
        module = self.module.tree.module(origin)
        return module.constants.get(name, UNKNOWN) if module else UNKNOWN

    def call(self, node: ast.Call) -> Texts:
        """Return what a function of the module, or an imported one, may return."""
        if self.depth >= DEPTH:
            return UNKNOWN
        module, functions = self._functions_called(node)
        if module is None or len(functions) != 1 or not _says(functions[0]):
            return UNKNOWN
        values = tuple(map(self._given, node.args))
        named = tuple((word.arg, self._given(word.value)) for word in node.keywords)
        bound = _bound(functions[0], values, named)
        if functions[0] in self._later:
            bound = {**self.local, **bound}
        return _returned(module, functions[0], bound, self.depth + 1)

    def _functions_called(self, node: ast.Call) -> tuple[Module | None, list[Function]]:
        name = last(node.func)
        nested = [function for function in self._later if function.name == name]
        functions = nested or self.module.functions.get(name, [])
        if functions or isinstance(node.func, ast.Attribute):
            return self.module, functions
        module, original = self.module.imported(name)
        return module, (module.functions.get(original, []) if module else [])

    def _given(self, node: ast.expr) -> Texts:
        return UNKNOWN if isinstance(node, ast.Starred) else evaluate(node, self)

    def constants(
        self, nodes: Iterable[ast.AST]
    ) -> tuple[dict[str, Texts], dict[str, Texts]]:
        """Return what names at the top level of the module, and its classes', mean."""
        self.depth = DEPTH
        self.follow(self.module.body.body)
        attributes: dict[str, Texts] = {}
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                walk = Walk(self.module, depth=DEPTH)
                walk.follow(node.body)
                for name, texts in walk.local.items():
                    attributes[name] = union(attributes.get(name, ()), texts)
        return self.local, attributes

    # -- Statements --

    def follow_all(self) -> None:
        """Follow the module and, after it, its functions."""
        self.follow(self.module.body.body)
        self.note_constants()
        self.local = {}
        self.follow_functions()

    def follow(self, statements: Iterable[ast.stmt]) -> None:
        """Follow statements in their order; functions among them are for later."""
        for node in statements:
            rule = _STATEMENTS.get(type(node))
            if rule:
                rule(self, node)
            else:
                self.scan(node)

    def follow_functions(self) -> None:
        """Follow the functions that were met, when all names around them are known."""
        for function in self._later:
            parameters = dict.fromkeys(all_parameters(function), UNKNOWN)
            walk = Walk(self.module, {**self.local, **parameters}, self.owner)
            walk.follow(function.body)
            walk.follow_functions()
            walk.note_held()
            self.found += walk.found
            self._note_returned(function, walk.returned)

    def later(self, function: Function) -> None:
        """Keep a function for later."""
        self._later.append(function)

    def branches(self, *bodies: list[ast.stmt]) -> None:
        """Follow statements of which one list or another runs."""
        before, ends = self.local, []
        for body in bodies:
            self.local = dict(before)
            self.follow(body)
            if not _leaves(body):
                ends.append(self.local)
        names = dict.fromkeys(name for end in ends for name in end)
        self.local = {
            name: union(*(end[name] for end in ends if name in end)) for name in names
        }
        if not ends:
            self.local = before

    def repeated(self, body: list[ast.stmt]) -> None:
        """Follow the body of a loop once; what grows in it may grow further."""
        before = dict(self.local)
        self.follow(body)
        for name, texts in self.local.items():
            old = before.get(name, ())
            if old and texts != old:
                grown = tuple(_more(text, old) for text in texts)
                self.local[name] = union(old, grown)

    def assign(self, target: ast.expr, texts: Texts, node: ast.expr | None) -> None:
        """Note what a target stands for from here on."""
        if isinstance(target, ast.Name):
            self.local[target.id] = texts
            self._hold(target.id, texts)
        elif isinstance(target, ast.Attribute):
            self._note_attribute(target, node)
        elif isinstance(target, ast.Tuple | ast.List):
            values = node.elts if isinstance(node, ast.Tuple | ast.List) else []
            for i, element in enumerate(target.elts):
                value = values[i] if len(values) == len(target.elts) else None
                self.assign(element, evaluate(value, self), value)

    def _grow(self, node: ast.Call) -> None:
        """Follow ``list.append`` and ``list.extend``."""
        method = node.func
        if not isinstance(method, ast.Attribute) or len(node.args) != 1:
            return
        if method.attr not in {"append", "extend"}:
            return
        name, added = dotted(method.value), node.args[0]
        if name in self.local and self.local[name] != UNKNOWN:
            element = ast.Starred(value=added) if method.attr == "extend" else added
            texts = evaluate(ast.List(elts=[element]), self)
            self.local[name] = product([self.local[name], texts])

    # -- Messages --

    def scan(self, node: ast.AST | None) -> None:
        """Note the messages in an expression, or in a simple statement."""
        for part in ast.walk(node) if node else ():
            if isinstance(part, ast.NamedExpr):
                self.assign(part.target, evaluate(part.value, self), part.value)
            elif isinstance(part, ast.Call):
                self._grow(part)
                self._note_call(part)
            elif isinstance(part, ast.Constant | ast.JoinedStr):
                self._note_generated(part)

    def _note_call(self, node: ast.Call) -> None:
        name = last(node.func)
        if self.depth:
            return
        for applies, note in RULES:
            if applies(node, name, self.module):
                note(self, node, name)
                return
        for word in node.keywords:
            self._hold(word.arg or "", evaluate(word.value, self))
        for sink in self.module.sinks_of(name):
            value = argument(node, sink.position, sink.name)
            self.note(evaluate(value, self), sink.kind, least=FEWEST_WORDS)

    def _note_generated(self, node: ast.Constant | ast.JoinedStr) -> None:
        """Note the message of an assertion in source that is generated."""
        for text in () if self.depth else evaluate(node, self):
            for match in _GENERATED.finditer(text):
                self.note((match[2],), "assert", least=FEWEST_WORDS_PRINTED)

    def note(self, texts: Texts, kind: str, case: str = "", *, least: int = 0) -> None:
        """Note texts as messages.

        Parameters
        ----------
        texts
            The texts; of a list, its elements.
        kind, case
            See :class:`Found`.
        least
            How many words a text has to have where it only may be a message.
        """
        if self.depth:
            return
        for text in texts:
            parts = items(text) if ITEM in text else [text]
            said = (part for part in parts if not least or _is_prose(part, least))
            self.found += [Found(part, kind, case) for part in said]

    def note_arguments(self, node: ast.Call, kind: str, *, least: int = 0) -> None:
        """Note the arguments of a call that are texts."""
        given = [evaluate(value, self) for value in arguments(node)]
        said = [
            texts
            for texts in given
            if any(letters(text) >= FEWEST_LETTERS for text in texts)
        ]
        for texts in said or given[:1]:
            self.note(texts, kind, case_of(node), least=least)

    def note_constants(self) -> None:
        """Note constants whose names say that they are messages."""
        shared = self.module.name.endswith(_HINTS)
        for name, texts in self.local.items():
            if shared or _CONSTANTS.fullmatch(name):
                self.note(texts, "hint" if shared else "report", least=FEWEST_WORDS)

    def _hold(self, name: str, texts: Texts) -> None:
        """Keep what a variable or an argument holds, if its name says a message."""
        if not self.depth and _MESSAGES.fullmatch(name):
            self._held.append(texts)

    def note_held(self) -> None:
        """Note messages that are held, and are not printed whole in the function."""
        held = dict.fromkeys(text for texts in self._held for text in texts)
        printed = {found.text for found in self.found}
        for text in held:
            longer = (other for other in {*held, *printed} if other != text)
            if text not in printed and not any(text in other for other in longer):
                self.note((text,), "report", least=FEWEST_WORDS)

    def own_exception(self) -> str:
        """Return the class of exceptions that the statements are in, or nothing."""
        owner = self.owner
        return owner.name if owner and self.module.is_exception(owner) else ""

    def _note_attribute(self, target: ast.Attribute, node: ast.expr | None) -> None:
        """Note what is written into an exception that exists: its args or message."""
        if target.attr == "args" and isinstance(node, ast.Tuple):
            node = node.elts[0] if node.elts else None
        if target.attr in {"args", "msg", "message"}:
            kind = self.own_exception() or "exception"
            self.note(evaluate(node, self), kind, least=FEWEST_WORDS)

    def _note_returned(self, function: Function, returned: list[Texts]) -> None:
        """Note what a function returns whose name says that it writes messages."""
        if not _REPORTERS.fullmatch(function.name):
            return
        exception = self.own_exception()
        least = FEWEST_WORDS if exception else FEWEST_WORDS_OF_A_REPORT
        for texts in returned:
            self.note(texts, exception or "report", least=least)


def all_parameters(function: Function) -> list[str]:
    """Return the names of all parameters of a function, in their order."""
    given = function.args
    rest = [*given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return [part.arg for part in [*given.posonlyargs, *given.args, *rest]]


def _is_prose(text: str, least: int) -> bool:
    """Tell whether a text has words, and is no identifier."""
    return words(text) >= least and " " in text.strip()


def _more(text: str, old: Texts) -> str:
    """Return a text with a hole at its end if it is longer than an old one."""
    if not any(text.startswith(before) and text != before for before in old):
        return text
    return text + HOLE + ITEM if text.endswith(ITEM) else text + HOLE


def _leaves(body: list[ast.stmt]) -> bool:
    """Tell whether what follows statements does not run after them."""
    ends = ast.Raise | ast.Return | ast.Continue | ast.Break
    return bool(body) and isinstance(body[-1], ends)


def _says(function: Function) -> bool:
    """Tell whether a function may return a text: it has one, and is not long."""
    if (function.end_lineno or 0) - function.lineno > LONGEST_FUNCTION:
        return False
    start = 0 if ast.get_docstring(function, clean=False) is None else 1
    nodes = (node for part in function.body[start:] for node in ast.walk(part))
    values = (node.value for node in nodes if isinstance(node, ast.Constant))
    return any(isinstance(value, str) and letters(value) for value in values)


def _returned(
    module: Module, function: Function, local: dict[str, Texts], depth: int
) -> Texts:
    """Return what a function returns, if its names stand for some texts."""
    key = (function.name, function.lineno, tuple(local.items()), depth)
    if key not in module.returns:
        module.returns[key] = UNKNOWN  # for a function that calls itself
        walk = Walk(module, dict(local), depth=depth)
        walk.follow(function.body)
        module.returns[key] = union(*walk.returned) or UNKNOWN
    return module.returns[key]


def _bound(
    function: Function,
    values: tuple[Texts, ...],
    named: tuple[tuple[str | None, Texts], ...],
) -> dict[str, Texts]:
    """Return what the parameters of a function stand for in a call."""
    parameters = all_parameters(function)
    local = dict.fromkeys(parameters, UNKNOWN)
    by_position = [
        part.arg for part in [*function.args.posonlyargs, *function.args.args]
    ]
    if by_position[:1] in (["self"], ["cls"]):
        by_position = by_position[1:]
    local |= zip(by_position, values, strict=False)
    return local | {name: texts for name, texts in named if name in local}


# -- Rules for statements --


def _on_function(walk: Walk, node: Function) -> None:
    for part in node.decorator_list:
        walk.scan(part)
    walk.later(node)


def _on_class(walk: Walk, node: ast.ClassDef) -> None:
    for part in node.decorator_list:
        walk.scan(part)
    inner = Walk(walk.module, owner=node, depth=walk.depth)
    inner.follow(node.body)
    inner.note_constants()
    inner.local = dict(walk.local)
    if not walk.depth:
        inner.follow_functions()
    walk.found += inner.found


def _on_assign(walk: Walk, node: ast.Assign | ast.AnnAssign) -> None:
    walk.scan(node.value)
    texts = evaluate(node.value, walk)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets if node.value else []:
        walk.assign(target, texts, node.value)


def _on_augmented(walk: Walk, node: ast.AugAssign) -> None:
    walk.scan(node.value)
    value = ast.BinOp(left=node.target, op=node.op, right=node.value)
    if isinstance(node.target, ast.Name):
        walk.assign(node.target, evaluate(value, walk), value)
    else:
        walk.assign(node.target, UNKNOWN, node.value)


def _on_if(walk: Walk, node: ast.If) -> None:
    walk.scan(node.test)
    walk.branches(node.body, node.orelse)


def _on_for(walk: Walk, node: ast.For | ast.AsyncFor) -> None:
    walk.scan(node.iter)
    lists = evaluate(node.iter, walk)
    known = all(ITEM in text for text in lists)
    elements = union(*(tuple(items(text)) for text in lists)) if known else UNKNOWN
    walk.assign(node.target, elements, None)
    walk.repeated(node.body)
    walk.follow(node.orelse)


def _on_while(walk: Walk, node: ast.While) -> None:
    walk.scan(node.test)
    walk.repeated(node.body)
    walk.follow(node.orelse)


def _on_with(walk: Walk, node: ast.With | ast.AsyncWith) -> None:
    for item in node.items:
        walk.scan(item.context_expr)
        if item.optional_vars:
            walk.assign(item.optional_vars, UNKNOWN, None)
    walk.follow(node.body)


def _on_try(walk: Walk, node: ast.Try) -> None:
    handlers = [handler.body for handler in node.handlers]
    walk.branches([*node.body, *node.orelse], *handlers)
    walk.follow(node.finalbody)


def _on_match(walk: Walk, node: ast.Match) -> None:
    walk.scan(node.subject)
    walk.branches(*(case.body for case in node.cases), [])


def _on_return(walk: Walk, node: ast.Return) -> None:
    walk.scan(node.value)
    if node.value is not None:
        walk.returned.append(evaluate(node.value, walk))


def _on_assert(walk: Walk, node: ast.Assert) -> None:
    walk.scan(node)
    if node.msg is not None:
        walk.note(evaluate(node.msg, walk), "assert")


def _on_raise(walk: Walk, node: ast.Raise) -> None:
    """Note what is raised by another name than that of a class of exceptions."""
    walk.scan(node)
    raised = node.exc
    if isinstance(raised, ast.Call) and not prints(raised, walk.module):
        kind = kind_of(last(raised.func))
        if last(raised.func) != "with_traceback":
            walk.note_arguments(raised, kind)
        walk.note(walk.call(raised), kind, least=FEWEST_WORDS)


_STATEMENTS: dict[type, Callable[..., None]] = {
    ast.AnnAssign: _on_assign,
    ast.Assert: _on_assert,
    ast.Assign: _on_assign,
    ast.AsyncFor: _on_for,
    ast.AsyncFunctionDef: _on_function,
    ast.AsyncWith: _on_with,
    ast.AugAssign: _on_augmented,
    ast.ClassDef: _on_class,
    ast.For: _on_for,
    ast.FunctionDef: _on_function,
    ast.If: _on_if,
    ast.Match: _on_match,
    ast.Raise: _on_raise,
    ast.Return: _on_return,
    ast.Try: _on_try,
    ast.While: _on_while,
    ast.With: _on_with,
}
