"""With an address a site has links to itself and its repository, without one none."""

from __future__ import annotations

import runpy
import shutil
import subprocess
from urllib.parse import parse_qs, urlsplit

import pytest
from _ext.show import metadata
from bs4 import BeautifulSoup
from conftest import ROOT, needs_chromium

REPOSITORY = "https://github.com/someone/cookbook"
ADDRESS = {"SITE_URL": "https://example.org/cookbook/", "REPOSITORY_URL": REPOSITORY}
DATED = "2024-05-06"


@pytest.fixture(scope="module")
def without(pair):
    """Return a site without an address, outside of any repository."""
    return pair


@pytest.fixture(scope="module")
def addressed(copy_pair):
    """Build a site with addresses, and its recipes in a repository."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ADDRESS.items():
            patch.setenv(name, value)
        for name in ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"):
            patch.setenv(name, f"{DATED}T12:00:00+00:00")
        site = copy_pair()
        for command in ("init -q", "add recipes", "commit -qm Recipes"):
            git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
            subprocess.run([*git, *command.split()], check=True, cwd=site.folder)
        return site.build()


def soup(site, path):
    """Parse a page."""
    return BeautifulSoup(
        (site.folder / "html" / path).read_text("utf-8"), "html.parser"
    )


def links(page):
    """Return the links to the repository and to Colab, by their words."""
    return {link.text: link["href"] for link in page.select(".launch-links a")}


def test_links_of_a_recipe(addressed):
    """A recipe is edited where it is written; Colab opens the notebook of the site."""
    assert addressed.returncode == 0, addressed.log
    page = soup(addressed, "auto_recipes/plot_export.html")
    found = links(page)
    assert found["Edit this page"] == f"{REPOSITORY}/edit/main/recipes/plot_export.py"
    assert page.select_one(".edit-this-page a")["href"] == found["Edit this page"]
    start = "https://colab.research.google.com/github/someone/cookbook/blob/gh-pages/"
    (colab,) = {a["href"] for a in page.select(".recipe-links a") if a.text == "Colab"}
    notebook = colab.removeprefix(start)
    assert (addressed.folder / "html" / notebook).name == "plot_export.ipynb"
    assert (addressed.folder / "html" / notebook).exists()
    issue = parse_qs(urlsplit(found["Report a problem"]).query)
    assert issue["title"] == ["Export a model: "]
    assert issue["body"][0].startswith(
        "Page: auto_recipes/plot_export\nRelease of torch: 2.13\n"
    )


def test_links_of_other_pages(addressed):
    """A page is edited in _doc; what nobody wrote has no links."""
    found = links(soup(addressed, "functions.html"))
    assert found["Edit this page"] == f"{REPOSITORY}/edit/main/_doc/functions.rst"
    assert not soup(addressed, "functions.html").select(".recipe-links")
    for path in ("genindex.html", "search.html", "404.html", "sg_execution_times.html"):
        assert links(soup(addressed, path)) == {}


def test_no_repository(without):
    """Without a repository there are no links to one."""
    assert without.returncode == 0, without.log
    for path in ("auto_recipes/plot_export.html", "functions.html"):
        page = soup(without, path)
        assert links(page) == {}
        assert page.select(".edit-this-page, script[src*=launch]") == []


@pytest.mark.parametrize("address", ["github.com/a/b", "https://github.com/a", "x"])
def test_wrong_repository(make_site, monkeypatch, address):
    """An address that no link can be made of is rejected, with a remedy."""
    monkeypatch.setenv("REPOSITORY_URL", address)
    site = make_site().build()
    assert site.returncode != 0
    assert f'REPOSITORY_URL is "{address}": give https://github.com/' in site.log


@needs_chromium
def test_problem_names_the_chosen_release(addressed, browser, serve):
    """A problem is reported with the release that the reader chose."""
    page = browser.new_page()
    page.route("https://**", lambda route: route.abort())
    page.goto(f"{serve(addressed.folder / 'html')}auto_recipes/plot_export.html")
    page.locator("#release-choice").select_option("2.9")
    link = page.get_by_role("link", name="Report a problem")
    link.evaluate("link => link.addEventListener('click', e => e.preventDefault())")
    link.click()
    body = parse_qs(urlsplit(link.get_attribute("href")).query)["body"][0]
    page.close()
    assert "Release of torch: 2.9\n" in body


def test_dates(addressed, without):
    """A recipe has the date of its last commit, and none where there is no Git."""
    page = soup(addressed, "auto_recipes/plot_export.html")
    assert "06 May 2024" in page.select_one(".last-updated").text
    for path in ("auto_recipes/plot_export.html", "functions.html"):
        assert soup(without, path).select(".last-updated") == []
    assert soup(addressed, "functions.html").select(".last-updated") == []


def test_map_of_the_site(addressed, without):
    """All pages are on the map, after a build with nothing to do as well."""
    path = addressed.folder / "html/sitemap.xml"
    page = "https://example.org/cookbook/auto_recipes/plot_export.html"
    expected = f"<url><loc>{page}</loc><lastmod>{DATED}</lastmod></url>"
    assert expected in path.read_text("utf-8")
    assert "sg_execution_times" not in path.read_text("utf-8")
    assert not (without.folder / "html/sitemap.xml").exists()


def test_page_for_lost_readers(addressed, without):
    """Its links work at any depth, and lead to the site."""
    for site, prefix in ((addressed, "/cookbook/"), (without, "/")):
        page = soup(site, "404.html")
        assert page.html["data-content_root"] == prefix
        named = page.select("script[src], a[href], link[href], form[action]")
        for element in named:
            address = element.get("src") or element.get("href") or element["action"]
            if address.startswith(("http", "#")):
                continue
            assert address.startswith(prefix)
            path = urlsplit(address).path.removeprefix(prefix)
            assert (site.folder / "html" / path).exists(), address


def test_absolute_is_left_alone():
    """Only relative addresses are changed."""
    kept = '<a href="https://a.b/"></a><a href="#x"></a><a href="/y"></a>'
    assert metadata.absolute(kept, "/z/") == kept
    assert metadata.absolute('<a href="./x/y.html">', "/z/") == '<a href="/z/x/y.html">'


def test_what_a_page_says_of_itself(html):
    """A recipe names its title and its advice."""
    text = (html / "auto_recipes/plot_exporter_data_guard.html").read_text("utf-8")
    page = BeautifulSoup(text, "html.parser")
    said = {
        element["property"]: element["content"]
        for element in page.select("meta[property^=og]")
    }
    assert said["og:title"] == "Could not guard on data-dependent expression"
    assert said["og:description"].startswith("An if needs True or False")


def test_ways_through_the_topics(html):
    """Previous and next follow the topics, from one to the next."""
    topic = html / "topics/onnx.html"
    names = []
    page = topic
    while "topics" not in page.parts or page == topic:
        names.append(page.stem)
        text = page.read_text("utf-8")
        link = BeautifulSoup(text, "html.parser").select_one("a.next-page")
        page = (page.parent / link["href"]).resolve()
    assert page.name == "whole-models.html"
    listed = (ROOT / "_doc/topics/onnx.rst").read_text("utf-8")
    _, _, listed = listed.partition(".. recipes::\n\n")
    assert names == ["onnx", *listed.split()[: len(names) - 1]]


def test_published_pages_stay(html):
    """Each page that was ever published is there, or leads to where it went."""
    listed = set((ROOT / "_doc/addresses.txt").read_text("utf-8").split())
    sources = {
        path.relative_to(ROOT / "_doc") for path in (ROOT / "_doc").rglob("*.rst")
    }
    built = {
        source.with_suffix(".html").as_posix()
        for source in sources
        if source.name != "sg_execution_times.rst"
    }
    moved = runpy.run_path(str(ROOT / "conf.py"))["redirects"]
    gone = listed - built - {f"{page}.html" for page in moved}
    assert not gone, "Say in conf.py, at redirects, where these pages went."
    assert not built - listed, "Add these pages to _doc/addresses.txt."
    for page, target in moved.items():
        assert (html / page).with_name(target).exists(), "conf.py redirects to nothing."


@needs_chromium
def test_old_link_leads_to_the_page(copy_pair, browser, serve):
    """A renamed recipe is found at its old address, without a script."""
    site = copy_pair()
    shutil.copytree(ROOT / "_doc/_templates", site.folder / "_doc/_templates")
    site.build("-D", "redirects.auto_recipes/plot_old=plot_export.html")
    assert site.returncode == 0, site.log
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{serve(site.folder / 'html')}auto_recipes/plot_old.html")
    page.wait_for_url("**/plot_export.html")
    assert page.query_selector("h1")
