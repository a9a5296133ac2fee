"""Write transcripts, or compare them with what the recipes print now."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name
from sphinx.util import logging

from _ext import files, gallery, noop
from _ext.releases import drift, transcripts
from _ext.run import outcome

if TYPE_CHECKING:
    from sphinx.application import Sphinx

logger = logging.getLogger(__name__)


def _note_finished(app: Sphinx, copy: Path) -> None:
    """Record a recipe as soon as its page is there, so that Ctrl-C loses nothing."""
    conf = app.config.sphinx_gallery_conf
    if app.config.record_transcripts and gallery.is_executed(copy, conf):
        _record(app, copy)


@noop.skipped
def _check(app: Sphinx) -> None:
    """Compare all outputs with the transcripts, or record them."""
    conf = app.config.sphinx_gallery_conf
    if app.config.record_transcripts:
        for copy in gallery.recipes(app.srcdir, conf):
            _record(app, copy)
        _record_packages(app)
        return
    for copy in gallery.current(app.srcdir, conf):
        cells = outcome.read(copy).cells
        drift.warn_of_machine_traces(app, copy, cells)
        drift.compare(app, copy, cells)


def _record(app: Sphinx, copy: Path) -> None:
    """Write the transcript where it changed, and say what changed."""
    done = outcome.read(copy)
    drift.warn_of_machine_traces(app, copy, done.cells)
    path = transcripts.path(app.srcdir, copy.stem)
    shown = path.relative_to(Path(app.srcdir).parent).as_posix()
    old = transcripts.load(path)
    new = transcripts.made(copy.read_text("utf-8"), done)
    if old and transcripts.lasting(old) == transcripts.lasting(new):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, json.dumps(new, indent=1, ensure_ascii=False) + "\n")
    if old is None:
        logger.info("%s: recorded", shown)
    elif len(old["cells"]) != len(new["cells"]):
        logger.info("%s: recorded anew, the recipe has other cells", shown)
    else:
        changed = drift.differences(old["cells"], new["cells"])
        logger.info("%s: recorded anew\n%s", shown, changed)


def _record_packages(app: Sphinx) -> None:
    """Write the versions of all that is installed, once a release."""
    found = metadata.distributions()
    installed = {canonicalize_name(d.metadata["Name"]): d.version for d in found}
    text = {
        "python": platform.python_version(),
        "installed": dict(sorted(installed.items())),
    }
    path = transcripts.path(app.srcdir, "any").with_name(transcripts.PACKAGES)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, json.dumps(text, indent=1) + "\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.add_config_value("record_transcripts", False, "", bool)
    app.connect("recipe-finished", _note_finished)
    app.connect("builder-inited", _check, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
