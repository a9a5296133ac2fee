"""The short ids of recipes, ``TX001``: what an address, a log or a command can have.

``ids.txt`` in the source folder has a line for each recipe, ``TX001 plot_...``, in the
order in which ids were given. A line stays when its recipe goes: an id always means the
same. ``TX001/`` at the top of the site leads to the page, also from a disk; the files
that do are those of sphinx-reredirects.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.errors import ConfigError
from sphinx_reredirects import Reredirects

from _ext import dependencies, site

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

#: The list, in the source folder.
NAME = "ids.txt"

_LINE = re.compile(r"(TX\d{3,}) (plot_\w+)")


def read(srcdir: Any) -> dict[str, str]:
    """Return the id of each recipe by its name; nothing where there is no list.

    Raises
    ------
    ConfigError
        If a line is not of the form, or an id or a recipe is there twice.
    """
    file = Path(srcdir, NAME)
    if not file.exists():
        return {}
    found: dict[str, str] = {}
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        match = _LINE.fullmatch(line)
        if not match or match[1] != _id(number) or match[2] in found:
            raise ConfigError(
                f"_doc/{NAME}, line {number}: write '{_id(number)} <recipe>', each "
                f"recipe once: {line!r}"
            )
        found[match[2]] = match[1]
    return found


def _id(number: int) -> str:
    return f"TX{number:03}"


def following(srcdir: Any) -> str:
    """Return the next id that nothing has."""
    return _id(len(read(srcdir)) + 1)


@dependencies.kind("id")
def _digest(env: BuildEnvironment, name: str) -> str:
    """Return what a page shows: the id of a recipe."""
    return read(env.srcdir).get(name, "")


def _write_redirects(app: Sphinx) -> list[Any]:
    """Write the pages that lead from ids to recipes."""
    if site.is_made(app) and app.builder.name != "singlehtml":
        Reredirects(app).create_redirects(
            {
                f"{id_}/index": f"../{site.address(app, docname)}"
                for name, id_ in read(app.srcdir).items()
                if (docname := f"auto_recipes/{name}") in app.env.found_docs
            }
        )
    return []


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.setup_extension("sphinx_reredirects")
    app.connect("html-collect-pages", _write_redirects)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
