"""Each page says what the recipe does under other releases, from the transcripts."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import statistics
from types import SimpleNamespace
from typing import TYPE_CHECKING

import conftest
import pytest
from _ext.releases import records, transcripts
from bs4 import BeautifulSoup
from conftest import RECIPES, ROOT, Site

if TYPE_CHECKING:
    from pathlib import Path

#: How many bytes the page of a release may have.
HEAVIEST = 150_000

CONF = SimpleNamespace(
    torch_releases=runpy.run_path(str(ROOT / "conf.py"))["torch_releases"],
    torch_pinned="2.13",
)

#: The share of a page's bytes that what is known of other releases may add.
WEIGHT = 0.30


def soup(text):
    """Parse a page."""
    return BeautifulSoup(text, "html.parser")


@pytest.fixture(scope="module")
def page(recorded):
    """Return the page of the recipe that differs."""
    assert recorded.returncode == 0, recorded.log
    return soup(recorded.page("plot_differs"))


@pytest.fixture
def site(recorded, tmp_path):
    """Copy the site."""
    shutil.copytree(recorded.folder, tmp_path, dirs_exist_ok=True)
    return Site(tmp_path)


def outputs(page, number):
    """Return releases, state and text of each output of a block that differs."""
    block = page.select(".release-outputs")[number]
    return [
        (
            output.summary.text,
            output.has_attr("open"),
            output.select_one("pre, p").text.strip(),
        )
        for output in block.select("details")
    ]


def test_tested(page):
    """Above the text stands how the recipe fares under each release."""
    assert page.select_one(".recipe-links + .release-tested").p.text == (
        "Tested with PyTorch 2.6 – 2.10, 2.13; output differs with 2.7 – 2.9; fails "
        "with 2.6; the record for 2.11 is of an earlier text; not recorded with 2.12, "
        "2.14 – 2.15."
    )


def test_tested_with_one_release(recorded):
    """A recipe without other transcripts claims nothing about other releases."""
    line = soup(recorded.page("plot_unicode")).select_one(".release-tested")
    assert line.p.text == (
        "Tested with PyTorch 2.13; not recorded with 2.6 – 2.12, 2.14 – 2.15."
    )


def test_same_output_is_not_repeated(page):
    """A cell that prints the same, but for the names of symbols, has one block."""
    assert page.text.count("the same everywhere") == 2  # the code and its output
    assert "s0" not in page.text
    assert len(page.select(".release-outputs")) == 4


def test_groups_of_outputs(page):
    """The pinned release's output is open, the others are folded under it."""
    assert outputs(page, 0) == [
        ("Output with PyTorch 2.10, 2.13", True, "the result is 33.0"),
        (
            "Output with PyTorch 2.6",
            False,
            "Traceback (most recent call last):\n  File x\nRuntimeError: no",
        ),
        ("Output with PyTorch 2.7 – 2.9", False, "the result is 12.0"),
    ]


def test_pinned_output_is_as_sphinx_gallery_made_it(page):
    """Its block keeps class and text, and stands first."""
    block = page.select_one(".release-outputs > details")
    assert block["class"] == ["release-output", "release-pinned"]
    assert (
        block.select_one("div.sphx-glr-script-out pre").text == "the result is 33.0\n"
    )
    assert len(page.select("div.sphx-glr-script-out")) == 5


def test_silent_on_the_pinned_release(page):
    """A cell that prints something only elsewhere has a block, and text is text."""
    assert outputs(page, 2) == [
        ("Output with PyTorch 2.10, 2.13", True, "Nothing was printed."),
        ("Output with PyTorch 2.7 – 2.9", False, "a warning <b>& more</b>"),
        ("Not run with PyTorch 2.6", False, "The recipe failed before this cell."),
    ]


def test_words(page):
    """A difference of behavior is said in words above the outputs."""
    notes = [note.text for note in page.select(".release-outputs > .release-note")]
    assert notes == [
        "Fixed in 2.7: RuntimeError before.",
        "Raises since 2.10: ValueError.",
    ]


def test_anchors(recorded, page):
    """Each cell can be linked to."""
    path = recorded.folder / "_doc/transcripts/2.9.1/plot_differs.json"
    count = len(json.loads(path.read_text("utf-8"))["cells"])
    expected = [f"cell-{number}" for number in range(1, count + 1)]
    assert [span["id"] for span in page.select("span[id^=cell-]")] == expected
    code = [span.find_next("pre").text for span in page.select("span[id^=cell-]")]
    assert len(set(code)) == count


def test_picker_where_there_are_outputs(recorded):
    """Recipes have the picker, with all releases, and no script or style in it."""
    for path in (recorded.folder / "html").rglob("*.html"):
        page = soup(path.read_text("utf-8"))
        choices = [option.text for option in page.select(".release-picker option")]
        assert bool(choices) == path.name.startswith("plot_"), path
        if not choices:
            continue
        assert choices[0] == "2.15" and choices[-1] == "2.6", path
        assert page.select_one("option[selected]").text == "2.13"
        assert page.select_one("label[for=release-choice]")
        for tag in page.select(".release-picker *, .release-output, .release-tested *"):
            assert not [name for name in tag.attrs if name.startswith(("on", "style"))]


def test_table_of_releases(recorded):
    """The table says how a recipe fares, with a link where a release is different."""
    page = soup((recorded.folder / "html/releases.html").read_text("utf-8"))
    rows = {row.th.text: row.select("td") for row in page.select("tbody tr")}
    assert [cell.text for cell in rows["Differ"]][:6] == [
        "✗the fix does not work",
        "○no error; the fix works, too",
        "○no error; the fix works, too",
        "○no error; the fix works, too",
        "✓",
        "?",
    ]
    anchor = soup(recorded.page("plot_differs")).select("span[id^=cell-]")[0]["id"]
    address = f"auto_recipes/plot_differs.html?torch=2.8#{anchor}"
    assert rows["Differ"][2].a["href"] == address
    assert not rows["Print unicode"][7].a
    assert page.select_one(
        "details > div.release-table[tabindex='0'][aria-label] table"
    )
    summary = page.select_one("details > summary").text
    assert summary == "Recipes 2 recipes, of which 2 depend on the version"


def test_legend_is_above_the_tables(recorded):
    """What the signs mean stands first, and names those that occur."""
    page = soup((recorded.folder / "html/releases.html").read_text("utf-8"))
    (legend,) = page.select(".release-legend")
    assert legend.find_next(class_="release-topic")
    assert "✗ the fix does not work" in [item.text for item in legend.select("li")]


def changed(site, release):
    """Return the text of a section for each kind of change of a release."""
    path = site.folder / f"html/releases/{release}.html"
    article = soup(path.read_text("utf-8")).article
    sections = article.section.select("section")
    return {
        section.h2.text.removesuffix("¶"): " ".join(section.ul.text.split())
        for section in sections
    } or " ".join(article.text.split())


def test_what_changed(recorded):
    """The page of a release says what is new, gone and printed now."""
    assert changed(recorded, "2.10") == {
        "New errors": "ValueError: not like thatIn Differ",
        "Other output without an error": "Differ",
    }
    assert changed(recorded, "2.7") == {
        "Errors that are gone": "RuntimeError: noIn Differ"
    }
    assert "Nothing: the recipes do what they did with 2.8." in changed(recorded, "2.9")
    assert "No recipe is recorded with both 2.13 and 2.14." in changed(recorded, "2.14")


def test_list_of_releases(recorded):
    """The newest release is first, and places that others link to are still there."""
    page = soup((recorded.folder / "html/releases.html").read_text("utf-8"))
    items = page.select(".release-list > li")
    ids = [item["id"] for item in items]
    assert ids[0] == "changes-2-15" and ids[-1] == "changes-2-7"
    assert items[5].text == "What changed in PyTorch 2.10: 1 new error"
    assert items[5].a["href"] == "releases/2.10.html"


def test_each_release_has_its_page(html):
    """A page says what a release changes, in few bytes; the front page leads there."""
    overview, front = (
        soup((html / name).read_text("utf-8")).article
        for name in ("releases.html", "index.html")
    )
    pages = [link["href"] for link in overview.select(".release-list > li a")]
    assert len(pages) == len(transcripts.folders(CONF)) - 1
    for name in (*pages, "releases.html"):
        assert (html / name).stat().st_size <= HEAVIEST, name
    newest = front.select_one("#what-changed-in-torch").select("a[href*='?torch=']")
    assert newest
    assert front.select_one(f"a[href='{pages[0]}']")


def test_nothing_but_what_matters(html):
    """No page of a release shows carets, lines of files, colors or empty sections."""
    for path in (html / "releases").glob("*.html"):
        said = [code.text for code in soup(path.read_text("utf-8")).article("code")]
        assert said
        for section in soup(path.read_text("utf-8")).select("article section section"):
            lines = [item.text for item in section.select("li .release-message")]
            assert len(lines) == len({*lines}), (path, lines)
            assert section.select("li"), (path, section.h2.text)
        for line in said:
            assert not re.search(r"\^\^|\x1b|\.py:\d+ in ", line), (path, line)


def test_changed_transcript_is_read_again(site):
    """A transcript that changes, comes or goes changes the pages without a new run."""
    folder = site.folder / "_doc/transcripts"
    record = json.loads((folder / "2.9.1/plot_differs.json").read_text("utf-8"))
    record["cells"][0]["output"] = ["changed in 2.9"]
    site.write_transcript("2.9.1", "plot_differs", record)
    site.write_transcript("2.15.0", "plot_differs", record)
    shutil.rmtree(folder / "2.6.0")
    site.build()
    assert site.returncode == 0, site.log
    assert site.executed() == 0
    assert ("Output with PyTorch 2.9, 2.15", False, "changed in 2.9") in outputs(
        soup(site.page("plot_differs")), 0
    )
    page = soup((site.folder / "html/releases.html").read_text("utf-8"))
    rows = {row.th.text: row.select("td") for row in page.select("tbody tr")}
    signs = [cell.text[0] for cell in rows["Differ"]]
    assert signs[0] == "?" and signs[-1] == "○"


@pytest.fixture(scope="module")
def edited(recorded, tmp_path_factory):
    """Build a copy of the site: one recipe is edited, one needs a newer release."""
    site = Site(tmp_path_factory.mktemp("edited") / "site")
    shutil.copytree(recorded.folder, site.folder)
    path = site.recipe("plot_differs")
    path.write_text(path.read_text("utf-8").replace("the end", "the very end"), "utf-8")
    needs = '"""\n\n# sphinx_gallery_needs_torch = "2.8"\n'
    path = site.recipe("plot_unicode")
    start, _, end = path.read_text("utf-8").rpartition('"""\n')
    path.write_text(start + needs + end, "utf-8")
    record = {"torch": "2.6.0", "status": "does not apply", "cells": []}
    site.write_transcript("2.6.0", "plot_unicode", {**record, "needs": "2.8"})
    site.write_transcript("2.7.1", "plot_unicode", {**record, "needs": "2.9"})
    site.record()
    assert site.returncode == 0, site.log
    return site


def test_edited_recipe_shows_no_old_output(edited):
    """Where the recipe changed, what was recorded for its earlier text is not shown."""
    page = soup(edited.page("plot_differs"))
    assert not page.select(".release-outputs")
    assert "the record for 2.6 – 2.11 is of an earlier text" in page.text


def test_recipe_that_does_not_apply(edited):
    """A release that lacks what the recipe needs is named as that, while it is so."""
    line = soup(edited.page("plot_unicode")).select_one(".release-tested")
    assert "needs 2.8, so not run with 2.6" in line.text
    assert "the record for 2.7 is of an earlier text" in line.text


def test_weight(html):
    """What is known of other releases makes a page little heavier."""
    added = [_added(html / f"auto_recipes/{path.stem}.html") for path in RECIPES]
    assert statistics.median(added) <= WEIGHT, added


def test_weight_is_measured(recorded):
    """The measure counts what is added: here, with nothing else, it is a lot."""
    path = recorded.folder / "html/auto_recipes/plot_differs.html"
    assert _added(path) > _added(path.with_name("plot_unicode.html")) > 0.05


def _added(path: Path) -> float:
    """Return how much heavier a page is for what it knows of other releases."""
    found = conftest.soup(path).select(
        ".release-picker, .release-tested, .release-note, span[id^=cell-],"
        ".release-output:not(.release-pinned), .release-pinned > summary,"
        "script[data-newest]"
    )
    inside = {id(tag) for each in found for tag in each.find_all()}
    added = sum(len(str(tag).encode()) for tag in found if id(tag) not in inside)
    return added / (path.stat().st_size - added)


def test_releases_are_named_in_one_place():
    """No file but conf.py lists the releases."""
    text = '"2.12.1",\n'
    files = [ROOT / "conf.py", *(ROOT / "_doc").rglob("*.py"), ROOT / "Makefile"]
    files += [*(ROOT / "_doc/_static").glob("*.js")]
    assert [path.name for path in files if text in path.read_text("utf-8")] == [
        "conf.py"
    ]


def test_messages_are_those_that_were_recorded(tmp_path):
    """What is in another order in each build does not make other pages."""
    path = tmp_path / "plot_x.json"
    cell = {"line": 1, "output": ["x"], "caught": [["ValueError", "{1, 2}"]]}
    other = {**cell, "caught": [["ValueError", "{2, 1}"]]}
    assert records.settled([other], path) == [other]
    path.write_text(json.dumps({"cells": [cell], "seconds": 1}), "utf-8")
    assert records.settled([other], path) == [cell]
    changed = {**other, "output": ["y"]}
    assert records.settled([changed], path) == [changed]


@pytest.mark.parametrize(
    ("found", "state", "reached"),
    [
        ({"status": "runs"}, "runs", [True, True, True]),
        ({}, "runs", [True, True, True]),
        ({"status": "fails", "error": 1}, "fails", [True, True, False]),
        ({"status": "fails", "death": "killed"}, "fails", [False, False, False]),
    ],
)
def test_cells_that_were_reached(tmp_path, found, state, reached):
    """Nothing is said of a cell that was not run; where it died nobody knows."""
    cells = [{"source": str(n), "output": [], "error": None} for n in range(3)]
    if number := found.get("error"):
        cells[number]["error"] = "E"
    path = tmp_path / "plot_x.json"
    path.write_text(json.dumps({**found, "cells": cells}), "utf-8")
    record = records.recorded(path, "", cells)
    assert record.state == state
    assert [cell is not None for cell in record.cells] == reached
