"""
.. _l-plot-exporter-exporter-old-call:

Replace export_for_training and other calls that are gone
=========================================================

.. answer::
   :cost: Nothing. Graphs can differ from those of the old call, see below.

   The older entry points were removed one by one, and ``torch.export.export`` does the
   work of all. It returns an exported program, whose ``module()`` is the graph that
   quantization wants. ``Dim`` replaces ``constraints``.

   .. code-block:: diff

      -batch = torch.export.dynamic_dim(x, 0)
      -program = torch.export.export(model, (x,), constraints=[batch <= 8])
      -program = torch.export.export_for_training(model, (x,))
      -captured = torch._export.capture_pre_autograd_graph(model, (x,))
      +batch = torch.export.Dim("batch", max=8)
      +program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
      +captured = program.module()

   Not your case?

   * ``torch.onnx.dynamo_export``: :ref:`l-plot-exporter-onnx-old-call`.
   * ``torch.jit`` is deprecated: :ref:`l-plot-exporter-exporter-torchscript`.
   * ``draft_export`` is missing, your PyTorch is too old:
     :ref:`l-plot-exporter-exporter-draft`.

.. meta::
   :keywords: export_for_training, export_for_inference, capture_pre_autograd_graph,
      dynamic_dim, constraints, torch._export.export, quantize_pt2e, prepare_pt2e,
      convert_pt2e, XNNPACKQuantizer, torchao, aot_compile, dynamo_export, training IR,
      in-place operators in the graph, has no attribute, cannot import name
"""

# %%
# The problem
# +++++++++++
#
# Calls of old tutorials. Those that your PyTorch still has print nothing.

# sphinx_gallery_tags = ["start here", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "ImportError: cannot import name 'capture_pre_autograd_graph' from 'torch._export'"
# sphinx_gallery_wording = "`torch.export.export_for_training` is deprecated and will be removed in PyTorch 2.10. Please use `torch.export.export` instead, which is functionally equivalent."
# sphinx_gallery_wording = "module 'torch.export' has no attribute 'export_for_inference'"
# sphinx_gallery_wording = "No module named 'torch.ao.quantization.quantizer'"
# sphinx_gallery_wording = "cannot import name 'move_exported_model_to_eval' from 'torch.ao.quantization'"
# sphinx_gallery_wording = "torch.ao.quantization is deprecated and will be removed in 2.10."
# sphinx_gallery_wording = "torch.export.export produces a graph with inplace operations"

import importlib
import warnings

import torch

warnings.simplefilter("ignore")  # some of the calls are only deprecated


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.norm = torch.nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.linear(x)).relu_()


torch.manual_seed(0)
model = Net().eval()
x = torch.rand(3, 4)
try:
    batch = torch.export.dynamic_dim(x, 0)
    program = torch.export.export(model, (x,), constraints=[batch <= 8])
except AttributeError as error:
    print(error)
try:
    torch.export.export(model, (x,), constraints=[])
except TypeError as error:
    print(error)
try:
    torch._export.export(model, (x,))
except AttributeError as error:
    print(error)
try:
    captured = torch._export.capture_pre_autograd_graph(model, (x,))
except AttributeError as error:
    print(error)
try:
    program = torch.export.export_for_training(model, (x,))
except AttributeError as error:
    print(error)
try:
    importlib.import_module("torch.ao.quantization.quantize_pt2e")
except ModuleNotFoundError as error:
    print(error)

# %%
# Two changes are silent. Without ``constraints``, the export succeeds, and the batch is
# the one of the example. And since PyTorch 2.6 the graph has in-place operators: code
# that looks for ``relu`` finds none.

static = torch.export.export(model, (x,))
assert static.range_constraints == {}
try:
    static.module()(torch.rand(5, 4))
except (AssertionError, RuntimeError) as error:
    print(error)


def count(program, target):
    return sum(node.target is target for node in program.graph.nodes)


print("relu:", count(static, torch.ops.aten.relu.default))
print("relu_:", count(static, torch.ops.aten.relu_.default))

# %%
# The fix
# +++++++
#
# ``max`` is inclusive: ``batch < 9`` becomes ``max=8``. Two dimensions that were
# declared equal get the same ``Dim``. ``run_decompositions({})`` gives the functional
# graph.

batch = torch.export.Dim("batch", max=8)
program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
captured = program.module()
functional = program.run_decompositions({})

# %%
# Why it happens
# ++++++++++++++
#
# ``export_for_training`` became the default behavior of ``export``, then `a second name
# for it <https://github.com/pytorch/pytorch/pull/171714>`_, and went; so did the others.
# Its graph is close to eager, with in-place operators (`issue 147318
# <https://github.com/pytorch/pytorch/issues/147318>`_). The functional graph is made from
# it:

for graph in (program, functional):
    print([str(n.target) for n in graph.graph.nodes if n.op == "call_function"])
assert count(program, torch.ops.aten.relu.default) == 0
assert count(functional, torch.ops.aten.relu.default) == 1

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#    :widths: 40 45 15
#
#    * - Old
#      - New
#      - Gone in
#    * - ``constraints=[dynamic_dim(x, 0) <= 8]``
#      - ``dynamic_shapes=({0: Dim("batch", max=8)},)``
#      - before 2.6
#    * - ``torch._export.export``
#      - ``torch.export.export``
#      - before 2.6
#    * - ``program(x)``
#      - ``program.module()(x)``
#      - before 2.6
#    * - passes on the functional graph of ``export``
#      - ``export(...).run_decompositions({})``
#      - 2.6
#    * - ``capture_pre_autograd_graph(model, args)``
#      - ``export(model, args, strict=True).module()``
#      - 2.7
#    * - ``export_for_inference(model, args)``
#      - ``export(model, args).run_decompositions()``
#      - 2.8
#    * - ``strict=True`` as the default
#      - ``strict=True``, see :ref:`l-plot-exporter-exporter-strict`
#      - 2.8
#    * - ``torch.onnx.dynamo_export(model, x)``
#      - ``torch.onnx.export(model, (x,), dynamo=True)``, see
#        :ref:`l-plot-exporter-onnx-old-call`
#      - 2.9
#    * - ``export_for_training(model, args)``
#      - ``export(model, args)``
#      - 2.11
#    * - ``prepare_pt2e``, ``convert_pt2e``, ``move_exported_model_to_eval`` of
#        ``torch.ao.quantization``
#      - the same names in ``torchao.quantization.pt2e``, of `torchao
#        <https://github.com/pytorch/pytorch/issues/157591>`_
#      - 2.11
#    * - ``XNNPACKQuantizer``, ``torch.ao.quantization.quantizer``
#      - ExecuTorch, ``executorch.backends.xnnpack.quantizer``
#      - 2.11
#    * - ``torch._export.aot_compile``, ``aot_load``
#      - ``torch._inductor.aoti_compile_and_package``, ``aoti_load_package``
#      - deprecated
#
# Check
# +++++
#
# The reference is the model, at sizes that were not traced. Nine rows must be rejected,
# and the empty table must keep ``linear``.

(bounds,) = program.range_constraints.values()
assert bounds.upper == 8
assert count(functional, torch.ops.aten.linear.default) == 1
for size in (1, 2, 5, 8):
    rows = torch.randn(size, 4)
    torch.testing.assert_close(captured(rows), model(rows))
    torch.testing.assert_close(functional.module()(rows), model(rows))
try:
    captured(torch.rand(9, 4))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * ``torch.export.export`` with ``Dim``, then ``module()`` or ``run_decompositions``.
# * After an upgrade, compare the operators of the graph with those that your passes
#   look for, and the ranges with those that you declared.
#
# Next: :ref:`l-plot-exporter-ops-decompositions`, :ref:`l-plot-exporter-after-edit` for
# passes, :ref:`l-plot-exporter-wrong-train-eval` before quantization,
# :ref:`l-plot-exporter-shapes-specialized` if ``Dim`` raises an error.
