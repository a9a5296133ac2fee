"""The search index: what the pages show, with code, outputs and messages.

Sphinx's own index leaves code and outputs out. This one is made by Pagefind, after the
build, of the article of each page and nothing around it. Pages that only repeat what
others say are left out: those with ``:nosearch:`` or ``:orphan:`` at their top. The
page that asks the index is ``_templates/search.html`` with ``_static/search.js``.

Pagefind can filter by topic, but writes filters in another order each time:
https://github.com/Pagefind/pagefind/issues/638. So ``topics.json`` beside the index
says which entries belong to a topic.
"""

from __future__ import annotations

import gzip
import html
import json
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pagefind_bin import get_executable
from sphinx.errors import ExtensionError

from _ext import files, noop, site
from _ext.find import topics
from _ext.recipe import read

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: What an article has that nobody looks for.
AROUND = (
    ".release-picker, .release-tested, .recipe-links, .headerlink, .sphx-glr-footer, "
    ".sphx-glr-signature, .sphx-glr-timing, .sphx-glr-thumbnails, "
    ".sphx-glr-download-link-note, .program"
)

#: What Pagefind writes for pages other than ours.
UNUSED = ("pagefind-*ui.*", "pagefind-highlight.js", "wasm.unknown.pagefind")

#: The colors and the numbers of code: half of a page, a third of Pagefind's time.
_COLORS = re.compile(r'<span class="linenos">[^<]*</span>|</?span[^>]*>')

_ARTICLE = re.compile(r"<article role=\"main\".*</article>", re.DOTALL)


def _topics(app: Sphinx) -> dict[str, str]:
    """Return the topic of each page that has one."""
    found = {topics.page(topic): topic for topic in app.config.recipe_topics}
    for docname in app.env.found_docs:
        script = Path(app.srcdir, f"{docname}.py")
        if script.exists() and (tags := read(script).tags):
            found[docname] = tags[0]
    return found


def _pages(app: Sphinx) -> dict[str, str]:
    """Return what is to be indexed, by the path of the page."""
    of = _topics(app)
    paths = {name: site.file(app, name) for name in sorted(app.env.found_docs)}
    return {
        path.relative_to(app.outdir).as_posix(): article(path, of.get(docname))
        for docname, path in paths.items()
        if not {"nosearch", "orphan"} & app.env.metadata[docname].keys()
        if path.exists()
    }


def article(path: Path, topic: str | None) -> str:
    """Return the article of a page, marked for Pagefind.

    Raises
    ------
    ExtensionError
        If the page has none.
    """
    found = _ARTICLE.search(path.read_text("utf-8"))
    if found is None:
        raise ExtensionError(
            f"{path} has no article to search in: has the theme changed? See _ARTICLE "
            f"in {__name__}."
        )
    mark = f' data-pagefind-meta="topic:{html.escape(topic)}"' if topic else ""
    text = _COLORS.sub("", found[0])
    body = f"<body data-pagefind-body{mark}>{text}</body>"
    return f'<!doctype html><html lang="en">{body}</html>'


def _write(app: Sphinx, error: Exception | None) -> None:
    """Write the index, unless it is up to date."""
    if error is not None or not site.is_made(app):
        return
    target = Path(app.outdir, "pagefind")
    if noop.nothing_changed(app) and target.exists():
        return
    pages = _pages(app)
    made_with = AROUND, metadata.version("pagefind")
    state = files.digest(repr((str(app.outdir), pages, made_with)))
    stamp = Path(app.doctreedir, "search.state")
    if target.exists() and stamp.exists() and stamp.read_text() == state:
        return
    with TemporaryDirectory() as folder:
        index = run(Path(folder), pages)
        shutil.rmtree(target, ignore_errors=True)
        unused = shutil.ignore_patterns(*UNUSED)
        shutil.copytree(index, target, ignore=unused)
    stamp.write_text(state)


def run(folder: Path, pages: dict[str, str]) -> Path:
    """Let Pagefind make an index of pages; return the folder that it is in.

    Parameters
    ----------
    folder
        An empty folder to work in.
    pages
        The text of each page by its path.

    Raises
    ------
    ExtensionError
        If Pagefind fails.
    """
    index = folder / "index"
    for name, text in pages.items():
        path = folder / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    command = [str(get_executable()), "--quiet", "--keep-index-url"]
    command += ["--site", str(folder / "site"), "--output-path", str(index)]
    command += ["--exclude-selectors", AROUND]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode:
        raise ExtensionError(f"Pagefind made no index:\n{done.stdout}{done.stderr}")
    (index / "topics.json").write_text(json.dumps(_entries(index)), "utf-8")
    return index


def _entries(index: Path) -> dict[str, list[str]]:
    """Return the entries of an index by topic, as Pagefind names them in answers."""
    found: dict[str, list[str]] = {}
    for path in sorted(index.glob("fragment/*.pf_fragment")):
        # A few bytes tell what the file is, the rest is JSON.
        _, brace, rest = gzip.decompress(path.read_bytes()).decode().partition("{")
        if topic := json.loads(brace + rest)["meta"].get("topic"):
            found.setdefault(topic, []).append(path.stem)
    return dict(sorted(found.items()))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
