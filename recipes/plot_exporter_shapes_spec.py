"""
.. _l-plot-exporter-shapes-spec:

Declare a size that no example decides: ShapesSpec and ShapeVar
===============================================================

.. answer::
   :cost: Experimental. A model that tests the size does not export.

   With ``Dim.AUTO``, torch looks at the example: size 1, and tests on a size, become
   constants or bounds, silently. A ``ShapeVar`` has no example behind it. Compare the
   ranges and guards of the program with those that you declared.

   .. code-block:: diff

      -program = export(Norm(), (x,), dynamic_shapes=({0: Dim.AUTO},), strict=False)
      +rows = ShapeVar("rows", min=1, max=1024)
      +spec = ShapesSpec({"x": TensorSpec([rows, STATIC])})
      +program = export(Norm(), (x,), dynamic_shapes=spec, strict=False)

   Not your case?

   * PyTorch 2.13 or earlier: :ref:`l-plot-exporter-shapes-unbacked`.
   * ``Could not guard on ... u0``: :ref:`l-plot-exporter-data-guard`.
   * ``constant (4)``: :ref:`l-plot-exporter-shapes-specialized`.

.. meta::
   :keywords: ShapesSpec, ShapeVar, IntVar, TensorSpec, ParamsSpec, dynamic_spec,
      assumptions, unbacked dynamic shapes, mark_unbacked, no silent specialization,
      object of type 'ParamsSpec' has no len()
"""

# %%
# The problem
# +++++++++++
#
# Two exports that succeed. The first example has one row, and the program accepts one
# row. The second model tests the size, and the program accepts 2 to 8 rows.

# sphinx_gallery_tags = ["dynamic shapes", "turns static", "run fails", "export fails"]
# sphinx_gallery_needs_torch = "2.14"
# sphinx_gallery_wording = "ShapesSpec: no silent specialization, yet the program accepts one size"
# sphinx_gallery_wording = "TypeError: object of type 'ParamsSpec' has no len()"
# sphinx_gallery_wording = "TypeError: object of type 'ShapesSpec' has no len()"
# sphinx_gallery_wording = "ImportError: cannot import name 'ShapesSpec' from 'torch.fx.experimental.dynamic_spec'"

import torch
from torch.export import Dim, export
from torch.fx.experimental.dynamic_spec import STATIC, ShapesSpec, ShapeVar, TensorSpec
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode


class Norm(torch.nn.Module):
    def forward(self, x):
        return x / x.norm(dim=1, keepdim=True)


class Center(torch.nn.Module):
    def forward(self, x):
        if x.shape[0] > 8:
            return x - x.mean(dim=0)
        return x


torch.manual_seed(0)
x, four = torch.randn(1, 6), torch.randn(4, 6)
program = export(Norm(), (x,), dynamic_shapes=({0: Dim.AUTO},), strict=False)
tested = export(Center(), (four,), dynamic_shapes=({0: Dim.AUTO},), strict=False)
for exported in (program, tested):
    print(list(exported.range_constraints.values()))
    try:
        exported.module()(torch.randn(20, 6))
    except AssertionError as error:
        print(error)

# %%
# The fix
# +++++++
#
# ``torch.export`` accepts a spec since PyTorch 2.14. PyTorch 2.13 has the classes, and
# only :func:`torch.compile` takes them.

rows = ShapeVar("rows", min=1, max=1024)
spec = ShapesSpec({"x": TensorSpec([rows, STATIC])})
program = export(Norm(), (x,), dynamic_shapes=spec, strict=False)
print(list(program.range_constraints.values()))

# %%
# Why it happens
# ++++++++++++++
#
# A ``ShapeVar`` becomes an *unbacked* symbol, which `has no value of the example
# <https://github.com/pytorch/pytorch/pull/185982>`_. A test on it is an error of the
# export, and never a bound:

try:
    export(Center(), (four,), dynamic_shapes=spec, strict=False)
except GuardOnDataDependentSymNode as error:
    print(str(error).splitlines()[0])

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - You want
#      - Write
#      - Instead of
#    * - an error if the model fixes the size
#      - ``ShapeVar``, and compare, see *Limitations*
#      - ``Dim("rows")``, which raises, but takes tests from the example
#    * - two equal sizes
#      - the same ``ShapeVar``
#      - the same ``Dim``
#    * - one is twice the other
#      - ``2 * rows``, as below, or ``assumptions=[a == 2 * b]``
#      - ``2 * batch``
#    * - an integer argument that varies
#      - ``IntVar("n", min=1)``
#      - a tensor: :ref:`l-plot-exporter-inputs-python-scalars`
#    * - a fixed size
#      - ``STATIC``, ``None`` or the number
#      - no entry
#    * - dictionaries, lists, objects
#      - ``DictSpec``, ``SeqSpec``, ``ObjectSpec``
#      - the nested container


class Pairs(torch.nn.Module):
    def forward(self, x, y):
        return x.repeat_interleave(2, dim=0) + y


related = ShapesSpec({"x": TensorSpec([rows, 6]), "y": TensorSpec([2 * rows, 6])})
pairs = export(Pairs(), (x, four[:2]), dynamic_shapes=related, strict=False)

# %%
# Check
# +++++
#
# The references are computed row by row. 1025 rows, and 13 for 2 times 7, must be
# rejected.

run, double = program.module(), pairs.module()
for size in (1, 2, 7, 1024):
    new, other = torch.randn(size, 6), torch.randn(2 * size, 6)
    expected = torch.stack([row / row.pow(2).sum().sqrt() for row in new])
    torch.testing.assert_close(run(new), expected)
    expected = torch.stack([new[i // 2] + row for i, row in enumerate(other)])
    torch.testing.assert_close(double(new, other), expected)
for exported, inputs in [
    (run, (torch.randn(1025, 6),)),
    (double, (torch.randn(7, 6), torch.randn(13, 6))),
]:
    try:
        exported(*inputs)
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# Limitations
# +++++++++++
#
# `The documentation
# <https://github.com/pytorch/pytorch/blob/v2.15.0/torch/export/__init__.py#L133>`_
# promises that no size is specialized, and there are gaps. A model that needs five rows
# makes the range five. A table of five rows limits the size, and a sum ties two sizes:
# the ranges do not say so.


class NeedsFive(torch.nn.Module):
    def forward(self, x):
        return x + torch.ones(5, 6)


class Table(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.ones(5, 6))

    def forward(self, x):
        return x + self.table[: x.shape[0]]


class Add(torch.nn.Module):
    def forward(self, x, y):
        return x + y


two = ShapesSpec({"x": TensorSpec([rows, 6]), "y": TensorSpec([ShapeVar("b"), 6])})
five = export(NeedsFive(), (torch.randn(5, 6),), dynamic_shapes=spec, strict=False)
table = export(Table(), (torch.randn(5, 6),), dynamic_shapes=spec, strict=False)
tied = export(Add(), (four, four), dynamic_shapes=two, strict=False)
ranges = [
    next(iter(exported.range_constraints.values()))
    for exported in (program, five, table, tied)
]
print(ranges)
kept = [(found.lower, found.upper) == (rows.min, rows.max) for found in ranges]
assert kept == [True, False, True, True]
for exported, inputs in [(table, (torch.randn(7, 6),)), (tied, (x, four))]:
    try:
        exported.module()(*inputs)
    except (AssertionError, RuntimeError) as error:
        print(str(error).splitlines()[0])

# %%
# So compare the ranges, and run the smallest and the largest sizes, different ones for
# each ``ShapeVar``.
#
# Summary
# +++++++
#
# * ``ShapeVar``: sizes 0 and 1 are not special, and a test on a size raises.
# * It does not prove that each size of the range runs: compare, and run the ends.
#
# Next: :ref:`l-plot-exporter-control-cond` for a branch on a size,
# :ref:`l-plot-exporter-shapes-ranges` for bounds, :ref:`l-plot-exporter-shapes-related`
# for relations with ``Dim``.
