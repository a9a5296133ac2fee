"""
.. _l-plot-exporter-onnx-control-flow:

Branches and loops in ONNX
==========================

A model with an ``if`` on a value or a loop fails in ``torch.onnx.export`` with ``Could
not guard on data-dependent expression``. Or the file was made with the old exporter,
and holds one branch, or a loop of the length of the example, without an error.

This page writes a branch, a loop with a carry and a loop that stops on a value, so that
the file has the operators ``If``, ``Scan`` and ``Loop``, and runs them in onnxruntime.

.. meta::
   :description: Write torch.cond, scan and while_loop in the model; they become If, Scan
      and Loop in the file.
   :keywords: ONNX If, ONNX Loop, ONNX Scan, torch.cond onnx, while_loop onnx, data-dependent
      control flow ONNX, unrolled loop, TracerWarning
"""

# %%
# The model
# +++++++++
#
# A filter over time. Each step keeps half of the state. A signal that is loud is scaled
# first.

# sphinx_gallery_tags = ["onnx", "run fails", "wrong without an error"]
# sphinx_gallery_wording = "Converting a tensor to a Python boolean might cause the trace to be incorrect"
# sphinx_gallery_wording = "ONNX model always takes the same branch"

import io
import warnings

import onnxruntime
import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
Dim = torch.export.Dim


class Filter(torch.nn.Module):
    def forward(self, x):
        if x.abs().max() > 1:
            x = x / x.abs().max()
        state, states = torch.zeros(x.shape[1]), []
        for row in x:
            state = state / 2 + row
            states.append(state)
        return torch.stack(states)


torch.manual_seed(0)
model, x = Filter(), torch.rand(5, 3)
dims = {0: Dim("time", min=2, max=1024)}


def convert(model, **options):
    options = {"input_names": ["x"], "verbose": False} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.onnx.export(model, (x,), dynamo=True, **options)


def run(proto, x):
    session = onnxruntime.InferenceSession(proto)
    (result,) = session.run(None, {"x": x.numpy()})
    return torch.from_numpy(result)


# %%
# The symptom
# +++++++++++
#
# The old exporter follows the example: it took one branch and wrote five steps. Another
# length fails when the file runs, a loud signal gives something else than the model.

file = io.BytesIO()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.onnx.export(
        model, (x,), file, dynamo=False, input_names=["x"], dynamic_axes={"x": [0]}
    )
try:
    result = run(file.getvalue(), torch.rand(7, 3))
except onnxruntime.capi.onnxruntime_pybind11_state.Fail as error:
    message = str(error).split("Message: ")[1].split(". Axis")[0]
else:
    message = "This release takes another length."
print(message)
assert message.startswith("Cannot split")
loud = 9 * torch.rand(5, 3)
result = run(file.getvalue(), loud)
print("same as the model:", torch.allclose(result, model(loud)))
assert not torch.allclose(result, model(loud))

# %%
# The new exporter refuses, since 2.9. (Up to 2.8 it tries ``torch.jit.trace`` in the
# end, which is the old way, see :ref:`l-plot-exporter-onnx-report`.)

try:
    convert(model)
except torch.onnx.OnnxExporterError as error:
    message = str(error.__cause__).splitlines()[0]
else:
    message = "This release exports one path."
print(message)
assert ("data-dependent" in message) == (RELEASE >= (2, 9)), message

# %%
# The cause
# +++++++++
#
# Both exporters record a run of the model, in which Python decides. The file can decide
# only if the decision is an operator: see :ref:`l-plot-exporter-control-cond` and
# :ref:`l-plot-exporter-control-scan` for these operators and their rules.
#
# A branch: If
# ++++++++++++
#
# ``torch.cond`` becomes ``If``, on all releases of this page. The price: both branches
# return tensors of the same shape and dtype.


def scaled(x):
    return torch.cond(
        x.abs().max() > 1, lambda x: x / x.abs().max(), lambda x: x.clone(), (x,)
    )


class Branch(torch.nn.Module):
    def forward(self, x):
        return scaled(x)


def operators(converted):
    return [node.op_type for node in converted.model_proto.graph.node]


branch = convert(Branch(), dynamic_shapes=(dims,))
print(operators(branch))
assert "If" in operators(branch)

# %%
# A loop over rows: Scan
# ++++++++++++++++++++++
#
# ``scan`` becomes ``Scan``, since 2.8. The loop is one node for any length. The price:
# the body is a function of tensors, and what it changes goes in and out.

try:
    from torch._higher_order_ops.scan import scan
except ImportError:
    scan = None


def step(state, row):
    state = state / 2 + row
    return state, state.clone()


class NewFilter(torch.nn.Module):
    def forward(self, x):
        x = scaled(x)
        _, states = scan(step, torch.zeros(x.shape[1]), x)
        return states


if RELEASE >= (2, 8):
    converted = convert(NewFilter(), dynamic_shapes=(dims,))
    print(operators(converted))
    assert {"If", "Scan"} <= set(operators(converted))
else:
    converted = None
    print("This release does not convert scan.")
    assert RELEASE < (2, 8)

# %%
# A loop that stops on a value: Loop
# ++++++++++++++++++++++++++++++++++
#
# ``while_loop`` becomes ``Loop``, since 2.11. Earlier, there is no way to write one
# with the new exporter; the loop stays in the application, with one file for a step.

from torch._higher_order_ops.while_loop import while_loop  # noqa: E402


class Halve(torch.nn.Module):
    def forward(self, x):
        def loud(x, steps):
            return x.abs().max() > 1

        def halve(x, steps):
            return x / 2, steps + 1

        return while_loop(loud, halve, (x, torch.zeros((), dtype=torch.int64)))[0]


try:
    halving = convert(Halve(), dynamic_shapes=(dims,))
except torch.onnx.OnnxExporterError as error:
    halving, message = None, str(error).split("Next steps")[0].strip()
else:
    message = str(operators(halving))
print(message.replace("\x1b[96m", "").replace("\x1b[0m", ""))
assert (halving is not None) == (RELEASE >= (2, 11))

# %%
# The check
# +++++++++
#
# Quiet and loud signals, lengths that were not traced.

made = [(branch, Branch()), (converted, model), (halving, Halve())]
for length in (2, 7, 100):
    for factor in (0.5, 9.0):
        signal = factor * torch.rand(length, 3)
        for file, reference in made:
            if file is not None:
                result = run(file.model_proto.SerializeToString(), signal)
                torch.testing.assert_close(result, reference(signal))
    print(f"length {length}, quiet and loud: same results")
try:
    run(branch.model_proto.SerializeToString(), torch.rand(5, 4))
except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as error:
    message = str(error).splitlines()[1].strip()
else:
    message = "This release runs it."
print(message)
assert "Got: 4 Expected: 3" in message

# %%
# To remember
# +++++++++++
#
# * What Python decides is decided once. ``torch.cond``, ``scan`` and ``while_loop`` are
#   decisions of the file.
# * Test a file with values that take the other branch, and with other lengths.
#
# Next: :ref:`l-plot-exporter-control-cond-rules` for the rules of branches,
# :ref:`l-plot-exporter-control-while` for loops that stop on a value, and
# :ref:`l-plot-exporter-onnx-validate` for the rest of the check.
