"""
.. _l-plot-exporter-shapes-specialized:

Constraints violated: inferred to be a constant
===============================================

A dimension was declared dynamic, and the export fails: ``Constraints violated (batch)!
... You marked batch as dynamic but your code specialized it to be a constant (4)``, or
in older words ``... batch was inferred to be a constant (4)``. The suggested fix is
``batch = 4``.

This page tells this message from its relatives, says which suggestions to follow, and
shows the causes that people meet most with the fix of each.

.. meta::
   :description: Replace the number in the model by a size of the input; the suggested
      fix, batch = 4, gives the dimension up, and Dim.AUTO hides it.
   :keywords: Constraints violated, specialized it to be a constant, inferred to be a
      constant, RelaxedUnspecConstraint, suggested fixes, dynamic batch,
      hard-coded size, maybe_mark_dynamic, ConstraintViolationError
"""

# %%
# The model
# +++++++++
#
# Heads of an attention: the features are split into two heads. The batch size is the
# one that the author had in mind.

# sphinx_gallery_tags = ["dynamic shapes", "export fails"]
# sphinx_gallery_wording = "Not all values of RelaxedUnspecConstraint(L['query'].size()[2]) are valid because L['query'].size()[2] was inferred to be a constant (22)."
# sphinx_gallery_wording = "The following dimensions have been specialized and CANNOT be dynamic"

import re

import torch

Dim = torch.export.Dim
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Heads(torch.nn.Module):
    """A number in reshape"""

    def forward(self, x):
        return x.reshape(4, 2, 3).softmax(dim=-1)


# %%
# The symptom
# +++++++++++
#
# ``shown`` keeps what counts of the message. It cuts off a stack of the exporter, which
# 2.8 inserts, and the advice at the end to use another tool. (Strict mode adds a stack
# that is worth reading: :ref:`l-plot-exporter-shapes-find-the-line`.)


def shown(error):
    text = str(error).partition("\n\nThe error above")[0].rstrip()
    text, _, stack = text.partition("\n\nFramework stack:")
    _, title, fixes = stack.partition("\nSuggested fixes:")
    return text + title + fixes


torch.manual_seed(0)
x = torch.rand(4, 6)
batch = Dim("batch", max=1024)
named = ({0: batch},)
try:
    torch.export.export(Heads(), (x,), dynamic_shapes=named, strict=False)
except torch._dynamo.exc.UserError as error:
    message = shown(error)
else:
    message = "This release exports it."
print(message)
assert "Constraints violated (batch)" in message and "constant (4)" in message
assert ("specialized it" in message) == (RELEASE >= (2, 8))

# %%
# ``(batch)`` says which dimension, ``constant (4)`` that the model works for one size
# and no other. Up to 2.7 it was ``inferred``, since 2.8 ``You marked``: two wordings of
# `the same test
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L6204>`_.
#
# ``Dim.DYNAMIC`` has no name, so the message gives the input and the number of the
# dimension, and there is no suggested fix. ``RelaxedUnspecConstraint``, up to 2.7, is
# the exporter's word for ``DYNAMIC`` and for ``torch._dynamo.mark_dynamic``.

try:
    torch.export.export(Heads(), (x,), dynamic_shapes=({0: Dim.DYNAMIC},), strict=False)
except torch._dynamo.exc.UserError as error:
    message = shown(error)
else:
    message = "This release exports it."
print(message.splitlines()[1].split(". If")[0].strip())
assert "size()[0]" in message and "constant (4)" in message
assert ("RelaxedUnspecConstraint" in message) == (RELEASE < (2, 8))

# %%
# Two suggestions not to follow
# +++++++++++++++++++++++++++++
#
# ``batch = 4`` means: declare it as the constant that it is. ``replace it with either
# Dim.STATIC or Dim.AUTO`` means the same: ``AUTO`` takes a constant without a word. In
# both cases the error goes, and so does the dynamic dimension. (Since 2.9 the second
# guard is the equation that ``reshape`` made: 24 numbers, 6 for each row.)

for shapes in [({0: 4},), ({0: Dim.AUTO},)]:
    program = torch.export.export(Heads(), (x,), dynamic_shapes=shapes, strict=False)
    try:
        program.module()(torch.rand(5, 6))
    except (AssertionError, RuntimeError) as error:
        message = str(error).split(". If")[0]
    else:
        message = "This release runs the program with five rows."
    print(program.range_constraints, message)
    assert program.range_constraints == {}
    assert re.search(r"size\(\)\[0\] == (4|24)$|to be equal to 4", message), message

# %%
# Where a model can only work for one size, such as a fixed number of sensors, the
# constant is the honest declaration.
#
# The relatives of the message
# ++++++++++++++++++++++++++++
#
# ``Constraints violated`` has other second lines. They speak of several sizes that are
# allowed, and their suggestions say which.
# Each model below is refused, and then exported with what torch suggests. The first
# line of each kind is printed.


class Function(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, y):
        return self.function(x, y)


def two_inputs(rows, more_rows):
    return torch.rand(rows, 6), torch.rand(more_rows, 6)


a, b = Dim("a", min=2, max=1024), Dim("b", min=2, max=1024)
less, half = Dim("b", min=2, max=1023), Dim("_a", min=1, max=512)
RELATIVES = [
    ("be equal", lambda x, y: x + y, (4, 4), (a, a)),
    ("be related", lambda x, y: x[1:] + y, (5, 4), (less + 1, less)),
    ("guard", lambda x, y: x.reshape(-1, 2, 6) + y[0], (4, 5), (2 * half, b)),
    ("guard", lambda x, y: x[:3] + y[0], (4, 5), (Dim("a", min=3, max=1024), b)),
]
for words, function, rows, suggested in RELATIVES:
    model, inputs = Function(function), two_inputs(*rows)
    shapes = ({0: a}, {0: b})
    try:
        torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
    except torch._dynamo.exc.UserError as error:
        message = shown(error)
    else:
        message = "This release exports it.\nSuggested fixes:"
    reason, suggestion = message.split("Suggested fixes:\n")
    print(reason.splitlines()[1].strip())
    print("   ", "; ".join(line.strip() for line in suggestion.splitlines()))
    assert words in reason, message
    shapes = tuple({0: dimension} for dimension in suggested)
    program = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
    assert program.range_constraints

# %%
# Follow these, if the model means it: :ref:`l-plot-exporter-shapes-related` for the
# first three, :ref:`l-plot-exporter-shapes-ranges` for the last. One message often has
# several lines: read the one with ``constant`` first, since the others may go with it.
# A guard that is an equation such as ``== 0.408`` has no suggestion; it is
# :ref:`l-plot-exporter-lost_dynamic_dimension`.
#
# The cause
# +++++++++
#
# Back to the constant. ``reshape(4, 2, 3)`` of a tensor with ``6 * batch`` elements is
# possible for one batch size, and the exporter solves the equation. Change the number,
# and the symptom goes: ``x.shape[0]`` is the symbol itself. (-1 does it too, where it
# is the only one.)


class AnyHeads(torch.nn.Module):
    def forward(self, x):
        return x.reshape(x.shape[0], 2, 3).softmax(dim=-1)


program = torch.export.export(AnyHeads(), (x,), dynamic_shapes=named, strict=False)
print(program.range_constraints)
assert len(program.range_constraints) == 1
torch.testing.assert_close(AnyHeads()(x), Heads()(x))

# %%
# The usual causes and their fixes
# ++++++++++++++++++++++++++++++++
#
# All of them are small lines in large models. In each pair the second model computes
# the same for the example. First, tables and states that have the size of the example.


def waves(rows):
    return torch.sin(torch.arange(rows)[:, None] / 10.0 ** torch.arange(6))


class Table(torch.nn.Module):
    """A table of positions as long as the example"""

    def __init__(self, rows=4):
        super().__init__()
        self.register_buffer("table", waves(rows))

    def forward(self, x):
        return x + self.table


class LongTable(Table):
    def forward(self, x):
        return x + self.table[: x.shape[0]]


class State(torch.nn.Module):
    """A buffer with one row for each sample"""

    def __init__(self, rows=4):
        super().__init__()
        self.register_buffer("state", torch.zeros(rows, 6))

    def forward(self, x):
        return torch.tanh(x + self.state)


class Token(torch.nn.Module):
    """A learned token, expanded to a number of samples"""

    def __init__(self):
        super().__init__()
        self.token = torch.nn.Parameter(torch.ones(1, 6))

    def forward(self, x):
        return torch.cat([self.token.expand(4, 6), x], dim=1)


class AnyToken(Token):
    def forward(self, x):
        return torch.cat([self.token.expand(x.shape[0], -1), x], dim=1)


# %%
# Then sizes that are stored, compared, or used by Python. ``Compare`` is what vision
# models do: they resize their positions, except when the size fits already. The size of
# the example fits, so the export takes that shortcut.


class Stored(torch.nn.Module):
    """A batch size from the configuration"""

    batch = 4

    def forward(self, x):
        return x.view(self.batch, 2, 3).sum(dim=1)


class AnyStored(torch.nn.Module):
    def forward(self, x):
        return x.view(x.shape[0], 2, 3).sum(dim=1)


class Compare(torch.nn.Module):
    """A comparison with the size of the example"""

    def __init__(self):
        super().__init__()
        self.positions = torch.nn.Parameter(waves(4).T[None])

    def forward(self, x):
        positions = self.positions
        if x.shape[0] != positions.shape[2]:
            positions = self.resize(x)
        return x + positions[0].T

    def resize(self, x):
        return torch.nn.functional.interpolate(
            self.positions, size=x.shape[0], mode="linear"
        )


class NoCompare(Compare):
    def forward(self, x):
        return x + self.resize(x)[0].T


class Number(torch.nn.Module):
    """A size that becomes a number of Python"""

    def forward(self, x):
        return x / float(len(x))


class SizeNumber(torch.nn.Module):
    def forward(self, x):
        return x / x.shape[0]


class Rows(torch.nn.Module):
    """A loop over the rows"""

    def forward(self, x):
        return sum(row for row in x)


class NoRows(torch.nn.Module):
    def forward(self, x):
        return x.sum(dim=0)


# %%
# Every first model is refused with the same words, every second one is exported.

PAIRS = [
    (Heads(), AnyHeads()),
    (Table(), LongTable(1024)),
    (State(), State(rows=1)),
    (Token(), AnyToken()),
    (Stored(), AnyStored()),
    (Compare(), NoCompare()),
    (Number(), SizeNumber()),
    (Rows(), NoRows()),
]
programs = []
for fault, fix in PAIRS:
    try:
        torch.export.export(fault, (x,), dynamic_shapes=named, strict=False)
    except torch._dynamo.exc.UserError as error:
        message = str(error)
    else:
        message = "This release exports it."
    assert "Constraints violated (batch)" in message and "constant (4)" in message
    torch.testing.assert_close(fix(x), fault(x))
    program = torch.export.export(fix, (x,), dynamic_shapes=named, strict=False)
    programs.append((fix, program))
    print(f"{type(fault).__name__:8} {fault.__doc__}")

# %%
# What the fixes cost: a long table takes memory, and sets the largest size (``max`` of
# the dimension). A state of one row fits if all rows start alike. Without the
# comparison, positions are resized at each call. The others cost nothing. All work on
# all releases of this page.
#
# The check
# +++++++++
#
# Each program against its model, on sizes that were not traced, the smallest and the
# largest included.

for fix, program in programs:
    exported = program.module()
    for size in (1, 2, 7, 1024):
        rows = torch.rand(size, 6)
        torch.testing.assert_close(exported(rows), fix(rows))
    print(f"{type(fix).__name__:10} same results for sizes 1, 2, 7 and 1024")
try:
    exported(torch.rand(1025, 6))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with 1025 rows."
print(message)
assert "1024" in message, message

# %%
# To remember
# +++++++++++
#
# * ``constant (4)``: the message names the dimension and the size, not the line. Look
#   for that number in the model, and in the shapes of its buffers.
# * Do not follow ``batch = 4`` or ``Dim.AUTO``, except where one size is what you want.
#   Suggestions with an equation or a range keep the dimension dynamic.
# * Sizes come from ``x.shape``, from -1, or from operators such as ``zeros_like``.
#
# Next: :ref:`l-plot-exporter-shapes-find-the-line` if the number is not in your code,
# :ref:`l-plot-exporter-shapes-python-int` for ``len``, ``int`` and ``float``, and
# :ref:`l-plot-exporter-shapes-zero-one` if the constant is 0 or 1.
