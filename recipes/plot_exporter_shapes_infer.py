"""
.. _l-plot-exporter-shapes-infer:

Let torch infer dynamic_shapes from two examples
================================================

.. answer::
   :cost: A size that is equal in both examples stays static.

   Written by hand for many inputs, ``dynamic_shapes`` misses a dimension, and what it
   does not name is static. Give torch a second example instead: each size that differs
   becomes ``Dim.DYNAMIC``.

   .. code-block:: diff

      -options = {"dynamic_shapes": by_hand, "strict": False}
      +examples = torch.export.AdditionalInputs()
      +examples.add(*second)
      +options = {"dynamic_shapes": examples, "strict": False}

   Not your case?

   * Only the form of ``dynamic_shapes`` is wrong: :ref:`l-plot-exporter-inputs-nested`.
   * A tensor in one call, ``None`` in the other: :ref:`l-plot-exporter-inputs-optional`.
   * ``AUTO``, ``DYNAMIC`` or a name: :ref:`l-plot-exporter-shapes-auto-dynamic-static`.

.. meta::
   :keywords: infer dynamic_shapes, AdditionalInputs, two example inputs, automatic
      dynamic shapes, nested inputs, kwargs, which dimensions are dynamic, Node arity
      mismatch, differing values, ShapesCollection,
      refine_dynamic_shapes_from_suggested_fixes
"""

# %%
# The problem
# +++++++++++
#
# One step of a decoder: new tokens, a cache, and a mask by keyword. The specification
# forgets the batch.

# sphinx_gallery_tags = ["dynamic shapes", "how to", "turns static", "run fails"]
# sphinx_gallery_needs_torch = "2.8"
# sphinx_gallery_wording = "how to know which dimensions are dynamic"
# sphinx_gallery_wording = "generate dynamic_shapes automatically from sample inputs"
# sphinx_gallery_wording = "ValueError: not enough values to unpack (expected 2, got 1)"
# sphinx_gallery_wording = "The following inputs were found to have differing types, so they cannot be marked as dynamic: (None, 2.0)."
# sphinx_gallery_wording = "The following inputs were found to have differing values, but they cannot be marked as dynamic: (1.0, 2.0)."

import torch
from torch.export import Dim
from torch.export.dynamic_shapes import refine_dynamic_shapes_from_suggested_fixes


class Decoder(torch.nn.Module):
    def forward(self, x, cache, *, mask=None):
        hidden = torch.cat([cache["keys"], cache["more"], x], dim=1)
        return hidden if mask is None else hidden * mask.unsqueeze(-1)


def example(batch, new, past):
    keys, more = torch.randn(batch, past, 3), torch.randn(batch, past + 1, 3)
    args = torch.randn(batch, new, 3), {"keys": keys, "more": more}
    return args, {"mask": torch.rand(batch, new + 2 * past + 1)}


torch.manual_seed(0)
model = Decoder()
args, kwargs = example(batch=2, new=5, past=7)
second = example(batch=3, new=4, past=9)
by_hand = {
    "x": {1: Dim.DYNAMIC},
    "cache": {"keys": {1: Dim.DYNAMIC}, "more": {1: Dim.DYNAMIC}},
    "mask": {1: Dim.DYNAMIC},
}
options = {"dynamic_shapes": by_hand, "strict": False}
program = torch.export.export(model, args, kwargs, **options)
try:
    program.module()(*second[0], **second[1])
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# The fix
# +++++++
#
# The second example is a tuple and a dictionary, as for the call of the model. Let it
# differ in all that varies.

examples = torch.export.AdditionalInputs()
examples.add(*second)
options = {"dynamic_shapes": examples, "strict": False}
program = torch.export.export(model, args, kwargs, **options)
for node in program.graph.find_nodes(op="placeholder"):
    print(node.name, node.meta["val"].shape)

# %%
# Why it happens
# ++++++++++++++
#
# ``AdditionalInputs`` `compares the shapes
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/dynamic_shapes.py#L896>`_
# leaf by leaf, integers too, and writes the dictionary that you would. If an accident
# makes two sizes equal, here the batch, the dimension is static, silently:

careless = torch.export.AdditionalInputs()
careless.add(*example(batch=2, new=4, past=9))
found = careless.dynamic_shapes(model, args, kwargs)
assert found["x"] == (None, Dim.DYNAMIC, None)

# %%
# Add a third example then; ``add`` takes any number of them. (The warning ``Using None as
# a dynamic shape dimension is deprecated`` comes from ``AdditionalInputs`` itself.)
#
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - You have
#      - Use
#      - Cost
#    * - one example only, or PyTorch 2.6 or 2.7
#      - ``Dim.AUTO`` for all dimensions
#      - dynamic is what the model allows; what it does not is static, silently
#    * - tensors in classes of your own
#      - ``ShapesCollection``, by tensor and not by path
#      - needs the same tensors at the export
#    * - a wish for names
#      - a name for each size, and torch's suggestions
#      - a suggestion can be wrong: :ref:`l-plot-exporter-shapes-related`
#
# ``Dim.AUTO`` everywhere, with a collection:

tensors = torch.utils._pytree.tree_leaves((args, kwargs))
auto = torch.export.ShapesCollection()
for tensor in tensors:
    auto[tensor] = dict.fromkeys(range(tensor.dim()), Dim.AUTO)
automatic = torch.export.export(model, args, kwargs, dynamic_shapes=auto, strict=False)
print(automatic.graph.find_nodes(op="placeholder")[0].meta["val"].shape)

# %%
# Names: give each size its own, then apply what torch suggests. Pass ``error.msg``: with
# ``str(error)`` the function raises ``not enough values to unpack``.

names = torch.export.ShapesCollection()
for number, tensor in enumerate(tensors):
    names[tensor] = {0: Dim(f"batch{number}"), 1: Dim(f"length{number}")}
shapes = names.dynamic_shapes(model, args, kwargs)
try:
    torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error.msg)
    shapes = refine_dynamic_shapes_from_suggested_fixes(error.msg, shapes)
named = torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)

# %%
# Check
# +++++
#
# Run every example, and sizes that no example has, against the model. A mask that is too
# short is rejected.

for inputs, keywords in (
    (args, kwargs),
    second,
    example(batch=1, new=30, past=12),
    example(batch=4, new=1, past=2),
):
    expected = model(*inputs, **keywords)
    for exported in (program.module(), automatic.module(), named.module()):
        torch.testing.assert_close(exported(*inputs, **keywords), expected)
try:
    program.module()(*second[0], mask=torch.ones(3, 22))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# The first example must have no size of 0 or 1 (:ref:`l-plot-exporter-shapes-zero-one`),
# and all examples the same structure.

for first, other in (
    (example(batch=1, new=5, past=7), second),
    ((args, kwargs), (second[0], {"mask": None})),
    ((args, kwargs), (second[0], {})),
):
    examples = torch.export.AdditionalInputs()
    examples.add(*other)
    try:
        torch.export.export(model, *first, dynamic_shapes=examples, strict=False)
    except ValueError as error:
        print(error)

# %%
# The export tests the second example against the ranges of the program, not against its
# guards: this program rejects an example that it was made from (PyTorch 2.9 and later).


class Tail(torch.nn.Module):
    def forward(self, x):
        return x[:, -4:].mean(dim=1)


four = torch.randn(2, 4, 3)
examples = torch.export.AdditionalInputs()
examples.add((four,))
tail = torch.export.export(
    Tail(), (torch.randn(2, 6, 3),), dynamic_shapes=examples, strict=False
)
try:
    tail.module()(four)
except AssertionError as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Two valid examples that differ in all that varies, and no size below 2 in the first.
#   Run the program on every example.
# * Examples from real calls: :ref:`l-plot-exporter-inputs-from-calls`.
# * Next: a guard that excludes some sizes (:ref:`l-plot-exporter-shapes-ranges`), and
#   what to check besides shapes (:ref:`l-plot-exporter-wrong-checklist`).
