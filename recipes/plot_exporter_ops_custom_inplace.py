"""
.. _l-plot-exporter-ops-custom-inplace:

Declare what a custom operator writes into
==========================================

A custom operator writes into one of its arguments, a cache for example. The model is
right, the exported program is right, and after ``run_decompositions`` or a conversion
the write is gone, without an error. Or the operator is refused: ``Found a custom
(non-ATen) operator whose output has alias annotations``, ``The output of this custom
operator (1) must not also be an input``.

This page shows where the write is lost, what ``mutates_args`` changes in the graph
(``auto_functionalized_v2``), and how :func:`torch.library.opcheck` finds a wrong
declaration.

.. meta::
   :description: Name every argument the operator writes into in mutates_args, return
      nothing, and run torch.library.opcheck.
   :keywords: mutates_args, in-place custom operator, auto_functionalized, mutation
      lost, alias annotations, kv cache operator, opcheck, torch.library.custom_op
"""

# %%
# The model
# +++++++++
#
# ``write_rows`` is an operator that writes new rows into a cache at given positions,
# as kernels for key/value caches do. It returns nothing. The body is one line of torch
# here; what matters is that the exporter does not look into it. The declaration says
# that it mutates nothing, and this is wrong. torch then asks for a fake implementation
# (:ref:`l-plot-exporter-ops-custom`); it returns nothing, as the operator does.

# sphinx_gallery_tags = ["operators", "wrong without an error", "conversion fails"]
# sphinx_gallery_wording = "custom op disappears from the graph"
# sphinx_gallery_wording = "in-place custom op has no effect after run_decompositions"
# sphinx_gallery_wording = "the cache stays zero in the exported program"

import torch
from torch.testing._internal.optests import OpCheckError


def write_rows_kernel(
    cache: torch.Tensor, positions: torch.Tensor, rows: torch.Tensor
) -> None:
    cache.index_copy_(0, positions, rows)


undeclared = torch.library.custom_op(
    "cookbook_write::undeclared", write_rows_kernel, mutates_args=()
)
undeclared.register_fake(lambda cache, positions, rows: None)


class CachedScores(torch.nn.Module):
    def __init__(self, write_rows):
        super().__init__()
        self.write_rows = write_rows
        self.register_buffer("cache", torch.zeros(16, 4))

    def forward(self, positions, rows):
        self.write_rows(self.cache, positions, rows)
        return rows @ self.cache.T


torch.manual_seed(0)
inputs = (torch.tensor([0, 1, 2]), torch.randn(3, 4))
n = torch.export.Dim("n", max=16)
shapes = ({0: n}, {0: n})
expected = CachedScores(undeclared)(*inputs)
print(expected[0, :4])

# %%
# The symptom
# +++++++++++
#
# The exported program gives the same result. Its decomposed form gives zeros: nothing
# was written. ``run_decompositions({})`` is given an empty table, so no operator is
# asked to be replaced. The converter to ONNX takes the same step.


def export(write_rows, strict=False):
    model = CachedScores(write_rows)
    return torch.export.export(model, inputs, dynamic_shapes=shapes, strict=strict)


program = export(undeclared)
result = program.module()(*inputs)
decomposed = export(undeclared).run_decompositions({})
lost = decomposed.module()(*inputs)
print("exported:  ", result[0, :4])
print("decomposed:", lost[0, :4])
torch.testing.assert_close(result, expected)
assert not lost.any()

# %%
# Strict mode does not change this.

strict = export(undeclared, strict=True)
torch.testing.assert_close(strict.module()(*inputs), expected)
strict = export(undeclared, strict=True).run_decompositions({})
assert not strict.module()(*inputs).any()
print("strict:    ", strict.module()(*inputs)[0, :4])

# %%
# The cause
# +++++++++
#
# The operator is no longer in the graph.


def targets(program):
    return [str(node.target) for node in program.graph.nodes if node.op[:4] == "call"]


print("exported:  ", targets(program))
print("decomposed:", targets(decomposed))
assert "cookbook_write.undeclared.default" in targets(program)
assert "cookbook_write.undeclared.default" not in targets(decomposed)

# %%
# ``mutates_args`` becomes the *schema* of the operator, the line of text by which torch
# knows it. This one says: reads three tensors, returns nothing. A call with no result
# that changes nothing is dead code, and ``run_decompositions`` `removes dead code
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_functorch/_aot_autograd/graph_capture.py#L388>`_.

print(undeclared._opoverload._schema)
assert not undeclared._opoverload._schema.is_mutable

# %%
# Change the declaration and nothing else, and the write stays. ``!`` in the schema
# marks what is written. An operator that returns nothing and declares what it writes
# into needs no fake implementation.

declared = torch.library.custom_op(
    "cookbook_write::declared", write_rows_kernel, mutates_args=("cache",)
)
print(declared._opoverload._schema)
assert declared._opoverload._schema.is_mutable
decomposed = export(declared).run_decompositions({})
torch.testing.assert_close(decomposed.module()(*inputs), expected)

# %%
# Find it with opcheck
# ++++++++++++++++++++
#
# :func:`torch.library.opcheck` runs the operator and compares its arguments before and
# after. Give it arguments that the call does change: writing zeros into zeros would
# pass.

arguments = (torch.zeros(16, 4), *inputs)
try:
    torch.library.opcheck(undeclared, arguments)
except OpCheckError as error:
    message = str(error)
else:
    message = "This release does not find it."
print(message)
assert "is not defined as mutable but was mutated" in message, message
assert set(torch.library.opcheck(declared, arguments).values()) == {"SUCCESS"}

# %%
# opcheck called the operator on the first tensor several times, on copies.

nothing = (torch.zeros(16, 4), inputs[0], torch.zeros(3, 4))
tests = torch.library.opcheck(undeclared, nothing, raise_exception=False)
print("writing zeros into zeros:", tests["test_schema"])
assert not arguments[0].any()
assert tests["test_schema"] == "SUCCESS"

# %%
# What the graph has now
# ++++++++++++++++++++++
#
# ``run_decompositions`` makes the program functional: no node writes into the value of
# another one. The operator is wrapped in ``auto_functionalized_v2`` (up to 2.9
# ``auto_functionalized``), which runs it on a copy and returns the copy. What was
# written is then an output of the graph, and the signature says that it becomes the new
# value of the buffer.

print(targets(decomposed))
print(dict(decomposed.graph_signature.buffers_to_mutate))
assert any("auto_functionalized" in target for target in targets(decomposed))
assert list(decomposed.graph_signature.buffers_to_mutate.values()) == ["cache"]

# %%
# The price: each call in the decomposed program copies the whole argument, and a
# backend must know the `wrapper
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_higher_order_ops/auto_functionalize.py#L383>`_.
# The program as it was exported has neither: it calls the operator in place.
#
# A backend without the wrapper takes an operator that returns the new value. The model
# does the write with ``copy_``, which torch knows. This operator needs a fake
# implementation, and copies the cache in eager mode too.


@torch.library.custom_op("cookbook_write::functional", mutates_args=())
def functional(
    cache: torch.Tensor, positions: torch.Tensor, rows: torch.Tensor
) -> torch.Tensor:
    return cache.index_copy(0, positions, rows)


functional.register_fake(lambda cache, positions, rows: torch.empty_like(cache))
alone = export(lambda cache, *new: cache.copy_(functional(cache, *new)))
alone = alone.run_decompositions({})
print(targets(alone))
assert not any("auto_functionalized" in target for target in targets(alone))
torch.testing.assert_close(alone.module()(*inputs), expected)

# %%
# Do not return what was written
# ++++++++++++++++++++++++++++++
#
# Methods of torch such as ``add_`` return the tensor that they write into. A custom
# operator must not. ``custom_op`` raises as soon as it runs; the export does not run
# it.


@torch.library.custom_op("cookbook_write::returning", mutates_args=("cache",))
def returning(
    cache: torch.Tensor, positions: torch.Tensor, rows: torch.Tensor
) -> torch.Tensor:
    return cache.index_copy_(0, positions, rows)


returning.register_fake(lambda cache, positions, rows: torch.empty_like(cache))
program = export(returning)
try:
    program.module()(*inputs)
except RuntimeError as error:
    message = str(error)
else:
    message = "This release runs the operator."
print(message[message.find("The output of") :].split(". ")[0])
assert "must not also be an input to this custom operator" in message, message

# %%
# ``torch.library.Library.define`` accepts a schema that says so, ``-> Tensor(a!)``. The
# program is exported and runs, and cannot be made functional.

library = torch.library.Library("cookbook_write_library", "DEF")
library.define("write(Tensor(a!) cache, Tensor positions, Tensor rows) -> Tensor(a!)")
library.impl(
    "write",
    lambda cache, positions, rows: cache.index_copy_(0, positions, rows),
    "CompositeExplicitAutograd",
)
program = export(torch.ops.cookbook_write_library.write)
torch.testing.assert_close(program.module()(*inputs), expected)
try:
    program.run_decompositions({})
except RuntimeError as error:
    message = str(error)
else:
    message = "This release decomposes the program."
print(message.split(". ")[0])
assert "operator whose output has alias annotations" in message, message

# %%
# The fix for both is the same: return nothing (``-> None``, in a schema ``-> ()``) and
# let the caller use the tensor that it passed.

library.define("write_only(Tensor(a!) cache, Tensor positions, Tensor rows) -> ()")
library.impl("write_only", write_rows_kernel, "CompositeExplicitAutograd")
decomposed_too = export(torch.ops.cookbook_write_library.write_only)
decomposed_too = decomposed_too.run_decompositions({})
torch.testing.assert_close(decomposed_too.module()(*inputs), expected)

# %%
# The check
# +++++++++
#
# Compare the state as well as the result, over several calls: each number of rows is a
# new one, and the rows of the earlier calls must still be there.

model = CachedScores(declared)
exported = export(declared).run_decompositions({}).module()
for first, size in [(0, 1), (1, 5), (6, 2), (0, 16)]:
    new_inputs = (torch.arange(first, first + size), torch.randn(size, 4))
    torch.testing.assert_close(exported(*new_inputs), model(*new_inputs))
    torch.testing.assert_close(exported.cache, model.cache)
    print(
        f"{size} rows: same result, {int(model.cache.any(1).sum())} rows in the cache"
    )

# %%
# The width of a row is constant, and a row of three numbers is refused.

try:
    exported(torch.tensor([0, 1]), torch.randn(2, 3))
except (AssertionError, RuntimeError) as error:
    message = str(error).split("\n")[0]
else:
    message = "This release runs the program with three columns."
print(message)
assert "size()[1] == 4" in message or "to be equal to 4" in message, message

# %%
# An operator lives as long as its library. In a notebook, do this before you run the
# definitions again.

library._destroy()
for operator in (undeclared, declared, functional, returning):
    operator._lib._destroy()

# %%
# To remember
# +++++++++++
#
# * ``mutates_args`` is a promise that nobody checks at the export. What is missing
#   there is lost later, without an error.
# * Run ``opcheck`` with arguments that the operator changes.
# * An operator that writes returns nothing, or tensors of its own.
#
# All of this is the same on all releases of this page.
#
# Next: :ref:`l-plot-exporter-effects-mutation` for writes by torch's own operators,
# :ref:`l-plot-exporter-ops-decompositions` for what else the decomposition changes,
# :ref:`l-plot-exporter-wrong-state` when the state of the program is wrong.
