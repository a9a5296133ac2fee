"""Show every recipe under the reader's release of torch, on its page.

From the transcripts each recipe's page gets the outputs that differ under other
releases, in groups, each difference of behavior in words, and a line that says under
which releases the recipe was run.

Without JavaScript the output of the pinned release is open and the others are folded.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes

from _ext import dependencies, files, gallery
from _ext.releases import differences, history
from _ext.releases.differences import Cell, groups, label
from _ext.releases.history import Recipe, load
from _ext.show.answer import FIX, is_above
from _ext.show.nodes import element

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

_CODE = [Path(str(module.__file__)) for module in (differences, history)] + [
    Path(__file__)
]


#: Two columns.
_COLUMNS = re.compile(r"\S {2,}\S")

#: What the line under the answer says of a state; nothing where all is as expected.
CLAUSES = {
    "other": "output differs with {0}",
    "fails": "fails with {0}",
    "does not apply": "needs {needs}, so not run with {0}",
    "stale": "the record for {0} is of an earlier text",
    "missing": "not recorded with {0}",
}

#: What the picker says when a release is chosen.
SAID = {
    "same": "",
    "other": "",
    "fails": "The recipe fails with this version.",
    "does not apply": "The recipe needs a newer version: outputs are of another one.",
    "stale": "Not recorded yet for this text: outputs are of another version.",
    "missing": "Not recorded with this version: outputs are of another one.",
}


@dependencies.kind("transcripts")
def _transcripts(env: BuildEnvironment, docname: str) -> str:
    """Return a digest of what the page of a recipe shows of all releases."""
    page = Path(env.srcdir, f"{docname}.rst")
    paths = [*_CODE, *history.sources(page, env.srcdir, env.config)]
    texts = [path.read_text("utf-8") if path.exists() else "" for path in paths]
    return files.digest("\0".join(texts))


def _add_releases(app: Sphinx, doctree: nodes.document) -> None:
    """Add to the page of a recipe what is known of other releases."""
    env = app.env
    page = Path(app.srcdir, f"{env.docname}.rst")
    script, conf = page.with_suffix(".py"), app.config.sphinx_gallery_conf
    if not (script.exists() and gallery.is_executed(script, conf)):
        return
    dependencies.note(env, "transcripts", env.docname)
    recipe = load(page, app.srcdir, app.config)
    for number, (code, output) in _cells(doctree, recipe.cells).items():
        _add_anchor(code, recipe.anchor(number))
        if number == recipe.fix:
            _add_anchor(code, FIX)
        _add_outputs(recipe, number, code, output)
    above = next(doctree.findall(is_above))
    above.parent.insert(above.parent.index(above) + 1, _tested(recipe))
    env.metadata[env.docname]["picker"] = "yes"


def _add_anchor(code: nodes.Element, name: str) -> None:
    """Make a place to link to; Sphinx-Gallery drops the ids of the code itself."""
    anchor = element("span")
    anchor["ids"].append(name)
    code.parent.insert(code.parent.index(code), anchor)


def _cells(
    doctree: nodes.document, cells: list[Cell]
) -> dict[int, tuple[nodes.literal_block, nodes.literal_block | None]]:
    """Find the code of each cell, with the block of its output or None."""
    numbers = {cell["line"]: number for number, cell in enumerate(cells)}
    found: dict[int, tuple[nodes.literal_block, nodes.literal_block | None]] = {}
    current = None
    for node in doctree.findall(_is_comment_or_block):
        if isinstance(node, nodes.comment):
            line = gallery.first_line(node.astext())
            current = current if line is None else numbers.get(line)
        elif current is not None and current not in found:
            found[current] = (node, None)
        elif current is not None and "sphx-glr-script-out" in node["classes"]:
            found[current] = (found[current][0], node)
    return found


def _is_comment_or_block(node: nodes.Node) -> bool:
    return isinstance(node, (nodes.comment, nodes.literal_block))


def _add_outputs(
    recipe: Recipe, number: int, code: nodes.Element, output: nodes.Element | None
) -> None:
    """Put the outputs of other releases under the one of the pinned release."""
    if output is not None and _is_table(output.astext().splitlines()):
        output["classes"].append("output-table")
    place = output or code
    parent, index = place.parent, place.parent.index(place) + (output is None)
    added = [
        element("p", nodes.Text(note), kind="release-note")
        for note in recipe.behavior(number)
    ]
    if found := _groups(recipe, number):
        if output:
            parent.remove(output)  # it goes into the first block
        blocks = [_block(recipe, number, group, output) for group in found]
        added = [element("div", *added, *blocks, kind="release-outputs")]
    parent.insert(index, added)


def _groups(recipe: Recipe, number: int) -> list[list[str]]:
    """Return the groups to show, the pinned release's first; none if all are one."""
    found = groups(recipe.history(number))
    if unreached := recipe.unreached(number):
        found.append(unreached)
    if len(found) == 1 and recipe.pinned in found[0]:
        return []
    return sorted(found, key=lambda group: recipe.pinned not in group)


def _block(
    recipe: Recipe, number: int, group: list[str], output: nodes.Element | None
) -> nodes.Node:
    """Return the output of a group of releases, folded unless it is the pinned one."""
    pinned = recipe.pinned in group
    named = label(group, recipe.releases)
    history = recipe.history(number)
    if group[-1] not in history:
        words, shown = "Not run with", _say("The recipe failed before this cell.")
    elif pinned and output:
        words, shown = "Output with", output
    else:
        words, shown = "Output with", _recorded(history[group[-1]])
    summary = element("summary", nodes.Text(f"{words} PyTorch {named}"))
    attrs = {"open": "open"} if pinned else {}
    chosen = _chosen_by(recipe, number, group) if pinned else group
    return element(
        "details",
        summary,
        shown,
        kind="release-output" + " release-pinned" * pinned,
        data_torch=" ".join(chosen),
        **attrs,
    )


def _chosen_by(recipe: Recipe, number: int, group: list[str]) -> list[str]:
    """Return the releases whose readers see the pinned one's output."""
    known = [*recipe.history(number), *recipe.unreached(number)]
    return [r for r in recipe.releases if r in group or r not in known]


def _is_table(lines: list[str]) -> bool:
    """Tell an output in columns, which scrolls; any other wraps."""
    columns = [line for line in lines if _COLUMNS.search(line)]
    return len(columns) > 2 and 2 * len(columns) > len(lines)  # noqa: PLR2004


def _recorded(cell: Cell) -> nodes.Node:
    """Return the block of a recorded output."""
    if not cell["output"]:
        return _say("Nothing was printed.")
    text = "\n".join(cell["output"])
    kind = ["release-recorded"] + ["output-table"] * _is_table(cell["output"])
    return nodes.literal_block(text, text, language="none", classes=kind)


def _say(words: str) -> nodes.Node:
    return element("p", nodes.Text(words), kind="release-nothing")


def _tested(recipe: Recipe) -> nodes.Node:
    """Return the line that says how the recipe fares under each release."""
    clauses = [
        CLAUSES[state].format(
            label(some, recipe.releases), needs=recipe.records[some[0]].needs
        )
        for state, some in recipe.by_state().items()
        if state in CLAUSES
    ]
    known = [release for release in recipe.releases if recipe.is_recorded(release)]
    lead = f"Tested with PyTorch {label(known, recipe.releases)}"
    # For the script of the picker: what to say to who has chosen a release.
    said = [
        element("li", data_torch=" ".join(some), data_say=SAID[state])
        for state, some in recipe.by_state().items()
    ]
    return element(
        "div",
        element("p", nodes.Text(f"{'; '.join([lead, *clauses])}.")),
        element("ul", *said, hidden="hidden"),
        kind="release-tested",
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.connect("doctree-read", _add_releases)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
