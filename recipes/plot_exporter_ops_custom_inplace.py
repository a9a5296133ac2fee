"""
.. _l-plot-exporter-ops-custom-inplace:

Name in mutates_args what a custom operator writes into
=======================================================

.. answer::
   :cost: ``run_decompositions`` makes the operator write into a copy, at every call.

   The operator is declared to write nothing, and returns nothing. Converters call
   ``run_decompositions``, which removes it as dead code, silently. Name each argument
   that it writes into, and do not return that argument.

   .. code-block:: diff

      -@torch.library.custom_op("cookbook_write::rows", mutates_args=())
      +@torch.library.custom_op("cookbook_write::rows", mutates_args=("cache",))

   Not your case?

   * Operators of torch do the writing: :ref:`l-plot-exporter-effects-mutation`.
   * "There was no fake impl registered": :ref:`l-plot-exporter-ops-custom`.
   * The operator is still in the graph: :ref:`l-plot-exporter-wrong-state`.

.. meta::
   :keywords: mutates_args, in-place custom operator, auto_functionalized_v2, mutation
      lost, alias annotations, kv cache operator, opcheck, torch.library.custom_op,
      out variant, UnsupportedOperatorException
"""

# %%
# The problem
# +++++++++++
#
# The operator writes new rows into a cache, as kernels for key/value caches do. Model
# and exported program are right; after ``run_decompositions`` nothing is written.

# sphinx_gallery_tags = ["operators", "wrong without an error", "conversion fails"]
# sphinx_gallery_wording = "custom op disappears from the graph"
# sphinx_gallery_wording = "in-place custom op has no effect after run_decompositions"
# sphinx_gallery_wording = "the cache stays zero in the exported program"

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import UnsupportedOperatorException
from torch.testing._internal.optests import OpCheckError


@torch.library.custom_op("cookbook_write::rows", mutates_args=())
def write_rows(cache: Tensor, positions: Tensor, rows: Tensor) -> None:
    cache.index_copy_(0, positions, rows)


@write_rows.register_fake
def write_rows_fake(cache, positions, rows):
    return None


class Scores(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("cache", torch.zeros(16, 4))

    def forward(self, positions, rows):
        write_rows(self.cache, positions, rows)
        return rows @ self.cache.T


torch.manual_seed(0)
inputs = (torch.tensor([0, 1, 2]), torch.randn(3, 4))
n = torch.export.Dim("n", max=16)
shapes = ({0: n}, {0: n})
exported = torch.export.export(Scores(), inputs, dynamic_shapes=shapes, strict=False)
lost = exported.run_decompositions({})
scores = lost.module()(*inputs)
print("decomposed:", scores[0, :4])
assert not scores.any()
print("exported:  ", exported.module()(*inputs)[0, :4])

# %%
# :func:`torch.library.opcheck` finds it, if the call changes something: writing zeros
# into zeros passes.

zeros, positions = torch.zeros(16, 4), inputs[0]
torch.library.opcheck(write_rows, (zeros, positions, torch.zeros(3, 4)))
try:
    torch.library.opcheck(write_rows, (zeros, *inputs))
except OpCheckError as error:
    print(error)

# %%
# The fix
# +++++++
#
# An operator that returns nothing, and declares what it writes into, needs no fake
# implementation.


@torch.library.custom_op("cookbook_write::rows", mutates_args=("cache",))
def write_rows(cache: Tensor, positions: Tensor, rows: Tensor) -> None:
    cache.index_copy_(0, positions, rows)


program = torch.export.export(Scores(), inputs, dynamic_shapes=shapes, strict=False)
program = program.run_decompositions({})
torch.library.opcheck(write_rows, (zeros, *inputs))

# %%
# Why it happens
# ++++++++++++++
#
# ``run_decompositions`` traces the program again and `removes each call that has no
# user and no declared effect
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_functorch/_aot_autograd/graph_capture.py#L388>`_.
# With the declaration, the call is wrapped. The wrapper runs it on a copy, and the copy
# becomes the new value of the buffer.


def operators(some):
    nodes = some.graph.nodes
    return [str(node.target) for node in nodes if node.op == "call_function"]


print("exported:  ", operators(exported))
print("undeclared:", operators(lost))
print("declared:  ", operators(program))
print(program.graph_signature.buffers_to_mutate)
assert "cache" in program.graph_signature.buffers_to_mutate.values()

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If
#      - Write
#      - Cost
#    * - the backend does not know ``auto_functionalized_v2`` (PyTorch 2.9 and earlier:
#        ``auto_functionalized``)
#      - an operator that returns the new value, and ``cache.copy_(...)`` in the model
#      - one copy, in eager mode too
#    * - "must not also be an input to this custom operator"
#      - ``-> None``: the caller has the tensor
#      - none
#    * - "operator whose output has alias annotations", ``-> Tensor(a!)``
#      - ``-> ()`` in the schema
#      - callers that use the result
#    * - the operator is an ``out=`` variant
#      - the variant without ``out``
#      - one more tensor
#
# The first row:


@torch.library.custom_op("cookbook_write::updated", mutates_args=())
def updated(cache: Tensor, positions: Tensor, rows: Tensor) -> Tensor:
    return cache.index_copy(0, positions, rows)


updated.register_fake(lambda cache, positions, rows: torch.empty_like(cache))


class CopyScores(Scores):
    def forward(self, positions, rows):
        self.cache.copy_(updated(self.cache, positions, rows))
        return rows @ self.cache.T


plain = torch.export.export(CopyScores(), inputs, dynamic_shapes=shapes, strict=False)
plain = plain.run_decompositions({})
print(operators(plain))

# %%
# The other rows: an operator that returns what it wrote, as ``index_copy_`` does,
# raises when it runs.


@torch.library.custom_op("cookbook_write::returning", mutates_args=("cache",))
def returning(cache: Tensor, positions: Tensor, rows: Tensor) -> Tensor:
    return cache.index_copy_(0, positions, rows)


try:
    returning(zeros, *inputs)
except RuntimeError as error:
    print(str(error).split("custom_ops.py'>): ")[-1])

# %%
# An ``out=`` variant needs its own fake implementation. With it the export succeeds,
# and ``run_decompositions`` fails. The variant without ``out`` has neither problem.

library = torch.library.Library("cookbook_gate", "FRAGMENT")
library.define("gate(Tensor x) -> Tensor")
library.define("gate.out(Tensor x, *, Tensor(a!) out) -> Tensor(a!)")
library.impl("gate", lambda x: x * torch.sigmoid(x), "CPU")
library.impl("gate.out", lambda x, *, out: out.copy_(x * torch.sigmoid(x)), "CPU")
torch.library.register_fake("cookbook_gate::gate", torch.empty_like)


class Gated(torch.nn.Module):
    def forward(self, x):
        return torch.ops.cookbook_gate.gate.out(x, out=torch.empty_like(x)) + 1


class GatedPlain(torch.nn.Module):
    def forward(self, x):
        return torch.ops.cookbook_gate.gate(x) + 1


x = torch.randn(3, 4)
try:
    torch.export.export(Gated(), (x,), strict=False)
except UnsupportedOperatorException as error:
    print(str(error).splitlines()[0])
torch.library.register_fake("cookbook_gate::gate.out", lambda x, *, out: out)
try:
    torch.export.export(Gated(), (x,), strict=False).run_decompositions({})
except RuntimeError as error:
    print(str(error).splitlines()[0])
gated = torch.export.export(GatedPlain(), (x,), dynamic_shapes=({0: n},), strict=False)
gated = gated.run_decompositions({})

# %%
# Check
# +++++
#
# Result and state, over several calls: the rows of earlier calls must still be there.
# The reference is a tensor that is written with an index.

for some in (program, plain):
    exported, cache = some.module(), torch.zeros(16, 4)
    for first, size in [(0, 1), (1, 5), (6, 2), (3, 4), (0, 16)]:
        positions, rows = torch.arange(first, first + size), torch.randn(size, 4)
        cache[positions] = rows
        torch.testing.assert_close(exported(positions, rows), rows @ cache.T)
        torch.testing.assert_close(exported.cache, cache)
for size in (1, 7, 16):
    x = torch.randn(size, 4)
    torch.testing.assert_close(gated.module()(x), torch.nn.functional.silu(x) + 1)
try:
    exported(torch.tensor([0, 1]), torch.randn(2, 3))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Nothing checks ``mutates_args`` at the export. Run ``opcheck`` with arguments that
#   the operator changes, and compare the state after ``run_decompositions``.
# * An operator that writes returns nothing, or tensors of its own.
# * Next: :ref:`l-plot-exporter-ops-decompositions` for what else this step changes.
