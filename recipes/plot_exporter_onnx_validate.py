"""
.. _l-plot-exporter-onnx-validate:

Keep ONNX axes dynamic: "Got invalid dimensions for input"
==========================================================

.. answer::
   :cost: The example needs two rows or more; the single call also accepts one.

   Every axis without an entry in ``dynamic_shapes`` has the size of the example. If the
   model itself fixes a named dimension, ``torch.onnx.export`` fixes the axis silently.
   :func:`torch.export.export` raises instead, so call it first.

   .. code-block:: diff

      +program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
       onnx_program = torch.onnx.export(
      -    model, (x,), dynamic_shapes=shapes, dynamo=True, verbose=False
      +    program, (), dynamic_shapes=shapes, dynamo=True, verbose=False
       )

   Not your case?

   * You pass ``dynamic_axes``: :ref:`l-plot-exporter-onnx-old-call`.
   * The export raises ``constant (2)``: :ref:`l-plot-exporter-shapes-specialized`.
   * The file takes one branch: :ref:`l-plot-exporter-onnx-control-flow`.

.. meta::
   :keywords: onnxruntime compare outputs, validate ONNX model, onnx dynamic axes names,
      dim_param s77, rename_axes, assert_onnx_program, verify=True, onnx wrong results,
      Non-zero status code, INVALID_ARGUMENT, ONNX stateful model, static batch size
"""

# %%
# The problem
# +++++++++++
#
# The batch size is hard-coded in ``reshape``. The export succeeds, although the batch
# has a name.

# sphinx_gallery_tags = ["onnx", "wrong without an error", "run fails", "how to"]
# sphinx_gallery_wording = "Non-zero status code returned while running Where node."
# sphinx_gallery_wording = "ONNX model only works with the batch size of the export"
# sphinx_gallery_wording = "Type (tensor(float)) of output arg does not match expected type"
# sphinx_gallery_wording = "Non-zero status code returned while running Expand node. Status Message: invalid expand shape"
# sphinx_gallery_wording = "The input tensor cannot be reshaped to the requested shape."

import onnxruntime
import torch

ORT = onnxruntime.capi.onnxruntime_pybind11_state


class HardCoded(torch.nn.Module):
    def forward(self, x):
        return x.reshape(2, 3, 2).softmax(dim=-1)


torch.manual_seed(0)
model, x = HardCoded(), torch.rand(2, 6)
shapes = ({0: torch.export.Dim("batch", max=1024)},)
onnx_program = torch.onnx.export(
    model, (x,), dynamic_shapes=shapes, dynamo=True, verbose=False
)
try:
    onnx_program(torch.rand(3, 6))
except ORT.InvalidArgument as error:
    print(error)

# %%
# The fix
# +++++++
#
# With the hard-coded model, the first call raises ``constant (2)``: the model has to
# change, too. ``dynamic_shapes`` in the second call names the axes of the file; a
# program has only symbols such as ``s77``.


class Heads(torch.nn.Module):
    def forward(self, x):
        return x.reshape(x.shape[0], 3, 2).softmax(dim=-1)


model = Heads()
program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
onnx_program = torch.onnx.export(
    program, (), dynamic_shapes=shapes, dynamo=True, verbose=False
)
print(*[value.shape for value in onnx_program.model.graph.inputs])

# %%
# Why it happens
# ++++++++++++++
#
# :func:`torch.export.export` suggests ``batch = 2``. ``torch.onnx.export`` `follows the
# suggestion
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/onnx/_internal/exporter/_capture_strategies.py#L251>`_
# and exports again.

try:
    torch.export.export(HardCoded(), (x,), dynamic_shapes=shapes, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# ``Dim.AUTO`` is no better: the output is fixed, even where the input has a symbol.
# ``Dim.DYNAMIC`` and a string, ``"batch"``, raise in PyTorch 2.9 and later.
# ``verify=True`` runs the file with the example only.

for batch in (torch.export.Dim("batch", max=1024), torch.export.Dim.AUTO):
    fixed = torch.onnx.export(
        HardCoded(),
        (x,),
        dynamic_shapes=({0: batch},),
        dynamo=True,
        verify=True,
        verbose=False,
    )
    graph = fixed.model.graph
    print(*[value.shape for value in (*graph.inputs, *graph.outputs)])
    assert list(graph.outputs[0].shape) == [2, 3, 2]

# %%
# Other fixes
# +++++++++++
#
# To give axes their names:
#
# .. list-table::
#    :header-rows: 1
#
#    * - You have
#      - Write
#    * - a model
#      - ``Dim("batch")`` or ``"batch"`` in ``dynamic_shapes`` (2.7 and later)
#    * - a program
#      - ``torch.onnx.export(program, (), dynamic_shapes=shapes)`` (2.7 and later)
#    * - an ``ONNXProgram``
#      - ``onnx_program.rename_axes({"s77": "batch"})`` (2.11 and later); renames
#        ``s77 + s27``, too
#
# Check
# +++++
#
# Run the file at other sizes, the smallest included, and twice. An ``ONNXProgram`` runs
# in onnxruntime. The reference is computed row by row, without a batch.

for size in (1, 2, 3, 1024):
    rows = torch.randn(size, 6)
    expected = torch.stack([row.view(3, 2).softmax(dim=-1) for row in rows])
    for _ in range(2):
        torch.testing.assert_close(onnx_program(rows)[0], expected)
torch.testing.assert_close(onnx_program(x)[0], HardCoded()(x))
for wrong in (torch.rand(3, 7), torch.rand(3, 6, dtype=torch.float64)):
    try:
        onnx_program(wrong)
    except ORT.InvalidArgument as error:
        print(error)

# %%
# ``torch.onnx.testing.assert_onnx_program(onnx_program, args=(rows,), strategy=None)``
# (2.10 and later) compares with the exported program, so it does not find what the
# export lost.
#
# Limitations
# +++++++++++
#
# What the file does not hold or check:
#
# .. list-table::
#    :header-rows: 1
#
#    * - In the model
#      - In the file
#      - What to do
#    * - a buffer that ``forward`` changes
#      - a constant: each call starts anew
#      - state in and out, below; :ref:`l-plot-exporter-wrong-state`
#    * - ``if x.shape[0] > 4``, or ``max=1024``
#      - one branch; the size is not checked
#      - read ``program.range_constraints``
#    * - ``self.length = x.shape[1]``, kept from an earlier call
#      - that number
#      - :ref:`l-plot-exporter-lost_dynamic_dimension`
#    * - two inputs with one ``batch``
#      - not compared; one row is broadcast
#      - check before the call
#    * - the program is right
#      - wrong values, or it does not load
#      - update ``onnxscript``; try ``optimize=False``


class Counter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls.add_(1)
        return x + self.calls


class Stateless(torch.nn.Module):
    def forward(self, x, calls):
        calls = calls + 1
        return x + calls, calls


zeros, calls = torch.zeros(2), torch.zeros(())
frozen = torch.onnx.export(Counter(), (zeros,), dynamo=True, verbose=False)
passed_on = torch.onnx.export(Stateless(), (zeros, calls), dynamo=True, verbose=False)
counter = Counter()
for _ in range(3):
    expected = counter(zeros)
    assert frozen(zeros)[0].tolist() == [1, 1]
    result, calls = passed_on(zeros, calls)
    torch.testing.assert_close(result, expected)
assert len(onnx_program(torch.rand(1025, 6))[0]) == 1025

# %%
# Summary
# +++++++
#
# * Export with names, convert the program, look at the axes, run other sizes.
# * An LSTM or a GRU with a dynamic length: :ref:`l-plot-exporter-ops-recurrent`.
# * Wrong values: :ref:`l-plot-exporter-wrong-checklist` checks the program,
#   :ref:`l-plot-exporter-onnx-find-node` finds the node. A newer onnxscript may cure it
#   (issues `186080 <https://github.com/pytorch/pytorch/issues/186080>`_ and `169178
#   <https://github.com/pytorch/pytorch/issues/169178>`_).
