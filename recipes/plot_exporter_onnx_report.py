"""
.. _l-plot-exporter-onnx-report:

"This is step 1/3 of exporting the model to ONNX"
=================================================

``torch.onnx.export`` fails with ``Failed to export the model with torch.export. This is
step 1/3 of exporting the model to ONNX``, or with ``Failed to convert the exported
program to an ONNX model. This is step 3/3``. The advice that follows is to report a
bug. The cause is somewhere below.

This page finds it: the message is a wrapper, the step says whose problem it is, and
each step can be run alone.

.. meta::
   :description: Step 1 is torch.export, so search for the message after "Exception
      summary"; step 2 are decompositions; step 3 lacks a translation.
   :keywords: step 1/3, step 2/3, step 3/3, TorchExportError, ConversionError, Exception
      summary, report=True, onnx_export_conversion.md, torch.onnx.export fails
"""

# %%
# Three models that fail
# ++++++++++++++++++++++
#
# One asks about a value, one has an operator that ONNX lacks, and one is called in a
# way that looks right.

# sphinx_gallery_tags = ["onnx", "conversion fails", "wrong without an error"]
# sphinx_gallery_wording = "torch.onnx.errors.TorchExportError: Failed to export the model"
# sphinx_gallery_wording = "This is step 2/2 of exporting the model to ONNX"

import glob
import os
import re
import tempfile
import warnings

import numpy
import onnxruntime
import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Asks(torch.nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x - 1


class Eigenvalues(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.eigvalsh(x @ x.mT)


class TakesDict(torch.nn.Module):
    def forward(self, x, extra):
        return x + extra["bias"]


torch.manual_seed(0)
x, bias = torch.rand(2, 5, 4), torch.rand(2, 5, 4)
CASES = {
    "asks": (Asks(), (x,)),
    "eigenvalues": (Eigenvalues(), (x,)),
    "dictionary": (TakesDict(), (x, {"bias": bias})),
}


def convert(model, args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            model.eval(), args, dynamo=True, verbose=False, **options
        )


# %%
# The symptom
# +++++++++++
#
# The first lines of each message, without the codes that colour it on a terminal.

errors = {}
for name, (model, args) in CASES.items():
    try:
        convert(model, args)
    except torch.onnx.OnnxExporterError as error:
        errors[name] = error
    first = re.sub(r"\x1b\[\d+m", "", str(errors.get(name, "exported")))
    print(f"{name}: {first.splitlines()[0]}")
assert "eigenvalues" in errors and "dictionary" in errors
assert ("asks" in errors) == (RELEASE >= (2, 9))

# %%
# Read it from its end
# ++++++++++++++++++++
#
# The cause is chained to the error: ``error.__cause__``, and so on until there is none.
# In a traceback it stands *above* ``The above exception was the direct cause of the
# following exception``. Newer releases repeat it below ``## Exception summary``.


def innermost(error):
    while error.__cause__ is not None:
        error = error.__cause__
    return error


causes = {}
for name, error in errors.items():
    cause = innermost(error)
    causes[name] = f"{type(cause).__name__}: {str(cause).strip().splitlines()[0]}"
    print(f"{name}: {causes[name]}")
assert "No ONNX function found" in causes["eigenvalues"]
assert "missing a required argument" in causes["dictionary"]
assert ("data-dependent" in causes.get("asks", "")) == (RELEASE >= (2, 9))

# %%
# These are messages to search for. The wrapper is the same for all.
#
# The steps
# +++++++++
#
# 1. **Export.** :func:`torch.export.export` makes a program. All recipes of this site
#    are about this step. Nothing in it has to do with ONNX.
# 2. **Decompose.** ``run_decompositions`` with the table of the ONNX exporter
#    (:ref:`l-plot-exporter-ops-decompositions`).
# 3. **Translate.** Each operator is replaced by a function of ONNX
#    (:ref:`l-plot-exporter-onnx-missing-op`).
#
# Run them one at a time, and pass on what came out. A program is accepted in the place
# of a model, and the first step is then done.

program = torch.export.export(Eigenvalues(), (x,), strict=False)
decomposed = program.run_decompositions()
targets = [str(n.target) for n in decomposed.graph.nodes if n.op == "call_function"]
print("steps 1 and 2 work:", targets)
assert "aten._linalg_eigh.default" in targets
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(program, dynamo=True, verbose=False)
except torch.onnx.OnnxExporterError as error:
    message = str(innermost(error)).splitlines()[0]
else:
    message = "This release converts it."
print("step 3:", message)
assert "_linalg_eigh" in message, message

# %%
# Step 1 is tried several times
# +++++++++++++++++++++++++++++
#
# If the export fails without strict mode, the exporter tries strict mode, and the
# message shows the first failure only. Up to 2.8 there is one more attempt,
# ``torch.jit.trace``, which records the path of the example: this is why the first
# model is exported there. The file gives wrong results without an error.

if RELEASE < (2, 9):
    proto = convert(*CASES["asks"]).model_proto
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    (result,) = session.run(None, {session.get_inputs()[0].name: -x.numpy()})
    expected = Asks()(-x).numpy()
    print("as the model:", numpy.allclose(result, expected))
    assert not numpy.allclose(result, expected)
else:
    print("This release does not fall back to torch.jit.trace.")
    assert "asks" in errors

# %%
# To avoid the attempts, call :func:`torch.export.export` yourself and convert the
# program. This is the better order of work in any case: the program can be checked
# before the conversion (:ref:`l-plot-exporter-wrong-checklist`).
#
# The report
# ++++++++++
#
# ``report=True`` writes a file in Markdown into the working folder. Its first lines say
# which step failed. It has the program, the versions and the stack, so it is what to
# attach to a bug report; it also has the names of your code.

with tempfile.TemporaryDirectory() as folder:
    before = os.getcwd()
    os.chdir(folder)
    try:
        convert(*CASES["eigenvalues"], report=True)
    except torch.onnx.OnnxExporterError as error:
        message = str(error)
    else:
        message = "This release converts it."
    finally:
        os.chdir(before)
    (path,) = glob.glob(os.path.join(folder, "*.md"))
    with open(path, encoding="utf-8") as file:
        report = file.read()
lines = [line for line in report.splitlines() if line[:1] in "✅❌⚪" and line]
print("\n".join(lines))
assert [line[:1] for line in lines].count("❌") == 1
assert "Error report has been saved" in message

# %%
# The fixes
# +++++++++
#
# Each cause has its own, on its own page. A branch:
# :ref:`l-plot-exporter-control-cond`. A missing operator: compute it outside, or
# :ref:`l-plot-exporter-onnx-missing-op`. The dictionary is a trap of
# ``torch.onnx.export`` alone: **a dictionary at the end of the arguments is taken for
# keyword arguments.** Pass it as one, or put an empty one behind.


class Branches(torch.nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,))


Dim = torch.export.Dim
dims = {0: Dim("batch"), 1: Dim("length")}
branches = convert(Branches(), (x,), dynamic_shapes=(dims,))
with_dict = convert(
    TakesDict(),
    (x,),
    kwargs={"extra": {"bias": bias}},
    dynamic_shapes={"x": dims, "extra": {"bias": dims}},
)
last = convert(TakesDict(), (x, {"bias": bias}, {}))
assert len(last.model_proto.graph.input) == 2

# %%
# The check
# +++++++++
#
# In onnxruntime, on sizes that were not traced and for both branches.


def run(converted, *tensors):
    session = onnxruntime.InferenceSession(converted.model_proto.SerializeToString())
    names = [value.name for value in session.get_inputs()]
    arrays = [tensor.numpy() for tensor in tensors]
    (result,) = session.run(None, dict(zip(names, arrays, strict=True)))
    return torch.from_numpy(result)


for batch, length in [(1, 1), (3, 7), (2, 30)]:
    x = torch.rand(batch, length, 4)
    for value in (x, -x):
        torch.testing.assert_close(run(branches, value), Branches()(value))
        torch.testing.assert_close(run(branches, value), Asks()(value))
    torch.testing.assert_close(run(with_dict, x, -x), TakesDict()(x, {"bias": -x}))
    print(f"batch {batch}, length {length}: same results")
try:
    run(branches, torch.rand(2, 5, 3))
except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as error:
    message = str(error).splitlines()[1].strip()
else:
    message = "This release runs it."
print(message)
assert "Got: 3 Expected: 4" in message, message

# %%
# To remember
# +++++++++++
#
# * Search for the innermost message, not for ``step 1/3``.
# * Step 1 is :func:`torch.export.export`: call it yourself, check the program, convert
#   it.
# * ``report=True`` says which step failed, and is what a bug report needs.
#
# Next: :ref:`l-plot-exporter-onnx-missing-op` for step 3,
# :ref:`l-plot-exporter-onnx-validate` to check the file, and
# :ref:`l-plot-exporter-exporter-draft` to see all problems of step 1 at once.
