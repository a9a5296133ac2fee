"""The answer of a recipe stands on its page, in its notebook and in its zip."""

from __future__ import annotations

import json
import zipfile

import pytest
from conftest import soup

#: The topic of the recipe that answers.
TOPIC = """:orphan:

Inputs
======

What goes in.

.. recipes::

   plot_answers
"""


@pytest.fixture(scope="module")
def site(make_site):
    """Build a site with one recipe that answers, and one that does not."""
    site = make_site("plot_answers", "plot_unicode")
    topic = site.folder / "_doc/topics/inputs.rst"
    topic.parent.mkdir(exist_ok=True)
    topic.write_text(TOPIC, "utf-8")
    site.record().build()
    assert site.returncode == 0, site.log
    return site


@pytest.fixture(scope="module")
def page(site):
    """Parse the page of the recipe that answers."""
    return soup(site.folder / "html/auto_recipes/plot_answers.html")


def test_card(page):
    """The card has cause, change, cost, other causes, and where the fix works."""
    card = page.select_one("h1 + .answer#answer")
    assert card.select_one(".answer-cause").text == "The size, 4, is hard-coded."
    change = card.select_one(".answer-change")
    assert change.find("del").text == '- size = int("four")\n'
    assert change.find("ins").text == '+ size = int("4")\n'
    assert card.select_one(".answer-cost").text == "Cost: Nothing at run time, see int."
    assert card.select_one("ul.answer-others a")["href"] == "#l-plot-answers"
    assert card.select_one(".answer-works").text == "Works with PyTorch 2.13."


def test_description(page):
    """Search engines get the cause."""
    described = page.select_one("meta[name=description]")["content"]
    assert described == "The size, 4, is hard-coded."


def test_row_of_links(page):
    """One row leads to the fix, to the cause, to the files and to the end."""
    row = page.select_one(".answer .recipe-links")
    assert [link.text for link in row.select("a")] == [
        *("The fix", "Why", "Notebook", "Script", "Zip", "Markdown", "Go to the end"),
    ]
    anchors = [a["href"][1:] for a in row.select("a") if a["href"].startswith("#")]
    assert len(anchors) == 3
    assert all(page.find(id=anchor) for anchor in anchors)
    assert 'int("4")' in page.find(id="fix").find_next("pre").text
    assert not page.select(".sphx-glr-download-link-note")


def test_recipe_without_an_answer(site):
    """The row stands under the title of a recipe without an answer."""
    page = soup(site.folder / "html/auto_recipes/plot_unicode.html")
    row = page.select_one("h1 + .recipe-links")
    words = ["Notebook", "Script", "Zip", "Markdown", "Go to the end"]
    assert [link.text for link in row.select("a")] == words


def test_what_is_taken_away(site):
    """Notebook and zip begin with the answer."""
    folder = site.folder / "_doc/auto_recipes"
    notebook = json.loads((folder / "plot_answers.ipynb").read_text("utf-8"))
    first = "".join(notebook["cells"][0]["source"])
    change = '```diff\n- size = int("four")\n+ size = int("4")\n```'
    with zipfile.ZipFile(folder / "plot_answers.zip") as archive:
        readme = archive.read("README.md").decode()
    for text in (first, readme):
        assert "The size, 4, is hard-coded." in text
        assert change in text


def test_notebook_leads_to_its_page(site):
    """Where the site has an address, the notebook has a link back to the page."""
    address = "https://cookbook.example/"
    site.build("-D", f"html_baseurl={address}")
    text = (site.folder / "_doc/auto_recipes/plot_answers.ipynb").read_text("utf-8")
    assert f"[The page of this recipe]({address}auto_recipes/plot_answers.html)" in text
