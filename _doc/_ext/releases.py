"""Show every recipe under the reader's release of torch.

From the transcripts each recipe's page gets the outputs that differ under other
releases, in groups, each difference of behaviour in words, and a line that says under
which releases the recipe was run. A picker at the top of every page chooses the release
whose outputs are shown (``_static/releases.js``).

Without JavaScript the output of the pinned release is open and the others are folded.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from packaging.version import Version
from sphinx import addnodes
from sphinx.errors import ConfigError
from sphinx_gallery.py_source_parser import INFILE_CONFIG_PATTERN

from _ext import freshness, idle, refresh, transcripts
from _ext.differences import Cell, History, behaviour, groups, label, printed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx
    from sphinx.config import Config
    from sphinx.environment import BuildEnvironment
    from sphinx.writers.html5 import HTML5Translator

#: The sign and the words for each state of a recipe under a release.
STATES = {
    "same": ("✓", "runs"),
    "other": ("≠", "runs with other output"),
    "does not apply": ("–", "does not apply"),
    "fails": ("✗", "fails"),
    "stale": ("?", "was recorded for an earlier text"),
    "missing": ("?", "is not recorded"),
}

_SCRIPT = Path(__file__).parents[1] / "_static/releases.js"
_CODE = [Path(__file__).with_name(f"{n}.py") for n in ("differences", "releases")]


def short(release: str) -> str:
    """Name a release as the reader does: 2.9 for 2.9.1."""
    return "{0.major}.{0.minor}".format(Version(release))


def folders(config: Config) -> dict[str, str]:
    """Return the folder of transcripts of each release, by its short name, in order.

    The pinned release is among them even where ``torch_releases`` does not name it.
    """
    named = {short(release): release for release in config.torch_releases}
    if len(named) < len(config.torch_releases):
        raise ConfigError(
            "torch_releases names two releases that differ in the last number only: "
            "keep the newer one."
        )
    named[config.torch_pinned] = transcripts.release()
    return dict(sorted(named.items(), key=lambda item: Version(item[0])))


@dataclass
class Record:
    """What is known of a recipe under one release.

    Attributes
    ----------
    state
        ``runs``, ``fails``, ``does not apply``, ``stale`` or ``missing``.
    cells
        What was recorded for each cell; None for a cell that was not reached.
    needs
        The release that has what the recipe needs, where it does not apply.
    """

    state: str
    cells: list[Cell | None] = field(default_factory=list)
    needs: str | None = None


class Recipe:
    """What is known of a recipe under all releases.

    Parameters
    ----------
    page
        The reStructuredText that Sphinx-Gallery wrote for it.
    srcdir
        The folder in which ``transcripts`` lies.
    config
        Sphinx's configuration.
    """

    def __init__(self, page: Path, srcdir: Path, config: Config) -> None:
        self.name = page.stem
        self.script = page.with_suffix(".py")
        self.docname = page.relative_to(srcdir).with_suffix("").as_posix()
        self.releases = list(folders(config))
        self.pinned = config.torch_pinned
        self.cells = _settled(
            transcripts.harvest(page), transcripts.transcript_path(srcdir, self.name)
        )
        self.source = self.script.read_text("utf-8")
        self.records = {
            release: self._read(transcripts.transcript_path(srcdir, self.name, folder))
            for release, folder in folders(config).items()
        }
        self.records[self.pinned] = self._live(page)

    def _live(self, page: Path) -> Record:
        """Return the record of the pinned release: what the page shows."""
        needs = transcripts.needed_release(self.source)
        if not transcripts.applies(self.source):
            return Record("does not apply", needs=needs)
        notes = transcripts.load(transcripts.notes_path(page))
        died = "death" in (notes or {})
        fails = died or any(cell["error"] for cell in self.cells)
        return Record("fails" if fails else "runs", _reached(self.cells, died=died))

    def _read(self, path: Path) -> Record:
        """Return the record that a transcript holds."""
        found = transcripts.load(path)
        if found is None:
            return Record("missing")
        state, cells = found.get("status", "runs"), found["cells"]
        if state == "does not apply":
            current = found.get("needs") == transcripts.needed_release(self.source)
            return Record(state if current else "stale", needs=found.get("needs"))
        if _sources(cells) != _sources(self.cells):
            return Record("stale")
        return Record(state, _reached(cells, died=bool(found.get("death"))))

    def history(self, number: int) -> History:
        """Return what a cell did under each release under which it was run."""
        return {
            release: record.cells[number]
            for release, record in self.records.items()
            if record.cells and record.cells[number] is not None
        }

    def unreached(self, number: int) -> list[str]:
        """Return the releases under which the recipe failed before a cell."""
        return [
            release
            for release, record in self.records.items()
            if record.cells and record.cells[number] is None
        ]

    def behaviour(self, number: int) -> list[str]:
        """Say in words how a cell behaves differently between releases."""
        return behaviour(self.history(number), self.releases)

    def differing(self, release: str) -> list[int]:
        """Return the cells that print something else than under the pinned release."""
        reference = self.records[self.pinned].cells
        cells = self.records[release].cells
        if not reference:
            return []
        return [
            number
            for number, (a, b) in enumerate(zip(reference, cells, strict=False))
            if (a and printed(a)) != (b and printed(b))
        ]

    def state(self, release: str) -> str:
        """Return the key in :data:`STATES` of the recipe under a release."""
        state = self.records[release].state
        if state != "runs":
            return state
        return "other" if self.differing(release) else "same"

    def first_difference(self, release: str) -> int | None:
        """Return the cell to look at under a release, if there is one."""
        cells = self.records[release].cells
        for number, cell in enumerate(cells):
            if cell and cell.get("error"):
                return number
        return next(iter(self.differing(release)), None)

    def by_state(self) -> dict[str, list[str]]:
        """Return the releases of each state, in the order of :data:`STATES`."""
        found: dict[str, list[str]] = {state: [] for state in STATES}
        for release in self.releases:
            found[self.state(release)].append(release)
        return {state: some for state, some in found.items() if some}

    def anchor(self, number: int) -> str:
        """Return the anchor of a cell on its page: cells count from 1.

        Not its line, which moves with each edit of the text above it.
        """
        return f"cell-{number + 1}"

    def line(self, number: int) -> int:
        """Return the line at which the code of a cell begins, as its page shows it.

        Comments that configure Sphinx-Gallery are not shown.
        """
        lines = self.source.splitlines()
        start = self.cells[number]["line"]
        shown = (
            n
            for n in range(start, len(lines) + 1)
            if lines[n - 1].strip() and not INFILE_CONFIG_PATTERN.match(lines[n - 1])
        )
        return next(shown)

    @functools.cached_property
    def digest(self) -> str:
        """Return a digest of what other pages show of the cells."""
        records = [
            (release, record.state, [_done(cell) for cell in record.cells])
            for release, record in self.records.items()
        ]
        return transcripts.digest(repr(records))

    def is_recorded(self, release: str) -> bool:
        """Tell whether it is known how the recipe fares under a release."""
        return self.records[release].state not in ("stale", "missing")


def _settled(live: list[Cell], path: Path) -> list[Cell]:
    """Return what was recorded of the cells, unless they did something else now.

    A message that lists a set is another in each build, and its pages would be too.
    """
    recorded = transcripts.load(path)
    if recorded is None:
        return live
    lasting = transcripts.lasting({"cells": live})["cells"]
    same = transcripts.lasting(recorded)["cells"] == lasting
    return recorded["cells"] if same else live


def _done(cell: Cell | None) -> list[tuple[str, Any]]:
    """Return what a cell did, without where it is and how long it took."""
    left_out = {"line", "seconds", "source"}
    return sorted(each for each in (cell or {}).items() if each[0] not in left_out)


def _sources(cells: list[Cell]) -> list[str]:
    return [cell["source"] for cell in cells]


def _reached(cells: list[Cell], *, died: bool) -> list[Cell | None]:
    """Replace the cells that were not run, because the recipe had failed, by None."""
    if died:
        return [None] * len(cells)
    ends = [number for number, cell in enumerate(cells) if cell.get("error")]
    last = min(ends, default=len(cells))
    return [cell if number <= last else None for number, cell in enumerate(cells)]


def recipes(srcdir: Path, config: Config) -> Iterator[Path]:
    """Yield the pages of all recipes."""
    for gallery in config.sphinx_gallery_conf["gallery_dirs"]:
        for script in sorted(Path(srcdir, gallery).glob("*.py")):
            if transcripts.is_recipe(script, config):
                yield script.with_suffix(".rst")


def load(page: Path, srcdir: Path, config: Config) -> Recipe:
    """Return what is known of a recipe; see :class:`Recipe`.

    It is made once for each state of its files, because several pages ask for it.
    """
    return _load(page, srcdir, config, idle.stats(_files(page, srcdir, config)))


@functools.cache
def _load(page: Path, srcdir: Path, config: Config, _: str) -> Recipe:
    return Recipe(page, srcdir, config)


@refresh.kind("transcripts")
def _transcripts(env: BuildEnvironment, docname: str) -> str:
    """Return a digest of what the page of a recipe shows of all releases."""
    page = Path(env.srcdir, f"{docname}.rst")
    paths = [*_CODE, *_files(page, env.srcdir, env.config)]
    texts = [path.read_text("utf-8") if path.exists() else "" for path in paths]
    return transcripts.digest("\0".join(texts))


def _files(page: Path, srcdir: Path, config: Config) -> list[Path]:
    """Return the files that what is known of a recipe is made from."""
    named = folders(config).values()
    recorded = [transcripts.transcript_path(srcdir, page.stem, f) for f in named]
    return [page, page.with_suffix(".py"), transcripts.notes_path(page), *recorded]


def _load_early(app: Sphinx) -> None:
    """Load what is known of recipes that do not run, while the first of them starts."""
    conf = app.config.sphinx_gallery_conf
    for page in recipes(app.srcdir, app.config):
        if page.exists() and not freshness.must_run(page.with_suffix(".py"), conf):
            load(page, app.srcdir, app.config).digest  # noqa: B018 (it is kept)


# -- The page of a recipe --------------------------------------------------------------


class tag(nodes.General, nodes.Element):  # noqa: N801
    """An element of HTML: its name is ``tag``, its attributes are ``attrs``."""


def element(name: str, /, *children: nodes.Node, kind: str = "", **attrs: str) -> tag:
    """Make an element of HTML with classes ``kind``; ``data_x`` becomes ``data-x``."""
    named = {key.replace("_", "-"): value for key, value in attrs.items()}
    return tag("", *children, tag=name, attrs=named, classes=kind.split())


def page_link(docname: str) -> addnodes.pending_xref:
    """Return a link to a page that shows its title."""
    return addnodes.pending_xref(
        "",
        nodes.inline(),
        refdomain="std",
        reftype="doc",
        reftarget=docname,
        refexplicit=False,
        refwarn=True,
    )


def signed(state: str, words: str) -> list[nodes.Node]:
    """Return the sign of a state for the eye, and words for everybody."""
    sign = element("span", nodes.Text(STATES[state][0]), aria_hidden="true")
    return [sign, nodes.Text(f" {words}")]


def _add_releases(app: Sphinx, doctree: nodes.document) -> None:
    """Add to the page of a recipe what is known of other releases."""
    env = app.env
    page = Path(app.srcdir, f"{env.docname}.rst")
    if not transcripts.is_recipe(page.with_suffix(".py"), app.config):
        return
    refresh.note(env, "transcripts", env.docname)
    recipe = load(page, app.srcdir, app.config)
    for number, (code, output) in _cells(doctree, recipe.cells).items():
        # Sphinx-Gallery counts as if the comments that it removed were not there.
        code["highlight_args"]["linenostart"] = recipe.line(number)
        _add_anchor(code, recipe.anchor(number))
        _add_outputs(recipe, number, code, output)
    title = next(doctree.findall(nodes.title))
    title.parent.insert(title.parent.index(title) + 1, _verified(recipe))


def _add_anchor(code: nodes.Element, name: str) -> None:
    """Make a place to link to; Sphinx-Gallery drops the ids of the code itself."""
    anchor = element("span")
    anchor["ids"].append(name)
    code.parent.insert(code.parent.index(code), anchor)


def _cells(doctree: nodes.document, cells: list[Cell]) -> dict[int, tuple]:
    """Find the code of each cell, with the block of its output or None."""
    found: dict[int, tuple] = {}
    for block in doctree.findall(nodes.literal_block):
        start = block.get("highlight_args", {}).get("linenostart")
        if start and block["language"] == "Python":
            number = sum(cell["line"] <= start for cell in cells) - 1
            found[number] = (block, None)
        elif "sphx-glr-script-out" in block["classes"] and found:
            number = max(found)
            found[number] = (found[number][0], block)
    return found


def _add_outputs(
    recipe: Recipe, number: int, code: nodes.Element, output: nodes.Element | None
) -> None:
    """Put the outputs of other releases under the one of the pinned release."""
    place = output or code
    parent, index = place.parent, place.parent.index(place) + (output is None)
    added = [
        element("p", nodes.Text(note), kind="release-note")
        for note in recipe.behaviour(number)
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
    summary = element("summary", nodes.Text(f"{words} torch {named}"))
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


def _recorded(cell: Cell) -> nodes.Node:
    """Return the block of a recorded output."""
    if not cell["output"]:
        return _say("Nothing was printed.")
    text = "\n".join(cell["output"])
    kind = ["release-recorded"]
    return nodes.literal_block(text, text, language="none", classes=kind)


def _say(words: str) -> nodes.Node:
    return element("p", nodes.Text(words), kind="release-nothing")


def _verified(recipe: Recipe) -> nodes.Node:
    """Return the line under the title: how the recipe fares under each release."""
    known = [release for release in recipe.releases if recipe.is_recorded(release)]
    lead = f"Verified with torch {label(known, recipe.releases)}"
    items = [
        element(
            "li",
            *signed(state, _words(recipe, state, some)),
            data_torch=" ".join(some),
            data_say=_sentence(recipe, state, some[0]),
        )
        for state, some in recipe.by_state().items()
    ]
    return element(
        "div",
        element("p", nodes.Text(lead)),
        element("ul", *items),
        kind="release-verified",
    )


def _words(recipe: Recipe, state: str, some: list[str]) -> str:
    """Say how a recipe fares under some releases."""
    words = f"{STATES[state][1]}: {label(some, recipe.releases)}"
    if state == "does not apply":
        words += f" (needs {recipe.records[some[0]].needs})"
    return words


def _sentence(recipe: Recipe, state: str, release: str) -> str:
    """Say to who has chosen a release what the page shows."""
    pinned = f"so you see the outputs of {recipe.pinned}."
    return {
        "same": f"All outputs on this page are as with {recipe.pinned}.",
        "other": f"A bar marks the outputs that are not those of {recipe.pinned}.",
        "does not apply": f"This recipe needs torch {recipe.records[release].needs}, "
        + pinned,
        "fails": "This recipe fails with it; a bar marks where.",
        "stale": f"The record is for an earlier text of this recipe, {pinned}",
        "missing": f"This recipe is not recorded with it, {pinned}",
    }[state]


def _visit_tag(self: HTML5Translator, node: tag) -> None:
    self.body.append(self.starttag(node, node["tag"], "", **node["attrs"]))


def _depart_tag(self: HTML5Translator, node: tag) -> None:
    self.body.append(f"</{node['tag']}>")


# -- The picker ------------------------------------------------------------------------


def _add_picker(
    app: Sphinx, _page: str, _template: str, context: dict[str, Any], _: object
) -> None:
    """Tell the templates about the releases."""
    context["torch_releases"] = list(folders(app.config))
    context["torch_pinned"] = app.config.torch_pinned
    context["releases_version"] = transcripts.digest(_SCRIPT.read_text("utf-8"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.setup_extension("_ext.refresh")
    app.add_config_value("torch_releases", [], "env", list)
    app.add_config_value(
        "torch_pinned", lambda _: short(transcripts.release()), "env", str
    )
    app.add_node(tag, html=(_visit_tag, _depart_tag))
    # The recipes run at 500, the server that they are forked from is there at 200.
    app.connect("builder-inited", _load_early, priority=300)
    app.connect("doctree-read", _add_releases)
    app.connect("html-page-context", _add_picker)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
