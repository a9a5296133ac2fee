"""Import what recipes use, in the process that they are forked from.

Collecting no garbage meanwhile, and none of what was imported afterwards, saves 7 % of
a cold build: 60 CPU seconds against 64, ten recipes, in turns. To export a model here,
so that no recipe is the first to do so, saved nothing that could be measured.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os

from _ext.run import settings

# A collection finds nothing here, and it runs hundreds of times: a fifth of the time.
gc.disable()

#: What runs a recipe; then comes what ``recipe_preload`` says.
MODULES = ("_ext.run.child", "_ext.show.pictures", "sphinx.cmd.build")


for _module in (*MODULES, *os.environ.pop(settings.PRELOAD, "").split()):
    with contextlib.suppress(ImportError):
        importlib.import_module(_module)

# All that is loaded stays: the collection that Sphinx-Gallery asks for before each
# recipe need not look at it, which saves half a second.
gc.freeze()
gc.enable()
