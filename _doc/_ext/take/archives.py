"""Write what readers take away of each recipe: a notebook and a zip, and two big zips.

Sphinx-Gallery writes a notebook without outputs, and zips that carry the times of this
build. Here the notebook gets the outputs of the page (see :mod:`_ext.take.notebooks`),
and a zip holds the script, the notebook, what both need and a note on how to run them.
All is written again when something that it is made of changed, this code included; the
record of the run keeps a digest of what that was.

All entries of a zip have one time, that of ``SOURCE_DATE_EPOCH`` where it is set. The
zip itself gets the time of the newest file in it: Sphinx-Gallery writes the zips of the
whole gallery in each build, and Sphinx would read the gallery's page again.
"""

from __future__ import annotations

import os
import platform
import re
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.ext.intersphinx import InventoryAdapter

from _ext import files, inventories, noop, site
from _ext.answer import plain
from _ext.recipe import applies, installed_torch, needed_torch, read
from _ext.run import cache, outcome
from _ext.take import notebooks

if TYPE_CHECKING:
    from sphinx.application import Sphinx

    from _ext.recipe import Front

#: The earliest time that a zip file can hold.
_EARLIEST = (1980, 1, 1, 0, 0, 0)

#: What torch imports for a recipe unasked, by what the text of the recipe has.
#: ``tests/test_downloads.py`` runs each recipe with what follows from this alone.
UNASKED = {
    # It warns where there is none, whatever it is asked; Tensor.numpy() fails.
    r"\btorch\b": ["numpy"],
    r"\btorch\.onnx\.export\(": ["onnx", "onnxscript"],
    # A program of torch.onnx.export that is called.
    r"\bonnx_program\(": ["onnxruntime"],
}

#: A digest of what writes the files, as it was when this build loaded it.
_CODE = files.digest(
    "".join(Path(of).read_text("utf-8") for of in (__file__, notebooks.__file__))
)

_LABEL = re.compile(
    r"^\.\. _(?!sphx_glr_)([^:\n]+):\n\n(.+)\n([=+*-])\3+$", re.MULTILINE
)

#: What the note in a zip says of each kind of file.
_HOW = {
    ".py": """\
To run a script, in an environment of its own (on Windows .venv\\Scripts\\python):

    python -m venv .venv
    .venv/bin/python -m pip install -r requirements.txt
    .venv/bin/python {name}.py
""",
    ".ipynb": """\
A notebook shows what the script printed. It installs what it needs in its first cell
of code. Open it in Jupyter, or make an environment for it:

    python -m venv .venv
    .venv/bin/python -m pip install notebook -r requirements.txt
    .venv/bin/python -m notebook {name}.ipynb
""",
}


def requirements(text: str) -> list[str]:
    """Return what a recipe needs, pinned to the versions that the site is built with.

    Parameters
    ----------
    text
        The recipe. What it imports counts, and what torch imports on its behalf.
    """
    names = set(cache.imported(text))
    for pattern, more in UNASKED.items():
        if re.search(pattern, text):
            names.update(more)
    versions = {name: cache.version(name) for name in sorted(names)}
    needed = [
        f"{name}=={version.partition('+')[0]}"
        for name, version in versions.items()
        if version
    ]
    if applies(text):
        return needed
    minimum = f"torch>={needed_torch(text)}"
    return [minimum if pin.startswith("torch==") else pin for pin in needed]


@noop.skipped
def _write_all(app: Sphinx) -> None:
    """Write what is not there or not current."""
    links = _links(app)
    made_with = repr((links, app.config.project, date(), _CODE))
    for name in app.config.sphinx_gallery_conf["gallery_dirs"]:
        folder = Path(app.srcdir, name)
        for script in sorted(folder.glob("*.py")):
            _write(app, script, links, made_with)
        _write_zips_of_all(app, folder, links.base)


def _write(app: Sphinx, script: Path, links: notebooks.Links, made_with: str) -> None:
    """Write the notebook and the zip of one recipe, if they are not current."""
    needs = requirements(script.read_text("utf-8"))
    notebook, archive = script.with_suffix(".ipynb"), script.with_suffix(".zip")
    done = outcome.read(script)

    def seal() -> str:
        paths = (script, script.with_suffix(".rst"), notebook, archive)
        found = [path.read_bytes().hex() for path in paths if path.exists()]
        return files.digest("\0".join([made_with, *needs, repr(done.cells), *found]))

    if done.downloads == seal():
        return
    conf = app.config.sphinx_gallery_conf
    files.replace(notebook, notebooks.write(script, conf, links, needs))
    _write_zip_of_one(app, [script, notebook], links.base)
    replace(done, downloads=seal()).write(script)


def _links(app: Sphinx) -> notebooks.Links:
    """Return what labels and names in the recipes lead to."""
    base = (app.config.html_baseurl or "").rstrip("/")
    inventory = InventoryAdapter(app.env).main_inventory
    return notebooks.Links(
        pages=_pages(app),
        objects={
            name: inventories.fields(item)[2]
            for kind, entries in sorted(inventory.items())
            if kind.startswith("py:")
            for name, item in sorted(entries.items())
        },
        base=f"{base}/" if base else "",
    )


def _pages(app: Sphinx) -> dict[str, tuple[str, str]]:
    """Return title and address of each page that has a label."""
    srcdir = Path(app.srcdir)
    found = {}
    for path in sorted(srcdir.rglob("*.rst")):
        docname = path.relative_to(srcdir).with_suffix("").as_posix()
        for label, title, _ in _LABEL.findall(path.read_text("utf-8")):
            found[label] = (title, site.address(app, docname))
    return found


def _write_zip_of_one(app: Sphinx, carried: list[Path], base: str) -> None:
    """Write the zip of one recipe."""
    script = carried[0]
    about = read(script)
    lines = [f"# {about.title}", "", f"A recipe of the {_origin(app)}."]
    lines += ["", *_advice(about)]
    if base:
        page = site.address(app, f"{script.parent.name}/{script.stem}")
        lines.append(f"Its page: {base}{page}")
    needs = requirements(script.read_text("utf-8"))
    how = [_HOW[file.suffix].format(name=script.stem) for file in carried]
    _write_zip(script.with_suffix(".zip"), carried, needs, [*lines, "", *how])


def _advice(about: Front) -> list[str]:
    """Return what to do, as Markdown."""
    if about.answer is None:
        return [about.description] * bool(about.description)
    cost = plain(about.answer.cost)
    change = ["", "```diff", *about.answer.change, "```", ""]
    return [about.answer.text, *change, *([f"Cost: {cost}", ""] if cost else [])]


def _write_zips_of_all(app: Sphinx, folder: Path, base: str) -> None:
    """Write the zip of all scripts and the zip of all notebooks."""
    scripts = sorted(folder.glob("*.py"))
    needs = {pin for path in scripts for pin in requirements(path.read_text("utf-8"))}
    lines = [f"# {app.config.project}", "", f"All recipes of the {_origin(app)}."]
    if base:
        pages = site.address(app, f"{folder.name}/index")
        lines.append(f"Their pages: {base}{pages}")
    for kind, suffix in {"python": ".py", "jupyter": ".ipynb"}.items():
        path = folder / f"{folder.name}_{kind}.zip"
        carried = [script.with_suffix(suffix) for script in scripts]
        how = _HOW[suffix].format(name="<recipe>")
        _write_zip(path, carried, sorted(needs), [*lines, "", how])


def _origin(app: Sphinx) -> str:
    """Say where a recipe comes from, and what its outputs were made with."""
    return (
        f"{app.config.project}, run with torch {installed_torch()} "
        f"on Python {platform.python_version()}"
    )


def _write_zip(
    path: Path, carried: list[Path], needs: list[str], note: list[str]
) -> None:
    """Write a zip of files, their requirements and a note.

    It depends on its content alone, and gets the time of the newest file in it.
    """
    contents = {file.name: file.read_bytes() for file in carried}
    contents["README.md"] = "\n".join(note).encode()
    contents["requirements.txt"] = "".join(f"{pin}\n" for pin in needs).encode()
    new = path.with_suffix(".zip.new")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, date())
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    newest = max((file.stat().st_mtime_ns for file in carried), default=0)
    os.utime(new, ns=(newest, newest))
    new.replace(path)


def date() -> tuple[int, int, int, int, int, int]:
    """Return the date that all files in a zip get."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return max(_EARLIEST, time.gmtime(int(epoch))[:6]) if epoch else _EARLIEST


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx, after Sphinx-Gallery and intersphinx."""
    app.connect("builder-inited", _write_all, priority=700)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
