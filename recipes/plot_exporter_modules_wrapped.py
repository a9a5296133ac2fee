"""
.. _l-plot-exporter-modules-wrapped:

Export the model inside torch.compile, DataParallel or TorchScript
==================================================================

.. answer::
   :cost: Nothing at run time.

   The model is wrapped: the wrapper takes ``*args``, or runs code that is not Python.
   Export the model that was wrapped. ``_orig_mod`` and ``module`` share its weights; a
   scripted module, or one of ``quantize_dynamic``, does not contain it.

   .. code-block:: diff

      -program = torch.export.export(compiled, (x,), **options)
      +program = torch.export.export(compiled._orig_mod, (x,), **options)
      -replica = torch.export.export(parallel, (x,), **options)
      +replica = torch.export.export(parallel.module, (x,), **options)
       # LazyLinear: call the module once before the export
      +lazy(x)

   Not your case?

   * A module of your own takes ``*args``: :ref:`l-plot-exporter-inputs-args-kwargs`.
   * Weights of a loaded program are not tied any more: see *Limitations*.

.. meta::
   :keywords: ScriptModule, TS2EPConverter, DataParallel, DistributedDataParallel,
      torch.compile, _orig_mod, OptimizedModule, quantize_dynamic, LazyLinear,
      tied weights, quantized tensors, quantized nyi in meta tensors,
      UninitializedParameter, dynamo-optimized function
"""

# %%
# The problem
# +++++++++++
#
# One model, compiled and made parallel. ``x`` is not the name of their argument.

# sphinx_gallery_tags = ["modules", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "inputs[0] is a <class 'tuple'>, but dynamic_shapes[0] is a <class 'dict'> for a compiled module"
# sphinx_gallery_wording = "Fake tensor propagation exception: Encountered exception (quantized nyi in meta tensors)"
# sphinx_gallery_wording = "torch.onnx.export of a model that was compiled with torch.compile"
# sphinx_gallery_wording = "tied weights are not tied any more after torch.export.load"
# sphinx_gallery_wording = "Detected that you are using FX to torch.jit.trace a dynamo-optimized function. This is not supported at the moment."
# sphinx_gallery_wording = "Detected that you are using FX to symbolically trace a dynamo-optimized function. This is not supported at the moment."
# sphinx_gallery_wording = "AssertionError: fake mode from tracing context 0 doesn't match mode from fake tensor input 0 (export of torch.compile(model))"

import inspect
import io
import warnings

import torch

warnings.simplefilter("ignore")  # torch.jit and quantized tensors are deprecated


class Net(torch.nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, x):
        return self.linear(x).relu()


torch.manual_seed(0)
x = torch.rand(3, 4)
batch = torch.export.Dim("batch", max=1024)
options = {"dynamic_shapes": {"x": {0: batch}}, "strict": False}
model = Net(torch.nn.Linear(4, 4)).eval()
compiled = torch.compile(model)
parallel = torch.nn.DataParallel(model)
try:
    program = torch.export.export(compiled, (x,), **options)
except torch._dynamo.exc.UserError as error:
    print(str(error).splitlines()[0])
try:
    replica = torch.export.export(parallel, (x,), **options)
except torch._dynamo.exc.UserError as error:
    print(str(error).splitlines()[0])

# %%
# Scripted, quantized and lazy modules raise errors of their own.

scripted = torch.jit.script(model)
quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})
lazy = Net(torch.nn.LazyLinear(4)).eval()
for module in (scripted, quantized, lazy):
    try:
        torch.export.export(module, (x,), **options)
    except (AttributeError, ValueError) as error:
        print(str(error).strip().splitlines()[0], end="\n\n")

# %%
# The fix
# +++++++

program = torch.export.export(compiled._orig_mod, (x,), **options)
replica = torch.export.export(parallel.module, (x,), **options)
lazy(x)
no_longer_lazy = torch.export.export(lazy, (x,), **options)

# %%
# .. list-table::
#    :header-rows: 1
#
#    * - Your model is
#      - Write this
#    * - ``compiled = torch.compile(model)``
#      - ``export(model, ...)``, or ``export(compiled._orig_mod, ...)``
#    * - a model with a compiled part
#      - ``outer.inner = outer.inner._orig_mod``; or ``strict=True``, and names of
#        weights contain ``_orig_mod``
#    * - compiled in place: ``model.compile()``
#      - export before that line, or with PyTorch 2.11 and later
#    * - ``DataParallel(model)``, ``DistributedDataParallel(model)``
#      - ``export(parallel.module, ...)``
#    * - ``LazyLinear``, ``LazyConv2d``, ...
#      - ``lazy(x)``, then ``export(lazy, ...)``
#    * - ``torch.jit.script(model)``, ``torch.jit.trace(model, ...)``
#      - ``export(model, ...)``; without the model: ``TS2EPConverter``, see below
#    * - ``quantize_dynamic(model, ...)``, ``torch.ao.quantization.convert(model)``
#      - ``export(model, ...)``, then PT2E of torchao; or its ``quantize_`` before
#    * - a model with quantized tensors
#      - integers, scale and zero point, see below
#    * - a model with tied weights
#      - tie them again after ``load``, see *Limitations*
#
# ``torch.jit.trace`` says ``dynamo-optimized function``: the fix is the same.
#
# Why it happens
# ++++++++++++++
#
# ``dynamic_shapes`` has to follow the signature of the wrapper. Then the parallel model
# can be exported, with a prefix in the names of the weights.

print(inspect.signature(compiled.forward), inspect.signature(parallel.forward))
prefixed = torch.export.export(
    parallel, (x,), dynamic_shapes={"inputs": ({0: batch},)}, strict=False
)
print(list(prefixed.state_dict))

# %%
# TorchScript and packed quantized weights are C++ objects. The export traces Python,
# with `fake tensors, which cannot be quantized
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_subclasses/fake_tensor.py#L482>`_.


class Quantized(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, x):
        return x @ self.weight.dequantize()


quantized_weight = torch.quantize_per_tensor(torch.randn(4, 2), 0.02, 5, torch.qint8)
try:
    torch.export.export(Quantized(quantized_weight), (x,), **options)
except torch._subclasses.fake_tensor.UnsupportedFakeTensorException as error:
    print(error)

# %%
# Other fixes
# +++++++++++
#
# Keep the integers, and write the arithmetic: the cost is a multiplication per use.


class Integers(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.register_buffer("integers", weight.int_repr())
        self.scale, self.zero_point = weight.q_scale(), weight.q_zero_point()

    def forward(self, x):
        return x @ ((self.integers.float() - self.zero_point) * self.scale)


integers = torch.export.export(Integers(quantized_weight), (x,), **options)
print({name: value.dtype for name, value in integers.state_dict.items()})

# %%
# If only the TorchScript file is left, convert it. The converter is private and has no
# ``dynamic_shapes``: sizes are dynamic where possible (static in PyTorch 2.6). A model
# with a compiled part can be exported in strict mode, and since PyTorch 2.11 in
# non-strict mode (`issue 171674 <https://github.com/pytorch/pytorch/issues/171674>`_).

from torch._export.converter import TS2EPConverter  # noqa: E402

converted = TS2EPConverter(scripted, (x,), {}).convert()
print(list(converted.range_constraints.values()))

outer = torch.nn.Sequential(compiled)
shapes = {"input": {0: batch}}
strict = torch.export.export(outer, (x,), dynamic_shapes=shapes, strict=True)
print(list(strict.state_dict))

# %%
# Check
# +++++
#
# The references are the models in eager mode, at sizes that were not traced.

runs = [(program, model), (replica, model), (prefixed, model), (no_longer_lazy, lazy)]
runs += [(integers, Quantized(quantized_weight)), (strict, model)]
for exported, reference in runs:
    for size in (1, 7, 1024):
        rows = torch.randn(size, 4)
        torch.testing.assert_close(exported.module()(rows), reference(rows))
for size in (2, 7, 1024) if converted.range_constraints else (3,):
    rows = torch.randn(size, 4)
    torch.testing.assert_close(converted.module()(rows), model(rows))
try:
    program.module()(torch.rand(1025, 4))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# In PyTorch 2.9 and later, *tied* weights are two parameters after ``load``. They share
# memory, until an optimizer or ``double()`` separates them. Tie them before.


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.embed(x))


tied = Tied()
file = io.BytesIO()
torch.export.save(torch.export.export(tied, (x,), **options), file)
file.seek(0)
loaded = torch.export.load(file).module()
print("tied after load:", loaded.embed.weight is loaded.head.weight)

loaded.head.weight = loaded.embed.weight
torch.testing.assert_close(loaded(rows), tied(rows))
loaded.double()
with torch.no_grad():
    loaded.embed.weight.fill_(1)
assert (loaded.head.weight == 1).all()

# %%
# Summary
# +++++++
#
# * Export first; compile, parallelize and quantize later.
# * ``_orig_mod`` and ``module`` are the model; a scripted module can be converted.
#
# Next: :ref:`l-plot-exporter-exporter-torchscript` for a whole move,
# :ref:`l-plot-exporter-modules-quantized` for PT2E and ``quantize_``,
# :ref:`l-plot-exporter-after-move` for ``torch.compile`` of a program,
# :ref:`l-plot-exporter-wrong-train-eval` for ``eval`` before the export,
# :ref:`l-plot-exporter-onnx-missing-op` for quantized operators in ONNX.
