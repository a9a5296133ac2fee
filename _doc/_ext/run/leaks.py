"""Compare the process before and after a recipe, and name what it left behind.

Each recipe runs in its own process, so a leak cannot reach another recipe. It still
reaches the reader, who pastes the recipe into a notebook and goes on working there.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

#: Registries that map a class to the functions that flatten it.
REGISTRIES = {
    "torch.utils._pytree": ("SUPPORTED_NODES", "SUPPORTED_SERIALIZED_TYPES"),
    "torch.fx._pytree": ("SUPPORTED_NODES", "SUPPORTED_NODES_EXACT_MATCH"),
}

#: torch's own global settings, each with the call that reads it.
SETTINGS = {
    "default dtype": "get_default_dtype",
    "default device": "get_default_device",
    "number of threads": "get_num_threads",
    "grad mode": "is_grad_enabled",
    "inference mode": "is_inference_mode_enabled",
    "deterministic algorithms": "are_deterministic_algorithms_enabled",
    "float32 matmul precision": "get_float32_matmul_precision",
}

#: Modules of torch that hold configuration.
CONFIGS = (
    "torch._dynamo.config",
    "torch._export.config",
    "torch._functorch.config",
    "torch._inductor.config",
    "torch.fx.experimental._config",
)

#: Written into the environment by a library when it is first used, not by a recipe.
LIBRARY_VARIABLES = {
    "KMP_INIT_AT_FORK",  # sphinx-gallery's dependency threadpoolctl
    "TORCHINDUCTOR_CACHE_DIR",  # torch._inductor, on its first compilation
    "TRITON_CACHE_DIR",  # torch._inductor, on its first compilation
}


#: What runs the imports of a recipe, and prints what they left behind.
ALONE = """
import contextlib
import json
from _ext.run import leaks
before = leaks.Snapshot.take()
{imports}
print(json.dumps(before.leaks(leaks.Snapshot.take())))
"""


#: What a leak says of the module of a registered class.
_REGISTERS = re.compile(r"registers ([\w.]+)\.\w+ in ")


@dataclass(frozen=True)
class Snapshot:
    """The state that a recipe must leave as it found it.

    Attributes
    ----------
    registered
        (registry, class) for each class that a pytree registry knows.
    settings
        torch's global settings, by name.
    configs
        torch's configuration, by full name.
    environment
        The environment variables.
    files
        The names in the working folder.
    """

    registered: frozenset[tuple[str, type]]
    settings: dict[str, Any]
    configs: dict[str, Any]
    environment: dict[str, str]
    files: frozenset[str]

    @classmethod
    def take(cls) -> Snapshot:
        """Read the state of this process, loading torch where it is not loaded yet."""
        return cls(
            frozenset(_registered()),
            _settings(),
            _configs(),
            dict(os.environ),
            frozenset(path.name for path in Path().iterdir()),
        )

    def leaks(self, now: Snapshot) -> list[str]:
        """Return one sentence for each thing in ``now`` that differs from this one."""
        return [
            *_new_registrations(now.registered - self.registered),
            *_differences("the", self.settings, now.settings),
            *_differences("the configuration", self.configs, now.configs),
            *_differences(
                "the environment variable", self.environment, now.environment
            ),
            *(
                f"leaves the file {name!r}; write into a temporary folder."
                for name in sorted(now.files - self.files - {"__pycache__"})
            ),
        ]


class FolderWatch:
    """Watch for a recipe that changes the working folder and does not come back.

    Sphinx-Gallery returns to the folder after each cell, so comparing the folder
    before and after would find nothing.
    """

    def __init__(self, recipe: str) -> None:
        self.recipe = recipe
        self.home = os.path.realpath(os.curdir)
        self.last: tuple[int, str] | None = None
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple) -> None:
        """Note a change of folder that comes from a line of the recipe."""
        if event != "os.chdir":
            return
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 (the only way to a caller's line)
        while frame is not None and frame.f_code.co_filename != self.recipe:
            frame = frame.f_back
        if frame is not None:
            self.last = (frame.f_lineno, os.path.realpath(arguments[0]))

    def leaks(self) -> list[str]:
        """Return a sentence if the last change did not lead back."""
        if self.last is None or self.last[1] == self.home:
            return []
        return [f"changes the working folder in line {self.last[0]} and stays there."]


def of_imports(source: str, leaked: Iterable[str] = ()) -> set[str]:
    """Return what the imports of a recipe leave behind, without the rest of it.

    A package may register classes and set options when it is loaded. Whoever imports
    it has these; a recipe has no part in them, and no way to undo them. Some packages
    load others late, as transformers does: the modules of registered classes in
    ``leaked`` are imported, too.
    """
    imports = [
        ast.unparse(node)
        for node in ast.parse(source).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    modules = {match[1] for leak in leaked if (match := _REGISTERS.match(leak))}
    imports += [
        f"with contextlib.suppress(ImportError): import {module}"
        for module in sorted(modules)
    ]
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(imports="\n".join(imports))],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        text=True,
    )
    return set() if done.returncode else set(json.loads(done.stdout.splitlines()[-1]))


def _registered() -> Iterable[tuple[str, type]]:
    """Yield (registry, class) for each class that the registries know."""
    for name, tables in REGISTRIES.items():
        module = importlib.import_module(name)
        for table in tables:
            for key in getattr(module, table, ()):
                yield f"{name}.{table}", key


def _new_registrations(entries: Iterable[tuple[str, Any]]) -> list[str]:
    """Name the entries that a recipe added for classes that are not its own.

    A class that the recipe defines is known to nobody else, and torch has no public
    function to take it out again. torch adds some entries when it loads a module.
    """
    return [
        f"registers {key.__module__}.{key.__qualname__} in {registry} and does not "
        "take it out again."
        for registry, key in sorted(entries, key=str)
        if isinstance(key, type)
        and key.__module__.partition(".")[0] not in {"torch", "__main__"}
        and not _registered_by_its_base(key)
    ]


def _registered_by_its_base(cls: type) -> bool:
    """Tell whether a library registers the class when it is defined.

    transformers does so with each ``ModelOutput``, in ``__init_subclass__``.
    """
    return any("__init_subclass__" in vars(base) for base in cls.__mro__[1:-1])


def _settings() -> dict[str, Any]:
    """Read torch's global settings."""
    torch = importlib.import_module("torch")
    return {
        name: getattr(torch, read)()
        for name, read in SETTINGS.items()
        if hasattr(torch, read)
    }


def _configs() -> dict[str, Any]:
    """Read torch's configuration modules, with full names."""
    values = {}
    for name in CONFIGS:
        # Imported, so that what torch itself changes on import counts as before.
        with contextlib.suppress(ModuleNotFoundError):
            config = importlib.import_module(name)
            for key, value in config.get_config_copy().items():
                values[f"{name}.{key}"] = value
    return values


def _differences(what: str, before: dict, after: dict) -> list[str]:
    """Say which values changed, appeared or went, without addresses of objects."""
    return [
        re.sub(
            r" at 0x[0-9a-f]+>",
            ">",
            f"leaves {what} {name} changed from {before.get(name, 'unset')} "
            f"to {after.get(name, 'unset')}.",
        )
        for name in sorted(before.keys() | after.keys())
        if name not in LIBRARY_VARIABLES and before.get(name) != after.get(name)
    ]
