"""
.. _l-plot-exporter-shapes-ranges:

Set min and max when "not all values satisfy the generated guard"
=================================================================

.. answer::
   :cost: The program rejects the excluded sizes, even if the model takes one of them.

   A ``Dim`` without bounds declares every size, and the traced model has limits. Give the
   ``Dim`` the range that torch suggests. If a guard with ``!=`` remains, raise the
   minimum above the size that it excludes.

   .. code-block:: diff

      -vlen = Dim("vlen")
      +vlen = Dim("vlen", min=5, max=16)

   Not your case?

   * ``% 8 != 0``: no range helps. :ref:`l-plot-exporter-shapes-pad-to-multiple`.
   * ``size()[0] != 1``: :ref:`l-plot-exporter-shapes-zero-one`.
   * ``== 0.408``: :ref:`l-plot-exporter-lost_dynamic_dimension`.

.. meta::
   :keywords: Dim min max, Not all values of satisfy the generated guard, int_oo,
      range_constraints, not in range, inconsistent min max, unbounded dimension,
      maximum sequence length, position table, mark_dynamic min max,
      Expected op to be '=='
"""

# %%
# The problem
# +++++++++++
#
# The table of positions has 16 rows, and the mean is taken over the last four frames.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "run fails", "how to"]
# sphinx_gallery_wording = "Not all values of vlen_28 satisfy the generated guard 10 <="
# sphinx_gallery_wording = "the program accepts an empty batch although min=1"
# sphinx_gallery_wording = "how to convert int_oo or range_constraints to int or JSON"
# sphinx_gallery_wording = "Not all values of height satisfy the generated guard 2 <= L['x'].size()[1] and L['x'].size()[1] <= 9223372036854775807"
# sphinx_gallery_wording = "Not all values of n satisfy the generated guard L['x'].size()[1] != 9223372036854775807"
# sphinx_gallery_wording = "AssertionError: not simple sympy type <class 'NoneType'>: None"
# sphinx_gallery_wording = "TypeError: Object of type IntInfinity is not JSON serializable"

import torch
from torch.export import Dim
from torch.fx.experimental.symbolic_shapes import ConstraintViolationError


class Tail(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(16, 3))

    def forward(self, x):
        x = x + self.table[: x.shape[1]]
        return x[:, -4:].mean(dim=1)


torch.manual_seed(0)
model = Tail()
x = torch.randn(2, 6, 3)
vlen = Dim("vlen")
try:
    torch.export.export(model, (x,), dynamic_shapes=({1: vlen},), strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# The suggestion covers the second guard only. With it, the first one remains, and torch
# suggests nothing:

vlen = Dim("vlen", min=4, max=16)
try:
    torch.export.export(model, (x,), dynamic_shapes=({1: vlen},), strict=False)
except torch._dynamo.exc.UserError as error:
    print(error.msg)

# %%
# ``3 * n != 12`` excludes 4, so the minimum is 5. Both bounds are inclusive.
#
# The fix
# +++++++

vlen = Dim("vlen", min=5, max=16)
program = torch.export.export(model, (x,), dynamic_shapes=({1: vlen},), strict=False)
print(program.range_constraints)

# %%
# Why it happens
# ++++++++++++++
#
# The trace follows the example: of six frames, the slice is a part. Torch `compares
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L6604>`_
# the sizes for which that holds with the declared range. ``Dim.DYNAMIC`` declares none and
# shows what was found. With an example of three frames, or without the slice, it differs:


class NoTail(Tail):
    def forward(self, x):
        return (x + self.table[: x.shape[1]]).mean(dim=1)


for variant, example in ((model, x), (model, x[:, :3]), (NoTail(), x)):
    found = torch.export.export(
        variant, (example,), dynamic_shapes=({1: Dim.DYNAMIC},), strict=False
    )
    print(list(found.range_constraints.values()))

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Guard
#      - What to do
#      - Cost
#    * - ``4 <= n and n <= 16``
#      - the suggested ``min`` and ``max``
#      - none, if these are limits of the model
#    * - ``3*n != 12``, ``(n + 1) // 2 != 1``
#      - a ``min`` above the sizes that it excludes (here 4; 1 and 2)
#      - these sizes are rejected
#    * - the same, and these sizes matter
#      - no comparison of sizes: an index in place of the slice (below)
#      - a copy
#    * - ``n % 20 != 0``
#      - remove the branch on the size: arithmetic (below), :func:`torch.cond`
#      - none
#    * - ``n % 20 == 0``
#      - ``20 * Dim("k")``: :ref:`l-plot-exporter-shapes-related`
#      - the caller pads
#    * - ``n != 9223372036854775807`` (2.6, 2.7)
#      - any ``max``, or ``x[..., :1]`` for ``x[:, :, :1]``
#      - none
#    * - only ``7/3 <= n``, or ``Expected op to be '==', got <= for 7/3 <= n``
#      - ``min=3``, the next integer; then read the guard that is reported
#      - none
#    * - a bound that comes from a ``torch._check`` in one branch of ``torch.cond``
#      - leave the check out of the branch: :ref:`l-plot-exporter-control-cond-rules`
#      - none
#    * - any other
#      - ``Dim.DYNAMIC``, or ``Dim.DYNAMIC(min=5, max=16)`` in PyTorch 2.8 and later
#      - the export succeeds, and sizes that the guard excludes are rejected at run time;
#        PyTorch 2.8 and earlier check the bounds only
#
# Two of them: an index takes four frames, and arithmetic replaces a branch.


class TailByIndex(Tail):
    def forward(self, x):
        n = x.shape[1]
        x = x + self.table[:n]
        return x[:, torch.arange(n - 4, n)].mean(dim=1)


class LastChunk(torch.nn.Module):
    def forward(self, x):
        n = x.shape[1]
        return x / (20 if n % 20 == 0 else n % 20)


class LastChunkByArithmetic(torch.nn.Module):
    def forward(self, x):
        return x / ((x.shape[1] - 1) % 20 + 1)


by_index = TailByIndex()
by_index.load_state_dict(model.state_dict())
vlen, n = Dim("vlen", min=4, max=16), Dim("n", max=400)
index = torch.export.export(by_index, (x,), dynamic_shapes=({1: vlen},), strict=False)
try:
    torch.export.export(LastChunk(), (x,), dynamic_shapes=({1: n},), strict=False)
except torch._dynamo.exc.UserError as error:
    print(error.msg)
chunk = torch.export.export(
    LastChunkByArithmetic(), (x,), dynamic_shapes=({1: n},), strict=False
)

# %%
# A difference over two frames needs four: 7/3 is rounded up, and then ``n - 2 != 1`` is
# reported. The last two messages are about the range itself; the example has six frames.


class Difference(torch.nn.Module):
    def forward(self, x):
        return x[:, 2:] - x[:, :-2]


for bounds in ({}, {"min": 3}, {"min": 4}, {"min": 8}, {"min": 8, "max": 4}):
    try:
        shapes = ({1: Dim("n", **bounds)},)
        torch.export.export(Difference(), (x,), dynamic_shapes=shapes, strict=False)
    except torch._dynamo.exc.UserError as error:
        print(bounds, error.msg)
    except (AssertionError, ConstraintViolationError) as error:
        print(bounds, error)

# %%
# Check
# +++++
#
# The reference is the original model, at both ends of the range and between, and the
# remainder that Python computes. Sizes outside of the range are rejected.

for size in (4, 5, 7, 12, 16):
    new = torch.randn(2, size, 3)
    torch.testing.assert_close(index.module()(new), model(new))
    if size >= 5:
        torch.testing.assert_close(program.module()(new), model(new))
for size in (1, 19, 20, 21, 40, 399, 400):
    new = torch.randn(2, size, 3)
    torch.testing.assert_close(chunk.module()(new), LastChunk()(new))
for size in (4, 17):
    try:
        program.module()(torch.randn(2, size, 3))
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# Limitations
# +++++++++++
#
# A minimum of 1 or 2 is not checked at run time: an empty input passes. And a limit that
# is in values gives no guard, as for this table of 16 rows. Set the maximum yourself.


class Lookup(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(16, 3)

    def forward(self, x):
        return x + self.table(torch.arange(x.shape[1]))


for high in (None, 16):
    shapes = ({1: Dim("n", min=1, max=high)},)
    lookup = torch.export.export(Lookup(), (x,), dynamic_shapes=shapes, strict=False)
    assert lookup.module()(torch.randn(2, 0, 3)).shape == (2, 0, 3)
    print([float(bounds.upper) for bounds in lookup.range_constraints.values()])
    try:
        lookup.module()(torch.randn(2, 17, 3))
    except (AssertionError, IndexError, RuntimeError) as error:
        print(error)

# %%
# ``int_oo``, the maximum of a dimension without one, is no number for ``json`` or
# ``range``; ``float(bounds.upper)`` is.
#
# Summary
# +++++++
#
# * Take the range that torch suggests, then exclude what a guard with ``!=`` excludes. If
#   that is every twentieth size, the model has a branch.
# * ``torch._dynamo.mark_dynamic(x, 1, max=16)`` sets no range for an export: use ``Dim``.
# * Next, dimensions may depend on each other (:ref:`l-plot-exporter-shapes-related`), or
#   shrink to a number (:ref:`l-plot-exporter-shapes-specialized`). More about slices:
#   :ref:`l-plot-exporter-shapes-slices`.
