"""Draw every exported program on a page, as an SVG that is part of the page.

Sphinx-Gallery calls :func:`scrape` after each cell. It finds the exported programs
among the variables of the recipe, so recipes need no code for it. ``programs`` reads a
program, ``layout`` says where everything is, ``svg`` writes it. The largest picture of
a recipe, without its words, is its thumbnail.

Pictures are folded. A cell unfolds that of its last program by a comment, which says
what to see: ``# sphinx_gallery_picture = "The batch is a symbol now: s77."``.
"""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes

from _ext import gallery
from _ext.show import programs, svg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.config import Config

    from _ext.show.programs import Program

#: The number of boxes that can be made out on a card.
ON_A_CARD = 14


class Drawn:
    """What was drawn for the recipe of this process."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any, Program]] = []
        self.card: Program | None = None
        self.path: Path | None = None

    def before(self, content: Program) -> list[Program]:
        """Return the programs that were seen before one."""
        contents = [each for *_, each in self.seen]
        return list(itertools.takewhile(lambda each: each is not content, contents))

    def new(self, variables: dict[str, Any]) -> Iterator[tuple[str, Program]]:
        """Yield the programs that are new, or were changed, by name."""
        for name, program in _programs(variables):
            content = programs.read(program)
            if any(p is program and c == content for _, p, c in self.seen):
                continue
            yield name, content
            self.seen.append((name, program, content))


#: What was drawn for the recipe of this process.
current = Drawn()


def scrape(block: tuple, block_vars: dict, gallery_conf: dict) -> str:
    """Return the pictures of the programs that a cell made, for its page."""
    del gallery_conf
    found = []
    caption = gallery.values(block[1]).get("picture", "")
    new = list(current.new(block_vars["example_globals"]))
    for name, content in new:
        is_last = content is new[-1][1]
        found.append(
            svg.figure(name, content, current.before(content), caption * is_last)
        )
        if current.card is None or _weight(content) > _weight(current.card):
            current.card = content
            _write_card(block_vars["image_path_iterator"], content)
    return "".join(map(_directive, filter(None, found)))


def _programs(variables: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the exported programs among variables, and in their lists and dicts."""
    for name, value in list(variables.items()):
        if name.startswith("__"):
            continue
        if isinstance(value, dict):
            parts = [(f"{name}[{key!r}]", part) for key, part in value.items()]
        elif isinstance(value, (list, tuple)):
            parts = [(f"{name}[{key}]", part) for key, part in enumerate(value)]
        else:
            parts = [(name, value)]
        for shown, part in parts:
            kind = type(part).__name__
            if kind == "ExportedProgram":
                yield shown, part
            elif kind == "ONNXProgram" and part.exported_program is not None:
                yield f"{shown}.exported_program", part.exported_program


def _weight(content: Program) -> int:
    """Tell how good a program is for a card: large, but still to be made out."""
    count = len(content.boxes)
    return count if count <= ON_A_CARD else -count


def _directive(figure: str) -> str:
    """Return the reStructuredText of a picture."""
    head = ".. raw:: html\n   :class: program-picture\n\n"
    return f"\n{head}{textwrap.indent(figure, '    ')}\n"


def _write_card(paths: Iterator[str], content: Program) -> None:
    """Write the thumbnail of a recipe: the picture without its words."""
    if current.path is None:
        current.path = Path(next(paths)).with_suffix(".svg")
    current.path.write_text(svg.card(content), "utf-8")


# -- The page --------------------------------------------------------------------------


def _put_after_output(_: Sphinx, doctree: nodes.document) -> None:
    """Put a picture under what its cell printed; Sphinx-Gallery puts it above."""
    for picture in list(doctree.findall(nodes.raw)):
        after = picture.next_node(descend=False, siblings=True)
        if "program-picture" not in picture["classes"] or after is None:
            continue
        while "program-picture" in after.get("classes", ()):
            after = after.next_node(descend=False, siblings=True)
        if after is not None and "sphx-glr-script-out" in after.get("classes", ()):
            picture.parent.remove(picture)
            place = after.parent.index(after) + 1
            after.parent.insert(place, picture)


def _set_default(app: Sphinx, config: Config) -> None:
    """Show a picture of its own for a recipe that has no program in its variables."""
    path = Path(app.confdir, "_doc/_static/no-program.svg")
    config.sphinx_gallery_conf["default_thumb_file"] = str(path)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx, before outputs are put into other blocks."""
    app.connect("config-inited", _set_default)
    app.connect("doctree-read", _put_after_output, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
