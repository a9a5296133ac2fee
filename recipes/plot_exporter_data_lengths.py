"""
.. _l-plot-exporter-data-lengths:

Split by lengths, repeat by durations
=====================================

The lengths of the texts in a batch, the grids of images, or the durations of phonemes
are numbers in a tensor. The model calls ``tolist()`` and slices, and the export fails
with ``Could not guard on data-dependent expression u0 < 0``. Or it works, and the
program takes as many texts as the example had.

This page shows which of the usual ways work under which release, and two that need no
number: segments for reading, and a search for repeating.

.. meta::
   :description: Replace split and loops over lengths by segment numbers from cumsum and
      searchsorted, which work for any number of texts.
   :keywords: tolist, split by lengths, tensor_split, ragged, packed sequence, cu_seqlens,
      image_grid_thw, durations, repeat_interleave, variable length batch
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
# for ``u0``. ``split`` knows that its sizes are not. Change one thing, state that they
# are not negative, and the slices are accepted by all releases.


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


try:
    program = torch.export.export(
        CheckedSlices(), (tokens, lengths), dynamic_shapes=few, strict=False
    )
except REFUSED as error:
    print(str(error).strip().splitlines()[0].split(" (unhinted")[0])
else:
    torch.testing.assert_close(
        program.module()(tokens, lengths), Split()(tokens, lengths)
    )
    print("exported with checks")

# %%
# Fix 1: segments
# +++++++++++++++
#
# Give each token the number of its text, and add up by number. The ends of the texts
# are a cumulative sum; ``searchsorted`` finds the text of each position. There is no
# symbol, no loop, and the number of texts is dynamic. Price: one search for all tokens.
# What was a loop has to be written as a reduction by segments, such as ``index_add`` or
# ``scatter_reduce``.


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
# If the texts come padded, the lengths are a mask. Price: the work on the padding, and
# a caller that pads.


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
# shape: a tensor with that many rows, for example the noise that is added anyway. Then
# the segments are an index. Price: the caller computes ``durations.sum()``.


class Frames(torch.nn.Module):
    def forward(self, phonemes, durations, noise):
        return phonemes[segments(durations, noise.shape[0])] + noise


shapes = (*count, {0: Dim("frames", max=512)})
program = torch.export.export(
    Frames(),
    (phonemes, durations, torch.zeros(7, 4)),
    dynamic_shapes=shapes,
    strict=False,
)
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
    print(f"{some.tolist()}: same results")

# %%
# Another width is refused.

try:
    packed(torch.rand(9, 5), lengths)
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with five columns."
print(message)
assert "size()[1] == 4" in message or "to be equal to 4" in message, message

# %%
# To remember
# +++++++++++
#
# * A list of lengths fixes how many there are.
# * ``cumsum`` and ``searchsorted`` turn lengths into numbers of segments, without a
#   symbol.
# * The total can be a shape, if the caller brings a tensor of that size.
#
# Next: :ref:`l-plot-exporter-data-guard` for the other expressions,
# :ref:`l-plot-exporter-data-mask` for sizes from masks, and
# :ref:`l-plot-exporter-shapes-specialized` for the constant number of texts.
