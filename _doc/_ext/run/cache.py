"""Reuse a recipe's output only while nothing that it depends on has changed.

Sphinx-Gallery runs an example again when the ``.md5`` file beside its copy does not
fit the copy. That file knows the text alone, and is written before the page is. The
record of a run (see :mod:`_ext.run.outcome`) has a key of all that the output depends
on, written when the page is there; the ``.md5`` file of every recipe whose key does not
fit is removed.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import platform
import re
import shutil
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from sphinx.util import logging

from _ext import gallery, noop, recipe
from _ext.files import digest
from _ext.run import outcome

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from sphinx.application import Sphinx
    from sphinx.config import Config

logger = logging.getLogger(__name__)

#: What runs a recipe, besides what the recipe imports.
RUNNERS = ("sphinx-gallery", "joblib")

#: Our modules that do: this room, and what the process of a recipe imports besides.
RUNNER_MODULES = (
    *sorted(f"run/{path.name}" for path in Path(__file__).parent.glob("*.py")),
    "files.py",
    "gallery.py",
    "show/layout.py",
    "show/pictures.py",
    "show/programs.py",
    "show/svg.py",
)

#: Settings of Sphinx-Gallery that neither change what a recipe prints nor what is
#: written on its page. A setting that is not listed counts.
OF_OTHER_PAGES = {
    # which recipes the gallery has, and how its own pages show them
    "copyfile_regex",
    "ignore_pattern",
    "minigallery_sort_order",
    "nested_sections",
    "subsection_order",
    "within_subsection_order",
    # what is made of all recipes together, in each build
    "api_usage_ignore",
    "css",
    "download_all_examples",
    "show_api_usage",
    "write_computation_times",
    # how the build runs and reports
    "abort_on_example_error",
    "junit",
    "log_level",
    "only_warn_on_example_error",
    "parallel",
    "run_stale_examples",
}

#: What must be there of a recipe that is not run again.
OUTPUTS = (".rst", ".ipynb", ".zip", ".run.json", ".cost.json")


def must_run(target: Path, conf: dict) -> bool:
    """Tell whether Sphinx-Gallery will execute a recipe in this build."""
    return gallery.is_executed(target, conf) and not gallery.stamp(target).exists()


def mark(target: Path) -> None:
    """Record what the finished output of a recipe depends on."""
    done = outcome.read(target)
    replace(done, key=_pending[target.name]).write(target)


#: The settings that outputs depend on, as conf.py gives them.
_settings: MutableMapping[Sphinx, str] = WeakKeyDictionary()

#: The ingredients of each recipe, computed once when the build starts.
_pending: dict[str, dict] = {}

#: What the pictures were of the recipes that run again, and when they were made.
_pictures: dict[Path, tuple[bytes, os.stat_result]] = {}


def ingredients(source: Path, settings: str) -> dict[str, Any]:
    """Return all that the output of a recipe depends on.

    Parameters
    ----------
    source
        The recipe.
    settings
        The settings that outputs depend on: see :func:`relevant`.
    """
    text = source.read_text("utf-8")
    return {
        "text": digest(text),
        "python": platform.python_version(),
        "packages": _versions((*imported(text), *RUNNERS)),
        "programs": _programs(text),
        "settings": settings,
        "runner": _runner_digest(),
    }


@functools.cache
def imported(text: str) -> frozenset[str]:
    """Return the distributions that a recipe imports."""
    modules = set()
    for node in ast.walk(recipe.tree(text)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module.partition(".")[0])
    known = _distributions()
    # Python 3.10 does not find all of them; those that it misses have the same name.
    return frozenset(
        name
        for module in modules - sys.stdlib_module_names
        for name in known.get(module, [module])
    )


def version(name: str) -> str:
    """Return the version of a distribution, and nothing if it is not installed."""
    return _requirements(canonicalize_name(name))[0]


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of distributions and of all that they require."""
    found: dict[str, str] = {}
    queue = list(names)
    while queue:
        name = canonicalize_name(queue.pop())
        if name in found:
            continue
        version, required = _requirements(name)
        if version:
            found[name] = version
            queue += required
    return dict(sorted(found.items()))


@functools.cache
def _requirements(name: str) -> tuple[str, list[str]]:
    """Return the version of a distribution and what it requires on this machine."""
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return "", []
    required = []
    for line in distribution.requires or ():
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            required.append(requirement.name)
    return distribution.version, required


def _programs(text: str) -> dict[str, str | None]:
    """Return where the program is that a recipe names as needed, None if it is not."""
    name = recipe.needed_program(text)
    return {name: shutil.which(name)} if name else {}


def relevant(conf: dict[str, Any]) -> str:
    """Return a digest of the gallery's settings that outputs depend on."""
    kept = {name: conf[name] for name in conf.keys() - OF_OTHER_PAGES}
    # Whether a page has related recipes is written on it; which they are is not.
    kept["recommender"] = kept.get("recommender", {}).get("enable", False)
    return digest(repr([(name, _ordered(kept[name])) for name in sorted(kept)]))


def _ordered(value: Any) -> Any:
    """Return a set as a list: its order is another in each process."""
    return sorted(value) if isinstance(value, (frozenset, set)) else value


@functools.cache
def _runner_digest() -> str:
    folder = Path(__file__).parents[1]
    return digest(
        "".join((folder / name).read_text("utf-8") for name in RUNNER_MODULES)
    )


def _read_settings(app: Sphinx, config: Config) -> None:
    """Keep the gallery's settings as conf.py gives them, before defaults come in."""
    _settings[app] = relevant(config.sphinx_gallery_conf)


@noop.skipped
def _drop_stale_outputs(app: Sphinx) -> None:
    """Make Sphinx-Gallery run what is stale; forget what is gone or unreadable."""
    conf = app.config.sphinx_gallery_conf
    known = {
        copy: source
        for source, copy in gallery.pairs(app)
        if _is_readable(source, conf)
    }
    for copy in gallery.copies(app.srcdir, conf):
        if copy not in known:
            gallery.forget(copy)
    for copy, source in known.items():
        _check(source, copy, _settings[app])


def _is_readable(source: Path, conf: dict) -> bool:
    """Tell whether a page can be made of a recipe; say so and leave it out if not."""
    try:
        recipe.read(source)
    except recipe.RecipeError as error:
        text = "%s It is left out of this build."
        logger.warning(text, error, type="recipe.unreadable")
        conf["ignore_pattern"] += f"|^{re.escape(source.name)}$"
        return False
    return True


def _check(source: Path, target: Path, settings: str) -> None:
    """Make Sphinx-Gallery run a recipe unless its output is whole and current."""
    now = json.loads(json.dumps(ingredients(source, settings)))
    _pending[source.name] = now
    recorded = outcome.read(target).key
    whole = all(target.with_suffix(suffix).exists() for suffix in OUTPUTS)
    if recorded == now and whole:
        return
    gallery.stamp(target).unlink(missing_ok=True)
    outcome.path(target).unlink(missing_ok=True)
    thumbnails = gallery.thumbnails(target)
    for picture in [*gallery.pictures(target), *thumbnails]:
        _pictures[picture] = picture.read_bytes(), picture.stat()
    # A new thumbnail may have another suffix; the first one found is shown.
    for thumbnail in thumbnails:
        thumbnail.unlink()
    if recorded:
        changed = [name for name in now if recorded.get(name) != now[name]]
        what = ", ".join(changed) or "output"
        logger.info("%s runs again: changed %s", source.name, what)


def _restore_times(_: Sphinx) -> None:
    """Let pictures that did not change be as old as they were.

    Sphinx reads all pages again that show a newer one, and the thumbnail of a recipe is
    on a dozen.
    """
    for picture, (data, stat) in _pictures.items():
        if picture.exists() and picture.read_bytes() == data:
            os.utime(picture, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    _pictures.clear()


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.connect("config-inited", _read_settings, priority=1)
    app.connect("builder-inited", _drop_stale_outputs, priority=100)
    app.connect("builder-inited", _restore_times, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
