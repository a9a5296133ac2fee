"""
.. _l-plot-exporter-data-guard:

Could not guard on data-dependent expression
============================================

.. answer::
   :cost: Both results are computed at every call.

   An ``if`` needs True or False during the export, and its value is known only when the
   exported program runs. Compute both results and choose with ``torch.where``; delete a
   test that only saves time or raises an error.

   .. code-block:: diff

      -        if peak > 1:
      -            x = x / peak
      +        x = torch.where(peak > 1, x / peak, x)

   Not your case?

   * The branches are long, or one must not run: :ref:`l-plot-exporter-control-cond`.
   * The line is ``x[:n]``, ``x[n]`` or ``range(n)``: :ref:`l-plot-exporter-data-item`.
   * ``x[mask]`` or ``nonzero`` came before it: :ref:`l-plot-exporter-data-mask`.

.. meta::
   :keywords: data-dependent expression, u0, unhinted, Size-like symbols, Eq(u0, 1),
      GuardOnDataDependentSymNode, torch._check, unbacked symbol, guard_or_false,
      guard_or_true, torch.where
"""

# %%
# The problem
# +++++++++++
#
# A signal is scaled down if it is too loud.

# sphinx_gallery_tags = ["data-dependent values", "export fails"]
# sphinx_gallery_wording = "Could not guard on data-dependent expression Eq(u77 - 1, 1)"
# sphinx_gallery_wording = "GuardOnDataDependentSymNode: Could not guard on u0"

import torch
from torch.fx.experimental import symbolic_shapes


class Limit(torch.nn.Module):
    def forward(self, x):
        peak = x.abs().amax()
        if peak > 1:
            x = x / peak
        return x.cumsum(dim=1)


torch.manual_seed(0)
x = torch.randn(4, 16)
batch = torch.export.Dim("batch", max=64)
try:
    torch.export.export(Limit(), (x,), dynamic_shapes=({0: batch},), strict=False)
except symbolic_shapes.GuardOnDataDependentSymNode as error:
    print(error)

# %%
# ``u0`` is a value that exists only at run time (``zuf0``: a float). ``Eq(u0, 1)`` is the
# question: is it 1, that is, True? *Unhinted* is the question before the sizes of the
# example were put in; *size-like* symbols are known to be sizes.
#
# The line that asks stands under *The following call raised this error*, or behind
# *Caused by*. ``TORCH_LOGS="dynamic"`` says which operator made the symbol:
# ``local_scalar_dense`` is ``item()``. In strict mode the same ``if`` raises
# ``Data-dependent branching``.
#
# The fix
# +++++++


class LimitWhere(torch.nn.Module):
    def forward(self, x):
        peak = x.abs().amax()
        x = torch.where(peak > 1, x / peak, x)
        return x.cumsum(dim=1)


# sphinx_gallery_picture = "where chooses between two results: no branch is left."
program = torch.export.export(
    LimitWhere(), (x,), dynamic_shapes=({0: batch},), strict=False
)

# %%
# Other lines need other changes. Take the first row that fits:
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your line
#      - Write this instead
#      - Cost
#    * - ``if mask.sum() != n: raise ...``
#      - nothing; to keep the check: :ref:`l-plot-exporter-control-assert`
#      - wrong inputs are not reported
#    * - ``if mask.any(): x = x.masked_fill(mask, 0)``
#      - ``x = x.masked_fill(mask, 0)``
#      - the work at every call
#    * - ``if peak > 1: ...``
#      - ``torch.where(peak > 1, a, b)``
#      - both results are computed; a NaN in the unused one can reach gradients
#    * - ``n = count.item()``, ``if n == 0: ...``, and ``n`` is never 0
#      - ``torch._check(n >= 1)`` after ``item()``
#      - the exported program raises for other values
#    * - ``x[:n]``, and the caller knows ``n``
#      - pass the slice: its size is a dynamic dimension
#      - a different signature
#    * - ``x[:n].sum(dim=0)``
#      - a mask: ``torch.arange(x.shape[0]) < n``, see :ref:`l-plot-exporter-data-lengths`
#      - the work for all rows
#    * - two long branches
#      - ``torch.cond`` keeps both: :ref:`l-plot-exporter-control-cond`
#      - its rules: :ref:`l-plot-exporter-control-cond-rules`
#    * - ``while not done:``, post-processing
#      - keep it in Python, between two exported programs
#      - each application contains that code
#    * - ``if n == 0:``, a shortcut that may be skipped
#      - ``guard_or_false(n == 0)`` is no, ``guard_or_true(n == 0)`` is yes
#      - experimental; wrong results if it may not be skipped
#
# Why it happens
# ++++++++++++++
#
# A trace follows one side of an ``if``. During the export tensors have no values, and
# torch raises `when nothing it knows decides the question
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L8459>`_.
# Tell it a fact that does, and the same ``if`` exports:


class Mean(torch.nn.Module):
    def forward(self, total, count):
        n = count.item()
        if n == 0:
            return torch.zeros_like(total)
        return total / n


class MeanOfSome(torch.nn.Module):
    def forward(self, total, count):
        n = count.item()
        torch._check(n >= 1)
        if n == 0:
            return torch.zeros_like(total)
        return total / n


total, count = torch.tensor([4.0, 8.0]), torch.tensor(4)
try:
    torch.export.export(Mean(), (total, count), strict=False)
except symbolic_shapes.GuardOnDataDependentSymNode as error:
    print(str(error).splitlines()[0])
checked = torch.export.export(MeanOfSome(), (total, count), strict=False)
print(checked.range_constraints)

# %%
# Other fixes
# +++++++++++
#
# The message proposes ``guard_or_false`` and ``guard_or_true`` (PyTorch 2.8 or later).
# They answer the question once, *no* or *yes*, for all later calls. Here that is wrong,
# silently: the mean of nothing is 0, and only that.


class MeanGuess(torch.nn.Module):
    def __init__(self, guess):
        super().__init__()
        self.guess = guess

    def forward(self, total, count):
        n = count.item()
        if self.guess(n == 0):
            return torch.zeros_like(total)
        return total / n


if hasattr(symbolic_shapes, "guard_or_false"):
    no = MeanGuess(symbolic_shapes.guard_or_false)
    no = torch.export.export(no, (total, count), strict=False).module()
    yes = MeanGuess(symbolic_shapes.guard_or_true)
    yes = torch.export.export(yes, (total, count), strict=False).module()
    for n in (torch.tensor(0), torch.tensor(4)):
        for name, module in (("eager", Mean()), ("no", no), ("yes", yes)):
            print(f"count {n}, {name}: {module(total, n).tolist()}")
    assert no(total, torch.tensor(0)).isinf().all()
    assert (yes(total, torch.tensor(4)) == 0).all()

# %%
# Check
# +++++
#
# The reference is the original model in eager mode: through both branches, and at sizes
# that were not traced. Too many rows, and a count that the check excludes, raise.

for size in (1, 2, 7, 64):
    for loudness in (0.0, 0.1, 10.0):
        signal = loudness * torch.randn(size, 16)
        torch.testing.assert_close(program.module()(signal), Limit()(signal))
for n in map(torch.tensor, (1, 2, 5)):
    torch.testing.assert_close(checked.module()(total, n), Mean()(total, n))
try:
    program.module()(torch.rand(65, 16))
except (AssertionError, RuntimeError) as error:
    print(error)
try:
    checked.module()(total, torch.tensor(0))
except RuntimeError as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Find the line that asks. Most often the test can go, or ``torch.where`` replaces it.
# * ``torch._check`` states what you know; ``guard_or_false`` makes up an answer.
# * Usually more such lines follow: :ref:`l-plot-exporter-exporter-draft` lists them all
#   at once.
