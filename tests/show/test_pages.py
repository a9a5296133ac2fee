"""The pages in a real browser: for everybody, on every screen, and from here alone."""

from __future__ import annotations

import itertools
import json
import re
import statistics

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import RECIPES, Visitor, needs_chromium, soup
from playwright import sync_api

RECIPE = "auto_recipes/plot_exporter_control_cond.html"
GALLERY = "auto_recipes/index.html"
#: One page of each kind.
KINDS = [
    "index.html",
    "errors.html",
    GALLERY,
    RECIPE,
    "auto_recipes/plot_exporter_models_tiny_llm.html",
    "topics/dynamic-shapes.html",
    "releases.html",
    "releases/2.9.html",
    "releases/2.15.html",
    "functions.html",
    "how-errors-are-matched.html",
    "how-this-site-works.html",
    "sg_execution_times.html",
    "genindex.html",
    "search.html",
]
#: Of what a page has in hundreds, axe looks at the first ones. The others are taken
#: out: to exclude them takes it longer than to look at them.
MANY = (
    "tbody tr:nth-child(n+5)",
    ".error-list li:nth-child(n+3)",
    ".error-list ~ .error-list",
    ".gallery-topic .recipe-card:nth-child(n+4)",
    ".literal > .pre ~ .pre",
)
#: Of the words of code, one of each color is left in each kind of block.
REMOVE = """(many) => {
  document.querySelectorAll(many).forEach((one) => one.remove());
  const seen = new Set();
  for (const word of document.querySelectorAll(".highlight span[class]")) {
    const block = word.closest("div[class*=highlight-]");
    const kind = `${word.className} in ${block?.className}`;
    if (seen.has(kind)) word.remove();
    seen.add(kind);
  }
}"""
ONLY = {"resultTypes": ["violations"]}
#: The dark theme differs from the light one in nothing but colors.
COLORS = {**ONLY, "runOnly": ["color-contrast", "link-in-text-block"]}

WIDE, PHONE = {"width": 1400, "height": 1000}, {"width": 390, "height": 844}

#: The median page of a recipe, without its pictures, has no more bytes.
HEAVIEST = 150_000

#: The pixels of the gallery, with room for 100 recipes.
HIGHEST = 6_000

#: What one may have to scroll sideways, each in its own box.
SCROLLS = "pre, .program-scroll, .release-table, .table-wrapper, .highlight"

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def address(html, serve):
    """Serve the site and return its address."""
    return serve(html)


@pytest.fixture
def visit(browser, address):
    """Return a function that opens a page; nothing may go wrong on it."""
    visitor = Visitor(browser, address)
    yield visitor
    visitor.close()


@pytest.mark.parametrize("path", KINDS)
def test_nobody_is_kept_out(visit, path):
    """Axe finds nothing on any kind of page, in both themes, on both screens."""
    assert obstacles_of_all(visit(path)) == {}


def test_nobody_is_kept_out_of_results(visit):
    """Axe finds nothing where the search shows answers, long lines among them."""
    page = visit("search.html", viewport=PHONE)
    page.get_by_label("Search for").fill("export")
    page.wait_for_selector("#search-hits .answer-change")
    assert obstacles(page) == []


def obstacles_of_all(page):
    """Return what axe finds on a page for each reader, where it finds anything."""
    found = {}
    for screen, theme in itertools.product(("wide", "phone"), ("light", "dark")):
        page.set_viewport_size(WIDE if screen == "wide" else PHONE)
        page.emulate_media(color_scheme=theme)
        found[screen, theme] = obstacles(page, ONLY if theme == "light" else COLORS)
    return {reader: there for reader, there in found.items() if there}


def obstacles(page, options=ONLY):
    """Return what axe finds on a page: the rule, the place and what to do."""
    page.evaluate(REMOVE, ", ".join(MANY))
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"][:3]
    ]


@pytest.mark.parametrize("path", KINDS)
def test_only_boxes_scroll_sideways(visit, path):
    """On a phone no page is wider than the screen; code and pictures scroll."""
    page = visit(path, viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    cut = page.evaluate(
        """(boxes) => [...document.querySelectorAll("article *")].filter((element) => {
          const right = element.getBoundingClientRect().right;
          return right > innerWidth + 1 && !element.closest(boxes);
        }).map((element) => element.outerHTML.slice(0, 200))""",
        SCROLLS,
    )
    assert cut == []


def test_pictures_scroll_by_keyboard(visit):
    """A picture that is wider than a phone is scrolled with the keys."""
    page = visit("auto_recipes/plot_exporter_models_tiny_llm.html", viewport=PHONE)
    page.locator(".program summary").first.click()
    box = page.locator(".program-scroll").first
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.program-scroll').scrollLeft")


def test_pictures_follow_the_theme(visit):
    """The words of a picture are dark on light and light on dark, as chosen."""
    page = visit(RECIPE, viewport=WIDE, color_scheme="light")
    color = "getComputedStyle(document.querySelector('.program text')).fill"
    light = page.evaluate(color)
    page.locator("button.theme-toggle:visible").click()
    assert page.evaluate(color) != light


@pytest.fixture(scope="module")
def weights(html):
    """Return the bytes of the page of each recipe, without the pictures."""
    picture = re.compile(rb'<details class="program".*?</details>', re.DOTALL)
    pages = [html / f"auto_recipes/{path.stem}.html" for path in RECIPES]
    return [len(picture.sub(b"", page.read_bytes())) for page in pages]


def test_pages_are_light(weights):
    """The median page of a recipe is not too heavy, without its pictures."""
    assert statistics.median(weights) < HEAVIEST


@pytest.mark.parametrize("path", ["index.html", RECIPE])
def test_page_is_there_without_scripts(visit, path):
    """A page is drawn, with its colors, where no script runs."""
    page = visit(path, java_script_enabled=False, color_scheme="dark")
    assert page.locator("h1").is_visible()
    color = "body => getComputedStyle(body).backgroundColor"
    background = page.locator("body").evaluate(color)
    assert background != "rgb(255, 255, 255)"


def shown(page):
    """Return how many recipes the gallery shows."""
    return page.locator(".recipe-card:visible").count()


def test_filter_by_symptom_and_topic(visit):
    """The gallery shows what fits both, and says how many that are."""
    page = visit(GALLERY)
    assert shown(page) == len(RECIPES)
    page.get_by_label("Symptom").select_option("wrong without an error")
    some = shown(page)
    assert 0 < some < len(RECIPES)
    page.get_by_label("Topic").select_option("modules")
    assert 0 < shown(page) < some
    assert page.locator(".gallery-topic:visible h2").all_inner_texts() == ["Modules"]
    status = page.locator(".gallery-filter [role=status]").inner_text()
    assert status == f"{shown(page)} of {len(RECIPES)} recipes"
    for kinds in page.locator(".recipe-card:visible .recipe-tags").all_inner_texts():
        assert "wrong without an error" in kinds


def test_filter_by_release(visit, html):
    """What fails is shown for the chosen release, and follows it."""
    failing = {}
    for release in ("2.13", "2.9"):
        cards = soup(html / GALLERY).select(".gallery-topic .recipe-card")
        failing[release] = sum(release in c["data-fails"].split() for c in cards)
    assert failing["2.13"] != failing["2.9"]
    page = visit(f"{GALLERY}?torch=2.13")
    page.get_by_label("Only problems of").check()
    assert shown(page) == failing["2.13"]
    page.get_by_label("PyTorch version", exact=True).select_option("2.9")
    sync_api.expect(page.locator("output")).to_have_text("2.9")
    assert shown(page) == failing["2.9"]


def test_empty_result_can_be_undone(visit):
    """Where no recipe fits, the page says so and offers to show all again."""
    page = visit(f"{GALLERY}?topic=start-here&symptom=conversion fails&fails=yes")
    assert shown(page) == 0
    assert "No recipe fits all of this." in page.locator(".gallery-filter").inner_text()
    page.get_by_role("button", name="Show all recipes").click()
    sync_api.expect(page.locator(".recipe-card:visible")).to_have_count(len(RECIPES))
    assert page.url.endswith(GALLERY)
    assert not page.get_by_role("button", name="Show all recipes").is_visible()


def test_gallery_is_short(visit):
    """On a wide screen the gallery has three columns and ends after six screens."""
    page = visit(GALLERY, viewport=WIDE)
    assert page.evaluate("document.documentElement.scrollHeight") <= HIGHEST
    cards = page.locator(".recipe-card").all()[:3]
    assert len({card.bounding_box()["y"] for card in cards}) == 1


def test_cards_have_what_readers_look_for(html):
    """A card has the title, the answer and the symptoms of its recipe."""
    for card in soup(html / GALLERY).select(".gallery-topic .recipe-card"):
        title, answer = card.find_all("p", recursive=False)
        assert title.a and answer.text
        assert card.select(".recipe-tags li")


def test_filter_is_in_the_address(visit):
    """An address brings back what was chosen; other values change nothing."""
    page = visit(GALLERY)
    page.get_by_label("Topic").select_option("onnx")
    page.get_by_label("Only problems of").check()
    assert re.search(r"\?topic=onnx&fails=yes$", page.url)
    expected = shown(page)
    assert shown(visit(page.url)) == expected
    assert shown(visit(f"{GALLERY}?topic=<b>&symptom=__proto__")) == len(RECIPES)


def test_filter_by_keyboard(visit):
    """The filter is reached and used without a mouse."""
    page = visit(GALLERY)
    page.get_by_label("Topic").focus()
    page.keyboard.press("ArrowDown")
    assert shown(page) < len(RECIPES)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.get_by_label("Only problems of").is_checked()


def test_gallery_without_scripts(visit):
    """Without scripts all recipes are there, and nothing that does not work."""
    page = visit(GALLERY, java_script_enabled=False)
    assert shown(page) == len(RECIPES)
    assert not page.get_by_label("Topic").is_visible()


def test_error_to_recipe_in_two_clicks(visit):
    """Who arrives with an error pastes it and is one click from the recipe."""
    page = visit("index.html")
    text = "torch._dynamo.exc.UserError: Could not guard on data-dependent expression"
    page.get_by_label("Paste an error").fill(f"{text} Eq(u0, 1)")
    page.locator("#error-matches a").first.click()
    page.wait_for_url("**/auto_recipes/plot_exporter_*.html*")


def test_front_page_has_all_ways_in(visit):
    """From the front page lead ways to the start, to each topic, to what is new."""
    page = visit("index.html")
    topics = page.locator(".recipe-card > p:first-of-type a").all_inner_texts()
    assert len(topics) == 12
    assert page.get_by_role("heading", name="Start here").is_visible()
    page.locator("article").get_by_role("link", name="What changed in").click()
    page.wait_for_url("**/releases/*.html")


def test_weights_are_told(weights, record_property):
    """The figures can be read from the report of the tests."""
    record_property("bytes", json.dumps(sorted(weights)))
