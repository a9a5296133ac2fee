"""
.. _l-plot-exporter-control-map:

Apply a function to each row
============================

A loop over the rows of a tensor fails with ``Constraints violated ... inferred to be a
constant (4)``, or gives a program for one number of rows. With ``torch.vmap`` the
message is ``It looks like you're calling .item() on a Tensor``, or ``Either your tensor
may have escaped from inside a function being vmapped``.

This page compares three ways to say "for each row" without a loop: batched operators,
``torch.vmap``, and ``map``.

.. meta::
   :description: Write the function for the whole batch; if that is not possible, use
      torch.vmap (since 2.9) or map (since 2.11).
   :keywords: for row in x, loop over batch, torch.vmap, functorch, map operator, per-sample
      function, attention mask vmap, vmap over calling .item()
"""

# %%
# The model
# +++++++++
#
# A function of one row, and a model that stacks its results. The function is made of
# two steps that need the whole row.

# sphinx_gallery_tags = ["control flow", "export fails", "turns static"]
# sphinx_gallery_wording = "vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a Tensor"
# sphinx_gallery_wording = "for loop over batch dimension is unrolled"

import torch
from torch._higher_order_ops.map import map as map_rows

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


def weigh(row):
    return torch.softmax(row, dim=0) * row.max()


class Loop(torch.nn.Module):
    def forward(self, x):
        return torch.stack([weigh(row) for row in x])


# %%
# The symptom
# +++++++++++

torch.manual_seed(0)
x = torch.rand(4, 3)
rows = ({0: torch.export.Dim("rows", max=1024)},)
try:
    torch.export.export(Loop(), (x,), dynamic_shapes=rows, strict=False)
except torch._dynamo.exc.UserError as error:
    message = str(error).split("\n\n")[0]
else:
    message = "This release exports the loop."
print(message)
assert "Constraints violated (rows)" in message, message

# %%
# The cause
# +++++++++
#
# Python asks how many rows there are and goes over them one by one. The program would
# hold the function four times. With ``Dim.AUTO`` there is no error, and this program.

program = torch.export.export(
    Loop(), (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},), strict=False
)
targets = [str(node.target) for node in program.graph.nodes]
print("softmax:", targets.count("aten.softmax.int"), "times")
print("ranges: ", program.range_constraints)
assert targets.count("aten.softmax.int") == 4 and not program.range_constraints

# %%
# Three fixes
# +++++++++++
#
# 1. Operators of torch work on many rows at once. Give them the dimension of the row,
#    counted from the end, and keep reduced dimensions.
# 2. ``torch.vmap`` does that to a function that was written for one row.
# 3. ``map`` keeps the function as it is, and the program calls it for each row.


class Batched(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=-1) * x.amax(dim=-1, keepdim=True)


class Vmap(torch.nn.Module):
    def forward(self, x):
        return torch.vmap(weigh)(x)


class Map(torch.nn.Module):
    def forward(self, x):
        return map_rows(weigh, x)


# %%
# The check
# +++++++++
#
# Each is exported and compared with the loop, for one row, two, and many. The first
# works on all releases of this page. ``vmap`` works since 2.9, and ``map`` since 2.11:
# before, the number of rows is a constant.

REFUSED = (torch._dynamo.exc.UserError, RuntimeError, AssertionError)
programs, works = {}, {}
for model in (Batched(), Vmap(), Map()):
    name = type(model).__name__
    try:
        program = torch.export.export(model, (x,), dynamic_shapes=rows, strict=False)
        exported = program.module()
        results = {size: exported(torch.ones(size, 3)) for size in (1, 2, 9)}
    except REFUSED as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        print(f"{name:8} refused: {lines[0][:70]}")
    else:
        for size, result in results.items():
            torch.testing.assert_close(result, Loop()(torch.ones(size, 3)))
        programs[name] = program
        print(f"{name:8} same results for {list(results)} rows")
    works[name] = name in programs
assert works == {
    "Batched": True,
    "Vmap": RELEASE >= (2, 9),
    "Map": RELEASE >= (2, 11),
}

# %%
# The same for random rows, with the program that every release has. Other columns are
# refused.

exported = programs["Batched"].module()
for size in (1, 3, 700):
    inputs = torch.rand(size, 3)
    torch.testing.assert_close(exported(inputs), Loop()(inputs))
try:
    exported(torch.rand(4, 5))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with five columns."
print(message)
assert "size()[1] == 3" in message or "to be equal to 3" in message, message

# %%
# What they cost
# ++++++++++++++
#
# The batched program has the fewest nodes. ``vmap`` leaves calls of its own machinery
# in the graph, which other runtimes do not know; ``run_decompositions`` replaces them
# by batched operators. ``map`` keeps one graph for the row and runs it row by row, so
# it is slow for many small rows.


def operators(program):
    nodes = program.graph.nodes
    found = [node.target for node in nodes if node.op == "call_function"]
    return [getattr(target, "__name__", str(target)) for target in found]


for name, program in programs.items():
    print(f"{name:8} {operators(program)[:4]}")
if works["Vmap"]:
    decomposed = programs["Vmap"].run_decompositions()
    print("Vmap, decomposed:", operators(decomposed))
    assert not any("vmap" in name for name in operators(decomposed))
    torch.testing.assert_close(decomposed.module()(x), Loop()(x))

# %%
# What the function may do
# ++++++++++++++++++++++++
#
# Inside ``vmap`` a tensor stands for all rows, so it has no single value: no
# ``item()``, no ``if``, and no random numbers without a word about them. Some models of
# transformers build their attention masks with ``vmap`` and hit the first of these.


class Decides(torch.nn.Module):
    def forward(self, x):
        return torch.vmap(lambda row: row if row.sum() > 1 else -row)(x)


class Draws(torch.nn.Module):
    def forward(self, x):
        return torch.vmap(lambda row: row + torch.rand(3))(x)


for model in (Decides(), Draws()):
    try:
        torch.export.export(model, (x,), dynamic_shapes=rows, strict=False)
    except RuntimeError as error:
        message = str(error).split(". ")[0]
    else:
        message = "This release exports it."
    print(f"{type(model).__name__}: {message}")
    assert "vmap" in message, message

# %%
# A choice for each row is ``torch.where`` in a batch, and ``torch.cond`` in ``map``.


class Chooses(torch.nn.Module):
    def forward(self, x):
        return torch.where(x.sum(dim=-1, keepdim=True) > 1, x, -x)


exported = torch.export.export(
    Chooses(), (x,), dynamic_shapes=rows, strict=False
).module()
expected = torch.stack([row if row.sum() > 1 else -row for row in x])
torch.testing.assert_close(exported(x), expected)
if works["Map"]:

    class ChoosesInMap(torch.nn.Module):
        def forward(self, x):
            return map_rows(
                lambda row: torch.cond(
                    row.sum() > 1, lambda r: r.clone(), lambda r: -r, (row,)
                ),
                x,
            )

    program = torch.export.export(
        ChoosesInMap(), (x,), dynamic_shapes=rows, strict=False
    )
    torch.testing.assert_close(program.module()(x), expected)
    print("cond in map: same result")

# %%
# To remember
# +++++++++++
#
# * A loop over rows is unrolled; write the function for the batch.
# * ``vmap`` writes it for you since 2.9; decompose the program before you give it away.
# * ``map`` is for functions that cannot be batched, since 2.11.
#
# Next: :ref:`l-plot-exporter-control-scan` if a row needs the result of the one before,
# :ref:`l-plot-exporter-control-cond-rules` for the branches, and
# :ref:`l-plot-exporter-shapes-specialized` for the other causes of the first message.
