"""
.. _l-plot-exporter-shapes-zero-one:

Use an example of size 2 or more when the export says "constant (1)"
====================================================================

.. answer::
   :cost: Nothing.

   The example has size 1 (or 0) in a dynamic dimension. The exporter makes these two
   sizes constants, whatever the model does. Sizes from 2 on stay dynamic, and the
   program usually accepts 1 as well: run it to see.

   .. code-block:: diff

      -x = torch.randn(1, 6)
      +x = torch.randn(2, 6)

   Not your case?

   * ``Guard failed: ... != 1``: :ref:`l-plot-exporter-shapes-unbacked`.
   * ``constant (4)``, or any other number: :ref:`l-plot-exporter-shapes-specialized`.

.. meta::
   :keywords: 0/1 specialization, batch size 1, specialized it to be a constant (1),
      constant (0), hint of 1, example inputs, Guard failed != 1, past length, empty
      cache, empty batch, squeeze
"""

# %%
# The problem
# +++++++++++
#
# The example is a batch of 1. A name raises, and so does ``Dim.DYNAMIC`` since PyTorch
# 2.8.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "run fails", "turns static"]
# sphinx_gallery_wording = "wrong result with batch size 1 after torch.export"
# sphinx_gallery_wording = "because batch was inferred to be a constant (1)"
# sphinx_gallery_wording = "exported model only works with batch size 1"
# sphinx_gallery_wording = "dimension inputs['x'].shape[0] 0/1 specialized; Dim.AUTO was specified along with a sample input with hint = 1."
# sphinx_gallery_wording = "AssertionError: Guard failed: x.size()[0] // 5 != 1"

import torch
from torch.export import Dim

torch.manual_seed(0)
model = torch.nn.Linear(6, 3)
x = torch.randn(1, 6)
batch = Dim("batch", max=64)
for size in (batch, Dim.DYNAMIC):
    try:
        torch.export.export(model, (x,), dynamic_shapes=({0: size},), strict=False)
    except (torch._dynamo.exc.UserError, ValueError) as error:
        print(error)

# %%
# With ``Dim.AUTO`` the export at most logs ``0/1 specialized``, and the program accepts
# a batch of 1 only.

silent = torch.export.export(model, (x,), dynamic_shapes=({0: Dim.AUTO},), strict=False)
try:
    silent.module()(torch.randn(4, 6))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# The fix
# +++++++
#
# If you have one sample only, repeat it: ``torch.cat([x, x])``.

x = torch.randn(2, 6)
program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},), strict=False)
print(program.range_constraints)

# %%
# Why it happens
# ++++++++++++++
#
# Only the example changes here:

for rows in (0, 1, 2, 3):
    traced = torch.export.export(
        model, (torch.randn(rows, 6),), dynamic_shapes=({0: Dim.AUTO},), strict=False
    )
    print(rows, traced.range_constraints)
    assert len(traced.range_constraints) == (rows >= 2)

# %%
# A size of 1 is broadcast and squeezed, and an empty tensor cannot be reduced. Each
# operator would have to ask whether the size is 0 or 1. So the exporter `makes both
# constants
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L5629>`_,
# and assumes of all other sizes that they are `at least 2
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L7855>`_.
# The program does not check this minimum.
#
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your dimension
#      - What to do
#    * - is always 1, and is broadcast
#      - leave it out of ``dynamic_shapes``
#    * - is the length of a cache, empty at the first call
#      - use an example cache of length 2, see :ref:`l-plot-exporter-models-tiny-llm`
#    * - must be 1 in the example, or the exported program rejects 1
#      - ``backed_size_oblivious``, or a ``ShapesSpec`` (PyTorch 2.14):
#        :ref:`l-plot-exporter-shapes-unbacked`
#
# Check
# +++++
#
# The model did not change, so eager mode is the reference, with 0 and 1 among the
# sizes. 65 rows are too many.

exported = program.module()
for rows in (0, 1, 2, 7, 64):
    new = torch.randn(rows, 6)
    torch.testing.assert_close(exported(new), model(new))
try:
    exported(torch.randn(65, 6))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# If the model tests for a size of 1, that branch is lost, silently: "at least 2"
# answers the test. What is computed from a shape after ``squeeze`` is wrong in the same
# way.


class Center(torch.nn.Module):
    def forward(self, x):
        if x.shape[0] == 1:
            return x
        return x - x.mean(dim=0)


class DivideBySize(torch.nn.Module):
    def forward(self, x):
        x = x.squeeze(0)
        return x / x.shape[0]


row = torch.tensor([[3.0, 6.0, 9.0]])
for variant in (Center(), DivideBySize()):
    lost = torch.export.export(
        variant, (torch.randn(2, 3),), dynamic_shapes=({0: batch},), strict=False
    )
    print("eager", variant(row).tolist(), "exported", lost.module()(row).tolist())
    assert not torch.allclose(lost.module()(row), variant(row))

# %%
# :func:`torch.cond` on the size keeps both branches:
# :ref:`l-plot-exporter-control-cond`.
#
# A size that is computed, such as ``x.shape[0] // 5``, may be compared with 1. The
# program then raises ``Guard failed: x.size()[0] // 5 != 1``:
# :ref:`l-plot-exporter-shapes-unbacked`.
#
# Summary
# +++++++
#
# * No dynamic dimension of the example is 0 or 1. Sizes that need not be equal are
#   different, and none is equal to a number in the model.
# * Compare program and model at size 1.
# * Other comparisons with a size become a range or a guard:
#   :ref:`l-plot-exporter-shapes-ranges`, :ref:`l-plot-exporter-shapes-related`.
