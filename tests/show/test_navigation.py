"""The navigation is shared between pages, and each page still has its own."""

from __future__ import annotations

import pytest
from _ext.show.navigation import marked, unmarked
from bs4 import BeautifulSoup
from conftest import ROOT
from furo.navigation import get_navigation_tree

#: The list as Sphinx makes it for the page "b", which is in it twice and has a child.
TREE = """\
<ul class="current">
<li class="toctree-l1 current"><a class="reference internal" href="a.html">Current</a>\
<ul class="current">
<li class="toctree-l2 current"><a class="current reference internal" href="#">B</a><ul>
<li class="toctree-l3"><a class="reference internal" href="c.html">C</a></li>
</ul>
</li>
<li class="toctree-l2"><a class="reference internal" href="../d.html">D</a></li>
</ul>
</li>
<li class="toctree-l1 current"><a class="current reference internal" href="#">B</a></li>
<li class="toctree-l1"><a class="reference external" href="https://x.org">X</a></li>
</ul>
"""


def test_same_as_furo():
    """Marks that are taken away and set again are those that furo sets."""
    expected = get_navigation_tree(TREE)
    shared = get_navigation_tree(unmarked(TREE, "b.html"))
    assert "checked" in expected
    assert "checked" not in shared
    assert marked(shared, "b.html") == expected


def test_page_that_is_not_listed():
    """A page that no list has, like the one for lost readers, gets no marks."""
    shared = get_navigation_tree(unmarked(TREE, "b.html"))
    assert marked(shared, "404.html") == shared


@pytest.mark.parametrize("page", ["index", "releases", "topics/inputs"])
def test_one_page_is_marked(html, page):
    """A page of the site says where its reader is, once."""
    text = (html / f"{page}.html").read_text("utf-8")
    tree = BeautifulSoup(text, "html.parser").select_one(".sidebar-tree")
    here = [link["href"] for link in tree.select(".current-page > a")]
    assert here == ([] if page == "index" else ["#"])


def test_each_recipe_is_marked(html):
    """Beside a recipe its topic is open, and its own entry is the current one."""
    for recipe in (ROOT / "recipes").glob("plot_*.py"):
        text = (html / f"auto_recipes/{recipe.stem}.html").read_text("utf-8")
        page = BeautifulSoup(text, "html.parser")
        (entry,) = page.select(".sidebar-tree .current-page")
        assert entry.a.get_text() == page.h1.find(string=True)
        (topic,) = page.select(".sidebar-tree input[checked]")
        assert topic in entry.parent.parent.select("input")
