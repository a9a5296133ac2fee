"""
.. _l-plot-exporter-modules-wrapped:

Scripted, compiled, parallel and quantised modules
==================================================

The model was made ready for something else, and the export fails: ``Exporting a
ScriptModule is not supported``, ``quantized nyi in meta tensors``, ``does not have a
field with name '__obj_flatten__'``, ``Detected that you are using FX to torch.jit.trace
a dynamo-optimized function``, or, for a compiled or parallel model, ``When
`dynamic_shapes` is specified as a dict, its top-level keys must be the arg names
['args']``.

This page says for each wrapper where the original is, and what to do without it. At its
end it shows what becomes of weights that are shared.

.. meta::
   :description: Export the original: model.module, compiled._orig_mod, or the class
      before torch.jit.script; quantise after the export.
   :keywords: ScriptModule, TS2EPConverter, DataParallel, torch.compile, _orig_mod,
      OptimizedModule, quantize_dynamic, LazyLinear, tied weights, quantized tensors,
      dynamo-optimized function
"""

# %%
# The model
# +++++++++

# sphinx_gallery_tags = ["modules", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "inputs[0] is a <class 'tuple'>, but dynamic_shapes[0] is a <class 'dict'> for a compiled module"
# sphinx_gallery_wording = "Fake tensor propagation exception: Encountered exception (quantized nyi in meta tensors)"
# sphinx_gallery_wording = "torch.onnx.export of a model that was compiled with torch.compile"
# sphinx_gallery_wording = "tied weights are not tied any more after torch.export.load"

import inspect
import io
import re
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
REFUSED = (torch._dynamo.exc.UserError, AttributeError, ValueError)
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
# weights yet, as its message says.

for name in ("torch.compile", "DataParallel"):
    signature = inspect.signature(WRAPPED[name].forward)
    print(name, signature)
    assert "x" not in signature.parameters

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
# The old exporter to ONNX (``dynamo=False``) and ``torch.jit.trace`` refuse a compiled
# module with a message of their own, and the fix is the same.

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch.jit is deprecated in newer releases
    torch.jit.trace(WRAPPED["torch.compile"]._orig_mod, (x,))
    try:
        torch.jit.trace(WRAPPED["torch.compile"], (x,))
    except RuntimeError as error:
        message = str(error)
    else:
        message = "traced"
print(message)
assert "torch.jit.trace a dynamo-optimized function" in message, message

# %%
# A compiled part
# +++++++++++++++
#
# Where a compiled module is a *part* of the model, non-strict mode exports it since
# 2.11: it then `ignores the compilation
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_dynamo/eval_frame.py#L1114>`_
# (`issue 171674 <https://github.com/pytorch/pytorch/issues/171674>`_).


class Outer(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) + 1


outer = Outer(torch.compile(Net().eval()))
try:
    torch.export.export(outer, (x,), dynamic_shapes=shapes, strict=False)
except (RuntimeError, torch._dynamo.exc.BackendCompilerFailed) as error:
    message = re.sub(r" \(<.*?>\)", " ...", str(error).split("\n\n")[0])
else:
    message = "exported"
print(message)
assert (message == "exported") == (RELEASE >= (2, 11)), message

# %%
# Strict mode exports it on all releases of this page, compiled functions too, with
# ``_orig_mod`` in the names. Or put the original in the place of each compiled part,
# which gives the names that the model had before.

options = {"dynamic_shapes": shapes}
programs["strict"] = torch.export.export(outer, (x,), strict=True, **options)
print(list(programs["strict"].state_dict))
for part in list(outer.modules()):
    for name, child in list(part.named_children()):
        if isinstance(child, torch._dynamo.OptimizedModule):
            setattr(part, name, child._orig_mod)
programs["parts"] = torch.export.export(outer, (x,), strict=False, **options)
print(list(programs["parts"].state_dict))
assert "inner._orig_mod.layers.0.weight" in programs["strict"].state_dict
assert "inner.layers.0.weight" in programs["parts"].state_dict
ORIGINALS |= {"strict": outer, "parts": outer}

# %%
# Without the original: scripted modules
# ++++++++++++++++++++++++++++++++++++++
#
# A file of ``torch.jit.save`` may be all that is left. A converter turns its graph into
# a program. It is not documented, and may change. It takes no ``dynamic_shapes``: sizes
# that nothing fixes are dynamic, except on 2.6, where they are those of the example.

from torch._export.converter import TS2EPConverter  # noqa: E402

script = WRAPPED["torch.jit.script"]
converted = TS2EPConverter(script, (x,), {}).convert()
print([str(n.target) for n in converted.graph.nodes if n.op == "call_function"])
print("dynamic sizes:", list(converted.range_constraints.values()))
assert bool(converted.range_constraints) == (RELEASE >= (2, 7))
for size in (2, 7, 1024) if RELEASE >= (2, 7) else (3,):
    rows = torch.rand(size, 4)
    torch.testing.assert_close(converted.module()(rows), script(rows))

# %%
# Quantised modules
# +++++++++++++++++
#
# The old kinds of quantisation put packed weights into the modules, objects of C++ that
# a trace cannot take. Quantised tensors fail as inputs and buffers, too: the trace runs
# with `fake tensors, which have no quantised kinds
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_subclasses/fake_tensor.py#L482>`_.

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer releases deprecate quantised tensors
    q = torch.quantize_per_tensor(x, 0.01, -100, torch.qint8)


class Dequantise(torch.nn.Module):
    def forward(self, q):
        return q.dequantize() * 2


try:
    torch.export.export(Dequantise(), (q,), strict=False)
except torch._subclasses.fake_tensor.UnsupportedFakeTensorException as error:
    message = str(error).strip().splitlines()[0]
else:
    message = "exported"
print(message)
assert message == "quantized nyi in meta tensors", message

# %%
# Export the model in float, and quantise the program: this is what the quantisation for
# exported programs (PT2E, in torchao) does. Or keep numbers, scale and zero point as
# usual tensors, and write the arithmetic with operators. This works on all releases of
# this page, for weights and for inputs; the price is a multiplication for each use.


class DequantiseNumbers(torch.nn.Module):
    def forward(self, numbers, scale, zero_point):
        return (numbers.float() - zero_point) * scale * 2


numbers = (q.int_repr(), torch.tensor(q.q_scale()), torch.tensor(q.q_zero_point()))
program = torch.export.export(DequantiseNumbers(), numbers, strict=False)
torch.testing.assert_close(program.module()(*numbers), Dequantise()(q))

# %%
# The same for the weights of a layer:


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
# Two names for one tensor (*tied* weights) stay two names and one parameter in the
# module of the program. Since 2.9 this ends with a file: a loaded program has two
# parameters. Their memory is still shared, so in-place changes reach both. An optimiser
# sees two, and a copy or another dtype makes two of them for good.


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


def load():
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 2.9 to 2.12 warn of a read-only buffer
        return torch.export.load(file).module()


still, loaded = {}, load()
for name, module in {"exported": program.module(), "loaded": loaded}.items():
    still[name] = module.embed.weight is module.head.weight
    print(f"{name}: tied {still[name]}, {len(list(module.parameters()))} parameters")
    assert module.embed.weight.data_ptr() == module.head.weight.data_ptr()
assert still == {"exported": True, "loaded": RELEASE < (2, 9)}

# %%
# What a change of the dtype does, and the fix: tie them again, before anything else.

again, follows = load(), []
again.head.weight = again.embed.weight
for each in (loaded.double(), again.double()):
    with torch.no_grad():
        each.embed.weight.fill_(1)
    follows.append(bool((each.head.weight == 1).all()))
print("head follows embed: as loaded", follows[0], "- tied again", follows[1])
assert follows == [RELEASE < (2, 9), True]

# %%
# The check
# +++++++++
#
# Every program against its original, on batches that were not traced.

ORIGINALS, programs["tied"] = ORIGINALS | {"int8": int8, "tied": tied}, program
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
# * Tie shared weights again after :func:`torch.export.load`.
#
# Next: :ref:`l-plot-exporter-inputs-args-kwargs` for modules with ``*args``,
# :ref:`l-plot-exporter-after-move` for ``torch.compile`` of a program, and
# :ref:`l-plot-exporter-wrong-train-eval` for what ``eval`` has to do with it.
