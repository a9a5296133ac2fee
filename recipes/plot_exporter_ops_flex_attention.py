"""
.. _l-plot-exporter-ops-flex-attention:

Replace flex_attention to save a program or convert it
======================================================

.. answer::
   :cost: A bias of queries x keys at each call; blocks are no longer skipped.

   A program with ``flex_attention`` can be neither saved nor converted to ONNX, and
   older releases do not export it. Call the same function on indices that broadcast:
   the result is a bias for ``scaled_dot_product_attention``.

   .. code-block:: diff

      -        return flex_attention(q, k, v, score_mod=slope)
      +        h = torch.arange(q.shape[1], device=q.device).view(-1, 1, 1)
      +        i = torch.arange(q.shape[2], device=q.device).view(-1, 1)
      +        j = torch.arange(k.shape[2], device=q.device)
      +        bias = slope(q.new_zeros(()), 0, h, i, j)
      +        return attend(q, k, v, attn_mask=bias)

   Not your case?

   * ``score_mod`` does more than add, or a ``BlockMask``: see *Other fixes*.
   * ``is_causal must be bool, not SymBool``: :ref:`l-plot-exporter-ops-attention`.
   * Another node cannot be saved: :ref:`l-plot-exporter-after-save-load`.

.. meta::
   :keywords: flex_attention, FlexAttention, score_mod, mask_mod, BlockMask,
      create_block_mask, attention bias, ALiBi, soft cap, SerializeError flex_attention,
      lazy_load_decompositions, is_contiguous inside of vmap
"""

# %%
# The problem
# +++++++++++
#
# Keys that are far away count less, by head.

# sphinx_gallery_tags = ["operators", "export fails", "conversion fails", "run fails", "wrong without an error"]
# sphinx_gallery_wording = "NYI: querying is_contiguous inside of vmap for memory_format other than torch.contiguous_format"
# sphinx_gallery_wording = "No ONNX function found for <torch._higher_order_ops.flex_attention.FlexAttentionHOP object>"
# sphinx_gallery_wording = "SerializeError: Failed serializing node lazy_load_decompositions in graph"
# sphinx_gallery_wording = "SerializeError: Failed serializing node flex_attention in graph: Unsupported list/tuple argument type"
# sphinx_gallery_wording = "Unsupported input type <class 'torch.nn.attention.flex_attention.BlockMask'>"

import io

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

attend = torch.nn.functional.scaled_dot_product_attention


def slope(score, b, h, i, j):
    return score - (i - j).abs() * 0.5 ** (h + 1)


class Flex(torch.nn.Module):
    def forward(self, q, k, v):
        return flex_attention(q, k, v, score_mod=slope)


def make_inputs(batch, queries, keys):
    q = torch.randn(batch, 2, queries, 16)
    return q, torch.randn(batch, 2, keys, 16), torch.randn(batch, 2, keys, 16)


torch.manual_seed(0)
inputs = make_inputs(3, 20, 20)
batch = torch.export.Dim("batch", max=64)
queries, keys = torch.export.Dim("queries", max=512), torch.export.Dim("keys", max=512)
shapes = ({0: batch, 2: queries}, {0: batch, 2: keys}, {0: batch, 2: keys})
samples = [
    make_inputs(*size) for size in [(1, 1, 1), (2, 1, 7), (5, 9, 9), (2, 40, 300)]
]
expected = [Flex()(*sample) for sample in samples]  # for the check

try:
    flex = torch.export.export(Flex(), inputs, dynamic_shapes=shapes, strict=False)
    torch.export.save(flex, io.BytesIO())
except (RuntimeError, AssertionError) as error:  # SerializeError is the former
    print(f"{type(error).__name__}: {error}".splitlines()[0])

# %%
# The fix
# +++++++
#
# ``slope`` does not change. It gets zero for the score, and 0 for ``b``, since it does
# not depend on the batch.


class Biased(torch.nn.Module):
    def forward(self, q, k, v):
        h = torch.arange(q.shape[1], device=q.device).view(-1, 1, 1)
        i = torch.arange(q.shape[2], device=q.device).view(-1, 1)
        j = torch.arange(k.shape[2], device=q.device)
        bias = slope(q.new_zeros(()), 0, h, i, j)
        return attend(q, k, v, attn_mask=bias)


program = torch.export.export(Biased(), inputs, dynamic_shapes=shapes, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# ``flex_attention`` is one node, whose arguments are a graph and a tuple that mixes
# numbers, tensors and a graph. The file format has `lists of one type
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/serde/serialize.py#L1557>`_,
# and ONNX no such operator
# (`issue 152128 <https://github.com/pytorch/pytorch/issues/152128>`_). In PyTorch 2.6
# and 2.7 the ``vmap`` that builds its default mask fails (`issue 140849
# <https://github.com/pytorch/pytorch/issues/140849>`_), in 2.8 an assertion without a
# text. The new program has ordinary operators only:

print({n.target.__name__ for n in program.graph.nodes if "attention" in n.name})
file = io.BytesIO()
torch.export.save(program, file)
loaded = torch.export.load(io.BytesIO(file.getvalue())).module()
onnx_program = torch.onnx.export(program, dynamo=True, verbose=False)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your model
#      - Write
#      - Cost
#    * - ``block_mask`` from a ``mask_mod``
#      - the ``mask_mod`` on the indices, as a Boolean mask (``Masked``)
#      - no block is skipped
#    * - ``mask_mod`` reads ``ids[b, i]``
#      - ``b = torch.arange(q.shape[0]).view(-1, 1, 1, 1)``
#      - a mask for each batch
#    * - ``score_mod`` multiplies, or is ``tanh``
#      - the scores in plain operators (``Capped``)
#      - no fused kernel
#    * - ``enable_gqa=True``
#      - the same argument of ``scaled_dot_product_attention``
#      - none
#    * - the program only runs in Python
#      - keep ``flex_attention``
#      - no file; a ``BlockMask`` limits the lengths
#
# A ``BlockMask`` is no input (``Unsupported input type``). Made in ``forward``, it
# limits the length to one block of 128 if the example fits into one:


def window(b, h, i, j):
    return (j <= i) & (i - j < 8)


class Blocks(torch.nn.Module):
    def forward(self, q, k, v):
        length = q.shape[2]
        mask = create_block_mask(window, None, None, length, length, device=q.device)
        return flex_attention(q, k, v, block_mask=mask)


class Masked(torch.nn.Module):
    def forward(self, q, k, v):
        i = torch.arange(q.shape[2], device=q.device).view(-1, 1)
        j = torch.arange(k.shape[2], device=q.device)
        return attend(q, k, v, attn_mask=window(0, 0, i, j))


same = ({0: batch, 2: keys}, {0: batch, 2: keys}, {0: batch, 2: keys})
try:
    torch.export.export(Blocks(), inputs, dynamic_shapes=same, strict=False)
except (RuntimeError, torch._dynamo.exc.UserError) as error:
    print(str(error).split("\n\n")[0])
masked = torch.export.export(Masked(), inputs, dynamic_shapes=shapes, strict=False)

# %%
# A soft cap added as a bias is ``tanh(0)``: it does nothing, silently. Apply it to the
# scores:


def soft_cap(score, b, h, i, j):
    return torch.tanh(score / 2) * 2


class Capped(torch.nn.Module):
    def forward(self, q, k, v):
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        return soft_cap(scores, 0, 0, 0, 0).softmax(dim=-1) @ v


assert soft_cap(torch.zeros(()), 0, 0, 0, 0) == 0
assert not torch.allclose(Capped()(*inputs), attend(*inputs), atol=0.01)
capped = torch.export.export(Capped(), inputs, dynamic_shapes=shapes, strict=False)

# %%
# Check
# +++++
#
# Against ``flex_attention`` in eager mode, and against loops over single scores, at
# sizes that were not traced.


def by_hand(q, k, v, score_mod, mask_mod=lambda b, h, i, j: True):
    result = torch.zeros_like(q)
    for b, h, i in torch.cartesian_prod(*map(torch.arange, q.shape[:3])).tolist():
        js = [j for j in range(k.shape[2]) if mask_mod(b, h, i, j)]
        scores = [
            score_mod(q[b, h, i] @ k[b, h, j] / 4, b, h, torch.tensor(i), j) for j in js
        ]
        result[b, h, i] = torch.stack(scores).softmax(0) @ v[b, h, js]
    return result


for sample, result in zip(samples, expected):
    torch.testing.assert_close(loaded(*sample), result)
    (in_onnxruntime,) = onnx_program(*sample)
    torch.testing.assert_close(in_onnxruntime, result, rtol=1e-4, atol=1e-5)
for size in [(1, 1, 1), (2, 3, 7), (4, 11, 11)]:
    sample = make_inputs(*size)
    torch.testing.assert_close(loaded(*sample), by_hand(*sample, slope))
    torch.testing.assert_close(capped.module()(*sample), by_hand(*sample, soft_cap))
    same_score = by_hand(*sample, lambda score, *index: score, window)
    torch.testing.assert_close(masked.module()(*sample), same_score)
try:
    loaded(*make_inputs(65, 4, 4))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Call ``score_mod`` or ``mask_mod`` on indices that broadcast, and pass the result as
#   ``attn_mask``. A bias replaces only what is added to the score.
# * Next: :ref:`l-plot-exporter-ops-attention` for one token with a cache,
#   :ref:`l-plot-exporter-onnx-missing-op`.
