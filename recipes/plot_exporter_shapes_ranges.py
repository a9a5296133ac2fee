"""
.. _l-plot-exporter-shapes-ranges:

Give a dimension its minimum and maximum
========================================

The export stops with ``Not all values of vlen ... satisfy the generated guard
4 <= ... and ... <= 16``, with ``6 not in range [8, int_oo]`` or with ``Cannot create
Dim with inconsistent min=8, max=4``. Or there is no error, and the exported program
takes sizes that the range should refuse.

This page shows where the bounds come from, why the suggested range can be one too
wide, which bounds a program checks when it runs, and what ``int_oo`` is.

.. meta::
   :description: Let Dim.DYNAMIC find the range, write it into the Dim, and move the
      minimum up by one if a guard with != remains.
   :keywords: Dim min max, Not all values of satisfy the generated guard, int_oo,
      range_constraints, not in range, inconsistent min max, unbounded dimension,
      maximum sequence length, position table, mark_dynamic min max
"""

# %%
# The model
# +++++++++
#
# Two lines of the model set limits. The table of positions has 16 rows, so a sequence
# cannot be longer. The average is taken over the last four frames.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "run fails", "how to"]
# sphinx_gallery_wording = "Not all values of vlen_28 satisfy the generated guard 10 <="
# sphinx_gallery_wording = "the program accepts an empty batch although min=1"
# sphinx_gallery_wording = "how to convert int_oo or range_constraints to int or JSON"

import json
import math

import torch

Dim = torch.export.Dim
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Tail(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(16, 3))

    def forward(self, frames):
        frames = frames + self.table[: frames.shape[1]]
        return frames[:, -4:].mean(dim=1)


torch.manual_seed(0)
model = Tail()
frames = torch.randn(2, 6, 3)
print(model(frames).shape)

# %%
# The symptom
# +++++++++++
#
# A ``Dim`` without bounds stands for every size. That is a promise, and the trace shows
# that the model does not keep it.

vlen = Dim("vlen")
try:
    torch.export.export(model, (frames,), dynamic_shapes=({1: vlen},), strict=False)
except torch._dynamo.exc.UserError as error:
    message = error.msg.strip()
else:
    message = "This release exports the model without bounds."
print(message)
assert message.endswith("vlen = Dim('vlen', min=4, max=16)"), message

# %%
# The suggestion is right about the maximum. With the whole suggestion the export fails
# once more, and nothing is suggested any longer. Sixteen is allowed: both bounds are
# inclusive.

vlen = Dim("vlen", min=4, max=16)
try:
    torch.export.export(model, (frames,), dynamic_shapes=({1: vlen},), strict=False)
except torch._dynamo.exc.UserError as error:
    message = error.msg.strip()
else:
    message = "This release exports the model with the suggested range."
print(message)
assert "!= 12" in message and "Suggested fixes" not in message, message

# %%
# The cause
# +++++++++
#
# ``Dim.DYNAMIC`` promises nothing about the range: the exporter writes down the one it
# finds, in ``range_constraints``. Without the table the maximum goes away, without the
# last four frames the minimum does.


class NoTable(Tail):
    def forward(self, frames):
        return frames[:, -4:].mean(dim=1)


class NoTail(Tail):
    def forward(self, frames):
        return (frames + self.table[: frames.shape[1]]).mean(dim=1)


found = {}
for variant in (Tail(), NoTable(), NoTail()):
    program = torch.export.export(
        variant, (frames,), dynamic_shapes=({1: Dim.DYNAMIC},), strict=False
    )
    (found[type(variant)],) = program.range_constraints.values()
    print(f"{type(variant).__name__:8} {found[type(variant)]}")
assert (found[Tail].lower, found[Tail].upper) == (4, 16)
assert found[NoTable].lower == 4 and found[NoTable].upper > 10**9
assert (found[NoTail].lower, found[NoTail].upper) == (2, 16)

# %%
# The maximum is a property of the model: eager fails on 17 frames. The minimum is not:
# eager takes three frames, the slice is shorter then. The example had six, and the
# trace followed that case. An example of three frames gives the other one.

for size in (3, 4, 16):
    assert model(torch.randn(2, size, 3)).shape == (2, 3)
program = torch.export.export(
    model, (frames[:, :3],), dynamic_shapes=({1: Dim.DYNAMIC},), strict=False
)
(bounds,) = program.range_constraints.values()
print(bounds)
assert bounds.upper < 6

# %%
# The guard that remains, ``3 * n != 12``, is false for four frames and for nothing
# else. For these the slice is the whole tensor, and the trace took it for a part. Tests
# for a special size are all over torch, most often for 0 and 1 (see
# :ref:`l-plot-exporter-shapes-zero-one`). Such a guard ends in ``!=``: take the size
# that it excludes out of the range.
#
# The fix
# +++++++
#
# Write the range into the ``Dim``, one above the suggested minimum. The price is that
# four frames are refused. This works on all releases of this page.

vlen = Dim("vlen", min=5, max=16)
program = torch.export.export(
    model, (frames,), dynamic_shapes=({1: vlen},), strict=False
)
print(program.range_constraints)
(bounds,) = program.range_constraints.values()
assert (bounds.lower, bounds.upper) == (5, 16)

# %%
# If short inputs matter, remove what distinguishes them. An index is an operator that
# does not compare sizes: four frames are fine. (With three, the first index is -1, so
# keep the minimum. :ref:`l-plot-exporter-shapes-slices` has more of this.)


class TailByIndex(Tail):
    def forward(self, frames):
        length = frames.shape[1]
        frames = frames + self.table[:length]
        return frames[:, torch.arange(length - 4, length)].mean(dim=1)


vlen = Dim("vlen", min=4, max=16)
by_index = torch.export.export(
    TailByIndex(), (frames,), dynamic_shapes=({1: vlen},), strict=False
)
by_index.module()(torch.randn(2, 4, 3))
(bounds,) = by_index.range_constraints.values()
assert (bounds.lower, bounds.upper) == (4, 16)

# %%
# ``Dim.DYNAMIC`` needs no range at all. The price: a later change of the model may
# tighten the range, and the export does not tell you. Since 2.8 a hint takes bounds
# too, and they are intersected with those of the model. Only if nothing is left, it is
# an error.

hint, message = Dim.DYNAMIC, "This release has no bounds for Dim.DYNAMIC."
if RELEASE >= (2, 8):
    hint = Dim.DYNAMIC(min=20)
try:
    torch.export.export(model, (frames,), dynamic_shapes=({1: hint},), strict=False)
except ValueError as error:
    message = str(error)
print(message)
assert (RELEASE >= (2, 8)) == ("conflicting with the inferred" in message), message

# %%
# Strict mode says less
# +++++++++++++++++++++
#
# Strict mode accepts the suggested range, four included. Up to 2.8 the program runs
# with four frames. Since 2.9 it verifies the guard, and refuses a size of its own
# range.

vlen = Dim("vlen", min=4, max=16)
strict = torch.export.export(
    model, (frames,), dynamic_shapes=({1: vlen},), strict=True
).module()
try:
    strict(torch.randn(2, 4, 3))
except AssertionError as error:
    message = str(error)
else:
    message = "This release runs the program with four frames."
print(message)
assert ("Guard failed: 3 *" in message) == (RELEASE >= (2, 9)), message

# %%
# What is checked when the program runs
# +++++++++++++++++++++++++++++++++++++
#
# This model has no limits of its own. Each row has another minimum, each column is a
# size of the input.


class Double(torch.nn.Module):
    def forward(self, frames):
        return frames * 2


def takes(exported, size):
    try:
        exported(torch.randn(2, size, 3))
    except (AssertionError, RuntimeError):
        return "refused"
    return "runs"


SIZES = (0, 1, 2, 3, 16, 17)
print("              ", *(f"{size:>8}" for size in SIZES))
table = {}
for low in (None, 1, 2, 3):
    shapes = ({1: Dim("n", min=low, max=16)},)
    exported = torch.export.export(
        Double(), (frames,), dynamic_shapes=shapes, strict=False
    ).module()
    table[low] = [takes(exported, size) for size in SIZES]
    print(f"min={low!s:4} max=16", *(f"{word:>8}" for word in table[low]))

# %%
# A minimum of 1 or 2 is not checked, on any release: an empty input passes. The
# exporter cannot use an example of size 0 or 1, it lets its programs run with these
# sizes on trust, and the check `leaves a minimum of 2 out
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L6566>`_
# (up to 2.8: `every minimum up to 2
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/utils.py#L415>`_). For
# the same reason ``VR[2, 16]`` does not mean that a batch of one is refused. If an
# empty input must not pass, test for it before you call the program.

assert table[None] == table[1] == table[2] == ["runs"] * 5 + ["refused"]
assert table[3] == ["refused"] * 3 + ["runs"] * 2 + ["refused"]

# %%
# A maximum that the exporter cannot see
# ++++++++++++++++++++++++++++++++++++++
#
# When positions are looked up, no size is compared with the size of the table. No bound
# is found, none is suggested, and the program fails in the operator, as eager does. On
# a GPU this can be an assertion of the device instead of an exception. Give the maximum
# yourself: then the program refuses in its first line.


class Lookup(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(16, 3)

    def forward(self, frames):
        return frames + self.table(torch.arange(frames.shape[1]))


lookup, messages = Lookup(), []
for high in (None, lookup.table.num_embeddings):
    shapes = ({1: Dim("vlen", max=high)},)
    program = torch.export.export(
        lookup, (frames,), dynamic_shapes=shapes, strict=False
    )
    try:
        program.module()(torch.randn(2, 17, 3))
    except (AssertionError, IndexError, RuntimeError) as error:
        messages.append(str(error))
    print(program.range_constraints, messages[-1])
assert messages[0] == "index out of range in self"
assert "<= 16" in messages[1]

# %%
# A range that is wrong by itself
# +++++++++++++++++++++++++++++++
#
# The example must be inside of the range. It may be equal to a bound. The two modes
# raise different exceptions with the same text. (A lower bound of 0 is printed as 2.)

MISMATCH = (
    torch._dynamo.exc.UserError,
    torch.fx.experimental.symbolic_shapes.ConstraintViolationError,
)
for bound in ({"min": 8}, {"max": 5}, {"min": 6}, {"max": 6}):
    for strict in (False, True):
        try:
            torch.export.export(
                Double(),
                (frames,),
                dynamic_shapes=({1: Dim("n", **bound)},),
                strict=strict,
            )
        except MISMATCH as error:
            message = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        else:
            message = "exported"
        print(bound, f"strict={strict}", message)
        assert ("not in range" in message) == (6 not in bound.values()), message

# %%
# The minimum must be smaller than the maximum. If they are equal, the dimension is
# static: write the number itself.

for low, high in [(8, 4), (6, 6), (None, 0)]:
    try:
        Dim("n", min=low, max=high)
    except AssertionError as error:
        message = str(error)
    else:
        message = "This release accepts the bounds."
    print(message)
    assert message.startswith("Cannot create Dim with inconsistent"), message
program = torch.export.export(
    Double(), (frames,), dynamic_shapes=({1: 6},), strict=False
)
assert [takes(program.module(), size) for size in (6, 7)] == ["runs", "refused"]

# %%
# An AssertionError with a fraction
# +++++++++++++++++++++++++++++++++
#
# A difference over two frames needs three of them. Since 2.8 the export fails with
# nothing but a comparison with a fraction. The `code that writes the suggestion
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L3689>`_
# stops at it: it knows integers only. The fraction is the solution of
# ``2 * 3 * (n - 2) >= 2``: the result is taken to have more than one element. Give a
# minimum and the message is the usual one. Round the fraction up, which is 3 here: what
# is left is a guard with ``!=``, so the minimum is 4.


class Difference(torch.nn.Module):
    def forward(self, frames):
        return frames[:, 2:] - frames[:, :-2]


for low in (None, 3, 4):
    shapes = ({1: Dim("vlen", min=low)},)
    try:
        torch.export.export(
            Difference(), (frames,), dynamic_shapes=shapes, strict=False
        )
    except (AssertionError, torch._dynamo.exc.UserError) as error:
        message = str(error).partition("\n\nThe error above")[0]
    else:
        message = "exported"
    print(f"min={low}:", message)
    assert ("7/3" in message) == (RELEASE >= (2, 8) and low is None), message
    assert (message == "exported") == (low == 4), message

# %%
# No maximum, on 2.6 and 2.7
# ++++++++++++++++++++++++++
#
# A full slice ``:`` ends at the largest 64-bit integer. These two releases record that
# this is not the size of the dimension, and complain that the range has it. Any maximum
# is the fix, or ``...`` instead of the full slices.


class Gate(torch.nn.Module):
    def __init__(self, *index):
        super().__init__()
        self.index = index

    def forward(self, frames):
        return frames[self.index] * frames


FULL = slice(None)
colons, ellipsis = Gate(FULL, FULL, slice(1)), Gate(..., slice(1))
shapes = ({1: Dim("n")},)
try:
    torch.export.export(colons, (frames,), dynamic_shapes=shapes, strict=False)
except torch._dynamo.exc.UserError as error:
    message = error.msg.strip()
else:
    message = "This release needs no maximum."
print(message)
assert ("!= 9223372036854775807" in message) == (RELEASE < (2, 8)), message
torch.export.export(ellipsis, (frames,), dynamic_shapes=shapes, strict=False)
shapes = ({1: Dim("n", max=4096)},)
torch.export.export(colons, (frames,), dynamic_shapes=shapes, strict=False)

# %%
# The infinity of integers
# ++++++++++++++++++++++++
#
# ``int_oo`` is the upper bound of a range that has none. It is an object of SymPy's
# kind: larger than every integer, not equal to ``float("inf")``, no number for
# :func:`json.dumps` or :class:`range`.

program = torch.export.export(
    Double(), (frames,), dynamic_shapes=({1: Dim("n", min=3)},), strict=False
)
(bounds,) = program.range_constraints.values()
print(bounds, "-", type(bounds.upper).__name__)
assert bounds.upper > 10**30 and bounds.upper != math.inf
for convert in (json.dumps, range):
    try:
        convert(bounds.upper)
    except TypeError as error:
        message = str(error)
    else:
        message = "accepted"
    print(message)
    assert "IntInfinity" in message, message

# %%
# ``float`` turns it into the infinity that Python knows. This makes plain numbers, with
# ``None`` for a bound that is not there, on all releases.


def plain_ranges(program):
    for symbol, bounds in program.range_constraints.items():
        upper = float(bounds.upper)
        yield str(symbol), int(bounds.lower), None if math.isinf(upper) else int(upper)


print(json.dumps(list(plain_ranges(program))))
assert [row[1:] for row in plain_ranges(program)] == [(3, None)]
assert [row[1:] for row in plain_ranges(by_index)] == [(4, 16)]

# %%
# Bounds given with mark_dynamic
# ++++++++++++++++++++++++++++++
#
# ``torch._dynamo.mark_dynamic(x, 1, max=16)`` is made for :func:`torch.compile`. Up to
# 2.14 it needs both bounds or none: one alone fails in a place that does not name it.
# And the exporter has no use for the bounds: they do not appear in the program. Use a
# ``Dim``.

marked = torch.randn(2, 6, 3)
torch._dynamo.mark_dynamic(marked, 1, max=16)
try:
    torch.export.export(Double(), (marked,), strict=True)
except AssertionError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release accepts one bound."
print(message)
assert message.startswith("not simple sympy type") == (RELEASE < (2, 15)), message
marked = torch.randn(2, 6, 3)
torch._dynamo.mark_dynamic(marked, 1, min=3, max=16)
program = torch.export.export(Double(), (marked,), strict=True)
assert not program.range_constraints

# %%
# The check
# +++++++++
#
# The range of the first fix, on both ends and between, in both modes.

vlen = Dim("vlen", min=5, max=16)
for strict in (False, True):
    exported = torch.export.export(
        model, (frames,), dynamic_shapes=({1: vlen},), strict=strict
    ).module()
    for size in (5, 7, 12, 16):
        new = torch.randn(2, size, 3)
        torch.testing.assert_close(exported(new), model(new))
print("same results on 5, 7, 12 and 16 frames")

# %%
# What is outside is refused, by a ``RuntimeError`` up to 2.8 and an ``AssertionError``
# later.

for size in (4, 17):
    try:
        exported(torch.randn(2, size, 3))
    except (AssertionError, RuntimeError) as error:
        message = str(error)
    else:
        message = "This release runs the program."
    print(message)
    assert ">= 5" in message or "<= 16" in message, message

# %%
# To remember
# +++++++++++
#
# * Export once with ``Dim.DYNAMIC``, read ``range_constraints``, and write the range
#   into a ``Dim``. Both bounds are inclusive.
# * A guard that ends in ``!=`` excludes one size: raise the minimum above it.
# * A maximum, and a minimum of 3 or more, are checked on each call. A minimum of 1 or 2
#   is not.
# * A limit that hides in a lookup is not found: give the maximum yourself.
#
# Next: :ref:`l-plot-exporter-shapes-related` when two dimensions depend on each other,
# :ref:`l-plot-exporter-shapes-zero-one` for guards on 0 and 1, and
# :ref:`l-plot-exporter-shapes-specialized` when the range shrinks to one number.
