"""Run each recipe in a process of its own, under a time limit.

Sphinx-Gallery executes its examples through joblib. This extension registers the joblib
backend of :mod:`_ext.processes`, where a recipe has to be run; where none has, nothing
of that is loaded.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
import unittest.mock
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.errors import ConfigError

from _ext import freshness, transcripts

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sphinx.application import Sphinx
    from sphinx.config import Config


def _check(_: Sphinx, config: Config) -> None:
    """Refuse settings that cannot be followed."""
    if config.recipe_jobs < 0:
        raise ConfigError(
            f"recipe_jobs is {config.recipe_jobs}: give 1 or more, or 0 for all cores."
        )
    method = config.recipe_start_method
    if method not in multiprocessing.get_all_start_methods():
        raise ConfigError(
            f"recipe_start_method is {method!r}: this platform has "
            f"{', '.join(multiprocessing.get_all_start_methods())}."
        )


def environment() -> AbstractContextManager:
    """Return the environment in which a recipe, or the fork server, is started."""
    settings = {
        # The fork server of Python 3.11 ignores the sys.path that it is given:
        # https://github.com/python/cpython/blob/v3.11.7/Lib/multiprocessing/forkserver.py#L166
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        # Recipes run side by side; and a sum has one order, on any machine.
        "OMP_NUM_THREADS": "1",
    }
    return unittest.mock.patch.dict(os.environ, settings)


def _start_server(config: Config, due: int) -> None:
    """Start the server that recipes are forked from; it imports while we go on."""
    if config.recipe_start_method != "forkserver" or not due:
        return
    # One recipe for each process is done before the exercise would be.
    many = due > (config.recipe_jobs or os.cpu_count() or 1)
    forkserver.set_forkserver_preload(["_ext.warm", *["_ext.exercise"] * many])
    with environment():
        forkserver.ensure_running()


def _start_early(app: Sphinx, config: Config) -> None:
    """Start the server before recipes are looked at, if one of them was edited.

    Its imports take longer than all that comes before the first recipe.
    """
    if not app.nothing_changed:
        edited = [pair for pair in _scripts(app) if not _is_copy(*pair)]
        _start_server(config, len(edited))


def _is_copy(source: Path, script: Path) -> bool:
    """Tell whether Sphinx-Gallery's copy of a recipe has the recipe's text."""
    return script.exists() and script.read_bytes() == source.read_bytes()


def _register(app: Sphinx) -> None:
    """Put the backend in the place of the one that Sphinx-Gallery names."""
    config = app.config
    conf = config.sphinx_gallery_conf
    due = sum(_is_due(script, conf) for _, script in _scripts(app))
    if not due:
        conf["parallel"] = False
        return
    _start_server(config, due)
    # These take a fifth of a build that has nothing to do.
    from joblib import cpu_count, register_parallel_backend  # noqa: PLC0415

    from _ext.processes import RecipeBackend  # noqa: PLC0415

    jobs = config.recipe_jobs or cpu_count()
    # Sphinx-Gallery asks joblib for "loky" by name and runs one job serially:
    # https://github.com/sphinx-gallery/sphinx-gallery/pull/877
    conf["parallel"] = max(jobs, 2)
    factory = functools.partial(
        RecipeBackend,
        jobs,
        config.recipe_time_limit,
        config.recipe_start_method,
        functools.partial(transcripts.note_finished, app),
    )
    register_parallel_backend("loky", factory)


def _scripts(app: Sphinx) -> list[tuple[Path, Path]]:
    """Return each recipe, with where Sphinx-Gallery puts its copy."""
    conf = app.config.sphinx_gallery_conf
    pairs = zip(conf["examples_dirs"], conf["gallery_dirs"], strict=True)
    return [
        (source, Path(app.srcdir, gallery, source.name))
        for examples, gallery in pairs
        for source in Path(app.srcdir, examples).glob("*.py")
    ]


def _is_due(script: Path, conf: dict) -> bool:
    """Tell whether a recipe has to be run, or shown without being run."""
    if not script.exists() or freshness.must_run(script, conf):
        return True
    return not transcripts.applies(script.read_text("utf-8"))


def _fail_the_build(app: Sphinx, exception: Exception | None) -> None:
    """Give the build an exit status that says that a recipe failed.

    Without -W too; Sphinx-Gallery's own way is an "Extension error!" that asks the
    reader to report a bug of Sphinx.
    """
    if app.config.sphinx_gallery_conf["failing_examples"]:
        app.statuscode = 1


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.setup_extension("_ext.idle")
    app.add_config_value("recipe_jobs", 0, "", int)
    app.add_config_value("recipe_time_limit", 120.0, "", (int, float))
    method = "forkserver" if sys.platform == "linux" else "spawn"
    app.add_config_value("recipe_start_method", method, "", str)
    app.connect("config-inited", _check)
    app.connect("config-inited", _start_early, priority=910)
    app.connect("builder-inited", _register, priority=200)
    app.connect("build-finished", _fail_the_build)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
