"""
.. _l-plot-exporter-inputs-sparse-nested:

Replace sparse and nested tensors with their parts
==================================================

.. answer::
   :cost: Another signature; the caller takes the tensor apart.

   A sparse tensor has no values during the export, few operators support a dynamic
   size, and a sparse buffer cannot be saved and loaded. With a nested tensor the
   export fails, or each call. Pass the parts, and use ``index_add``.

   .. code-block:: diff

      -    def forward(self, graph, x):
      -        return torch.sparse.mm(graph, x)
      +    def forward(self, indices, values, x):
      +        messages = x[indices[1]] * values[:, None]
      +        return torch.zeros_like(x).index_add(0, indices[0], messages)

   Not your case?

   * The texts are packed, with lengths or ``cu_seqlens``:
     :ref:`l-plot-exporter-data-lengths`.
   * Lists or dictionaries of tensors: :ref:`l-plot-exporter-inputs-nested`.

.. meta::
   :keywords: sparse tensor, sparse_coo_tensor, sparse_csr, to_sparse, torch.sparse.mm,
      _sparse_addmm, nnz, adjacency matrix, graph neural network, nested tensor,
      torch.nested, jagged, NestedIntNode, nested_tensor_from_jagged,
      SparseTensorImpl, meta converter nyi
"""

# %%
# The problem
# +++++++++++
#
# The edges of a graph are a sparse matrix. The first program is silently wrong: the
# number of values is 0.

# sphinx_gallery_tags = ["inputs", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "torch.export.export a model with a sparse tensor as input"
# sphinx_gallery_wording = "Unable to set dynamic shape for a sparse tensor"
# sphinx_gallery_wording = "torch.export does not support nested tensors"
# sphinx_gallery_wording = "torch.onnx.export does not support nested tensor operations"
# sphinx_gallery_wording = "torch.export does not support Sparse CSR tensors"

import io

import torch
from torch._subclasses import fake_tensor
from torch.export import Dim


class MeanWeight(torch.nn.Module):
    def forward(self, graph):
        values = graph.coalesce().values()
        return values.sum() / values.shape[0]


torch.manual_seed(0)
x = torch.rand(4, 3)
graph = torch.eye(4).roll(1, 0).to_sparse().coalesce()
program = torch.export.export(MeanWeight(), (graph,), strict=False)
print("model, program:", MeanWeight()(graph), program.module()(graph))
print(*[f"divides by {n.args[1]}" for n in program.graph.nodes if "div" in n.name])

# sphinx_gallery_start_ignore
assert program.module()(graph).isinf()
# sphinx_gallery_end_ignore

# %%
# Multiplying exports with static sizes only.


class Neighbors(torch.nn.Module):
    def forward(self, graph, x):
        return torch.sparse.mm(graph, x)


nodes, edges = Dim("nodes", max=64), Dim("edges", max=4096)
try:
    torch.export.export(
        Neighbors(),
        (graph, x),
        dynamic_shapes=({0: nodes, 1: nodes}, {0: nodes}),
        strict=False,
    )
except (
    fake_tensor.UnsupportedOperatorException,
    torch._dynamo.exc.UserError,
) as error:
    print(error)

# %%
# A nested tensor fails in the model and as an input. (Strict mode, and PyTorch 2.12,
# can export it as an input; then the calls raise ``SyntaxError``.)


class Total(torch.nn.Module):
    def forward(self, values, offsets):
        texts = torch.nested.nested_tensor_from_jagged(values, offsets)
        return texts.sum(dim=1)


class TotalOfTexts(torch.nn.Module):
    def forward(self, texts):
        return texts.sum(dim=1)


tokens, offsets = torch.rand(6, 3), torch.tensor([0, 2, 6])
texts = torch.nested.nested_tensor_from_jagged(tokens, offsets)
for model, inputs in ((Total(), (tokens, offsets)), (TotalOfTexts(), (texts,))):
    try:
        program = torch.export.export(model, inputs, strict=False)
        program.module()(*inputs)
    except (AssertionError, AttributeError, RuntimeError, SyntaxError) as error:
        print(f"{type(error).__name__}: {error}")

# %%
# The fix
# +++++++
#
# ``clone()`` makes a tensor of its own from each part.


class Messages(torch.nn.Module):
    def forward(self, indices, values, x):
        messages = x[indices[1]] * values[:, None]
        return torch.zeros_like(x).index_add(0, indices[0], messages)


# sphinx_gallery_picture = "The edges are two dense inputs, and both sizes are symbols."
program = torch.export.export(
    Messages(),
    (graph.indices().clone(), graph.values().clone(), x),
    dynamic_shapes=({1: edges}, {0: edges}, {0: nodes}),
    strict=False,
)

# %%
# Why it happens
# ++++++++++++++
#
# The stand-in for a sparse tensor is made `with zero values
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_subclasses/meta_utils.py#L1522-L1542>`_,
# however many your tensor has. Their number is a constant of the program: here it
# divides by 0. Dynamic sizes are the subject of `issue 169488
# <https://github.com/pytorch/pytorch/issues/169488>`_, nested tensors of `issue 149605
# <https://github.com/pytorch/pytorch/issues/149605>`_.
#
# The parts are views of the sparse tensor, and these have no stand-in. Without
# ``clone()``:

try:
    torch.export.export(Messages(), (graph.indices(), graph.values(), x), strict=False)
except fake_tensor.UnsupportedFakeTensorException as error:
    print(error)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your model has
#      - Write this instead
#      - Cost
#    * - a sparse input, small enough or CSR
#      - ``graph.to_dense()`` in the caller, and ``graph @ x``
#      - memory for all the zeros
#    * - a sparse buffer
#      - two buffers, indices and values, as below
#      - none
#    * - a nested tensor
#      - the values and the end of each text, as below
#      - none
#    * - a nested tensor and attention
#      - ``to_padded_tensor`` in the caller, and a mask
#      - work on the padding
#
# A sparse buffer exports and runs; saving it fails, or what was loaded does.


class Smooth(torch.nn.Module):
    def __init__(self, graph):
        super().__init__()
        self.register_buffer("graph", graph)

    def forward(self, x):
        return torch.sparse.mm(self.graph, x)


class SmoothParts(Messages):
    def __init__(self, graph):
        super().__init__()
        self.register_buffer("indices", graph.indices().clone())
        self.register_buffer("values", graph.values().clone())

    def forward(self, x):
        return super().forward(self.indices, self.values, x)


try:
    smooth = torch.export.export(Smooth(graph), (x,), strict=False)
    torch.export.save(smooth, file := io.BytesIO())
    file.seek(0)
    torch.export.load(file).module()
except (KeyError, NotImplementedError) as error:
    print(error)
smooth = torch.export.export(
    SmoothParts(graph), (x,), dynamic_shapes=({1: Dim("features")},), strict=False
)
torch.export.save(smooth, file := io.BytesIO())
file.seek(0)
loaded = torch.export.load(file)

# %%
# ``searchsorted`` gives each token the number of its text. ``ends`` is ``offsets[1:]``.


class TotalOfParts(torch.nn.Module):
    def forward(self, values, ends):
        text = torch.searchsorted(ends, torch.arange(values.shape[0]), right=True)
        total = values.new_zeros(ends.shape[0], values.shape[1])
        return total.index_add(0, text, values)


totals = torch.export.export(
    TotalOfParts(),
    (tokens, offsets[1:].clone()),
    dynamic_shapes=({0: Dim("tokens", max=512)}, {0: Dim("texts", max=64)}),
    strict=False,
)

# %%
# Check
# +++++
#
# The references are dense matrices and sums of slices, at other sizes. An edge to a
# node that does not exist, and edges without values, must be rejected.

run, total = program.module(), totals.module()
for size in (1, 2, 9, 64):
    dense = torch.rand(size, size) * (torch.rand(size, size) > 0.5)
    sparse, rows = dense.to_sparse().coalesce(), torch.randn(size, 3)
    result = run(sparse.indices(), sparse.values(), rows)
    torch.testing.assert_close(result, dense @ rows)
    columns = torch.randn(4, size)
    torch.testing.assert_close(loaded.module()(columns), graph.to_dense() @ columns)
for lengths in ([5], [3, 1], [2, 0, 7, 4]):
    tokens = torch.randn(sum(lengths), 3)
    expected = torch.stack([part.sum(dim=0) for part in tokens.split(lengths)])
    ends = torch.tensor(lengths).cumsum(dim=0)
    torch.testing.assert_close(total(tokens, ends), expected)
for indices in ([[0], [9]], [[0, 1], [1, 0]]):
    try:
        run(torch.tensor(indices), torch.ones(1), x)
    except (AssertionError, IndexError, RuntimeError) as error:
        print(str(error).splitlines()[0])

# %%
# Summary
# +++++++
#
# * Inputs and buffers of a program are dense: indices and values, or values and ends.
# * In a program that was exported with a sparse tensor, look for a 0 in the graph.
#
# Next: :ref:`l-plot-exporter-data-lengths` for means, maxima and attention by text,
# :ref:`l-plot-exporter-wrong-checklist` to check a program.
