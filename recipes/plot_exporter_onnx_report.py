"""
.. _l-plot-exporter-onnx-report:

"This is step 1/3 of exporting the model to ONNX": find the cause
=================================================================

.. answer::
   :cost: The example batch needs two rows or more.

   The message is a wrapper. Step 1 is :func:`torch.export.export`, step 2 decomposes,
   step 3 translates. Call step 1 yourself, and search for the message that it raises.
   It is also below ``Exception summary``.

   .. code-block:: diff

      -onnx_program = torch.onnx.export(model, (x,), dynamo=True, verbose=False)
      +program = torch.export.export(model, (x,), strict=False)
      +onnx_program = torch.onnx.export(program, dynamo=True, verbose=False)

   Not your case?

   * "step 3/3", ``No ONNX function found``: :ref:`l-plot-exporter-onnx-missing-op`.
   * ``Failed to convert 'dynamic_axes'``: :ref:`l-plot-exporter-onnx-old-call`.
   * ``Could not guard``, ``Eq(u0, 1)``: :ref:`l-plot-exporter-control-cond`.

.. meta::
   :keywords: step 1/3, step 2/3, step 3/3, TorchExportError, ConversionError, Exception
      summary, report=True, onnx_export_conversion.md, torch.onnx.export fails,
      missing a required argument, dictionary as the last argument, torch.jit.trace
"""

# %%
# The problem
# +++++++++++
#
# The message advises to report a bug; the cause is further down. (Color codes are
# removed.)

# sphinx_gallery_tags = ["onnx", "conversion fails", "wrong without an error"]
# sphinx_gallery_wording = "torch.onnx.errors.TorchExportError: Failed to export the model"
# sphinx_gallery_wording = "This is step 2/2 of exporting the model to ONNX"
# sphinx_gallery_wording = "Failed to decompose the FX graph for ONNX compatibility. This is step 2/3 of exporting the model to ONNX."

import os
import re
import tempfile

import onnxruntime
import torch


class Asks(torch.nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x - 1


torch.manual_seed(0)
model, x = Asks(), torch.rand(2, 4)
try:
    onnx_program = torch.onnx.export(model, (x,), dynamo=True, verbose=False)
except torch.onnx.OnnxExporterError as error:
    print(re.sub(r"\x1b\[\d+m", "", str(error)))

# %%
# The fix
# +++++++
#
# With ``Asks``, the first call raises ``Could not guard on data-dependent expression``,
# which has a recipe: :ref:`l-plot-exporter-control-cond`. The second call does steps 2
# and 3.


class Chooses(torch.nn.Module):
    def forward(self, x):
        return torch.where(x.sum() > 0, x * 2, x - 1)


model = Chooses()
program = torch.export.export(model, (x,), strict=False)
onnx_program = torch.onnx.export(program, dynamo=True, verbose=False)

# %%
# .. list-table::
#    :header-rows: 1
#
#    * - The message says
#      - Failed
#      - Where to look
#    * - step 1/3, ``TorchExportError``
#      - :func:`torch.export.export`
#      - any topic of this site: ONNX has no part in it
#    * - step 2/3
#      - ``program.run_decompositions()``
#      - :ref:`l-plot-exporter-ops-decompositions`
#    * - step 2/3, ``FunctionalTensor on its own``, ``while_loop``
#      - the operator, called directly
#      - :ref:`l-plot-exporter-control-while`
#    * - step 3/3, ``ConversionError``
#      - the translation of an operator
#      - :ref:`l-plot-exporter-onnx-missing-op`
#    * - nothing, but the file is wrong
#      -
#      - :ref:`l-plot-exporter-onnx-validate`
#
# Why it happens
# ++++++++++++++
#
# Step 1 `tries several ways
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/onnx/_internal/exporter/_capture_strategies.py#L319>`_
# to export, and only the first failure is in the message. Before PyTorch 2.9, one of
# them is ``torch.jit.trace``: it exports ``Asks`` with the branch of the example, and
# the file is wrong for the other one.
#
# ``report=True`` writes steps, versions and stack into a file, which is what a bug
# report needs. Here a translation is missing, and step 3 fails:


class Eigenvalues(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.eigvalsh(x @ x.mT)


def write_report(folder):
    try:
        torch.onnx.export(
            Eigenvalues(),
            (x,),
            dynamo=True,
            report=True,
            artifacts_dir=folder,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        print(error.__cause__.__cause__)


with tempfile.TemporaryDirectory() as folder:
    write_report(folder)
    (name,) = os.listdir(folder)
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        report = file.read()
for line in report.splitlines():
    if line.startswith(("✅", "❌", "⚪")):
        print(line)
assert "❌ Translate the graph into ONNX" in report

# %%
# Other fixes
# +++++++++++
#
# One cause is not in the model. ``torch.onnx.export`` takes **a dictionary as the last
# argument** for keyword arguments:


class TakesDict(torch.nn.Module):
    def forward(self, x, extra):
        return x + extra["bias"]


bias = torch.rand(4)
try:
    torch.onnx.export(TakesDict(), (x, {"bias": bias}), dynamo=True, verbose=False)
except torch.onnx.OnnxExporterError as error:
    print(error.__cause__)

# %%
# Pass it by name, put an empty dictionary behind it, or export first:

takes_dict = TakesDict()
by_name = torch.onnx.export(
    takes_dict, (x,), kwargs={"extra": {"bias": bias}}, dynamo=True, verbose=False
)
behind = torch.onnx.export(
    takes_dict, (x, {"bias": bias}, {}), dynamo=True, verbose=False
)
exported = torch.export.export(takes_dict, (x, {"bias": bias}), strict=False)
first = torch.onnx.export(exported, dynamo=True, verbose=False)

# %%
# Check
# +++++
#
# Each file in onnxruntime, against the original models, for both answers of the ``if``.

for values in (torch.rand(2, 4), -torch.rand(2, 4), torch.zeros(2, 4)):
    torch.testing.assert_close(onnx_program(values)[0], Asks()(values))
    for file in (by_name, behind, first):
        result = file(values, -bias)[0]
        torch.testing.assert_close(result, values - bias)
try:
    onnx_program(torch.rand(2, 5))
except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Search for the last cause, never for ``step 1/3``.
# * Export first, and convert the program: one way to export, and a program to check
#   (:ref:`l-plot-exporter-wrong-checklist`).
#
# Next: :ref:`l-plot-exporter-exporter-draft` shows all problems of step 1 at once;
# :ref:`l-plot-exporter-onnx-validate` keeps the axes dynamic and checks the file.
