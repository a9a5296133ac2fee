"""The topics lead from what a reader sees to the recipe, and show them in order."""

from __future__ import annotations

import inspect
import json
import runpy
from types import SimpleNamespace

import pytest
from _ext import recipe
from _ext.find import cards, topics
from bs4 import BeautifulSoup
from conftest import RECIPES, ROOT
from sphinx.errors import ConfigError

CONF = runpy.run_path(str(ROOT / "conf.py"))
TOPICS = CONF["recipe_topics"]


def soup(path):
    """Parse a page."""
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


def names(page, selector):
    """Return the recipes that the links of a page lead to."""
    links = [link["href"].partition("#")[0] for link in page.select(selector)]
    paths = [link.rpartition("/")[2].removesuffix(".html") for link in links]
    return [name for name in paths if name.startswith("plot_")]


@pytest.mark.parametrize("topic", TOPICS)
def test_topic_shows_its_recipes_in_order(html, topic):
    """The cards of a topic are its recipes, each with its symptom and its kinds."""
    page = soup(html / f"{topics.page(topic)}.html")
    listed = topics.listed(ROOT / "_doc", topic)
    assert names(page, ".recipe-card > p:first-of-type a") == listed
    for card, name in zip(page.select(".recipe-card"), listed, strict=True):
        about = recipe.read(ROOT / f"recipes/{name}.py")
        kinds = [tag.text for tag in card.select(".recipe-tags li")]
        assert kinds == list(about.tags[1:])
        assert len(card.find_all("p")[1].text) > 40


@pytest.mark.parametrize("topic", TOPICS)
def test_topic_has_an_introduction(html, topic):
    """A topic begins with prose, not with a list."""
    page = soup(html / f"{topics.page(topic)}.html")
    assert len(page.select_one("article h1 + p").text) > 200


def test_tables_lead_to_each_recipe(html):
    """Each recipe is in the table of a topic: what you see, what to read."""
    found = set()
    for topic in TOPICS:
        page = soup(html / f"{topics.page(topic)}.html")
        found |= set(names(page, "table a.reference"))
    assert found >= {path.stem for path in RECIPES}


def test_gallery_has_a_section_for_each_topic(html):
    """The gallery shows the topics in their order, with all recipes."""
    page = soup(html / "auto_recipes/index.html")
    expected = [n for topic in TOPICS for n in topics.listed(ROOT / "_doc", topic)]
    assert names(page, ".recipe-card > p:first-of-type a") == expected

    assert len(page.select("article section section")) == len(TOPICS)


def test_side_bar_shows_the_recipes_of_a_topic(html):
    """From a recipe, the others of its topic are one click away."""
    (topic, name) = TOPICS[1], topics.listed(ROOT / "_doc", TOPICS[1])[0]
    page = soup(html / f"auto_recipes/{name}.html")
    side = names(page, ".sidebar-tree li.current a")
    assert set(topics.listed(ROOT / "_doc", topic)) - {name} <= set(side)


#: How the page of a topic begins.
BEGINNING = (
    ".. _l-x:\n\nSome words\n==========\n\nTwo *lines*\nof :ref:`prose`. More.\n\n"
)


@pytest.mark.parametrize(
    "listing",
    [
        ".. recipes::\n\n   plot_a\n   plot_b\n",
        ".. recipes::\n\n   plot_a\n   plot_b",
        ".. recipes::\n\n   plot_a\n\n   plot_b\n",
        ".. recipes::\n\n     plot_a\n     plot_b\n\nAfter it.\n",
        ".. recipes::\n   plot_a\n   plot_b\n",
        "..  recipes::\n\n   plot_a \n   plot_b\n",
        "More\n----\n\n.. recipes::\n\n   plot_a\n   plot_b\n",
        ".. recipes::\n\n   plot_a\n\n.. recipes::\n\n   plot_b\n",
        "::\n\n  .. recipes::\n\n     plot_c\n\n.. recipes::\n\n  plot_a\n  plot_b\n",
        ".. csv-table::\n   :widths: 1\n\n   x\n\n.. recipes::\n\n   plot_a\n   plot_b",
    ],
)
def test_listing_is_read_as_docutils_does(tmp_path, listing):
    """However the directive is written, none of its recipes is lost."""
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics/some-topic.rst").write_text(BEGINNING + listing, "utf-8")
    said = topics.Topic(
        "Some words", "Two *lines*\nof :ref:`prose`. More.", ("plot_a", "plot_b")
    )
    assert topics.read(tmp_path, "some topic") == said
    assert topics.listed(tmp_path, "some topic") == ["plot_a", "plot_b"]
    assert topics.heading(tmp_path, "some topic") == "Some words"


def test_title_with_another_underline(tmp_path):
    """The title is the first one, in whatever style; a paragraph may be the end."""
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics/x.rst").write_text("#####\nWords\n#####\n\nProse.", "utf-8")
    assert topics.read(tmp_path, "x") == topics.Topic("Words", "Prose.", ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            None,
            r'no page _doc/topics/x\.rst: write it, or take "x" out of recipe_topics',
        ),
        ("Prose.\n", r"_doc/topics/x\.rst has no introduction: begin it with a title"),
        ("X\n=\n\n.. recipes::\n\n   plot_a\n", "has no introduction"),
    ],
)
def test_page_that_is_none(tmp_path, text, message):
    """A topic without a page, or with one that begins otherwise, is named."""
    (tmp_path / "topics").mkdir()
    if text:
        (tmp_path / "topics/x.rst").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=message):
        topics.listed(tmp_path, "x")


def test_directive_reads_its_names_alike():
    """The directive and whoever reads the page take the same lines for names."""
    assert topics.names(["plot_a", "", "  plot_b "]) == ("plot_a", "plot_b")
    assert "topics.names(self.content)" in inspect.getsource(cards.Recipes.run)


def test_card_depends_on_what_it_shows(tmp_path):
    """Other words make another card; other code does not."""
    env = SimpleNamespace(srcdir=tmp_path)
    script = tmp_path / "auto_recipes/plot_x.py"
    script.parent.mkdir()

    def digest(title="X", code=""):
        script.write_text(f'"""\n{title}\n=\n\nWords.\n"""\n{code}', "utf-8")
        return cards._digest(env, "plot_x")

    plain = digest()
    assert digest(code="x = 1\n") == plain
    assert digest(title="Y") != plain


def test_beginning_of_a_card():
    """A card shows whole sentences, of 60 characters or more if there are."""
    first = "This sentence has a number, 2.8, and more than sixty characters."
    assert cards._beginning(f"Short. {first}\nAnother one.") == f"Short. {first}"
    assert cards._beginning("No end") == "No end"


def test_releases_under_which_a_recipe_fails():
    """Where all releases raise, or none does, nothing fails with one of them."""
    raises, fine = {"caught": [["E", "no"]]}, {"caught": []}
    known = {
        "2.6": [raises, fine, raises],
        "2.7": [raises, fine, fine],
        "2.8": [raises, fine],
    }
    recipe = SimpleNamespace(
        cells=[None] * 3,
        releases=list(known),
        history=lambda n: {r: cells[n] for r, cells in known.items() if cells[n:]},
    )
    assert cards.failing(recipe) == ["2.6"]


def real_errors():
    """Return the errors of real people, with the recipes that answer them."""
    lines = (ROOT / "tests/data/real_errors.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("case", real_errors(), ids=lambda case: case["id"])
def test_real_error_has_its_recipe(case):
    """The recipes that answer an error are there, and it is said why."""
    assert case["recipes"] and case["why"] and case["text"]
    assert set(case["recipes"]) <= {path.stem for path in RECIPES}
