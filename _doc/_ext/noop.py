"""Look at no recipe in a build before which nothing has changed.

Sphinx-Gallery parses each recipe several times in every build, and our own extensions
compare each with what is kept of it. That was two thirds of a build with nothing to do.
It is left out where all is as it was at the end of a build without a warning: the files
below the source folder, with our extensions, and in that of the recipes, the settings,
and what is installed.

Sphinx-Gallery has no setting for this: its handler is disconnected.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from _ext import build_info, gallery
from _ext.files import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, MutableMapping

    from sphinx.application import Sphinx
    from sphinx.config import Config


@dataclass
class _State:
    """What is known of a build: its settings, what it starts from, and the verdict."""

    settings: str
    given: str = ""
    nothing_changed: bool = False


_states: MutableMapping[Sphinx, _State] = WeakKeyDictionary()


def nothing_changed(app: Sphinx) -> bool:
    """Tell whether all is as it was at the end of the build before."""
    return _states[app].nothing_changed


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
    return digest(
        repr((_states[app].settings, sys.version, _installed(), date, stats(files)))
    )


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


def _leave_out(app: Sphinx, config: Config) -> None:
    """Disconnect what looks at recipes when a build begins, if nothing has changed.

    These are Sphinx-Gallery's handler and all of ours but the one that looks at
    settings alone: none of them depends on anything that is not in the state.
    """
    record = _record(app)
    build = _states[app]
    build.given = _given(app)
    state = f"{build.given} {_made(app)}"
    build.nothing_changed = record.exists() and record.read_text() == state
    if not build.nothing_changed:
        record.unlink(missing_ok=True)
        return
    for listener in list(app.events.listeners["builder-inited"]):
        module = listener.handler.__module__
        ours = module.startswith("_ext.") and module != build_info.__name__
        if ours or listener.handler is gallery.generate_gallery_rst:
            app.disconnect(listener.id)


def _write(app: Sphinx, error: Exception | None) -> None:
    """Record the state after a build without a warning: the next has none to repeat."""
    warned = app._warncount  # noqa: SLF001 (nothing public counts what is not suppressed)
    if error is None and not warned and not app.statuscode:
        # What was given when the build began: it may have been edited since.
        _record(app).write_text(f"{_states[app].given} {_made(app)}")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx: first and last of all."""
    app.connect("config-inited", _read_settings, priority=1)
    app.connect("config-inited", _leave_out, priority=900)
    app.connect("build-finished", _write, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
