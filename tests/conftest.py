"""What the tests share: the repository, the built site and the miniature site."""

from __future__ import annotations

import contextlib
import functools
import gc
import http.server
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import forks
import pytest
from bs4 import BeautifulSoup
from filelock import FileLock  # torch brings it along
from playwright import sync_api
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("plot_*.py"))

#: What a process has imported that recipes are forked from.
PRELOAD = runpy.run_path(str(ROOT / "conf.py"))["recipe_preload"]

# A parsed page has many objects, and a collection finds none that is to go: two fifths
# of the time of parsing.
gc.set_threshold(100_000)

#: The tests that run recipes or problems, and those that parse the pages of all.
RUNNING = {"test_recipes.py", "test_problems.py"}
PARSING = {
    "test_downloads.py",
    "test_ids.py",
    "test_pictures.py",
    "test_releases.py",
    "test_site.py",
    "test_twins.py",
}


class Scheduling(LoadScopeScheduling):
    """Keep the tests of a file in one process, which makes its sites once.

    Files that parse the pages of all recipes stay together. The tests that run recipes
    share nothing and are divided; they come last, so that no process is left with a
    long file while the others have ended. ``--dist loadgroup`` has no effect with
    pytest 9.2 and pytest-xdist 3.8, which names groups in an attribute that pytest no
    longer reads. If a later version of pytest-xdist does not ask ``_split_scope``,
    ``--dist loadfile`` in the Makefile is the next best.
    """

    def _split_scope(self, nodeid: str) -> str:
        """Return what has to stay in one process with a test."""
        file = nodeid.partition("::")[0]
        name = file.rpartition("/")[2]
        return "pages" if name in PARSING else nodeid if name in RUNNING else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Say how tests are divided among processes, where there are several."""
    return Scheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what needs a browser, and put what runs recipes last."""
    for item in items:
        if "browser" in item.fixturenames:
            item.add_marker(pytest.mark.browser)
    items.sort(key=lambda item: item.path.name in RUNNING)


def sphinx(
    srcdir: Path,
    outdir: Path,
    *options: str,
    python: Path | str = sys.executable,
    confdir: Path = ROOT,
) -> subprocess.CompletedProcess:
    """Build ``srcdir`` with the real configuration, as ``make html`` does.

    The recipes of another site convert nothing to ONNX: what does is not loaded then.
    """
    command = [str(python), "-m", "sphinx", "-c", str(confdir), "-n", "-W"]
    command += ["--keep-going", "-j", "auto", "-d", str(outdir.parent / "doctrees")]
    if srcdir != ROOT / "_doc":
        command += ["-D", "recipe_preload=torch,torch.export._trace"]
    return subprocess.run(
        [*command, *options, str(srcdir), str(outdir)],
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )


@dataclass
class Site:
    """A miniature site: some recipes, built by the real configuration.

    Attributes
    ----------
    folder
        Where it lies; ``recipes``, ``_doc`` and ``html`` are in it.
    returncode, log
        What the last build ended with, and what it printed.
    """

    folder: Path
    returncode: int = -1
    log: str = ""

    def add(self, *names: str) -> Site:
        """Copy recipes of ``tests/site`` into this one."""
        for name in names:
            shutil.copy(ROOT / "tests/site/recipes" / f"{name}.py", self.recipe(name))
        return self

    def build(self, *options: str, **where: Path) -> Site:
        """Build it; afterwards ``returncode`` and ``log`` say how it went."""
        done = sphinx(self.folder / "_doc", self.folder / "html", *options, **where)
        self.returncode, self.log = done.returncode, done.stdout + done.stderr
        return self

    def record(self) -> Site:
        """Build it and record the transcripts."""
        return self.build("-D", "record_transcripts=1")

    def recipe(self, name: str) -> Path:
        """Return the path of a recipe."""
        return self.folder / "recipes" / f"{name}.py"

    def transcript(self, name: str) -> Path:
        """Return the path of the one transcript of a recipe."""
        (path,) = self.folder.glob(f"_doc/transcripts/*/{name}.json")
        return path

    def write_transcript(self, release: str, name: str, record: dict) -> None:
        """Make up the transcript of a recipe under another release."""
        path = self.folder / f"_doc/transcripts/{release}/{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record), "utf-8")

    def page(self, name: str) -> str:
        """Return the page of a recipe as the reader's browser gets it."""
        return (self.folder / "html/auto_recipes" / f"{name}.html").read_text("utf-8")

    def executed(self) -> int:
        """Return how many recipes the last build ran to their end."""
        return int(re.search(r"successfully executed (\d+) out of", self.log)[1])

    @contextlib.contextmanager
    def put_back(self, place: Path) -> Iterator[Site]:
        """Give this site away, and put it back as it was, times included.

        What it was is kept in ``place`` meanwhile. A copy elsewhere would have to be
        built before it is current.
        """
        shutil.copytree(self.folder, place)
        yield self
        shutil.rmtree(self.folder)
        place.rename(self.folder)

    def files(self) -> dict[str, bytes]:
        """Return what the build made for the reader, by path: not ``.buildinfo``."""
        html = self.folder / "html"
        return {
            path.relative_to(html).as_posix(): path.read_bytes()
            for path in sorted(html.rglob("*"))
            if path.is_file() and path.name != ".buildinfo"
        }


@pytest.fixture(scope="session")
def make_site(tmp_path_factory):
    """Return a function that makes a miniature site of the named recipes."""

    def make(*names: str, folder: Path | None = None) -> Site:
        folder = folder or tmp_path_factory.mktemp("site")
        shutil.copytree(ROOT / "tests/site/_doc", folder / "_doc", dirs_exist_ok=True)
        for shared in ("inventories", "releases"):
            shutil.copytree(ROOT / "_doc" / shared, folder / "_doc" / shared)
        (folder / "recipes").mkdir()
        header = "recipes/GALLERY_HEADER.rst"
        shutil.copy(ROOT / "tests/site" / header, folder / header)
        return Site(folder).add(*names)

    return make


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id):
    """Return a function that makes something once for all processes of the tests.

    It takes a name and what makes it, which gets an empty folder and returns what can
    be written as JSON.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent

    def once(name: str, make: Callable[[Path], Any]) -> Any:
        done = shared / f"{name}.json"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(shared / name, ignore_errors=True)
                (shared / name).mkdir()
                done.write_text(json.dumps(make(shared / name)), "utf-8")
        return json.loads(done.read_text("utf-8"))

    return once


@pytest.fixture(scope="session")
def html(once) -> Path:
    """Build the site where ``make html`` builds it, and return its folder."""
    folder = ROOT / "build/html"

    def build(_: Path) -> list[str] | None:
        done = sphinx(ROOT / "_doc", folder)
        lines = (done.stdout + done.stderr).splitlines()
        wrong = [line for line in lines if "WARNING" in line or "ERROR" in line]
        return wrong if done.returncode else None

    wrong = once("html", build)
    assert wrong is None, "\n".join(["'make html' fails:", *wrong])
    return folder


@functools.cache
def soup(path: Path) -> BeautifulSoup:
    """Parse a page of the site, once in a process: no test may change what it gets."""
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


@pytest.fixture(scope="session")
def pair(once, make_site) -> Site:
    """Build a site of two recipes, in which all is current; no test may change it."""

    def build(folder: Path) -> tuple[str, int, str]:
        site = make_site("plot_export", "plot_unicode", folder=folder).record()
        site.build()  # shows the running times that the first one recorded
        return str(folder), site.returncode, site.log

    folder, returncode, log = once("pair", build)
    assert returncode == 0, log
    return Site(Path(folder), returncode, log)


@pytest.fixture(scope="session")
def copy_pair(pair, tmp_path_factory) -> Callable[[], Site]:
    """Return a function that copies that site, with the times of its files."""

    def copy() -> Site:
        folder = tmp_path_factory.mktemp("pair")
        return Site(shutil.copytree(pair.folder, folder, dirs_exist_ok=True))

    return copy


@pytest.fixture(scope="session")
def recorded(once, make_site) -> Site:
    """Build a site with the transcripts of six releases, of which five are made up.

    With 2.6 ``plot_differs`` fails, with 2.7 to 2.9 it prints and raises other things,
    with 2.10 it does what it does with the pinned release, and 2.11 has its transcript
    for an earlier text. ``plot_unicode`` is recorded with the pinned release alone.
    """

    def build(folder: Path) -> tuple[str, int, str]:
        site = make_site("plot_differs", "plot_unicode", folder=folder).record()
        record = json.loads(site.transcript("plot_differs").read_text("utf-8"))
        made_up = {
            "2.6.0": _failing(record),
            "2.7.1": _older(record),
            "2.8.0": _older(record),
            "2.9.1": _older(record),
            "2.10.0": record,
            "2.11.0": _with(record, 0, source="another"),
        }
        for release, text in made_up.items():
            site.write_transcript(release, "plot_differs", text)
        site.build()
        return str(folder), site.returncode, site.log

    folder, returncode, log = once("recorded", build)
    return Site(Path(folder), returncode, log)


def _with(record: dict, number: int, **changes: object) -> dict:
    """Return a transcript with another cell."""
    cells = list(record["cells"])
    cells[number] = {**cells[number], **changes}
    return {**record, "cells": cells}


def _older(record: dict) -> dict:
    """Return a transcript in which each cell but the first and the last differs."""
    record = _with(record, 1, output=["f32[s0, s1] and s0"])
    record = _with(record, 2, output=["the result is 12.0"])
    record = _with(record, 3, output=["It works."], caught=[])
    return _with(record, 4, output=["a warning <b>& more</b>"])


def _failing(record: dict) -> dict:
    """Return a transcript of a recipe that ends in its third cell."""
    trace = ["Traceback (most recent call last):", "  File x", "RuntimeError: no"]
    record = _with(record, 2, output=trace, error=trace[-1])
    for number in (3, 4, 5):
        record = _with(record, number, output=[], caught=[])
    return {**record, "status": "fails"}


@pytest.fixture(scope="session")
def forkserver():
    """Start what kernels and problems are forked from."""
    forks.start_server(PRELOAD)


CHROMIUM = shutil.which("chromium")
#: Neither a sandbox nor a graphics card nor a word to its maker.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: For tests that look at pages in a browser.
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium: install the package chromium"
)


class Visitor:
    """Opens pages of a site, and notes what goes wrong on them.

    Attributes
    ----------
    troubles
        Errors, messages on the console, requests to another host.
    """

    def __init__(self, browser: sync_api.Browser, address: str) -> None:
        self.browser, self.address = browser, address
        self.contexts: list[sync_api.BrowserContext] = []
        self.troubles: list[str] = []

    def __call__(self, path: str, **options: object) -> sync_api.Page:
        """Open a page in a new context."""
        context = self.browser.new_context(base_url=self.address, **options)
        self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", lambda message: self._check_message(message.text))
        page.on("request", lambda request: self._check_host(request.url))
        page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page.goto(path)
        return page

    def _check_message(self, text: str) -> None:
        if not re.fullmatch(r"Changed to \w+ mode\.", text):  # furo's
            self.troubles.append(text)

    def _check_host(self, url: str) -> None:
        if not url.startswith((self.address, "data:")):
            self.troubles.append(url)

    def close(self) -> None:
        """Close all pages; nothing may have gone wrong on them."""
        for context in self.contexts:
            context.close()
        assert self.troubles == []


@pytest.fixture(scope="session")
def browser():
    """Start Chromium."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """A server that does not write a line for each request."""

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="session")
def serve():
    """Return a function that serves a folder and returns its address."""
    running = []

    def serve(folder: Path) -> str:
        handler = functools.partial(_Quiet, directory=folder)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()
