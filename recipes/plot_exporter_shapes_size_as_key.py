"""
.. _l-plot-exporter-shapes-size-as-key:

TypeError: unhashable type: non-nested SymInt
=============================================

.. answer::
   :cost: The cached function runs at every call.

   A dynamic size is the key of a dictionary, a set or ``lru_cache``, and a symbol has
   no hash. Call the function without its cache, and turn the dictionary into a tensor.
   ``int(n)`` silences the error and makes the size static.

   .. code-block:: diff

      -        x = x * ramp(n)
      -        return x * GAINS[n]
      +        x = x * ramp.__wrapped__(n)
      +        return x * self.gains[n : n + 1]

   Not your case?

   * The key is ``x.item()``: :ref:`l-plot-exporter-data-item`.
   * The cache returns a fake tensor later: :ref:`l-plot-exporter-wrong-leaked`.
   * ``len``, ``int``, ``math`` of a size: :ref:`l-plot-exporter-shapes-python-int`.

.. meta::
   :keywords: unhashable type, non-nested SymInt, lru_cache, functools.cache, size as
      dictionary key, SymInt as key, cache by sequence length, einops, shape as key
"""

# %%
# The problem
# +++++++++++
#
# A ramp is cached by its length, and each length has a gain.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "turns static", "wrong without an error"]
# sphinx_gallery_wording = "TypeError: unhashable type: 'SymInt'"
# sphinx_gallery_wording = "einops rearrange fails with torch.export and dynamic shapes"
# sphinx_gallery_wording = "functools.lru_cache with a symbolic size fails in torch.export"

import functools
import types
import unittest.mock

import torch
from torch.export import Dim

GAINS = {2: 0.5, 3: 0.75, 5: 1.25, 8: 2.0}


@functools.lru_cache
def ramp(n):
    return torch.arange(1, n + 1) / n


class Scale(torch.nn.Module):
    def forward(self, x):
        n = x.shape[1]
        x = x * ramp(n)
        return x * GAINS[n]


torch.manual_seed(0)
x = torch.randn(4, 5)
shapes = ({1: Dim("n", min=2, max=8)},)
try:
    torch.export.export(Scale(), (x,), dynamic_shapes=shapes, strict=False)
except TypeError as error:
    print(error)

# %%
# Strict mode, the default up to PyTorch 2.7, looks up the size of the example: silently
# with ``Dim.AUTO``, and as the error ``constant (5)`` otherwise.

static = torch.export.export(
    Scale(), (x,), dynamic_shapes=({1: Dim.AUTO},), strict=True
)
print("dynamic sizes:", static.range_constraints)
try:
    static.module()(torch.randn(4, 8))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# The fix
# +++++++
#
# A slice reads one value at a dynamic index. Both changes work in both modes.


class ScaleAny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        gains = torch.full((max(GAINS) + 1,), float("nan"))
        for size, gain in GAINS.items():
            gains[size] = gain
        self.register_buffer("gains", gains)

    def forward(self, x):
        n = x.shape[1]
        x = x * ramp.__wrapped__(n)
        return x * self.gains[n : n + 1]


# sphinx_gallery_picture = "The ramp is computed in the graph, and the gain is a slice."
program = torch.export.export(
    ScaleAny(), (x,), dynamic_shapes=({1: Dim.AUTO},), strict=False
)
print(program.range_constraints)

# %%
# Why it happens
# ++++++++++++++
#
# A hash is a number, and ``n`` stands for many. `SymInt.__hash__
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/__init__.py#L618>`_ raises;
# strict mode `takes the number of the example
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_dynamo/variables/hashable.py#L105>`_,
# and so does ``int(n)``. Without a dynamic size, ``n`` is a number.


class ScaleInt(torch.nn.Module):
    def forward(self, x):
        return x * GAINS[int(x.shape[1])]


for model, shape in ((ScaleInt(), ({1: Dim.AUTO},)), (Scale(), None)):
    number = torch.export.export(model, (x,), dynamic_shapes=shape, strict=False)
    assert number.range_constraints == {}
ramp.cache_clear()  # it holds a fake tensor of the last export

# %%
# A tuple needs no hash, it compares. Non-strict mode freezes the size; strict mode
# freezes the answer, up to PyTorch 2.8 without a guard: 8 is doubled, silently.


class Double(torch.nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[1] in (3, 5) else x


for strict in (False, True):
    frozen = torch.export.export(
        Double(), (x,), dynamic_shapes=({1: Dim.AUTO},), strict=strict
    )
    try:
        print("8 is doubled:", frozen.module()(torch.ones(4, 8)).amax().item() == 2)
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your line
#      - Write instead
#      - Cost
#    * - ``if n not in self.tables: ...``
#      - compute the table each time, or slice one long table, ``self.table[:n]``
#      - time, or memory and a largest size
#    * - ``@lru_cache``, and eager calls have to stay fast
#      - ``try: ramp(n)``, ``except TypeError: ramp.__wrapped__(n)``, as `einops since
#        0.7 <https://github.com/pytorch/pytorch/issues/157417>`_
#      - none
#    * - a cached function of a library
#      - ``unittest.mock.patch.object`` around the export, as below
#      - none
#    * - ``x * 2 if n in (3, 5) else x``
#      - ``torch.where((self.sizes == n).any(), x * 2, x)``
#      - both results are computed
#    * - ``values[n]``, a list; ``{1.5: ...}[n / 2]``
#      - a tensor and a slice, as above
#      - none


class DoubleAny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("sizes", torch.tensor([3, 5]))

    def forward(self, x):
        return torch.where((self.sizes == x.shape[1]).any(), x * 2, x)


library = types.SimpleNamespace(ramp=ramp)  # a module that is not yours


class UsesLibrary(torch.nn.Module):
    def forward(self, x):
        return x * library.ramp(x.shape[1])


doubles = torch.export.export(DoubleAny(), (x,), dynamic_shapes=shapes, strict=False)
with unittest.mock.patch.object(library, "ramp", library.ramp.__wrapped__):
    ramps = torch.export.export(
        UsesLibrary(), (x,), dynamic_shapes=shapes, strict=False
    )

# %%
# Check
# +++++
#
# The references are the models of the beginning, run by eager mode.

for size in GAINS:
    new = torch.randn(4, size)
    torch.testing.assert_close(program.module()(new), Scale()(new))
for size in (2, 3, 4, 5, 7, 8):
    new = torch.randn(4, size)
    torch.testing.assert_close(doubles.module()(new), Double()(new))
    torch.testing.assert_close(ramps.module()(new), UsesLibrary()(new))
try:
    program.module()(torch.randn(4, 9))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# A missing key raises ``KeyError`` in eager mode, and is NaN in this table. Test sizes
# before you call the program.

assert program.module()(torch.randn(4, 4)).isnan().all()

# %%
# Summary
# +++++++
#
# * No size as a key, and no ``int(n)``: compute, or slice a tensor.
# * Run a second size: without the error, the size may be static.
#
# Next: :ref:`l-plot-exporter-shapes-auto-dynamic-static` makes a static size an error,
# :ref:`l-plot-exporter-shapes-find-the-line` finds the line,
# :ref:`l-plot-exporter-control-cond` is for branches on a size.
