"""
.. _l-plot-exporter-wrong-autocast:

Put autocast inside forward, not around the export
==================================================

.. answer::
   :cost: Nothing.

   An export inside ``with torch.autocast(...)`` records no conversion: the program
   computes in float32, silently, and its metadata say bfloat16. An autocast that
   ``forward`` enters becomes part of the program.

   .. code-block:: diff

      -with torch.autocast("cpu", dtype=torch.bfloat16):
      -    program = torch.export.export(model, (x,), dynamic_shapes=dims, strict=False)
      +        with torch.autocast(x.device.type, dtype=torch.bfloat16):
      +            return self.model(x)
      +program = torch.export.export(mixed, (x,), dynamic_shapes=dims, strict=False)

   Not your case?

   * ONNX, float16 weights, an ``UnboundLocalError``: see *Other fixes*.
   * The inputs have another dtype than the example: :ref:`l-plot-exporter-after-guards`.
   * No autocast, and still different: :ref:`l-plot-exporter-wrong-checklist`.

.. meta::
   :keywords: autocast, AMP, mixed precision, bfloat16, float16, half precision, fp16,
      bf16 export, wrap_with_autocast, mat1 and mat2 must have the same dtype,
      Tensor dtype mismatch
"""

# %%
# The problem
# +++++++++++
#
# The model runs in bfloat16, and the export was put where the call was.

# sphinx_gallery_tags = ["wrong results", "wrong without an error", "run fails", "export fails", "conversion fails"]
# sphinx_gallery_wording = "exported program ignores autocast"
# sphinx_gallery_wording = "exported program runs in float32 instead of bfloat16"
# sphinx_gallery_wording = "onnx.export inside autocast: scalar tensor's dtype being casted to complex128 instead of bfloat16"
# sphinx_gallery_wording = "UnboundLocalError: cannot access local variable 'y' where it is not associated with a value"
# sphinx_gallery_wording = "RuntimeError: Tensor dtype mismatch! Expected: Float, Got: c10::BFloat16"

import torch


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(16, 4)

    def forward(self, x):
        return self.linear(x).softmax(dim=-1)


torch.manual_seed(0)
model, x = Classifier().eval().requires_grad_(False), torch.randn(3, 16)
dims = ({0: torch.export.Dim("batch", max=64)},)
with torch.autocast("cpu", dtype=torch.bfloat16):
    program = torch.export.export(model, (x,), dynamic_shapes=dims, strict=False)
    print("model:       ", model(x).dtype)
for node in program.graph.nodes:
    if node.name == "linear":
        print("its metadata:", node.meta["val"].dtype)
around = program.module()
print("program:     ", around(x).dtype)
assert torch.equal(around(x), model(x))  # the float32 result

# %%
# A model that returns to float32 itself has such a false dtype recorded as a check, and
# the call fails (PyTorch 2.7 or later):


class Float32Softmax(Classifier):
    def forward(self, x):
        return self.linear(x).float().softmax(dim=-1)


returns = Float32Softmax().eval().requires_grad_(False)
with torch.autocast("cpu", dtype=torch.bfloat16):
    checked = torch.export.export(returns, (x,), strict=False)
try:
    checked.module()(x)
except RuntimeError as error:
    print(error)

# %%
# The fix
# +++++++


class Mixed(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return self.model(x)


mixed = Mixed(model)
program = torch.export.export(mixed, (x,), dynamic_shapes=dims, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# The trace records operators before autocast converts their inputs, and conversions
# happen again at each call. Entering autocast `is recorded
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/proxy_tensor.py#L1859>`_,
# but the ``with`` outside of ``forward`` was entered before the trace began. In other
# words: the program does what its caller's autocast says.

with torch.autocast("cpu", dtype=torch.bfloat16):
    assert around(x).dtype == torch.bfloat16
    assert torch.equal(around(x), model(x))
for node in program.graph.nodes:
    if "autocast" in str(node.target):
        print(node.target, node.args[:3])

# %%
# ``program.run_decompositions()`` turns that into conversions:

decomposed = program.run_decompositions()
print([n.target.__name__ for n in decomposed.graph.nodes if n.op == "call_function"])

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If
#      - Do this
#      - Cost
#    * - float32 is fast enough
#      - export without any autocast: mixed precision of the training is no reason for it
#      - float32's memory and time
#    * - a part needs float32
#      - ``with torch.autocast(x.device.type, enabled=False)`` around ``part(y.float())``
#      - a nested region, part of the program, too
#    * - ``strict=True`` raises ``Tensor dtype mismatch! Expected: Float, Got:
#        c10::BFloat16`` (PyTorch 2.8 or later)
#      - ``strict=False``
#      - none
#    * - ``mat1 and mat2 must have the same dtype, but got Float and Half``
#      - the weights are float16: convert the input, as in ``HalfWeights``
#      - range and rounding of float16 everywhere
#    * - ``UnboundLocalError`` from a ``with`` in ``forward`` (PyTorch 2.6, 2.7)
#      - call the model once in eager mode: it shows the error that is hidden
#      - none
#
# **ONNX** (`issue 158658 <https://github.com/pytorch/pytorch/issues/158658>`_). A
# program exported inside autocast becomes a float32 file; ``Mixed`` keeps its
# conversions. onnxruntime has no bfloat16 kernels for most operators on a CPU: it loads
# float16.


class HalfWeights(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.half()).float()


class MixedHalf(Mixed):
    def forward(self, x):
        with torch.autocast(x.device.type, dtype=torch.float16):
            return self.model(x)


half = Classifier().eval().requires_grad_(False)
half.load_state_dict(model.state_dict())
half = half.half()
onnx_programs = []
for module in (MixedHalf(model), HalfWeights(half)):
    exported = torch.export.export(module, (x,), dynamic_shapes=dims, strict=False)
    onnx_program = torch.onnx.export(exported, dynamo=True, verbose=False)
    print(type(module).__name__, onnx_program.model.graph.outputs[0].dtype)
    onnx_programs.append(onnx_program)

# %%
# **The hidden error** (`issue 153202
# <https://github.com/pytorch/pytorch/issues/153202>`_). The submodule has a bug:


class Buggy(torch.nn.Module):
    def forward(self, x):
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            y = x + self.missing
        return y.float()


for run in (
    lambda: torch.export.export(Buggy(), (x,), strict=False),
    lambda: Buggy()(x),
):
    try:
        run()
    except (AttributeError, UnboundLocalError) as error:
        print(error)

# %%
# Check
# +++++
#
# The reference converts input, weight and bias by hand: equal to the last bit, at sizes
# that were not traced, also inside another autocast.


def by_hand(x, dtype):
    weight, bias = model.linear.weight.to(dtype), model.linear.bias.to(dtype)
    return torch.nn.functional.linear(x.to(dtype), weight, bias).softmax(dim=-1)


for exported in (program.module(), decomposed.module()):
    for size in (1, 2, 7, 64):
        rows = 3 * torch.randn(size, 16)
        expected = by_hand(rows, torch.bfloat16)
        torch.testing.assert_close(exported(rows), expected, rtol=0, atol=0)
        with torch.autocast("cpu", enabled=False):
            assert torch.equal(exported(rows), expected)
        expected = by_hand(rows, torch.float16).float()
        for onnx_program in onnx_programs:
            (result,) = onnx_program(rows)  # in onnxruntime
            torch.testing.assert_close(result.float(), expected, rtol=2e-3, atol=1e-3)
try:
    program.module()(torch.randn(65, 16))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Compare ``dtype`` of the program's and the model's output; do not trust ``meta``.
# * The device of an autocast is a constant of the program: :ref:`l-plot-exporter-effects-devices`.
# * Numbers of low precision differ a little in another runtime:
#   :ref:`l-plot-exporter-onnx-validate`.
