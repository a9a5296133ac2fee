"""Start what runs the recipes, where one has to be run; otherwise load nothing of it.

Sphinx-Gallery executes its examples through joblib. The joblib backend of
:mod:`_ext.run.backend` is registered for it here, and the server that recipes are
forked from is started as early as possible.
"""

from __future__ import annotations

import functools
import sys
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

from _ext import gallery, noop, recipe
from _ext.run import cache, settings

if TYPE_CHECKING:
    from pathlib import Path

    from sphinx.application import Sphinx
    from sphinx.config import Config


def _start_server(config: Config) -> None:
    """Start the server that recipes are forked from; it imports while we go on."""
    if config.recipe_start_method != "forkserver":
        return
    forkserver.set_forkserver_preload(["_ext.run.preload"])
    with settings.environment(config.recipe_preload):
        forkserver.ensure_running()


def _start_early(app: Sphinx, config: Config) -> None:
    """Start the server before recipes are looked at, if one of them was edited.

    Its imports take longer than all that comes before the first recipe.
    """
    if noop.nothing_changed(app):
        return
    if not all(_is_copy(source, copy) for source, copy in gallery.pairs(app)):
        _start_server(config)


def _is_copy(source: Path, script: Path) -> bool:
    """Tell whether Sphinx-Gallery's copy of a recipe has the recipe's text."""
    return script.exists() and script.read_bytes() == source.read_bytes()


@noop.skipped
def _register(app: Sphinx) -> None:
    """Put the backend in the place of the one that Sphinx-Gallery names."""
    config = app.config
    conf = config.sphinx_gallery_conf
    if not any(_is_due(copy, conf) for _, copy in gallery.pairs(app)):
        conf["parallel"] = False
        return
    _start_server(config)
    # These take a fifth of a build that has nothing to do.
    from joblib import cpu_count, register_parallel_backend  # noqa: PLC0415

    from _ext.run.backend import RecipeBackend  # noqa: PLC0415

    jobs = config.recipe_jobs or cpu_count()
    # Sphinx-Gallery asks joblib for "loky" by name and runs one job serially:
    # https://github.com/sphinx-gallery/sphinx-gallery/pull/877
    conf["parallel"] = max(jobs, 2)
    factory = functools.partial(
        RecipeBackend,
        jobs,
        config.recipe_time_limit,
        config.recipe_start_method,
        app.events,
    )
    register_parallel_backend("loky", factory)


def _is_due(script: Path, conf: dict) -> bool:
    """Tell whether a recipe has to be run, or shown without being run."""
    if not script.exists() or cache.must_run(script, conf):
        return True
    return not recipe.applies(script.read_text("utf-8"))


def _fail_the_build(app: Sphinx, exception: Exception | None) -> None:
    """Give the build an exit status that says that a recipe failed.

    Without -W too; Sphinx-Gallery's own way is an "Extension error!" that asks the
    reader to report a bug of Sphinx.
    """
    if app.config.sphinx_gallery_conf["failing_examples"]:
        app.statuscode = 1


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""
    app.setup_extension("_ext.noop")
    app.add_config_value("recipe_jobs", 0, "", int)
    app.add_config_value("recipe_preload", [], "", list)
    app.add_config_value("recipe_time_limit", 120.0, "", (int, float))
    method = "forkserver" if sys.platform == "linux" else "spawn"
    app.add_config_value("recipe_start_method", method, "", str)
    # With the copy of a recipe that ran to its end; an answer is the seconds to show.
    app.add_event("recipe-passed")
    # With the copy of a recipe whose page is there, whether it ran or not.
    app.add_event("recipe-finished")
    app.connect("config-inited", settings.check)
    app.connect("config-inited", _start_early, priority=910)
    app.connect("builder-inited", _register, priority=200)
    app.connect("build-finished", _fail_the_build)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
