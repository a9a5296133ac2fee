"""Read Python source files for their messages, without importing or running them."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from _ext.commands.message_calls import (
    is_class,
    is_exception,
    is_log,
    is_warning,
    last,
)
from _ext.commands.message_walk import Found, Function, Walk, all_parameters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _ext.commands.message_texts import Texts


class Sink(NamedTuple):
    """A parameter of a function that it puts into a message of some kind."""

    position: int
    name: str
    kind: str


@dataclass
class Tree:
    """The source of some packages.

    Attributes
    ----------
    root
        The folder that holds the packages, as ``site-packages`` does.
    modules
        What was read so far, by the dotted name; None where there is no such file.
    """

    root: Path
    modules: dict[str, Module | None] = field(default_factory=dict)

    def module(self, name: str) -> Module | None:
        """Return a module by its dotted name, or None if there is no such file."""
        if name not in self.modules:
            self.modules[name] = None  # while it is read, for imports in a circle
            path = self.root / name.replace(".", "/")
            files = (path / "__init__.py", path.with_name(f"{path.name}.py"))
            file = next(filter(lambda file: file.is_file(), files), None)
            if file:
                self.modules[name] = Module.read(file, name, self)
        return self.modules[name]

    def messages(self, path: str) -> Iterator[Found]:
        """Yield the messages of a file, which is named by its path in the tree."""
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        module = self.module(name)
        if module:
            walk = Walk(module)
            walk.follow_all()
            yield from walk.found


@dataclass
class Module:
    """One source file, and what its names stand for.

    Attributes
    ----------
    name
        The dotted name.
    body
        The syntax tree.
    tree
        Where other modules are.
    is_package
        Whether it is the ``__init__.py`` of a folder.
    constants
        What names at the top level stand for.
    attributes
        What names of its classes stand for, of all classes together.
    functions
        Its functions and methods by name.
    imports
        Imported names: the module, and the name in it or none.
    exceptions
        Its classes of exceptions.
    sinks
        What its functions were found to print of what they are given, by name.
    returns
        What its functions were found to return, by how they are called.
    """

    name: str
    body: ast.Module
    tree: Tree
    is_package: bool = False
    constants: dict[str, Texts] = field(default_factory=dict)
    attributes: dict[str, Texts] = field(default_factory=dict)
    functions: dict[str, list[Function]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    exceptions: set[str] = field(default_factory=set)
    sinks: dict[str, list[Sink]] = field(default_factory=dict)
    returns: dict[tuple, Texts] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path, name: str, tree: Tree) -> Module:
        """Parse a file and note what its names stand for."""
        body = ast.parse(file.read_text("utf-8"), str(file))
        module = cls(name, body, tree, is_package=file.name == "__init__.py")
        nodes = list(ast.walk(body))
        module.imports = dict(module._imported(nodes))
        for node in nodes:
            if isinstance(node, Function):
                module.functions.setdefault(node.name, []).append(node)
            elif isinstance(node, ast.ClassDef) and module.is_exception(node):
                module.exceptions.add(node.name)
        walk = Walk(module)
        module.constants, module.attributes = walk.constants(nodes)
        return module

    def imported(self, name: str) -> tuple[Module | None, str]:
        """Return the module that a name is imported from, and its name there."""
        origin, original = self.imports.get(name, ("", ""))
        return (self.tree.module(origin) if origin else None), original

    def is_exception(self, node: ast.ClassDef) -> bool:
        """Tell whether a class is one of exceptions, by its name and its bases."""
        return any(map(self.raises, [node.name, *map(last, node.bases)]))

    def raises(self, name: str) -> bool:
        """Tell whether a name is that of a class of exceptions."""
        if is_exception(name) or name in self.exceptions:
            return True
        module, original = self.imported(name) if is_class(name) else (None, "")
        return module is not None and original in module.exceptions

    def sinks_of(self, name: str) -> list[Sink]:
        """Return what the function of a name, its own or an imported one, prints."""
        if name in self.functions:
            return self.own_sinks(name)
        module, original = self.imported(name)
        return module.own_sinks(original) if module else []

    def own_sinks(self, name: str) -> list[Sink]:
        """Return what one of its own functions prints of what it is given."""
        if name not in self.sinks:
            functions = self.functions.get(name, [])
            found = [sink for function in functions for sink in self._sinks(function)]
            self.sinks[name] = list(dict.fromkeys(found))
        return self.sinks[name]

    def _imported(self, nodes: list[ast.AST]) -> Iterator[tuple[str, tuple[str, str]]]:
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.asname:
                        yield alias.asname, (alias.name, "")
            elif isinstance(node, ast.ImportFrom):
                origin = self._origin(node)
                for alias in node.names:
                    yield alias.asname or alias.name, (origin, alias.name)

    def _origin(self, node: ast.ImportFrom) -> str:
        """Return the module that names are imported from, with its packages."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        kept = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*kept, node.module] if node.module else kept)

    def _sinks(self, function: Function) -> Iterator[Sink]:
        """Yield the parameters that a function puts into messages as they are."""
        parameters = [
            name for name in all_parameters(function) if name not in {"self", "cls"}
        ]
        calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
        for call in filter(self._prints, calls):
            for name in map(_passed, call.args):
                if name in parameters:
                    yield Sink(parameters.index(name), name, _kind(call))

    def _prints(self, node: ast.Call) -> bool:
        return self.raises(last(node.func)) or is_warning(node) or is_log(node)


def _kind(node: ast.Call) -> str:
    if is_log(node):
        return "log"
    return "warning" if is_warning(node) else last(node.func)


def _passed(node: ast.expr) -> str:
    """Return the name of a text that an argument is, or has in it, or none."""
    if isinstance(node, ast.JoinedStr):
        parts = [part for part in node.values if isinstance(part, ast.FormattedValue)]
        return next(filter(None, (_passed(part.value) for part in parts)), "")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _passed(node.left) or _passed(node.right)
    return node.id if isinstance(node, ast.Name) else ""
