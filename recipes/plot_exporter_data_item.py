"""
.. _l-plot-exporter-data-item:

Use a value of a tensor as a position or a size
===============================================

The model calls ``pos[0].item()`` or ``int(n)`` and uses the number in a slice, an index,
``narrow`` or a size. The export fails with ``Could not guard on data-dependent
expression u0 < 0``, ``Could not extract specialized integer from data-dependent
expression u0``, or ``only integers, slices (...), ... valid indices (got SymInt)``.

This page takes a key/value cache with a position, shows which uses of a number each
release accepts, bounds the number, and does without it where that is better.

.. meta::
   :description: Bound the number with torch._check right after item(), or keep it a
      tensor and use index_copy_, index_select or a mask.
   :keywords: item(), int(tensor), KV cache position, narrow, got SymInt, torch._check,
      torch._check_is_size, data-dependent slice, static cache, torch.zeros(n)
"""

# %%
# The model
# +++++++++
#
# A cache has room for sixteen positions. New keys are written from ``pos[0]`` on, and
# everything up to the last of them is summed up (an attention would read the same rows).

# sphinx_gallery_tags = ["data-dependent values", "export fails", "run fails"]
# sphinx_gallery_wording = "Could not guard on data-dependent expression Eq(507 - u0, 0)"
# sphinx_gallery_wording = "Failed running call_function getitem (got SymInt)"

import copy
import re

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
ROWS = 16


class Cache(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("keys", torch.zeros(ROWS, 4))

    def bounded(self, start, length):
        return start

    def forward(self, new, pos):
        length = new.shape[0]
        start = self.bounded(pos[0].item(), length)
        self.keys.narrow(0, start, length).copy_(new)
        return self.keys.narrow(0, 0, start + length).sum(dim=0)


def make_inputs(start, length):
    return torch.rand(length, 4), torch.arange(start, start + length)


# %%
# The symptom
# +++++++++++
#
# Up to 2.9 the model is refused. The first ``narrow`` that reads ``u0`` asks whether it
# is negative.

torch.manual_seed(0)
inputs = make_inputs(start=5, length=3)
REFUSED = (
    GuardOnDataDependentSymNode,
    torch._dynamo.exc.TorchDynamoException,  # UserError, TorchRuntimeError
    IndexError,
)


def said(error):
    message = str(error).strip()
    pattern = r"only integers.*got SymInt\)|Could not [^(]*|.*"
    return re.search(pattern, message).group().strip()


for strict in (False, True):
    try:
        torch.export.export(Cache(), inputs, strict=strict)
    except REFUSED as error:
        message = said(error)
    else:
        message = "This release exports it."
    print(f"strict={strict}: {message}")
    assert ("expression u0 < 0" in message) == (RELEASE < (2, 10)), message

# %%
# What each release accepts
# +++++++++++++++++++++++++
#
# One line for each use of a number ``p`` that nothing is known about, in both modes. The
# newer the release, the more is accepted. The last five are refused by all releases, in
# one mode or in both.

USES = {
    "x * p": lambda x, p: x * p.item(),
    "torch.zeros(p, 4)": lambda x, p: torch.zeros(p, 4),
    "x.narrow(0, p, 1)": lambda x, p: x.narrow(0, p.item(), 1),
    "x[:p]": lambda x, p: x[: p.item()],
    "x[p]": lambda x, p: x[p.item()],
    "x before, x after p": lambda x, p: torch.cat(
        [x.narrow(0, 0, p.item()), x.narrow(0, p.item(), ROWS - p.item())]
    ),
    "x[0, p]": lambda x, p: x[0, p.item()],
    "x[int(p)]": lambda x, p: x[int(p)],
    "range(p)": lambda x, p: x * len(range(p)),
    "x if p > 3": lambda x, p: x if p.item() > 3 else -x,
    "float(p)": lambda x, p: x * float(p),
}


class Uses(torch.nn.Module):
    def __init__(self, use):
        super().__init__()
        self.use = use

    def forward(self, x, p):
        return self.use(x, p)


x, p = torch.rand(ROWS, 4), torch.tensor(3)
table = {}
for name, use in USES.items():
    for strict in (False, True):
        try:
            torch.export.export(Uses(use), (x, p), strict=strict)
        except REFUSED as error:
            table[name, strict] = said(error)
        else:
            table[name, strict] = "exported"
    print(name)
    print("    non-strict:", table[name, False])
    print("    strict:    ", table[name, True])

for name, strict in [("x[0, p]", True), ("x[int(p)]", False), ("float(p)", False)]:
    assert table[name, strict] != "exported", name
for strict in (False, True):
    assert table["torch.zeros(p, 4)", strict] == "exported"
    assert "exported" not in (table["range(p)", strict], table["x if p > 3", strict])
    assert (table["x[:p]", strict] == "exported") == (RELEASE >= (2, 10))

# %%
# Some of them need other code, and no bound:
#
# * Write ``item()`` instead of ``int`` or ``float``. Non-strict mode runs Python's ``int``,
#   which must return a number; strict mode replaces it.
# * Write ``x[0][p]`` instead of ``x[0, p]``, or ``index_select`` (below): ``SymInt`` is
#   the type of ``u0``, and some releases refuse it beside a second index.
# * A loop over ``range(p)`` is :ref:`l-plot-exporter-control-while`, the ``if`` is
#   :ref:`l-plot-exporter-control-cond`.
#
# The cause
# +++++++++
#
# ``item()`` gives a symbol without a value, ``u0``. Multiplying by it asks nothing. A
# slice asks whether ``u0`` is negative, because then it counts from the end, and whether
# it is beyond the end; ``Eq(16 - u0, 0)`` asks if the rest is empty. Tell what you know,
# and nobody asks: the methods of this class are the only difference.


class BoundedCache(Cache):
    def bounded(self, start, length):
        if RELEASE < (2, 8):
            torch._check_is_size(start)
        torch._check(start >= 0)
        torch._check(start + length <= ROWS)
        return start


new = torch.export.Dim("new", max=ROWS)
shapes = ({0: new}, {0: new})
for strict in (False, True):
    program = torch.export.export(BoundedCache(), inputs, strict=strict)
    print(f"strict={strict}:", program.range_constraints)
    ranges = {(r.lower, r.upper) for r in program.range_constraints.values()}
    assert ranges == {(0, ROWS - 3)}

# %%
# Fix 1: bound the number
# +++++++++++++++++++++++
#
# State the facts right after ``item()``, lower bound and upper bound. Up to 2.7
# ``torch._check_is_size`` is needed as well, which says that the number will be a size;
# newer releases do without it, and deprecate it. With this it works on all releases of
# this page, and the number of new keys can be dynamic.
#
# Price: the bounds are checked when the program runs. What is refused is named by its
# symbol, even if ``torch._check`` was given a message. A negative position is refused,
# although eager counts from the end.

program = torch.export.export(
    BoundedCache(), inputs, dynamic_shapes=shapes, strict=False
)
bounded = program.module()
for start in (ROWS - 2, -1):
    try:
        bounded(*make_inputs(start, 3))
    except RuntimeError as error:
        message = str(error).splitlines()[0]
    else:
        message = "This release runs it."
    print(f"{start:2}: {message}")
    assert "Runtime assertion failed" in message or "Invalid value range" in message

# %%
# Is a release that exports without bounds a reason to leave them out? The slice is then
# cut at the end, in eager and in the program, and nobody hears of it: this is the sum of
# the first 17 of 16 rows.


class Unbounded(torch.nn.Module):
    def forward(self, x, p):
        return x[: p.item()].sum(dim=0)


if RELEASE >= (2, 10):
    program = torch.export.export(Unbounded(), (x, p), strict=False)
    result = program.module()(x, torch.tensor(17))
    print("same as the sum of all:", torch.equal(result, x.sum(dim=0)))
    torch.testing.assert_close(result, x.sum(dim=0))
else:
    print("This release does not export it.")
    assert table["x[:p]", False] != "exported"

# %%
# Fix 2: keep it a tensor
# +++++++++++++++++++++++
#
# ``index_copy_`` writes at positions that are a tensor, ``index_select`` reads there, and
# a comparison with ``arange`` replaces a slice from the start. No symbol is made, nothing
# has to be declared, and the positions need not be consecutive. Works on all releases.
#
# Price: all sixteen rows are summed up, with zeros for those that do not count.


class TensorCache(Cache):
    def forward(self, new, pos):
        self.keys.index_copy_(0, pos, new)
        seen = torch.arange(ROWS) <= pos[-1]
        return torch.where(seen[:, None], self.keys, 0.0).sum(dim=0)


tensor = torch.export.export(
    TensorCache(), inputs, dynamic_shapes=shapes, strict=False
).module()

# %%
# The operator refuses what is out of bounds, negative positions included.

for start in (ROWS - 2, -1):
    try:
        tensor(*make_inputs(start, 3))
    except (IndexError, RuntimeError) as error:
        message = str(error).splitlines()[0]
    else:
        message = "This release runs it."
    print(f"{start:2}: {message}")
    assert "out of bounds" in message, message

# %%
# A size that comes from a tensor
# +++++++++++++++++++++++++++++++
#
# ``torch.zeros(n, 4)`` alone is exported by all releases. As soon as it meets a tensor,
# the two sizes have to agree. If the other one is static, the exporter settles the
# question: ``n`` is 16 from now on, without an error.


class Adds(torch.nn.Module):
    def forward(self, x, n):
        return torch.zeros(n.item(), 4) + x


rows = torch.tensor(ROWS)
program = torch.export.export(Adds(), (x, rows), strict=False)
print(program.range_constraints)
assert [(r.lower, r.upper) for r in program.range_constraints.values()] == [(16, 16)]
try:
    program.module()(x, torch.tensor(1))
except RuntimeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print("n = 1, which eager accepts:", message)
assert "16" in message and Adds()(x, torch.tensor(1)).shape == x.shape

# %%
# Most such sizes are the size of something: take it from there, and the value is not
# needed.


class AddsShape(torch.nn.Module):
    def forward(self, x):
        return torch.zeros(x.shape[0], 4) + x


size = torch.export.Dim("size")
program = torch.export.export(
    AddsShape(), (x,), dynamic_shapes=({0: size},), strict=False
)
for n in (1, 2, 30):
    longer = torch.rand(n, 4)
    torch.testing.assert_close(program.module()(longer), longer)
print("sizes 1, 2 and 30: same results")

# %%
# The check
# +++++++++
#
# Both caches against the model: a prompt, then steps of other lengths than the traced
# one, up to a full cache.

reference = Cache()
for module in (bounded, tensor):
    module.load_state_dict(copy.deepcopy(reference.state_dict()))
start = 0
for length in (5, 1, 1, 2, 7):
    inputs = make_inputs(start, length)
    expected = reference(*inputs)
    torch.testing.assert_close(bounded(*inputs), expected)
    torch.testing.assert_close(tensor(*inputs), expected)
    start += length
    print(f"{length} new, {start} in the cache: same results")
torch.testing.assert_close(bounded.keys, reference.keys)
torch.testing.assert_close(tensor.keys, reference.keys)

# %%
# To remember
# +++++++++++
#
# * ``item()`` is allowed; a question about its result needs an answer.
# * ``torch._check`` right after ``item()`` answers, and the program checks it.
# * A tensor as an index, a mask or a shape does without the symbol.
#
# Next: :ref:`l-plot-exporter-data-guard` for expressions that no bound answers,
# :ref:`l-plot-exporter-data-lengths` for many numbers at once (``tolist``),
# :ref:`l-plot-exporter-control-assert` for the checks of a program, and
# :ref:`l-plot-exporter-wrong-state` for the cache itself.
