"""
.. _l-plot-exporter-data-mask:

Boolean masks, nonzero and unique: keep the mask
================================================

The model selects rows with ``x[mask]``, ``nonzero``, ``unique`` or ``torch.where(mask)``,
and a later line fails: ``Could not guard on data-dependent expression Eq(u0, 0)``,
``Eq(256*u0, 256)``, ``... u0 > 1``. Or the message is ``Pending unbacked symbols {zuf0}
not in returned outputs``.

This page shows what may be done with a selection, states what is known of its size, and
computes the same without a selection.

.. meta::
   :description: Keep all rows and the mask, with torch.where, masked_fill or a weighted sum;
      or bound the size of the selection with torch._check.
   :keywords: nonzero, boolean mask indexing, masked_select, torch.unique, masked_scatter,
      data-dependent output shape, Pending unbacked symbols, Eq(u0, 0), token pruning
"""

# %%
# The model
# +++++++++
#
# A tracker of points. Only the visible ones attend to each other, the others stay as
# they are. If there are none, nothing has to be done.

# sphinx_gallery_tags = ["data-dependent values", "export fails", "run fails"]
# sphinx_gallery_wording = "Could not guard on data-dependent expression Eq(256*u0, 256) (unhinted: Eq(256*u0, 256))."
# sphinx_gallery_wording = "export fails with boolean mask indexing, x[mask]"
# sphinx_gallery_wording = "attention on a selection of tokens cannot be exported"

import torch
from torch.fx.experimental.symbolic_shapes import (
    GuardOnDataDependentSymNode,
    PendingUnbackedSymbolNotFound,
)

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


def attention(rows, mask=None):
    rows = rows[None, None]
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(rows, rows, rows, attn_mask=mask)[0, 0]


class Tracker(torch.nn.Module):
    def forward(self, x):
        visible = x[:, 0] > 0
        rows = x[visible]
        if rows.shape[0] == 0:
            return x.clone()
        y = x.clone()
        y[visible] = attention(rows)
        return y


class NoBranch(torch.nn.Module):
    def forward(self, x):
        visible = x[:, 0] > 0
        y = x.clone()
        y[visible] = attention(x[visible])
        return y


# %%
# The symptom
# +++++++++++
#
# The ``if`` is refused. Without it, the same question comes from inside the attention.

torch.manual_seed(0)
x = torch.randn(6, 4)
REFUSED = (GuardOnDataDependentSymNode, torch._dynamo.exc.UserError)


def export(model, strict=False, inputs=(x,)):
    shapes = tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)
    # One entry per argument; the models of the tables take ``*inputs``.
    return torch.export.export(model, inputs, dynamic_shapes=shapes, strict=strict)


def first_line(error):
    return str(error).strip().splitlines()[0]


for kind in (Tracker, NoBranch):
    for strict in (False, True):
        try:
            export(kind(), strict)
        except REFUSED as error:
            message = first_line(error)
        else:
            message = "This release exports it."
        print(f"{kind.__name__:9} strict={strict!s:5} {message}\n")
        assert "Eq(u0, 0)" in message

# %%
# The cause
# +++++++++
#
# The selection itself is not refused. Its first size is a symbol without a value,
# ``u0``, which may be anything from 0 on. The nodes of a program show it.


class Select(torch.nn.Module):
    def __init__(self, use):
        super().__init__()
        self.use = use

    def forward(self, x):
        return self.use(x, x[:, 0] > 0)


SELECTIONS = {
    "x[mask]": lambda x, mask: x[mask],
    "torch.nonzero(mask)": lambda x, mask: torch.nonzero(mask),
    "torch.where(mask)[0]": lambda x, mask: torch.where(mask)[0],
    "torch.masked_select": lambda x, mask: torch.masked_select(x, mask[:, None]),
    "torch.unique": lambda x, mask: torch.unique(x),
}
for name, use in SELECTIONS.items():
    program = export(Select(use))
    (node,) = program.graph.output_node().args[0]
    print(f"{name:21} has the shape {tuple(node.meta['val'].shape)}")
    assert str(node.meta["val"].shape[0]).startswith("u"), node.meta["val"].shape

# %%
# What can be done with the selected ``rows`` afterwards depends on whether somebody has
# to know more about ``u0``. The newer the release, the fewer operators ask.

USES = {
    "rows @ matrix": lambda x, rows: rows @ x.new_ones(4, 4),
    "rows.mean(dim=0)": lambda x, rows: rows.mean(dim=0),
    "torch.cat([rows, rows])": lambda x, rows: torch.cat([rows, rows]),
    "rows.reshape(-1, 2, 2)": lambda x, rows: rows.reshape(-1, 2, 2),
    "softmax(rows @ rows.T)": lambda x, rows: (rows @ rows.T).softmax(dim=-1),
    "rows + x[:len]": lambda x, rows: rows + x[: rows.shape[0]],
    "rows + x": lambda x, rows: rows + x,
    "pad(rows) to 8": lambda x, rows: torch.nn.functional.pad(
        rows, (0, 0, 0, 8 - rows.shape[0])
    ),
    "x / len(rows)": lambda x, rows: x / len(rows),
    "rows[:3] if n > 3": lambda x, rows: rows[:3] if rows.shape[0] > 3 else rows,
    "attention(rows)": lambda x, rows: attention(rows),
}
programs = {}
for name, use in USES.items():
    try:
        programs[name] = export(Select(lambda x, mask, use=use: use(x, x[mask])))
    except REFUSED as error:
        message = first_line(error).split(" (unhinted")[0]
    else:
        message = "exported"
    print(f"{name:24} {message.replace('data-dependent expression', '...')}")
assert {"rows @ matrix", "rows.mean(dim=0)", "rows + x"} <= set(programs)
assert not {"x / len(rows)", "rows[:3] if n > 3", "attention(rows)"} & set(programs)
assert ("rows + x[:len]" in programs) == (RELEASE >= (2, 10))
assert ("pad(rows) to 8" in programs) == (RELEASE >= (2, 8))

# %%
# ``len`` fails because Python wants a real number from it; ``rows.shape[0]`` may stay a
# symbol. ``rows + x`` is a trap: the trace takes it as a promise that all rows are
# selected. The program holds you to it.

try:
    programs["rows + x"].module()(x)
except RuntimeError as error:
    message = first_line(error)
else:
    message = "This release runs it."
print(message)
assert "Eq(u0" in message, message

# %%
# Fix 1: say what you know of the size
# ++++++++++++++++++++++++++++++++++++
#
# ``torch._check`` on the size, at the line after the selection, is the only change. It
# answers the question of the attention. The price is that the program refuses an input
# in which nothing is visible; the ``if`` for that case goes to the caller. It works on all
# releases of this page.


class Checked(torch.nn.Module):
    def forward(self, x):
        visible = x[:, 0] > 0
        rows = x[visible]
        torch._check(rows.shape[0] > 0)
        y = x.clone()
        y[visible] = attention(rows)
        return y


exported = {"Checked": export(Checked()).module()}

# %%
# Fix 2: keep all rows and the mask
# +++++++++++++++++++++++++++++++++
#
# No size depends on data. The attention gets the mask, and ``torch.where`` puts the
# result where it belongs. ``allowed`` is all true if nothing is visible, because a softmax
# over nothing is not a number. The price is work for all rows. It works on all releases,
# and no input is refused.


class Masked(torch.nn.Module):
    def forward(self, x):
        visible = x[:, 0] > 0
        allowed = visible | ~visible.any()
        y = attention(x, allowed[None].expand(x.shape[0], x.shape[0]))
        return torch.where(visible[:, None], y, x)


exported["Masked"] = export(Masked()).module()

# %%
# Fix 3: a fixed number of places
# +++++++++++++++++++++++++++++++
#
# A stable sort brings the visible rows to the front, in their order, and ``SEATS`` of
# them are taken. The rest is as in fix 2, at a cost that is limited. The price is the limit:
# without the check, rows beyond it would be left out in silence. All releases.

SEATS = 5


class Seats(torch.nn.Module):
    def forward(self, x):
        visible = x[:, 0] > 0
        torch._check(visible.sum().item() <= SEATS)
        padded = torch.nn.functional.pad(x, (0, 0, 0, SEATS))
        mask = torch.nn.functional.pad(visible, (0, SEATS))
        order = torch.argsort(mask.to(torch.int8), descending=True, stable=True)
        order = order[:SEATS]
        rows, valid = padded[order], mask[order]
        allowed = valid | ~valid.any()
        y = attention(rows, allowed[None].expand(SEATS, SEATS))
        y = torch.where(valid[:, None], y, rows)
        return padded.index_copy(0, order, y)[: x.shape[0]]


exported["Seats"] = export(Seats()).module()

# %%
# The check
# +++++++++
#
# Sizes that were not traced, with a single row, with all rows visible, with none.

model = Tracker()
full, empty = torch.rand(5, 4) + 0.1, -torch.rand(7, 4)
for name, module in exported.items():
    for inputs in (torch.randn(9, 4), torch.ones(1, 4), full):
        torch.testing.assert_close(module(inputs), model(inputs))
    print(f"{name:8} as the model")
for name in ("Masked", "Seats"):
    torch.testing.assert_close(exported[name](empty), model(empty))

# %%
# What is refused: nothing visible, and more than there are places.

for name, inputs in (("Checked", empty), ("Seats", torch.ones(8, 4))):
    try:
        exported[name](inputs)
    except RuntimeError as error:
        message = first_line(error)
    else:
        message = "This release runs it."
    print(f"{name:8} {message}")
    assert message.startswith("Runtime assertion failed"), message

# %%
# More replacements
# +++++++++++++++++
#
# The left column selects, the right one does not; the outputs agree. ``masked_scatter``
# is for the image tokens of a language model: it takes as many rows as the mask has
# places. The last line counts classes, of which the largest number is known.


def classes(x):
    return (x[:, 1] > 0).long() + 2 * (x[:, 2] > 0).long()


PAIRS = {
    "mean": (
        lambda x, m: x[m].mean(dim=0),
        lambda x, m: (x * m[:, None]).sum(dim=0) / m.sum(),
    ),
    "largest": (
        lambda x, m: x[m].amax(dim=0),
        lambda x, m: x.masked_fill(~m[:, None], -torch.inf).amax(dim=0),
    ),
    "first": (
        lambda x, m: x[torch.nonzero(m)[:1, 0]],
        lambda x, m: x[m.int().argmax(dim=0, keepdim=True)],
    ),
    "fill": (
        lambda x, m: torch.zeros_like(x).index_put((m,), x[: m.sum()]),
        lambda x, m: torch.zeros_like(x).masked_scatter(m[:, None], x),
    ),
    "classes": (
        lambda x, m: torch.unique(classes(x), return_counts=True)[1],
        lambda x, m: torch.zeros(4).index_add(0, classes(x), torch.ones(len(x))),
    ),
}
for name, (selects, keeps) in PAIRS.items():
    module = export(Select(keeps)).module()
    for inputs in (x, torch.randn(11, 4), full):
        result, expected = module(inputs), selects(inputs, inputs[:, 0] > 0)
        if name == "classes":  # a class that does not occur has the count 0
            result, expected = result[result > 0], expected.to(result.dtype)
        torch.testing.assert_close(result, expected)
    print(f"{name:8} same result without a selection")

# %%
# Pending unbacked symbols
# ++++++++++++++++++++++++
#
# This message means that an operator made a symbol that no output has. ``torch.full``
# with a tensor as its value did, in strict mode, on old releases: the value became the
# symbol ``zuf0``.


class Full(torch.nn.Module):
    def forward(self, x):
        return x + torch.full((x.shape[0], 1), x[0, 0])


try:
    export(Full(), strict=True)
except (PendingUnbackedSymbolNotFound, torch._dynamo.exc.TorchDynamoException) as error:
    message = first_line(error)
else:
    message = "This release exports it in strict mode."
print(message)
assert ("Pending unbacked symbols {zuf0}" in message) == (RELEASE < (2, 7)), message

# %%
# The cure is non-strict mode, or an operator that takes the tensor. Both work on all
# releases. (A fake kernel of your own has this error, too, if it asks for
# ``new_dynamic_size`` and does not use it in its output.)


class Expanded(torch.nn.Module):
    def forward(self, x):
        return x + x[0, 0].expand(x.shape[0], 1)


for module in (export(Full()).module(), export(Expanded(), strict=True).module()):
    for inputs in (x, torch.randn(9, 4), full):
        torch.testing.assert_close(module(inputs), inputs + inputs[0, 0])

# %%
# To remember
# +++++++++++
#
# * A selection is exported. What asks about its size is not: ``if``, ``len``, some
#   operators.
# * Keep the mask: ``torch.where``, ``masked_fill``, a weighted sum. Nothing is refused, and
#   all rows are computed.
# * ``torch._check(rows.shape[0] > 0)`` after the selection, if it has to be small.
#
# Next: :ref:`l-plot-exporter-data-lengths` for parts of different lengths,
# :ref:`l-plot-exporter-data-detection` for thresholds and boxes,
# :ref:`l-plot-exporter-data-guard` for the choice between the fixes, and
# :ref:`l-plot-exporter-control-cond` if two computations are needed.
