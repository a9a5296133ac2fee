"""
.. _l-plot-exporter-data-lengths:

Split by lengths, repeat by durations
=====================================

The lengths of the texts in a batch, the grids of images, or the durations of phonemes
are numbers in a tensor. The model calls ``tolist()`` and slices, and the export fails
with ``Could not guard on data-dependent expression u0 < 0``. Or it works, and the
program takes as many texts as the example had.

This page shows which of the usual ways work under which release, and what needs no
number at all: segments for texts, for image grids and for durations.

.. meta::
   :description: Replace split and loops over lengths by segment numbers from cumsum and
      searchsorted, which work for any number of texts.
   :keywords: tolist, split by lengths, tensor_split, ragged, packed sequence,
      cu_seqlens, image_grid_thw, durations, repeat_interleave, variable length batch
"""

# %%
# The models
# ++++++++++
#
# Texts of different lengths are packed one after the other. The model returns the mean
# of each text. Three ways to write it.

# sphinx_gallery_tags = ["data-dependent values", "export fails", "turns static"]
# sphinx_gallery_wording = "Could not guard on data-dependent expression u0 < 0 in torch.tensor_split"

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

Dim = torch.export.Dim
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Split(torch.nn.Module):
    def forward(self, tokens, lengths):
        parts = tokens.split(lengths.tolist())
        return torch.stack([part.mean(dim=0) for part in parts])


class TensorSplit(torch.nn.Module):
    def forward(self, tokens, lengths):
        parts = torch.tensor_split(tokens, lengths.cumsum(dim=0)[:-1])
        return torch.stack([part.mean(dim=0) for part in parts])


class Slices(torch.nn.Module):
    def forward(self, tokens, lengths):
        means, start = [], 0
        for length in lengths.tolist():
            means.append(tokens[start : start + length].mean(dim=0))
            start = start + length
        return torch.stack(means)


# %%
# The symptom
# +++++++++++
#
# The number of tokens is declared dynamic. What is accepted depends on the release, up
# to 2.9 only the first.

torch.manual_seed(0)
tokens, lengths = torch.rand(9, 4), torch.tensor([2, 4, 3])
few = ({0: Dim("tokens", max=512)}, None)
REFUSED = (GuardOnDataDependentSymNode, torch._dynamo.exc.UserError)
exported = {}
for model in (Split(), TensorSplit(), Slices()):
    name = type(model).__name__
    try:
        program = torch.export.export(
            model, (tokens, lengths), dynamic_shapes=few, strict=False
        )
    except REFUSED as error:
        message = str(error).strip().splitlines()[0].split(" (unhinted")[0]
        print(f"{name:12} {message}")
    else:
        exported[name] = program.module()
        print(f"{name:12} exported")
assert set(exported) == {"Split", *(["TensorSplit", "Slices"] * (RELEASE >= (2, 10)))}

# %%
# What works is right for other lengths, the empty text included (whose mean is NaN, as
# in eager).

for name, program in exported.items():
    for some in ([1, 1, 1], [5, 1, 6], [0, 2, 2]):
        inputs = torch.rand(sum(some), 4), torch.tensor(some)
        torch.testing.assert_close(program(*inputs), Split()(*inputs), equal_nan=True)
    print(f"{name:12} same results for three texts")

# %%
# The number of texts is another matter. It is a size, Python makes a list of it, and so
# it is a constant.

many = ({0: Dim("tokens", max=512)}, {0: Dim("texts", max=64)})
try:
    torch.export.export(Split(), (tokens, lengths), dynamic_shapes=many, strict=False)
except torch._dynamo.exc.UserError as error:
    message = str(error).split("\n\nFramework")[0].split("\n\nThe error above")[0]
else:
    message = "This release exports it."
print(message)
assert "Constraints violated (texts)" in message and "constant (3)" in message

# %%
# The cause
# +++++++++
#
# ``tolist`` makes three symbols ``u0``, ``u1`` and ``u2``, one for each text of the
# example. A slice asks whether its bounds are negative, and up to 2.9 nobody can answer
# for ``u0``. ``split`` takes sizes, and a size is never negative. Change one thing, state
# that the numbers are not negative, and the slices are accepted by all releases.


class CheckedSlices(torch.nn.Module):
    def forward(self, tokens, lengths):
        means, start = [], 0
        for length in lengths.tolist():
            if RELEASE < (2, 8):
                torch._check_is_size(length)
            torch._check(length >= 0)
            torch._check(start + length <= tokens.shape[0])
            means.append(tokens.narrow(0, start, length).mean(dim=0))
            start = start + length
        return torch.stack(means)


program = torch.export.export(
    CheckedSlices(), (tokens, lengths), dynamic_shapes=few, strict=False
)
checked = program.module()
for some in ([1, 1, 1], [5, 1, 6], [2, 0, 2]):
    inputs = torch.rand(sum(some), 4), torch.tensor(some)
    torch.testing.assert_close(checked(*inputs), Split()(*inputs), equal_nan=True)

# %%
# The price: the number of texts is still a constant, and a program with lengths that do
# not fit refuses to run.

try:
    checked(torch.rand(9, 4), torch.tensor([2, 4, 4]))
except RuntimeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print(message)
assert message.startswith("Runtime assertion failed"), message

# %%
# Fix 1: segments
# +++++++++++++++
#
# Give each token the number of its text, and add up by number. The ends of the texts
# are a cumulative sum; ``searchsorted`` finds the text of each position. There is no
# symbol, no loop, and the number of texts is dynamic. All releases. Price: one search
# for all tokens, and a reduction such as ``index_add`` or ``scatter_reduce`` in place
# of the loop. A model that is given ``cu_seqlens`` has the ends already:
# ``cu_seqlens[1:]``.


def segments(lengths, total):
    ends = lengths.cumsum(dim=0)
    return torch.searchsorted(ends, torch.arange(total), right=True)


class Segments(torch.nn.Module):
    def forward(self, tokens, lengths):
        number = segments(lengths, tokens.shape[0])
        sums = tokens.new_zeros(lengths.shape[0], tokens.shape[1])
        return sums.index_add(0, number, tokens) / lengths[:, None]


program = torch.export.export(
    Segments(), (tokens, lengths), dynamic_shapes=many, strict=False
)
packed = program.module()
print(segments(lengths, 9).tolist())
assert segments(lengths, 9).tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2]

# %%
# Attention between tokens of one text is a mask from the same numbers:
# ``number[:, None] == number``.
#
# Fix 2: pad
# ++++++++++
#
# The split moves to the caller, with ``pad_sequence``, and the lengths become a mask.
# All releases. Price: the work on the padding, and a caller that pads.


class Padded(torch.nn.Module):
    def forward(self, batch, lengths):
        valid = torch.arange(batch.shape[1]) < lengths[:, None]
        sums = torch.where(valid[:, :, None], batch, 0.0).sum(dim=1)
        return sums / lengths[:, None]


shapes = (
    {0: Dim("texts", max=64), 1: Dim("longest", max=512)},
    {0: Dim("texts", max=64)},
)
program = torch.export.export(
    Padded(), (torch.rand(3, 4, 4), lengths), dynamic_shapes=shapes, strict=False
)
padded = program.module()

# %%
# Image grids
# +++++++++++
#
# A vision-language model gets the patches of all images in one tensor, and the height
# and width of each image in ``grid``. The loop has one symbol for each height and
# width. With the segments, the row and the column of a patch are a division.


class GridLoop(torch.nn.Module):
    def forward(self, patches, grid):
        places = []
        for height, width in grid.tolist():
            rows = torch.arange(height)[:, None].expand(height, width)
            columns = torch.arange(width)[None].expand(height, width)
            places.append(torch.stack([rows.flatten(), columns.flatten()], dim=1))
        return patches + torch.cat(places)


class Grid(torch.nn.Module):
    def forward(self, patches, grid):
        areas, total = grid.prod(dim=1), patches.shape[0]
        number = segments(areas, total)
        within = torch.arange(total) - (areas.cumsum(dim=0) - areas)[number]
        width = grid[number, 1]
        return patches + torch.stack([within // width, within % width], dim=1)


patches, grid = torch.rand(14, 2), torch.tensor([[2, 3], [4, 2]])
shapes = ({0: Dim("patches", max=512)}, {0: Dim("images", max=64)})
for model in (GridLoop(), Grid()):
    try:
        program = torch.export.export(
            model, (patches, grid), dynamic_shapes=shapes, strict=False
        )
    except REFUSED as error:
        message = str(error).strip().splitlines()[0].split(" (unhinted")[0]
    else:
        message, images = "exported", program.module()
    print(f"{type(model).__name__:8} {message}")
    assert (message == "exported") == isinstance(model, Grid), message

# %%
# Durations: the other direction
# ++++++++++++++++++++++++++++++
#
# In speech synthesis each phoneme is repeated as many times as its duration says. The
# number of frames is a value. ``repeat_interleave`` has an output of size ``u0``, which
# can be exported as long as nothing asks about it.


class Repeat(torch.nn.Module):
    def forward(self, phonemes, durations):
        return torch.repeat_interleave(phonemes, durations, dim=0)


phonemes, durations = torch.rand(3, 4), torch.tensor([2, 1, 4])
count = ({0: Dim("phonemes", max=64)}, {0: Dim("phonemes", max=64)})
program = torch.export.export(
    Repeat(), (phonemes, durations), dynamic_shapes=count, strict=False
)
output = next(node for node in program.graph.nodes if "repeat" in node.name)
repeat = program.module()
print(output.meta["val"].shape)
assert str(output.meta["val"].shape[0]).startswith("u")

# %%
# If the rest of the model does ask, let the caller give the number of frames as a
# shape: a tensor with that many rows, for example the noise that is added anyway.
# ``output_size`` takes it. All releases. Price: the caller computes
# ``durations.sum()``.


class Frames(torch.nn.Module):
    def forward(self, phonemes, durations, noise):
        frames = noise.shape[0]
        return phonemes.repeat_interleave(durations, dim=0, output_size=frames) + noise


example = (phonemes, durations, torch.zeros(7, 4))
shapes = (*count, {0: Dim("frames", max=512)})
program = torch.export.export(Frames(), example, dynamic_shapes=shapes, strict=False)
frames = program.module()

# %%
# The check
# +++++++++
#
# Numbers of texts and phonemes that were not traced, one alone included. These work on
# all releases of this page.

for some in ([4], [1, 1], [3, 1, 2, 5, 4]):
    some = torch.tensor(some)
    parts = list(torch.rand(int(some.sum()), 4).split(some.tolist()))
    expected = torch.stack([part.mean(dim=0) for part in parts])
    torch.testing.assert_close(packed(torch.cat(parts), some), expected)
    batch = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
    torch.testing.assert_close(padded(batch, some), expected)
    items, total = torch.rand(len(some), 4), int(some.sum())
    expected = items.repeat_interleave(some, dim=0)
    torch.testing.assert_close(repeat(items, some), expected)
    torch.testing.assert_close(frames(items, some, torch.zeros(total, 4)), expected)
    sizes = torch.stack([some, some.flip(0)], dim=1)
    patches = torch.rand(int(sizes.prod(dim=1).sum()), 2)
    torch.testing.assert_close(images(patches, sizes), GridLoop()(patches, sizes))
    print(f"{some.tolist()}: same results")

# %%
# Lengths that do not fit are refused by the operators: an index for which there is no
# text, and a number of frames that is not the sum. Too few tokens are not noticed by
# ``Segments``, the caller has to.

wrong_frames = (phonemes, durations, torch.zeros(6, 4))
for program, inputs in (packed, (torch.rand(10, 4), lengths)), (frames, wrong_frames):
    try:
        program(*inputs)
    except (RuntimeError, IndexError) as error:
        message = str(error).splitlines()[0]
    else:
        message = "This release runs it."
    print(message)
    assert "out of" in message or "allocated size" in message, message
assert packed(torch.rand(8, 4), lengths).shape == (3, 4)

# %%
# To remember
# +++++++++++
#
# * A list of lengths fixes how many there are.
# * ``cumsum`` and ``searchsorted`` turn lengths into numbers of segments, without a
#   symbol: for texts, images and durations.
# * The total can be a shape, if the caller brings a tensor of that size.
#
# Next: :ref:`l-plot-exporter-data-guard` for the other expressions,
# :ref:`l-plot-exporter-data-mask` for sizes from masks, and
# :ref:`l-plot-exporter-shapes-specialized` for the constant number of texts.
