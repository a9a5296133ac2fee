"""
.. _l-plot-exporter-wrong-leaked:

The model returns a FakeTensor after the export
===============================================

.. answer::
   :cost: The longest size has to be known. Nothing at run time.

   The export calls ``forward`` with fake tensors. A table that ``forward`` computes on its
   first call, and keeps in a cache, is fake from then on. Make it in ``__init__``, as a
   buffer.

   .. code-block:: diff

           def __init__(self, longest=512):
      +        table = torch.arange(longest).cos()
      +        self.register_buffer("cosine", table, persistent=False)
           def forward(self, x):
      -        if self.tables.cosine is None:
      -            self.tables.cosine = torch.arange(3).cos()
      -        return x * self.tables.cosine
      +        return x * self.cosine[: x.shape[1]]

   Not your case?

   * No cache, but a gradient in ``forward`` (``autograd.grad``, ``torch.func.grad``):
     :ref:`l-plot-exporter-wrong-gradients-inside`.
   * The model is not yours: *Other fixes*.
   * ``was assigned during export``: :ref:`l-plot-exporter-wrong-state`.

.. meta::
   :keywords: FakeTensor leak, leaked fake tensor, lru_cache, cached cos sin table,
      rotary embedding cache, model broken after export, autograd.grad in forward,
      We found a fake tensor in the exported program constant's list
"""

# %%
# The problem
# +++++++++++
#
# The model computes its position table on the first call. This program is right, and the
# model is broken: its result has a shape and no values.

# sphinx_gallery_tags = ["wrong results", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "model returns FakeTensor after torch.export"
# sphinx_gallery_wording = "eager model does not work any more after export"

import contextlib
import copy
import functools
import types
import warnings

import torch


class Positions(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.tables = types.SimpleNamespace(cosine=None)

    def forward(self, x):
        if self.tables.cosine is None:
            self.tables.cosine = torch.arange(3).cos()
        return x * self.tables.cosine


x = torch.arange(12.0).reshape(4, 3)
expected = x * torch.tensor([0.0, 1.0, 2.0]).cos()
model = Positions()
program = torch.export.export(model, (x,), strict=False)
torch.testing.assert_close(program.module()(x), expected)
print(model(x))

# %%
# With a dynamic dimension, the model raises. The second export raises as well; up to
# PyTorch 2.9 it puts the fake tensor into the program, silently.

model = Positions()
dynamic = ({0: torch.export.Dim("batch")},)
torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
try:
    model(x)
except RuntimeError as error:
    print(error)
try:
    again = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
    print([type(constant).__name__ for constant in again.constants.values()])
except RuntimeError as error:
    print(error)

# %%
# The fix
# +++++++


class Buffer(torch.nn.Module):
    def __init__(self, longest=512):
        super().__init__()
        table = torch.arange(longest).cos()
        self.register_buffer("cosine", table, persistent=False)

    def forward(self, x):
        return x * self.cosine[: x.shape[1]]


both = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("width", max=512)},)
fixed = Buffer()
program = torch.export.export(fixed, (x,), dynamic_shapes=both, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# Attributes of the module are put back after the trace, except a buffer or parameter
# that was None. Other objects, globals, closures and ``functools.lru_cache`` are not.
# Only the first call counts: if it is not the trace, the table is a real tensor, and a
# constant of the program.

called = Positions()
called(x)
constant = torch.export.export(called, (x,), dynamic_shapes=dynamic, strict=False)
assert type(called.tables.cosine) is torch.Tensor and len(constant.constants) == 1

# %%
# To find the line: `a private switch
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/config.py#L24>`_ of
# PyTorch 2.10 and later reports where a fake tensor that outlives the export was made.


@functools.lru_cache
def cosine_table(width):
    return torch.arange(width).cos()


class Cached(torch.nn.Module):
    def forward(self, x):
        return x * cosine_table(3)


with contextlib.suppress(ImportError), warnings.catch_warnings(record=True) as caught:
    from torch._export import config

    warnings.simplefilter("always")
    with config.patch(detect_non_strict_fake_tensor_leaks=True):
        torch.export.export(Cached(), (x,), strict=False)
    print(caught[-1].message)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - What you have
#      - What to do
#      - Cost
#    * - one size only
#      - call the model once before the export
#      - the table is a constant of that size
#    * - a model that is not yours
#      - export ``copy.deepcopy(model)``
#      - a second copy of the weights
#    * - ``register_buffer("scale", None)``, filled by ``forward``: the program can
#        overwrite its input, too
#      - call the model once before the export; ``model.scale = None`` repairs only the
#        model
#      - a constant
#    * - ``functools.lru_cache``, a global
#      - ``cosine_table.cache_clear()`` after the export
#      - the table is computed again
#    * - any of them
#      - ``strict=True``: keeps nothing, from PyTorch 2.10 on
#      - less Python is supported: :ref:`l-plot-exporter-exporter-strict`


class Lazy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", None)

    def forward(self, x):
        if self.scale is None:
            self.scale = x.abs().amax()
        return x / self.scale


lazy = Lazy()
overwrites = torch.export.export(lazy, (x,), strict=False).module()
y = x.clone()
overwrites(y)
print(type(lazy.scale).__name__, "input overwritten:", not torch.equal(x, y))
lazy.scale = None
lazy(x)
scaled = torch.export.export(lazy, (x,), strict=False).module()

model, cached = Positions(), Cached()
torch.export.export(copy.deepcopy(model), (x,), strict=False)
cosine_table.cache_clear()
torch.export.export(cached, (x,), strict=False)
cosine_table.cache_clear()

# %%
# Check
# +++++
#
# At sizes that were not traced; then the models that were exported.

for rows, width in [(1, 3), (4, 1), (7, 5), (2, 512)]:
    inputs = torch.rand(rows, width)
    result = inputs * torch.tensor([float(i) for i in range(width)]).cos()
    torch.testing.assert_close(program.module()(inputs), result)
    torch.testing.assert_close(fixed(inputs), result)
for call in (called, model, cached, constant.module()):
    assert type(call(x)) is torch.Tensor
    torch.testing.assert_close(call(x), expected)
for call in (lazy, scaled):
    torch.testing.assert_close(call(2 * x), 2 * x / 11)
try:
    program.module()(torch.rand(4, 600))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * What a call of your model leaves behind, a trace leaves behind, as fake tensors.
# * Tables belong in ``__init__``, or in a cache that is filled before the export.
# * Call the model once more after each export: :ref:`l-plot-exporter-wrong-checklist` does.
#   Two exports at once leak, too: :ref:`l-plot-exporter-exporter-threads`.
