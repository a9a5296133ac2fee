"""List, for each function of torch.export, the recipes that use it.

The directive ``recipes-by-function`` takes the names from what Sphinx-Gallery found
in the recipes, so no function and no recipe has to be listed by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.ext.intersphinx import InventoryAdapter
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from collections.abc import Iterable

    from docutils import nodes
    from sphinx.application import Sphinx

_ENTRY = """
{name}
{underline}

Documentation: :py:obj:`{name}`

.. minigallery:: {used}
"""


class RecipesByFunction(SphinxDirective):
    """``.. recipes-by-function:: torch.export`` lists the recipes by what they call."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a section per name that begins with the argument."""
        folder = self.config.sphinx_gallery_conf["backreferences_dir"]
        path = Path(self.env.srcdir, folder, "backreferences_all.json")
        self.env.note_dependency(path)
        used = json.loads(path.read_text("utf-8"))
        text = "\n".join(
            _ENTRY.format(name=name, underline="-" * len(name), used=" ".join(names))
            for name, names in sorted(self._documented(used).items())
        )
        return self.parse_text_to_nodes(text, allow_section_headings=True)

    def _documented(self, used: Iterable[str]) -> dict[str, list[str]]:
        """Return the names that other documentation describes, with those in use.

        A class may be documented under the module that defines it, as
        ``torch.export.dynamic_shapes.Dim`` is, and used under a shorter name.
        """
        inventory = InventoryAdapter(self.env).main_inventory
        known = {
            name
            for kind, entries in inventory.items()
            if kind.startswith("py:")
            for name in entries
            if name.startswith(f"{self.arguments[0]}.")
        }
        found: dict[str, list[str]] = {}
        for name in sorted(used):
            module, _, last = name.rpartition(".")
            alike = {n for n in known if n.startswith(f"{module}.")}
            alike = {n for n in alike if n.rpartition(".")[2] == last}
            if name in known or len(alike) == 1:
                documented = name if name in known else alike.pop()
                found.setdefault(documented, []).append(name)
        return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("recipes-by-function", RecipesByFunction)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
