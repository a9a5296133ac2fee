"""The release picker in a real browser: the mouse, the keyboard, and no JavaScript."""

from __future__ import annotations

import pytest
from conftest import Visitor, needs_chromium

RECIPE = "auto_recipes/plot_differs.html"
OTHER = "auto_recipes/plot_unicode.html"
PHONE = {"width": 390, "height": 844}

#: The theme needs its memory; only ours is taken away.
FORGETFUL = """
for (const name of ["getItem", "setItem", "removeItem"]) {
  const before = Storage.prototype[name];
  Storage.prototype[name] = function (key, ...rest) {
    if (key.includes("release")) throw new Error("forbidden");
    return before.call(this, key, ...rest);
  };
}
"""

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def address(recorded, serve):
    """Serve the site and return its address."""
    return serve(recorded.folder / "html")


@pytest.fixture
def visit(browser, address):
    """Return a function that opens a page; nothing may go wrong on it."""
    visitor = Visitor(browser, address)
    yield visitor
    visitor.close()


def shown(page, number=0):
    """Return the headings of the outputs of a block that are open, as they stand."""
    block = page.locator(".release-outputs").nth(number)
    return block.locator("details[open] > summary").all_inner_texts()


def chosen(page):
    """Return the release that the picker shows."""
    return page.get_by_label("PyTorch version").input_value()


def status(page):
    """Return what is said to a reader with a screen reader."""
    return page.get_by_role("status").inner_text()


def test_newest_release_first(visit):
    """Who has chosen nothing sees the newest release that is recorded."""
    page = visit(RECIPE)
    assert chosen(page) == "2.13"
    assert shown(page) == ["Output with PyTorch 2.10, 2.13"]
    assert status(page) == ""
    assert page.url.endswith(RECIPE)


def test_choice_follows_the_reader(visit):
    """A release that is picked on one page is picked on the next one."""
    page = visit(OTHER)
    page.get_by_label("PyTorch version").select_option("2.8")
    assert page.url.endswith(f"{OTHER}?torch=2.8")
    page.goto(RECIPE)
    page.wait_for_url("**/plot_differs.html?torch=2.8")
    assert chosen(page) == "2.8"
    assert shown(page) == ["Output with PyTorch 2.7 – 2.9"]
    assert status(page) == ""


def test_chosen_output_stands_in_place(visit):
    """The chosen output comes first, and the page says whose it is."""
    page = visit(f"{RECIPE}?torch=2.8")
    block = page.locator(".release-outputs").first
    tops = {
        output.inner_text().split("\n")[0]: output.bounding_box()["y"]
        for output in block.locator("details").all()
    }
    assert min(tops, key=tops.get) == "Output with PyTorch 2.7 – 2.9"
    assert block.get_by_text("the result is 12.0").is_visible()
    assert not block.get_by_text("the result is 33.0").is_visible()


def test_address_wins_over_memory(visit):
    """An address that names a release shows it, whatever was chosen before."""
    page = visit(f"{RECIPE}?torch=2.8")
    page.goto(f"{RECIPE}?torch=2.6")
    assert chosen(page) == "2.6"
    assert shown(page, 2) == ["Not run with PyTorch 2.6"]
    page.goto(OTHER)
    assert chosen(page) == "2.6"
    assert page.url.endswith("?torch=2.6")


def test_choosing_the_newest_again(visit):
    """It takes the choice back, in the address and in the memory."""
    page = visit(f"{RECIPE}?torch=2.8")
    page.get_by_label("PyTorch version").select_option("2.13")
    assert chosen(page) == "2.13"
    assert shown(page) == ["Output with PyTorch 2.10, 2.13"]
    assert page.url.endswith(RECIPE)
    page.reload()
    assert chosen(page) == "2.13"


def test_going_back_keeps_the_last_choice(visit):
    """The address of a page that was left does not undo a later choice."""
    page = visit(f"{RECIPE}?torch=2.8")
    page.goto(OTHER)
    page.get_by_label("PyTorch version").select_option("2.6")
    page.go_back()
    page.wait_for_url("**?torch=2.6")
    assert chosen(page) == "2.6"
    page.goto(OTHER)
    page.get_by_label("PyTorch version").select_option("2.13")
    page.go_back()
    assert chosen(page) == "2.13"


@pytest.mark.parametrize(
    "value", ["<script>alert(1)</script>", "9.9", "", "2.8%22%3E", "__proto__", "2.13"]
)
def test_other_values_are_ignored(visit, value):
    """What is no release changes nothing, and never becomes part of the page."""
    page = visit(f"{RECIPE}?torch={value}")
    assert chosen(page) == "2.13"
    assert page.locator("html").get_attribute("data-torch") == "2.13"
    assert "alert(1)" not in page.content()
    assert page.url.endswith(RECIPE)


def test_recipe_without_a_record(visit):
    """A page whose recipe is not recorded says whose outputs it shows."""
    page = visit(f"{OTHER}?torch=2.8")
    assert status(page).startswith("Not recorded with this version")
    page.goto(f"{RECIPE}?torch=2.11")
    assert status(page).startswith("Not recorded yet for this text")
    assert shown(page) == ["Output with PyTorch 2.10, 2.13"]


def test_page_without_outputs(visit):
    """A page on which there is nothing to choose has no picker."""
    page = visit("index.html?torch=2.8")
    assert page.locator("#release-choice").count() == 0
    page.goto(RECIPE)
    assert chosen(page) == "2.8"


def api(page, name):
    """Return where the link to a name of torch leads, and its title."""
    link = page.locator(f"article a[href$='#{name}']").first
    return link.get_attribute("href"), link.get_attribute("title")


DOCS = "https://docs.pytorch.org/docs"
MADE = f"{DOCS}/stable/user_guide/torch_compiler/export/api_reference.html"


def test_documentation_of_the_chosen_release(visit):
    """Links to torch lead to the documentation of the chosen release, and back."""
    page = visit(RECIPE)
    made = api(page, "torch.export.export")
    assert made[0] == f"{MADE}#torch.export.export"
    assert page.locator("script[src*='release-links']").count() == 0
    choice = page.get_by_label("PyTorch version")
    choice.select_option("2.6")
    page.wait_for_selector(f"a[href='{DOCS}/2.6/export.html#torch.export.export']")
    assert api(page, "torch.export.export")[1] == (
        "torch.export.export in the documentation of PyTorch 2.6"
    )
    choice.select_option("2.9")
    place = f"{DOCS}/2.9/export/api_reference.html#torch.export.export"
    assert api(page, "torch.export.export")[0] == place
    choice.select_option("2.15")  # nothing is known of it
    assert api(page, "torch.export.export") == made
    choice.select_option("2.13")
    assert api(page, "torch.export.export") == made
    assert page.locator("script[src*='release-links']").count() == 1


def test_name_that_a_release_does_not_document(visit):
    """Its link stays and says so, also where the choice is remembered."""
    page = visit(f"{RECIPE}?torch=2.6")
    page.wait_for_selector(f"a[href='{DOCS}/2.6/export.html#torch.export.export']")
    assert api(page, "torch.export.draft_export") == (
        f"{MADE}#torch.export.draft_export",
        "Not in the documentation of PyTorch 2.6; this leads to the newest",
    )


def test_documentation_from_a_disk(browser, recorded):
    """A page that is opened from a disk does the same."""
    page = browser.new_page()
    page.goto((recorded.folder / "html" / RECIPE).as_uri() + "?torch=2.6")
    page.wait_for_selector(f"a[href='{DOCS}/2.6/export.html#torch.export.export']")
    page.close()


def test_keyboard_alone(visit):
    """The picker is reached and changed without a mouse."""
    page = visit(RECIPE)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "release-choice":
            break
    for _ in (2.12, 2.11, 2.10, 2.9):
        page.keyboard.press("ArrowDown")
    assert shown(page) == ["Output with PyTorch 2.7 – 2.9"]


def test_without_javascript(visit):
    """The pinned output is open, the others unfold, and nothing is to be chosen."""
    page = visit(f"{RECIPE}?torch=2.8", java_script_enabled=False)
    assert page.get_by_text("the result is 33.0").last.is_visible()
    assert not page.get_by_text("the result is 12.0").is_visible()
    assert not page.locator("#release-choice").is_visible()
    assert page.get_by_text("Outputs are those of PyTorch 2.13.").is_visible()
    page.get_by_text("Output with PyTorch 2.7 – 2.9").first.click()
    assert page.get_by_text("the result is 12.0").is_visible()


def test_without_memory(visit):
    """Where a browser forbids memory, the address is enough and nothing fails."""
    page = visit("index.html")
    page.add_init_script(FORGETFUL)
    page.goto(f"{RECIPE}?torch=2.8")
    assert shown(page) == ["Output with PyTorch 2.7 – 2.9"]


def test_print(visit):
    """On paper are the chosen outputs and no others."""
    page = visit(f"{RECIPE}?torch=2.8")
    page.emulate_media(media="print")
    assert page.get_by_text("the result is 12.0").is_visible()
    assert not page.get_by_text("Output with PyTorch 2.10, 2.13").first.is_visible()


@pytest.mark.parametrize("path", [RECIPE, OTHER, "releases.html", "index.html"])
def test_nothing_is_wider_than_a_phone(visit, path):
    """No page scrolls sideways; the table of releases scrolls in its box."""
    page = visit(f"{path}?torch=2.8", viewport=PHONE)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"]
