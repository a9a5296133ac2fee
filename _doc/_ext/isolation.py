"""Run each recipe in a process of its own, under a time limit.

Sphinx-Gallery executes its examples through joblib. This extension registers the joblib
backend of :mod:`_ext.processes`, where a recipe has to be run; where none has, nothing
of that is loaded.
"""

from __future__ import annotations

import functools
import multiprocessing
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.errors import ConfigError

from _ext import freshness, transcripts

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

#: What a forked recipe finds already imported.
PRELOAD = ["_ext.processes", "_ext.pictures", "sphinx.cmd.build", "_ext.warm"]


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


def _register(app: Sphinx) -> None:
    """Put the backend in the place of the one that Sphinx-Gallery names."""
    config = app.config
    conf = config.sphinx_gallery_conf
    due = sum(_is_due(script, conf) for script in _scripts(app))
    if not due:
        conf["parallel"] = False
        return
    # These take a fifth of a build that has nothing to do.
    from joblib import cpu_count, register_parallel_backend  # noqa: PLC0415

    from _ext.processes import RecipeBackend, start_server  # noqa: PLC0415

    jobs = config.recipe_jobs or cpu_count()
    method = config.recipe_start_method
    if method == "forkserver":
        # One recipe for each process is done before the exercise would be.
        exercise = ["_ext.exercise"] if due > jobs else []
        start_server(PRELOAD + exercise)
    # Sphinx-Gallery asks joblib for "loky" by name and runs one job serially:
    # https://github.com/sphinx-gallery/sphinx-gallery/pull/877
    conf["parallel"] = max(jobs, 2)
    factory = functools.partial(
        RecipeBackend,
        jobs,
        config.recipe_time_limit,
        method,
        functools.partial(transcripts.note_finished, app),
    )
    register_parallel_backend("loky", factory)


def _scripts(app: Sphinx) -> list[Path]:
    """Return where Sphinx-Gallery puts its copy of each recipe."""
    conf = app.config.sphinx_gallery_conf
    pairs = zip(conf["examples_dirs"], conf["gallery_dirs"], strict=True)
    return [
        Path(app.srcdir, gallery, source.name)
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
    app.add_config_value("recipe_jobs", 0, "", int)
    app.add_config_value("recipe_time_limit", 120.0, "", (int, float))
    method = "forkserver" if sys.platform == "linux" else "spawn"
    app.add_config_value("recipe_start_method", method, "", str)
    app.connect("config-inited", _check)
    app.connect("builder-inited", _register, priority=200)
    app.connect("build-finished", _fail_the_build)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
