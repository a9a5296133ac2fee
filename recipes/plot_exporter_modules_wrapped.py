"""
.. _l-plot-exporter-modules-wrapped:

Scripted, compiled, parallel and quantised modules
==================================================

The model was made ready for something else, and the export fails: ``Exporting a
ScriptModule is not supported``, ``quantized nyi in meta tensors``, ``does not have a
field with name '__obj_flatten__'``, or, for a compiled or parallel model, ``When
`dynamic_shapes` is specified as a dict, its top-level keys must be the arg names
['args']``.

This page says for each wrapper where the original is, and what to do without it. At its
end it shows what becomes of weights that are shared.

.. meta::
   :description: Export the original: model.module, compiled._orig_mod, or the class before
      torch.jit.script; quantise after the export.
   :keywords: ScriptModule, TS2EPConverter, DataParallel, torch.compile, OptimizedModule,
      _orig_mod, quantize_dynamic, LazyLinear, weight_norm, tied weights, quantized tensors
"""

# %%
# The model
# +++++++++

# sphinx_gallery_tags = ["modules", "export fails"]
# sphinx_gallery_wording = "Detected that you are using FX to symbolically trace a dynamo-optimized function"
# sphinx_gallery_wording = "inputs[0] is a <class 'tuple'>, but dynamic_shapes[0] is a <class 'dict'> for a compiled module"
# sphinx_gallery_wording = "torch.jit.trace of a dynamo-optimized function is not supported"

import inspect
import io
import warnings

import torch
import torch._dynamo

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
Dim = torch.export.Dim


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())

    def forward(self, x):
        return self.layers(x)


torch.manual_seed(0)
x = torch.rand(3, 4)
shapes = {"x": {0: Dim("batch", max=1024)}}
model = Net().eval()

# %%
# The symptoms
# ++++++++++++
#
# Each wrapper around the same model, exported as the model would be.


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated in newer releases
        return torch.jit.script(Net().eval())


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as is this kind of quantisation
        return torch.ao.quantization.quantize_dynamic(Net().eval(), {torch.nn.Linear})


class Lazy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.LazyLinear(4)

    def forward(self, x):
        return self.linear(x)


WRAPPED = {
    "torch.jit.script": scripted(),
    "torch.compile": torch.compile(Net().eval()),
    "DataParallel": torch.nn.DataParallel(Net().eval()),
    "quantize_dynamic": quantised(),
    "LazyLinear": Lazy(),
}
REFUSED = (
    torch._dynamo.exc.TorchDynamoException,
    AttributeError,
    RuntimeError,
    TypeError,
    ValueError,
)
failed = {}
for name, wrapped in WRAPPED.items():
    try:
        torch.export.export(wrapped, (x,), dynamic_shapes=shapes, strict=False)
    except REFUSED as error:
        failed[name] = str(error).strip().splitlines()[0]
    print(f"{name}: {failed.get(name, 'exported')}")
assert set(failed) == set(WRAPPED)

# %%
# The cause
# +++++++++
#
# These classes have a ``forward`` of their own. Compiled and parallel modules take
# ``*args``, so ``x`` is not the name of an argument. Scripted and quantised modules
# call code that is not Python, which the trace cannot look into. A lazy module has no
# weights yet.

for name in ("torch.compile", "DataParallel"):
    signature = inspect.signature(WRAPPED[name].forward)
    print(name, signature)
    assert "x" not in signature.parameters
print(WRAPPED["LazyLinear"].linear.weight)
assert "Uninitialized" in str(WRAPPED["LazyLinear"].linear.weight)

# %%
# The fix: the original
# +++++++++++++++++++++
#
# Compiled and parallel modules have it as an attribute, with the same weights. A lazy
# module becomes a usual one with its first call. It costs nothing and works on all
# releases of this page.

lazy = WRAPPED["LazyLinear"].eval()
lazy(x)
ORIGINALS = {
    "torch.compile": WRAPPED["torch.compile"]._orig_mod,
    "DataParallel": WRAPPED["DataParallel"].module,
    "LazyLinear": lazy,
}
programs = {}
for name, original in ORIGINALS.items():
    programs[name] = torch.export.export(
        original, (x,), dynamic_shapes=shapes, strict=False
    )
    print(name, list(programs[name].state_dict))
assert "layers.0.weight" in programs["torch.compile"].state_dict

# %%
# Where a compiled module is a *part* of the model, the export works since 2.11. Before,
# replace the part by its ``_orig_mod``.


class Outer(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) + 1


try:
    torch.export.export(
        Outer(torch.compile(Net().eval())), (x,), dynamic_shapes=shapes, strict=False
    )
except REFUSED as error:
    message = str(error).strip().splitlines()[0]
else:
    message = "exported"
print(message)
assert (message == "exported") == (RELEASE >= (2, 11)), message

# %%
# Without the original: scripted modules
# ++++++++++++++++++++++++++++++++++++++
#
# A file of ``torch.jit.save`` may be all that is left. A converter turns its graph into
# a program. It is not documented, and may change. The price: sizes are those of the
# example on 2.6, and control flow is converted only in part.

from torch._export.converter import TS2EPConverter  # noqa: E402

converted = TS2EPConverter(WRAPPED["torch.jit.script"], (x,), {}).convert()
result = converted.module()(x)
torch.testing.assert_close(result, WRAPPED["torch.jit.script"](x))
print(
    [str(node.target) for node in converted.graph.nodes if node.op == "call_function"]
)

# %%
# Quantised modules
# +++++++++++++++++
#
# The old kinds of quantisation put packed weights into the modules, objects of C++ that
# a trace cannot take. Quantised tensors fail as inputs, too:

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    q = torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)


class Dequantise(torch.nn.Module):
    def forward(self, q):
        return q.dequantize() * 2


try:
    torch.export.export(Dequantise(), (q,), strict=False)
except (NotImplementedError, RuntimeError) as error:
    message = str(error).strip().splitlines()[0]
else:
    message = "exported"
print(message)
assert message != "exported"

# %%
# Export the model in float, and quantise the program: this is what the quantisation for
# exported programs (PT2E, in torchao) does. Or keep numbers, scale and zero point as
# usual tensors, and write the arithmetic with operators. This works on all releases of
# this page; the price is a multiplication for each use of the weights.


class Int8Linear(torch.nn.Module):
    def __init__(self, linear):
        super().__init__()
        scale = linear.weight.detach().abs().amax(dim=1, keepdim=True) / 127
        numbers = (linear.weight.detach() / scale).round().to(torch.int8)
        self.register_buffer("numbers", numbers)
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x):
        return torch.nn.functional.linear(x, self.numbers * self.scale, self.bias)


int8 = Int8Linear(model.layers[0]).eval()
programs["int8"] = torch.export.export(int8, (x,), dynamic_shapes=shapes, strict=False)
print({k: v.dtype for k, v in programs["int8"].state_dict.items()})
assert programs["int8"].state_dict["numbers"].dtype == torch.int8

# %%
# Weights that are shared
# +++++++++++++++++++++++
#
# Two names for one tensor (*tied* weights) stay two names and one tensor in the module
# of the program. Since 2.9 a file breaks the tie: after loading there are two tensors,
# so changing one does not change the other. (Strict mode keeps one of the names only.)


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.embed(x))


tied = Tied().eval()
program = torch.export.export(tied, (x,), dynamic_shapes=shapes, strict=False)
file = io.BytesIO()
torch.export.save(program, file)
file.seek(0)
loaded = torch.export.load(file)
still = {}
for name, each in {"exported": program, "loaded": loaded}.items():
    weights = dict(each.module().named_parameters(remove_duplicate=False))
    still[name] = weights["embed.weight"] is weights["head.weight"]
print("tied:", still)
assert still == {"exported": True, "loaded": RELEASE < (2, 9)}

# %%
# The check
# +++++++++
#
# Every program against its original, on batches that were not traced.

ORIGINALS |= {"int8": int8, "tied": tied}
programs["tied"] = program
for name, original in ORIGINALS.items():
    exported = programs[name].module()
    for size in (1, 7, 1024):
        rows = torch.rand(size, 4)
        torch.testing.assert_close(exported(rows), original(rows))
    print(f"{name}: same results")
    try:
        exported(torch.rand(1025, 4))
    except (AssertionError, RuntimeError) as error:
        message = str(error).splitlines()[0]
    else:
        message = "This release runs it."
    assert "1024" in message, message
print(message)

# %%
# To remember
# +++++++++++
#
# * Export first, wrap later: ``_orig_mod`` and ``module`` are the originals.
# * A scripted module can be converted; a quantised one has to be made anew after the
#   export.
#
# Next: :ref:`l-plot-exporter-inputs-args-kwargs` for modules with ``*args``,
# :ref:`l-plot-exporter-after-move` for ``torch.compile`` of a program, and
# :ref:`l-plot-exporter-wrong-train-eval` for what ``eval`` has to do with it.
