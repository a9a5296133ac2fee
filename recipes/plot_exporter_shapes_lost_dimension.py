"""
.. _l-plot-exporter-lost_dynamic_dimension:

Keep a size dynamic in scale=, eps=, value= or linspace
=======================================================

.. answer::
   :cost: One multiplication.

   The argument is a ``float`` or an ``int`` in the schema of the operator: it takes a
   number, not a symbol, so the export puts in the number of the example. Give the
   operator a constant, and put the size into a tensor.

   .. code-block:: diff

      -        return attention(x, x, x, scale=x.shape[1] ** -0.5)
      +        return attention(x * x.shape[1] ** -0.5, x, x, scale=1.0)

   Not your case?

   * ``len``, ``int``, ``math`` or NumPy: :ref:`l-plot-exporter-shapes-python-int`.
   * ``interpolate``: :ref:`l-plot-exporter-shapes-resize`.
   * A number in the code, ``constant (4)``: :ref:`l-plot-exporter-shapes-specialized`.

.. meta::
   :keywords: lost dynamic dimension, scale argument, layer_norm eps,
      scaled_dot_product_attention scale, linspace steps, scale_factor, SymFloat, SymInt,
      Scalar argument, constant in graph, frozen size
"""

# %%
# The problem
# +++++++++++
#
# An attention whose scale depends on the number of tokens.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "dynamic dimension disappears inside the exported graph"
# sphinx_gallery_wording = "number of the example size appears in the graph as a scale"
# sphinx_gallery_wording = "onnxruntime fails with another batch size, a size is frozen in the graph"

import torch
from torch.export import Dim
from torch.nn.functional import layer_norm, pad
from torch.nn.functional import scaled_dot_product_attention as attention


class Attention(torch.nn.Module):
    def forward(self, x):
        return attention(x, x, x, scale=x.shape[1] ** -0.5)


torch.manual_seed(0)
x = torch.rand(2, 6, 4)
named = ({0: Dim("batch"), 1: Dim("tokens", max=512)},)
try:
    torch.export.export(Attention(), (x,), dynamic_shapes=named, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# With ``Dim.AUTO`` or ``Dim.DYNAMIC`` the export succeeds, and the scale of six tokens is
# in the graph. PyTorch 2.9 and later reject other sizes; before, the result is wrong.

dynamic = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},)
frozen = torch.export.export(Attention(), (x,), dynamic_shapes=dynamic, strict=False)
print(frozen.graph)
other = torch.rand(3, 7, 4)
try:
    print("same result:", torch.allclose(frozen.module()(other), Attention()(other)))
except AssertionError as error:
    print(error)

# %%
# The fix
# +++++++


class ScaledQuery(torch.nn.Module):
    def forward(self, x):
        return attention(x * x.shape[1] ** -0.5, x, x, scale=1.0)


# sphinx_gallery_picture = "The factor is computed from the size, the scale is 1."
program = torch.export.export(ScaledQuery(), (x,), dynamic_shapes=named, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# Each operator has a schema, and the C++ code behind it gets values of these types. A
# symbol fits ``SymInt`` and ``Scalar``. For a ``float``, torch `takes its value and adds a
# guard <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/sym_node.py#L563>`_.

for operator in ("scaled_dot_product_attention", "clamp", "topk"):
    print(getattr(torch.ops.aten, operator).default._schema)

# %%
# ``scale`` is a ``float``, ``max`` of ``clamp`` a ``Scalar``, ``k`` a ``SymInt``. The same
# expression is lost in the first only:


class Clamp(torch.nn.Module):
    def forward(self, x):
        return x.clamp(max=x.shape[1] ** -0.5)


clamp = torch.export.export(Clamp(), (x,), dynamic_shapes=named, strict=False)
torch.testing.assert_close(clamp.module()(other), other.clamp(max=7**-0.5))

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Argument
#      - Type
#      - Write instead
#    * - ``attention(x, x, x, scale=s)``
#      - ``float``
#      - ``attention(x * s, x, x, scale=1.0)``
#    * - ``linspace(0, 1, n)``
#      - ``int``
#      - ``arange(n)``, divided by ``n - 1``
#    * - ``layer_norm(x, shape, eps=e)``
#      - ``float``
#      - the formula, which is slower
#    * - ``pad(x, (0, 1), value=v)``
#      - ``float``
#      - ``cat`` with a tensor from ``full``; ``fill_value`` is a ``Scalar``
#    * - ``interpolate(x, scale_factor=8 / n)``
#      - ``float``
#      - ``interpolate(x, size=8)``, a ``SymInt``
#    * - ``x.unfold(1, n // 2, 1)``
#      - ``int``
#      - nothing: declare the dimension static


class Ramp(torch.nn.Module):
    def forward(self, x):
        n = x.shape[1]
        return x * (torch.arange(n) / torch.full((), n - 1).clamp(min=1))[:, None]


class Norm(torch.nn.Module):
    def forward(self, x):
        variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + 1 / x.shape[1])


class Padded(torch.nn.Module):
    def forward(self, x):
        batch, n, _ = x.shape
        return torch.cat([x, torch.full((batch, n, 1), 1 / n)], dim=2)


ramp, norm, padded = [
    torch.export.export(fixed, (x,), dynamic_shapes=named, strict=False).module()
    for fixed in (Ramp(), Norm(), Padded())
]

# %%
# Check
# +++++
#
# The references are the operators with the argument, in eager mode. One token more than
# declared is rejected.

exported = program.module()
for batch, n in ((1, 1), (3, 7), (2, 512)):
    x = torch.rand(batch, n, 4)
    torch.testing.assert_close(exported(x), Attention()(x))
    torch.testing.assert_close(ramp(x), x * torch.linspace(0, 1, n)[:, None])
    torch.testing.assert_close(norm(x), layer_norm(x, (4,), eps=1 / n))
    torch.testing.assert_close(padded(x), pad(x, (0, 1), value=1 / n))
try:
    exported(torch.rand(2, 513, 4))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# A number that was never a size during the export leaves no guard. This model stores the
# size of its first call, here a call before the export: the result is wrong, silently, in
# every version. To find frozen sizes, trace two examples and compare the numbers.


class Mean(torch.nn.Module):
    count = None

    def forward(self, x):
        if self.count is None:
            self.count = x.shape[1]
        return x.sum(dim=1) / self.count


def numbers(model, size):
    example = torch.rand(2, size, 4)
    model(example)
    shapes = ({0: Dim.AUTO, 1: Dim.AUTO},)
    traced = torch.export.export(model, (example,), dynamic_shapes=shapes, strict=False)
    arguments = [(node.args, node.kwargs) for node in traced.graph.nodes]
    leaves = torch.utils._pytree.tree_leaves(arguments)
    return [leaf for leaf in leaves if type(leaf) in (int, float)]


for kind in (Mean, Attention, ScaledQuery):
    print(kind.__name__, numbers(kind(), 6), numbers(kind(), 11))
assert numbers(Mean(), 6) != numbers(Mean(), 11)
assert numbers(ScaledQuery(), 6) == numbers(ScaledQuery(), 11)

# %%
# Summary
# +++++++
#
# * A size in a ``float`` or ``int`` argument of an operator is frozen. Its ``_schema`` has
#   the types.
# * Pass a constant, and put the size into a tensor, a ``SymInt`` or a ``Scalar``.
# * Next: what Python does to a size (:ref:`l-plot-exporter-shapes-python-int`), and
#   models that remember their first call (:ref:`l-plot-exporter-wrong-state`).
