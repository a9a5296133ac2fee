"""
.. _l-plot-exporter-data-mask:

Keep all rows and the mask when x[mask] fails with Eq(u0, 0)
============================================================

.. answer::
   :cost: The work is done for all rows.

   ``x[mask]`` exports. Its number of rows, ``u0``, is known only at run time, and what
   asks about it fails: ``if``, ``len``, some layers. Compute with all rows instead.

   .. code-block:: diff

      -        rows = x[visible]
      -        if rows.shape[0] == 0:
      -            return torch.zeros(4)
      -        return rows.mean(dim=0)
      +        rows = torch.where(visible[:, None], x, 0.0)
      +        return rows.sum(dim=0) / visible.sum().clamp(min=1)

   Not your case?

   * Boxes with a threshold, suppression: :ref:`l-plot-exporter-data-detection`.
   * ``split`` by lengths, ``repeat_interleave``: :ref:`l-plot-exporter-data-lengths`.
   * The ``if`` is about a value and not a size: :ref:`l-plot-exporter-data-guard`.

.. meta::
   :keywords: nonzero, boolean mask indexing, masked_select, torch.unique,
      masked_scatter, data-dependent output shape, Pending unbacked symbols, Eq(u0, 0),
      token pruning, BatchNorm
"""

# %%
# The problem
# +++++++++++
#
# The mean of the visible points, or zeros if there are none.

# sphinx_gallery_tags = ["data-dependent values", "export fails", "run fails"]
# sphinx_gallery_wording = "Could not guard on data-dependent expression Eq(256*u0, 256) (unhinted: Eq(256*u0, 256))."
# sphinx_gallery_wording = "export fails with boolean mask indexing, x[mask]"

import torch
from torch.export import Dim
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode


class Mean(torch.nn.Module):
    def forward(self, x):
        visible = x[:, 0] > 0
        rows = x[visible]
        if rows.shape[0] == 0:
            return torch.zeros(4)
        return rows.mean(dim=0)


torch.manual_seed(0)
x = torch.randn(6, 4)
points = ({0: Dim("points", max=64)},)
try:
    torch.export.export(Mean(), (x,), dynamic_shapes=points, strict=False)
except GuardOnDataDependentSymNode as error:
    print(error)

# %%
# The fix
# +++++++
#
# ``torch.where``, not a product: zero times infinity is NaN.


class MaskedMean(torch.nn.Module):
    def forward(self, x):
        visible = x[:, 0] > 0
        rows = torch.where(visible[:, None], x, 0.0)
        return rows.sum(dim=0) / visible.sum().clamp(min=1)


program = torch.export.export(MaskedMean(), (x,), dynamic_shapes=points, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# The size of a selection is a `new symbol
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_subclasses/fake_impls.py#L1278>`_
# that may be 0. State that it is not, and the same ``if`` exports.


class MeanOfSome(torch.nn.Module):
    def forward(self, x):
        rows = x[x[:, 0] > 0]
        torch._check(rows.shape[0] > 0)
        if rows.shape[0] == 0:
            return torch.zeros(4)
        return rows.mean(dim=0)


some = torch.export.export(MeanOfSome(), (x,), dynamic_shapes=points, strict=False)
print(some.range_constraints)

# %%
# Other fixes
# +++++++++++
#
# ``m`` is the mask. If there always is a row, ``torch._check(rows.shape[0] > 0)`` also
# helps where a layer asks (``Eq(4*u0, 0)``).
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your line
#      - Write this instead
#      - Cost
#    * - ``if m.any(): ...``, ``if rows.shape[0] == 0: ...``
#      - nothing, or ``torch.where``
#      - all rows
#    * - ``x[m] = layer(x[m])``, ``index_put``
#      - ``torch.where(m[:, None], layer(x), x)``
#      - all rows
#    * - ``attention(x[m])``: ``Eq(u0, 0)`` in PyTorch 2.14 and earlier
#      - ``attn_mask``, below
#      - all rows
#    * - ``len(x[m])``, ``int(m.sum())``
#      - ``m.sum()``
#      - none
#    * - ``x[m][:5]``: ``u0 < 5`` in PyTorch 2.9 and earlier
#      - ``order = (~m).int().argsort(stable=True)[:5]``; ``x[order]`` and ``m[order]``
#      - a sort; five rows or more
#    * - ``x[m] + y``: exports, and then ``y`` has to have as many rows
#      - ``x[m] + y[m]``
#      - none
#    * - ``y[m] = x[: m.sum()]``
#      - ``y.masked_scatter(m[:, None], x)``
#      - none
#    * - ``torch.unique(labels, return_counts=True)``
#      - ``one_hot(labels, 10).sum(dim=0)``
#      - a largest label
#    * - ``for i in torch.nonzero(m): ...``
#      - :ref:`l-plot-exporter-control-scan`
#      - all rows
#
# Attention among the visible points:


class Attend(torch.nn.Module):
    def forward(self, x):
        visible = x[:, 0] > 0
        rows = x[visible][None, None]
        y = torch.nn.functional.scaled_dot_product_attention(rows, rows, rows)
        return x.index_put((visible,), y[0, 0])


class MaskedAttend(torch.nn.Module):
    def forward(self, x):
        visible = x[:, 0] > 0
        allowed = visible.expand(x.shape[0], -1)
        rows = x[None, None]
        y = torch.nn.functional.scaled_dot_product_attention(rows, rows, rows, allowed)
        return torch.where(visible[:, None], y[0, 0], x)


attend = torch.export.export(MaskedAttend(), (x,), dynamic_shapes=points, strict=False)

# %%
# Three more rows of the table:


class Lines(torch.nn.Module):
    def forward(self, x):
        m = x[:, 0] > 0
        filled = torch.zeros_like(x)
        filled[m] = x[: int(m.sum())]
        return x[m][:5], filled, torch.unique(m.long(), return_counts=True)[1]


class MaskedLines(torch.nn.Module):
    def forward(self, x):
        m = x[:, 0] > 0
        order = (~m).int().argsort(stable=True)[:5]
        filled = torch.zeros_like(x).masked_scatter(m[:, None], x)
        counts = torch.nn.functional.one_hot(m.long(), 2).sum(dim=0)
        return x[order], m[order], filled, counts


five = ({0: Dim("five", min=5, max=64)},)
lines = torch.export.export(MaskedLines(), (x,), dynamic_shapes=five, strict=False)

# %%
# Check
# +++++
#
# Against the original models: some, all, one or none of the points visible.

for rows in (torch.randn(9, 4), torch.rand(5, 4), torch.rand(1, 4), -torch.rand(7, 4)):
    torch.testing.assert_close(program.module()(rows), Mean()(rows))
    torch.testing.assert_close(attend.module()(rows), Attend()(rows))
    if rows.shape[0] >= 5:
        first, valid, filled, counts = lines.module()(rows)
        found = first[valid], filled, counts[counts > 0]
        torch.testing.assert_close(found, Lines()(rows))

rows = torch.tensor([[1.0, 2.0, 3.0, 4.0], [-1.0, 0.0, 0.0, float("inf")]])
assert (0.0 * rows).sum().isnan()
torch.testing.assert_close(program.module()(rows), Mean()(rows))

# %%
# The program with ``torch._check`` raises if nothing is visible.

torch.testing.assert_close(some.module()(x), Mean()(x))
try:
    some.module()(-torch.rand(7, 4))
except RuntimeError as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# ``Pending unbacked symbols {zuf0} not in returned outputs`` is different: an operator
# made a symbol that no output has. In PyTorch 2.6, strict mode, ``torch.full`` with a
# tensor as its value does: export with ``strict=False``. Else look for
# ``new_dynamic_size`` in `your own operators
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L1467>`_.


class Full(torch.nn.Module):
    def forward(self, x):
        return x + torch.full((x.shape[0], 1), x[0, 0])


try:
    torch.export.export(Full(), (x,), strict=True)
except torch._dynamo.exc.TorchDynamoException as error:
    print(str(error).strip().splitlines()[0])
full = torch.export.export(Full(), (x,), strict=False)
torch.testing.assert_close(full.module()(x + 1), x + 1 + (x + 1)[0, 0])

# %%
# Summary
# +++++++
#
# * A selection exports; a question about its size does not. Keep the mask, or state the
#   size with ``torch._check``.
# * Next: other questions, :ref:`l-plot-exporter-data-guard`; too much work,
#   :ref:`l-plot-exporter-control-cond`.
