"""The pages load their own files, under a policy that forbids all others."""

from __future__ import annotations

import contextlib

import pytest
from _ext.show import policy
from conftest import needs_chromium
from docutils import nodes

RECIPE = "auto_recipes/plot_exporter_data_guard.html"
PAGES = [
    "index.html",
    "errors.html?q=Could+not+guard+on+data-dependent+expression",
    "functions.html",
    "genindex.html",
    "how-errors-are-matched.html",
    "how-this-site-works.html",
    "releases.html",
    "search.html?q=dynamic",
    "sg_execution_times.html",
    "topics/dynamic-shapes.html",
    "auto_recipes/index.html",
    RECIPE,
]
#: Milliseconds in which a page may still ask for something after it is loaded.
LATE = 400

#: Notes what the policy forbids, from the first element on.
LISTEN = """
globalThis.violations = [];
addEventListener("securitypolicyviolation", (event) => {
  violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


@pytest.fixture(scope="module", params=["served", "from a disk"])
def root(request, html, serve):
    """Return the address of the site."""
    return serve(html) if request.param == "served" else f"{html.as_uri()}/"


@pytest.fixture
def context(browser):
    """Return a window in which pages note what the policy forbids."""
    with _window(browser) as context:
        yield context


@pytest.fixture(scope="module")
def tabs(browser, root):
    """Open each page in a tab of one window, and wait for what comes late."""
    with _window(browser) as context:
        tabs = {path: _open(context, f"{root}{path}") for path in PAGES}
        tabs[RECIPE].wait_for_timeout(LATE)
        yield tabs


@contextlib.contextmanager
def _window(browser):
    context = browser.new_context(reduced_motion="reduce")
    context.add_init_script(LISTEN)
    yield context
    context.close()


def _open(context, address):
    """Open a page; all that it asks for is in ``asked``, what goes wrong elsewhere."""
    page = context.new_page()
    page.asked, page.troubles = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda said: _note(said, page.troubles))
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    page.goto(address)
    return page


def _wrong(page, root):
    """Return what was forbidden, went wrong or was asked of another host."""
    strangers = [url for url in page.asked if not url.startswith((root, "data:"))]
    return [*page.evaluate("violations"), *page.troubles, *strangers]


def _note(said, troubles):
    """Note an error or a warning; the theme says when it changes."""
    if said.type in {"error", "warning"}:
        troubles.append(said.text)


def test_strangers_are_taken_out():
    """What loads something from another host is gone, and nothing else."""
    kept = "<p>See https://example.org.</p>", '<script src="own.js"></script>'
    gone = '<script src="https://x.org/a.js"></script>', '<link href="http://x.org">'
    doctree = nodes.document(None, None)
    doctree += [nodes.raw("", text, format="html") for text in (*kept, *gone)]
    policy._drop_strangers(None, doctree)
    assert [node.astext() for node in doctree] == list(kept)


@needs_chromium
@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_forbidden_or_foreign(tabs, root, path):
    """A page needs nothing that the policy forbids, and asks no other host."""
    page = tabs[path]
    assert page.locator("article").count() == 1
    assert len(page.asked) > 5
    sheets = "[...document.querySelectorAll('link[rel=stylesheet], head style')]"
    assert page.evaluate(f"{sheets}.filter(each => !each.sheet).length") == 0
    assert _wrong(page, root) == []


@needs_chromium
def test_all_works_under_it(context, root):
    """Theme, release picker and copy buttons work."""
    page = _open(context, f"{root}{RECIPE}")
    page.locator(".theme-toggle-content .theme-toggle").click()
    assert page.locator("body").get_attribute("data-theme") != "auto"
    page.locator("#release-choice").select_option("2.8")
    assert page.locator("html").get_attribute("data-torch") == "2.8"
    assert page.locator("button.copybtn").count() > 3
    assert _wrong(page, root) == []


@needs_chromium
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_theme_is_there_at_first(context, root, theme):
    """The theme that a reader chose is there before the rest of the page."""
    page = _open(context, f"{root}{RECIPE}")
    page.evaluate(f"localStorage.setItem('theme', '{theme}')")
    context.add_init_script("""
      new MutationObserver((_, observer) => {
        if (!document.querySelector(".page")) return;
        globalThis.early = document.body.dataset.theme;
        observer.disconnect();
      }).observe(document, { childList: true, subtree: true });
    """)
    page.reload()
    assert page.evaluate("early") == theme
    assert _wrong(page, root) == []


@needs_chromium
@pytest.mark.parametrize(
    "markup",
    [
        "<script>globalThis.ran = 1</script>",
        "<img src=x onerror='globalThis.ran = 1'>",
        "<script src='https://example.org/x.js'></script>",
        "<img src='https://example.org/x.png'>",
        "<iframe src='https://example.org/'></iframe>",
    ],
)
def test_policy_forbids(browser, html, markup, tmp_path):
    """A page with anything else in it does not run or load that."""
    text = (html / "index.html").read_text("utf-8")
    path = tmp_path / "index.html"
    path.write_text(text.replace("</article>", f"{markup}</article>"), "utf-8")
    page = browser.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.route("https://**", lambda route: route.abort())
    page.add_init_script(LISTEN)
    page.goto(path.as_uri())
    page.wait_for_timeout(LATE)
    assert page.evaluate("globalThis.ran") is None
    assert len([each for each in page.evaluate("violations") if each]) >= 1
    page.close()
