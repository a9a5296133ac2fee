"""
.. _l-plot-exporter-shapes-specialized:

Constraints violated: inferred to be a constant
===============================================

A dimension was declared dynamic, and the export fails: ``Constraints violated (batch)!
... You marked batch as dynamic but your code specialized it to be a constant (4)``, or
in older words ``... batch was inferred to be a constant (4)``. The suggested fix is
``batch = 4``.

This page shows the causes that people meet most, the fix of each, and why the suggested
one is rarely what you want.

.. meta::
   :description: Replace the number in the model by a size of the input; the suggested
      fix, batch = 4, gives the dimension up.
   :keywords: Constraints violated, specialized it to be a constant, inferred to be a
      constant, RelaxedUnspecConstraint, suggested fixes, dynamic batch, hard-coded size
"""

# %%
# The model
# +++++++++
#
# Heads of an attention: the features are split into two heads. The batch size is the
# one that the author had in mind.

# sphinx_gallery_tags = ["dynamic shapes", "export fails"]
# sphinx_gallery_wording = "Not all values of RelaxedUnspecConstraint(L['query'].size()[2]) are valid because L['query'].size()[2] was inferred to be a constant (22)."
# sphinx_gallery_wording = "Not all values of batch = L['x'].size()[0] in the specified range are valid because batch was inferred to be a constant (4)."

import torch

Dim = torch.export.Dim
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Heads(torch.nn.Module):
    def forward(self, x):
        return x.reshape(4, 2, 3).softmax(dim=-1)


# %%
# The symptom
# +++++++++++
#
# Up to the first empty line, the message is all that counts. What follows advises
# another tool.

torch.manual_seed(0)
x = torch.rand(4, 6)
batch = Dim("batch", max=1024)
try:
    torch.export.export(Heads(), (x,), dynamic_shapes=({0: batch},), strict=False)
except torch._dynamo.exc.UserError as error:
    message = str(error).split("\n\nFramework")[0].split("\n\nThe error above")[0]
else:
    message = "This release exports it."
print(message)
assert "Constraints violated (batch)" in message and "constant (4)" in message

# %%
# Three lines, three questions:
#
# * ``Constraints violated (batch)`` says which dimension.
# * ``constant (4)`` says that the model works for one size. If it says another thing,
#   such as ``must always be equal`` or ``satisfy the generated guard``, the model works
#   for several, and the page to read is :ref:`l-plot-exporter-shapes-related` or
#   :ref:`l-plot-exporter-shapes-ranges`.
# * ``You marked``, or ``inferred``: two wordings of the same. It is the same again for
#   ``Dim.DYNAMIC``, which has no name, so the message names the input and the number of
#   the dimension.

try:
    torch.export.export(Heads(), (x,), dynamic_shapes=({0: Dim.DYNAMIC},), strict=False)
except (torch._dynamo.exc.UserError, ValueError) as error:
    message = str(error).split("\n\n")[0]
else:
    message = "This release exports it."
lines = [line.strip() for line in message.splitlines() if "constant" in line]
print(lines[0].split(". If you")[0])
assert "size()[0]" in lines[0] and "constant" in lines[0]

# %%
# The suggested fix is no fix
# +++++++++++++++++++++++++++
#
# ``batch = 4`` means: declare it as the constant that it is. The error goes, and so
# does the dynamic dimension.

program = torch.export.export(Heads(), (x,), dynamic_shapes=({0: 4},), strict=False)
try:
    program.module()(torch.rand(5, 6))
except (AssertionError, RuntimeError) as error:
    message = str(error).split(". If you")[0]
else:
    message = "This release runs the program with five rows."
print(message)
assert "size()[0] == 4" in message or "to be equal to 4" in message, message

# %%
# The cause
# +++++++++
#
# ``reshape(4, 2, 3)`` of a tensor with ``s0 * 6`` elements is possible for one ``s0``.
# The exporter solves the equation. Change the number, and the symptom goes: -1 lets
# torch compute the size, and ``x.shape[0]`` is the symbol itself.


class AnyHeads(torch.nn.Module):
    def forward(self, x):
        return x.reshape(x.shape[0], 2, 3).softmax(dim=-1)


program = torch.export.export(
    AnyHeads(), (x,), dynamic_shapes=({0: batch},), strict=False
)
print(program.range_constraints)
assert len(program.range_constraints) == 1

# %%
# The usual causes
# ++++++++++++++++
#
# In each pair the first model has the fault and the second the fix. All of them are
# small lines in large models.


class Table:
    """A table of the length of the example, and one that is long enough."""

    class Fault(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("positions", torch.rand(4, 6))

        def forward(self, x):
            return x + self.positions

    class Fix(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("positions", torch.rand(1024, 6))

        def forward(self, x):
            return x + self.positions[: x.shape[0]]


class Token:
    """A learned row for each sample."""

    class Fault(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.token = torch.nn.Parameter(torch.rand(1, 6))

        def forward(self, x):
            return torch.cat([self.token.expand(4, 6), x], dim=1)

    class Fix(Fault):
        def forward(self, x):
            return torch.cat([self.token.expand(x.shape[0], -1), x], dim=1)


class Compare:
    """A special case for one size."""

    class Fault(torch.nn.Module):
        def forward(self, x):
            return x - x.mean() if x.shape[0] == 4 else x

    class Fix(torch.nn.Module):
        def forward(self, x):
            return x - x.mean()


class Number:
    """A size that becomes a number of Python."""

    class Fault(torch.nn.Module):
        def forward(self, x):
            return x / float(len(x))

    class Fix(torch.nn.Module):
        def forward(self, x):
            return x / x.shape[0]


class Unpack:
    """Rows that are taken one by one."""

    class Fault(torch.nn.Module):
        def forward(self, x):
            return sum(row for row in x)

    class Fix(torch.nn.Module):
        def forward(self, x):
            return x.sum(dim=0)


class Stored:
    """A size that is remembered from an earlier call."""

    class Fault(torch.nn.Module):
        size = 4

        def forward(self, x):
            return x.new_zeros(self.size, 6) + x

    class Fix(torch.nn.Module):
        def forward(self, x):
            return torch.zeros_like(x) + x


PAIRS = [Table, Token, Compare, Number, Unpack, Stored]
refused = []
for pair in PAIRS:
    try:
        torch.export.export(
            pair.Fault(), (x,), dynamic_shapes=({0: batch},), strict=False
        )
    except (torch._dynamo.exc.UserError, RuntimeError) as error:
        refused.append(pair.__name__)
        message = str(error).splitlines()[0].split("! For")[0]
    else:
        message = "exported"
    torch.export.export(pair.Fix(), (x,), dynamic_shapes=({0: batch},), strict=False)
    print(f"{pair.__name__:8} {message:30} {pair.__doc__}")
assert refused == [pair.__name__ for pair in PAIRS]

# %%
# What the fixes cost: ``Table`` needs a largest length, and memory for it. ``Compare``
# gives up the special case; if it is needed, export two programs. The others cost
# nothing. All work on all releases of this page.
#
# Not every number is a fault. Where the model can only work for one size, such as a
# fixed number of sensors, ``Dim.STATIC`` or no entry is the honest declaration.
#
# The check
# +++++++++
#
# Each fix against its model, on sizes that were not traced.

for model in [AnyHeads(), *(pair.Fix() for pair in PAIRS)]:
    program = torch.export.export(
        model, (x,), dynamic_shapes=({0: batch},), strict=False
    )
    exported = program.module()
    for size in (1, 2, 7, 1024):
        inputs = torch.rand(size, 6)
        torch.testing.assert_close(exported(inputs), model(inputs))
print("seven programs, sizes 1, 2, 7 and 1024: same results")
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
# * The message names the dimension and the size, not the line. Look for that number in
#   the model first.
# * Do not follow ``batch = 4``, except where one size is what you want.
# * Sizes come from ``x.shape``, from -1, or from operators such as ``zeros_like``.
#
# Next: :ref:`l-plot-exporter-shapes-find-the-line` if the number is not in your code,
# :ref:`l-plot-exporter-shapes-python-int` for ``len``, ``int`` and ``float``, and
# :ref:`l-plot-exporter-shapes-zero-one` if the constant is 0 or 1.
