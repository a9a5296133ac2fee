"""
.. _l-plot-exporter-onnx-missing-op:

"No ONNX function found": replace or translate the operator
===========================================================

.. answer::
   :cost: The kernel is a different one; here, ``edges`` must have one dimension.

   The exporter has no translation for this operator, and no decomposition into
   operators that have one. Write it with other operators of PyTorch, or pass a
   translation, ``custom_translation_table={...}``.

   .. code-block:: diff

      -        return torch.searchsorted(self.edges, x)
      +        return torch.bucketize(x, self.edges)

   Not your case?

   * Complex numbers, a Fourier transform: :ref:`l-plot-exporter-ops-complex`.
   * "step 1/3": :ref:`l-plot-exporter-onnx-report`.
   * ``torch.export`` rejects your operator: :ref:`l-plot-exporter-ops-custom`.

.. meta::
   :keywords: No ONNX function found, DispatchError, custom_translation_table,
      onnxscript opset, custom operator ONNX, No decompositions registered,
      unsupported operator,
      only 4D query key and value are supported, cdist, stable sort, eigh, searchsorted
"""

# %%
# The problem
# +++++++++++
#
# The number of a bin for each value. The last message of the chain of causes names the
# operator, as it is in the *decomposed* program: ``cdist`` appears as
# ``aten._cdist_forward``, ``eigh`` as ``aten._linalg_eigh``.

# sphinx_gallery_tags = ["onnx", "conversion fails"]
# sphinx_gallery_wording = "No decompositions registered for the complex-valued input"
# sphinx_gallery_wording = "Unknown call_function target: <function sym_not at 0x7f97e189a830>"
# sphinx_gallery_wording = "Exporting the operator 'aten::fft_rfft' to ONNX opset version 17 is not supported"
# sphinx_gallery_wording = "No ONNX function found for <OpOverload(op='aten._linalg_eigh', overload='default')>."
# sphinx_gallery_wording = "should be provided as an OpOverload instead of an OpOverloadPacket."

import onnx
import onnxruntime
import onnxscript
import torch


class Bins(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("edges", torch.tensor([-0.5, 0.0, 0.5, 1.0]))

    def forward(self, x):
        return torch.searchsorted(self.edges, x)


torch.manual_seed(0)
model, x = Bins().eval(), torch.rand(2, 4)
shapes = ({0: torch.export.Dim("batch", max=1024)},)
try:
    torch.onnx.export(model, (x,), dynamic_shapes=shapes, dynamo=True, verbose=False)
except torch.onnx.OnnxExporterError as error:
    print(error.__cause__)
    print(error.__cause__.__cause__)

# %%
# The fix
# +++++++
#
# Operators of PyTorch, which all have a translation. Other backends profit, too.


class PlainBins(Bins):
    def forward(self, x):
        return torch.bucketize(x, self.edges)


rewritten = torch.onnx.export(
    PlainBins().eval(), (x,), dynamic_shapes=shapes, dynamo=True, verbose=False
)

# %%
# .. list-table::
#    :header-rows: 1
#
#    * - No translation in PyTorch 2.13
#      - Write instead
#    * - ``torch.sort(x, stable=True)``, ``argsort``
#      - leave ``stable`` out; the order of equal values may change
#    * - ``torch.cdist(a, b)``
#      - ``(a[:, None] - b).square().sum(dim=-1).sqrt()``; needs more memory
#    * - ``x.median(dim=1)``, ``x.kthvalue(k)``
#      - ``x.topk(k, largest=False).values[:, -1]``
#    * - ``torch.cumprod(x, dim=1)``, ``x > 0``
#      - ``x.log().cumsum(dim=1).exp()``
#    * - ``torch.hypot(a, b)``
#      - ``(a * a + b * b).sqrt()``
#    * - ``inv``, ``solve``, ``cholesky``, ``eigh``, ``svd``, ``qr``
#      - compute it outside of the file: cut the model there


class Rewritten(torch.nn.Module):
    def forward(self, x, edges):
        distances = (x[:, None] - edges).square().sum(dim=-1).sqrt()
        third = x.topk(3, largest=False).values[:, -1]
        product = x.log().cumsum(dim=1).exp()
        return torch.sort(x)[0], distances, third, product


edges = torch.rand(3, 4)
table = torch.onnx.export(Rewritten(), (x, edges), dynamo=True, verbose=False)

# %%
# Why it happens
# ++++++++++++++
#
# The exporter decomposes the program, then looks up each operator `in a registry
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/onnx/_internal/exporter/_core.py#L596>`_.
# These are the operators that it has to find:

program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
decomposed = program.run_decompositions()
print({str(n.target) for n in decomposed.graph.nodes if n.op == "call_function"})

# %%
# Other fixes
# +++++++++++
#
# **A translation**: a function of ONNX operators with the arguments of the operator,
# for an operator of your own or a node that only your runtime has. You write the
# operator a second time. The key is an overload: ``torch.ops.mylib.myop.default``, with
# ``.default``.

op = onnxscript.opset18


def translate(edges, x, out_int32=False, right=False, side=None, sorter=None):
    assert not (out_int32 or right or side or sorter)
    below = op.Less(edges, op.Unsqueeze(x, [-1]))
    return op.ReduceSum(op.Cast(below, to=onnx.TensorProto.INT64), [-1], keepdims=0)


translated = torch.onnx.export(
    model,
    (x,),
    dynamic_shapes=shapes,
    dynamo=True,
    custom_translation_table={torch.ops.aten.searchsorted.Tensor: translate},
    verbose=False,
)
print([node.op_type for node in translated.model.graph])

# %%
# **A translation exists and rejects the input.** The one of attention needs four
# dimensions. Add one, or decompose first and convert the decomposed program: a longer
# graph, no change of the model.


class Attention(torch.nn.Module):
    def forward(self, q):
        return torch.nn.functional.scaled_dot_product_attention(q, q, q)


class Attention4(torch.nn.Module):
    def forward(self, q):
        q = q.unsqueeze(1)
        return torch.nn.functional.scaled_dot_product_attention(q, q, q).squeeze(1)


q = torch.rand(2, 5, 8)
try:
    torch.onnx.export(
        Attention(), (q,), dynamic_shapes=shapes, dynamo=True, verbose=False
    )
except torch.onnx.OnnxExporterError as error:
    print(error.__cause__.__cause__.__cause__)
program = torch.export.export(Attention(), (q,), dynamic_shapes=shapes, strict=False)
small = program.run_decompositions()
decomposed_first = torch.onnx.export(small, dynamo=True, verbose=False)
four = torch.onnx.export(
    Attention4(), (q,), dynamic_shapes=shapes, dynamo=True, verbose=False
)

# %%
# Check
# +++++
#
# Each file in onnxruntime against the original operator, at sizes that were not traced,
# and with values that are equal to an edge.

for rows in (1, 3, 1024):
    x, q = torch.randn(rows, 4), torch.randn(rows, 5, 8)
    x[0, :2] = model.edges[1:3]
    for file in (rewritten, translated):
        torch.testing.assert_close(file(x)[0], model(x))
    for file in (decomposed_first, four):
        torch.testing.assert_close(file(q)[0], Attention()(q))
x = torch.rand(2, 4)
ordered, distances, third, product = table(x, edges)
torch.testing.assert_close(ordered, torch.sort(x, stable=True).values)
torch.testing.assert_close(distances, torch.cdist(x, edges))
torch.testing.assert_close(third, x.kthvalue(3).values)
torch.testing.assert_close(product, x.cumprod(dim=1))
try:
    translated(torch.rand(2, 3))
except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Read the operator in the last message, and write it with others.
# * ``custom_translation_table`` for what cannot be rewritten: compare with eager.
#
# A newer ``onnxscript`` or PyTorch may have the translation. Next:
# :ref:`l-plot-exporter-ops-custom`, :ref:`l-plot-exporter-ops-decompositions` for
# decompositions of your own, :ref:`l-plot-exporter-ops-attention` for masks of attention,
# :ref:`l-plot-exporter-onnx-validate` to check the file.
