"""Whatever builder makes them, the pages are complete, and lead to one another."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from bs4 import BeautifulSoup
from conftest import ROOT, sphinx

ADDRESS = "https://example.org/cookbook/"

#: A page of each release, as the miniature site has them, too.
RELEASE_PAGES = [*ROOT.glob("_doc/releases/*.rst")]

INDEX = """\
A miniature site
================

.. error-box::

.. topic-cards::

.. release-news::

.. recipe-topics::

.. toctree::

   auto_recipes/index
   sg_execution_times
   functions
   releases
   errors
   gallery
"""

#: One recipe a paragraph, and no newline at the end.
TOPIC = """\
The topic
=========

It has two recipes, and this sentence says that at sufficient length.

.. recipes::

   plot_differs

   plot_export"""


@pytest.fixture(scope="module")
def site(make_site):
    """Make a site with all that a page may have, and record it."""
    site = make_site("plot_differs", "plot_export").record()
    pages = {
        "index": INDEX,
        "topics/topic": TOPIC,
        "errors": "Errors\n======\n\n.. error-index::\n",
        "gallery": "Gallery\n=======\n\n.. recipe-gallery::\n",
    }
    for name, text in pages.items():
        path = site.folder / f"_doc/{name}.rst"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    record = json.loads(site.transcript("plot_differs").read_text("utf-8"))
    record["cells"][2]["output"] = ["the result is 12.0"]
    site.write_transcript("2.12.1", "plot_differs", record)
    return site


@pytest.fixture(scope="module")
def build(site):
    """Return a function that builds the site; all share what Sphinx keeps of pages."""
    built = {}

    def build(builder, *, again=False):
        if builder not in built or again:
            built[builder] = site.folder / builder
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SITE_URL", ADDRESS)
                done = sphinx(
                    site.folder / "_doc",
                    built[builder],
                    *("-b", builder, "-D", "recipe_topics=topic"),
                )
            assert done.returncode == 0, done.stdout + done.stderr
        return built[builder]

    return build


def soup(path):
    """Parse a page."""
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


@pytest.mark.parametrize("builder", ["html", "dirhtml"])
def test_site(build, builder):
    """Each builder of a site makes search, messages, map and the lost page."""
    folder = build(builder)
    for name in ("errors.json", "llms.txt", "llms-full.txt", "_static/errors-index.js"):
        assert (folder / name).exists(), name
    index = (folder / "_static/search-index.js").read_text("utf-8")
    assert index.count('"title":') >= 8
    text = (folder / "sitemap.xml").read_text("utf-8")
    listed = re.findall(f"<loc>{ADDRESS}(.*?)</loc>", text)
    assert len(listed) == 8 + len(RELEASE_PAGES)
    assert all(target(folder, link).is_file() for link in listed)
    found = json.loads((folder / "errors.json").read_text("utf-8"))
    for recipe in found["recipes"]:
        assert soup(target(folder, recipe["page"])).h1
    cards = soup(target(folder, address(builder, "topics/topic")))
    assert len(cards.select(".recipe-card")) == 2
    assert (folder / "llms.txt").read_text("utf-8").count("\n- [") == 2
    assert not (folder / "404/index.html").exists()


def target(folder, link):
    """Return the file that a server sends for an address."""
    path = folder / unquote(urlsplit(link).path)
    return path / "index.html" if path.is_dir() else path


def address(builder, name):
    """Return the address of a page."""
    return f"{name}/" if builder == "dirhtml" else f"{name}.html"


@pytest.mark.parametrize("builder", ["html", "dirhtml"])
def test_links(build, builder):
    """Each link leads to a page and to an anchor of it, wherever that page is."""
    folder = build(builder)
    pages = {path: soup(path) for path in folder.rglob("*.html")}
    anchors = {
        path: {tag["id"] for tag in page.find_all(id=True)}
        for path, page in pages.items()
    }
    broken = []
    for path, page in pages.items():
        at = f"/cookbook/{path.relative_to(folder).as_posix()}"
        for tag in page.select("a[href], link[href], script[src], img[src]"):
            link = tag.get("href") or tag.get("src")
            if re.match(r"[a-z]+:", link) or link == "#":
                continue
            place, anchor = urldefrag(urljoin(at, link))
            found = target(folder, place.removeprefix("/cookbook/"))
            if not found.is_file() or (
                anchor and found in anchors and anchor not in anchors[found]
            ):
                broken.append((at, link))
    assert broken == []


@pytest.mark.parametrize("builder", ["html", "dirhtml"])
def test_links_to_cells(build, builder):
    """The lists of messages and of changes lead to cells, under their release."""
    folder = build(builder)
    page = address(builder, "auto_recipes/plot_differs")
    errors = soup(target(folder, address(builder, "errors")))
    links = [link["href"] for link in errors.select(".error-list a")]
    up = "../" if builder == "dirhtml" else ""
    assert links
    assert {urldefrag(link)[0] for link in links} == {f"{up}{page}"}
    releases = soup(target(folder, address(builder, "releases/2.13")))
    links = [link["href"] for link in releases.select("article li a")]
    assert links == [f"{up}../{page}?torch=2.13#cell-3"]


def test_one_page(build):
    """The builder ``singlehtml`` writes one page, which leads to no other."""
    folder = build("singlehtml")
    page = soup(folder / "index.html")
    assert page.select("details.release-output")
    links = [link["href"] for link in page.select("article a.internal[href]")]
    assert links
    ours = [link for link in links if not link.startswith(("#", "_"))]
    assert ours == []


@pytest.mark.parametrize(
    ("builder", "name"),
    [
        ("latex", "torchexportcookbook.tex"),
        ("man", "torchexportcookbook.1"),
        ("text", "auto_recipes/plot_differs.txt"),
    ],
)
def test_other_formats(build, builder, name):
    """What is not HTML shows the text of what is made for HTML."""
    text = (build(builder) / name).read_text("utf-8")
    text = re.sub(r"\\[A-Za-z]+\{?|[{}]|\\", "", text)
    assert "Tested with PyTorch" in text
    assert "Output with PyTorch 2.12" in text
    assert "the result is 12.0" in text
    assert re.search(r"output\s+differs\s+with", text)
    assert "Paste an error" not in text
    assert "?torch=" not in text


def test_text_of_lists(build):
    """Each entry of a list has a line of its own, and a control has none."""
    folder = build("text")
    lines = (folder / "releases.txt").read_text("utf-8").splitlines()
    assert "* ✓ the problem occurs, the fix works" in lines
    gallery = (folder / "gallery.txt").read_text("utf-8")
    assert "Export a model" in gallery
    assert "All topics" not in gallery


def test_builders_do_not_mistake_each_other(site, build):
    """What changed before a build by one builder is not up to date for another."""
    build("html")
    build("dirhtml")
    record = json.loads(site.transcript("plot_export").read_text("utf-8"))
    record["cells"][0]["caught"] = [["ValueError", "quite another message"]]
    site.write_transcript("2.11.0", "plot_export", record)
    for builder in ("dirhtml", "html"):
        text = (build(builder, again=True) / "errors.json").read_text("utf-8")
        assert "quite another message" in text
