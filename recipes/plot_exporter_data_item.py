"""
.. _l-plot-exporter-data-item:

Could not extract specialized integer: use item(), not int()
============================================================

.. answer::
   :cost: Nothing at run time.

   ``int()`` and ``float()`` must return a number, and during the export a tensor has
   none. ``item()`` returns a symbol, ``u0``. Slices and indices (``u0 < 0``,
   ``got SymInt``): see *Other fixes* below.

   .. code-block:: diff

      -        longest = int(lengths.max())
      +        longest = lengths.max().item()

   Not your case?

   * ``range(n)``: :ref:`l-plot-exporter-control-while`; an ``if``:
     :ref:`l-plot-exporter-data-guard`.
   * ``tolist()``, ``split``, a loop over lengths: :ref:`l-plot-exporter-data-lengths`.
   * ``x[mask]``, ``nonzero``, ``len(...)`` of it: :ref:`l-plot-exporter-data-mask`.

.. meta::
   :keywords: item(), int(tensor), float(tensor), KV cache position, narrow, got SymInt,
      torch._check, torch._check_is_size, data-dependent slice, static cache,
      torch.zeros(n), local_scalar_dense, lengths.max(), sequence mask
"""

# %%
# The problem
# +++++++++++
#
# A mask is as wide as the longest sequence.

# sphinx_gallery_tags = ["data-dependent values", "export fails", "run fails"]
# sphinx_gallery_wording = "Could not guard on data-dependent expression Eq(507 - u0, 0)"
# sphinx_gallery_wording = "Failed running call_function getitem (got SymInt)"
# sphinx_gallery_wording = "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got SymInt)"
# sphinx_gallery_wording = "Could not guard on data-dependent expression u0 < 0 (unhinted: u0 < 0) in narrow"

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode


class Mask(torch.nn.Module):
    def forward(self, lengths):
        longest = int(lengths.max())
        return torch.arange(longest) < lengths[:, None]


lengths = torch.tensor([2, 5, 3])
batch = torch.export.Dim("batch", max=64)
try:
    torch.export.export(Mask(), (lengths,), dynamic_shapes=({0: batch},), strict=False)
except GuardOnDataDependentSymNode as error:
    print(error)

# %%
# The fix
# +++++++


class MaskItem(torch.nn.Module):
    def forward(self, lengths):
        longest = lengths.max().item()
        return torch.arange(longest) < lengths[:, None]


program = torch.export.export(
    MaskItem(), (lengths,), dynamic_shapes=({0: batch},), strict=False
)
print(program.range_constraints)

# %%
# Why it happens
# ++++++++++++++
#
# In non-strict mode Python runs the model. Its ``int`` accepts nothing but a number, and
# torch `has none
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L7425>`_.
# Strict mode reads the code and replaces ``int`` by ``item``: the same model exports.

strict = torch.export.export(
    Mask(), (lengths,), dynamic_shapes=({0: batch},), strict=True
)

# %%
# Other fixes
# +++++++++++
#
# A later line may still ask what ``u0`` is. Below, ``p`` is the tensor, and ``n`` is
# ``p.item()``.
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your line
#      - Write this instead
#      - Cost
#    * - ``float(p) * x``, ``torch.tensor(n) * x``
#      - ``p * x``
#      - none
#    * - ``int(10 * p)``, ``math.ceil(n)``
#      - ``(10 * p).long().item()``, ``p.ceil().long().item()``
#      - none
#    * - ``torch.zeros(n, 4) + x``, and ``x`` has ``n`` rows
#      - ``torch.zeros(x.shape[0], 4) + x``
#      - none
#    * - ``x[:n]``: ``u0 < 0`` in PyTorch 2.9 and earlier
#      - ``x[torch.arange(n)]``; or, in 2.8 and 2.9, ``torch._check(n >= 0)`` and
#        ``torch._check(n <= x.shape[0])`` before it
#      - a copy; a large ``n`` raises
#    * - ``x[p]``, ``x[0, p]``, ``x[n]`` (``got SymInt``)
#      - ``x[p[None]][0]``, ``x[0, p[None]][0]``
#      - none
#    * - ``x[p] = v``, ``x[rows, p]``
#      - ``x[p[None]] = v``, ``x[rows, p[None]]``
#      - none
#    * - ``cache[n : n + 3] = new``, ``narrow``
#      - ``cache.index_copy_(0, positions, new)``, see below
#      - none
#    * - ``pad(x, (0, n))``: ``u0 < 0`` in PyTorch 2.7 and earlier
#      - ``torch.cat([x, x.new_zeros(x.shape[0], n)], dim=1)``
#      - none
#    * - ``torch.linspace(0, 1, n)``
#      - ``torch.arange(n) / (n - 1)``
#      - NaN if ``n`` is 1
#    * - ``one_hot(p)``
#      - ``one_hot(p, num_classes=10)``
#      - the number is fixed
#
# Six rows in one model:


class Lines(torch.nn.Module):
    def forward(self, x, p):
        n = int(p)
        longer = torch.nn.functional.pad(x, (0, n))
        steps = torch.linspace(0, 1, n)
        changed = x.clone()
        changed[p] = 0.5
        return x[:n], x[n], changed, longer, steps, torch.nn.functional.one_hot(p)


class LinesItem(torch.nn.Module):
    def forward(self, x, p):
        n = p.item()
        first = x[torch.arange(n)]
        row = x[p[None]][0]
        changed = x.clone()
        changed[p[None]] = 0.5
        longer = torch.cat([x, x.new_zeros(x.shape[0], n)], dim=1)
        steps = torch.arange(n) / (n - 1)
        classes = torch.nn.functional.one_hot(p, num_classes=10)
        return first, row, changed, longer, steps, classes


torch.manual_seed(0)
rows = torch.export.Dim("rows", max=64)
lines = torch.export.export(
    LinesItem(),
    (torch.rand(7, 4), torch.tensor(3)),
    dynamic_shapes=({0: rows}, None),
    strict=False,
).module()

# %%
# A key/value cache with a position, without any number:


class Cache(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("keys", torch.zeros(16, 4))

    def forward(self, new, positions):
        start = int(positions[0])
        self.keys[start : start + new.shape[0]] = new
        return self.keys[: start + new.shape[0]].sum(dim=0)


class TensorCache(Cache):
    def forward(self, new, positions):
        self.keys.index_copy_(0, positions, new)
        seen = torch.arange(16) <= positions[-1]
        return torch.where(seen[:, None], self.keys, 0.0).sum(dim=0)


new = torch.export.Dim("new", max=16)
example = (torch.rand(3, 4), torch.arange(5, 8))
cache = torch.export.export(
    TensorCache(), example, dynamic_shapes=({0: new}, {0: new}), strict=False
).module()

# %%
# Check
# +++++
#
# The references are the original models. The cache is filled in unequal steps.

for some in ([4], [0, 0], [1, 7, 2, 6]):
    expected = Mask()(torch.tensor(some))
    for mask in (program.module(), strict.module()):
        torch.testing.assert_close(mask(torch.tensor(some)), expected)

for size, number in ((9, 2), (2, 0), (33, 7)):
    x, p = torch.randn(size, 4), torch.tensor(number)
    *expected, classes = Lines()(x, p)
    *found, more_classes = lines(x, p)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(more_classes[: number + 1], classes)
    assert more_classes.sum() == 1

reference, start = Cache(), 0
for length in (5, 1, 1, 2, 7):
    step = torch.randn(length, 4), torch.arange(start, start + length)
    torch.testing.assert_close(cache(*step), reference(*step))
    start += length
torch.testing.assert_close(cache.keys, reference.keys)

# %%
# A position outside of the cache, or of the rows, raises.

try:
    cache(torch.rand(3, 4), torch.arange(14, 17))
except (IndexError, RuntimeError) as error:
    print(error)
try:
    lines(torch.rand(9, 4), torch.tensor(9))
except (IndexError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# If a size ``u0`` meets a fixed size, the exporter takes them as equal: the export
# succeeds, and the number is a constant.


class Adds(torch.nn.Module):
    def forward(self, x, n):
        return torch.zeros(n.item(), 4) + x


x, n = torch.rand(16, 4), torch.tensor(16)
fixed = torch.export.export(Adds(), (x, n), strict=False)
print(fixed.range_constraints)
assert Adds()(x, torch.tensor(1)).shape == x.shape
try:
    fixed.module()(x, torch.tensor(1))
except RuntimeError as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Write ``item()``; better, do without the number: a shape, or the tensor as an index.
# * A line still asks about ``u0``: :ref:`l-plot-exporter-data-guard`. The buffer of a
#   cache: :ref:`l-plot-exporter-wrong-state`. The checks of a program:
#   :ref:`l-plot-exporter-control-assert`.
