"""A room imports from the rooms before it and from what all share, and never back."""

from __future__ import annotations

import ast
import re
import runpy

import pytest
from conftest import ROOT

EXT = ROOT / "_doc/_ext"

#: What all rooms share, each after what it imports itself; then the rooms.
SHARED = (
    "files",
    "garbage",
    "inventories",
    "site",
    "noop",
    "dependencies",
    "ids",
    "gallery",
    "answer",
    "recipe",
)
ROOMS = ("run", "releases", "show", "find", "take", "commands")
ORDER = (*SHARED, *ROOMS)

#: Imports that lead back, with their reason.
ALLOWED = {
    # What a recipe is forked from loads what draws its programs, and does not use it.
    ("run/preload.py", "_ext.show.pictures"),
}


def place(module: str) -> str | None:
    """Return the room, or the shared module, that a module of ours is in."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] or None if first == "_ext" else None


def imported(text: str) -> list[tuple[int, str]]:
    """Return (line, module) of all imports: in functions and for types, by name too."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(node.lineno, name) for name in names]
        elif isinstance(node, ast.Constant) and _is_module(node.value):
            found.append((node.lineno, node.value))
    return found


def _is_module(value: object) -> bool:
    """Tell whether a value is the name of a module of ours."""
    return isinstance(value, str) and bool(re.fullmatch(r"_ext\.[\w.]+", value))


def wrong(path: str, text: str) -> list[str]:
    """Say which imports of a file lead back."""
    here = path.partition("/")[0].removesuffix(".py")
    return [
        f"_doc/_ext/{path}, line {line}, imports {module}: {here} comes before "
        f"{place(module)}. Move what both need to an earlier room."
        for line, module in imported(text)
        if place(module) and (path, module) not in ALLOWED
        if ORDER.index(place(module)) > ORDER.index(here)
    ]


FILES = sorted(path.relative_to(EXT).as_posix() for path in EXT.rglob("*.py"))


@pytest.mark.parametrize("path", [path for path in FILES if path != "__init__.py"])
def test_imports_go_one_way(path):
    """No module imports from a later room."""
    assert wrong(path, (EXT / path).read_text("utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "from _ext.find import topics",
        "import _ext.find.topics",
        "def f():\n    from _ext.find import topics",
        "if TYPE_CHECKING:\n    from _ext.find.topics import Topic",
        "from _ext import find",
        "app.setup_extension('_ext.find.topics')",
    ],
)
def test_import_that_leads_back(text):
    """Each form of an import that leads back is named, with file and line."""
    (message,) = wrong("show/outputs.py", f"\n{text}")
    line = 2 + text.count("\n")
    assert message.startswith(f"_doc/_ext/show/outputs.py, line {line}, imports _ext.")
    assert "show comes before find. Move" in message


def test_imports_that_are_fine():
    """Imports from earlier rooms, the own one and other packages are."""
    text = (
        "from _ext import files\nfrom _ext.run import cache\nimport _ext.show.nodes\n"
    )
    assert (
        wrong("show/outputs.py", f"{text}import json\nfrom docutils import nodes") == []
    )


def test_no_exception_is_out_of_date():
    """Each exception is one."""
    for path, module in ALLOWED:
        text = (EXT / path).read_text("utf-8")
        assert module in [name for _, name in imported(text)]


def test_all_is_in_a_room():
    """A new module is in a room, or its place among the shared ones is given here."""
    found = {path.partition("/")[0].removesuffix(".py") for path in FILES}
    assert found == {*ORDER, "__init__"}


def test_rooms_are_what_the_configuration_lists():
    """Sphinx sets up one extension a room, and the shared ones that are extensions."""
    listed = runpy.run_path(str(ROOT / "conf.py"))["extensions"]
    ours = [name.removeprefix("_ext.") for name in listed if name.startswith("_ext.")]
    shared = [
        name
        for name in SHARED
        if "\ndef setup(app" in (EXT / f"{name}.py").read_text("utf-8")
    ]
    assert ours == [*shared, *(room for room in ROOMS if room != "commands")]
