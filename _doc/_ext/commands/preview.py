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

from _ext.commands import ROOT

#: Pages that are not built are not there to be linked to.
OPTIONS = ("-D", "nitpicky=0", "-D", "suppress_warnings=config.cache,ref.ref,ref.doc")

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


def main() -> int:
    """Serve the page of a recipe; with --once, build it and return the status."""
    name = Path(sys.argv[1]).stem
    recipe = ROOT / f"recipes/{name}.py"
    if not recipe.exists():
        print(f"There is no {recipe.relative_to(ROOT)}: give make NAME=", end="")
        print(f"the name of a recipe, or begin it with make new NAME={name}")
        return 2
    folder = prepare(name)
    page = folder / f"html/auto_recipes/{name}.html"
    shutil.rmtree(folder / "html", ignore_errors=True)
    if "--once" in sys.argv:
        status = subprocess.call(command(folder, "sphinx"))
        if not page.exists():
            return status or 1
        print(f"Done: open {page.relative_to(ROOT)}")
        return status
    # An editor that replaces the file ends the watch of a file, not that of a folder.
    watch = ["--watch", str(recipe.parent), "--ignore", "*/auto_recipes*"]
    watch += ["--ignore", "*/sg_execution_times*"]
    watch += ["--port", "0", "--open-browser"]
    with contextlib.suppress(KeyboardInterrupt):
        return subprocess.call([*command(folder, "sphinx_autobuild"), *watch])
    return 0


if __name__ == "__main__":
    sys.exit(main())
