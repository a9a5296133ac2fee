"""
.. _l-plot-exporter-data-guard:

Could not guard on data-dependent expression
============================================

The export fails with ``Could not guard on data-dependent expression Eq(u0, 1)
(unhinted: Eq(u0, 1)). (Size-like symbols: none)``. There is no ``u0`` in the model, and
the advice in the message, ``guard_or_false``, can make a wrong program.

This page shows how to read the message, and goes through the five things that can be
done about it, on one small model, each with its price.

.. meta::
   :description: Find what made u0 and which line asks about it; then remove the value,
      mask, bound it with torch._check, use torch.cond, or keep it outside.
   :keywords: data-dependent expression, u0, unhinted, Size-like symbols, Eq(u0, 1),
      GuardOnDataDependentSymNode, torch._check, unbacked symbol, guard_or_false
"""

# %%
# The model
# +++++++++
#
# A padded sequence comes with the number of its valid rows. The result is their
# standard deviation, which does not exist for one row: the model returns 0 then.

# sphinx_gallery_tags = ["data-dependent values", "export fails"]
# sphinx_gallery_wording = "Could not guard on data-dependent expression Eq(u77 - 1, 1)"
# sphinx_gallery_wording = "GuardOnDataDependentSymNode: Could not guard on u0"

import linecache
import re

import torch
from torch.fx.experimental import symbolic_shapes

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
ROWS = 8


def bounded_item(count, smallest):
    n = count.item()
    if RELEASE < (2, 8):
        torch._check_is_size(n)
    torch._check(n >= smallest)
    torch._check(n <= ROWS)
    return n


def deviation(rows):
    squares = (rows - rows.mean(dim=0)).square().sum(dim=0)
    return (squares / (rows.shape[0] - 1)).sqrt()


class Spread(torch.nn.Module):
    smallest = 0

    def forward(self, x, count):
        n = bounded_item(count, self.smallest)
        if n == 1:
            return torch.zeros_like(x[0])
        return deviation(x[:n])


# %%
# The symptom
# +++++++++++
#
# The modes have exceptions of their own, and strict mode puts a sentence in front.

torch.manual_seed(0)
x, count = torch.rand(ROWS, 4), torch.tensor(5)
REFUSED = (
    symbolic_shapes.GuardOnDataDependentSymNode,
    torch._dynamo.exc.UserError,
)
messages = {}
for strict in (False, True):
    try:
        torch.export.export(Spread(), (x, count), strict=strict)
    except REFUSED as error:
        messages[strict] = str(error).strip()
    else:
        messages[strict] = "This release exports it."
    first = messages[strict].splitlines()[0]
    print(f"strict={strict}: {first}")
    assert "data-dependent expression Eq(u0, 1)" in first, first

# %%
# How to read it: the question
# ++++++++++++++++++++++++++++
#
# * ``u0`` is a value that is known only when the program runs. ``zuf0`` is one of type
#   float.
# * ``Eq(u0, 1)`` is the question, is it equal to 1? ``Ne`` is *not equal*.
# * *Unhinted* is the same question before the sizes of the example were put in. The two
#   differ if a dynamic dimension is part of the question.
# * *Size-like* symbols are known to be sizes, and so not negative.
#
# Here are some questions, and the code that asks them.

QUESTIONS = {
    "if mask.any()": lambda x, mask, n: x if mask.any() else -x,
    "if n - 1 == 1": lambda x, mask, n: x if n.item() - 1 == 1 else -x,
    "if 507 - n == 0": lambda x, mask, n: x if 507 - n.item() == 0 else -x,
    "if len(rows) == 0": lambda x, mask, n: x if x[mask].shape[0] == 0 else -x,
    "if rows.numel() == 256": (
        lambda x, mask, n: x if x[mask].repeat(1, 64).numel() == 256 else -x
    ),
    "if rows.numel() != size": (
        lambda x, mask, n: x if x[mask].numel() != 3 * x.shape[0] else -x
    ),
    "if total > 0": lambda x, mask, n: x if x.sum().item() > 0 else -x,
    "x[:n]": lambda x, mask, n: x[: n.item()],
}


class Asks(torch.nn.Module):
    def __init__(self, question):
        super().__init__()
        self.question = question

    def forward(self, x, mask, n):
        return self.question(x, mask, n)


asked = {}
inputs = (x.clone(), x[:, 0] > 0.5, count)
dynamic = ({0: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim.DYNAMIC}, None)
for name, question in QUESTIONS.items():
    try:
        torch.export.export(
            Asks(question), inputs, dynamic_shapes=dynamic, strict=False
        )
    except REFUSED as error:
        line = str(error).strip().splitlines()[0]
        asked[name] = line.split("expression ")[1].split(".  (Size-like")[0]
    print(f"{name:24} {asked.get(name, 'exported')}")
assert asked["if mask.any()"].startswith("Eq(u0, 1)")
assert asked["if 507 - n == 0"].startswith("Eq(507 - u0, 0)")
assert asked["if rows.numel() == 256"].startswith("Eq(256*u0, 256)")
assert "(unhinted: Ne(4*u0, 3*s" in asked["if rows.numel() != size"]
assert ("x[:n]" in asked) == (RELEASE < (2, 10))

# %%
# ``Eq(u0, 1)`` has two meanings: a count that is compared with 1, and a Boolean, which
# torch keeps as 0 or 1 (strict mode has another message for it, see
# :ref:`l-plot-exporter-control-cond`). The last line is a question that torch asks: a
# slice counts from the end if ``u0 < 0``. Since 2.10 it is not asked any more: a newer
# release is a fix for some of these errors.

# %%
# How to read it: the two places
# ++++++++++++++++++++++++++++++
#
# The line that asks is behind ``Caused by``. If that names a file of torch, look for
# *The following call raised this error* or *User Stack*.

for strict, message in messages.items():
    number = int(re.search(r"Caused by: .*:(\d+) in forward", message).group(1))
    line = linecache.getline(Spread.forward.__code__.co_filename, number).strip()
    print(f"strict={strict}: {line}")
    assert line == "if n == 1:"

# %%
# To find what made the symbol, print candidates: non-strict mode runs the model, and
# ``print`` gives the name. The log of ``TORCH_LOGS="dynamic"`` names the operator, after
# ``create_unbacked_symint u0``: here ``local_scalar_dense``, which is ``item``.


class Prints(torch.nn.Module):
    def forward(self, x, count):
        n = bounded_item(count, 0)
        NAMES.append(str(n))
        print("count.item():", n)
        return deviation(x[:n])


NAMES = []
torch.export.export(Prints(), (x, count), strict=False)
assert NAMES == ["u0"]

# %%
# What the message advises
# ++++++++++++++++++++++++
#
# Since 2.9 it proposes ``guard_or_false`` and its relatives. They give up the question:
# the answer is *no*, for each later call. That is meant for shortcuts, which may be
# left out. This ``if`` may not: the program is wrong for one row, without an error.

if RELEASE >= (2, 8):

    class GivesUp(torch.nn.Module):
        def forward(self, x, count):
            n = bounded_item(count, 0)
            if symbolic_shapes.guard_or_false(n == 1):
                return torch.zeros_like(x[0])
            return deviation(x[:n])

    one = torch.tensor(1)
    program = torch.export.export(GivesUp(), (x, count), strict=False)
    wrong, right = program.module()(x, one), GivesUp()(x, one)
    print("program:", wrong.tolist(), "eager:", right.tolist())
    assert wrong.isnan().all() and (right == 0).all()
else:
    print("This release has no guard_or_false.")
    assert not hasattr(symbolic_shapes, "guard_or_false")

# %%
# The cause
# +++++++++
#
# A trace follows one way through the ``if``, and nobody knows which. Change one thing,
# what is known about ``u0``, and the same line is no error: from 2 to 8, it is not 1.


class AtLeastTwo(Spread):
    smallest = 2


program = torch.export.export(AtLeastTwo(), (x, count), strict=False)
print(program.range_constraints)
assert [(r.lower, r.upper) for r in program.range_constraints.values()] == [(2, ROWS)]

# %%
# Fix 1: remove the value
# +++++++++++++++++++++++
#
# A value that the caller knows can be the size of an input. The question is then asked
# about a dimension, which has an example and a range. Price: another signature, and the
# caller has to treat one row in another way.


class Shaped(torch.nn.Module):
    def forward(self, rows):
        if rows.shape[0] == 1:
            return torch.zeros_like(rows[0])
        return deviation(rows)


rows = torch.export.Dim("rows", min=2, max=ROWS)
shaped = torch.export.export(
    Shaped(), (x[:5],), dynamic_shapes=({0: rows},), strict=False
).module()

# %%
# Fix 2: mask or pad
# ++++++++++++++++++
#
# Compute with all rows, and let the others count nothing. The count stays in its
# tensor, so no symbol is made. Price: the work for all rows, formulas that are written
# again, and a ``clamp`` where there was an ``if``. A count above 8 is not refused.


def masked_spread(x, count, divisor):
    valid = (torch.arange(ROWS) < count)[:, None]
    mean = torch.where(valid, x, 0.0).sum(dim=0) / count
    squares = torch.where(valid, (x - mean).square(), 0.0)
    return (squares.sum(dim=0) / divisor).sqrt()


class Masked(torch.nn.Module):
    def forward(self, x, count):
        return masked_spread(x, count, (count - 1).clamp(min=1))


masked = torch.export.export(Masked(), (x, count), strict=False).module()

# %%
# Fix 3: bound it
# +++++++++++++++
#
# This is ``AtLeastTwo`` from above: you know the answer, and tell it right after
# ``item``. Up to 2.7 a number that becomes a size needs ``torch._check_is_size`` too.
# Price: the program refuses the other values, and so does the model.

bounded = program.module()

# %%
# Fix 4: torch.cond
# +++++++++++++++++
#
# :func:`torch.cond` keeps both branches, and chooses when the program runs. The
# condition is a tensor, without ``item``. Price: the rules of the branches, see
# :ref:`l-plot-exporter-control-cond-rules`. The rows are masked here too, because not
# every release accepts ``item`` in a branch.


class Chooses(torch.nn.Module):
    def forward(self, x, count):
        return torch.cond(
            count == 1,
            lambda x, count: torch.zeros_like(x[0]),
            lambda x, count: masked_spread(x, count, count - 1),
            (x, count),
        )


chooses = torch.export.export(Chooses(), (x, count), strict=False).module()

# %%
# Fix 5: keep it outside
# ++++++++++++++++++++++
#
# Python decides between two programs, or between a program and a function. Price: each
# application that runs the program has to contain the decision.


def outside(x, count):
    n = int(count)
    return torch.zeros_like(x[0]) if n == 1 else shaped(x[:n])


# %%
# The check
# +++++++++
#
# All five against the model, for all counts that they take. Only 5 was traced. They
# work on all releases of this page.

for n in range(1, ROWS + 1):
    number = torch.tensor(n)
    expected = Spread()(x, number)
    for call in (masked, chooses, outside):
        torch.testing.assert_close(call(x, number), expected)
    if n >= 2:
        torch.testing.assert_close(bounded(x, number), expected)
        torch.testing.assert_close(shaped(x[:n]), expected)
print(f"counts 1 to {ROWS}: same results")

# %%
# The bound refuses a count of 1.

try:
    bounded(x, torch.tensor(1))
except RuntimeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print(message)
assert "u0 >= 2" in message, message

# %%
# The dimension with ``min=2`` does not refuse one row, on any release of this page: see
# :ref:`l-plot-exporter-shapes-zero-one`. The caller has to, as ``outside`` does.

result = shaped(x[:1])
print("one row:", result.tolist())
assert result.isnan().all()

# %%
# How to choose
# +++++++++++++
#
# Take the first line that is true for your model.

DECISIONS = {
    "the caller knows the value, or a tensor replaces it": "remove (1)",
    "you know the answer to the question": "bound (3)",
    "there is a largest number of items": "mask or pad (2)",
    "two computations, results of the same shape": "torch.cond (4)",
    "the value steers Python: decoding, post-processing": "outside (5)",
}
for situation, decision in DECISIONS.items():
    print(f"{situation:52} {decision}")

# %%
# To remember
# +++++++++++
#
# * The message has a symbol and a question. Find what made the one, and which line asks
#   the other.
# * ``torch._check`` helps where you know the answer; ``guard_or_false`` makes one up.
# * A value that stays in its tensor is never asked for.
#
# Next: :ref:`l-plot-exporter-data-item` for positions and sizes,
# :ref:`l-plot-exporter-data-mask` for masks and ``nonzero``,
# :ref:`l-plot-exporter-control-cond` for an ``if``, and
# :ref:`l-plot-exporter-exporter-draft` to see all such errors of a model at once.
