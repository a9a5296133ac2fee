"""The small modules that all rooms share."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest
from _ext import files, garbage, inventories, site


def test_changed_inventory_makes_all_pages_stale(tmp_path):
    """A setting that all pages depend on has another value, and then stays."""
    path = tmp_path / "inventories/torch.txt"
    path.parent.mkdir()

    def noted(text):
        path.write_text(text, "utf-8")
        config = SimpleNamespace()
        inventories._note_contents(SimpleNamespace(srcdir=tmp_path), config)
        return config.inventories_digest

    assert noted("one") == noted("one") != noted("two")


def test_old_and_new_items_of_inventories():
    """In older versions of Sphinx an item is a tuple."""
    item = SimpleNamespace(project_name="P", project_version="1", uri="x", more="y")
    assert inventories.fields(item) == inventories.fields(("P", "1", "x", "y"))


def test_file_that_is_the_same_is_left_alone(tmp_path):
    """A file is written if its content is another, whole, and with nothing beside."""
    path = tmp_path / "file"
    assert files.replace(path, "é")
    before = path.stat().st_mtime_ns
    assert not files.replace(path, "é".encode())
    assert path.stat().st_mtime_ns == before
    assert files.replace(path, "f")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("html", "html", "a/b.html"),
        ("dirhtml", "html", "a/b/"),
        ("singlehtml", "html", "a/b.html"),
        ("latex", "latex", "a/b.html"),
    ],
)
def test_address(name, form, expected):
    """The address of a page is the builder's; where there is none, that of HTML."""
    uris = {"html": "a/b.html", "dirhtml": "a/b/", "singlehtml": "#document-a/b"}
    builder = SimpleNamespace(
        name=name, format=form, get_target_uri=lambda _: uris[name]
    )
    app = SimpleNamespace(builder=builder)
    assert site.address(app, "a/b") == expected
    assert site.is_made(app) is (form == "html")


def test_garbage_is_looked_for_less_often(monkeypatch):
    """The thresholds are set as an extension is set up, and all is left at the end."""
    said, connected = [], {}
    monkeypatch.setattr(gc, "set_threshold", lambda *numbers: said.append(numbers))
    monkeypatch.setattr(gc, "freeze", lambda: said.append("frozen"))

    def connect(event, handler, priority):
        connected[event] = handler, priority

    garbage.setup(SimpleNamespace(connect=connect))
    handler, _ = connected["build-finished"]
    handler(None, None)
    assert said == [garbage.THRESHOLDS, "frozen"]
