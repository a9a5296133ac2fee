"""
.. _l-plot-exporter-data-item:

Use a value of a tensor as a position or a size
===============================================

The model calls ``pos.item()`` and uses the number in a slice, an index, a size or a
loop. The export fails with ``Could not guard on data-dependent expression u0 + 1 < 0``,
``Could not extract specialized integer from data-dependent expression u0``, or ``only
integers, slices (`:`), ... are valid indices (got SymInt)``.

This page takes a cache with a position, shows which uses of a number are possible,
bounds the number with ``torch._check``, and does without the number where that is
better.

.. meta::
   :description: Bound the number with torch._check right after item(), or keep it a tensor
      and use index_copy_, index_select or a mask.
   :keywords: item(), int(tensor), KV cache position, narrow, got SymInt, torch._check,
      torch._check_is_size, data-dependent slice, Could not extract specialized integer
"""

# %%
# The model
# +++++++++
#
# A cache of sixteen rows. A new row is written at a position that is known only when
# the program runs, and the rows up to there are summed up.

# sphinx_gallery_tags = ["data-dependent values", "export fails", "run fails"]
# sphinx_gallery_wording = "Could not guard on data-dependent expression Eq(507 - u0, 0) (unhinted: Eq(507 - u0, 0)).  (Size-like symbols: u0)"
# sphinx_gallery_wording = "Could not guard on data-dependent expression Eq(u77 - 1, 1)"

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
ROWS = 16


class Cache(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("cache", torch.zeros(ROWS, 4))


class Direct(Cache):
    def forward(self, x, position):
        p = position.item()
        self.cache[p] = x
        return self.cache[: p + 1].sum(dim=0)


# %%
# The symptom
# +++++++++++
#
# What each release says about the direct way.

x, position = torch.rand(4), torch.tensor(5)
REFUSED = (GuardOnDataDependentSymNode, torch._dynamo.exc.UserError, IndexError)


def first_line(error):
    return str(error).strip().splitlines()[0].split(" (unhinted")[0]


try:
    program = torch.export.export(Direct(), (x, position), strict=False)
except REFUSED as error:
    program, message = None, first_line(error)
else:
    message = "This release exports it."
print(message)

# %%
# The newer the release, the more is accepted. The table has one line for each use of
# the number ``p``, and ends with what is refused by all.

USES = {
    "x * p": lambda x, p, cache: x * p,
    "torch.zeros(p, 4)": lambda x, p, cache: torch.zeros(p, 4).sum(dim=0) + x,
    "cache[p]": lambda x, p, cache: cache[p] + x,
    "cache[:p]": lambda x, p, cache: cache[:p].sum(dim=0) + x,
    "cache.narrow(0, p, 1)": lambda x, p, cache: cache.narrow(0, p, 1)[0] + x,
    "if p > 3": lambda x, p, cache: x if p > 3 else -x,
    "range(p)": lambda x, p, cache: x * len(range(p)),
    "int(position)": None,
}


class Uses(Cache):
    def __init__(self, use):
        super().__init__()
        self.use = use

    def forward(self, x, position):
        if self.use is None:
            return self.cache[int(position)] + x
        return self.use(x, position.item(), self.cache)


accepted = []
for name, use in USES.items():
    try:
        torch.export.export(Uses(use), (x, position), strict=False)
    except REFUSED as error:
        message = first_line(error)[:75]
    else:
        accepted.append(name)
        message = "exported"
    print(f"{name:22} {message}")
assert {"x * p", "torch.zeros(p, 4)"} <= set(accepted)
assert not {"if p > 3", "range(p)"} & set(accepted)

# %%
# The cause
# +++++++++
#
# ``item()`` of a fake tensor gives a symbol without a value, ``u0``. Multiplying with
# it needs no answer. A slice asks whether ``p`` is negative, because then it would
# count from the end, and whether it is beyond the last row. These are the expressions
# in the messages. An ``if`` and a loop ask for the value itself.
#
# Give the answers, and the question is not asked: ``torch._check`` states a fact about
# the symbol, at the line where it is known. This is the one thing that changes here.


class Checked(Cache):
    def forward(self, x, position):
        p = position.item()
        torch._check(p >= 0)
        torch._check(p < ROWS)
        self.cache.narrow(0, p, 1).copy_(x[None])
        return self.cache[: p + 1].sum(dim=0)


try:
    program = torch.export.export(Checked(), (x, position), strict=False)
except REFUSED as error:
    print(first_line(error))
    program = None
else:
    print("exported; ranges:", program.range_constraints)

# %%
# Up to 2.7 the two checks are not enough for the slice: a *size* has to be declared as
# one, with ``torch._check_is_size``, which newer releases deprecate. A model for all
# releases asks for the release.


class CheckedSize(Cache):
    def forward(self, x, position):
        p = position.item()
        if RELEASE < (2, 8):
            torch._check_is_size(p)
        torch._check(p >= 0)
        torch._check(p < ROWS)
        self.cache.narrow(0, p, 1).copy_(x[None])
        return self.cache.narrow(0, 0, p + 1).sum(dim=0)


# %%
# Fix 1: bound the number
# +++++++++++++++++++++++
#
# The price: the program refuses what is out of bounds, with a message that names the
# expression and not the model. That is usually right, since eager would fail as well,
# but a negative position, which eager counts from the end, is refused too.

program = torch.export.export(CheckedSize(), (x, position), strict=False)
checked = program.module()
for bad in (ROWS, -1):
    try:
        checked(x, torch.tensor(bad))
    except RuntimeError as error:
        message = str(error).splitlines()[0]
    else:
        message = "This release runs it."
    print(f"{bad:3}: {message}")
    assert not message.startswith("This release")

# %%
# Fix 2: let it be a tensor
# +++++++++++++++++++++++++
#
# ``index_copy_`` writes at a position that is a tensor, and a mask replaces the slice.
# No symbol is made, nothing has to be declared, and the same program takes several
# positions at once. The price is that all sixteen rows are summed up, with zeros for
# the others.


class Tensor(Cache):
    def forward(self, x, position):
        self.cache.index_copy_(0, position[None], x[None])
        seen = torch.arange(ROWS) <= position
        return torch.where(seen[:, None], self.cache, 0.0).sum(dim=0)


tensor = torch.export.export(Tensor(), (x, position), strict=False).module()

# %%
# Fix 3: let it be a shape
# ++++++++++++++++++++++++
#
# If the caller knows the number before the call, a tensor with that many rows carries
# it. Its size is a dynamic dimension, which has an example and can be compared.


class Prefix(torch.nn.Module):
    def forward(self, x, rows):
        return torch.cat([rows, x[None]]).sum(dim=0)


shapes = (None, {0: torch.export.Dim("position", max=ROWS)})
prefix = torch.export.export(
    Prefix(), (x, torch.zeros(5, 4)), dynamic_shapes=shapes, strict=False
).module()

# %%
# The check
# +++++++++
#
# All three against the direct model, at each position one after the other. One of them,
# 5, was traced. The three fixes work on all releases of this page.

reference = Direct()
checked.load_state_dict(reference.state_dict())
tensor.load_state_dict(reference.state_dict())
rows = torch.rand(ROWS, 4)
for p in range(ROWS):
    expected = reference(rows[p], torch.tensor(p))
    torch.testing.assert_close(checked(rows[p], torch.tensor(p)), expected)
    torch.testing.assert_close(tensor(rows[p], torch.tensor(p)), expected)
    torch.testing.assert_close(prefix(rows[p], rows[:p]), expected)
print(f"positions 0 to {ROWS - 1}: same results")

# %%
# To remember
# +++++++++++
#
# * ``item()`` is allowed; asking something about its result is not.
# * ``torch._check`` right after ``item()`` answers the questions, and is a check of the
#   program.
# * A tensor as an index, a mask, or a shape does without the symbol.
#
# Next: :ref:`l-plot-exporter-data-guard` for expressions that no bound answers,
# :ref:`l-plot-exporter-control-cond` for the ``if``,
# :ref:`l-plot-exporter-control-while` for the loop, and
# :ref:`l-plot-exporter-wrong-state` for the cache itself.
