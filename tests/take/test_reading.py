"""The site is read in other ways: by programs, from a disk, by copying."""

from __future__ import annotations

import re
import zipfile

from _ext.take import offline
from conftest import RECIPES, ROOT, needs_chromium

#: The recipes of all topics. No file may have more tokens than a model reads at once;
#: of English and code, a token has more than three characters on average.
FULL = "llms-full/*.md"
MOST = 200_000
TOKEN = 3

GUARD = "auto_recipes/plot_exporter_data_guard.html"


def test_list_for_programs(html):
    """It has a title, a summary, and each recipe once, with its page and a line."""
    text = (html / "llms.txt").read_text("utf-8")
    assert re.match(r"# .+\n\n> .+\n\n## ", text)
    found = re.findall(r"^- \[TX.+\]\((auto\S+)\): \S.*$", text, re.MULTILINE)
    assert sorted(found) == [f"auto_recipes/{path.stem}.md" for path in RECIPES]
    assert all((html / path).exists() for path in found)
    rest = re.sub(r"^(# |> |## |- ).*\n|^\n", "", text, flags=re.MULTILINE)
    assert rest == ""


def test_recipes_for_programs(html):
    """They have code and outputs, and no markup of other kinds."""
    listed = (html / "llms-full.txt").read_text("utf-8")
    parts = re.findall(r"^- \[.+\]\((llms-full/\S+)\): ", listed, re.MULTILINE)
    texts = [(html / part).read_text("utf-8") for part in parts]
    assert sorted(parts) == sorted(f"llms-full/{p.name}" for p in html.glob(FULL))
    assert max(map(len, texts)) / TOKEN < MOST
    text = "\n".join(texts)
    assert "Output:\n\n```text\nCould not guard on" in text
    assert "```diff\n- if peak > 1:" in text
    assert "```python\nimport torch\n" in text
    prose = re.sub(r"^(`{3,})\w+\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r":(?:func|class|ref|doc|meth|mod):`|^\.\. \w", prose) == []
    for path in RECIPES:
        assert f"[The page](../auto_recipes/{path.stem}.html)" in text


def test_zip_is_the_same_twice(html, tmp_path):
    """Two zips have the same bytes, and all files of the site in one folder."""
    paths = [tmp_path / "one" / "site.zip", tmp_path / "two" / "site.zip"]
    for path in paths:
        path.parent.mkdir()
        offline.pack(html, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"site"}
    assert {"site/index.html", "site/errors.html", "site/search.html"} <= set(names)


@needs_chromium
def test_zip_works_from_a_disk(html, tmp_path, browser):
    """Unpacked, the error box, the release picker and the theme work."""
    offline.pack(html, tmp_path / "site.zip")
    with zipfile.ZipFile(tmp_path / "site.zip") as archive:
        archive.extractall(tmp_path)
    page = browser.new_page()
    page.goto((tmp_path / "site/index.html").as_uri())
    page.locator(".theme-toggle-content .theme-toggle").click()
    assert page.locator("body").get_attribute("data-theme") != "auto"
    page.locator("#error-text").fill("GuardOnDataDependentSymNode: Could not guard on")
    page.locator("#error-matches a").first.click()
    page.wait_for_url("**/auto_recipes/*.html*")
    page.locator("#release-choice").select_option("2.8")
    assert "torch=2.8" in page.url
    page.close()


@needs_chromium
def test_copy(html, browser, serve):
    """A copy button copies the code."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"{serve(html)}{GUARD}")
    block = page.locator("div.highlight-Python").first
    block.hover()
    block.locator("button.copybtn").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    context.close()
    script = (ROOT / "recipes/plot_exporter_data_guard.py").read_text("utf-8")
    assert copied.startswith("import torch\n")
    assert copied.strip() in script


@needs_chromium
def test_outputs_and_prompts_are_not_copied(copy_pair, browser, serve):
    """Outputs have no button; prompts and what follows them stay behind."""
    site = copy_pair()
    functions = site.folder / "_doc/functions.rst"
    blocks = ".. code-block:: pycon\n\n   >>> 1 + 1\n   2\n\n"
    blocks += ".. code-block:: console\n\n   $ make html\n   Done\n"
    functions.write_text(f"{functions.read_text('utf-8')}\n{blocks}", "utf-8")
    site.build()
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    address = serve(site.folder / "html")
    page.goto(f"{address}functions.html")
    copied = []
    for language in ("pycon", "console"):
        block = page.locator(f"div.highlight-{language}")
        block.hover()
        block.locator("button.copybtn").click()
        copied.append(page.evaluate("navigator.clipboard.readText()").strip())
    page.goto(f"{address}auto_recipes/plot_export.html")
    page.wait_for_selector("button.copybtn")
    buttons = page.locator(".sphx-glr-script-out button.copybtn").count()
    context.close()
    assert (copied, buttons) == (["1 + 1", "make html"], 0)
