"""Make the zip files of two builds the same, byte by byte.

Sphinx-Gallery stores the time at which each file was written in its zips. Here all
entries get one time, that of ``SOURCE_DATE_EPOCH`` where it is set. The zip itself gets
the time of the newest file in it: Sphinx-Gallery writes the zips of the whole gallery
in each build, and Sphinx would read the gallery's page again, and write it.
"""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: The earliest time that a zip file can hold.
_EARLIEST = (1980, 1, 1, 0, 0, 0)


def _settle_zips(app: Sphinx) -> None:
    """Rewrite the zips that carry the time of this build."""
    for gallery in app.config.sphinx_gallery_conf["gallery_dirs"]:
        for path in Path(app.srcdir, gallery).glob("*.zip"):
            _settle(path, date())


def date() -> tuple[int, ...]:
    """Return the date that all files in a zip get."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return max(_EARLIEST, time.gmtime(int(epoch))[:6]) if epoch else _EARLIEST


def _settle(path: Path, date: tuple[int, ...]) -> None:
    with zipfile.ZipFile(path) as archive:
        if all(entry.date_time == date for entry in archive.infolist()):
            return
        contents = {name: archive.read(name) for name in archive.namelist()}
    new = path.with_suffix(".zip.new")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, date)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    files = [path.parent / name for name in contents]
    newest = max((file.stat().st_mtime_ns for file in files), default=0)
    os.utime(new, ns=(newest, newest))
    new.replace(path)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx, after Sphinx-Gallery."""
    app.connect("builder-inited", _settle_zips, priority=700)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
