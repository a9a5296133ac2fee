"""
.. _l-plot-exporter-modules-quantized:

Quantize with PT2E after the export, or with torchao before it
==============================================================

.. answer::
   :cost: Some accuracy. PT2E needs inputs to calibrate with, and a second export.

   PT2E of torchao changes a graph: give it ``program.module()``. ``quantize_`` replaces
   weights of ``Linear`` modules: call it before the export. A program has no such
   modules, and afterwards ``quantize_`` does nothing, silently.

   .. code-block:: diff

      -    prepare_pt2e(program, quantizer)
      +prepared = prepare_pt2e(program.module(), quantizer)
      +prepared(torch.randn(1024, 64))  # calibration: your inputs
      +quantized = convert_pt2e(prepared)
      +activations = export(quantized, (x,), **options)
      -quantize_(module, int8)
      +int8 = Int8WeightOnlyConfig(set_inductor_config=False)
      +quantize_(weight_only, int8)
      +weights = export(weight_only, (x,), **options)

   Not your case?

   * ``quantized nyi in meta tensors``: :ref:`l-plot-exporter-modules-wrapped`.
   * Accuracy drops after ``eval()`` of the exported model: *Other fixes*, below.

.. meta::
   :keywords: torchao, prepare_pt2e, convert_pt2e, prepare_qat_pt2e, quantize_, int8,
      Int8WeightOnlyConfig, tensor subclass, move_exported_model_to_eval,
      allow_exported_model_train_eval, QAT, calibration, quantized_decomposed,
      must run observer before calling calculate_qparams
"""

# %%
# The problem
# +++++++++++
#
# The first call raises. The second leaves the weights as they are.

# sphinx_gallery_needs_torch = "2.12"
# sphinx_gallery_tags = ["modules", "export fails", "wrong without an error", "how to"]
# sphinx_gallery_wording = "AttributeError: 'ExportedProgram' object has no attribute 'meta'"
# sphinx_gallery_wording = "Calling train() or eval() is not supported for exported models."
# sphinx_gallery_wording = "accuracy drop after allow_exported_model_train_eval(model) and model.eval() in PT2E QAT"
# sphinx_gallery_wording = "batch_norm eps and momentum and dropout p are changed by move_exported_model_to_eval"
# sphinx_gallery_wording = "must run observer before calling calculate_qparams. Returning default values."
# sphinx_gallery_wording = "quantize_ does not change the exported model"

import copy
import io
import logging
import warnings

import torch
from torch.export import Dim, export
from torch.testing._internal.two_tensor import TwoTensor

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)  # torchao names the kernels that it does not load
from torchao.quantization import Int8WeightOnlyConfig, quantize_  # noqa: E402
from torchao.quantization.pt2e import (  # noqa: E402
    move_exported_model_to_eval,
    quantize_pt2e,
)
from torchao.quantization.pt2e.quantizer import (  # noqa: E402
    x86_inductor_quantizer as x86,
)

logging.disable(logging.NOTSET)
prepare_pt2e, convert_pt2e = quantize_pt2e.prepare_pt2e, quantize_pt2e.convert_pt2e


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(64, 128), torch.nn.Linear(128, 4)

    def forward(self, x):
        return self.last(self.first(x).relu())


torch.manual_seed(0)
model = Net().eval().requires_grad_(False)
x = torch.randn(8, 64)
options = {"dynamic_shapes": ({0: Dim("batch", max=1024)},), "strict": False}
program = export(model, (x,), **options)
quantizer = x86.X86InductorQuantizer()
quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
try:
    prepare_pt2e(program, quantizer)
except AttributeError as error:
    print(error)

module, int8 = program.module(), Int8WeightOnlyConfig(set_inductor_config=False)
quantize_(module, int8)
print("weights after quantize_:", module.first.weight.dtype)
assert torch.equal(module(x), model(x))

# %%
# The fix
# +++++++

prepared = prepare_pt2e(program.module(), quantizer)
prepared(torch.randn(1024, 64))  # calibration: your inputs
quantized = convert_pt2e(prepared)
activations = export(quantized, (x,), **options)

weight_only = copy.deepcopy(model)
int8 = Int8WeightOnlyConfig(set_inductor_config=False)
quantize_(weight_only, int8)
weights = export(weight_only, (x,), **options)

# %%
# Why it happens
# ++++++++++++++
#
# ``prepare_pt2e`` `reads the metadata of a graph module
# <https://github.com/pytorch/ao/blob/v0.18.0/torchao/quantization/pt2e/quantize_pt2e.py#L95>`_,
# and ``quantize_`` `looks for Linear
# <https://github.com/pytorch/ao/blob/v0.18.0/torchao/quantization/quant_api.py#L168>`_.

print("model:  ", sorted({type(part).__name__ for part in model.modules()}))
print("program:", sorted({type(part).__name__ for part in module.modules()}))
print(type(weight_only.first.weight).__name__, quantized._frozen_param0.dtype)

# %%
# Without ``set_inductor_config=False``, ``quantize_`` changes settings of
# ``torch.compile`` in your process.

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - You see
#      - Write this
#      - Cost
#    * - accuracy drops after ``move_exported_model_to_eval``, or after
#        ``allow_exported_model_train_eval`` and ``eval()``
#      - change the flags of ``dropout`` and ``batch_norm``, below
#      - not after ``run_decompositions``
#    * - wrong results, ``must run observer before calling calculate_qparams``
#      - call ``prepared`` with inputs before ``convert_pt2e``
#      - a run of the model
#    * - the saved file is not smaller
#      - delete the float weights before the second export, below
#      - none
#    * - ``treespec.unflatten(leaves)`` after ``run_decompositions``
#      - return plain tensors, see *Limitations*
#      - none
#
# torchao's switches between train and eval replace more than the flag: ``eps``,
# ``momentum`` and the probability of dropout become torch's defaults (`issue 2980
# <https://github.com/pytorch/ao/issues/2980>`_). Nothing is reported.


class Trained(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(64, eps=1e-3, momentum=0.03)
        self.drop = torch.nn.Dropout(0.1)

    def forward(self, x):
        return self.drop(self.norm(x))


FLAGS = {torch.ops.aten.dropout.default: 2, torch.ops.aten.batch_norm.default: 5}


def numbers(module):
    nodes = [node for node in module.graph.nodes if node.target in FLAGS]
    return [[a for a in n.args if isinstance(a, (bool, float))][:3] for n in nodes]


trained = Trained()
trained.norm.running_var.fill_(1e-3)
switched = export(trained, (x,), **options).module()
flags = copy.deepcopy(switched)
move_exported_model_to_eval(switched)
print("torchao: ", numbers(switched))
for node in flags.graph.nodes:
    if node.target in FLAGS:
        node.update_arg(FLAGS[node.target], False)
flags.recompile()
print("flags:   ", numbers(flags))

# %%
# ``convert_pt2e`` adds integers and keeps the float weights, which nothing uses.

before = sum(value.nbytes for value in activations.state_dict.values())
used = {node.target for node in quantized.graph.nodes if node.op == "get_attr"}
for name in dict(quantized.named_parameters()):
    if name not in used:
        owner, _, attribute = name.rpartition(".")
        delattr(quantized.get_submodule(owner), attribute)
activations = export(quantized, (x,), **options)
after = sum(value.nbytes for value in activations.state_dict.values())
print(f"bytes of weights: {before}, then {after}")

# %%
# Check
# +++++
#
# The reference is the float model; for the weights alone, also the arithmetic by hand.
# What was not calibrated is far away.


def distance(result, expected):
    return (result - expected).norm() / expected.norm()


untouched = convert_pt2e(prepare_pt2e(program.module(), quantizer))
torch.export.save(weights, file := io.BytesIO())
file.seek(0)
loaded = torch.export.load(file)
for size in (2, 7, 1024):
    rows = torch.randn(size, 64)
    first, last = weight_only.first, weight_only.last
    by_hand = (rows @ (first.weight.qdata * first.weight.scale).T + first.bias).relu()
    by_hand = by_hand @ (last.weight.qdata * last.weight.scale).T + last.bias
    torch.testing.assert_close(weights.module()(rows), by_hand)
    torch.testing.assert_close(loaded.module()(rows), by_hand)
    assert distance(weights.module()(rows), model(rows)) < 0.02
    assert distance(activations.module()(rows), model(rows)) < 0.03
    assert distance(untouched(rows), model(rows)) > 0.3
    formula = rows / (trained.norm.running_var + 1e-3).sqrt()
    torch.testing.assert_close(flags(rows), formula)
    assert distance(switched(rows), formula) > 0.3
try:
    activations.module()(torch.randn(1025, 64))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# A quantized weight is a tensor subclass. If the model *returns* one, the program
# cannot be called after ``run_decompositions``. ``TwoTensor`` is torch's subclass for
# tests.


class Pair(torch.nn.Module):
    def __init__(self, plain):
        super().__init__()
        weight = TwoTensor(torch.ones(64, 4), torch.ones(64, 4))
        self.weight, self.plain = torch.nn.Parameter(weight), plain

    def forward(self, x):
        y = x @ self.weight
        return y.a + y.b if self.plain else y


plain = export(Pair(True), (x,), **options).run_decompositions().module()
torch.testing.assert_close(plain(x), 2 * x.sum(dim=1, keepdim=True).expand(8, 4))
pair = export(Pair(False), (x,), **options).run_decompositions().module()
try:
    pair(x)
except ValueError as error:
    print(error)

# %%
# Summary
# +++++++
#
# * PT2E: export, ``module()``, prepare, calibrate, convert, export. ``quantize_``: before
#   the export. A process that loads the program imports torchao.
# * Compare with the float model: most of these mistakes raise nothing.
# * Next: :ref:`l-plot-exporter-wrong-train-eval` for the mode,
#   :ref:`l-plot-exporter-ops-decompositions` for a runtime without these operators.
