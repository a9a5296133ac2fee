"""The search finds words, code, outputs and messages, each with its topic."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from conftest import ROOT, needs_chromium


@pytest.fixture
def search(browser, html, serve):
    """Return a function that asks the search page, in a folder of a host."""
    context = browser.new_context(base_url=f"{serve(html.parent)}html/")
    page = context.new_page()
    troubles = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(dialog.message))

    def search(query="", **more):
        address = "".join(f"&{name}={quote(value)}" for name, value in more.items())
        page.goto(f"search.html?q={quote(query)}{address}")
        page.wait_for_selector("form[data-answered]")
        return page

    yield search
    context.close()
    assert troubles == []


def titles(page):
    """Return the titles of what was found."""
    return page.locator("#search-hits a").all_inner_texts()


def ask(page, query):
    """Type a question and wait for its answer."""
    page.get_by_label("Search for").fill(query)
    page.wait_for_function(
        "q => document.querySelector('.site-search').dataset.answered === q", arg=query
    )
    return titles(page)


@needs_chromium
@pytest.mark.parametrize(
    ("query", "title", "topic"),
    [
        (
            "move_to_device_pass",  # in code
            "Move an exported program to another device or dtype",
            "after the export",
        ),
        (
            '"allocated size does not match required size"',  # in an output
            "Replace split(lengths.tolist()) with segment numbers",
            "data-dependent values",
        ),
        (
            "Calling eval() is not supported yet",  # a message
            "Call eval() before the export, not on the program",
            "wrong results",
        ),
        (
            "accepts only one size",  # in a title
            "Use Dim.DYNAMIC when the program accepts only one size",
            "dynamic shapes",
        ),
    ],
)
def test_finds(search, query, title, topic):
    """Code, outputs, messages and titles lead to their recipe, with its topic."""
    first = search(query).locator("#search-hits li").first
    assert first.locator("a").inner_text() == title
    assert first.locator(".search-topic").inner_text() == topic
    assert first.locator(".answer-change").count() > 0


@needs_chromium
def test_hit_leads_to_its_page(search):
    """A hit is a link that works where the site is in a folder of its host."""
    page = search("move_to_device_pass")
    title = titles(page)[0]
    page.locator("#search-hits a").first.click()
    page.wait_for_url("**/html/auto_recipes/*.html")
    assert page.locator("h1").inner_text().removesuffix("¶") == title


@needs_chromium
def test_one_topic(search):
    """A topic can be chosen, is in the address, and only its pages are shown."""
    page = search("torch", topic="onnx")
    assert page.locator("#search-topic").input_value() == "onnx"
    assert set(page.locator(".search-topic").all_inner_texts()) == {"onnx"}
    assert "topic=onnx" in page.url
    number = int(page.locator("#search-status").inner_text().removesuffix(" pages"))
    listed = (ROOT / "_doc/topics/onnx.rst").read_text("utf-8").count("   plot_")
    assert number == listed + 1  # the page of the topic itself


@needs_chromium
def test_query_is_never_markup(search):
    """What a reader types, and what a page shows, stays text."""
    for text in ("<img src=x onerror=alert(1)>", "<b>torch</b>", "<rows>"):
        page = search(text)
        assert page.get_by_label("Search for").input_value() == text
        assert (
            page.locator("#search-hits, #search-status").locator("img, b").count() == 0
        )


@needs_chromium
def test_nothing_found(search):
    """Who finds nothing is led to the error box, with the question."""
    page = search('"xyzzyplugh quux"')
    page.get_by_role("link", name="ask the error box").click()
    page.wait_for_url("**/errors.html?q=*")
    assert page.locator("#error-text").input_value() == '"xyzzyplugh quux"'


@needs_chromium
def test_keyboard_alone(search):
    """The box has the focus; Tab leads to the topics, the hits and to more of them."""
    page = search()
    page.keyboard.type("export")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-answered=export]")
    assert len(titles(page)) == 10
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "search-topic"
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.textContent")
    assert focused == titles(page)[0]
    page.locator("#search-more").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-hits li:nth-child(11)")
    focused = page.evaluate("document.activeElement.textContent")
    assert focused == titles(page)[10]


@needs_chromium
def test_late_answers_are_dropped(search):
    """The hits are those of the last question, which is in the address."""
    page = search()
    page.get_by_label("Search for").fill("onnx")
    assert ask(page, "move_to_device_pass")[0].startswith("Move an exported program")
    assert page.url.endswith("?q=move_to_device_pass")
    assert ask(page, "") == []


@needs_chromium
def test_side_bar_leads_to_the_search(browser, html, serve):
    """The box in the side bar asks the search page."""
    page = browser.new_page(base_url=serve(html))
    page.goto("topics/onnx.html")
    page.locator(".sidebar-search").fill("move_to_device_pass")
    page.keyboard.press("Enter")
    page.wait_for_selector("form[data-answered]")
    assert titles(page)[0].startswith("Move an exported program")
    page.close()


@needs_chromium
def test_from_a_disk(browser, html):
    """A page that is opened from a disk searches as well."""
    page = browser.new_page()
    page.goto((html / "search.html").as_uri() + "?q=detector")
    page.wait_for_selector("form[data-answered]")
    assert titles(page)[0].startswith("Export a detector")
    page.close()


@needs_chromium
def test_name_that_is_nowhere(search):
    """A name that no page has is said to be nowhere; a known one is not."""
    page = search("move_to_devise_pass")
    assert "Nowhere on this site: move_to_devise_pass" in status(page)
    assert "Nowhere" not in status(search("move_to_device_pass"))


@needs_chromium
def test_message_is_answered_by_the_finder(search):
    """What the box for errors is certain of stands on top, and is called exact."""
    page = search("NotImplementedError: Calling eval() is not supported yet.")
    first = page.locator("#search-hits li").first
    assert "Exact match" in first.inner_text()
    assert page.locator(".search-exact").count() == 1


def status(page):
    """Return what is said above the hits."""
    return page.locator("#search-status").inner_text()


QUERIES = [
    json.loads(line)
    for line in (ROOT / "tests/data/search_queries.jsonl").read_text().splitlines()
]
#: The least share of questions whose right page is first, and among the first three.
#: The ranking was made with those that are tuned and more, and later changed for the
#: misses among the others, too: it knows all of these, but not the blind ones, which
#: were asked once and say what to expect of new ones.
FIRST = {
    "blind": (0.9, 0.95),
    "fresh": (0.95, 0.95),
    "held": (0.9, 0.95),
    "last": (0.8, 0.9),
    "latest": (0.85, 0.95),
    "more": (0.9, 0.95),
    "tuned": (0.8, 0.95),
    "unseen": (0.95, 0.95),
}


@needs_chromium
@pytest.mark.parametrize("half", sorted(FIRST))
def test_readers_words(browser, html, half):
    """A question in a reader's words leads to the right page, mostly as the first."""
    page = browser.new_page()
    page.goto((html / "search.html").as_uri())
    asked = [query for query in QUERIES if query["half"] == half]
    found = page.evaluate(
        """asked => {
          const index = cookbookRank.prepare(cookbookSearch);
          return asked.map(({ query }) =>
            cookbookRank.search(index, query).pages.map(({ name }) => name));
        }""",
        asked,
    )
    page.close()
    places = [
        next((n for n, name in enumerate(names) if name in query["recipes"]), 99)
        for query, names in zip(asked, found, strict=True)
    ]
    first, three = (sum(n < most for n in places) / len(places) for most in (1, 3))
    assert first >= FIRST[half][0], (first, places)
    assert three >= FIRST[half][1], (three, places)


@pytest.fixture
def pages(html):
    """Return what the index says of each page."""
    found = (html / "_static/search-index.js").read_text("utf-8")
    return json.loads(found[found.index("{") : found.rindex(";")])["pages"]


def test_list_of_related_recipes_is_not_searched(html, pages):
    """What stands in it are the titles of other recipes."""
    page = next(page for page in pages if page["url"].endswith("_shapes_zero_one.html"))
    text = (html / page["url"]).read_text("utf-8")
    assert "ShapesSpec and ShapeVar" in text
    assert "shapevar" not in page["body"].split()


def test_head_of_a_table_is_no_symptom(pages):
    """What a reader sees is in the rows of a topic's table."""
    seen = [text for page in pages for text in page.get("seen", ())]
    assert "... and the constant is 1 or 0" in seen
    assert not [text for text in seen if "You see" in text]


@needs_chromium
def test_without_javascript(browser, html):
    """The page says what is needed, and what there is without it."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((html / "search.html").as_uri())
    article = page.locator("article")
    assert "Searching needs JavaScript" in article.inner_text()
    links = article.locator("noscript a")
    assert [link.get_attribute("href") for link in links.all()] == [
        "errors.html",
        "auto_recipes/index.html",
        "functions.html",
    ]
    assert not page.locator(".site-search").is_visible()
    context.close()


def test_index_is_made_when_pages_change(copy_pair):
    """A build that changes no page leaves the index; another page makes it anew."""
    site = copy_pair().build()
    path = site.folder / "html/_static/search-index.js"
    before = path.read_text("utf-8"), path.stat().st_mtime_ns
    site.build()
    assert (path.read_text("utf-8"), path.stat().st_mtime_ns) == before
    functions = site.folder / "_doc/functions.rst"
    functions.write_text(functions.read_text("utf-8") + "\nAnotherword.\n", "utf-8")
    site.build()
    assert "anotherword" in path.read_text("utf-8")


def test_lists_are_left_out():
    """Pages that repeat what others say are not searched."""
    for path in ("_doc/errors.rst", "_doc/releases.rst", "recipes/index.rst"):
        assert (ROOT / path).read_text("utf-8").startswith(":nosearch:\n")
