"""What both the build and the processes that it starts have to agree on."""

from __future__ import annotations

import multiprocessing
import os
import sys
import unittest.mock
from typing import TYPE_CHECKING

from sphinx.errors import ConfigError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sphinx.application import Sphinx
    from sphinx.config import Config


#: Seconds beyond a recipe's limit after which compiled code that does not return is
#: ended, and after which the process is killed: it has also to start.
ALARM_GRACE, GRACE = 5, 60

#: Seconds that a process has to end by itself when the recipe has.
EXIT = 1


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


def check(_: Sphinx, config: Config) -> None:
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
