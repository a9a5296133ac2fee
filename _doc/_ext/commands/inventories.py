"""Bring the committed inventories of other documentation up to date.

``make inventories`` runs this module; a build never does. Each file
``_doc/inventories/<project>.txt`` is a Sphinx inventory of version 1: plain text, a
line per object, with only those objects that the pages link to. To link to another
object, add a line with its name alone and run the command.

``releases.json`` beside them says where the documentation of each earlier release of
torch has what ``torch.txt`` lists: see :mod:`_ext.inventories`.
"""

from __future__ import annotations

import json
import posixpath
import sys
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from sphinx.util.inventory import InventoryFile

from _ext import files
from _ext.commands import ROOT, Parser, all_releases, settings
from _ext.inventories import RELEASES, Places, fields, releases
from _ext.releases.transcripts import short

if TYPE_CHECKING:
    from pathlib import Path

#: Where the inventories are.
FOLDER = ROOT / "_doc/inventories"


class Documented(NamedTuple):
    """What the inventory of other documentation says of some names.

    Attributes
    ----------
    project, version
        What the documentation is of.
    places
        The kind of each name, and its address: with an anchor only where that is not
        the one that its name tells.
    """

    project: str
    version: str
    places: dict[str, tuple[str, str]]


def fetch(address: str, wanted: set[str]) -> Documented:
    """Look names up in the ``objects.inv`` of other documentation.

    Raises
    ------
    OSError
        If it cannot be fetched.
    """
    with urllib.request.urlopen(f"{address}objects.inv", timeout=60) as answer:  # noqa: S310 (the address is from conf.py)
        inventory = InventoryFile.load(answer, "", posixpath.join)
    places, project, version = {}, "", ""
    for kind, entries in inventory.items():
        for name in wanted & entries.keys() if kind.startswith("py:") else ():
            project, version, address_ = fields(entries[name])
            location, _, anchor = address_.partition("#")
            told = f"module-{name}" if kind == "py:module" else name
            kind_ = "mod" if kind == "py:module" else kind.removeprefix("py:")
            places[name] = kind_, location if anchor == told else address_
    return Documented(project, version, places)


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
    """
    wanted = {line[0] for line in _lines(path)}
    project, version, places = fetch(address, wanted)
    found = {  # version 1 knows no other anchors than those that names tell
        name: f"{name} {kind} {location}"
        for name, (kind, location) in sorted(places.items())
        if "#" not in location
    }
    head = ["# Sphinx inventory version 1", f"# Project: {project or path.stem}"]
    head.append(f"# Version: {version}")
    files.replace(path, "\n".join([*head, *found.values()]) + "\n")
    return sorted(wanted - found.keys())


def refresh_release(path: Path, release: str, address: str) -> int:
    """Note where the documentation of a release has what an inventory lists.

    Parameters
    ----------
    path
        The inventory, as it is now; :data:`RELEASES` is beside it.
    release, address
        The release, by its short name, and where its documentation lies.

    Returns
    -------
    int
        How many places are different.
    """
    listed = {line[0]: line[2] for line in _lines(path)}
    places = fetch(address, set(listed)).places
    found = elsewhere(listed, {name: place for name, (_, place) in places.items()})
    known = {**releases(path.parent), release: found}
    order = sorted(known, key=lambda name: [int(part) for part in name.split(".")])
    text = json.dumps({name: known[name] for name in order}, indent=1)
    files.replace(path.with_name(RELEASES), text + "\n")
    return len(found)


def elsewhere(listed: dict[str, str], there: dict[str, str]) -> Places:
    """Return what is not where an inventory lists it: pages, and names that differ.

    A page is where most of its names are, and nowhere where none is.
    """
    moved: Places = {}
    for page in set(listed.values()):
        names = [name for name in sorted(listed) if listed[name] == page]
        pages = Counter(there[name].split("#")[0] for name in names if name in there)
        moved[page] = max(pages, key=pages.__getitem__) if pages else None
    found = {page: place for page, place in moved.items() if place != page}
    for name, page in listed.items():
        if there.get(name) != moved[page]:
            found[name] = there.get(name)
    return dict(sorted(found.items()))


def _lines(path: Path) -> list[list[str]]:
    """Return the words of each line of an inventory."""
    lines = path.read_text("utf-8").splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def main(arguments: list[str] | None = None) -> int:
    """Refresh all inventories that ``conf.py`` names; return the exit status."""
    Parser("inventories", __doc__).parse_args(arguments)
    conf, status = settings(), 0
    for address, name in conf["intersphinx_mapping"].values():
        try:
            gone = refresh(ROOT / "_doc" / name, address)
        except (OSError, ValueError) as error:
            print(f"{name}: {address} could not be read ({error}); it stays as it is.")
            status = 1
        else:
            print(f"{name}: up to date" + (f", dropped {', '.join(gone)}" * bool(gone)))
    # That of the newest release is the one that the inventory is of.
    for release in map(short, all_releases()[:-1]):
        address = conf["torch_docs"].format(release)
        try:
            number = refresh_release(FOLDER / "torch.txt", release, address)
        except (OSError, ValueError) as error:
            print(f"torch {release}: {address} could not be read ({error}).")
            status = 1
        else:
            print(f"torch {release}: up to date, {number} places are different")
    return status


if __name__ == "__main__":
    sys.exit(main())
