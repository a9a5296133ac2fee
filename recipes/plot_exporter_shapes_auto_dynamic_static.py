"""
.. _l-plot-exporter-shapes-auto-dynamic-static:

Use Dim.DYNAMIC when the program accepts only one size
======================================================

.. answer::
   :cost: Nothing at run time. The export now fails if the size cannot vary.

   ``Dim.AUTO`` may become static, silently: here the length of ``mask`` has no entry,
   and the length of ``tokens`` must be equal. ``Dim.DYNAMIC`` makes that an error. With
   PyTorch 2.8 or later, give a range too: ``Dim.DYNAMIC(min=2, max=512)``.

   .. code-block:: diff

      -    "tokens": {0: Dim.AUTO, 1: Dim.AUTO},
      -    "mask": {0: Dim.AUTO},
      +    "tokens": {0: Dim.DYNAMIC, 1: Dim.DYNAMIC},
      +    "mask": {0: Dim.DYNAMIC, 1: Dim.DYNAMIC},

   Not your case?

   * The only size is 0 or 1: :ref:`l-plot-exporter-shapes-zero-one`.
   * ``len``, ``int``, ``math`` of a size: :ref:`l-plot-exporter-shapes-python-int`.
   * ``Dim.DYNAMIC`` raises ``constant (4)``:
     :ref:`l-plot-exporter-shapes-specialized`.

.. meta::
   :keywords: Dim.AUTO, Dim.DYNAMIC, Dim.DYNAMIC(min=, max=), Dim.STATIC,
      dynamic shapes, specialized to a constant, range_constraints empty,
      Expected input to be equal to,
      Guard failed, silent specialization, maybe_mark_dynamic, _DimHint object is not
      callable
"""

# %%
# The problem
# +++++++++++
#
# The entry for the length of the mask was forgotten. The export succeeds, and the
# program accepts only the length of the example.

# sphinx_gallery_tags = ["dynamic shapes", "turns static", "run fails"]
# sphinx_gallery_wording = "Dim.AUTO is ignored, the dimension is not dynamic"
# sphinx_gallery_wording = "range_constraints is empty in spite of dynamic_shapes"
# sphinx_gallery_wording = "exported model only accepts the length of the example"
# sphinx_gallery_wording = "RuntimeError: Expected input at *args[0].shape[1] to be equal to 6, but got 9. If you meant for this dimension to be dynamic, please re-export and specify dynamic_shapes (e.g. with Dim.DYNAMIC)"

import torch
from torch.export import Dim


class MeanPool(torch.nn.Module):
    def forward(self, tokens, mask):
        kept = tokens * mask[:, :, None]
        return kept.sum(dim=1) / mask.sum(dim=1, keepdim=True)


torch.manual_seed(0)
model = MeanPool()
example = (torch.randn(2, 6, 4), torch.ones(2, 6))
silent = {
    "tokens": {0: Dim.AUTO, 1: Dim.AUTO},
    "mask": {0: Dim.AUTO},
}
static = torch.export.export(model, example, dynamic_shapes=silent, strict=False)
try:
    static.module()(torch.randn(2, 9, 4), torch.ones(2, 9))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# The fix
# +++++++

dynamic_shapes = {
    "tokens": {0: Dim.DYNAMIC, 1: Dim.DYNAMIC},
    "mask": {0: Dim.DYNAMIC, 1: Dim.DYNAMIC},
}
program = torch.export.export(
    model, example, dynamic_shapes=dynamic_shapes, strict=False
)
print(program.range_constraints)

# %%
# Both lengths are one symbol, and the ranges start at 2: see
# :ref:`l-plot-exporter-shapes-zero-one`.
#
# Why it happens
# ++++++++++++++
#
# ``Dim.AUTO`` means `static or dynamic
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/dynamic_shapes.py#L51>`_:
# the trace decides. ``None``, ``Dim.STATIC`` and a missing entry mean static, and
# ``tokens * mask`` needs equal lengths. The shapes of the inputs show the decision:

for exported in (static, program):
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            print(node.name, tuple(node.meta["val"].shape))
assert len(static.range_constraints) == 1 and len(program.range_constraints) == 2

# %%
# With ``Dim.DYNAMIC`` for the tokens, the forgotten entry is an error:

forgotten = {"tokens": {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, "mask": {0: Dim.DYNAMIC}}
try:
    torch.export.export(model, example, dynamic_shapes=forgotten, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Write
#      - What the program accepts
#      - The export fails if
#    * - ``Dim("n", min=2, max=64)``
#      - every size in the range
#      - the size is static, the range is too large, or two names are equal
#    * - ``Dim.DYNAMIC``
#      - a range, and equal sizes, as inferred by the exporter
#      - the size is static
#    * - ``Dim.DYNAMIC(min=2, max=64)``, PyTorch 2.8
#      - the same, within the range
#      - the size is static
#    * - ``Dim.AUTO``, ``Dim.AUTO(min=2, max=64)``
#      - whatever was inferred: a first look
#      - never
#    * - ``Dim.STATIC``, ``None``, no entry
#      - the size of the example
#      - never
#    * - ``ShapeVar("n", min=1, max=64)``, PyTorch 2.14
#      - the range, 1 included: :ref:`l-plot-exporter-shapes-unbacked`
#      - the model tests the size
#
# ``Dim.DYNAMIC(max=64)`` may silently become a smaller range, as with this table of 16
# rows. A name raises:


class Positions(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.randn(16, 4))

    def forward(self, tokens):
        return tokens + self.table[: tokens.shape[1]]


tokens = example[:1]
try:
    ranged = ({1: Dim.DYNAMIC(min=2, max=64)},)
    narrowed = torch.export.export(
        Positions(), tokens, dynamic_shapes=ranged, strict=False
    )
    print(narrowed.range_constraints)
except TypeError as error:  # up to PyTorch 2.7
    print(error)
named = ({1: Dim("n", min=2, max=64)},)
try:
    torch.export.export(Positions(), tokens, dynamic_shapes=named, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# Check
# +++++
#
# The reference is the mean of each row, computed without a mask.

exported = program.module()
for rows, length in [(1, 1), (2, 6), (3, 2), (5, 9), (2, 600)]:
    tokens = torch.randn(rows, length, 4)
    counts = [1 + row % length for row in range(rows)]
    mask = torch.zeros(rows, length)
    for row, count in enumerate(counts):
        mask[row, :count] = 1
    expected = [row[:count].mean(dim=0) for row, count in zip(tokens, counts)]
    torch.testing.assert_close(exported(tokens, mask), torch.stack(expected))

# %%
# Different lengths, and a different number of features, which has no entry, are
# rejected.

for tokens, mask in [
    (torch.randn(2, 9, 4), torch.ones(2, 8)),
    (torch.randn(2, 9, 5), torch.ones(2, 9)),
]:
    try:
        exported(tokens, mask)
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# Summary
# +++++++
#
# * ``Dim.DYNAMIC``, or a name, for each size that varies, in each input that has it.
# * ``Dim.AUTO`` only to explore; then read ``program.range_constraints``.
# * An error that appears now is the reason why the size was static. To find the line:
#   :ref:`l-plot-exporter-shapes-find-the-line`. For suggested ranges and equal sizes:
#   :ref:`l-plot-exporter-shapes-ranges`, :ref:`l-plot-exporter-shapes-related`.
