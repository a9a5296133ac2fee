"""
.. _l-plot-exporter-control-map:

Replace a loop over rows with a batched operation
=================================================

.. answer::
   :cost: Nothing at run time: one call replaces the loop.

   Python runs the loop during the export, once per row of the example, so the number of
   rows becomes a constant. Give the operators the whole batch: count the dimension from
   the end, and keep reduced dimensions.

   .. code-block:: diff

      -        return torch.stack([row.softmax(dim=0) * row.max() for row in x])
      +        return x.softmax(dim=-1) * x.amax(dim=-1, keepdim=True)

   Not your case?

   * A row needs the result of the row before: :ref:`l-plot-exporter-control-scan`.
   * "constant (4)", and there is no loop: :ref:`l-plot-exporter-shapes-specialized`.
   * ``vmap`` and an attention mask: :ref:`l-plot-exporter-ops-attention`.

.. meta::
   :keywords: for row in x, loop over batch, torch.vmap, functorch, map operator,
      per-sample function, attention mask vmap, vmap over calling .item()
"""

# %%
# The problem
# +++++++++++
#
# A function of one row, and a model that stacks its results.

# sphinx_gallery_tags = ["control flow", "export fails", "turns static"]
# sphinx_gallery_wording = "vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a Tensor"
# sphinx_gallery_wording = "for loop over batch dimension is unrolled"

import torch
from torch._dynamo.exc import UserError
from torch._higher_order_ops.map import map as map_rows


class Loop(torch.nn.Module):
    def forward(self, x):
        return torch.stack([row.softmax(dim=0) * row.max() for row in x])


torch.manual_seed(0)
x = torch.rand(4, 3)
shapes = ({0: torch.export.Dim("rows", max=1024)},)
try:
    torch.export.export(Loop(), (x,), dynamic_shapes=shapes, strict=False)
except UserError as error:
    print(error)

# %%
# The fix
# +++++++


class Batched(torch.nn.Module):
    def forward(self, x):
        return x.softmax(dim=-1) * x.amax(dim=-1, keepdim=True)


# sphinx_gallery_picture = "One softmax for all rows."
program = torch.export.export(Batched(), (x,), dynamic_shapes=shapes, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# Iterating over a tensor `splits it
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_tensor.py#L1215>`_ into as many
# rows as the example has. With ``Dim.AUTO`` there is no error: silently, the program
# gets one copy of the function per row, and accepts four rows only.

auto = ({0: torch.export.Dim.AUTO},)
unrolled = torch.export.export(Loop(), (x,), dynamic_shapes=auto, strict=False)
names = [node.name for node in unrolled.graph.nodes if "softmax" in node.name]
print(names, unrolled.range_constraints)
assert len(names) == 4
try:
    unrolled.module()(torch.rand(5, 3))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your function of a row
#      - Write
#      - Cost
#    * - hard to rewrite, tensors only
#      - ``torch.vmap(function)(x)``
#      - PyTorch 2.9 or later; for other backends, call ``run_decompositions``
#    * - cannot be batched, or decides row by row
#      - ``map_rows(function, x)``
#      - PyTorch 2.11 or later; experimental; one call per row
#    * - ``row if row.sum() > 1 else -row``
#      - ``torch.where(x.sum(-1, keepdim=True) > 1, x, -x)``
#      - both results are computed
#
# The first two, with the function as it was:


def weigh(row):
    return row.softmax(dim=0) * row.max()


class Vmap(torch.nn.Module):
    def forward(self, x):
        return torch.vmap(weigh)(x)


class Map(torch.nn.Module):
    def forward(self, x):
        return map_rows(weigh, x)


programs = [program]
for model in (Vmap(), Map()):
    try:
        other = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
        programs.append(other.run_decompositions())
    except (UserError, RuntimeError, AssertionError) as error:
        print(type(model).__name__, error)
for other in programs:
    print([node.name for node in other.graph.nodes if node.op == "call_function"])

# %%
# A decision per row, for the batch and, since 2.11, with ``torch.cond`` in ``map``:


class Where(torch.nn.Module):
    def forward(self, x):
        return torch.where(x.sum(dim=-1, keepdim=True) > 1, x, -x)


class CondInMap(torch.nn.Module):
    def forward(self, x):
        return map_rows(
            lambda row: torch.cond(
                row.sum() > 1, lambda row: row.clone(), lambda row: -row, (row,)
            ),
            x,
        )


decisions = [torch.export.export(Where(), (x,), dynamic_shapes=shapes, strict=False)]
try:
    decisions.append(
        torch.export.export(CondInMap(), (x,), dynamic_shapes=shapes, strict=False)
    )
except UserError as error:
    print(str(error).splitlines()[0])

# %%
# Check
# +++++
#
# Against the loop, for numbers of rows that were not traced, with rows of both kinds.

for size in (1, 2, 9, 700):
    inputs = torch.randn(size, 3)
    for other in programs:
        torch.testing.assert_close(other.module()(inputs), Loop()(inputs))
    for rows in (inputs, inputs.abs() + 1, -inputs.abs()):
        expected = torch.stack([row if row.sum() > 1 else -row for row in rows])
        for decision in decisions:
            torch.testing.assert_close(decision.module()(rows), expected)
try:
    program.module()(torch.rand(4, 5))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# In ``vmap`` a tensor stands for all rows and has no single value.
#
# .. list-table::
#    :header-rows: 1
#
#    * - In the function
#      - Write instead
#    * - ``if row.sum() > 1:``
#      - ``torch.where``
#    * - ``row * row.max().item()``
#      - ``row * row.max()``
#    * - ``torch.rand(3)``
#      - draw for all rows, before ``vmap``


class Decides(torch.nn.Module):
    def forward(self, x):
        return torch.vmap(lambda row: row if row.sum() > 1 else -row)(x)


class Draws(torch.nn.Module):
    def forward(self, x):
        return torch.vmap(lambda row: row + torch.rand(3))(x)


for model in (Decides(), Draws()):
    try:
        torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
    except RuntimeError as error:
        print(error)

# %%
# Summary
# +++++++
#
# * Write the function for the batch; ``vmap`` does that for you.
# * ``map`` keeps a function that cannot be batched.
# * Next: rules for branches and steps, :ref:`l-plot-exporter-control-cond-rules`; other
#   constants in the message, :ref:`l-plot-exporter-shapes-specialized`.
