"""
.. _l-plot-exporter-inputs-view-example:

'NoneType' object has no attribute 'size': the example is a slice
=================================================================

.. answer::
   :cost: One copy of the example, before the export. Nothing at run time.

   The example is a slice of a larger tensor, and a dimension is dynamic. The program
   then asks each input for the tensor that it was cut from, or for its strides, and a
   tensor in one piece is rejected. Export with a copy.

   .. code-block:: diff

      -inputs = (table[:, :3],)
      +inputs = (table[:, :3].clone(),)

   Not your case?

   * The guard is about a size, ``x.size()[0]``: :ref:`l-plot-exporter-after-guards`.
   * A slice inside of ``forward``: :ref:`l-plot-exporter-shapes-slices`.
   * A compiled package is wrong: :ref:`l-plot-exporter-after-aotinductor`.

.. meta::
   :keywords: example input is a view, slice, chunk, crop, non-contiguous example,
      L['x']._base.size(), Guard failed, x.stride()[0], sym_stride,
      run_decompositions, _guards_fn
"""

# %%
# The problem
# +++++++++++
#
# The table has a label in its last column, and the example leaves it out. The export
# works; what comes next does not, since PyTorch 2.9.

# sphinx_gallery_tags = ["inputs", "run fails", "export fails", "conversion fails"]
# sphinx_gallery_wording = "run_decompositions AttributeError: 'NoneType' object has no attribute 'size' While executing %_guards_fn"
# sphinx_gallery_wording = "Guard failed: x.stride()[0] != 3"
# sphinx_gallery_wording = "exported program rejects a contiguous tensor"
# sphinx_gallery_wording = "example input has weird strides after slicing, is_contiguous() returns true, clone() and contiguous() do not solve it"
# sphinx_gallery_wording = "No ONNX function found for <OpOverload(op='aten.sym_stride', overload='int')>"

import torch
from torch.export import Dim
from torch.utils._pytree import tree_map_only


class Norm(torch.nn.Module):
    def forward(self, x):
        return x / x.norm(dim=-1, keepdim=True)


torch.manual_seed(0)
table = torch.randn(6, 4)
inputs = (table[:, :3],)
shapes = ({0: Dim.DYNAMIC},)
failing = torch.export.export(Norm(), inputs, dynamic_shapes=shapes, strict=False)
for use in (failing.run_decompositions, lambda: failing.module()(torch.randn(6, 3))):
    try:
        use()
    except AttributeError as error:
        print(str(error).splitlines()[0])

# %%
# ``torch.onnx.export`` decomposes, and fails with the same line, or with ``No ONNX
# function found for aten.sym_stride``. Strict mode and two named dimensions have other
# messages:

strict = torch.export.export(Norm(), inputs, dynamic_shapes=shapes, strict=True)
named = ({0: Dim("rows", min=2, max=64), 1: Dim("columns", min=2, max=8)},)
try:
    strict.module()(torch.randn(6, 3))
except AssertionError as error:
    print(error)
try:
    torch.export.export(Norm(), inputs, dynamic_shapes=named, strict=False)
except torch._dynamo.exc.UserError as error:
    print("\n".join(str(error).splitlines()[:2]))

# %%
# The fix
# +++++++

inputs = (table[:, :3].clone(),)
program = torch.export.export(Norm(), inputs, dynamic_shapes=shapes, strict=False)
decomposed = program.run_decompositions()

# %%
# Why it happens
# ++++++++++++++
#
# A stride that is not the product of the sizes behind it `becomes a symbol of its own
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L5181>`_
# as soon as a size is dynamic. For a view it is a size of the `tensor behind it
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_subclasses/meta_utils.py#L1881>`_,
# ``x._base``, which is ``None`` for a tensor that is no view. Here are the strides in
# the program: whole rows, and a transposed table, have no gaps.

examples = {
    "table[:, :3]": table[:, :3],
    "table.chunk(2, dim=1)[0]": table.chunk(2, dim=1)[0],
    "table[::2]": table[::2],
    "table[:3]": table[:3],
    "table.T": table.T,
    "table[:, :3].clone()": table[:, :3].clone(),
}
for name, x in examples.items():
    found = torch.export.export(Norm(), (x,), dynamic_shapes=shapes, strict=False)
    (node,) = found.graph.find_nodes(op="placeholder")
    print(f"{name:25} {node.meta['val'].stride()}")

# %%
# ``detach()`` is no fix: it drops ``_base`` and keeps the strides, and the guard becomes
# ``x.stride()[0] != 3``.
#
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If
#      - Do this
#      - Cost
#    * - the inputs are nested, or :ref:`were captured <l-plot-exporter-inputs-from-calls>`
#      - ``tree_map_only(torch.Tensor, torch.clone, inputs)``
#      - a copy of each tensor
#    * - a size is 1, and another tool reads the strides
#      - ``clone(memory_format=torch.contiguous_format)``: ``clone()`` and
#        ``contiguous()`` keep the stride of that dimension (`ExecuTorch
#        <https://github.com/pytorch/executorch/pull/7072>`_)
#      - ``channels_last`` is lost
#    * - the application has the whole table
#      - pass the table, and slice in ``forward``
#      - another signature


class Features(torch.nn.Module):
    def forward(self, table):
        return Norm()(table[:, :3])


captured = {"x": table[:, :3]}
copied = torch.export.export(
    Norm(),
    (),
    tree_map_only(torch.Tensor, torch.clone, captured),
    dynamic_shapes={"x": shapes[0]},
    strict=False,
)
features = torch.export.export(
    Features(), (table,), dynamic_shapes=shapes, strict=False
)
mask = torch.randn(2, 64, 64)[:1, :32]
assert mask.clone().stride() == mask.contiguous().stride() == (4096, 64, 1)
assert mask.clone(memory_format=torch.contiguous_format).stride() == (2048, 64, 1)

# %%
# Check
# +++++
#
# Tensors in one piece, slices and transposed tensors give what the formula says.

runs = [program.module(), decomposed.module()]
for rows in (2, 7, 64):
    new, wide = torch.randn(rows, 3), torch.randn(rows, 9)
    for x in (new, wide[:, :3], wide[:, ::3], torch.randn(3, rows).T):
        expected = x / (x * x).sum(1, keepdim=True).sqrt()
        for run in runs:
            torch.testing.assert_close(run(x), expected)
        torch.testing.assert_close(copied.module()(x=x), expected)
    expected = wide[:, :3] / (wide[:, :3] ** 2).sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(features.module()(wide[:, :4]), expected)

# %%
# Four columns must be rejected.

try:
    program.module()(table)
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# Without a dynamic dimension nothing fails, and the strides of the slice stay in the
# program. AOTInductor compiles for them: a package made from a slice is silently wrong
# for a tensor in one piece. Copy the example there, too.

static = torch.export.export(Norm(), (table[:, :3],), strict=False)
(node,) = static.graph.find_nodes(op="placeholder")
assert node.meta["val"].stride() == (4, 1) and torch.randn(6, 3).stride() == (3, 1)

# %%
# Summary
# +++++++
#
# * Export with copies: ``clone()`` for each example that is cut from something.
# * Call the program once with a fresh tensor, not with the example.
#
# Next: :ref:`l-plot-exporter-after-guards` for the other guards,
# :ref:`l-plot-exporter-shapes-ranges` for ``Constraints violated``.
