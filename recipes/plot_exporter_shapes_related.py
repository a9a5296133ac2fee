"""
.. _l-plot-exporter-shapes-related:

Declare dimensions that "must always be equal" or related
=========================================================

.. answer::
   :cost: Nothing at run time.

   Two names declare two independent sizes, and the model relates them. Give equal sizes
   one ``Dim`` and derive others from it: ``patches + 1``, ``4 * groups``. If you need no
   names, ``Dim.DYNAMIC`` everywhere finds the relations by itself.

   .. code-block:: diff

      -shapes = ({0: batch, 1: patches}, {0: rows, 1: tokens})
      +shapes = ({0: batch, 1: patches}, {0: batch, 1: patches + 1})

   Not your case?

   * Torch suggests a number, ``batch = 4``: :ref:`l-plot-exporter-shapes-specialized`.
   * It suggests a range, or nothing: :ref:`l-plot-exporter-shapes-ranges`.
   * The multiple comes from padding: :ref:`l-plot-exporter-shapes-pad-to-multiple`.

.. meta::
   :keywords: Constraints violated, must always be equal, must always be related to,
      Suggested fixes, derived Dim, dim + 1, multiple of, divisible by, to be of the
      form, sum of two dimensions, is not
      equal to, Only increasing linear operations
"""

# %%
# The problem
# +++++++++++
#
# A class token is put in front of the patches, so the mask has one column more.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "dx = dy suggested although the two sizes are independent"
# sphinx_gallery_wording = "a dimension must always be a multiple of 4"
# sphinx_gallery_wording = "sequence length is 4096 minus the length of the cache"
# sphinx_gallery_wording = "Attempted to add Dim('b', min=0) to a, where an integer was expected. (Only increasing linear operations with integer coefficients are supported.)"
# sphinx_gallery_wording = "Expected derived min value of tokens - 1 to be >= 0. Please specify an appropriate min value for tokens (currently 0)."
# sphinx_gallery_wording = "L['y'].size()[0] = 5 is not equal to L['x'].size()[0] = 7"
# sphinx_gallery_wording = "Expected input L['y'].size()[0] to be equal to a + 1, where a = 7, but got 5"
# sphinx_gallery_wording = "Expected shape[0] = 7 of input Tensor to be of the form 4*a, where a is an integer"

import torch
from torch.export import Dim


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.token = torch.nn.Parameter(torch.randn(1, 1, 3))

    def forward(self, x, mask):
        token = self.token.expand(x.shape[0], -1, -1)
        return torch.cat([token, x], dim=1) * mask.unsqueeze(-1)


torch.manual_seed(0)
model = Encoder()
args = (torch.randn(2, 6, 3), torch.ones(2, 7))
batch, patches, rows, tokens = map(Dim, ("batch", "patches", "rows", "tokens"))
shapes = ({0: batch, 1: patches}, {0: rows, 1: tokens})
try:
    torch.export.export(model, args, dynamic_shapes=shapes, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# Both suggestions are right: the model cannot do without these relations.
#
# The fix
# +++++++

batch, patches = Dim("batch", max=64), Dim("patches", max=256)
shapes = ({0: batch, 1: patches}, {0: batch, 1: patches + 1})
program = torch.export.export(model, args, dynamic_shapes=shapes, strict=False)
print(program.range_constraints)

# %%
# Why it happens
# ++++++++++++++
#
# The trace finds the relations, and `this test
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L6447>`_
# looks for them in the declaration. ``Dim.DYNAMIC`` declares nothing about other
# dimensions, so they are accepted as they are.

dynamic = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, {0: Dim.DYNAMIC, 1: Dim.DYNAMIC})
found = torch.export.export(model, args, dynamic_shapes=dynamic, strict=False)
for node in found.graph.nodes:
    if node.name in ("x", "mask"):
        print(node.name, node.meta["val"].shape)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Torch suggests
#      - Write
#      - Cost
#    * - ``_rows = Dim('_rows', min=1, max=oo)``, ``rows = 4*_rows``
#      - ``4 * Dim("groups")``; ``oo`` is not Python
#      - an example of at least 8 rows
#    * - ``patches = tokens - 1``
#      - ``patches + 1``, from the smaller to the larger
#      - none; ``tokens - 1`` needs ``min`` and ``max``
#    * - ``past = 12 - new``
#      - ``Dim.DYNAMIC`` for both, also for ``a // 2`` or ``a * b``
#      - no names
#    * - ``max=`` for one of ``past``, ``new`` and their sum
#      - a third name, ``Dim("total")``, without ``max``
#      - the sum has no limit of its own
#    * - nothing: ``x.size()[1] = 7 is not equal to y.size()[1] = 12``, and these sizes are
#        independent
#      - a ``Dim`` for each of the two
#      - none
#    * - anything
#      - ``Dim.DYNAMIC`` for all related dimensions; with bounds,
#        ``Dim.DYNAMIC(min=2, max=64)``, in PyTorch 2.8 and later
#      - no names, and a relation that you did not expect is not reported
#
# A multiple of 4. After a ``reshape`` the list of guards is longer: read the suggestion.


class MeanOfFour(torch.nn.Module):
    def forward(self, x):
        if x.shape[0] % 4 != 0:
            raise ValueError("the number of rows must be a multiple of 4")
        return x.unfold(0, 4, 4).mean(dim=-1)


sixteen = (torch.randn(16, 3),)
try:
    torch.export.export(
        MeanOfFour(), sixteen, dynamic_shapes=({0: Dim("rows")},), strict=False
    )
except torch._dynamo.exc.UserError as error:
    print(error)
groups = Dim("groups", max=256)
mean = torch.export.export(
    MeanOfFour(), sixteen, dynamic_shapes=({0: 4 * groups},), strict=False
)

# %%
# A sum: cached and new tokens, and a mask over both. (If the mask has a fixed length,
# torch suggests ``past = 12 - new``, which `cannot be written
# <https://github.com/pytorch/pytorch/issues/172561>`_.)


class WithCache(torch.nn.Module):
    def forward(self, cached, x, mask):
        return torch.cat([cached, x], dim=1) * mask.unsqueeze(-1)


past, new, total = Dim("past"), Dim("new"), Dim("total")
tensors = (torch.randn(2, 7, 3), torch.randn(2, 5, 3), torch.ones(2, 12))
cache = torch.export.export(
    WithCache(),
    tensors,
    dynamic_shapes=({1: past}, {1: new}, {1: total}),
    strict=False,
)

# %%
# Check
# +++++
#
# The reference is the original model, or each group of four by itself. Inputs that
# break a relation or a range are rejected.

for size, length in ((1, 1), (2, 6), (5, 256), (64, 3)):
    x, mask = torch.randn(size, length, 3), torch.rand(size, length + 1)
    torch.testing.assert_close(program.module()(x, mask), model(x, mask))
for number in (2, 3, 256):
    x = torch.randn(4 * number, 3)
    expected = torch.stack([four.mean(dim=0) for four in x.split(4)])
    torch.testing.assert_close(mean.module()(x), expected)
for old, fresh in ((0, 3), (9, 1), (40, 30)):
    old, fresh = torch.randn(2, old, 3), torch.randn(2, fresh, 3)
    mask = torch.rand(2, old.shape[1] + fresh.shape[1])
    torch.testing.assert_close(
        cache.module()(old, fresh, mask), WithCache()(old, fresh, mask)
    )
for call, inputs in [
    (program, (torch.randn(2, 6, 3), torch.ones(2, 6))),
    (program, (torch.randn(65, 6, 3), torch.ones(65, 7))),
    (mean, (torch.randn(18, 3),)),
]:
    try:
        call.module()(*inputs)
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# Limitations
# +++++++++++
#
# A suggestion describes one example. Do not follow it if the model, in eager mode, takes
# sizes that it excludes, as these two do:


class AddIfEqual(torch.nn.Module):
    def forward(self, x, y):
        return x + y if x.shape[0] == y.shape[0] else x.sum() + y


class FirstHalf(torch.nn.Module):
    def forward(self, x, y):
        return x[: x.shape[0] // 2].sum() + y


pair = (torch.randn(6, 3), torch.randn(6, 3))
odd = (torch.randn(7, 3), torch.randn(5, 3))
for branching in (AddIfEqual(), FirstHalf()):
    shapes = ({0: Dim("dx")}, {0: Dim("dy")})
    try:
        torch.export.export(branching, pair, dynamic_shapes=shapes, strict=False)
    except torch._dynamo.exc.UserError as error:
        print(error.msg)
    assert branching(*odd).shape == (5, 3)

# %%
# ``dy = dx`` comes from the branch: use :func:`torch.cond`
# (:ref:`l-plot-exporter-control-cond`), or export two programs. ``dx = 2*_dx`` comes from
# the division: with ``Dim.DYNAMIC``, odd sizes work.

half = torch.export.export(
    FirstHalf(), pair, dynamic_shapes=({0: Dim.DYNAMIC}, {0: Dim.DYNAMIC}), strict=False
)
torch.testing.assert_close(half.module()(*odd), odd[0][:3].sum() + odd[1])

# %%
# Summary
# +++++++
#
# * Equal sizes share one ``Dim``, larger ones are derived from the smallest, a sum gets a
#   name of its own. For the rest, and without names, use ``Dim.DYNAMIC``.
# * ``is not equal to``, ``where a = 7, but got 5``, ``to be of the form 4*a``: the sizes
#   of the example do not fit the declaration.
# * Next, a guard on one dimension may remain: :ref:`l-plot-exporter-shapes-ranges`. For
#   many inputs, a function applies the suggestions: :ref:`l-plot-exporter-shapes-infer`.
