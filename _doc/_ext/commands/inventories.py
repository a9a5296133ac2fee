"""Bring the committed inventories of other documentation up to date.

``make inventories`` runs this module; a build never does. Each file
``_doc/inventories/<project>.txt`` is a Sphinx inventory of version 1: plain text, a
line per object, with only those objects that the pages link to. To link to another
object, add a line with its name alone and run the command.
"""

from __future__ import annotations

import posixpath
import sys
import urllib.request
from typing import TYPE_CHECKING

from sphinx.util.inventory import InventoryFile

from _ext import files
from _ext.commands import ROOT, Parser, settings
from _ext.inventories import fields

if TYPE_CHECKING:
    from pathlib import Path


def refresh(path: Path, address: str) -> list[str]:
    """Rewrite one inventory with today's addresses.

    Parameters
    ----------
    path
        The committed file; the first word of each line is a name to look up.
    address
        Where the other documentation lies; its ``objects.inv`` is fetched from there.

    Returns
    -------
    list of str
        The names that the other documentation does not have; they are dropped.

    Raises
    ------
    OSError
        If the inventory cannot be fetched.
    """
    lines = path.read_text("utf-8").splitlines()
    wanted = {line.split()[0] for line in lines if line and not line.startswith("#")}
    with urllib.request.urlopen(f"{address}objects.inv", timeout=60) as answer:  # noqa: S310 (the address is from conf.py)
        inventory = InventoryFile.load(answer, "", posixpath.join)
    found, project, version = {}, path.stem, ""
    for kind, entries in inventory.items():
        for name in wanted & entries.keys() if kind.startswith("py:") else ():
            project_, version_, address_ = fields(entries[name])
            location, _, anchor = address_.partition("#")
            expected = f"module-{name}" if kind == "py:module" else name
            if anchor == expected:  # version 1 knows no other anchors
                kind_ = "mod" if kind == "py:module" else kind.removeprefix("py:")
                found[name] = f"{name} {kind_} {location}"
                project, version = project_, version_
    head = ["# Sphinx inventory version 1", f"# Project: {project}"]
    head.append(f"# Version: {version}")
    body = [found[name] for name in sorted(found)]
    files.replace(path, "\n".join([*head, *body]) + "\n")
    return sorted(wanted - found.keys())


def main(arguments: list[str] | None = None) -> int:
    """Refresh all inventories that ``conf.py`` names; return the exit status."""
    Parser("inventories", __doc__).parse_args(arguments)
    status = 0
    for address, name in settings()["intersphinx_mapping"].values():
        try:
            gone = refresh(ROOT / "_doc" / name, address)
        except (OSError, ValueError) as error:
            print(f"{name}: {address} could not be read ({error}); it stays as it is.")
            status = 1
        else:
            print(f"{name}: up to date" + (f", dropped {', '.join(gone)}" * bool(gone)))
    return status


if __name__ == "__main__":
    sys.exit(main())
