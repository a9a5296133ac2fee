"""
.. _l-plot-exporter-ops-attention:

Make attention masks that follow the length
===========================================

``scaled_dot_product_attention(): argument 'is_causal' must be bool, not SymBool``.
Or no error at all: the exported model is right for a prompt, and wrong when it gets
one token and a cache. Masks made with ``torch.vmap`` fail with ``It looks like you're
calling .item() on a Tensor``.

This page shows what is constant in an attention node, a mask that is right for any
two lengths, and which kernel ends up in the graph.

.. meta::
   :description: Build the mask from arange and the two lengths instead of passing
      is_causal, and check one query.
   :keywords: scaled_dot_product_attention, is_causal, SymBool, attention mask, causal
      mask, vmap mask, TransformerEncoder mask, flash attention for cpu, sdpa_kernel
"""

# %%
# The model
# +++++++++
#
# This is the attention of a decoder. With a prompt there are as many queries as keys,
# and each query must see what came before it. Then the tokens come one by one: one
# query, and the keys of the whole cache. All of them are in the past, so no mask is
# needed.

# sphinx_gallery_tags = ["operators", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "exported decoder generates garbage after the first token"
# sphinx_gallery_wording = "Missing out variants: {'aten::_scaled_dot_product_flash_attention_for_cpu'}"

import torch
import torch._dynamo

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
attention = torch.nn.functional.scaled_dot_product_attention


class Decoder(torch.nn.Module):
    def forward(self, q, k, v):
        return attention(q, k, v, is_causal=q.shape[2] > 1)


def make_inputs(batch, queries, keys, heads=2):
    q = torch.randn(batch, heads, queries, 8)
    return q, torch.randn(batch, heads, keys, 8), torch.randn(batch, heads, keys, 8)


torch.manual_seed(0)
inputs = make_inputs(batch=3, queries=6, keys=6)
batch = torch.export.Dim("batch", max=64)
queries, keys = torch.export.Dim("queries", max=512), torch.export.Dim("keys", max=512)
shapes = ({0: batch, 2: queries}, {0: batch, 2: keys}, {0: batch, 2: keys})

# %%
# The symptom
# +++++++++++
#
# Non-strict mode gives the message of the operator. Strict mode, which was the default
# up to 2.7, wraps it in its own words.

try:
    torch.export.export(Decoder(), inputs, dynamic_shapes=shapes, strict=False)
except TypeError as error:
    message = str(error)
else:
    message = "This release accepts the comparison."
print("non-strict:", message)
assert "must be bool, not SymBool" in message, message

try:
    torch.export.export(Decoder(), inputs, dynamic_shapes=shapes, strict=True)
except torch._dynamo.exc.Unsupported as error:
    message = str(error)
else:
    message = "This release accepts the comparison."
print("strict:    ", message.splitlines()[0][:77])
assert "TypeError" in message, message

# %%
# The usual way out is to decide with ``if``, or to call ``bool``. There is no error
# any more, and the range of the queries includes 1.


class Decides(torch.nn.Module):
    def forward(self, q, k, v):
        if q.shape[2] > 1:
            return attention(q, k, v, is_causal=True)
        return attention(q, k, v)


program = torch.export.export(Decides(), inputs, dynamic_shapes=shapes, strict=False)
exported = program.module()
torch.testing.assert_close(exported(*inputs), Decides()(*inputs))
print(sorted(str(r) for r in program.range_constraints.values()))

one_token = make_inputs(batch=3, queries=1, keys=7)
difference = (exported(*one_token) - Decides()(*one_token)).abs().max()
print("a prompt:   same result")
print("one token:  differs by", f"{difference.item():.2f}")
assert difference > 0.1

# %%
# The cause
# +++++++++
#
# ``is_causal`` is a ``bool`` in the declaration of the operator, so the node holds the
# answer for the example inputs. A comparison of a dynamic length has no place there.

node = [n for n in program.graph.nodes if "attention" in str(n.target)][0]
print(node.target, "is_causal =", node.args[5])
argument = torch.ops.aten.scaled_dot_product_attention.default._schema.arguments[5]
print("declared as:", argument.type, argument.name)
assert node.args[5] is True and str(argument.type) == "bool"

# %%
# No guard protects the program. The exporter assumes that a dynamic length is not 0 or
# 1, so ``q.shape[2] > 1`` is true without a look at the example:
# :ref:`l-plot-exporter-shapes-zero-one`. With one query the program then does what
# ``is_causal`` says for one row: the mask is a lower triangle that begins in the `first
# column <https://github.com/pytorch/pytorch/issues/103082>`_, so the new token sees the
# oldest key only.

q, k, v = one_token
torch.testing.assert_close(exported(q, k, v), v[:, :, :1])
print(torch.ones(1, 7).tril().int())

# %%
# Change one thing: make ``is_causal`` a constant of the model. Each half of the
# decoder is exported without an error, and is right for all its inputs. Two programs
# are a fix of their own, if a runtime can hold both. See
# :ref:`l-plot-exporter-modules-method`.


class NewToken(torch.nn.Module):
    def forward(self, q, k, v):
        return attention(q, k, v, is_causal=False)


decode = torch.export.export(
    NewToken(), inputs, dynamic_shapes=shapes, strict=False
).module()
torch.testing.assert_close(decode(*one_token), Decides()(*one_token))
print("one token:  same result")

# %%
# The fix: a mask made of positions
# +++++++++++++++++++++++++++++++++
#
# The queries are the last positions of the keys. Query ``i`` stands at
# ``i + keys - queries`` and sees the keys up to there. This is one rule for a prompt,
# for one token, and for several tokens after a cache, and nothing is decided in Python.


class Masked(torch.nn.Module):
    def forward(self, q, k, v):
        queries, keys = q.shape[2], k.shape[2]
        position = torch.arange(queries, device=q.device) + (keys - queries)
        mask = torch.arange(keys, device=q.device) <= position[:, None]
        return attention(q, k, v, attn_mask=mask)


program = torch.export.export(Masked(), inputs, dynamic_shapes=shapes, strict=False)
exported = program.module()
strict = torch.export.export(Masked(), inputs, dynamic_shapes=shapes, strict=True)

# %%
# It works on all releases of this page. The price is a tensor of ``queries * keys``
# booleans in each call, and a kernel that has to read it. A mask that is cut out of a
# buffer saves the comparison, and the buffer's size becomes the upper bound of the
# length: :ref:`l-plot-exporter-shapes-slices`.
#
# The check
# +++++++++
#
# Lengths that were not traced, down to one query and one key, with and without a cache.

for size in [(1, 1, 1), (2, 1, 7), (5, 9, 9), (2, 30, 30)]:
    new_inputs = make_inputs(*size)
    torch.testing.assert_close(exported(*new_inputs), Decoder()(*new_inputs))
    torch.testing.assert_close(strict.module()(*new_inputs), Decoder()(*new_inputs))
    print("batch, queries, keys", size, "same result")

# %%
# Four tokens after a cache of three: the same rows as those of the whole prompt. Here
# ``is_causal`` is wrong without any export.

q, k, v = make_inputs(batch=2, queries=7, keys=7)
whole = attention(q, k, v, is_causal=True)
torch.testing.assert_close(exported(q[:, :, 3:], k, v), whole[:, :, 3:])
assert not torch.allclose(Decoder()(q[:, :, 3:], k, v), whole[:, :, 3:])

# %%
# The number of heads is constant, and checked.

try:
    exported(*make_inputs(2, 6, 6, heads=3))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release accepts three heads."
print(message)
assert "size()[1] == 2" in message or "to be equal to 2" in message, message

# %%
# Masks made with ``torch.vmap``
# ++++++++++++++++++++++++++++++
#
# Libraries write the rule as a function of four indices and apply ``torch.vmap`` once
# for each. If the rule reads another tensor, the padding, it indexes that tensor with
# the indices, and that is where ``item()`` is called.


def rule(padding, offset, b, h, i, j):
    return (j <= i + offset) & padding[b, j]


class WithVmap(torch.nn.Module):
    def make_mask(self, function, indices):
        for dim in (3, 2, 1, 0):
            function = torch.vmap(
                function, tuple(0 if dim == i else None for i in range(4))
            )
        return function(*indices)

    def forward(self, q, k, v, padding):
        sizes = (q.shape[0], 1, q.shape[2], k.shape[2])
        offset = k.shape[2] - q.shape[2]
        indices = [torch.arange(size) for size in sizes]
        mask = self.make_mask(lambda *ij: rule(padding, offset, *ij), indices)
        return attention(q, k, v, attn_mask=mask)


padding = torch.ones(3, 6, dtype=torch.bool)
padding[1, :2] = padding[2, :4] = False
padded_inputs, padded_shapes = (*inputs, padding), (*shapes, {0: batch, 1: keys})
others = [(*make_inputs(3, n, 6), padding) for n in (1, 4)]
others.append((*make_inputs(1, 1, 1), padding[:1, :1]))
try:
    torch.export.export(
        WithVmap(), padded_inputs, dynamic_shapes=padded_shapes, strict=False
    )
except RuntimeError as error:
    message = str(error).split(", please")[0]
else:
    message = "This release exports the mask made with vmap."
print(message)
assert ("This release" in message) == (RELEASE >= (2, 11) and RELEASE != (2, 13))

# %%
# Since 2.11 most releases export it; 2.13 does so in strict mode only. The rule needs
# no ``vmap``: it is made of operators that broadcast. Give each index a dimension of
# its own, and the four of them make the mask. The function stays as it is. This works
# on all releases, and the graph has no calls of ``vmap``'s machinery in it. More about
# ``vmap``: :ref:`l-plot-exporter-control-map`.


class Broadcast(WithVmap):
    def make_mask(self, function, indices):
        shape = [1, 1, 1, 1]
        views = []
        for dim, index in enumerate(indices):
            views.append(index.view(*shape[:dim], -1, *shape[dim + 1 :]))
        return function(*views)


program = torch.export.export(
    Broadcast(), padded_inputs, dynamic_shapes=padded_shapes, strict=False
)
for new_inputs in others:
    q, k, v, mask = new_inputs
    keys_before = torch.ones(k.shape[2], k.shape[2]).tril().bool()[-q.shape[2] :]
    expected = attention(q, k, v, attn_mask=keys_before & mask[:, None, None])
    torch.testing.assert_close(program.module()(*new_inputs), expected)
print("with padding: same results for", [tuple(i[0].shape[::2]) for i in others])

# %%
# A mask for ``torch.nn.TransformerEncoder``
# ++++++++++++++++++++++++++++++++++++++++++
#
# The encoder looks at the values of its mask to find out whether it is the causal one.
# Values are not known during an export.


class Encoder(torch.nn.Module):
    def __init__(self, is_causal):
        super().__init__()
        layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.is_causal = is_causal

    def forward(self, x):
        mask = torch.nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.encoder(x, mask=mask, is_causal=self.is_causal)


torch.manual_seed(0)
encoder, x = Encoder(None).eval(), torch.randn(3, 6, 8)
try:
    torch.export.export(
        encoder, (x,), dynamic_shapes=({0: batch, 1: queries},), strict=False
    )
except RuntimeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release knows the causal mask."
print(message)
assert "Could not guard on data-dependent expression" in message, message

# %%
# Say what the mask is: ``is_causal=True`` for this one, ``False`` for any other. A
# wrong ``True`` is not noticed. The encoder then ignores the mask.

encoder.is_causal = True
program = torch.export.export(
    encoder, (x,), dynamic_shapes=({0: batch, 1: queries},), strict=False
)
for size in [(1, 1), (2, 9), (5, 3)]:
    x = torch.randn(*size, 8)
    torch.testing.assert_close(program.module()(x), encoder(x))
    print("encoder, batch and length", size, "same result")

# %%
# Which kernel is in the graph
# ++++++++++++++++++++++++++++
#
# An exported program holds the operator and not a kernel, so the device that runs it
# chooses. :meth:`ExportedProgram.run_decompositions
# <torch.export.ExportedProgram.run_decompositions>` writes it out. What it becomes is
# up to the table and to the kernel that is chosen at that moment, on that machine.

aten = torch.ops.aten
program = torch.export.export(Masked(), inputs, dynamic_shapes=shapes, strict=False)


def kernels(program):
    names = [str(node.target) for node in program.graph.nodes]
    return [n for n in names if "attention" in n or "softmax" in n or "bmm" in n]


def table_without(operator):
    table = torch.export.default_decompositions()
    table.pop(operator, None)
    return table


flash = aten._scaled_dot_product_flash_attention_for_cpu.default
found = {
    "as exported": kernels(program),
    "default table": kernels(program.run_decompositions()),
    "flash kept": kernels(program.run_decompositions(table_without(flash))),
}
with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
    found["MATH"] = kernels(program.run_decompositions(table_without(flash)))
for name, targets in found.items():
    print(f"{name:13}", targets)
assert found["as exported"] == ["aten.scaled_dot_product_attention.default"]
assert found["flash kept"] == [str(flash)]
assert found["default table"] == found["MATH"]

# %%
# A runtime that misses ``_scaled_dot_product_flash_attention_for_cpu`` was given a
# program like the third one. Decompose under ``MATH``, or use the default table.
#
# To remember
# +++++++++++
#
# * ``is_causal`` is a constant of the program, and fits a prompt only.
# * Make the mask of positions: ``arange(keys) <= arange(queries) + keys - queries``.
# * Always check one query, and one query with a cache.
#
# Next: :ref:`l-plot-exporter-shapes-zero-one`, :ref:`l-plot-exporter-data-guard` for
# other decisions about values, and :ref:`l-plot-exporter-models-tiny-llm`.
