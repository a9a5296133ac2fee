"""
.. _l-plot-exporter-lost_dynamic_dimension:

A dimension is lost in an argument of an operator
=================================================

No ``len``, no ``int``, no ``math``: the model gives a size to an operator of torch,
such as ``scaled_dot_product_attention(..., scale=n**-0.5)``. The export fails with
``satisfy the generated guard torch.sym_float(L['x'].size()[1]) ** (-0.5) == 0.408``.
With ``Dim.AUTO`` there is no error: the input is dynamic, and the graph holds the
number of the example.

This page shows which arguments of an operator can hold a size, how to look it up, and
how to give the size to the operator in another way.

.. meta::
   :description: An argument of type float or int in the operator's schema cannot hold a
      dynamic size; put the size into a tensor that is multiplied instead.
   :keywords: lost dynamic dimension, scale argument, scaled_dot_product_attention scale,
      layer_norm eps, pad value, SymFloat, schema, Scalar argument, constant in graph
"""

# %%
# The model
# +++++++++
#
# An attention whose scale depends on the number of tokens, as for long contexts.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "dynamic dimension disappears inside the exported graph"
# sphinx_gallery_wording = "number of the example size appears in the graph as a scale"

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
    return [str(size) for size in nodes[0].meta["val"].shape]


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
# Here, ``scale`` is a ``float``.


def argument_type(operator, name):
    (found,) = [arg for arg in operator._schema.arguments if arg.name == name]
    return str(found.type).replace("Optional[", "").rstrip("]")


sdpa = torch.ops.aten.scaled_dot_product_attention.default
print(sdpa._schema)
assert argument_type(sdpa, "scale") == "float"

# %%
# So the same size is lost in one operator and kept in another. Each line gives ``1 /
# n`` to one argument, and the table compares the type in the schema with what happened.
# ``n`` is the number of tokens.

aten = torch.ops.aten
USES = {
    "clamp(max=)": (aten.clamp.default, "max", lambda x, n: x.clamp(max=1 / n)),
    "leaky_relu(slope)": (
        aten.leaky_relu.default,
        "negative_slope",
        lambda x, n: torch.nn.functional.leaky_relu(x - 1, 1 / n),
    ),
    "pow(exponent)": (aten.pow.Tensor_Scalar, "exponent", lambda x, n: x ** (1 / n)),
    "full(value)": (
        aten.full.default,
        "fill_value",
        lambda x, n: x + torch.full((1,), 1 / n),
    ),
    "layer_norm(eps=)": (
        aten.layer_norm.default,
        "eps",
        lambda x, n: torch.nn.functional.layer_norm(x, (4,), eps=1 / n),
    ),
    "dropout(p)": (
        aten.dropout.default,
        "p",
        lambda x, n: torch.nn.functional.dropout(x, 1 / n, training=False),
    ),
    "pad(value=)": (
        aten.pad.default,
        "value",
        lambda x, n: torch.nn.functional.pad(x, (0, 1), value=1 / n),
    ),
    "attention(scale=)": (sdpa, "scale", lambda x, n: attention(x, x, x, scale=1 / n)),
}


class Uses(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x, x.shape[1])


for name, (operator, argument, function) in USES.items():
    model = Uses(function)
    program = torch.export.export(model, (x,), dynamic_shapes=auto, strict=False)
    numbers = [a for n in program.graph.nodes for a in (*n.args, *n.kwargs.values())]
    frozen = 1 / 6 in [a for a in numbers if isinstance(a, float)]
    kind = argument_type(operator, argument)
    print(f"{name:18} {kind:8} {'1 / 6 in the graph' if frozen else 'a symbol'}")
    assert frozen == (kind == "float")

# %%
# (Python calls the type ``Scalar`` of the schema ``number``.) So the rule can be looked
# up, without an export: an argument that is a ``float`` or an ``int`` takes no size.
#
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
# The same idea for the others: ``where`` in place of a fill value, a tensor that is
# concatenated in place of a padding, and the formula in place of ``eps``.


class Padded(torch.nn.Module):
    def forward(self, x):
        value = torch.full((), 1 / x.shape[1])
        return torch.cat([x, value.expand(x.shape[0], x.shape[1], 1)], dim=2)


class Normed(torch.nn.Module):
    def forward(self, x):
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.pow(2).mean(dim=-1, keepdim=True)
        return centred * torch.rsqrt(variance + 1 / x.shape[1])


# %%
# The check
# +++++++++
#
# Against the models that lose the dimension, on sizes that were not traced. All three
# work on all releases of this page.

pairs = [
    (ScaledQuery(), Attention()),
    (Padded(), Uses(USES["pad(value=)"][2])),
    (Normed(), Uses(USES["layer_norm(eps=)"][2])),
]
for model, reference in pairs:
    program = torch.export.export(model, (x,), dynamic_shapes=named, strict=False)
    exported = program.module()
    for batch, tokens in [(1, 2), (3, 7), (2, 512)]:
        inputs = torch.rand(batch, tokens, 4)
        torch.testing.assert_close(exported(inputs), reference(inputs))
    print(f"{type(model).__name__:12} {placeholder(program)} same results")
try:
    exported(torch.rand(2, 513, 4))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with 513 tokens."
print(message)
assert "512" in message, message

# %%
# Numbers that were never a size
# ++++++++++++++++++++++++++++++
#
# A number that the model computed earlier, in ``__init__`` or on another call, is a
# number from the beginning. If it fits other sizes by broadcasting, no guard appears,
# the dimension is dynamic, and the result is wrong. The number of the example in the
# arguments of the graph is the trace of it.


class Mean(torch.nn.Module):
    count = 6

    def forward(self, x):
        return x.sum(dim=1) / self.count


def numbers(program):
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    return [(str(n.target), a) for n in nodes for a in n.args if a in (6, 1 / 6)]


program = torch.export.export(Mean(), (x,), dynamic_shapes=named, strict=False)
print(placeholder(program), numbers(program))
assert not placeholder(program)[1].isdigit()
assert numbers(program) == [("aten.div.Tensor", 6)]

# %%
# To trace with sizes that do not appear in the model otherwise, such as 17 or 23, makes
# this search easy.
#
# To remember
# +++++++++++
#
# * A size in a ``float`` or ``int`` argument of an operator is lost; ``_schema`` gives
#   the types.
# * Multiply with a tensor, and give the operator a constant.
# * Search the graph for the numbers of the example.
#
# Next: :ref:`l-plot-exporter-shapes-python-int` for what Python does to a size,
# :ref:`l-plot-exporter-shapes-resize` for ``scale_factor``, and
# :ref:`l-plot-exporter-wrong-constants` for other numbers that are frozen.
