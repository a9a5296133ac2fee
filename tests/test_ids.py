"""Each recipe has an id that nothing else has, had or will have."""

from __future__ import annotations

import json
import re

import pytest
from _ext import ids
from conftest import RECIPES, ROOT, needs_chromium, soup
from sphinx.errors import ConfigError


@pytest.fixture(scope="module")
def known():
    """Return the id of each recipe."""
    return ids.read(ROOT / "_doc")


def test_each_recipe_has_one(known):
    """The list has each recipe; the message says which lines to add."""
    missing = [path.stem for path in RECIPES if path.stem not in known]
    lines = [f"TX{len(known) + n:03} {name}" for n, name in enumerate(missing, 1)]
    assert not missing, "\n".join(["Add at the end of _doc/ids.txt:", *lines])


def test_ids_stay(known):
    """The list has only what was published, and lasting addresses say what that is."""
    published = (ROOT / "_doc/addresses.txt").read_text("utf-8").split()
    for name in known:
        assert f"auto_recipes/{name}.html" in published, (
            f"_doc/ids.txt has {name}, which never had a page."
        )


@pytest.mark.parametrize(
    "text",
    [
        "TX002 plot_a\n",  # the first is 1
        "TX001 plot_a\nTX003 plot_b\n",
        "TX001 plot_a\nTX001 plot_b\n",
        "TX001 plot_a\nTX002 plot_a\n",
        "TX001 plot_a plot_b\n",
        "\nTX001 plot_a\n",
    ],
)
def test_wrong_list(tmp_path, text):
    """A line out of order or of another form is named."""
    (tmp_path / ids.NAME).write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=r"_doc/ids.txt, line \d: write 'TX00\d <rec"):
        ids.read(tmp_path)


def test_no_list(tmp_path):
    """A site without a list has no ids."""
    assert ids.read(tmp_path) == {}
    assert ids.following(tmp_path) == "TX001"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_page_shows_it(html, known, path):
    """It stands first in the row of links, and its address leads to the page."""
    id_ = known[path.stem]
    page = soup(html / f"auto_recipes/{path.stem}.html")
    (shown,) = page.select(".recipe-links > li:first-child.recipe-id")
    assert shown.text == id_
    text = (html / id_ / "index.html").read_text("utf-8")
    assert f'content="0; url=../auto_recipes/{path.stem}.html"' in text


def test_index_has_it(html, known):
    """So have tools."""
    found = json.loads((html / "errors.json").read_text("utf-8"))["recipes"]
    assert {recipe["name"]: recipe["id"] for recipe in found} == {
        path.stem: known[path.stem] for path in RECIPES
    }


@needs_chromium
@pytest.mark.parametrize("from_disk", [False, True])
def test_short_address(browser, html, serve, from_disk):
    """The address leads to the page, on a server and from a disk."""
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(
        f"{html.as_uri()}/TX014/index.html" if from_disk else f"{serve(html)}TX014"
    )
    page.wait_for_url(
        re.compile(r"/auto_recipes/plot_exporter_shapes_specialized\.html$")
    )
    assert "constant (4)" in page.inner_text("h1")


@needs_chromium
def test_box_knows_it(browser, html):
    """An id in the box is answered by its recipe."""
    page = browser.new_context().new_page()
    page.goto((html / "errors.html").as_uri())
    page.fill("#error-text", " tx014 ")
    page.wait_for_selector("#error-matches li")
    assert page.locator("#error-matches .recipe-id").all_inner_texts() == ["TX014"]
    assert page.inner_text(".error-reason") == "The recipe of this id:"
