"""
.. _l-plot-exporter-after-lower:

"Provided Dialect: TRAINING": lower a program to Core ML or ExecuTorch
======================================================================

.. answer::
   :cost: A second trace; for ``run_decompositions()``, more and smaller operators.

   A program is exported in the dialect TRAINING, with in-place operators (PyTorch 2.6
   and later). Core ML takes ATEN, which has none: decompose the program with an empty
   table before the conversion.

   .. code-block:: diff

      -convert(program)
      +lowered = program.run_decompositions({})
      +convert(lowered)

   Not your case?

   * ``is not Aten Canonical``, no kernel: :ref:`l-plot-exporter-ops-decompositions`.
   * An operator of yours, ``Missing out variants``: :ref:`l-plot-exporter-ops-custom`.
   * ONNX: :ref:`l-plot-exporter-onnx-missing-op`.

.. meta::
   :keywords: coremltools convert ExportedProgram, Core ML, ExecuTorch, to_edge,
      edge dialect, ATEN dialect, TRAINING dialect, core ATen, lowering
"""

# %%
# The problem
# +++++++++++
#
# ``convert`` plays the check that coremltools makes first.

# sphinx_gallery_tags = ["after the export", "conversion fails"]
# sphinx_gallery_wording = "NotImplementedError: Conversion for models with only ATEN or EDGE dialect is supported/tested. Provided Dialect: TRAINING"
# sphinx_gallery_wording = "Run '.run_decompositions({})' on your exported PyTorch Model prior to conversion."

import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls.add_(1)
        return self.conv(x).relu_().softmax(dim=1) * self.calls


def convert(program):
    if program.dialect not in ("ATEN", "EDGE"):
        raise NotImplementedError(f"Provided Dialect: {program.dialect}")


torch.manual_seed(0)
model = Net().eval()
x = torch.rand(2, 1, 8, 8)
shapes = ({0: torch.export.Dim("batch", max=16)},)
program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
try:
    convert(program)
except NotImplementedError as error:
    print(error)

# %%
# The fix
# +++++++

lowered = program.run_decompositions({})
convert(lowered)

# %%
# Why it happens
# ++++++++++++++
#
# The exported program keeps in-place operators, so that it can be trained. `Decomposing
# it <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/exported_program.py#L1501>`_
# makes it functional, also with an empty table, and a buffer that changes becomes an
# output (`coremltools 2743 <https://github.com/apple/coremltools/pull/2743>`_).
# ``run_decompositions()`` also replaces what is not in core ATen, the set that
# ExecuTorch's edge dialect is checked for:

core = program.run_decompositions()


def operators(program):
    targets = [node.target for node in program.graph.nodes]
    return [op for op in targets if isinstance(op, torch._ops.OpOverload)]


for stage in (program, lowered, core):
    changing = [str(op) for op in operators(stage) if op._schema.is_mutable]
    others = [str(op) for op in operators(stage) if torch.Tag.core not in op.tags]
    print(stage.dialect, "in place:", changing, "not core:", others)
assert not any(op._schema.is_mutable for op in operators(lowered))
assert all(torch.Tag.core in op.tags for op in operators(core))
print(core.graph_signature.buffers_to_mutate)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Runtime
#      - What it wants
#    * - Core ML
#      - ATEN: ``run_decompositions({})``
#    * - ExecuTorch
#      - the program as exported: ``to_edge`` decomposes it, and checks for core ATen
#    * - one of yours
#      - ``run_decompositions()``, then a look at ``torch.Tag.core``
#
# Check
# +++++
#
# The formula of the model is the reference, at other batch sizes; the buffer
# counts the calls of both programs, which share it.

weight, bias = model.conv.weight.detach(), model.conv.bias.detach()
count = 0
for stage in (lowered, core):
    call = stage.module()
    for batch in (1, 3, 16):
        count += 1
        images = torch.randn(batch, 1, 8, 8)
        patches = torch.nn.functional.unfold(images, 3)
        planes = (weight.view(4, 9) @ patches + bias[:, None]).clamp(min=0)
        expected = count * planes.exp() / planes.exp().sum(dim=1, keepdim=True)
        torch.testing.assert_close(call(images).flatten(2), expected)
    try:
        call(torch.rand(17, 1, 8, 8))
    except (AssertionError, RuntimeError) as error:
        print(str(error).splitlines()[0])

# %%
# Limitations
# +++++++++++
#
# Neither coremltools nor ExecuTorch runs here: what they do after these checks is not
# shown.
#
# Summary
# +++++++
#
# * ``run_decompositions({})`` for the dialect, ``run_decompositions()`` for core ATen.
# * Next: :ref:`l-plot-exporter-ops-decompositions` to keep operators,
#   :ref:`l-plot-exporter-after-compare` if the converted model differs.
