"""
.. _l-plot-exporter-onnx-find-node:

Find the node of an ONNX file that differs from PyTorch
=======================================================

.. answer::
   :cost: One session of onnxruntime for each value; run it on a small input.

   The file loads, runs and is wrong. ``verify_onnx_program`` can compare the values
   between the operators, too. The first name in this list is the operator whose
   translation is wrong; often ``pip install --upgrade onnxscript`` cures it.

   .. code-block:: diff

      -print((onnx_program(x)[0] - model(x)).abs().max())
      +for info in verify_onnx_program(onnx_program, (x,), compare_intermediates=True):
      +    if not info.max_abs_diff < 1e-4:
      +        print(info.name, info.max_abs_diff)

   Not your case?

   * Right for the example, wrong for other sizes: see *Other fixes*.
   * The exported program is wrong, too: :ref:`l-plot-exporter-after-compare`.
   * A buffer that changes, fixed axes: :ref:`l-plot-exporter-onnx-validate`.

.. meta::
   :keywords: ONNX accuracy drop, onnx wrong values, layer by layer, intermediate outputs,
      verify_onnx_program, compare_intermediates, VerificationInfo, update onnxscript,
      PixelUnshuffle, optimize=False, sym_min, branch on a size
"""

# %%
# The problem
# +++++++++++
#
# onnxscript 0.7.0 translated ``pixel_unshuffle`` with the channels in a different order
# (`issue 186080 <https://github.com/pytorch/pytorch/issues/186080>`_).
# ``custom_translation_table`` brings this back. ``verify_onnx_program`` came with
# PyTorch 2.8.

# sphinx_gallery_needs_torch = "2.8"
# sphinx_gallery_tags = ["onnx", "wrong without an error"]
# sphinx_gallery_wording = "ONNX model outputs differ from PyTorch, which layer is it"
# sphinx_gallery_wording = "ResNet exported with dynamo=True has zero accuracy in onnxruntime"
# sphinx_gallery_wording = "The reordering of the PixelUnShuffle operation is not consistent between the torch implementation and the onnx graph obtained when using dynamo=True"
# sphinx_gallery_wording = "Type parameter (T) of Optype (LayerNormalization) bound to different types (tensor(float16) and tensor(float) in node (n0_16)."

import onnxruntime
import torch
from onnxscript import opset18 as op
from torch.onnx.verification import verify_onnx_program

ORT = onnxruntime.capi.onnxruntime_pybind11_state


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(8, 4, 1)
        self.norm = torch.nn.BatchNorm2d(4)

    def forward(self, x):
        x = torch.nn.functional.pixel_unshuffle(x, 2)
        return torch.nn.functional.gelu(self.norm(self.conv(x)))


def space_to_depth(self, downscale_factor: int):
    return op.SpaceToDepth(self, blocksize=downscale_factor)


aten = torch.ops.aten
torch.manual_seed(0)
model, x = Net().eval(), torch.randn(2, 2, 4, 6)
D = torch.export.Dim.DYNAMIC


def convert(program, table=None, optimize=True):
    return torch.onnx.export(
        program,
        (),
        custom_translation_table=table,
        optimize=optimize,
        dynamo=True,
        verbose=False,
    )


program = torch.export.export(model, (x,), dynamic_shapes=({0: D},), strict=False)
onnx_program = convert(program, {aten.pixel_unshuffle.default: space_to_depth})
print((onnx_program(x)[0] - model(x)).abs().max())

# %%
# The fix
# +++++++
#
# The names are those of the exported program.

for info in verify_onnx_program(onnx_program, (x,), compare_intermediates=True):
    if not info.max_abs_diff < 1e-4:
        print(info.name, info.max_abs_diff)

# %%
# The first is the fault, the others follow from it. ``not ... <`` finds NaN, too. Its
# operator and line:


def first_difference(onnx_program, *args):
    for info in verify_onnx_program(onnx_program, args, compare_intermediates=True):
        if not info.max_abs_diff < 1e-4:
            return info.name
    return "no difference"


name = first_difference(onnx_program, x)
nodes = {node.name: node for node in onnx_program.exported_program.graph.nodes}
trace = nodes[name].meta["stack_trace"].splitlines()
print(nodes[name].target)
print([line.strip() for line in trace if line.strip(" ^~")][-1])

# %%
# Why it happens
# ++++++++++++++
#
# onnxscript has the translations, and an update of torch does not update it. A
# translated value keeps the name of its node, so `torch computes both
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/onnx/_internal/exporter/_verification.py#L310>`_.
# ``verify=True`` compares the outputs only. With the translation that is installed:

onnx_program = convert(program)
print(first_difference(onnx_program, x))

# %%
# Other fixes
# +++++++++++
#
# .. code-block:: bash
#
#    python -c "import onnxscript; print(onnxscript.__version__)"
#    pip install --upgrade onnxscript
#
# .. list-table::
#    :header-rows: 1
#
#    * - The first node that differs
#      - What helps
#    * - ``pixel_unshuffle``
#      - onnxscript 0.7.1
#    * - batch norm behind convolutions that share an input (`issue 169178
#        <https://github.com/pytorch/pytorch/issues/169178>`_)
#      - onnxscript 0.5.7
#    * - ``layer_norm`` in float16: the file does not load (`issue 2099
#        <https://github.com/microsoft/onnxscript/issues/2099>`_)
#      - onnxscript 0.2.3
#    * - none, with ``torch.onnx.export(..., optimize=False)``
#      - the optimizer is wrong: update, or keep this option, which costs speed
#    * - the same with the newest onnxscript
#      - a translation of yours: :ref:`l-plot-exporter-onnx-missing-op`
#    * - none, and the file is wrong for other sizes
#      - a branch on a size, below
#
# **A branch on a size.** The program has the branch of the example and a guard, the
# file has no guard. ``torch.sym_min`` is no branch.


class Best(torch.nn.Module):
    def forward(self, x):
        if x.shape[1] < 6:
            return x.sort(dim=1, descending=True).values
        return torch.topk(x, 6).values


class SymBest(torch.nn.Module):
    def forward(self, x):
        return torch.topk(x, torch.sym_min(x.shape[1], 6)).values


four, twenty = torch.rand(2, 4), torch.rand(2, 20)
branch, no_branch = (
    torch.export.export(best, (four,), dynamic_shapes=({1: D},), strict=False)
    for best in (Best(), SymBest())
)
sym_best = convert(no_branch)
print("model:", Best()(twenty).shape, "file:", convert(branch)(twenty)[0].shape)
print("with sym_min:", sym_best(twenty)[0].shape)
try:
    branch.module()(twenty)
except (AssertionError, RuntimeError) as error:
    print("program:", error)

# %%
# A slice, ``x[:, :6]``, is such a branch, too: :ref:`l-plot-exporter-shapes-slices`.
#
# Check
# +++++
#
# Faults in two translations must be found where they are, at other sizes.


def no_number(self, approximate: str = "none"):
    return op.Sqrt(op.Sub(op.Neg(op.Abs(self)), op.Abs(self)))


faults = {
    aten.pixel_unshuffle.default: space_to_depth,
    aten.gelu.default: no_number,
}
for operator, fault in faults.items():
    faulty = convert(program, {operator: fault}, optimize=False)
    for size in (1, 5):
        found = first_difference(faulty, torch.randn(size, 2, 4, 6))
        assert operator.name() == f"aten::{found}", found
assert first_difference(onnx_program, torch.randn(5, 2, 4, 6)) == "no difference"

# %%
# The repaired files, against slices and a sort in NumPy.

for size in (1, 3, 64):
    rows = torch.randn(size, 2, 4, 6)
    parts = [rows[:, c, i::2, j::2] for c in (0, 1) for i in (0, 1) for j in (0, 1)]
    expected = torch.nn.functional.gelu(model.norm(model.conv(torch.stack(parts, 1))))
    torch.testing.assert_close(onnx_program(rows)[0], expected)
for columns in (2, 6, 7, 50):
    rows = torch.randn(2, columns)
    expected = rows.numpy().copy()
    expected.sort(axis=1)
    expected = torch.from_numpy(expected[:, ::-1][:, :6].copy())
    torch.testing.assert_close(sym_best(rows)[0], expected)
try:
    onnx_program(torch.randn(2, 2, 5, 6))
except ORT.InvalidArgument as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# * The optimizer merges nodes, which are skipped. ``optimize=False`` keeps them.
# * The program is the reference: :ref:`l-plot-exporter-wrong-checklist` checks it.
# * A NaN that both have is reported, too.
# * PyTorch 2.9 skips a translation whose parameters are not named as the operator's.
#
# Summary
# +++++++
#
# * ``compare_intermediates=True``, at several sizes; then update onnxscript.
#
# Next: :ref:`l-plot-exporter-onnx-missing-op` for a translation of yours,
# :ref:`l-plot-exporter-onnx-validate` for what the file does not hold.
