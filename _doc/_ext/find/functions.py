"""List, for each function that matters to an export, the recipes that use it.

The directive ``recipes-by-function`` takes the names from what Sphinx-Gallery found in
the recipes, so no function and no recipe has to be listed by hand. The names are those
that recipes write, and so readers: ``torch.export.Dim``, wherever torch defines it.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.ext.intersphinx import InventoryAdapter
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from collections.abc import Collection

    from docutils import nodes
    from sphinx.application import Sphinx

#: A function that more recipes use tells none of them from others.
MOST = 20


class RecipesByFunction(SphinxDirective):
    """``.. recipes-by-function::`` lists the recipes by what they call.

    Its content is patterns of names, one a line, such as ``torch.export.*``.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return a section for each name that fits a pattern."""
        used = self._used()
        fitting = (name for line in self.content for name in self._fitting(line, used))
        text = "\n".join(
            self._entry(name, used[name]) for name in dict.fromkeys(fitting)
        )
        return self.parse_text_to_nodes(text, allow_section_headings=True)

    def _used(self) -> dict[str, list[str]]:
        """Return the recipes that use each function, by the shortest of its names."""
        folder = self.config.sphinx_gallery_conf["backreferences_dir"]
        path = Path(self.env.srcdir, folder, "backreferences_all.json")
        self.env.note_dependency(path)
        names: dict[str, str] = {}
        found: dict[str, set[str]] = {}
        noted = json.loads(path.read_text("utf-8"))
        for name in sorted(noted, key=len):
            written = names.setdefault(self._documented(name) or name, name)
            recipes = {Path(script).stem for script, *_ in noted[name]}
            found.setdefault(written, set()).update(recipes)
        return {name: sorted(recipes) for name, recipes in found.items()}

    def _documented(self, name: str) -> str | None:
        """Return the name under which other documentation describes a function.

        That may be the module that defines it, ``torch.export.dynamic_shapes.Dim``.
        """
        if name in self._known:
            return name
        module, _, last = name.rpartition(".")
        ending = (known for known in self._known if known.endswith(f".{last}"))
        alike = [known for known in ending if known.startswith(f"{module}.")]
        return alike[0] if len(alike) == 1 else None

    @cached_property
    def _known(self) -> set[str]:
        """All names that other documentation describes."""
        inventory = InventoryAdapter(self.env).main_inventory
        of_python = (kind for kind in inventory if kind.startswith("py:"))
        return {name for kind in of_python for name in inventory[kind]}

    def _fitting(self, pattern: str, used: Collection[str]) -> list[str]:
        fitting = sorted(name for name in used if fnmatchcase(name, pattern))
        if used and not fitting:
            raise self.error(f"No recipe uses {pattern}: correct or remove the line.")
        return fitting

    def _entry(self, name: str, recipes: list[str]) -> str:
        """Return the section of a function."""
        lines = [name, "-" * len(name), ""]
        if documented := self._documented(name):
            lines += [f"Documentation: :py:obj:`{name} <{documented}>`", ""]
        if len(recipes) > MOST:
            lines += [f"{len(recipes)} recipes: see :doc:`/auto_recipes/index`.", ""]
        else:
            lines += [f"- :doc:`/auto_recipes/{recipe}`" for recipe in recipes]
        return "\n".join([*lines, ""])


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("recipes-by-function", RecipesByFunction)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
