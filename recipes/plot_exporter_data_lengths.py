"""
.. _l-plot-exporter-data-lengths:

Replace split(lengths.tolist()) with segment numbers
====================================================

.. answer::
   :cost: A reduction such as ``index_add`` replaces the loop.

   ``tolist()`` makes a Python list, so the number of texts is a constant. Give each
   token the number of its text, and add up by number.

   .. code-block:: diff

      -        parts = tokens.split(lengths.tolist())
      -        return torch.stack([part.mean(dim=0) for part in parts])
      +        texts = torch.arange(lengths.shape[0])
      +        number = texts.repeat_interleave(lengths, output_size=tokens.shape[0])
      +        sums = tokens.new_zeros(lengths.shape[0], tokens.shape[1])
      +        return sums.index_add(0, number, tokens) / lengths[:, None]

   Not your case?

   * One number, ``int(lengths.max())`` or ``x[:n]``: :ref:`l-plot-exporter-data-item`.
   * ``pack_padded_sequence``: :ref:`l-plot-exporter-ops-recurrent`.
   * The size of ``x[mask]`` or ``nonzero``: :ref:`l-plot-exporter-data-mask`.

.. meta::
   :keywords: tolist, split by lengths, tensor_split, ragged, packed sequence, nested
      tensor, nested_tensor_from_jagged, cu_seqlens, image_grid_thw, durations,
      repeat_interleave, output_size, variable length batch, Constraints violated
"""

# %%
# The problem
# +++++++++++
#
# Texts are packed one after the other, and averaged one by one.

# sphinx_gallery_tags = ["data-dependent values", "export fails", "turns static"]
# sphinx_gallery_wording = "Could not guard on data-dependent expression u0 < 0 in torch.tensor_split"

import torch
from torch.export import Dim
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode


class Split(torch.nn.Module):
    def forward(self, tokens, lengths):
        parts = tokens.split(lengths.tolist())
        return torch.stack([part.mean(dim=0) for part in parts])


torch.manual_seed(0)
tokens, lengths = torch.rand(9, 4), torch.tensor([2, 4, 3])
shapes = ({0: Dim("tokens", max=512)}, {0: Dim("texts", max=64)})
try:
    torch.export.export(Split(), (tokens, lengths), dynamic_shapes=shapes, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# The fix
# +++++++


class Segments(torch.nn.Module):
    def forward(self, tokens, lengths):
        texts = torch.arange(lengths.shape[0])
        number = texts.repeat_interleave(lengths, output_size=tokens.shape[0])
        sums = tokens.new_zeros(lengths.shape[0], tokens.shape[1])
        return sums.index_add(0, number, tokens) / lengths[:, None]


program = torch.export.export(
    Segments(), (tokens, lengths), dynamic_shapes=shapes, strict=False
)

# %%
# Why it happens
# ++++++++++++++
#
# ``tolist`` makes one symbol for `each element
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_subclasses/fake_tensor.py#L1231>`_.
# Leave ``lengths`` static, and the model exports: three texts, three symbols.

three = torch.export.export(
    Split(), (tokens, lengths), dynamic_shapes=(shapes[0], None), strict=False
)
print(three.range_constraints)
assert len(three.range_constraints) == 3 + 1

# %%
# The bounds of a slice may be negative, unlike sizes. In PyTorch 2.9 and earlier,
# ``tensor_split`` and ``tokens[start : start + length]`` ask whether they are.


class TensorSplit(torch.nn.Module):
    def forward(self, tokens, lengths):
        parts = torch.tensor_split(tokens, lengths.cumsum(dim=0)[:-1])
        return torch.stack([part.mean(dim=0) for part in parts])


try:
    torch.export.export(TensorSplit(), (tokens, lengths), strict=False)
except GuardOnDataDependentSymNode as error:
    print(str(error).splitlines()[0])

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your model has
#      - Write this instead
#      - Cost
#    * - the largest value of each text
#      - ``scatter_reduce`` with ``"amax"``
#      - none
#    * - attention within each text
#      - the mask ``number[:, None] == number``
#      - all pairs of tokens
#    * - ``cu_seqlens``, or the offsets of a nested tensor
#      - ``lengths = offsets.diff()``, then as above
#      - none
#    * - a conversion to ONNX, which does not support ``output_size``
#      - ``number = (torch.arange(total)[:, None] >= lengths.cumsum(0)).sum(1)``
#      - tokens times texts comparisons
#    * - ``pad_sequence(tokens.split(...))``
#      - pad in the caller, and mask:
#        ``torch.arange(batch.shape[1]) < lengths[:, None]``
#      - work on the padding
#    * - ``for frames, height, width in grid``
#      - rows and columns by division, below
#      - none
#    * - ``repeat_interleave(durations)``, and later ``Eq(4*u0, 0)``, ``Eq(u3, 1)``
#      - a number of frames that the caller gives, below
#      - one more input
#
# The patches of all images are in one tensor. Row and column of a patch follow from its
# number within the image. ``Blocks`` is for Qwen2-VL: frames, in blocks of 2 x 2.


class Places(torch.nn.Module):
    def forward(self, patches, grid):
        sizes, images = grid.prod(dim=1), torch.arange(grid.shape[0])
        number = images.repeat_interleave(sizes, output_size=patches.shape[0])
        starts = sizes.cumsum(dim=0) - sizes
        *_, height, width = grid[number].unbind(dim=1)
        within = (torch.arange(patches.shape[0]) - starts[number]) % (height * width)
        return patches + torch.stack(self.place(within, width), dim=1)

    def place(self, within, width):
        return within // width, within % width


class Blocks(Places):
    def place(self, within, width):
        block, inner = within // 4, within % 4
        row = block // (width // 2) * 2 + inner // 2
        column = block % (width // 2) * 2 + inner % 2
        return row, column


patches, grid = torch.rand(14, 2), torch.tensor([[2, 3], [4, 2]])
grids = ({0: Dim("patches", max=512)}, {0: Dim("images", max=64)})
places = torch.export.export(
    Places(), (patches, grid), dynamic_shapes=grids, strict=False
).module()
video = torch.rand(28, 2), torch.tensor([[1, 2, 6], [2, 4, 2]])
blocks = torch.export.export(
    Blocks(), video, dynamic_shapes=grids, strict=False
).module()

# %%
# In speech synthesis each phoneme is repeated for its duration. Some layers ask whether
# the number of frames is 0 or 1.


class Speech(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(4)

    def forward(self, phonemes, durations):
        frames = phonemes.repeat_interleave(durations, dim=0)
        return self.norm(frames)


phonemes, durations = torch.rand(3, 4), torch.tensor([2, 1, 4])
each = {0: Dim("phonemes", max=64)}
try:
    torch.export.export(
        Speech().eval(),
        (phonemes, durations),
        dynamic_shapes=(each, each),
        strict=False,
    )
except GuardOnDataDependentSymNode as error:
    print(str(error).splitlines()[0])

# %%
# A tensor with one row per frame, such as noise, makes the number a shape. The caller
# computes ``durations.sum()``.


class SpeechFrames(Speech):
    def forward(self, phonemes, durations, noise):
        total = noise.shape[0]
        frames = phonemes.repeat_interleave(durations, dim=0, output_size=total)
        return self.norm(frames) + noise


speech = torch.export.export(
    SpeechFrames().eval(),
    (phonemes, durations, torch.zeros(7, 4)),
    dynamic_shapes=(each, each, {0: Dim("frames", max=512)}),
    strict=False,
).module()

# %%
# Check
# +++++
#
# Against the original models, for numbers of texts that were not traced. The mean of an
# empty text is NaN in both.

for some in ([4], [1, 1], [0, 2, 2], [3, 1, 2, 5, 4]):
    some = torch.tensor(some)
    total = int(some.sum())
    rows = torch.randn(total, 4)
    expected = Split()(rows, some)
    torch.testing.assert_close(program.module()(rows, some), expected, equal_nan=True)
    items, noise = torch.randn(len(some), 4), torch.randn(total, 4)
    expected = Speech().eval()(items, some) + noise
    torch.testing.assert_close(speech(items, some, noise), expected)
    sizes = torch.stack([some, some.flip(0) + 1], dim=1)
    pairs = [torch.cartesian_prod(torch.arange(h), torch.arange(w)) for h, w in sizes]
    expected = torch.cat(pairs).float()
    torch.testing.assert_close(places(torch.zeros_like(expected), sizes), expected)

# %%
# Blocks; and lengths that do not add up to the number of tokens raise.

grid, parts = torch.tensor([[2, 6, 10], [1, 2, 8], [3, 4, 4]]), []
for frames, h, w in grid.tolist():
    part = torch.cartesian_prod(torch.arange(h), torch.arange(w))
    part = part.view(h // 2, 2, w // 2, 2, 2).transpose(1, 2).reshape(-1, 2)
    parts.append(part.repeat(frames, 1))
expected = torch.cat(parts).float()
torch.testing.assert_close(blocks(torch.zeros_like(expected), grid), expected)

for rows in (8, 10):
    try:
        program.module()(torch.rand(rows, 4), lengths)
    except RuntimeError as error:
        print(error)

# %%
# Summary
# +++++++
#
# * A list of lengths fixes how many there are; segment numbers do not.
# * Next: nested tensors, :ref:`l-plot-exporter-inputs-sparse-nested`; an ``if`` on a
#   number from data, :ref:`l-plot-exporter-data-guard`.
