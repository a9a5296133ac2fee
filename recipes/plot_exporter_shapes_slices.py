"""
.. _l-plot-exporter-shapes-slices:

Slice, split and broadcast a dynamic length
===========================================

One length is dynamic, and the model cuts it: ``x[:, :16]``, ``x.split(4, dim=1)``,
``table[:length]``. The export stops with ``Constraints violated (length)! ... Not all
values of length ... satisfy the generated guard``, or the program refuses lengths:
``Guard failed: x.size()[1] >= 16``, ``Guard failed: y.size()[1] == x.size()[1]``. Up to
2.8 a program that splits drops the last rows without a word.

This page shows, one operation after the other, what the exporter decides with the
example (whether a slice cuts, how many pieces there are, who is broadcast), and how to
write it so that there is nothing to decide.

.. meta::
   :description: A slice, a split or a broadcast is decided by the example: index with arange and min, unflatten 4 * k, give broadcast dimensions one name.
   :keywords: slice dynamic shape export, x[:, :n] guard, clamp slice end, torch.split number of pieces, torch.chunk Constraints violated, broadcasting dynamic dimension, Guard failed y.size() == x.size(), position embedding table dynamic length, torch.cat dynamic length, truncate sequence export
"""

# %%
# The model
# +++++++++
#
# The model truncates a sequence to 16 positions, as a tokenizer or a position table of
# limited size asks for. In eager mode a slice that ends beyond the tensor is allowed:
# it returns what is there.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "run fails", "wrong without an error"]
# sphinx_gallery_wording = "exported program returns too few chunks"
# sphinx_gallery_wording = "exported program does not broadcast a batch of 1"
# sphinx_gallery_wording = "sequence longer than the example is refused after export"

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
DYNAMIC = torch.export.Dim.DYNAMIC


class Truncate(torch.nn.Module):
    def forward(self, x):
        return x[:, :16] * 2


def tensor(length):
    return torch.randn(2, length, 6)


torch.manual_seed(0)
model = Truncate()
x20, x10 = tensor(20), tensor(10)
print(tuple(model(x20).shape), tuple(model(x10).shape))

# %%
# The symptom
# +++++++++++
#
# With a named dimension, the export is refused. Only the lines with guards are printed.

length = torch.export.Dim("length", min=1, max=64)
named = {"dynamic_shapes": ({1: length},), "strict": False}
try:
    torch.export.export(model, (x20,), **named)
except torch._dynamo.exc.UserError as error:
    message = str(error)
else:
    message = "This release exports it. generated guard"
print("\n".join(line for line in message.splitlines() if "generated guard" in line))
assert message.startswith("Constraints violated (length)!"), message

# %%
# With ``Dim.DYNAMIC`` it works, and the program has half of the model. Which half, the
# example says. Look at the range.

dynamic = {"dynamic_shapes": ({1: DYNAMIC},), "strict": False}
program20 = torch.export.export(model, (x20,), **dynamic)
program10 = torch.export.export(model, (x10,), **dynamic)
print("exported with 20:", list(program20.range_constraints.values()))
print("exported with 10:", list(program10.range_constraints.values()))

for program, x in ((program20, x10), (program10, x20)):
    try:
        program.module()(x)
    except (AssertionError, RuntimeError) as error:
        message = str(error)
    else:
        message = "This release runs it."
    print(f"run with {x.shape[1]}: {message}")
    assert ">= 16" in message or "<= 15" in message, message

# %%
# The cause
# +++++++++
#
# The size of the result is 16 if the tensor is long enough, and the size of the tensor
# if not. The exporter asks, the example answers, and the answer becomes a guard: see
# `_compute_slice_index
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_subclasses/fake_impls.py#L1341>`_.
# Exported with 20, the slice cuts. Exported with 10, the result *is* the input.


def shape_of_output(program):
    (result,) = list(program.graph.nodes)[-1].args[0]
    return tuple(result.meta["val"].shape)


print("exported with 20:", shape_of_output(program20))
print("exported with 10:", shape_of_output(program10))
assert shape_of_output(program20)[1] == 16
assert str(shape_of_output(program10)[1]).startswith("s")

# %%
# There is a second guard. A slice is a view, and torch looks at its strides: is it
# contiguous? It would be if the slice took everything. So exactly 16 is excluded
# from both programs. Since 2.9 the first one verifies it when it runs.

try:
    result = program20.module()(tensor(16))
except AssertionError as error:
    result, message = None, str(error)
else:
    message = "This release runs it."
print("run with 16:", message)
assert (result is None) == (RELEASE >= (2, 9))

# %%
# Fix 1: say that the slice always cuts
# +++++++++++++++++++++++++++++++++++++
#
# If every length is above 16, give this minimum. ``min=17``, not 16. The price is in
# the range: shorter lengths are refused. Works on all releases of this page.

longer = torch.export.Dim("longer", min=17, max=64)
program = torch.export.export(
    model, (x20,), dynamic_shapes=({1: longer},), strict=False
)
print(list(program.range_constraints.values()))
for size in (17, 30, 64):
    x = tensor(size)
    torch.testing.assert_close(program.module()(x), model(x))

# %%
# Fix 2: take rows by their numbers
# +++++++++++++++++++++++++++++++++
#
# ``min`` of a size and a number is a formula since 2.8 (up to 2.7 it is a comparison,
# and decided). ``index_select`` makes a new tensor, so there are no strides to look at.
# The result is what the slice gives, for every length. The price: a copy, and 2.8.


class TruncateByIndex(torch.nn.Module):
    def forward(self, x):
        rows = torch.arange(min(x.shape[1], 16), device=x.device)
        return x.index_select(1, rows) * 2


# %%
# On all releases: first pad, then slice. The slice then cuts always. The result has
# always 16 positions, with zeros at the end: this is another model, for those who pad
# anyway.


class TruncateAndPad(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.pad(x, (0, 0, 0, 16))[:, :16] * 2


# %%
# The check, with the named dimension and in both modes: below 16, 16, above, and 1.

kinds = (TruncateByIndex, TruncateAndPad) if RELEASE >= (2, 8) else (TruncateAndPad,)
for kind in kinds:
    for strict in (False, True):
        program = torch.export.export(kind(), (x20,), **{**named, "strict": strict})
        for size in (20, 10, 15, 16, 17, 64, 2, 1):
            x = tensor(size)
            torch.testing.assert_close(program.module()(x), kind()(x))
            if kind is TruncateByIndex:
                torch.testing.assert_close(program.module()(x), model(x))
    print(f"{kind.__name__}: same result, strict or not")

try:
    program.module()(tensor(65))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs a length of 65."
print(message)
assert "<= 64" in message, message

# %%
# A table of positions
# ++++++++++++++++++++
#
# ``table[:length]`` is the same question with the roles exchanged: does the table have
# as many rows? Here the guard is right, there is nothing beyond the table, and a maximum
# of 64 for the length is enough (:ref:`l-plot-exporter-shapes-ranges`).
#
# With an offset, as a model with a cache has it, it takes more: the *sum* of two lengths
# is at most 64.


class Positions(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.randn(64, 6))

    def forward(self, x, past):
        first = past.shape[1]
        return x + self.table[first : first + x.shape[1]]


new = torch.export.Dim("new", min=1, max=64)
old = torch.export.Dim("old", min=1, max=64)
two = {"dynamic_shapes": ({1: new}, {1: old}), "strict": False}
positions = Positions()
try:
    torch.export.export(positions, (x20, x10), **two)
except torch._dynamo.exc.UserError as error:
    message = str(error)
else:
    message = "This release exports it. generated guard"
print("\n".join(line for line in message.splitlines() if "generated guard" in line))
assert message.startswith("Constraints violated (new, old)!"), message

# %%
# Names cannot say that about a sum. Two maxima of 32 can, and ``Dim.DYNAMIC`` records
# the sum (verified since 2.9). Or look the positions up, one by one. There is no slice
# then, and nothing to prove. Works on all releases of this page. The price: an index
# that is too large is found by the kernel.


class PositionsByIndex(Positions):
    def forward(self, x, past):
        rows = torch.arange(x.shape[1], device=x.device) + past.shape[1]
        return x + torch.nn.functional.embedding(rows, self.table)


by_index = PositionsByIndex()
by_index.load_state_dict(positions.state_dict())
exported = torch.export.export(by_index, (x20, x10), **two).module()
for sizes in ((20, 10), (1, 1), (60, 4), (1, 63)):
    inputs = tuple(tensor(size) for size in sizes)
    torch.testing.assert_close(exported(*inputs), positions(*inputs))
try:
    exported(tensor(60), tensor(5))
except IndexError as error:
    message = str(error)
else:
    message = "This release reads beyond the table."
print(message)
assert message == "index out of range in self", message

# %%
# Split: the number of pieces is fixed
# ++++++++++++++++++++++++++++++++++++
#
# ``split`` returns a list, and Python loops over it while the model is traced. 20
# positions are five pieces of 4, so the program has five. Since 2.9 it refuses other
# numbers. Up to 2.8 it gives five pieces for 24 positions: the last four are lost.


class Blocks(torch.nn.Module):
    def forward(self, x):
        return torch.stack([piece.mean(dim=1) for piece in x.split(4, dim=1)], dim=1)


blocks, x24 = Blocks(), tensor(24)
exported = torch.export.export(blocks, (x20,), **dynamic).module()
try:
    result = exported(x24)
except AssertionError as error:
    result, message = None, str(error)
else:
    message = f"{tuple(result.shape)} instead of {tuple(blocks(x24).shape)}"
print(message)
assert (result is None) == (RELEASE >= (2, 9))
assert result is None or result.shape[1] == 5

# %%
# The fix: make the pieces a dimension. A dimension can be dynamic, a list cannot.
# Declare the length as a multiple, or pad it first
# (:ref:`l-plot-exporter-shapes-pad-to-multiple`). Works on all releases of this page.


class BlocksByDimension(torch.nn.Module):
    def forward(self, x):
        return x.unflatten(1, (-1, 4)).mean(dim=2)


count = torch.export.Dim("count", min=2, max=16)
multiple = {"dynamic_shapes": ({1: 4 * count},), "strict": False}
exported = torch.export.export(BlocksByDimension(), (x20,), **multiple).module()
for size in (20, 24, 8, 64):
    x = tensor(size)
    torch.testing.assert_close(exported(x), blocks(x))
print("same result for 20, 24, 8, 64")

# %%
# ``chunk(2)`` has a fixed number of pieces, as long as there is one position for each.
# A named dimension does not pass, an even one does: ``2 * count``.


class Halves(torch.nn.Module):
    def forward(self, x):
        first, second = x.chunk(2, dim=1)
        return first - second


try:
    torch.export.export(Halves(), (x20,), **named)
except torch._dynamo.exc.UserError as error:
    message = str(error)
else:
    message = "This release exports it."
print(message.splitlines()[0])
assert message.startswith("Constraints violated (length)!"), message
even = {"dynamic_shapes": ({1: 2 * count},), "strict": False}
exported = torch.export.export(Halves(), (x20,), **even).module()
for size in (20, 24, 4, 32):
    x = tensor(size)
    torch.testing.assert_close(exported(x), Halves()(x))

# %%
# Broadcast: equal or 1, but not both
# +++++++++++++++++++++++++++++++++++
#
# ``x + y`` works for equal sizes, and for a ``y`` of size 1. The exporter has to know
# which: the example decides, once and for all. This is torch's design: `the rule of
# broadcasting
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_refs/__init__.py#L448>`_ asks
# whether the sizes are equal, then whether one of them is 1.


class Add(torch.nn.Module):
    def forward(self, x, y):
        return x + y


try:
    torch.export.export(Add(), (x20, tensor(20)), **two)
except torch._dynamo.exc.UserError as error:
    message = str(error)
else:
    message = "This release exports it."
print(message.split("\n\n")[0])
assert "must always be equal" in message, message

# %%
# If they are equal, give them one name. If ``y`` always has size 1, do not name it. If
# it is the one or the other, the program of the one refuses the other:

same = {"dynamic_shapes": ({1: length}, {1: length}), "strict": False}
exported = torch.export.export(Add(), (x20, tensor(20)), **same).module()
torch.testing.assert_close(exported(x10, x10), x10 + x10)
try:
    exported(x20, tensor(1))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release broadcasts."
print(message)
assert "== x.size()[1]" in message or "to be equal to 20" in message, message

# %%
# One program for both cases repeats ``y`` by itself. Position ``i`` of the result takes
# row ``i`` of ``y``, or row 0 if there is only one: ``i % size``. The price: a copy, and
# sizes that do not fit (20 and 7) are repeated instead of refused. Works on all
# releases of this page.


class AddAnySize(torch.nn.Module):
    def forward(self, x, y):
        rows = torch.arange(x.shape[1], device=x.device) % y.shape[1]
        return x + y.index_select(1, rows)


exported = torch.export.export(AddAnySize(), (x20, tensor(20)), **two).module()
for sizes in ((20, 20), (20, 1), (1, 1), (33, 33), (64, 1)):
    x, y = (tensor(size) for size in sizes)
    torch.testing.assert_close(exported(x, y), x + y)
print("same result for equal sizes and for size 1")

# %%
# What needs no change
# ++++++++++++++++++++
#
# ``cat`` of two dynamic lengths is a sum, for every pair. A slice from the end by the
# length of an input is fine after it, since the sum is known to be long enough.


class Append(torch.nn.Module):
    def forward(self, x, past):
        everything = torch.cat([past, x], dim=1)
        return everything, everything[:, -x.shape[1] :]


program = torch.export.export(Append(), (x20, x10), **two)
for sizes in ((20, 10), (1, 1), (3, 64), (64, 1)):
    inputs = tuple(tensor(size) for size in sizes)
    torch.testing.assert_close(program.module()(*inputs), Append()(*inputs))
(cat,) = [n for n in program.graph.nodes if n.target is torch.ops.aten.cat.default]
print(tuple(cat.meta["val"].shape))
assert " + " in str(cat.meta["val"].shape[1])

# %%
# To remember
# +++++++++++
#
# * A slice with a fixed end cuts or does not. Give a minimum above it, or index with
#   ``arange(min(size, end))``.
# * A list of pieces has a fixed length. Make the pieces a dimension.
# * Equal sizes get one name. A size of 1 that is sometimes more needs an index.
#
# Next: :ref:`l-plot-exporter-shapes-pad-to-multiple` when pieces have to be complete;
# :ref:`l-plot-exporter-shapes-zero-one` for size 1; :ref:`l-plot-exporter-shapes-ranges`
# for minimum and maximum.
