"""The topics lead from what a reader sees to the recipe, and show them in order."""

from __future__ import annotations

import json
import runpy

import pytest
from _ext import recipe
from _ext.find import topics
from bs4 import BeautifulSoup
from conftest import RECIPES, ROOT

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


def real_errors():
    """Return the errors of real people, with the recipes that answer them."""
    lines = (ROOT / "tests/data/real_errors.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("case", real_errors(), ids=lambda case: case["id"])
def test_real_error_has_its_recipe(case):
    """The recipes that answer an error are there, and it is said why."""
    assert case["recipes"] and case["why"] and case["text"]
    assert set(case["recipes"]) <= {path.stem for path in RECIPES}
