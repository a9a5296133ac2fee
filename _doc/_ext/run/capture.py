"""Note what a cell does besides printing: exceptions and warnings it caught, its time.

A recipe catches the error that it is about and prints the message. To tell that
``UserError`` was raised under one release and not under another, the exceptions
themselves are needed. The module-level ``except`` clauses of a recipe are therefore
compiled with one more statement, which changes neither its text nor its line numbers.
Warnings are found in the lists in which ``warnings.catch_warnings`` recorded them.

There is no simpler way: ``sys.monitoring`` is there from Python 3.12 on; with
``sys.settrace`` a recipe takes 1.6 times its CPU time, and torch sees the tracer; no
audit hook tells of an exception, and none is left when its clause has ended.
``codeop.Compile`` is replaced because Sphinx-Gallery has no hook before a cell; if it
compiles cells otherwise, ``tests/releases`` finds no caught exceptions.
"""

from __future__ import annotations

import ast
import builtins
import codeop
import os
import re
import sys
import sysconfig
import tempfile
import time
import warnings
from typing import Any

_HOOK = "__cookbook_caught__"

#: A frame of a stack in a message, which depends on the machine.
_FRAME = re.compile(r'\n +File ".*", line \d+, in .*(\n    .*)?')

#: The stack of the process itself, as a page or a message has it.
_STACK = re.compile(r"^( *)Framework stack:\n(?:\1 +.*\n)+", re.MULTILINE)
_COMMAND = re.compile(r"^Command:\n.+?\n\s*^Output:", re.MULTILINE | re.DOTALL)


class Capture:
    """What the cells of one recipe did, by the line at which they begin."""

    def __init__(self) -> None:
        self.cells: dict[int, dict[str, Any]] = {}
        self.caught: list[list[str]] = []
        self.causes: list[list[str]] = []
        self.warned: list[list[str]] = []
        self.since: float | None = None

    def start(self) -> None:
        """Begin to watch this process."""
        setattr(builtins, _HOOK, self._note)
        # What Sphinx-Gallery compiles a cell with.
        codeop.Compile = _Compile  # type: ignore[misc] # it is replaced on purpose

    def begin_cell(self) -> None:
        """Open a cell, if none is open; what it prints on stderr is not its output.

        Torch logs there, with times and process numbers. Sphinx-Gallery would show it:
        https://github.com/sphinx-gallery/sphinx-gallery/issues/618.
        """
        sys.stderr = sys.__stderr__
        if self.since is None:
            self.since = time.perf_counter()

    def _note(self) -> None:
        """Note the exception that is being handled, and what it was raised from."""
        chain = _chain(sys.exc_info()[1])
        self.caught += map(_described, chain[:1])
        self.causes += map(_described, chain[1:])

    def end_cell(self, line: int, variables: dict[str, Any]) -> None:
        """Close the cell that begins at ``line``."""
        if self.since is None:  # a cell that could not be parsed was never opened
            self.since = time.perf_counter()
        seconds = round(time.perf_counter() - self.since, 2)
        cell = {"caught": self.caught, "seconds": seconds}
        if self.causes:
            cell["causes"] = self.causes
        if warned := [w for w in _warnings(variables) if w not in self.warned]:
            cell["warned"] = warned
            self.warned += warned
        self.cells[line] = cell
        self.caught, self.causes, self.since = [], [], None


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an exception with what it was raised from, each once, even in a circle."""
    chain: list[BaseException] = []
    while error is not None and all(error is not other for other in chain):
        chain.append(error)
        error = error.__cause__
    return chain


def _described(error: BaseException | str) -> list[str]:
    """Return the type and the message of an exception."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    return [name, shortened(_FRAME.sub("", str(error)))]


def shortened(text: str) -> str:
    """Shorten what torch prints of the machine: paths, the stack below it, commands.

    ``/any/where/site-packages/torch/x.py`` becomes ``torch/x.py``. Of the *framework
    stack*, hundreds of frames down to the process that runs the recipe, which torch 2.8
    has in some messages, the title is left, and so it is of the command of a compiler
    that failed.
    """
    text = _STACK.sub(r"\1Framework stack: (left out)\n", text)
    text = _COMMAND.sub("Command:\n(left out)\n\nOutput:", text)
    paths = sysconfig.get_paths()
    folders = [paths[key] for key in ("purelib", "platlib", "stdlib")]
    for place in (*folders, tempfile.gettempdir()):
        folder = place + os.sep
        # As it is, and with the doubled backslashes that repr shows.
        text = text.replace(folder, "").replace(repr(folder)[1:-1], "")
    return text


def _warnings(variables: dict[str, Any]) -> list[list[str]]:
    """Return the warnings that the variables of a recipe hold, each once."""
    found = [
        _described(entry.message)
        for value in list(variables.values())
        if isinstance(value, list)
        for entry in value
        if isinstance(entry, warnings.WarningMessage)
    ]
    return [list(pair) for pair in dict.fromkeys(map(tuple, found))]


#: The recipe that this process runs.
current = Capture()


def end_cell(block: tuple, block_vars: dict, gallery_conf: dict) -> str:
    """Close a cell; Sphinx-Gallery calls its image scrapers after each one."""
    del gallery_conf
    current.end_cell(block[2], block_vars["example_globals"])
    return ""


class _Compile(codeop.Compile):
    """Compile as before, with the hook in the ``except`` clauses of the module."""

    def __call__(self, source: Any, *arguments: Any, **options: Any) -> Any:
        """Compile a syntax tree or a text."""
        current.begin_cell()
        if isinstance(source, ast.AST):
            source = ast.fix_missing_locations(_Hooked().visit(source))
        return super().__call__(source, *arguments, **options)


class _Hooked(ast.NodeTransformer):
    """Call the hook first in each ``except`` clause, but in no function or class.

    Functions and methods may be traced by torch, which must see them as written.
    """

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        """Insert the call."""
        self.generic_visit(node)
        call = ast.Call(ast.Name(_HOOK, ast.Load()), [], [])
        hook = ast.copy_location(ast.Expr(call), node.body[0])
        node.body.insert(0, hook)
        return node

    def visit_Scope(self, node: ast.AST) -> ast.AST:
        """Leave it alone."""
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Scope
    visit_ClassDef = visit_Lambda = visit_Scope
