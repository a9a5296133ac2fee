"""Record transcripts under other releases of torch.

``make transcripts RELEASE=2.9.1`` makes an environment with that release, runs the
recipes whose transcripts are stale, as the site does, and removes the environment.
The site that is built for it is a small one, with only those recipes.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import venv
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from sphinx.errors import ConfigError

from _ext.commands import ROOT, Parser, all_recipes, all_releases
from _ext.files import digest
from _ext.recipe import needed_torch
from _ext.releases import transcripts
from _ext.run.cache import RUNNERS, imported

if TYPE_CHECKING:
    from pathlib import Path

TRANSCRIPTS = ROOT / "_doc/transcripts"
WORK = ROOT / "build/releases"

#: Stands for the newest build of torch that pip finds where it is told to look.
NIGHTLY = "nightly"

#: Free space that a release with its CUDA libraries needs while it is installed.
DISK = 16 * 2**30

HEADER = """\
Recipes
=======
"""

INDEX = f"""\
{HEADER}
.. toctree::

   auto_recipes/index
"""


class RecordError(Exception):
    """Something outside of the recipes keeps a release from being recorded."""


def requirements(release: str) -> str:
    """Return the site's requirements with another release of torch, or the nightly.

    The pinned setuptools is too new for torch 2.11 and 2.12, which then take another.
    What is only for recipes that need a newer torch is left out: other packages import
    torchao if it is there, and fail if torch is too old for it.
    """
    text = (ROOT / "requirements.txt").read_text("utf-8")
    torch = "--pre\ntorch" if release == NIGHTLY else f"torch=={release}"
    text = re.sub(r"^torch==.*$", torch, text, flags=re.MULTILINE)
    for name in _too_new(release):
        text = re.sub(rf"^{re.escape(name)}==.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^setuptools==.*$", "setuptools", text, flags=re.MULTILINE)


@functools.cache
def _too_new(release: str) -> frozenset[str]:
    """Return the distributions that only recipes for newer releases import."""
    used: dict[bool, set[str]] = {True: set(), False: set()}
    for recipe in all_recipes():
        text = recipe.read_text("utf-8")
        needed = needed_torch(text)
        runs = not needed or release == NIGHTLY or Version(needed) <= Version(release)
        used[runs] |= imported(text)
    return frozenset(used[False] - used[True])


def stale(release: str, recipes: list[Path]) -> list[Path]:
    """Return the recipes whose transcripts under a release are missing or outdated.

    A transcript is outdated if the recipe was edited, or if the requirements pin
    another version of a package that the recipe imports or that runs it, for the Python
    that it was recorded under. Each transcript says what it was recorded with, so some
    recipes can be recorded today and others tomorrow.
    """
    folder, wanted = TRANSCRIPTS / release, requirements(release)
    return [
        path
        for path in recipes
        if _text_changed(folder, path) or _packages_changed(folder, path, wanted)
    ]


@functools.cache
def pins(text: str, python: str) -> dict[str, str]:
    """Return the version of each package that a requirements file pins for a Python."""
    lines = re.findall(r"^[\w.-]+==.*", text, re.MULTILINE)
    place = {"python_version": python.rpartition(".")[0]}
    return {
        canonicalize_name(wanted.name): str(wanted.specifier).removeprefix("==")
        for wanted in map(Requirement, lines)
        if wanted.marker is None or wanted.marker.evaluate(place)
    }


def _packages_changed(folder: Path, recipe: Path, wanted: str) -> bool:
    python, packages = transcripts.recorded_with(folder / f"{recipe.stem}.json")
    if python is None:
        return True
    pinned = pins(wanted, python)
    names = map(canonicalize_name, {*imported(recipe.read_text("utf-8")), *RUNNERS})
    return any(pinned[n] != packages.get(n) for n in names if n in pinned)


def _text_changed(folder: Path, recipe: Path) -> bool:
    found = transcripts.load(folder / f"{recipe.stem}.json")
    return found is None or found["recipe"] != digest(recipe.read_text("utf-8"))


def record_release(
    release: str,
    recipes: list[Path],
    *,
    keep: bool = False,
    jobs: int = 0,
    store: Path | None = None,
) -> None:
    """Install a release, run recipes under it and write their transcripts.

    Parameters
    ----------
    release
        The release, or :data:`NIGHTLY`.
    recipes
        The recipes to run.
    keep
        Keep the environment for the next time.
    jobs
        How many recipes run side by side; 0 for as many as there are cores.
    store
        The folder for the transcripts, if not that of the site.

    Raises
    ------
    RecordError
        If the release cannot be installed, or Sphinx ends before the transcripts are
        written. Those already written stay.
    """
    folder, store = WORK / release, store or TRANSCRIPTS
    try:
        python = _environment(release, folder / "venv")
        source = _small_site(folder / "site", recipes, store)
        command = [str(python), "-m", "sphinx", "-c", str(ROOT), "-b", "dummy", "-E"]
        command += ["-D", "record_transcripts=1", "-D", f"recipe_jobs={jobs}"]
        command += [str(source), str(folder / "out")]
        done = subprocess.run(command, check=False)
        pattern = "*" if release == NIGHTLY else release
        written = [path for path in store.glob(pattern) if path.is_dir()]
        missing = [
            path.stem
            for path in recipes
            if all(_text_changed(folder, path) for folder in written)
        ]
        if missing:
            raise RecordError(
                f"torch {release}: Sphinx ended with status {done.returncode} and "
                f"without the transcripts of {', '.join(missing)}; see above."
            )
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _environment(release: str, folder: Path) -> Path:
    """Return the interpreter of an environment with a release of torch."""
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    made, wanted = folder / "made", requirements(release)
    if made.exists() and made.read_text("utf-8") == wanted:
        return python
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < DISK and not made.exists():
        raise RecordError(
            f"torch {release}: {free / 2**30:.0f} GiB are free in {WORK}, and an "
            f"installation needs up to {DISK / 2**30:.0f}. Make room, then try again."
        )
    print(f"torch {release}: installing", flush=True)
    if not made.exists():
        venv.create(folder, with_pip=True, clear=True)
    listed = folder / "requirements.txt"
    listed.write_text(wanted, "utf-8")
    command = [str(python), "-m", "pip", "install", "--quiet", "-r", str(listed)]
    if subprocess.run(command, check=False).returncode:
        raise RecordError(
            f"torch {release}: pip could not install it; see above. Is the network "
            "there, and does this release have a build for this Python?"
        )
    made.write_text(wanted, "utf-8")
    return python


def _small_site(folder: Path, recipes: list[Path], store: Path) -> Path:
    """Make a site of a few recipes whose transcripts lie in ``store``."""
    source = folder / "_doc"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "recipes").mkdir(parents=True)
    source.mkdir()
    for path in recipes:
        shutil.copy(path, folder / "recipes")
    (folder / "recipes/GALLERY_HEADER.rst").write_text(HEADER, "utf-8")
    (source / "index.rst").write_text(INDEX, "utf-8")
    (source / "inventories").symlink_to(ROOT / "_doc/inventories")
    (source / "transcripts").symlink_to(store)
    return source


def shard(recipes: list[Path], share: str) -> list[Path]:
    """Return the share ``2/4`` of the recipes: the second of four parts."""
    part, _, parts = share.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise RecordError(f"SHARD is {share!r}: give something like 2/4.")
    return recipes[int(part) - 1 :: int(parts)]


def _releases(wanted: str) -> list[str]:
    """Return the releases that are meant by a name, or by ``all``."""
    known = all_releases()
    if wanted == "all":
        return known
    if wanted not in known:
        raise RecordError(
            f"RELEASE is {wanted!r}: give all, or one of {', '.join(known)}. A new "
            "release is added to torch_releases in conf.py."
        )
    return [wanted]


def main(arguments: list[str] | None = None) -> int:
    """Record what is stale; return the exit status."""
    parser = Parser("transcripts", __doc__)
    parser.add_argument("release", help="a release of torch, or all")
    parser.add_argument("--shard", default="1/1", help="2/4: a quarter of the recipes")
    parser.add_argument("--keep", action="store_true", help="keep the environments")
    parser.add_argument("--jobs", type=int, default=0, help="recipes side by side")
    given = parser.parse_args(arguments)
    try:
        releases = _releases(given.release)
        recipes = shard(all_recipes(), given.shard)
    except RecordError as error:
        parser.error(str(error))
    done = [
        _record_stale(release, recipes, keep=given.keep, jobs=given.jobs)
        for release in releases
    ]
    return 0 if all(done) else 1


def _record_stale(release: str, recipes: list[Path], *, keep: bool, jobs: int) -> bool:
    """Record what is stale under a release; return whether that went well."""
    try:
        todo = stale(release, recipes)
        shown = f"{len(todo)} of {len(recipes)} recipes to run"
        print(f"torch {release}: {shown}", flush=True)
        if todo:
            record_release(release, todo, keep=keep, jobs=jobs)
    except (RecordError, ConfigError) as error:
        print(error, file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
