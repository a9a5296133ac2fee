"""Look at no recipe in a build before which nothing has changed.

Sphinx-Gallery parses each recipe several times in every build, and our own extensions
compare each with what is kept of it. That was two thirds of a build with nothing to do.
It is left out where all is as it was at the end of a build without a warning: the files
below the source folder, with our extensions, and in that of the recipes, the settings,
and what is installed.

Sphinx-Gallery has no setting for this, so its handler gets one in which there is no
gallery (see :data:`NO_GALLERY`); our own handlers are marked with :func:`skipped`. A
build with nothing to do takes 0.9 CPU seconds with this module, 3.6 without. Should a
new Sphinx-Gallery look at recipes all the same, ``tests/test_noop.py`` fails: look at
what its ``generate_gallery_rst`` reads of the settings.
"""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from _ext import files
from _ext.files import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, MutableMapping

    from sphinx.application import Sphinx
    from sphinx.config import Config

#: Settings under which Sphinx-Gallery's handler does nothing; it is called at 500.
NO_GALLERY: dict[str, Any] = {
    "backreferences_dir": None,
    "examples_dirs": [],
    "gallery_dirs": [],
    "plot_gallery": False,
    "write_computation_times": False,
}


@dataclass
class _State:
    """What is known of a build.

    Attributes
    ----------
    settings, given
        Its settings, and a digest of all that it starts from.
    nothing_changed
        The verdict.
    hidden
        The settings that :data:`NO_GALLERY` stands for.
    """

    settings: str
    given: str = ""
    nothing_changed: bool = False
    hidden: dict[str, Any] = field(default_factory=dict)


_states: MutableMapping[Sphinx, _State] = WeakKeyDictionary()


def nothing_changed(app: Sphinx) -> bool:
    """Tell whether all is as it was at the end of the build before."""
    return _states[app].nothing_changed


def skipped(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a handler that looks at recipes: not called where nothing has changed."""

    @functools.wraps(handler)
    def unless(app: Sphinx, *arguments: Any) -> Any:
        return None if nothing_changed(app) else handler(app, *arguments)

    return unless


def stats(paths: Iterable[Any]) -> str:
    """Return a digest that changes when a file does, comes or goes."""
    there = [path for path in sorted(paths) if Path(path).exists()]
    found = [(str(path), Path(path).stat()) for path in there]
    return digest(repr([(name, s.st_mtime_ns, s.st_size) for name, s in found]))


def _files(folder: Path, *, besides: Iterable[str] = ()) -> Iterator[str]:
    """Yield the files below a folder; "make recipe" has links in its own."""
    left_out = {"__pycache__", *besides}
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name not in left_out]
        # A third faster than with pathlib, and there are thousands.
        yield from (os.path.join(place, n) for n in names if n not in left_out)  # noqa: PTH118


def _installed() -> list[str]:
    """Return the names of the records of all installed distributions."""
    return sorted(
        path.name
        for folder in map(Path, sys.path)
        if folder.is_dir()
        for path in folder.iterdir()
        if path.suffix in {".dist-info", ".egg-info"}
    )


def _generated(app: Sphinx) -> list[str]:
    """Return the names of what Sphinx-Gallery makes in the source folder."""
    return [*app.config.sphinx_gallery_conf["gallery_dirs"], "sg_execution_times.rst"]


def _given(app: Sphinx) -> str:
    """Return a digest of all that a build starts from."""
    srcdir = Path(app.srcdir)
    files = set(_files(srcdir, besides=_generated(app)))
    for folder in app.config.sphinx_gallery_conf["examples_dirs"]:
        files |= set(_files(srcdir / folder))
    files |= set(os.get_exec_path())  # a program that a recipe needs comes or goes
    date = os.environ.get("SOURCE_DATE_EPOCH")
    # Another builder, which may share what Sphinx keeps of pages, has its own folder.
    settings = str(app.outdir), _states[app].settings
    return digest(repr((settings, sys.version, _installed(), date, stats(files))))


def _made(app: Sphinx) -> str:
    """Return a digest of what the build put into the source folder."""
    places = [Path(app.srcdir, name) for name in _generated(app)]
    files = {str(place) for place in places if place.is_file()}
    return stats(files.union(*map(_files, places)))


def _record(app: Sphinx) -> Path:
    return Path(app.doctreedir, "noop.state")


def _read_settings(app: Sphinx, config: Config) -> None:
    """Keep all settings as they are given, before defaults and objects come in."""
    sets = frozenset, set  # a set has another order each time
    settings = repr(
        [
            (s.name, sorted(s.value) if isinstance(s.value, sets) else s.value)
            for s in config
        ]
    )
    _states[app] = _State(settings)


def _compare(app: Sphinx, config: Config) -> None:
    """Find out whether anything has changed; if so, forget what was."""
    record = _record(app)
    build = _states[app]
    build.given = _given(app)
    state = f"{build.given} {_made(app)}"
    build.nothing_changed = record.exists() and record.read_text() == state
    if not build.nothing_changed:
        record.unlink(missing_ok=True)


def _hide_gallery(app: Sphinx) -> None:
    """Let Sphinx-Gallery have nothing to look at, if nothing has changed."""
    if nothing_changed(app):
        conf = app.config.sphinx_gallery_conf
        _states[app].hidden = {name: conf[name] for name in NO_GALLERY}
        conf.update(NO_GALLERY)


def _show_gallery(app: Sphinx) -> None:
    """Give the settings back to all that comes later."""
    app.config.sphinx_gallery_conf.update(_states[app].hidden)


def _write(app: Sphinx, error: Exception | None) -> None:
    """Record the state after a build without a warning: the next has none to repeat."""
    warned = app._warncount  # noqa: SLF001 (nothing public counts what is not suppressed)
    if error is None and not warned and not app.statuscode:
        # What was given when the build began: it may have been edited since.
        files.replace(_record(app), f"{_states[app].given} {_made(app)}")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx: first, last, and around Sphinx-Gallery."""
    app.connect("config-inited", _read_settings, priority=1)
    app.connect("config-inited", _compare, priority=900)
    app.connect("builder-inited", _hide_gallery, priority=499)
    app.connect("builder-inited", _show_gallery, priority=501)
    app.connect("build-finished", _write, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
