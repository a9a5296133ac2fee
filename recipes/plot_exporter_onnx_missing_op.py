"""
.. _l-plot-exporter-onnx-missing-op:

No ONNX function found for an operator
======================================

``torch.onnx.export`` fails at step 3/3 with ``No ONNX function found for <OpOverload(
op='aten._linalg_eigh', overload='default')>. Failure message: No decompositions
registered for the real-valued input``. Or the operator is one of your own.

This page shows three ways out: give the exporter a translation, replace the operator by
others that have one, or keep it outside of the file.

.. meta::
   :description: Pass custom_translation_table={operator: function}, or rewrite the operator
      with others, or cut the model before it.
   :keywords: No ONNX function found, DispatchError, custom_translation_table, onnxscript
      opset, custom operator ONNX, No decompositions registered, unsupported operator
"""

# %%
# The model
# +++++++++
#
# It has a custom operator, as models do that call a kernel of their own. The operator
# has a fake implementation, so the export works (:ref:`l-plot-exporter-ops-custom`).

# sphinx_gallery_tags = ["onnx", "conversion fails"]
# sphinx_gallery_wording = "No decompositions registered for the complex-valued input"
# sphinx_gallery_wording = "Unknown call_function target: <function sym_not at 0x7f97e189a830>"
# sphinx_gallery_wording = "Exporting the operator 'aten::fft_rfft' to ONNX opset version 17 is not supported"

import warnings

import numpy
import onnxruntime
import onnxscript
import torch

Dim = torch.export.Dim


def define():
    library = torch.library.Library("cookbook", "DEF")
    library.define("softsign(Tensor x, float sharpness) -> Tensor")
    library.impl("softsign", softsign, "CompositeExplicitAutograd")
    torch.library.register_fake(
        "cookbook::softsign", lambda x, s: torch.empty_like(x), lib=library
    )
    return library


def softsign(x, sharpness):
    return x * sharpness / (1 + (x * sharpness).abs())


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x):
        return torch.ops.cookbook.softsign(self.linear(x), 2.0)


torch.manual_seed(0)
library, model, x = define(), Net().eval(), torch.rand(2, 5, 4)
dims = {0: Dim("batch", max=1024), 1: Dim("length", max=1024)}


def convert(model, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            model,
            (x,),
            dynamo=True,
            verbose=False,
            dynamic_shapes=(dims,),
            input_names=["x"],
            **options,
        )


def innermost(error):
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0]


# %%
# The symptom
# +++++++++++
#
# The cause is the innermost message (:ref:`l-plot-exporter-onnx-report`).

try:
    convert(model)
except torch.onnx.OnnxExporterError as error:
    message = innermost(error)
else:
    message = "This release converts it."
print(message)
assert "No ONNX function found" in message and "cookbook.softsign" in message

# %%
# The cause
# +++++++++
#
# The exporter decomposes what it can, then looks each operator of the graph up in a
# table. ``No decompositions registered`` means that neither was possible. Torch's own
# operators can be missing as well. What is left after the decompositions is what has to
# be in the table:


class Eigenvalues(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.eigvalsh(x @ x.mT)


for candidate in (model, Eigenvalues()):
    program = torch.export.export(candidate, (x,), strict=False).run_decompositions()
    targets = {str(n.target) for n in program.graph.nodes if n.op == "call_function"}
    missing = sorted(name for name in targets if "softsign" in name or "eigh" in name)
    print(missing)
    assert len(missing) == 1

# %%
# The names in the message are of this graph, not of your model: ``eigvalsh`` became
# ``_linalg_eigh``. The stack trace of the node leads back to the line.
#
# Fix 1: a translation
# ++++++++++++++++++++
#
# A translation is a function of ONNX operators with the operator's arguments. The key
# of the table is the *overload*, ``.default``, and not the operator. Attributes such as
# ``sharpness`` arrive as numbers of Python. It works on all releases of this page. The
# price: you have written the operator a second time, and have to test it.

op = onnxscript.opset18


def softsign_to_onnx(x, sharpness: float):
    scaled = op.Mul(x, op.Constant(value_float=sharpness))
    return op.Div(scaled, op.Add(op.Constant(value_float=1.0), op.Abs(scaled)))


table = {torch.ops.cookbook.softsign.default: softsign_to_onnx}
translated = convert(model, custom_translation_table=table)
operators = [node.op_type for node in translated.model_proto.graph.node]
print(operators)
assert "Abs" in operators and "softsign" not in operators

# %%
# Two mistakes and what they say: the operator in the place of its overload, and a
# function with another number of arguments.

MISTAKES = {
    "operator": {torch.ops.cookbook.softsign: softsign_to_onnx},
    "arguments": {torch.ops.cookbook.softsign.default: lambda x: op.Abs(x)},
}
for name, table in MISTAKES.items():
    try:
        convert(model, custom_translation_table=table)
    except (TypeError, torch.onnx.OnnxExporterError) as error:
        message = innermost(error)
    else:
        message = "This release converts it."
    print(f"{name}: {message}")
    assert message != "This release converts it."

# %%
# Fix 2: other operators
# ++++++++++++++++++++++
#
# Where the operator can be written with operators of torch, replace it in the program:
# the exporter knows those. Nothing of ONNX has to be learned, and all other backends
# profit. The price is a kernel that is not used. It works on all releases of this page.
# (``run_decompositions`` with a table of your own is the same for torch's operators,
# see :ref:`l-plot-exporter-ops-decompositions`.)


class PlainNet(Net):
    def forward(self, x):
        return softsign(self.linear(x), 2.0)


plain = PlainNet().eval()
plain.load_state_dict(model.state_dict())
rewritten = convert(plain)
operators = [node.op_type for node in rewritten.model_proto.graph.node]
print(operators)
assert "Abs" in operators

# %%
# Fix 3: keep it outside
# ++++++++++++++++++++++
#
# If the operator stands at the end or the start, as a post-processing does, cut the
# model there, and compute the rest where the file is used. The price: two places to
# maintain.


class Features(Net):
    def forward(self, x):
        return self.linear(x)


features = Features().eval()
features.load_state_dict(model.state_dict())
cut = convert(features)

# %%
# The check
# +++++++++
#
# All three in onnxruntime, on sizes that were not traced.


def session(converted):
    return onnxruntime.InferenceSession(converted.model_proto.SerializeToString())


sessions = [session(converted) for converted in (translated, rewritten, cut)]
for batch, length in [(1, 1), (3, 7), (2, 100)]:
    value = torch.randn(batch, length, 4)
    results = [each.run(None, {"x": value.numpy()})[0] for each in sessions]
    results[2] = softsign(torch.from_numpy(results[2]), 2.0).numpy()
    for result in results:
        torch.testing.assert_close(torch.from_numpy(result), model(value))
    print(f"batch {batch}, length {length}: same results")
try:
    sessions[0].run(None, {"x": numpy.zeros((2, 5, 3), dtype=numpy.float32)})
except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as error:
    message = str(error).splitlines()[1].strip()
else:
    message = "This release runs it."
print(message)
assert "Got: 3 Expected: 4" in message

# %%
# The operator's registration ends with this page.

library._destroy()

# %%
# To remember
# +++++++++++
#
# * The missing operator is one of the decomposed graph; its node knows your line.
# * ``custom_translation_table`` takes overloads; compare the file with eager.
# * An operator that is written in torch needs no translation.
#
# Next: :ref:`l-plot-exporter-ops-custom` for the operator itself,
# :ref:`l-plot-exporter-ops-complex` for complex numbers and Fourier transforms, and
# :ref:`l-plot-exporter-onnx-validate` to check the file.
