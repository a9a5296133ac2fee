"""
.. _l-plot-exporter-onnx-old-call:

A call of torch.onnx.export broke after an update
=================================================

The call has worked for years. With torch 2.9 or later it says ``No module named
'onnxscript'``, or ``Failed to convert 'dynamic_axes' to 'dynamic_shapes'``, or it
leaves a second file, ``model.onnx.data``, and a model with another opset than the one
asked for.

Since 2.9 the default of ``dynamo`` is ``True``, which is another exporter. This page
shows what it makes of each old argument, the way back, and the new call.

.. meta::
   :description: Pass dynamo=False to go back; to move on, install onnxscript and replace
      dynamic_axes by dynamic_shapes.
   :keywords: torch.onnx.export dynamo=True default, dynamic_axes, opset_version, onnxscript
      missing, model.onnx.data, external data, legacy exporter, Converting to dynamic_shapes
"""

# %%
# The model and the old call
# ++++++++++++++++++++++++++
#
# A small network, exported as most scripts do it: names for input and output, axes that
# vary, a version of the operator set.

# sphinx_gallery_tags = ["onnx", "conversion fails"]
# sphinx_gallery_wording = "ModuleNotFoundError: No module named 'onnxscript'"
# sphinx_gallery_wording = "No Adapter From Version $18 for Pad"
# sphinx_gallery_wording = "ONNX export stopped working after upgrading to torch 2.9"

import contextlib
import os
import sys
import tempfile
import warnings

import onnx
import onnxruntime
import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(x).relu().mean(dim=1)


torch.manual_seed(0)
model, x = Net().eval(), torch.rand(2, 5, 4)
old_call = {
    "input_names": ["x"],
    "output_names": ["y"],
    "dynamic_axes": {"x": {0: "batch", 1: "length"}, "y": {0: "batch"}},
    "opset_version": 13,
}


def export(*args, **options):
    """Export into an empty folder; return the model, the files and the warnings."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            torch.onnx.export(*args, path, verbose=False, **options)
        texts = [str(w.message) for w in caught if w.category is UserWarning]
        return onnx.load(path), sorted(os.listdir(folder)), texts


# %%
# The symptom: onnxscript is missing
# ++++++++++++++++++++++++++++++++++
#
# The new exporter is written with ``onnxscript``, which torch does not install. Here
# the package is hidden for one call.


class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "onnxscript":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@contextlib.contextmanager
def hidden():
    names = [name for name in sys.modules if name.partition(".")[0] == "onnxscript"]
    modules = {name: sys.modules.pop(name) for name in names}
    sys.meta_path.insert(0, Hidden())
    try:
        yield
    finally:
        sys.meta_path.pop(0)
        sys.modules.update(modules)


with hidden():
    try:
        export(model, (x,), **old_call)
    except (ImportError, torch.onnx.OnnxExporterError) as error:
        message = str(error).splitlines()[0]
    else:
        message = "This release exports without onnxscript."
print(message)
assert ("onnxscript" in message and "No module" in message) == (RELEASE >= (2, 9))

# %%
# The remedy is ``pip install onnxscript``, which brings ``onnx`` along.
#
# What the new exporter makes of the arguments
# ++++++++++++++++++++++++++++++++++++++++++++
#
# With the package, the old call works on all releases. What comes out differs: the
# files, the opset and what is said.


def dims(model):
    values = [*model.graph.input, *model.graph.output]
    return {
        value.name: [
            d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim
        ]
        for value in values
    }


result, files, texts = export(model, (x,), **old_call)
print(files)
print("opset", result.opset_import[0].version)
print(dims(result))
print("\n".join(texts) or "no warning")
new = RELEASE >= (2, 9)
assert (files == ["model.onnx", "model.onnx.data"]) == new
assert (result.opset_import[0].version == 13) == (not new)
assert (dims(result)["x"] == ["batch", "length", 4]) == (RELEASE != (2, 9))

# %%
# Since 2.9, three things changed without an error:
#
# * **The weights are in a second file.** A script that copies ``model.onnx`` alone
#   makes a model that does not load. ``external_data=False`` writes one file.
# * **The opset is not 13.** The new exporter writes opset 18 or later, and then tries
#   to convert. Where the converter has no rule, as here, it leaves 18 and says so in
#   the log only. Ask for 18 or later, and check the number.
# * **The axes are translated** into ``dynamic_shapes``. One that the model needs to be
#   constant may turn into a number without a word: read the axes of the file, see
#   :ref:`l-plot-exporter-onnx-validate`. On 2.9 their names are lost on the way.
#
# The symptom: the axes cannot be translated
# ++++++++++++++++++++++++++++++++++++++++++
#
# ``dynamic_axes`` goes by names, ``dynamic_shapes`` by the structure of the inputs. A
# name that is not an input, or inputs in a list, and the translation fails.

wrong = old_call | {"dynamic_axes": {"input": {0: "batch"}, "y": {0: "batch"}}}
try:
    export(model, (x,), **wrong)
except (RuntimeError, ValueError) as error:
    message = str(error).split(". Please")[0]
else:
    message = "This release exports it."
print(message)
assert ("Failed to convert 'dynamic_axes'" in message) == new, message

# %%
# The cause is the name. Change it, and the call works, as above.
#
# The way back
# ++++++++++++
#
# ``dynamo=False`` is the old exporter, with the old files, opset and names. It works on
# all releases of this page. Its price: it is deprecated and gets no new operators, it
# records one path through the model without any check, and what depends on a size of
# the example is frozen without a word.

back, files, texts = export(model, (x,), dynamo=False, **old_call)
print(files, "opset", back.opset_import[0].version)
assert files == ["model.onnx"] and back.opset_import[0].version == 13


class Frozen(torch.nn.Module):
    def forward(self, x):
        return x + torch.arange(len(x)).float()[:, None, None]


axes = {"dynamo": False, "input_names": ["x"], "dynamic_axes": {"x": [0]}}
frozen, _, _ = export(Frozen(), (x,), **axes)
session = onnxruntime.InferenceSession(frozen.SerializeToString())
longer = torch.rand(3, 5, 4)
try:
    session.run(None, {"x": longer.numpy()})
except (
    onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
) as error:
    message = str(error).split("Name:")[0]
else:
    message = "The old exporter keeps this size."
print(message)
assert message.startswith("[ONNXRuntimeError]"), message

# %%
# The new call
# ++++++++++++
#
# ``dynamic_shapes`` in place of ``dynamic_axes``: inputs only, in the structure of the
# arguments, and the outputs follow. The price is one more package, and models that have
# to be changed first where :func:`torch.export.export` refuses them. Works on all
# releases of this page.

Dim = torch.export.Dim
names = {0: Dim("batch"), 1: Dim("length")}
new_call = {
    "dynamo": True,
    "dynamic_shapes": (names,),
    "external_data": False,
    "input_names": ["x"],
    "output_names": ["y"],
}
result, files, texts = export(model, (x,), **new_call)
print(files, "opset", result.opset_import[0].version, dims(result))
assert files == ["model.onnx"] and texts == []
assert result.opset_import[0].version >= 18

# %%
# The check
# +++++++++
#
# Both files in onnxruntime, on sizes that were not traced.

sessions = [
    onnxruntime.InferenceSession(made.SerializeToString()) for made in (back, result)
]
for batch, length in [(1, 1), (3, 7), (2, 100)]:
    x = torch.rand(batch, length, 4)
    for session in sessions:
        (y,) = session.run(None, {"x": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(y), model(x))
    print(f"batch {batch}, length {length}: same results")
try:
    sessions[1].run(None, {"x": torch.rand(2, 5, 3).numpy()})
except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as error:
    message = str(error)
else:
    message = "This release runs it."
print(message)
assert "Got: 3 Expected: 4" in message, message

# %%
# To remember
# +++++++++++
#
# * ``dynamo=False`` is the way back, ``dynamic_shapes`` the way on.
# * Since 2.9, look at the opset that was written, and ship ``model.onnx.data`` too, or
#   pass ``external_data=False``.
#
# Next: :ref:`l-plot-exporter-onnx-report` if the message says ``step 1/3``,
# :ref:`l-plot-exporter-onnx-validate` for a check of the file and names of axes, and
# :ref:`l-plot-exporter-inputs-structure-mismatch` for ``dynamic_shapes`` of nested
# inputs.
