"""
.. _l-plot-exporter-data-mask:

Boolean masks, nonzero and unique: keep the mask
================================================

The model selects with ``x[mask]``, ``nonzero``, ``unique`` or ``torch.where(mask)``, and
a later line fails: ``Could not guard on data-dependent expression Eq(u0, 0)``,
``Eq(256*u0, 256)``, ``... u0 > 1``. Or the message is ``Pending unbacked symbols {zuf0}
not in returned outputs``.

This page shows what may be done with a selection, states what is known of its size, and
computes the same without a selection.

.. meta::
   :description: Keep all rows and the mask, with torch.where or a weighted sum; or bound
      the size of the selection with torch._check.
   :keywords: nonzero, boolean mask indexing, masked_select, torch.unique,
      masked_scatter, data-dependent output shape, Pending unbacked symbols, Eq(u0, 0),
      token pruning
"""

# %%
# The model
# +++++++++
#
# A tracker of points. Only the visible ones attend to each other.

# sphinx_gallery_tags = ["data-dependent values", "export fails", "run fails"]
# sphinx_gallery_wording = "Could not guard on data-dependent expression Eq(256*u0, 256) (unhinted: Eq(256*u0, 256))."
# sphinx_gallery_wording = "export fails with boolean mask indexing, x[mask]"

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


def attention(rows, mask=None):
    qkv = (rows[None, None],) * 3
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(*qkv, attn_mask=mask)[0, 0]


class NoBranch(torch.nn.Module):
    def forward(self, x):
        visible = x[:, 0] > 0
        return x.index_put((visible,), attention(x[visible]))


class Tracker(NoBranch):
    def forward(self, x):
        if x[x[:, 0] > 0].shape[0] == 0:
            return x.clone()
        return super().forward(x)


# %%
# The symptom
# +++++++++++
#
# The ``if`` is refused. Without it, the same question comes from inside the attention,
# up to 2.14.

torch.manual_seed(0)
x = torch.randn(6, 4)
REFUSED = (GuardOnDataDependentSymNode, torch._dynamo.exc.UserError)


def export(model, strict=False):
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    return torch.export.export(model, (x,), dynamic_shapes=shapes, strict=strict)


def first_line(error):
    return str(error).strip().splitlines()[0]


for kind, strict in ((Tracker, False), (Tracker, True), (NoBranch, False)):
    try:
        export(kind(), strict)
    except REFUSED as error:
        message = first_line(error)
    else:
        message = "This release exports it."
    print(f"{kind.__name__}, strict={strict}: {message}\n")
    assert ("Eq(u0, 0)" in message) == (kind is Tracker or RELEASE < (2, 15))

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
    "nonzero(mask)": lambda x, mask: torch.nonzero(mask),
    "where(mask)[0]": lambda x, mask: torch.where(mask)[0],
    "unique(x)": lambda x, mask: torch.unique(x),
}
for name, use in SELECTIONS.items():
    (node,) = export(Select(use)).graph.output_node().args[0]
    print(f"{name:14} has the shape {tuple(node.meta['val'].shape)}")
    assert str(node.meta["val"].shape[0]).startswith("u"), node.meta["val"].shape

# %%
# What can be done with the selected ``rows`` afterwards depends on whether somebody has
# to know more about ``u0``. The newer the release, the fewer operators ask.

USES = {
    "rows @ matrix": lambda x, rows: rows @ x.new_ones(4, 4),
    "rows + x[:len]": lambda x, rows: rows + x[: rows.shape[0]],
    "rows + x": lambda x, rows: rows + x,
    "x / len(rows)": lambda x, rows: x / len(rows),
    "if len > 3": lambda x, rows: rows[:3] if rows.shape[0] > 3 else rows,
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
    print(f"{name:15} {message}")
assert {"rows @ matrix", "rows + x"} <= set(programs)
assert not {"x / len(rows)", "if len > 3"} & set(programs)
assert ("attention(rows)" in programs) == (RELEASE >= (2, 15))
assert ("rows + x[:len]" in programs) == (RELEASE >= (2, 10))

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
# ``torch._check`` on the size, at the line after the selection, is the only change: it
# answers the question of the attention. The price: the program refuses an input in
# which nothing is visible, and the ``if`` goes to the caller. All releases of this
# page.


class Checked(torch.nn.Module):
    def forward(self, x):
        visible = x[:, 0] > 0
        rows = x[visible]
        torch._check(rows.shape[0] > 0)
        return x.index_put((visible,), attention(rows))


exported = {"Checked": export(Checked()).module()}

# %%
# Fix 2: keep all rows and the mask
# +++++++++++++++++++++++++++++++++
#
# No size depends on data. The attention gets the mask, and ``torch.where`` puts the
# result where it belongs. ``allowed`` is all true if nothing is visible: a softmax over
# nothing would not be a number. The price is work for all rows. All releases, no input
# refused.


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
# A stable sort brings the visible rows to the front, and the first ``SEATS`` are taken.
# The rest is as in fix 2, at a limited cost. The price is the limit: without the check,
# rows beyond it would be left out in silence. All releases.

SEATS = 5


class Seats(torch.nn.Module):
    def forward(self, x):
        visible = x[:, 0] > 0
        torch._check(visible.sum().item() <= SEATS)
        padded = torch.nn.functional.pad(x, (0, 0, 0, SEATS))
        mask = torch.nn.functional.pad(visible, (0, SEATS))
        order = torch.argsort(mask.int(), descending=True, stable=True)[:SEATS]
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
# None of these inputs was traced. Refused are: nothing visible, by fix 1, and more rows
# than there are places, by fix 3.

model, refused = Tracker(), []
full = torch.rand(5, 4) + 0.1
inputs = {"nine rows": torch.randn(9, 4), "one row": full[:1], "all of five": full}
inputs |= {"none visible": -full, "all of eight": torch.ones(8, 4)}
for key in [(name, some) for name in exported for some in inputs]:
    try:
        result = exported[key[0]](inputs[key[1]])
    except RuntimeError as error:
        refused.append(key)
        message = first_line(error)
    else:
        torch.testing.assert_close(result, model(inputs[key[1]]))
        message = "as the model"
    print(f"{key[0]:8} {key[1]:12} {message}")
assert refused == [("Checked", "none visible"), ("Seats", "all of eight")], refused

# %%
# More replacements
# +++++++++++++++++
#
# The first line of a pair selects, the second does not. ``masked_scatter`` is for the
# image tokens of a language model: it takes as many rows as the mask has places. The
# last pair counts classes, for which there must be a largest number, here 2.

PAIRS = {
    "mean": (
        lambda x, m: x[m].mean(dim=0),
        lambda x, m: (x * m[:, None]).sum(dim=0) / m.sum(),
    ),
    "fill": (
        lambda x, m: torch.zeros_like(x).index_put((m,), x[: int(m.sum())]),
        lambda x, m: torch.zeros_like(x).masked_scatter(m[:, None], x),
    ),
    "classes": (
        lambda x, m: torch.unique(m, return_counts=True)[1],
        lambda x, m: m.new_zeros(2, dtype=int).index_add(0, m.int(), m.long() | 1),
    ),
}
for name, (selects, keeps) in PAIRS.items():
    module = export(Select(keeps)).module()
    for some in (inputs["nine rows"], full[:1], full):
        result, expected = module(some), selects(some, some[:, 0] > 0)
        if name == "classes":  # a class that does not occur has the count 0
            result = result[result > 0]
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
except torch._dynamo.exc.TorchDynamoException as error:
    message = first_line(error)
else:
    message = "This release exports it in strict mode."
print(message)
assert ("Pending unbacked symbols {zuf0}" in message) == (RELEASE < (2, 7)), message

# %%
# Non-strict mode works on all releases. On a new release, look at the fake kernels of
# your own operators: one may call ``new_dynamic_size`` too often (`where it is raised
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L1467>`_).

module = export(Full()).module()
for some in inputs.values():
    torch.testing.assert_close(module(some), some + some[0, 0])

# %%
# To remember
# +++++++++++
#
# * A selection is exported. What asks about its size is not: ``if``, ``len``, some
#   operators.
# * Keep the mask: ``torch.where``, ``masked_fill``, a weighted sum. Nothing is refused,
#   and all rows are computed.
# * ``torch._check(rows.shape[0] > 0)`` after the selection, if it has to be small.
#
# Next: :ref:`l-plot-exporter-data-lengths` for parts of different lengths,
# :ref:`l-plot-exporter-data-detection` for thresholds and boxes,
# :ref:`l-plot-exporter-data-guard` for the choice between the fixes, and
# :ref:`l-plot-exporter-control-cond` if two computations are needed.
