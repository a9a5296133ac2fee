"""Pay the one-time costs of torch.export once, in the process that recipes fork from.

The first export of a process imports half of torch and fills many caches: seconds, of
which a forked recipe pays nothing. What the exercise counts or names on the way is
reset, because a recipe must print what it prints in a process of its own.
``tests/test_recipes.py`` compares the two.

Only the pinned release is exercised: which counters there are is its own affair. For
any other release :mod:`_ext.run.preload` imports the modules: most of the gain.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import linecache
import warnings

import torch

#: The release whose counters are known here.
KNOWN = "2.13.0"

#: Counters that may be seen in names and messages, and what makes a new one.
COUNTERS = {
    ("torch._dynamo.output_graph", "_compile_id_counter"): itertools.count,
    ("torch._dynamo.logging", "_step_counter"): lambda: itertools.count(1),
    ("torch._functorch.aot_autograd", "AOT_COUNTER"): itertools.count,
    ("torch._subclasses.meta_utils", "DESCRIBER_NEXT_ID"): int,
    ("torch._dynamo.utils", "op_count"): int,
}

#: Collections that grow with each export.
RECORDS = (
    ("torch._dynamo.utils", "counters"),
    ("torch._logging.structured", "INTERN_TABLE"),
    ("torch.fx.experimental.proxy_tensor", "_FAKE_TENSOR_ID_TO_PROXY_MAP_FOR_EXPORT"),
    ("torch.utils._stats", "simple_call_counter"),
)


class _Model(torch.nn.Module):
    """A little of everything: a branch, a symbolic size, a composite operator."""

    def forward(self, x, weight):
        y = torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))
        return torch.nn.functional.linear(y, weight).relu() + x.shape[0]


def _exercise() -> None:
    """Export in both modes, decompose, run. No parameters: no random numbers."""
    inputs = torch.ones(3, 2), torch.ones(2, 2)
    shapes = {0: torch.export.Dim.DYNAMIC}, None
    for strict in (False, True):
        program = torch.export.export(
            _Model(), inputs, dynamic_shapes=shapes, strict=strict
        )
    str(program.run_decompositions())
    program.module()(*inputs)


def _forget() -> None:
    """Reset what the exercise counted, named and switched."""
    torch._dynamo.reset()
    torch._dynamo.utils.clear_compilation_metrics()
    for (module, name), fresh in COUNTERS.items():
        setattr(importlib.import_module(module), name, fresh())
    for module, name in RECORDS:
        getattr(importlib.import_module(module), name).clear()
    # Dynamo keeps the functions that it compiled as globals of this module.
    compiled = vars(importlib.import_module("torch._dynamo.functional_export"))
    for name in [n for n in compiled if n.startswith(("__compiled_fn", "___unnamed"))]:
        del compiled[name]
    # "<eval_with_key>.N" is printed in programs; the sources go with the numbers.
    loader = importlib.import_module("torch.fx.graph_module")._loader
    loader.next_id = 0
    loader.eval_cache.clear()
    for name in [n for n in linecache.cache if n.startswith("<eval_with_key>")]:
        del linecache.cache[name]
    # Its first use switches off the validation of distributions; a recipe's own
    # first use does it again.
    torch.distributions.Distribution.set_default_validate_args(value=__debug__)
    torch._dynamo.eval_frame.TorchPatcher.patch.cache_clear()


if torch.__version__.partition("+")[0] == KNOWN:
    # Ignored warnings are not marked as shown: a recipe still gets its own.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _exercise()
        _forget()
    gc.collect()
    gc.freeze()  # see _ext.run.preload
