"""
.. _l-plot-exporter-data-guard:

Could not guard on data-dependent expression
============================================

The export fails with ``Could not guard on data-dependent expression 4*u0 > 0 (unhinted:
4*u0 > 0). (Size-like symbols: u0)``. There is no ``u0`` in the model, and the line that
the message names is often one that seems to have nothing to do with data.

This page shows how to read the message, and goes through the five things that can be
done about it, on one model, each with its price.

.. meta::
   :description: Find where u0 is made and what asks about it; then remove the value, mask,
      bound it with torch._check, use torch.cond, or keep it outside.
   :keywords: data-dependent expression, u0, unhinted, Size-like symbols, GuardOnDataDependent,
      torch._check, unbacked symbol, Eq(u0, 1), Ne(u0, 0)
"""

# %%
# The model
# +++++++++
#
# A padded sequence comes with the number of its valid rows. The valid rows are centred,
# if there are any.

# sphinx_gallery_tags = ["data-dependent values", "export fails"]
# sphinx_gallery_wording = "Could not guard on data-dependent expression Eq(256*u0, 256) (unhinted: Eq(256*u0, 256))."
# sphinx_gallery_wording = "Could not guard on data-dependent expression Eq(u77 - 1, 1)"
# sphinx_gallery_wording = "Consider annotating your code using torch._check*()"

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
ROWS = 8


def centre(rows):
    return (rows - rows.mean(dim=0)).abs().sum(dim=0)


class Model(torch.nn.Module):
    def forward(self, x, count):
        n = count.item()
        if RELEASE < (2, 8):
            torch._check_is_size(n)
        torch._check(n >= 0)
        torch._check(n <= ROWS)
        rows = x[:n]
        if rows.numel() > 0:
            return centre(rows)
        return x.new_zeros(x.shape[1])


# %%
# The symptom
# +++++++++++
#
# Both modes of the exporter, one message.

x, count = torch.rand(ROWS, 4), torch.tensor(5)
for strict in (False, True):
    try:
        torch.export.export(Model(), (x, count), strict=strict)
    except (GuardOnDataDependentSymNode, torch._dynamo.exc.UserError) as error:
        lines = [line.strip() for line in str(error).strip().splitlines()]
    else:
        lines = ["This release exports it."]
    print(f"strict={strict}: {lines[0]}")
    assert "data-dependent expression 4*u0 > 0" in lines[0], lines[0]

# %%
# How to read it
# ++++++++++++++
#
# * ``u0`` is a value that is known only when the program runs. It was made by ``item``,
#   or by an operator such as ``nonzero``. The expression says what was computed from
#   it: here the number of elements of four columns.
# * ``4*u0 > 0`` is the question. It was asked by a line of the model or of torch: an
#   ``if``, a comparison of shapes, a reshape, a slice.
# * *unhinted* is the same question after known values were put in. If the two differ, a
#   size of the example is part of it.
# * *Size-like* symbols are not negative, since they are sizes.
#
# The rest of the message names both places: the line that asks, and under *User Stack*
# or the log the line that made ``u0``. In non-strict mode the traceback shows the
# first.

found = []
try:
    torch.export.export(Model(), (x, count), strict=False)
except GuardOnDataDependentSymNode as error:
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is Model.forward.__code__:
            found.append(trace.tb_lineno)
        trace = trace.tb_next
with open(Model.forward.__code__.co_filename, encoding="utf-8") as file:
    asked = file.read().splitlines()[found[0] - 1].strip()
print("asked by:", asked)
assert asked == "if rows.numel() > 0:"

# %%
# The cause
# +++++++++
#
# Nobody can answer the question during the trace. Change one thing, a bound, and it has
# an answer: with ``n >= 1`` there are always some elements. So before anything else,
# ask what you know about the value.
#
# 1. Bound it
# +++++++++++
#
# If the empty case does not occur, say so. The ``if`` is then decided during the trace.
# Price: the program refuses the other values. It works on all releases of this page.


class Bounded(torch.nn.Module):
    def forward(self, x, count):
        n = count.item()
        if RELEASE < (2, 8):
            torch._check_is_size(n)
        torch._check(n >= 1)
        torch._check(n <= ROWS)
        rows = x[:n]
        if rows.numel() > 0:
            return centre(rows)
        return x.new_zeros(x.shape[1])


bounded = torch.export.export(Bounded(), (x, count), strict=False).module()
try:
    bounded(x, torch.tensor(0))
except RuntimeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with a count of 0."
print(message)
assert not message.startswith("This release")

# %%
# 2. Remove the value
# +++++++++++++++++++
#
# The caller cuts the sequence, and the number becomes a shape. Price: another
# signature, and the caller has to know the number. The empty case is another program,
# or none.


class Shaped(torch.nn.Module):
    def forward(self, rows):
        return centre(rows)


shapes = ({0: torch.export.Dim("rows", max=ROWS)},)
shaped = torch.export.export(
    Shaped(), (x[:5],), dynamic_shapes=shapes, strict=False
).module()

# %%
# 3. Mask
# +++++++
#
# Compute with all rows, and let the invalid ones count nothing. No value leaves its
# tensor, so no question is asked, and a batch of sequences works too. Price: the work
# of all rows, and care for the empty case, here a ``clamp`` of the divisor.


class Masked(torch.nn.Module):
    def forward(self, x, count):
        valid = (torch.arange(ROWS) < count)[:, None]
        mean = torch.where(valid, x, 0.0).sum(dim=0) / count.clamp(min=1)
        return torch.where(valid, (x - mean).abs(), 0.0).sum(dim=0)


masked = torch.export.export(Masked(), (x, count), strict=False).module()

# %%
# 4. Let the program decide
# +++++++++++++++++++++++++
#
# ``torch.cond`` holds both branches and chooses when the program runs. Price: the rules
# of the branches, see :ref:`l-plot-exporter-control-cond-rules`; here the rows are
# masked, since a branch that takes ``x[:n]`` would meet the same question.


class Chooses(torch.nn.Module):
    def forward(self, x, count):
        return torch.cond(
            count > 0,
            lambda x, count: Masked()(x, count),
            lambda x, count: torch.zeros_like(x[0]),
            (x, count),
        )


chooses = torch.export.export(Chooses(), (x, count), strict=False).module()

# %%
# 5. Keep it outside
# ++++++++++++++++++
#
# Python decides between two programs, or between a program and nothing. Price: the
# decision has to be written again in each language that runs the program.


def outside(x, count):
    n = int(count)
    return shaped(x[:n]) if n else x.new_zeros(x.shape[1])


# %%
# The check
# +++++++++
#
# All five against the model, for all counts that each of them takes. One of the counts,
# 5, was traced.

model = Model()
for n in range(ROWS + 1):
    number = torch.tensor(n)
    expected = model(x, number)
    torch.testing.assert_close(masked(x, number), expected)
    torch.testing.assert_close(chooses(x, number), expected)
    torch.testing.assert_close(outside(x, number), expected)
    if n:
        torch.testing.assert_close(bounded(x, number), expected)
        torch.testing.assert_close(shaped(x[:n]), expected)
print(f"counts 0 to {ROWS}: same results")

# %%
# How to choose
# +++++++++++++
#
# 1. Is the number known before the call? Make it a shape (2).
# 2. Is there a largest number, and is it not much larger than the usual one? Mask (3).
# 3. Do you know the answer to the question? Bound it (1).
# 4. Are there two different computations? ``cond`` (4).
# 5. Does the number steer Python, as in decoding or in post-processing? Outside (5).
#
# To remember
# +++++++++++
#
# * The message has a symbol and a question. Find who made the one and who asks the
#   other.
# * ``torch._check`` helps where you know the answer, and nowhere else.
# * A value that never leaves its tensor is never asked for.
#
# Next: :ref:`l-plot-exporter-data-item` for positions, :ref:`l-plot-exporter-data-mask`
# for masks and ``nonzero``, :ref:`l-plot-exporter-data-lengths` for lengths, and
# :ref:`l-plot-exporter-shapes-unbacked` for dimensions that are treated like ``u0``.
