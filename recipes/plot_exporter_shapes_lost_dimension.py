"""
.. _l-plot-exporter-lost_dynamic_dimension:

A dimension is lost in an argument of an operator
=================================================

No ``len``, no ``int``, no ``math``: the model gives a size to an operator of torch,
such as ``scaled_dot_product_attention(..., scale=n**-0.5)``. The export fails with
``satisfy the generated guard torch.sym_float(L['x'].size()[1]) ** (-0.5) == 0.408``.
With ``Dim.AUTO`` there is no error: the input is dynamic, and the graph holds the
number of the example.

This page shows which arguments of an operator can hold a size, how to find the lost
ones in a graph, and how to give the size to the operator in another way.

.. meta::
   :description: An argument of type float or int in the operator's schema cannot hold a
      dynamic size; put the size into a tensor instead.
   :keywords: lost dynamic dimension, scale argument, layer_norm eps,
      scaled_dot_product_attention scale, linspace steps, scale_factor, SymFloat, SymInt, Scalar argument,
      constant in graph, frozen size
"""

# %%
# The model
# +++++++++
#
# An attention whose scale depends on the number of tokens, as for long contexts.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "dynamic dimension disappears inside the exported graph"
# sphinx_gallery_wording = "number of the example size appears in the graph as a scale"
# sphinx_gallery_wording = "onnxruntime fails with another batch size, a size is frozen in the graph"

import re

import torch

Dim = torch.export.Dim
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
attention = torch.nn.functional.scaled_dot_product_attention


class Attention(torch.nn.Module):
    def forward(self, x):
        return attention(x, x, x, scale=x.shape[1] ** -0.5)


# %%
# The symptom
# +++++++++++

torch.manual_seed(0)
x = torch.rand(2, 6, 4)
named = ({0: Dim("batch"), 1: Dim("tokens", max=512)},)
try:
    torch.export.export(Attention(), (x,), dynamic_shapes=named, strict=False)
except torch._dynamo.exc.UserError as error:
    message = str(error).split("\n\nThe error above")[0]
else:
    message = "This release exports it."
print(message)
assert "Constraints violated (tokens)" in message and "== 0.408" in message

# %%
# The guard is an equation for the number of tokens that only the example solves. With
# ``AUTO`` nothing is said. The placeholder has two symbols, so the program looks
# dynamic, and the scale is the one of six tokens.

auto = ({0: Dim.AUTO, 1: Dim.AUTO},)


def placeholder(program):
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    return [str(size) for size in nodes[-1].meta["val"].shape]


program = torch.export.export(Attention(), (x,), dynamic_shapes=auto, strict=False)
(node,) = [node for node in program.graph.nodes if node.op == "call_function"]
print(placeholder(program), node.target, dict(node.kwargs))
assert not placeholder(program)[1].isdigit()
assert abs(node.kwargs["scale"] - 6**-0.5) < 1e-9

# %%
# Since 2.9 the program refuses other sizes. Up to 2.8 it computes with the wrong scale.

inputs = torch.rand(3, 7, 4)
try:
    result = program.module()(inputs)
except AssertionError as error:
    result = None
    print(error)
else:
    print("no error, as the model:", torch.allclose(result, Attention()(inputs)))
    assert not torch.allclose(result, Attention()(inputs))
assert (result is None) == (RELEASE >= (2, 9))

# %%
# The cause
# +++++++++
#
# An operator has a schema, which gives each argument a type. The C++ code behind it
# gets a value of this type. ``float`` and ``int`` are numbers and nothing else.
# ``SymInt`` is a size that may be symbolic, and ``Scalar`` is a number or a symbol.
# Here, ``scale`` is a ``float``. (Read the printed schema: the objects behind it call a
# ``SymInt`` an ``int``.)

sdpa = torch.ops.aten.scaled_dot_product_attention.default
print(sdpa._schema)
assert "float? scale=None" in str(sdpa._schema)

# %%
# So the same size is lost in one operator and kept in another. Each line below gives
# something like ``1 / n`` or ``n // 2`` to one argument, where ``n`` is the number of
# tokens.

aten, functional = torch.ops.aten, torch.nn.functional
USES = {
    "clamp max": (aten.clamp.default, lambda x, n: x.clamp(max=1 / n)),
    "full fill_value": (aten.full.default, lambda x, n: x + torch.full((1,), 1 / n)),
    "topk k": (aten.topk.default, lambda x, n: x.topk(n // 2, dim=1).values),
    "attention scale": (sdpa, lambda x, n: attention(x, x, x, scale=1 / n)),
    "layer_norm eps": (
        aten.layer_norm.default,
        lambda x, n: functional.layer_norm(x, (4,), eps=1 / n),
    ),
    "pad value": (
        aten.pad.default,
        lambda x, n: functional.pad(x, (0, 1), value=1 / n),
    ),
    "interpolate scale_factors": (
        aten.upsample_linear1d.vec,
        lambda x, n: functional.interpolate(x.mT, scale_factor=8 / n, mode="linear"),
    ),
    "unfold size": (aten.unfold.default, lambda x, n: x.unfold(1, n // 2, 1).sum(-1)),
}


def argument_type(operator, name):
    return re.search(rf"(\w+)(\[\d*\])?\?? {name}\b", str(operator._schema))[1]


class Uses(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x, x.shape[1])


# %%
# This is how to find lost sizes without knowing the model: trace it with two examples,
# and compare the numbers in the arguments of the two graphs. A number that differs came
# from the example. (The model is made anew for each example, and called once before the
# export, as one does: the reason comes below. Graphs of different lengths would be a
# finding too, and ``zip`` refuses them.)


def numbers(program):
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    return [
        (str(node.target), value)
        for node in nodes
        for value in torch.utils._pytree.tree_leaves((node.args, node.kwargs))
        if type(value) in (int, float)
    ]


def lost(make_model, sizes=(6, 11)):
    found = []
    for size in sizes:
        model, example = make_model(), torch.rand(2, size, 4)
        model(example)
        program = torch.export.export(
            model, (example,), dynamic_shapes=auto, strict=False
        )
        found.append(numbers(program))
    return [pair for pair in zip(*found, strict=True) if pair[0] != pair[1]]


for name, (operator, function) in USES.items():
    differ = lost(lambda function=function: Uses(function))
    kind = argument_type(operator, name.split()[1])
    values = ", ".join(f"{a[1]:.3g} and {b[1]:.3g}" for a, b in differ)
    print(f"{name:25} {kind:7} {values or 'no number differs'}")
    assert bool(differ) == (kind in ("float", "int"))

# %%
# The rule can be looked up without an export: an argument that is a ``float`` or an
# ``int`` takes no size. If the size itself is given to an ``int``, the equation is
# ``n == 6``, and the whole dimension turns static.

model = Uses(lambda x, n: x * torch.linspace(0, 1, n)[:, None])
program = torch.export.export(model, (x,), dynamic_shapes=auto, strict=False)
print(placeholder(program), [pair for pair in numbers(program) if "lin" in pair[0]])
assert placeholder(program)[1:] == ["6", "4"]
assert ("aten.linspace.default", 6) in numbers(program)

# %%
# The fix: a tensor in place of the argument
# ++++++++++++++++++++++++++++++++++++++++++
#
# Multiply before the operator, and give it the neutral number. Here the query is
# scaled, and the scale is one. The price is one multiplication.


class ScaledQuery(torch.nn.Module):
    def forward(self, x):
        return attention(x * x.shape[1] ** -0.5, x, x, scale=1.0)


torch.testing.assert_close(ScaledQuery()(x), Attention()(x))

# %%
# The same idea for the others: a tensor that is concatenated in place of a padding, the
# formula in place of ``eps``, ``arange``, whose arguments are of type ``Scalar``, in
# place of ``linspace``. An interpolation has ``size`` beside ``scale_factor``, and it
# is a ``SymInt``.


class Padded(torch.nn.Module):
    def forward(self, x):
        value = torch.full((), 1 / x.shape[1])
        return torch.cat([x, value.expand(x.shape[0], x.shape[1], 1)], dim=2)


class Normed(torch.nn.Module):
    def forward(self, x):
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.pow(2).mean(dim=-1, keepdim=True)
        return centred * torch.rsqrt(variance + 1 / x.shape[1])


class Ramp(torch.nn.Module):
    def forward(self, x):
        n = x.shape[1]
        return x * (torch.arange(n) / torch.full((), n - 1).clamp(min=1))[:, None]


class Resampled(torch.nn.Module):
    def forward(self, x):
        return functional.interpolate(x.mT, size=8, mode="linear")


# %%
# Where there is no such form, as for the length of ``unfold``, the size must stay
# constant: declare it static.
#
# Numbers that were never a size
# ++++++++++++++++++++++++++++++
#
# A model that stores a size on its first call, to compute something once, has a number
# from then on. Calling the model before the export, to see that it works, is a first
# call. If the number fits other sizes by broadcasting, there is no guard: a named
# dimension is exported, and the result is wrong on all releases and in both modes.


class Mean(torch.nn.Module):
    count = None

    def forward(self, x):
        if self.count is None:
            self.count = x.shape[1]
        return x.sum(dim=1) / self.count


model = Mean()
model(x)
for strict in (False, True):
    program = torch.export.export(model, (x,), dynamic_shapes=named, strict=strict)
    result, expected = program.module()(inputs), Mean()(inputs)
    print(placeholder(program), "as the model:", torch.allclose(result, expected))
    assert not placeholder(program)[1].isdigit()
    torch.testing.assert_close(result * 6, expected * 7)

# %%
# Only the comparison of two graphs shows it. This is why ``lost`` makes each model anew
# and calls it.

found = lost(Mean)
print(found)
assert found == [(("aten.div.Tensor", 6), ("aten.div.Tensor", 11))]

# %%
# The fix is to take the size where it is needed.


class FreshMean(torch.nn.Module):
    def forward(self, x):
        return x.sum(dim=1) / x.shape[1]


# %%
# The check
# +++++++++
#
# Against the models that lose the dimension, on sizes that were not traced. No graph
# has a number that comes from six tokens. All the fixes work on all releases of this
# page.

pairs = [
    (ScaledQuery, Attention()),
    (Padded, Uses(USES["pad value"][1])),
    (Normed, Uses(USES["layer_norm eps"][1])),
    (Ramp, Uses(lambda x, n: x * torch.linspace(0, 1, n)[:, None])),
    (Resampled, Uses(USES["interpolate scale_factors"][1])),
    (FreshMean, None),
]
for make_model, reference in pairs:
    program = torch.export.export(
        make_model(), (x,), dynamic_shapes=named, strict=False
    )
    exported = program.module()
    for batch, tokens in [(1, 1), (3, 7), (2, 512)]:
        inputs = torch.rand(batch, tokens, 4)
        expected = (reference or Mean())(inputs)
        torch.testing.assert_close(exported(inputs), expected)
    print(f"{make_model.__name__:12} {placeholder(program)} same results")
    assert not {5, 6, 1 / 6, 8 / 6, 6**-0.5} & {value for _, value in numbers(program)}
try:
    exported(torch.rand(2, 513, 4))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with 513 tokens."
print(message)
assert "512" in message, message

# %%
# To remember
# +++++++++++
#
# * A size in a ``float`` or ``int`` argument of an operator is lost; the printed
#   ``_schema`` gives the types.
# * Give the operator a constant, and put the size into a tensor, or into an argument of
#   type ``SymInt`` or ``Scalar``.
# * Export with two sizes and compare the numbers of the graphs: what differs is frozen.
#
# Next: :ref:`l-plot-exporter-shapes-python-int` for what Python does to a size,
# :ref:`l-plot-exporter-shapes-resize` for ``scale_factor``, and
# :ref:`l-plot-exporter-wrong-state` for models that remember their first call.
