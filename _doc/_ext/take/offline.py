"""Pack the built site into a zip that is read without a server: ``make zip``.

Two zips of one site are the same, byte by byte.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

from _ext.take.archives import date


def pack(site: Path, target: Path, folder: str = "") -> None:
    """Pack a site into a folder; it has the name of the zip unless another is given."""
    top = folder or target.stem
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(site.rglob("*")):
            name = path.relative_to(site)
            if path.is_dir() or name.parts[0].startswith("."):
                continue
            entry = zipfile.ZipInfo(f"{top}/{name.as_posix()}", date())
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)


def main() -> None:
    """Pack the site that the command line names."""
    parser = argparse.ArgumentParser(description="Pack the built site into a zip.")
    parser.add_argument("site", type=Path, help="the folder of the site")
    parser.add_argument("target", type=Path, help="the zip to write")
    arguments = parser.parse_args()
    pack(arguments.site, arguments.target)


if __name__ == "__main__":
    main()
