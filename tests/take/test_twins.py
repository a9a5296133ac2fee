"""Each recipe is there as Markdown, with what it printed, and can be copied."""

from __future__ import annotations

import re

import pytest
from _ext.run import outcome
from _ext.take import twins
from conftest import RECIPES, ROOT, Visitor, needs_chromium, soup

PAGE = "auto_recipes/plot_exporter_shapes_specialized"


def text_of(html, path):
    """Return the twin of a recipe."""
    return (html / f"auto_recipes/{path.stem}.md").read_text("utf-8")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_outputs_stand_under_their_code(html, path):
    """Each output follows the code that printed it; what pip installs is left out."""
    cells = outcome.read(ROOT / f"_doc/auto_recipes/{path.stem}.py").cells
    shown = text_of(html, path)
    source = path.read_text("utf-8").splitlines()  # has code of the prose as comments
    blocks = re.findall(
        r"^(`{3,})(python|text)\n(.*?)\n\1$", shown, re.MULTILINE | re.DOTALL
    )
    found = []
    for _, language, text in blocks:
        if language == "python":
            found += [[]] if text.partition("\n")[0] in source else []
        else:
            found[-1] += text.splitlines()
    assert found == [cell["output"] for cell in cells]
    assert "%pip" not in shown


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_page_leads_to_the_twin(html, path):
    """The head of the page names it, the row of links has it once, at the top."""
    page = soup(html / f"auto_recipes/{path.stem}.html")
    (link,) = page.select('head link[rel="alternate"][type="text/markdown"]')
    (shown,) = (a for a in page.select(".recipe-links a") if a.text == "Markdown")
    assert link["href"] == shown["href"] == f"{path.stem}.md"
    assert "Zip" in shown.find_parent("li").find_previous_sibling("li").text


def test_links_lead_to_twins(html):
    """A link to another recipe leads to its Markdown; each page is there."""
    for path in RECIPES:
        for name in re.findall(r"\]\(([^):#]+)\)", text_of(html, path)):
            if re.fullmatch(r"plot_\w+\.(?:md|html)", name):
                assert (html / "auto_recipes" / name).exists(), (path.stem, name)
            else:
                assert "plot_" not in name, (path.stem, name)


def test_what_a_page_says_of_itself(html):
    """Id, releases and page stand below the answer."""
    text = (html / f"{PAGE}.md").read_text("utf-8")
    answer, _, rest = text.partition("**Id:** TX014. **Works with:** PyTorch 2.6")
    assert "```diff" in answer
    assert "## The problem" in rest
    assert "[The page](plot_exporter_shapes_specialized.html)" in rest


def test_other_releases(recorded):
    """What they do differently stands below the cell, each with a line."""
    text = (recorded.folder / "html/auto_recipes/plot_differs.md").read_text("utf-8")
    lists = re.findall(r"With other versions of PyTorch:\n\n((?:- .*\n)+)", text)
    assert "- 2.6: raises `RuntimeError: " in lists[0]
    assert "- 2.7 – 2.9: prints `the result is 12.0`" in lists[0]
    assert any("- 2.6: not reached." in each for each in lists)
    assert any("<b>& more</b>`" in each for each in lists)
    same = (recorded.folder / "html/auto_recipes/plot_unicode.md").read_text("utf-8")
    assert "With other versions" not in same


def test_same_differences_stand_together(html):
    """Releases that do the same have one line."""
    for path in RECIPES:
        lists = re.findall(r"PyTorch:\n\n((?:- .*\n)+)", text_of(html, path))
        for entries in lists:
            said = re.findall(r"^- [\d., –]+: (.*)", entries, re.MULTILINE)
            assert len({*said}) == len(said), path.stem


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (["a", "b", "c"], "prints `c`"),
        (["a"], "prints less"),
        ([], "prints nothing"),
        (["a", "`x` and y"], "prints `` `x` and y ``"),
        (["z" * 200], f"prints `{'z' * 160}`…"),
    ],
)
def test_first_difference(output, expected):
    """It is a line that the pinned release does not print."""
    assert twins._other({"output": ["a", "b"]}, {"output": output}) == expected


def test_roles_are_code():
    """What is left of reStructuredText becomes Markdown."""
    text = "Call :func:`~torch.f` or ``g``, see :ref:`this <l-x>`. "
    assert twins.markdown(text) == "Call `torch.f` or `g`, see `this`."


def test_fence_is_longer_than_what_is_in_it():
    """An output with a fence in it stays one block."""
    assert twins._fenced("a\n```\nb", "text") == "````text\na\n```\nb\n````"


@needs_chromium
def test_copy(browser, html, serve):
    """A button at the top copies the whole Markdown, and says so."""
    visit = Visitor(browser, serve(html))
    rights = ["clipboard-read", "clipboard-write"]
    page = visit(f"{PAGE}.html", permissions=rights)
    button = page.get_by_role("button", name="Copy as Markdown")
    button.click()
    page.get_by_role("button", name="Copied").wait_for()
    expected = (html / f"{PAGE}.md").read_text("utf-8")
    assert page.evaluate("navigator.clipboard.readText()") == expected
    button.wait_for()  # it says again what it does
    visit.close()


@needs_chromium
def test_copy_that_fails(browser, html, serve):
    """A reader is told."""
    page = browser.new_context(base_url=serve(html)).new_page()
    page.route("**/*.md", lambda route: route.fulfill(status=404))
    page.goto(f"{PAGE}.html")
    page.get_by_role("button", name="Copy as Markdown").click()
    page.get_by_role("button", name="Could not copy").wait_for()


@needs_chromium
def test_from_a_disk(browser, html):
    """A page that may not read the Markdown has no button; the link is there."""
    page = browser.new_context().new_page()
    page.goto((html / f"{PAGE}.html").as_uri())
    assert page.locator(".copy-markdown").count() == 0
    assert page.get_by_role("link", name="Markdown", exact=True).is_visible()
