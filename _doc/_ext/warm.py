"""Import what recipes need, in the process that they are forked from.

What the first export of a process costs besides is paid by :mod:`_ext.exercise`, where
many recipes run.
"""

from __future__ import annotations

import contextlib
import gc
import importlib

import torch  # noqa: F401 (to have it imported is the purpose)

#: Not imported by torch itself, but by the first export, draft export or save.
MODULES = (
    "torch.export._trace",
    "torch.export._draft_export",
    "torch.utils.serialization.config",
)


for _module in MODULES:
    with contextlib.suppress(ImportError):
        importlib.import_module(_module)

# All that is loaded stays: the collection that Sphinx-Gallery asks for before each
# recipe need not look at it, which saves half a second.
gc.collect()
gc.freeze()
