"""What is known of a recipe under all releases of torch, from the transcripts."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from _ext import files, gallery, noop
from _ext.recipe import installed_torch, read
from _ext.releases import records, transcripts
from _ext.releases.differences import Cell, History, behavior, exceptions, printed
from _ext.releases.transcripts import folders, short
from _ext.run import cache, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sphinx.application import Sphinx
    from sphinx.config import Config

    from _ext.releases.records import Record

#: What a recipe may do under a release, compared with the pinned one.
STATES = ("same", "other", "does not apply", "fails", "stale", "missing")

#: The sign and the words for what a reader of a recipe meets under a release.
FARES = {
    "works": ("✓", "the problem occurs, the fix works"),
    "partly": ("◐", "fewer errors than in other versions, the fix works"),
    "silent": ("△", "no error, but the result may be wrong; the fix works"),
    "absent": ("○", "no error; the fix works, too"),
    "broken": ("✗", "the fix does not work"),
    "does not apply": ("–", "needs a newer version"),
    "unknown": ("?", "not recorded"),
}

#: The symptoms of a recipe whose problem may raise nothing.
SILENT = {"wrong without an error", "turns static"}


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
        done = outcome.read(self.script)
        self.cells = records.settled(done.cells, transcripts.path(srcdir, self.name))
        self.source = self.script.read_text("utf-8")
        self.code = [
            gallery.without_comments(block.content)
            for block in gallery.blocks(self.script)
            if block.type == "code"
        ]
        about = read(self.script)
        self.answer, self.title = about.answer, about.title
        self.topic = about.tags[0] if about.tags else ""
        self.may_be_silent = bool(SILENT & set(about.tags))
        self.records: dict[str, Record] = {
            release: records.recorded(
                transcripts.path(srcdir, self.name, folder), self.source, self.cells
            )
            for release, folder in folders(config).items()
        }
        self.records[self.pinned] = records.live(done, self.source, self.cells)

    @property
    def fix(self) -> int | None:
        """Return the number of the cell with the fix, of a recipe with an answer."""
        return self.answer.fix(self.code) if self.answer else None

    @property
    def problem(self) -> range:
        """Return the numbers of the cells that show the problem: those before the fix.

        All of them, where there is no fix.
        """
        return range(len(self.cells) if self.fix is None else self.fix)

    @functools.cached_property
    def raised(self) -> dict[str, int]:
        """Return how many exceptions the problem raises, under each release."""
        return {
            release: sum(len(exceptions(record.cells[n] or {})) for n in self.problem)
            for release, record in self.records.items()
            if record.cells
        }

    def fares(self, release: str) -> str:
        """Return the key in :data:`FARES` of what a reader meets under a release."""
        state = self.records[release].state
        if state in ("stale", "missing", "does not apply"):
            return "does not apply" if state == "does not apply" else "unknown"
        if release not in self.works() and (self.fix is not None or state == "fails"):
            return "broken"
        most = max(self.raised.values(), default=0)
        now = self.raised.get(release, 0)
        if now == most:
            return "works"
        if now:
            return "partly"
        return "silent" if self.may_be_silent else "absent"

    def works(self) -> list[str]:
        """Return the releases in which the fix ran and raised nothing."""
        if self.fix is None:
            return []
        return [
            release
            for release, cell in self.history(self.fix).items()
            if not cell.get("error") and not cell.get("caught")
        ]

    def history(self, number: int) -> History:
        """Return what a cell did under each release under which it was run."""
        return {
            release: cell
            for release, record in self.records.items()
            if record.cells and (cell := record.cells[number]) is not None
        }

    def unreached(self, number: int) -> list[str]:
        """Return the releases under which the recipe failed before a cell."""
        return [
            release
            for release, record in self.records.items()
            if record.cells and record.cells[number] is None
        ]

    def behavior(self, number: int) -> list[str]:
        """Say in words how a cell behaves differently between releases."""
        return behavior(self.history(number), self.releases)

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
        """Return which of :data:`STATES` a recipe has under a release."""
        state = self.records[release].state
        if state != "runs":
            return state
        return "other" if self.differing(release) else "same"

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

    @functools.cached_property
    def digest(self) -> str:
        """Return a digest of what other pages show of the cells."""
        records = [
            (release, record.state, [_done(cell) for cell in record.cells])
            for release, record in self.records.items()
        ]
        return files.digest(repr(records))

    def is_recorded(self, release: str) -> bool:
        """Tell whether it is known how the recipe fares under a release."""
        return self.records[release].state not in ("stale", "missing")


def _done(cell: Cell | None) -> list[tuple[str, Any]]:
    """Return what a cell did, without where it is and how long it took."""
    left_out = {"line", "seconds", "source"}
    return sorted(each for each in (cell or {}).items() if each[0] not in left_out)


def recipes(srcdir: Path, config: Config) -> Iterator[Path]:
    """Yield the pages of all recipes."""
    found = gallery.recipes(srcdir, config.sphinx_gallery_conf)
    return (copy.with_suffix(".rst") for copy in found)


def load(page: Path, srcdir: Path, config: Config) -> Recipe:
    """Return what is known of a recipe; see :class:`Recipe`.

    It is made once for each state of its files, because several pages ask for it.
    """
    return _load(page, srcdir, config, noop.stats(sources(page, srcdir, config)))


@functools.cache
def _load(page: Path, srcdir: Path, config: Config, _: str) -> Recipe:
    return Recipe(page, srcdir, config)


def sources(page: Path, srcdir: Path, config: Config) -> list[Path]:
    """Return the files that what is known of a recipe is made from."""
    named = folders(config).values()
    recorded = [transcripts.path(srcdir, page.stem, f) for f in named]
    return [page, page.with_suffix(".py"), outcome.path(page), *recorded]


@noop.skipped
def _load_early(app: Sphinx) -> None:
    """Load what is known of recipes that do not run, while the first of them starts."""
    conf = app.config.sphinx_gallery_conf
    for page in recipes(app.srcdir, app.config):
        if page.exists() and not cache.must_run(page.with_suffix(".py"), conf):
            load(page, app.srcdir, app.config).digest  # noqa: B018 (it is kept)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.setup_extension("_ext.noop")
    app.add_config_value("torch_releases", [], "env", list)
    app.add_config_value("torch_pinned", lambda _: short(installed_torch()), "env", str)
    # The recipes run at 500, the server that they are forked from is there at 200.
    app.connect("builder-inited", _load_early, priority=300)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
