"""
.. _l-plot-exporter-ops-attention:

"is_causal must be bool, not SymBool": pass a mask
==================================================

.. answer::
   :cost: A mask of queries x keys at each call; flash kernels on a GPU take none.

   ``is_causal`` is one ``bool`` in the exported program and cannot depend on a dynamic
   length. ``bool(...)`` or an ``if`` freezes it: the program is then silently wrong for
   one token with a cache. Build a mask from positions.

   .. code-block:: diff

      -        return attend(q, k, v, is_causal=q.shape[2] > 1)
      +        queries, keys = q.shape[2], k.shape[2]
      +        position = torch.arange(queries, device=q.device) + (keys - queries)
      +        mask = torch.arange(keys, device=q.device) <= position[:, None]
      +        return attend(q, k, v, attn_mask=mask)

   Not your case?

   * ONNX, "only 4D query, key, and value": :ref:`l-plot-exporter-onnx-missing-op`.
   * A flash kernel is missing: :ref:`l-plot-exporter-ops-decompositions`.
   * A mask made with ``torch.vmap``, ``TransformerEncoder``: see *Other fixes*.

.. meta::
   :keywords: scaled_dot_product_attention, is_causal, SymBool, attention mask, causal
      mask, vmap mask, TransformerEncoder mask, flash attention for cpu, sdpa_kernel,
      garbage after the first token, vmap over calling .item()
"""

# %%
# The problem
# +++++++++++
#
# A prompt has as many queries as keys; each query sees what came before it. After that
# there is one query per call, and the keys of the whole cache, all in the past.

# sphinx_gallery_tags = ["operators", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "exported decoder generates garbage after the first token"
# sphinx_gallery_wording = "Missing out variants: {'aten::_scaled_dot_product_flash_attention_for_cpu'}"
# sphinx_gallery_wording = "NYI: querying is_contiguous inside of vmap for memory_format other than torch.contiguous_format"

import torch

attend = torch.nn.functional.scaled_dot_product_attention


class Decoder(torch.nn.Module):
    def forward(self, q, k, v):
        return attend(q, k, v, is_causal=q.shape[2] > 1)


def make_inputs(batch, queries, keys, heads=2):
    q = torch.randn(batch, heads, queries, 8)
    return q, torch.randn(batch, heads, keys, 8), torch.randn(batch, heads, keys, 8)


torch.manual_seed(0)
inputs = make_inputs(batch=3, queries=6, keys=6)
batch = torch.export.Dim("batch", max=64)
queries, keys = torch.export.Dim("queries", max=512), torch.export.Dim("keys", max=512)
shapes = ({0: batch, 2: queries}, {0: batch, 2: keys}, {0: batch, 2: keys})
try:
    torch.export.export(Decoder(), inputs, dynamic_shapes=shapes, strict=False)
except TypeError as error:
    print(error)

# %%
# With an ``if`` the error is gone: right for a prompt, wrong for one token.


class DecoderIf(torch.nn.Module):
    def forward(self, q, k, v):
        if q.shape[2] > 1:
            return attend(q, k, v, is_causal=True)
        return attend(q, k, v)


frozen = torch.export.export(DecoderIf(), inputs, dynamic_shapes=shapes, strict=False)
torch.testing.assert_close(frozen.module()(*inputs), Decoder()(*inputs))
token = make_inputs(batch=3, queries=1, keys=7)
difference = (frozen.module()(*token) - Decoder()(*token)).abs().max()
print(f"one token: largest difference {difference.item():.2f}")
assert difference > 0.1

# %%
# The fix
# +++++++
#
# The queries are the last positions of the keys: a prompt, one token, or several after
# a cache.


class MaskedDecoder(torch.nn.Module):
    def forward(self, q, k, v):
        queries, keys = q.shape[2], k.shape[2]
        position = torch.arange(queries, device=q.device) + (keys - queries)
        mask = torch.arange(keys, device=q.device) <= position[:, None]
        return attend(q, k, v, attn_mask=mask)


program = torch.export.export(
    MaskedDecoder(), inputs, dynamic_shapes=shapes, strict=False
)

# %%
# Why it happens
# ++++++++++++++
#
# The operator takes a ``bool``: the node holds the answer for the example, ``True``.

for node in frozen.graph.nodes:
    if node.op == "call_function" and "attention" in node.name:
        print(node.target._schema.arguments[5].type, node.args[5])

# %%
# No guard rejects one token: the exporter assumes that a dynamic length is neither 0
# nor 1 (:ref:`l-plot-exporter-shapes-zero-one`). The causal mask begins `in the first
# column <https://github.com/pytorch/pytorch/issues/103082>`_, so the new token sees the
# oldest key only:

q, k, v = token
torch.testing.assert_close(frozen.module()(q, k, v), v[:, :, :1])

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your case
#      - Write
#      - Cost
#    * - prompt and token are separate calls
#      - two programs, ``is_causal=True`` and ``is_causal=False``:
#        :ref:`l-plot-exporter-modules-method`
#      - two files; no tokens after a cache in the first
#    * - the same mask at each call
#      - cut it out of a buffer: :ref:`l-plot-exporter-shapes-slices`
#      - its size bounds the length
#    * - a mask made with ``torch.vmap``
#      - indices that broadcast (``PaddedDecoder``)
#      - none
#    * - ``torch.nn.TransformerEncoder``
#      - ``is_causal=False`` beside the mask
#      - no kernel for causal masks
#
# **Masks made with torch.vmap.** Libraries apply it once per index to a rule. If the
# rule reads the padding, many releases raise. Call it with indices that broadcast.


def rule(padding, offset, b, h, i, j):
    return (j <= i + offset) & padding[b, j]


class VmapDecoder(torch.nn.Module):
    def forward(self, q, k, v, padding):
        queries, keys = q.shape[2], k.shape[2]
        function = rule
        for dim in (3, 2, 1, 0):
            in_dims = [0 if n == dim else None for n in range(4)]
            function = torch.vmap(function, (None, None, *in_dims))
        b, h = torch.arange(q.shape[0]), torch.arange(1)
        i, j = torch.arange(queries), torch.arange(keys)
        mask = function(padding, keys - queries, b, h, i, j)
        return attend(q, k, v, attn_mask=mask)


class PaddedDecoder(torch.nn.Module):
    def forward(self, q, k, v, padding):
        queries, keys = q.shape[2], k.shape[2]
        b = torch.arange(q.shape[0]).view(-1, 1, 1, 1)
        h = torch.arange(1).view(1, -1, 1, 1)
        i = torch.arange(queries).view(1, 1, -1, 1)
        j = torch.arange(keys).view(1, 1, 1, -1)
        mask = rule(padding, keys - queries, b, h, i, j)
        return attend(q, k, v, attn_mask=mask)


padding = torch.ones(3, 6, dtype=torch.bool)
padding[1, :2] = padding[2, :4] = False
padded_inputs, padded_shapes = (*inputs, padding), (*shapes, {0: batch, 1: keys})
try:
    torch.export.export(
        VmapDecoder(), padded_inputs, dynamic_shapes=padded_shapes, strict=False
    )
except RuntimeError as error:
    print(error)
padded = torch.export.export(
    PaddedDecoder(), padded_inputs, dynamic_shapes=padded_shapes, strict=False
)

# %%
# **TransformerEncoder** `compares the values of its mask
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/nn/modules/transformer.py#L1245>`_
# with the causal one, unless you say what it is. ``False`` is right for any mask; a
# wrong ``True`` is not noticed.


class Encoder(torch.nn.Module):
    def __init__(self, is_causal=None):
        super().__init__()
        layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.is_causal = is_causal

    def forward(self, x):
        mask = torch.nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.encoder(x, mask=mask, is_causal=self.is_causal)


original, x = Encoder().eval(), torch.randn(3, 6, 8)
told = Encoder(is_causal=False).eval()
told.load_state_dict(original.state_dict())
x_shapes = ({0: batch, 1: queries},)
try:
    torch.export.export(original, (x,), dynamic_shapes=x_shapes, strict=False)
except RuntimeError as error:
    print(str(error).splitlines()[0])
encoder = torch.export.export(told, (x,), dynamic_shapes=x_shapes, strict=False)

# %%
# Check
# +++++
#
# Against the original models, down to one query and one key; tokens after a cache
# against the last rows of the whole prompt.

decoder = program.module()
for size in [(1, 1, 1), (2, 1, 7), (5, 9, 9), (64, 1, 512)]:
    q, k, v = make_inputs(*size)
    torch.testing.assert_close(decoder(q, k, v), Decoder()(q, k, v))
q, k, v = make_inputs(batch=2, queries=7, keys=7)
whole = attend(q, k, v, is_causal=True)
for past in (1, 3, 6):
    torch.testing.assert_close(decoder(q[:, :, past:], k, v), whole[:, :, past:])
for length in (1, 4, 6):
    q, k, v = make_inputs(3, length, 6)
    result = padded.module()(q, k, v, padding)
    before = torch.ones(6, 6, dtype=torch.bool).tril()[-length:]
    expected = attend(q, k, v, attn_mask=before & padding[:, None, None])
    torch.testing.assert_close(result, expected)
    alone = attend(q[2:, :, -1:], k[2:, :, 4:], v[2:, :, 4:])
    torch.testing.assert_close(result[2:, :, -1:], alone)
for size in [(1, 1), (2, 9), (5, 3)]:
    x = torch.randn(*size, 8)
    torch.testing.assert_close(encoder.module()(x), original(x))
try:
    decoder(*make_inputs(2, 6, 6, heads=3))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Build the mask from positions; ``is_causal`` is a constant, and for a prompt only.
# * Always check one query with a cache.
# * Next: :ref:`l-plot-exporter-models-tiny-llm`, :ref:`l-plot-exporter-data-lengths`,
#   :ref:`l-plot-exporter-onnx-missing-op`, :ref:`l-plot-exporter-ops-flex-attention`.
