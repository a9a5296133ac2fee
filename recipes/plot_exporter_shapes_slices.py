"""
.. _l-plot-exporter-shapes-slices:

Slice a dynamic length so that every length still works
=======================================================

.. answer::
   :cost: A copy instead of a view.

   ``x[:, :16]`` cuts a long input and returns a short one as it is. The example decides
   which of the two is exported, and the decision is a guard. Indices up to
   ``min(length, 16)`` select the same rows and decide nothing.

   .. code-block:: diff

      -        return x[:, :16] * 2
      +        rows = torch.arange(min(x.shape[1], 16), device=x.device)
      +        return x.index_select(1, rows) * 2

   Not your case?

   * ``Guard failed: ... != 1``: :ref:`l-plot-exporter-shapes-unbacked`.
   * A guard with ``%``: :ref:`l-plot-exporter-shapes-pad-to-multiple`.
   * The end of the slice is ``item()``: :ref:`l-plot-exporter-data-item`.

.. meta::
   :keywords: slice dynamic shape export, x[:, :n] guard, clamp slice end, x[::2] step,
      torch.split number of pieces, torch.chunk Constraints violated, broadcasting
      dynamic dimension, Guard failed y.size() == x.size(), position embedding table
      dynamic length, truncate sequence export, view reshape
      merges dynamic dimensions
"""

# %%
# The problem
# +++++++++++
#
# The model truncates a sequence to 16 positions. With a name, the export fails.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "run fails", "wrong without an error"]
# sphinx_gallery_needs_torch = "2.8"
# sphinx_gallery_wording = "exported program returns too few chunks"
# sphinx_gallery_wording = "exported program does not broadcast a batch of 1"
# sphinx_gallery_wording = "sequence longer than the example is rejected after export"
# sphinx_gallery_wording = "Guard failed: (3 + x.size()[1]) // 4 == 5"

import torch
from torch.export import Dim, export


class Truncate(torch.nn.Module):
    def forward(self, x):
        return x[:, :16] * 2


torch.manual_seed(0)
model = Truncate()
long, short = torch.randn(2, 20, 6), torch.randn(2, 10, 6)
named = ({1: Dim("length", min=1, max=64)},)
try:
    export(model, (long,), dynamic_shapes=named, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# With ``Dim.DYNAMIC`` it succeeds. The program rejects short inputs, and since PyTorch
# 2.9 a length of 16.

dynamic = ({1: Dim.DYNAMIC},)
cuts = export(model, (long,), dynamic_shapes=dynamic, strict=False)
for x in (short, torch.randn(2, 16, 6)):
    try:
        cuts.module()(x)
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# The fix
# +++++++


class TruncateAny(torch.nn.Module):
    def forward(self, x):
        rows = torch.arange(min(x.shape[1], 16), device=x.device)
        return x.index_select(1, rows) * 2


program = export(TruncateAny(), (long,), dynamic_shapes=named, strict=False)
print(program.range_constraints)

# %%
# Why it happens
# ++++++++++++++
#
# The slice ends at 16 or at the size, and torch `asks where
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_subclasses/fake_impls.py#L1341>`_.
# The second guard is about contiguity: the result is a view. A short example gives the
# opposite program:

keeps = export(model, (short,), dynamic_shapes=dynamic, strict=False)
(from_16,) = cuts.range_constraints.values()
(to_15,) = keeps.range_constraints.values()
print(from_16, to_15)
assert from_16.lower == 16 and to_15.upper == 15

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Fix
#      - Cost
#    * - ``Dim("length", min=17)``
#      - shorter inputs are rejected
#    * - truncate before the call: ``Dim("length", max=16)``
#      - each application does it
#    * - ``torch.nn.functional.pad(x, (0, 0, 0, 16))[:, :16]``
#      - always 16 positions
#    * - the option ``backed_size_oblivious``, PyTorch 2.13:
#        :ref:`l-plot-exporter-shapes-unbacked`
#      - experimental
#
# The example decides these operations too. ``n`` is ``x.shape[1]``:
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your line
#      - Write this
#    * - ``x[:, -4:]``
#      - ``x.index_select(1, torch.arange(min(n, 4)) + max(n - 4, 0))``
#    * - ``x[:, ::2]``, ``x[:, 1:]``, ``x[:, :-1]``
#      - the same, with ``min=3`` in the ``Dim``
#    * - ``table[k : k + n]``
#      - ``torch.nn.functional.embedding(torch.arange(n) + k, table)``
#    * - ``x.split(4, dim=1)``, a constant number of pieces (2.8: unchecked)
#      - ``x.unflatten(1, (-1, 4))``, with the length ``4 * count``
#    * - ``x.chunk(2, dim=1)``
#      - the same, with the length ``2 * count``
#    * - ``x + y``, if ``y`` has size ``n`` or 1
#      - ``x + y.index_select(1, torch.arange(n) % y.shape[1])``
#    * - ``x.reshape(n, -1)``, ``x.clone().view(n, -1)``
#      - ``x.flatten().view(n, -1)``
#
# Check
# +++++
#
# The original models are the reference, on both sides of 16.

for size in (1, 2, 10, 15, 16, 17, 20, 64):
    x = torch.randn(2, size, 6)
    torch.testing.assert_close(program.module()(x), model(x))
try:
    program.module()(torch.randn(2, 65, 6))
except (AssertionError, RuntimeError) as error:
    print(error)


class Before(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.randn(128, 6))

    def forward(self, x, y):
        n, k = x.shape[1], y.shape[1]
        blocks = torch.stack([piece.mean(dim=1) for piece in x.split(4, dim=1)], dim=1)
        first, second = x.chunk(2, dim=1)
        return [
            x[:, -4:] * 2,
            self.table[k : k + n],
            blocks,
            first - second,
            x + y,
            x.reshape(n, -1) * 2,
        ]


class After(Before):
    def forward(self, x, y):
        n, k = x.shape[1], y.shape[1]
        first, second = x.chunk(2, dim=1)
        return [
            x.index_select(1, torch.arange(min(n, 4)) + max(n - 4, 0)) * 2,
            torch.nn.functional.embedding(torch.arange(n) + k, self.table),
            x.unflatten(1, (-1, 4)).mean(dim=2),
            first - second,
            x + y.index_select(1, torch.arange(n) % k),
            x.flatten().view(n, -1) * 2,
        ]


class Steps(torch.nn.Module):
    def forward(self, x):
        return x[:, ::2] * 2, x[:, 1:] * 2, x[:, :-1] * 2


before, after = Before(), After()
after.load_state_dict(before.state_dict())
lengths = ({1: 4 * Dim("count", min=2, max=16)}, {1: Dim("other", min=1, max=64)})
example = (long, torch.randn(2, 20, 6))
every = export(after, example, dynamic_shapes=lengths, strict=False)
for n, k in [(20, 20), (8, 1), (8, 8), (64, 64), (64, 1)]:
    x, y = torch.randn(2, n, 6), torch.randn(2, k, 6)
    torch.testing.assert_close(every.module()(x, y), before(x, y))
from_3 = ({1: Dim("length", min=3, max=64)},)
steps = export(Steps(), (long,), dynamic_shapes=from_3, strict=False)
for size in (3, 4, 5, 64):
    x = torch.randn(2, size, 6)
    torch.testing.assert_close(steps.module()(x), Steps()(x))

# %%
# Limitations
# +++++++++++
#
# What follows may ask again. With this ``Linear``, a name raises ``... % ... != 0``,
# which torch cannot prove. With ``Dim.DYNAMIC`` the program checks it; it holds for two
# positions or more.


class Project(TruncateAny):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(6, 3)

    def forward(self, x):
        return self.linear(super().forward(x))


project = Project()
projected = export(project, (long,), dynamic_shapes=dynamic, strict=False)
for size in (2, 15, 16, 17, 64):
    x = torch.randn(2, size, 6)
    torch.testing.assert_close(projected.module()(x), project.linear(model(x)))

# %%
# Summary
# +++++++
#
# * Select rows by index, or declare a minimum above the end of the slice:
#   :ref:`l-plot-exporter-shapes-ranges`.
# * A list of pieces has a constant length: make the pieces a dimension.
# * Two sizes that are always equal: :ref:`l-plot-exporter-shapes-related`.
