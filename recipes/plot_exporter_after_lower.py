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

   * ``not in Core ATen opset``, ``Missing out variants``, no kernel:
     :ref:`l-plot-exporter-ops-decompositions`.
   * ExecuTorch: ``error 0x10`` or other results: the table in *Limitations*.
   * ONNX: :ref:`l-plot-exporter-onnx-missing-op`.

.. meta::
   :keywords: coremltools convert ExportedProgram, Core ML, ExecuTorch, to_edge,
      is not Aten Canonical, to_edge_transform_and_lower, to_executorch, pte, portable runtime, error 0x10,
      edge dialect, ATEN dialect, TRAINING dialect, core ATen, lowering
"""

# %%
# The problem
# +++++++++++
#
# ``convert`` plays the check that coremltools makes first.

# sphinx_gallery_tags = ["after the export", "conversion fails"]
# sphinx_gallery_wording = "NotImplementedError: Conversion for models with only ATEN or EDGE dialect is supported/tested. Provided Dialect: TRAINING"
# sphinx_gallery_wording = "ExecuTorch .pte returns wrong results, a buffer or cache starts at zero"
# sphinx_gallery_wording = "UserWarning: Mutation on a buffer in the model is detected. ExecuTorch assumes buffers that are mutated in the graph have a meaningless initial state"
# sphinx_gallery_wording = "RuntimeError: method->set_inputs() for method 'forward' failed with error 0x10"
# sphinx_gallery_wording = "Run '.run_decompositions({})' on your exported PyTorch Model prior to conversion."

import importlib.util

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


def formula(images, count):
    patches = torch.nn.functional.unfold(images, 3)
    planes = (weight.view(4, 9) @ patches + bias[:, None]).clamp(min=0).exp()
    return (count * planes / planes.sum(dim=1, keepdim=True)).view(-1, 4, 6, 6)


count = 0
for stage in (lowered, core):
    call = stage.module()
    for batch in (1, 3, 16):
        count += 1
        images = torch.randn(batch, 1, 8, 8)
        torch.testing.assert_close(call(images), formula(images, count))
    try:
        call(torch.rand(17, 1, 8, 8))
    except (AssertionError, RuntimeError) as error:
        print(str(error).splitlines()[0])

# %%
# Where ExecuTorch is installed, it runs the program here. A buffer that changes `loses
# its value
# <https://github.com/pytorch/executorch/blob/v1.5.1/exir/emit/_emitter.py#L1906>`_, with
# a warning, unless a pass keeps it (`issue 5068
# <https://github.com/pytorch/executorch/issues/5068>`_).

if importlib.util.find_spec("executorch") is None:
    print("Not run here. First: python -m pip install executorch==1.5.1")
else:
    from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
    from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass
    from executorch.runtime import Runtime

    def load(*passes):
        edge = to_edge_transform_and_lower(program)
        file = edge.to_executorch(ExecutorchBackendConfig(passes=list(passes)))
        return Runtime.get().load_program(file.buffer)

    plain, kept = load(), load(InitializedMutableBufferPass(["calls"]))
    for batch in (1, 3, 16):
        images = torch.randn(batch, 1, 8, 8)
        (lost,) = plain.load_method("forward").execute([images])
        (result,) = kept.load_method("forward").execute([images])
        eager = model(images)
        print("right without the pass:", torch.allclose(lost, eager))
        torch.testing.assert_close(result, eager)
    try:
        kept.load_method("forward").execute([torch.rand(17, 1, 8, 8)])
    except RuntimeError as error:
        print(error)
    print("ExecuTorch with the pass: equal to eager")

# %%
# Limitations
# +++++++++++
#
# coremltools does not run here. What ExecuTorch 1.5.1 says or does:
#
# .. list-table::
#    :header-rows: 1
#
#    * - You see
#      - What to do
#    * - ``set_inputs() ... failed with error 0x10``
#      - The input has more elements than planned. Set ``max`` of the ``Dim``: without
#        it, the example's size silently becomes the limit.
#    * - ``set_inputs() ... failed with error 0x12``
#      - Pass the dtype and the Python numbers of the example.
#    * - ``Failed to load method forward, error: 0x:14``
#      - The runtime has no kernel: link one, or replace the operator.
#    * - other results
#      - Keep buffers as above. Sizes are not checked one by one, only the number of
#        elements (`issue 20546 <https://github.com/pytorch/executorch/issues/20546>`_).
#    * - ``Expected 0, but got 1``, a crash
#      - Keep what ``load_program`` returns as long as the method (`issue 10725
#        <https://github.com/pytorch/executorch/issues/10725>`_).
#
# Summary
# +++++++
#
# * ``run_decompositions({})`` for the dialect, ``run_decompositions()`` for core ATen.
# * Next: :ref:`l-plot-exporter-ops-decompositions` to keep operators,
#   :ref:`l-plot-exporter-after-compare` if the converted model differs.
