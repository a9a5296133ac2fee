"""Import what recipes use, in the process that they are forked from.

Collecting no garbage meanwhile, and none of what was imported afterwards, saves 7 % of
a cold build: 60 CPU seconds against 64, ten recipes, in turns. To export a model here,
so that no recipe is the first to do so, saved nothing that could be measured.
"""

from __future__ import annotations

import contextlib
import gc
import importlib

# A collection finds nothing here, and it runs hundreds of times: a fifth of the time.
gc.disable()

#: What runs a recipe; then torch, with what it does not import itself, but by the first
#: export, draft export, save or conversion: that to ONNX takes 1.0 s instead of 1.4.
MODULES = (
    "_ext.run.child",
    "_ext.show.pictures",
    "sphinx.cmd.build",
    "torch",
    "torch.export._trace",
    "torch.export._draft_export",
    "torch.utils.serialization.config",
    "sympy.tensor.tensor",
    "torch.onnx._internal.exporter._core",
    "onnxscript.function_libs.torch_lib.ops",
)


for _module in MODULES:
    with contextlib.suppress(ImportError):
        importlib.import_module(_module)

# All that is loaded stays: the collection that Sphinx-Gallery asks for before each
# recipe need not look at it, which saves half a second.
gc.freeze()
gc.enable()
