"""What readers take away: notebooks with outputs, and zips that say what they need."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import nbformat
import pytest
from _ext.recipe import applies, needed_torch
from _ext.take.archives import UNASKED, requirements
from _ext.take.notebooks import Links
from conftest import RECIPES, ROOT, Site, soup

if TYPE_CHECKING:
    from pathlib import Path

BASE = "https://cookbook.example/latest/"
#: What a recipe uses where it is installed; the page says how to get it.
BESIDE = {"executorch"}
SITE = ["plot_export", "plot_unicode", "plot_raises", "plot_crashes", "plot_newer"]


def downloaded(html: Path, name: str) -> dict[str, bytes]:
    """Return the files in a zip of a site, by name."""
    (path,) = html.glob(f"_downloads/*/{name}.zip")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def notebook_of(html: Path, name: str) -> nbformat.NotebookNode:
    """Return the notebook of a recipe, out of the zip."""
    text = downloaded(html, name)[f"{name}.ipynb"].decode()
    return nbformat.reads(text, nbformat.NO_CONVERT)


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return the cells of code that the page shows too."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell in cells if not cell.source.startswith("# %pip")]


@pytest.fixture(params=[path.stem for path in RECIPES])
def recipe(request, html):
    """Return the name of a recipe and its notebook."""
    return request.param, notebook_of(html, request.param)


def test_notebook_shows_what_the_page_shows(recipe, html):
    """The outputs of the notebook are those of the page, each under the same code."""
    name, notebook = recipe
    page = soup(html / f"auto_recipes/{name}.html")
    expected = []
    for block in page.select("div.highlight-Python, div.sphx-glr-script-out"):
        lines = block.pre.text.strip("\n").splitlines()
        if "sphx-glr-script-out" in block["class"]:
            expected[-1][1] = [line.rstrip() for line in lines]
        else:
            source = [line.lstrip("0123456789 \n") for line in lines]
            expected.append([source, []])
    shown = [
        [
            [line.lstrip("0123456789 ") for line in cell.source.splitlines()],
            [line for out in cell.outputs for line in out.text.splitlines()],
        ]
        for cell in code(notebook)
    ]
    assert shown == expected


def test_notebook_is_valid(recipe):
    """It follows the format, names its kernel, and counts its cells as a run does."""
    _, notebook = recipe
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    counts = [cell.execution_count for cell in code(notebook)]
    if applies((ROOT / f"recipes/{recipe[0]}.py").read_text("utf-8")):
        assert counts == [*range(1, len(counts) + 1)]
    else:
        assert counts == [None] * len(counts)


def test_notebook_is_readable(recipe):
    """No reStructuredText is left in the text, but in what is code."""
    _, notebook = recipe
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"```.+?```|``.+?``", "", cell.source, flags=re.DOTALL)
            assert not re.search(
                r":\w+:`|^ *\.\. |`_\b|::$|^ {4}", text, re.MULTILINE
            ), text
            assert cell.source == cell.source.strip()
    assert notebook.cells[0].source.startswith("# ")


def test_requirements(recipe, html):
    """What the zip requires is what the notebook installs, in the pinned versions."""
    name, notebook = recipe
    files = downloaded(html, name)
    needed = files["requirements.txt"].decode().split()
    source = notebook.cells[2].source
    assert source.removeprefix("# %pip install --quiet ").split() == needed
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    text = (ROOT / f"recipes/{name}.py").read_text("utf-8")
    newer = set() if applies(text) else {f"torch>={needed_torch(text)}"}
    assert set(needed) <= {line.partition(";")[0] for line in lines} | newer
    assert {re.split("[=>]=", pin)[0] for pin in needed} >= imports(name) - BESIDE


def imports(name: str) -> set[str]:
    """Return the modules that a recipe imports and that Python does not have."""
    nodes = [*ast.walk(ast.parse((ROOT / f"recipes/{name}.py").read_text("utf-8")))]
    names = [n.module for n in nodes if isinstance(n, ast.ImportFrom)]
    names += [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


def test_requirements_that_nobody_imports():
    """What torch imports unasked is required too."""
    text = "import torch\n\ntorch.onnx.export(model)\n"
    names = [pin.partition("==")[0] for pin in requirements(text)]
    assert names == ["numpy", "onnx", "onnxscript", "torch"]
    assert requirements("import json\n") == []


@pytest.mark.parametrize("pattern", UNASKED)
def test_no_reason_is_out_of_date(pattern):
    """Each entry of the table of what torch imports unasked concerns a recipe."""
    assert any(re.search(pattern, path.read_text("utf-8")) for path in RECIPES)


def test_readme(html):
    """A note in the zip says what it is and how to run both files."""
    name = "plot_exporter_inputs_optional"
    text = downloaded(html, name)["README.md"].decode()
    assert text.startswith("# Do not export an optional input as None\n")
    assert "run with torch 2.13.0 on Python 3." in text
    assert f"python {name}.py" in text
    assert f"notebook {name}.ipynb" in text
    assert "://" not in text


@pytest.mark.parametrize(("kind", "suffix"), [("python", "py"), ("jupyter", "ipynb")])
def test_zips_of_all(html, kind, suffix):
    """The zips of all recipes have the files of the single zips, and their needs."""
    everything = downloaded(html, f"auto_recipes_{kind}")
    needed = set()
    for path in RECIPES:
        files = downloaded(html, path.stem)
        name = f"{path.stem}.{suffix}"
        assert everything[name] == files[name]
        needed |= set(files["requirements.txt"].decode().split())
    assert everything["requirements.txt"].decode().split() == sorted(needed)
    assert f"<recipe>.{suffix}" in everything["README.md"].decode()


def test_installation_needs_no_network(html, tmp_path):
    """In the environment of the site the first cells, uncommented, find all installed.

    pip runs without an index, once for all that is required anywhere.
    """
    start = "# %pip install --quiet "
    cells = [notebook_of(html, path.stem).cells[2].source for path in RECIPES]
    assert all(source.startswith(start) for source in cells)
    needed = {each for source in cells for each in source.removeprefix(start).split()}
    source = f"{start}{' '.join(sorted(needed))}".removeprefix("# ")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbformat.write(notebook, tmp_path / "install.ipynb")
    keep = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")
    own = dict.fromkeys((*keep, "JUPYTER_RUNTIME_DIR", "TMPDIR"), str(tmp_path))
    command = "from nbclient.cli import main; main()"
    subprocess.run(
        [sys.executable, "-c", command, "--inplace", "install.ipynb"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, **own, "PIP_NO_INDEX": "1"},
    )
    executed = nbformat.read(tmp_path / "install.ipynb", nbformat.NO_CONVERT)
    note = "Note: you may need to restart the kernel to use updated packages."
    for cell in executed.cells:
        assert "".join(output.text for output in cell.outputs).strip() == note


@pytest.fixture(scope="module")
def site(make_site):
    """Build a site of recipes that run, that fail, and that cannot run."""
    return make_site(*SITE).record()


def test_notebook_of_a_recipe_that_raises(site):
    """It shows what the recipe printed, and the error that ended it."""
    before, failing = code(notebook_of(site.folder / "html", "plot_raises"))
    assert before.outputs[0].text == "before\n"
    assert failing.outputs[0].ename == "RuntimeError"
    assert failing.outputs[0].evalue == "as it must"


@pytest.mark.parametrize("name", ["plot_crashes", "plot_newer"])
def test_notebook_of_a_recipe_that_did_not_run(site, name):
    """It has no outputs, and its cells do not look executed."""
    for cell in code(notebook_of(site.folder / "html", name)):
        assert cell.outputs == []
        assert cell.execution_count is None


def test_requirements_of_another_release():
    """A recipe that does not run under this release asks for a newer one."""
    text = '# sphinx_gallery_needs_torch = "99.0"\nimport torch\n'
    assert "torch>=99.0" in requirements(text)


def test_nothing_required(site):
    """Where nothing is to be installed, the notebook has no cell that does it."""
    notebook = notebook_of(site.folder / "html", "plot_unicode")
    assert len(notebook.cells) == 4
    assert code(notebook)[1].outputs[0].text == "a       b\n\n  c\n"


@pytest.fixture
def current(copy_pair):
    """Return a site in which all is current."""
    return copy_pair()


def written(site: Site) -> dict[str, int]:
    """Return when notebooks and zips were written."""
    folder = site.folder / "_doc/auto_recipes"
    paths = [*folder.glob("*.ipynb"), *folder.glob("plot_*.zip")]
    return {path.name: path.stat().st_mtime_ns for path in paths}


def test_nothing_is_written_twice(current):
    """A build with nothing to do leaves notebooks and zips as they are."""
    before = written(current)
    current.build()
    assert written(current) == before


@pytest.mark.parametrize("lost", ["ipynb", "zip", "seal"])
def test_unfinished_download_is_finished(current, lost):
    """What an interrupted build left of a download is written anew, without a run."""
    folder = current.folder / "_doc/auto_recipes"
    whole = {path.name: path.read_bytes() for path in folder.glob("plot_export.*")}
    (folder / f"plot_export.{lost}").write_text("{}", "utf-8")
    current.build()
    assert current.returncode == 0, current.log
    assert current.executed() == 0
    for name in ("plot_export.ipynb", "plot_export.run.json", "plot_export.zip"):
        assert (folder / name).read_bytes() == whole[name]


def test_changed_settings_reach_current_downloads(current):
    """An address of the site that is new is in the note, without a run."""
    current.build("-D", f"html_baseurl={BASE}")
    assert current.executed() == 0
    files = downloaded(current.folder / "html", "plot_export")
    assert f"{BASE}auto_recipes/plot_export.html" in files["README.md"].decode()


def test_two_builds_write_the_same_bytes(pair, make_site):
    """The downloads of a site that is built again from nothing are the same."""
    again = make_site("plot_export", "plot_unicode")
    again.record()

    def downloads(site: Site) -> dict[str, bytes]:
        return {
            name: content
            for name, content in site.files().items()
            if name.startswith("_downloads/")
        }

    assert len(downloads(pair)) == 8
    assert downloads(again) == downloads(pair)


def test_date_of_the_zips(current, monkeypatch):
    """The files in a zip have the date that the environment asks for."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    current.build()
    for path in (current.folder / "html").glob("_downloads/*/*.zip"):
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            dates = {entry.date_time for entry in archive.infolist()}
        assert dates == {(2023, 11, 14, 22, 13, 20)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":func:`torch.f`", "[``torch.f()``](https://torch/f)"),
        (":py:func:`~torch.f`", "[``f()``](https://torch/f)"),
        (":class:`a thing\n<torch.C>`", "[``a thing``](https://torch/C)"),
        (":class:`unknown.C`", "``unknown.C``"),
        (":ref:`l-page`", f"[The page]({BASE}auto_recipes/page.html)"),
        (":ref:`this\npage <l-page>`", f"[this page]({BASE}auto_recipes/page.html)"),
        (":ref:`l-unknown`", "*l-unknown*"),
        ("``:func:`x``` stays", "``:func:`x``` stays"),
        ("a\n\n.. meta::\n   :keywords: b,\n      c\n\nd", "a\n\nd"),
        ("a\n\n.. meta::\n   :keywords: b,\n      c", "a\n\n"),
    ],
)
def test_roles(text, expected):
    """Roles lead to where they lead on the page, and meta is left out."""
    objects = {"torch.f": "https://torch/f", "torch.C": "https://torch/C"}
    links = Links({"l-page": ("The page", "auto_recipes/page.html")}, objects, BASE)
    assert links.markdown(text) == expected


def test_pages_without_an_address():
    """Where the site has no address, the title of the page stands for the link."""
    links = Links({"l-page": ("The page", "auto_recipes/page.html")}, {}, "")
    assert links.markdown("See :ref:`l-page`.") == "See *The page*."
