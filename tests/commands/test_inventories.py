"""Links to other documentation need no network, and one command renews them."""

from __future__ import annotations

import posixpath
import urllib.error

import pytest
from _ext.commands.inventories import refresh
from conftest import ROOT
from sphinx.util.inventory import InventoryFile

OTHER = b"""# Sphinx inventory version 1
# Project: Other
# Version: 3
other mod index.html
other.run function new/place.html
"""


@pytest.fixture
def other(tmp_path):
    """Return the address of some other documentation, and an inventory of it."""
    (tmp_path / "objects.inv").write_bytes(OTHER)
    path = tmp_path / "other.txt"
    path.write_text(
        "# Sphinx inventory version 1\nother.run function old.html\nadded\n"
    )
    return tmp_path.as_uri() + "/", path


def test_refresh(other):
    """Known names get their new address, and what is gone is named."""
    address, path = other
    assert refresh(path, address) == ["added"]
    assert path.read_text().splitlines() == [
        "# Sphinx inventory version 1",
        "# Project: Other",
        "# Version: 3",
        "other.run function new/place.html",
    ]


def test_refresh_without_network(other):
    """Where nothing can be fetched the file stays as it is."""
    address, path = other
    before = path.read_text()
    with pytest.raises(urllib.error.URLError):
        refresh(path, f"{address}absent/")
    assert path.read_text() == before


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("_doc/inventories/*.txt")), ids=lambda path: path.stem
)
def test_committed_inventory(path):
    """Each file is sorted, has no name twice, and is read by Sphinx."""
    lines = path.read_text("utf-8").splitlines()[3:]
    assert lines == sorted(set(lines))
    with path.open("rb") as file:
        read = InventoryFile.load(file, "https://example.org/", posixpath.join)
    assert sum(map(len, read.values())) == len(lines) > 0
