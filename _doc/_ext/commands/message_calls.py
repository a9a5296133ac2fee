"""Tell which calls print a message, and note what each of them prints.

A rule is a pair of functions: one tells whether a call is of a kind, the other notes
its messages. The first rule that applies is taken.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from _ext.commands.message_texts import ITEM, dotted, evaluate, items, percent, product

if TYPE_CHECKING:
    from collections.abc import Callable

    from _ext.commands.message_source import Module
    from _ext.commands.message_walk import Walk

FEWEST_WORDS = 3  # of what only may be a message
FEWEST_WORDS_PRINTED = 2

_EXCEPTION = re.compile(r"_*([A-Z]\w*)?(Error|Exception|Warning)s?")
_WARNING = re.compile(r"_*(\w+_)?warn(ing|ings)?(_once)?|deprecated")
_LOGGER = re.compile(r"(.*[._])?_*(\w*log(ger|s)?|LOG|logging|getLogger\(\))")
_LOG_LEVELS = frozenset(
    {"critical", "error", "exception", "fatal", "info", "warn", "warning"}
    | {"warning_once", "info_once", "error_once"}
)
_CHECK = re.compile(r"_*(torch_)?check(_\w+)?|torch_assert\w*|expect_\w+")
_GRAPH_BREAKS = frozenset(
    {"unimplemented", "unimplemented_v2"}
    | {"unimplemented_with_warning", "unimplemented_v2_with_warning"}
)
_OBSERVED = frozenset({"raise_observed_exception"})
_GRAPH_CALLS = frozenset({"call_function", "create_node", "create_proxy"})
_PRINTERS = frozenset({"print", "verbose_print", "rprint", "_print", "echo"})


def last(node: ast.expr) -> str:
    """Return the last part of a name with dots."""
    return dotted(node).rpartition(".")[2]


def is_class(name: str) -> bool:
    """Tell whether a name is written as those of classes are."""
    return name.lstrip("_")[:1].isupper()


def is_exception(name: str) -> bool:
    """Tell whether a name is one that classes of exceptions have."""
    return bool(_EXCEPTION.fullmatch(name))


def is_warning(node: ast.Call) -> bool:
    """Tell whether a call warns."""
    return bool(_WARNING.fullmatch(last(node.func)))


def is_log(node: ast.Call) -> bool:
    """Tell whether a call is one of a logger, of a level that users see."""
    base, _, method = dotted(node.func).rpartition(".")
    return method in _LOG_LEVELS and bool(_LOGGER.fullmatch(base))


def kind_of(name: str) -> str:
    """Return the kind of what is raised, from its name in the source."""
    return name if is_class(name) else "exception"


def arguments(node: ast.Call) -> list[ast.expr]:
    """Return the arguments of a call that may be its message."""
    named = [word.value for word in node.keywords if word.arg != "case_name"]
    return [part for part in [*node.args, *named] if not isinstance(part, ast.Starred)]


def argument(node: ast.Call, position: int, name: str) -> ast.expr | None:
    """Return an argument by its name or else by its position."""
    for word in node.keywords:
        if word.arg == name:
            return word.value
    return node.args[position] if len(node.args) > position else None


def case_of(node: ast.Call) -> str:
    """Return the name of the example that a ``UserError`` refers to."""
    position = 2 if last(node.func) == "UserError" else len(node.args)
    value = argument(node, position, "case_name")
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    return ""


def prints(node: ast.Call, module: Module) -> bool:
    """Tell whether a rule applies to a call."""
    return any(applies(node, last(node.func), module) for applies, _ in RULES)


def _is_graph_break(node: ast.Call, name: str, module: Module) -> bool:
    has_type = any(word.arg == "gb_type" for word in node.keywords)
    return has_type or (name in _GRAPH_BREAKS and "_dynamo" in module.name)


def _note_graph_break(walk: Walk, node: ast.Call, name: str) -> None:
    given = {word.arg: word.value for word in node.keywords}
    if "gb_type" not in given:
        walk.note_arguments(node, "graph break")
        return
    hints = tuple(map(_hint_lines, evaluate(given.get("hints"), walk)))
    parts = [evaluate(given["gb_type"], walk), ("\nExplanation: ",)]
    parts += [evaluate(given.get("explanation"), walk), ("\n",), hints]
    parts += [("\nDeveloper debug context: ",), evaluate(given.get("context"), walk)]
    walk.note(product(parts), "graph break")


def _hint_lines(text: str) -> str:
    """Return the lines of a list of hints."""
    if ITEM not in text:
        return text
    return "\n".join(f"Hint: {item}" for item in items(text))


def _is_observed(node: ast.Call, name: str, module: Module) -> bool:
    return name in _OBSERVED


def _note_observed(walk: Walk, node: ast.Call, name: str) -> None:
    """Note what Dynamo raises in the program that it traces."""
    raised = last(node.args[0]) if node.args else ""
    walk.note_arguments(node, kind_of(raised))


def _is_exception(node: ast.Call, name: str, module: Module) -> bool:
    return module.raises(name)


def _note_exception(walk: Walk, node: ast.Call, name: str) -> None:
    walk.note_arguments(node, name)


def _is_init(node: ast.Call, name: str, module: Module) -> bool:
    return dotted(node.func) == "super().__init__"


def _note_init(walk: Walk, node: ast.Call, name: str) -> None:
    exception = walk.own_exception()
    if exception:
        walk.note_arguments(node, exception)


def _is_log(node: ast.Call, name: str, module: Module) -> bool:
    return is_log(node)


def _note_log(walk: Walk, node: ast.Call, name: str) -> None:
    values = list(node.args)
    if values and isinstance(values[0], ast.Name) and _LOGGER.fullmatch(values[0].id):
        values = values[1:]  # torch._logging.warning_once(log, "...")
    if values:
        texts, rest = evaluate(values[0], walk), values[1:]
        named = _by_name(rest[0]) if rest else {}
        walk.note(percent(texts, rest, named, walk), "log", least=FEWEST_WORDS_PRINTED)


def _by_name(node: ast.expr) -> dict[str, ast.expr]:
    """Return what a logger puts into places that have names."""
    if not isinstance(node, ast.Dict):
        return {}
    return {
        key.value: value
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def _is_warning(node: ast.Call, name: str, module: Module) -> bool:
    return is_warning(node)


def _note_warning(walk: Walk, node: ast.Call, name: str) -> None:
    walk.note_arguments(node, "warning")


def _is_check(node: ast.Call, name: str, module: Module) -> bool:
    return bool(_CHECK.fullmatch(name)) and len(arguments(node)) > 1


def _note_check(walk: Walk, node: ast.Call, name: str) -> None:
    for value in arguments(node)[1:]:
        texts = evaluate(value, walk)
        if isinstance(value, ast.Name) and value.id in walk.module.functions:
            texts = walk.call(ast.Call(func=value, args=[], keywords=[]))
        least = 0 if isinstance(value, ast.Lambda) else FEWEST_WORDS
        walk.note(texts, "check", least=least)


def _is_assert(node: ast.Call, name: str, module: Module) -> bool:
    return "_assert" in dotted(node.func) and bool(node.args)


def _note_assert(walk: Walk, node: ast.Call, name: str) -> None:
    walk.note_arguments(node, "assert", least=FEWEST_WORDS)


def _is_graph_call(node: ast.Call, name: str, module: Module) -> bool:
    return name in _GRAPH_CALLS


def _note_graph_call(walk: Walk, node: ast.Call, name: str) -> None:
    """Note the message of an assertion that is put into a graph."""
    for value in node.args:
        if isinstance(value, ast.Tuple):
            walk.note(evaluate(value, walk), "assert", least=FEWEST_WORDS_PRINTED)


def _is_print(node: ast.Call, name: str, module: Module) -> bool:
    return name in _PRINTERS


def _note_print(walk: Walk, node: ast.Call, name: str) -> None:
    texts = evaluate(ast.List(elts=node.args), walk)
    said = tuple(" ".join(items(text)) for text in texts)
    walk.note(said, "report", least=FEWEST_WORDS_PRINTED)


def _is_added_note(node: ast.Call, name: str, module: Module) -> bool:
    return name == "add_note"


def _note_added(walk: Walk, node: ast.Call, name: str) -> None:
    walk.note_arguments(node, "exception", least=FEWEST_WORDS)


RULES: tuple[
    tuple[
        Callable[[ast.Call, str, Module], bool],
        Callable[[Walk, ast.Call, str], None],
    ],
    ...,
] = (
    (_is_graph_break, _note_graph_break),
    (_is_observed, _note_observed),
    (_is_exception, _note_exception),
    (_is_init, _note_init),
    (_is_log, _note_log),
    (_is_warning, _note_warning),
    (_is_check, _note_check),
    (_is_assert, _note_assert),
    (_is_graph_call, _note_graph_call),
    (_is_print, _note_print),
    (_is_added_note, _note_added),
)
