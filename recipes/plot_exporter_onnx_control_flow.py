"""
.. _l-plot-exporter-onnx-control-flow:

Keep if and loops in an ONNX file
=================================

.. answer::
   :cost: The branches return tensors of the same shapes and dtypes.

   Both exporters record one run of the model, in which Python decides. An ONNX file
   decides only if the decision is an operator: ``torch.cond`` becomes ``If``, ``scan``
   becomes ``Scan``, ``while_loop`` becomes ``Loop``.

   .. code-block:: diff

      -        if x.abs().max() > 1:
      -            return x / x.abs().max()
      -        return x
      +        return torch.cond(x.abs().max() > 1, scale, keep, (x,))

   Not your case?

   * ``torch.cond`` rejects a branch: :ref:`l-plot-exporter-control-cond-rules`.
   * The file fails at another size: :ref:`l-plot-exporter-onnx-validate`.
   * The same message, without an ``if`` or a loop: :ref:`l-plot-exporter-data-guard`.

.. meta::
   :keywords: ONNX If, ONNX Loop, ONNX Scan, torch.cond onnx, while_loop onnx,
      scan onnx, data-dependent control flow ONNX, unrolled loop, TracerWarning,
      same branch, dynamo=False, branch on a size
"""

# %%
# The problem
# +++++++++++
#
# A signal that is too loud is scaled. The new exporter (``dynamo=True``) raises, in
# PyTorch 2.9 and later. The cause that it wraps:

# sphinx_gallery_tags = ["onnx", "run fails", "wrong without an error"]
# sphinx_gallery_wording = "Converting a tensor to a Python boolean might cause the trace to be incorrect"
# sphinx_gallery_wording = "ONNX model always takes the same branch"
# sphinx_gallery_wording = "Cannot split using values in 'split' attribute"
# sphinx_gallery_wording = "TypeError: 'Node' object is not iterable"

import io

import onnxruntime
import torch
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop


class Limit(torch.nn.Module):
    def forward(self, x):
        if x.abs().max() > 1:
            return x / x.abs().max()
        return x


torch.manual_seed(0)
model, x = Limit(), torch.rand(5, 3)
shapes = ({0: torch.export.Dim("time", min=2, max=1024)},)
try:
    torch.onnx.export(model, (x,), dynamic_shapes=shapes, dynamo=True, verbose=False)
except torch.onnx.OnnxExporterError as error:
    print(error.__cause__)

# %%
# The old exporter (``dynamo=False``) keeps the branch of the example, with nothing but
# a ``TracerWarning``.

file = io.BytesIO()
torch.onnx.export(model, (x,), file, input_names=["x"], dynamo=False)
session = onnxruntime.InferenceSession(file.getvalue())
loud = 9 * x
(result,) = session.run(None, {"x": loud.numpy()})
print("largest value, file:", result.max().round(2), "model:", model(loud).max().item())
assert abs(result - model(loud).numpy()).max() > 1

# %%
# The fix
# +++++++


def scale(x):
    return x / x.abs().max()


def keep(x):
    return x.clone()


class CondLimit(torch.nn.Module):
    def forward(self, x):
        return torch.cond(x.abs().max() > 1, scale, keep, (x,))


branch = torch.onnx.export(
    CondLimit(), (x,), dynamic_shapes=shapes, dynamo=True, verbose=False
)
print([node.op_type for node in branch.model.graph])

# %%
# Why it happens
# ++++++++++++++
#
# ``if`` is not an operator, so no exporter sees it. ``torch.cond`` is a node of the
# exported program, and `its translation
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/onnx/_internal/exporter/_torchlib/ops/hop.py#L65>`_
# writes both branches into an ``If``.
#
# An ``if`` on a *size* raises nothing. The export keeps the branch of the example: the
# program rejects other sizes, but the file does not check them. ``torch.cond`` keeps
# both branches here, too.


class LongOrShort(torch.nn.Module):
    def forward(self, x):
        if x.shape[0] > 4:
            return scale(x)
        return keep(x)


class CondLongOrShort(torch.nn.Module):
    def forward(self, x):
        return torch.cond(x.shape[0] > 4, scale, keep, (x,))


auto = ({0: torch.export.Dim.AUTO},)
one_branch = torch.onnx.export(
    LongOrShort(), (x,), dynamic_shapes=auto, dynamo=True, verbose=False
)
two_branches = torch.onnx.export(
    CondLongOrShort(), (x,), dynamic_shapes=shapes, dynamo=True, verbose=False
)
short = torch.rand(3, 3)
assert torch.allclose(one_branch(short)[0], scale(short))
assert torch.allclose(two_branches(short)[0], LongOrShort()(short))

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - In the model
#      - Write
#      - In the file, from PyTorch
#    * - an ``if``, both branches cheap
#      - ``torch.where``
#      - ``Where``, 2.6
#    * - an ``if`` on a value or on a size
#      - ``torch.cond``
#      - ``If``, 2.6
#    * - a loop over rows, with a state
#      - ``scan``, experimental: :ref:`l-plot-exporter-control-scan`
#      - ``Scan``, 2.8
#    * - a loop that ends on a value
#      - ``while_loop``, experimental: :ref:`l-plot-exporter-control-while`
#      - ``Loop``, 2.11
#    * - a loop of fixed length, such as layers
#      - nothing
#      - one copy per step
#
# A Python loop over rows is unrolled, with as many steps as the example has. What
# cannot be converted stays in the application, with a file for one step.


class Smooth(torch.nn.Module):
    def forward(self, x):
        state, states = torch.zeros(x.shape[1]), []
        for row in x:
            state = state / 2 + row
            states.append(state)
        return torch.stack(states)


class ScanSmooth(torch.nn.Module):
    def forward(self, x):
        def step(state, row):
            state = state / 2 + row
            return state, state.clone()

        return scan(step, torch.zeros(x.shape[1]), x)[1]


class Halve(torch.nn.Module):
    def forward(self, x):
        while x.abs().max() > 1:
            x = x / 2
        return x


class WhileHalve(torch.nn.Module):
    def forward(self, x):
        def loud(x, steps):
            return x.abs().max() > 1

        def halve(x, steps):
            return x / 2, steps + 1

        return while_loop(loud, halve, (x, torch.zeros((), dtype=torch.int64)))[0]


loops = []
for loop, original in [(ScanSmooth(), Smooth()), (WhileHalve(), Halve())]:
    try:
        converted = torch.onnx.export(
            loop, (x,), dynamic_shapes=shapes, dynamo=True, verbose=False
        )
        loops.append((converted, original))
        print([node.op_type for node in converted.model.graph])
    except torch.onnx.OnnxExporterError as error:
        print(type(loop).__name__, "is not supported:", type(error).__name__)

# %%
# Check
# +++++
#
# Against the models with ``if``, ``for`` and ``while``: quiet and loud signals, at
# lengths that were not traced.

for length in (2, 4, 7, 1024):
    for factor in (0.5, 5.0):
        signal = factor * torch.rand(length, 3).clamp(min=0.2)
        assert (signal.max() > 1) == (factor > 1)
        pairs = [(branch, Limit()), (two_branches, LongOrShort()), *loops]
        for file, original in pairs:
            torch.testing.assert_close(file(signal)[0], original(signal))
try:
    branch(torch.rand(5, 4))
except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as error:
    print(error)

# %%
# Summary
# +++++++
#
# * What Python decides is decided once. ``torch.cond``, ``scan`` and ``while_loop`` are
#   decisions of the file.
# * Test a file with values that take the other branch, and with other lengths.
#
# Next: :ref:`l-plot-exporter-control-cond` and
# :ref:`l-plot-exporter-control-cond-rules` for what a branch may contain,
# :ref:`l-plot-exporter-onnx-validate` for the rest of the check.
