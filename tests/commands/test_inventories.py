"""Links to other documentation need no network, and one command renews them."""

from __future__ import annotations

import json
import posixpath
import urllib.error

import pytest
from _ext.commands import all_releases, inventories
from _ext.commands.inventories import elsewhere, refresh, refresh_release
from _ext.inventories import RELEASES, releases
from _ext.releases.transcripts import short
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


#: What the documentation of a release has, and where the inventory lists it.
OLD = b"""# Sphinx inventory version 1
# Project: PyTorch
# Version: 2.9
torch.a function old.html
torch.b function old.html
torch.c function other.html
torch.d function d.html
"""
LISTED = """# Sphinx inventory version 1
# Project: PyTorch
# Version: 2.13
torch.a function new.html
torch.b function new.html
torch.c function new.html
torch.d function d.html
torch.e function e.html
torch.f function d.html
"""


def test_refresh_release(tmp_path):
    """What is elsewhere in a release, or not there, is noted; the others stay."""
    folder = tmp_path / "2.9"
    folder.mkdir()
    (folder / "objects.inv").write_bytes(OLD)
    listed = tmp_path / "torch.txt"
    listed.write_text(LISTED)
    (tmp_path / RELEASES).write_text('{"2.10": {"torch.a": null}, "2.9": {}}')
    assert refresh_release(listed, "2.9", folder.as_uri() + "/") == 4
    assert releases(tmp_path) == {
        "2.9": {
            "e.html": None,
            "new.html": "old.html",
            "torch.c": "other.html",
            "torch.f": None,
        },
        "2.10": {"torch.a": None},
    }
    assert list(releases(tmp_path)) == ["2.9", "2.10"]


def test_nothing_is_elsewhere():
    """Where all is as listed, nothing is noted."""
    assert elsewhere({"torch.a": "a.html"}, {"torch.a": "a.html"}) == {}


def test_each_earlier_release_is_asked(monkeypatch, capsys):
    """The command asks all releases but the newest; those that it cannot reach stay."""
    monkeypatch.setattr(inventories, "refresh", lambda *_: [])
    asked = []

    def fail(path, release, address):
        asked.append((release, address))
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(inventories, "refresh_release", fail)
    assert inventories.main([]) == 1
    assert asked[0] == ("2.6", "https://docs.pytorch.org/docs/2.6/")
    known = [short(release) for release in all_releases()]
    assert [release for release, _ in asked] == known[:-1]
    assert (
        "torch 2.9: https://docs.pytorch.org/docs/2.9/ could" in capsys.readouterr().out
    )


def test_committed_places():
    """Each key is a page or a name of torch's inventory, each release a known one."""
    lines = (ROOT / "_doc/inventories/torch.txt").read_text("utf-8").splitlines()[3:]
    listed = {word for line in lines for word in line.split()}
    known = json.loads((ROOT / "_doc/inventories" / RELEASES).read_text("utf-8"))
    assert known.keys() <= {short(release) for release in all_releases()}
    for places in known.values():
        assert places.keys() <= listed
        assert list(places) == sorted(places)


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
