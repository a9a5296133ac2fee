"""Write transcripts, or compare them with what the recipes print now."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name
from sphinx.util import logging

from _ext import files, gallery, noop, recipe
from _ext.releases import drift, transcripts
from _ext.run import outcome

if TYPE_CHECKING:
    from sphinx.application import Sphinx

logger = logging.getLogger(__name__)


def _record_finished(app: Sphinx, copy: Path) -> None:
    """Record a recipe as soon as its page is there, so that Ctrl-C loses nothing."""
    conf = app.config.sphinx_gallery_conf
    if app.config.record_transcripts and gallery.is_executed(copy, conf):
        _update_transcript(app, copy)


@noop.skipped
def _compare_or_record(app: Sphinx) -> None:
    """Compare all outputs with the transcripts, or record them."""
    conf = app.config.sphinx_gallery_conf
    if app.config.record_transcripts:
        for copy in gallery.recipes(app.srcdir, conf):
            _update_transcript(app, copy)
        _write_packages(app)
        return
    for copy in gallery.current(app.srcdir, conf):
        cells = outcome.read(copy).cells
        drift.warn_of_machine_traces(app, copy, cells)
        drift.compare(app, copy, cells)


def _update_transcript(app: Sphinx, copy: Path) -> None:
    """Write the transcript where it changed, and say what changed."""
    done, source = outcome.read(copy), copy.read_text("utf-8")
    drift.warn_of_machine_traces(app, copy, done.cells)
    path = transcripts.path(app.srcdir, copy.stem)
    old, new = transcripts.load(path), transcripts.made(source, done)
    same = old and transcripts.lasting(old) == transcripts.lasting(new)
    if same and _has_versions(path, new):
        return
    if not same and (program := recipe.missing_program(source)):
        _say_kept(copy, program, is_current=(old or {}).get("recipe") == new["recipe"])
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, json.dumps(new, indent=1, ensure_ascii=False) + "\n")
    shown = path.relative_to(Path(app.srcdir).parent).as_posix()
    logger.info("%s: %s", shown, _what_changed(old, new))


def _has_versions(path: Path, new: dict[str, Any]) -> bool:
    """Tell whether a transcript was recorded with what is installed now."""
    python, packages = transcripts.recorded_with(path)
    return (
        python is not None
        and transcripts.short(python) == transcripts.short(new["python"])
        and packages.items() >= new["packages"].items()
    )


def _say_kept(copy: Path, program: str, *, is_current: bool) -> None:
    """Say that a recipe was not recorded: it prints something else without a program.

    That is a warning where the transcript is of another text, or missing.
    """
    text = f"recipes/{copy.name} was not recorded, because {program} is not installed"
    if is_current:
        logger.info("%s; its transcript stays as it is.", text)
    else:
        text += f": install {program}, and run 'make transcripts' again."
        logger.warning(text, type="recipe.unrecorded")


def _what_changed(old: dict[str, Any] | None, new: dict[str, Any]) -> str:
    """Say how a new transcript differs from the one before."""
    if old is None:
        return "recorded"
    if len(old["cells"]) != len(new["cells"]):
        return "recorded anew, the recipe has other cells"
    changed = drift.differences(old["cells"], new["cells"])
    return f"recorded anew\n{changed}"


def _write_packages(app: Sphinx) -> None:
    """Write the versions of all that is installed, unless a transcript needs the old.

    That is one that does not say itself what it was recorded with.
    """
    place = transcripts.path(app.srcdir, "any").with_name(transcripts.PACKAGES)
    others = [path for path in place.parent.glob("*.json") if path != place]
    if place.exists() and any("packages" not in _load(path) for path in others):
        return
    found = metadata.distributions()
    installed = {canonicalize_name(d.metadata["Name"]): d.version for d in found}
    text = {
        "python": platform.python_version(),
        "installed": dict(sorted(installed.items())),
    }
    place.parent.mkdir(parents=True, exist_ok=True)
    files.replace(place, json.dumps(text, indent=1) + "\n")


def _load(path: Path) -> dict[str, Any]:
    return transcripts.load(path) or {}


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.add_config_value("record_transcripts", False, "", bool)
    app.connect("recipe-finished", _record_finished)
    app.connect("builder-inited", _compare_or_record, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
