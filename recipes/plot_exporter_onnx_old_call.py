"""
.. _l-plot-exporter-onnx-old-call:

Replace dynamic_axes in an old call of torch.onnx.export
========================================================

.. answer::
   :cost: ``pip install onnxscript``, and a model that :func:`torch.export.export`
      accepts.

   Since PyTorch 2.9, ``torch.onnx.export`` uses a new exporter (``dynamo=True``). It
   takes ``dynamic_shapes``: one entry for each argument of ``forward``, none for
   outputs. ``dynamo=False`` still selects the old exporter.

   .. code-block:: diff

      -    dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}},
      -    opset_version=13,
      +    dynamo=True,
      +    dynamic_shapes=({0: batch}, {1: classes}),
      +    external_data=False,

   Not your case?

   * "This is step 1/3" or "step 3/3": :ref:`l-plot-exporter-onnx-report`.
   * "Got invalid dimensions for input": :ref:`l-plot-exporter-onnx-validate`.
   * Nested inputs, or a dict of them: :ref:`l-plot-exporter-inputs-structure-mismatch`.

.. meta::
   :keywords: Failed to convert 'dynamic_axes' to 'dynamic_shapes', torch.onnx.export
      dynamo=True default, legacy exporter, dynamo=False, opset_version, input_names,
      onnxscript missing, model.onnx.data, external data, torch.onnx.dynamo_export,
      TorchScript-based ONNX export, Required inputs are missing from input feed
"""

# %%
# The problem
# +++++++++++
#
# An old call names inputs, axes and an opset. The second input is not named.

# sphinx_gallery_tags = ["onnx", "conversion fails"]
# sphinx_gallery_wording = "ModuleNotFoundError: No module named 'onnxscript'"
# sphinx_gallery_wording = "No Adapter From Version $18 for Pad"
# sphinx_gallery_wording = "ONNX export stopped working after upgrading to torch 2.9"
# sphinx_gallery_wording = "ValueError: Exporting a ScriptModule is not supported."
# sphinx_gallery_wording = "AttributeError: module 'torch.onnx' has no attribute '_export'"
# sphinx_gallery_wording = "module 'torch.onnx' has no attribute 'dynamo_export'"
# sphinx_gallery_wording = "You are using the legacy TorchScript-based ONNX export."

import glob
import os
import tempfile

import onnx
import onnxruntime
import torch


class Classify(torch.nn.Module):
    def forward(self, x, weight):
        scores = x @ weight
        return scores - scores.mean(dim=1, keepdim=True)


torch.manual_seed(0)
model = Classify().eval()
x, weight = torch.rand(2, 3), torch.rand(3, 5)
folder = tempfile.TemporaryDirectory()
path = os.path.join(folder.name, "model.onnx")
try:
    torch.onnx.export(
        model,
        (x, weight),
        path,
        input_names=["image"],
        output_names=["scores"],
        dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}},
        opset_version=13,
        verbose=False,
    )
except RuntimeError as error:
    print(error)

# %%
# With both inputs named there is no error, but the file is not what was asked for.

names = {"input_names": ["image", "weight"], "output_names": ["scores"]}
axes = {"weight": {1: "classes"}, "image": {0: "batch"}}


def describe(path):
    print([os.path.basename(file) for file in sorted(glob.glob(path + "*"))])
    print("opset", onnx.load(path).opset_import[0].version)
    for value in onnxruntime.InferenceSession(path).get_inputs():
        print(value.name, value.shape)


torch.onnx.export(
    model,
    (x, weight),
    path,
    dynamic_axes=axes,
    opset_version=13,
    verbose=False,
    **names,
)
describe(path)

# %%
# In PyTorch 2.9 and later:
#
# * the weights are in a second file;
# * the opset is 18: the exporter writes 18 or later, and the conversion to 13 failed,
#   which only the log says;
# * the axes of the two inputs are swapped.
#
# The fix
# +++++++
#
# ``dynamic_shapes`` goes by position. Two axes that are always equal get the same
# ``Dim`` object.

path = os.path.join(folder.name, "new.onnx")
batch = torch.export.Dim("batch", max=1024)
classes = torch.export.Dim("classes", max=1024)
torch.onnx.export(
    model,
    (x, weight),
    path,
    dynamo=True,
    dynamic_shapes=({0: batch}, {1: classes}),
    external_data=False,
    input_names=["image", "weight"],
    output_names=["scores"],
    verbose=False,
)
describe(path)

# %%
# Why it happens
# ++++++++++++++
#
# The new exporter takes the values of ``dynamic_axes`` `in the order of the dictionary
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/onnx/_internal/exporter/_dynamic_shapes.py#L316>`_
# and ignores names. One value too few is the error above, the wrong order is silent.
# In the order of ``forward``, the axes are right:

in_order = {"image": {0: "batch"}, "weight": {1: "classes"}}
ordered = torch.onnx.export(
    model, (x, weight), dynamo=True, dynamic_axes=in_order, verbose=False, **names
)
image_shape, weight_shape = [value.shape for value in ordered.model.graph.inputs]
print(image_shape, weight_shape)
assert image_shape[1] == weight_shape[0] == 3

# %%
# ``input_names`` and ``output_names`` rename the file only. If ``dynamic_shapes`` is a
# dictionary, its keys are the arguments of ``forward``:

try:
    torch.onnx.export(
        model,
        (x, weight),
        dynamo=True,
        dynamic_shapes={"image": {0: batch}, "weight": {1: classes}},
        verbose=False,
        **names,
    )
except torch.onnx.OnnxExporterError as error:
    print(error.__cause__)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - You see
#      - What to do
#    * - ``No module named 'onnxscript'``
#      - ``pip install onnxscript``
#    * - ``model.onnx.data``
#      - ship both files, or ``external_data=False`` if the weights are below 2 GB
#    * - another opset, ``No Adapter From Version $18``
#      - ``opset_version=18`` or later; earlier ones need ``dynamo=False``
#    * - ``Exporting a ScriptModule is not supported``
#      - pass the module itself, without ``torch.jit``
#    * - no attribute ``dynamo_export`` or ``_export``
#      - ``torch.onnx.export(..., dynamo=True)``
#    * - ``Required inputs (['bias']) are missing``, ``Invalid input name``
#      - "Inputs that vanish", below
#    * - a model that :func:`torch.export.export` does not accept
#      - ``dynamo=False``: the file as before. It is deprecated and freezes branches and
#        loops: :ref:`l-plot-exporter-onnx-control-flow`.

path_old = os.path.join(folder.name, "old.onnx")
torch.onnx.export(
    model,
    (x, weight),
    path_old,
    dynamo=False,
    dynamic_axes=axes,
    opset_version=13,
    **names,
)
describe(path_old)

# %%
# **Inputs that vanish.** A float is an input for the old exporter and a constant for
# the new one, and ``bias`` takes its name. Pass a tensor. (``None`` is no input either;
# an unused tensor is one for the new exporter only.)


class Scale(torch.nn.Module):
    def forward(self, x, factor, bias):
        return x * factor + bias


for factor in (2.0, torch.tensor(2.0)):
    scaled = torch.onnx.export(
        Scale(),
        (x, factor, torch.ones(2, 1)),
        dynamo=True,
        input_names=["x", "factor", "bias"],
        verbose=False,
    )
    print([(value.name, list(value.shape)) for value in scaled.model.graph.inputs])

# %%
# Check
# +++++
#
# The new file, and the old one, against the model, at sizes that were not traced.

for file in (path, path_old):
    session = onnxruntime.InferenceSession(file)
    for rows, columns in [(1, 2), (3, 7), (100, 1024)]:
        x, weight = torch.randn(rows, 3), torch.randn(3, columns)
        feed = {"image": x.numpy(), "weight": weight.numpy()}
        (scores,) = session.run(["scores"], feed)
        torch.testing.assert_close(torch.from_numpy(scores), model(x, weight))
x, factor, bias = torch.randn(2, 3), torch.tensor(-0.5), torch.randn(2, 1)
torch.testing.assert_close(scaled(x, factor, bias)[0], x * factor + bias)
try:
    session.run(None, {"image": torch.rand(2, 4).numpy(), "weight": feed["weight"]})
except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as error:
    print(error)

# sphinx_gallery_start_ignore
folder.cleanup()
# sphinx_gallery_end_ignore

# %%
# Summary
# +++++++
#
# * ``dynamic_shapes`` in place of ``dynamic_axes``, by position, and opset 18 or later.
# * Compare names and axes of the new file with those of the old one.
#
# Next: :ref:`l-plot-exporter-exporter-old-call` for other calls that are gone,
# :ref:`l-plot-exporter-exporter-torchscript` for a scripted model,
# :ref:`l-plot-exporter-onnx-report` if the new exporter fails,
# :ref:`l-plot-exporter-onnx-validate` to check the file, and
# :ref:`l-plot-exporter-inputs-python-scalars` for numbers as inputs.
