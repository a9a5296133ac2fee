"""Build one page, live: ``make recipe NAME=plot_exporter_shapes_specialized``.

The page has a source folder of its own, with links to the one recipe and to all
transcripts. In the folder of the site, a build with one recipe would make all others
stale.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

from _ext.commands import ROOT, Parser, all_recipes

#: Pages that are not built are not there to be linked to.
SUPPRESSED = "config.cache,ref.ref,ref.doc,sphinx_gallery.space_in_filename"
OPTIONS = ("-D", "nitpicky=0", "-D", f"suppress_warnings={SUPPRESSED}")

_INDEX = """\
One recipe
==========

Links to other recipes do not work here. A warning that the transcript differs is a
notice: :file:`make transcripts` records it, when the text is done.

.. toctree::

   auto_recipes/index
   auto_recipes/{name}
"""


def prepare(name: str, root: Path = ROOT) -> Path:
    """Make the folder of one recipe, and return it."""
    folder = root / "build/recipe" / name
    source = folder / "_doc"
    (folder / "recipes").mkdir(parents=True, exist_ok=True)
    source.mkdir(exist_ok=True)
    for path in (
        f"recipes/{name}.py",
        "_doc/transcripts",
        "_doc/inventories",
        "_doc/_templates",
    ):
        link = folder / path
        if not link.is_symlink():
            link.symlink_to(root / path)
    (folder / "recipes/index.rst").write_text(":orphan:\n\nRecipe\n======\n", "utf-8")
    (source / "index.rst").write_text(_INDEX.format(name=name), "utf-8")
    return folder


def command(folder: Path, *first: str) -> list[str]:
    """Return the command that builds a folder with the real configuration."""
    options = ["-c", str(ROOT), "-d", str(folder / "doctrees"), *OPTIONS]
    paths = [str(folder / "_doc"), str(folder / "html")]
    return [sys.executable, "-m", *first, *options, *paths]


def main(arguments: list[str] | None = None) -> int:
    """Build the page of a recipe, and serve it; return the exit status."""
    parser = Parser("recipe", __doc__)
    parser.add_argument("name", help="the name of the recipe, or its file")
    parser.add_argument("--once", action="store_true", help="do not serve it")
    given = parser.parse_args(arguments)
    name = Path(given.name).stem
    if name not in {path.stem for path in all_recipes()}:
        parser.error(
            f"there is no recipes/{name}.py: give make NAME=the name of a recipe, or "
            f"begin it with make new NAME={name}"
        )
    folder = prepare(name)
    shutil.rmtree(folder / "html", ignore_errors=True)
    if given.once:
        return _build(folder, folder / f"html/auto_recipes/{name}.html")
    return _serve(folder)


def _build(folder: Path, page: Path) -> int:
    """Build a page once; Sphinx may leave it out and end well."""
    status = subprocess.call(command(folder, "sphinx"))
    if not page.exists():
        return status or 1
    print(f"Done: open {page.relative_to(ROOT)}")
    return status


def _serve(folder: Path) -> int:
    """Build a page on every change, until Ctrl-C."""
    # An editor that replaces the file ends the watch of a file, not that of a folder.
    watch = ["--watch", str(ROOT / "recipes"), "--ignore", "*/auto_recipes*"]
    watch += ["--ignore", "*/sg_execution_times*"]
    watch += ["--port", "0", "--open-browser"]
    with contextlib.suppress(KeyboardInterrupt):
        return subprocess.call([*command(folder, "sphinx_autobuild"), *watch])
    return 0


if __name__ == "__main__":
    sys.exit(main())
