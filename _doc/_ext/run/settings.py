"""What both the build and the processes that it starts have to agree on."""

from __future__ import annotations

import multiprocessing
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sphinx.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sphinx.application import Sphinx
    from sphinx.config import Config


#: How many times its limit, which is CPU time, a recipe may take by the clock: enough
#: for a machine that does much else, and an end for a recipe that waits forever.
PATIENCE = 10

#: Seconds beyond these limits after which compiled code that does not return is ended,
#: and beyond the one by the clock after which the process is killed: it has to start.
ALARM_GRACE, GRACE = 2, 60

#: What tells the fork server which modules to import: names, with spaces between them.
PRELOAD = "RECIPE_PRELOAD"

#: Seconds that a process has to end by itself when the recipe has.
EXIT = 1


@contextmanager
def environment(preload: Iterable[str] = ()) -> Iterator[None]:
    """Set the environment in which a recipe, or the fork server, is started.

    Parameters
    ----------
    preload
        The modules that the fork server imports.
    """
    settings = {
        PRELOAD: " ".join(preload),
        # The fork server of Python 3.11 ignores the sys.path that it is given:
        # https://github.com/python/cpython/blob/v3.11.7/Lib/multiprocessing/forkserver.py#L166
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        # Recipes run side by side; and a sum has one order, on any machine.
        "OMP_NUM_THREADS": "1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def check(_: Sphinx, config: Config) -> None:
    """Reject settings that cannot be followed."""
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
