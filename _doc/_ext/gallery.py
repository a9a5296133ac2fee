"""All that this site knows of Sphinx-Gallery's private parts, and no other module does.

Sphinx-Gallery has no interface for those who come after it: which files it writes, what
marks a cell and its output on a page, what it returns of one example. Verified with the
versions in ``requirements.txt`` and ``requirements-lowest.txt``. When a new one breaks
this, the tests of :mod:`_ext.run` fail; what is to be changed is here.

The *copy* of a recipe is the file in ``gallery_dirs`` that Sphinx-Gallery makes of it.
All else that it makes lies beside: page, notebook, zip, stamp, cost, pictures.
"""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx_gallery import py_source_parser
from sphinx_gallery.gen_gallery import generate_gallery_rst
from sphinx_gallery.gen_rst import (
    TIMING_CONTENT,
    executable_script,
    generate_file_rst,
)
from sphinx_gallery.notebook import jupyter_notebook
from sphinx_gallery.py_source_parser import INFILE_CONFIG_PATTERN

from _ext import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

__all__ = ["INFILE_CONFIG_PATTERN", "generate_gallery_rst", "jupyter_notebook"]

_CELL = re.compile(
    r"^\.\. GENERATED FROM PYTHON SOURCE LINES (\d+)-\d+\n", re.MULTILINE
)
_OUTPUT = re.compile(
    r"^\.\. rst-class:: sphx-glr-script-out\n\n"
    r" ?\.\. code-block:: (?P<kind>none|pytb)\n\n"
    r"(?P<text>(?: {4}.*\n|[ \t]*\n)+)",
    re.MULTILINE,
)
_TIME = re.compile(r"\n\.\. rst-class:: sphx-glr-timing\n\n   .*\n\n")
_PICTURE = re.compile(r"sphx_glr_(.+)_(?:thumb|\d{3,})\.")
#: The class of the note above the title that leads to the downloads, and of these.
NOTE, DOWNLOADS = "sphx-glr-download-link-note", "sphx-glr-footer-example"

_TITLE = ".. rst-class:: sphx-glr-example-title"


# -- Recipes and their copies ----------------------------------------------------------


def pairs(app: Sphinx) -> list[tuple[Path, Path]]:
    """Return each script of the gallery with where its copy is, or will be."""
    conf = app.config.sphinx_gallery_conf
    folders = zip(conf["examples_dirs"], conf["gallery_dirs"], strict=True)
    return [
        (source, Path(app.srcdir, gallery, source.name))
        for examples, gallery in folders
        for source in sorted(Path(app.srcdir, examples).glob("*.py"))
    ]


def copies(srcdir: Any, conf: dict[str, Any]) -> Iterator[Path]:
    """Yield the copies that are there, of recipes and of scripts that are not run."""
    for gallery in conf["gallery_dirs"]:
        yield from sorted(Path(srcdir, gallery).glob("*.py"))


def recipes(srcdir: Any, conf: dict[str, Any]) -> Iterator[Path]:
    """Yield the copies of all recipes."""
    return (copy for copy in copies(srcdir, conf) if is_executed(copy, conf))


def current(srcdir: Any, conf: dict[str, Any]) -> Iterator[Path]:
    """Yield the copies of the recipes whose outputs are on their pages."""
    return (copy for copy in copies(srcdir, conf) if stamp(copy).exists())


def is_executed(script: Path, conf: dict[str, Any]) -> bool:
    """Tell by its name whether a script is one that Sphinx-Gallery runs: a recipe."""
    return executable_script(script, conf)


def stamp(copy: Path) -> Path:
    """Return the file by which Sphinx-Gallery knows that an example is current."""
    return copy.with_name(f"{copy.name}.md5")


def values(content: str) -> dict[str, Any]:
    """Return the comments ``# sphinx_gallery_<name> = <value>`` of a cell."""
    return py_source_parser.extract_file_config(content)


def blocks(script: Path) -> list[Any]:
    """Return the blocks of a recipe, each with ``type``, ``content`` and ``lineno``."""
    return py_source_parser.split_code_and_text_blocks(script)[1]


def without_comments(content: str) -> str:
    """Return a block as the page shows it: without comments for Sphinx-Gallery."""
    content = py_source_parser.remove_ignore_blocks(content)
    return py_source_parser.remove_config_comments(content)


# -- One example -----------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What Sphinx-Gallery returns of one example.

    Attributes
    ----------
    intro, title
        The first sentence and the title.
    seconds, memory
        Its running time, and the memory that it took in MB.
    facts
        What else there is: ``passing``, ``stale``, ``formatted_exception`` ...
    """

    intro: str
    title: str
    seconds: float
    memory: float
    facts: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Tell whether the example was run to its end."""
        return "passing" in self.facts

    def timed(self, seconds: float) -> Result:
        """Return the same with another running time."""
        return replace(self, seconds=seconds)

    def failed(self, message: str) -> Result:
        """Return the same, as of an example that failed."""
        return replace(self, facts={**self.facts, "formatted_exception": message})

    def as_tuple(self) -> tuple:
        """Return what Sphinx-Gallery expects."""
        return self.intro, self.title, (self.seconds, self.memory), self.facts


def build(name: str, target: Path, folder: Any, conf: dict[str, Any]) -> Result:
    """Run an example and write its page, or only the page: as ``conf`` says.

    Parameters
    ----------
    name
        The name of the script in ``folder``.
    target
        The folder that its copy and its page are written to.
    """
    intro, title, (seconds, memory), facts = generate_file_rst(
        name, target, folder, conf
    )
    return Result(intro, title, seconds, memory, facts)


def outputs(page: Path) -> dict[int, dict[str, Any]]:
    """Return what the cells of a page printed, by the line at which they begin.

    Returns
    -------
    dict
        For each cell ``output`` (a list of lines) and ``error`` (the last line of the
        traceback that ended it, or None).
    """
    pieces = _CELL.split(page.read_text("utf-8"))
    lines = map(int, pieces[1::2])
    return dict(zip(lines, map(_output, pieces[2::2]), strict=True))


def _output(body: str) -> dict[str, Any]:
    """Return the output of a cell, and the error that ended it."""
    found = _OUTPUT.search(body)
    if found is None:
        return {"output": [], "error": None}
    text = textwrap.dedent(found["text"]).strip("\n")
    lines = [line.rstrip() for line in text.splitlines()]
    return {"output": lines, "error": lines[-1] if found["kind"] == "pytb" else None}


def first_line(comment: str) -> int | None:
    """Return where the block begins that a comment on a page introduces, if it does."""
    found = _CELL.match(f".. {comment}\n")
    return int(found[1]) if found else None


def set_time(copy: Path, seconds: float) -> None:
    """Show another running time of an example, on its page and in the list of all."""
    timing = TIMING_CONTENT.format(*divmod(seconds, 60))
    page, cost = copy.with_suffix(".rst"), _cost(copy)
    text = page.read_text("utf-8")
    files.replace(page, _TIME.sub(lambda _: timing, text))
    kept = json.loads(cost.read_text("utf-8"))
    files.replace(cost, json.dumps({**kept, "time": seconds}))


def _cost(copy: Path) -> Path:
    return copy.with_name(f"{copy.stem}.cost.json")


def show_death(page: Path, message: str) -> None:
    """Say on a page without outputs why it has none."""
    text = page.read_text("utf-8")
    box = f".. error::\n\n   {message}\n\n{_TITLE}"
    page.write_text(text.replace(_TITLE, box, 1), "utf-8")


# -- Pictures --------------------------------------------------------------------------


def pictures(copy: Path) -> list[Path]:
    """Return the pictures that the cells of a recipe made."""
    folder = copy.parent / "images"
    return [path for path in sorted(folder.glob("*")) if _maker(path) == copy.stem]


def thumbnails(copy: Path) -> list[Path]:
    """Return the thumbnails of a recipe; one, unless it got another suffix."""
    folder = copy.parent / "images/thumb"
    found = [path for path in folder.glob("*") if _maker(path) == copy.stem]
    return sorted(found, reverse=True)


def forget(copy: Path) -> None:
    """Remove all that was made of a recipe that no longer exists."""
    for path in copy.parent.rglob("*"):
        if path.is_file() and _maker(path) == copy.stem:
            path.unlink()


def _maker(path: Path) -> str:
    """Return the name of the recipe that a file was made of.

    ``sphx_glr_plot_x_1_001.svg`` is a picture of ``plot_x_1``, not of ``plot_x``.
    """
    picture = _PICTURE.match(path.name)
    return picture[1] if picture else path.name.partition(".")[0]
