"""
.. _l-plot-exporter-shapes-infer:

Find the dynamic dimensions from two examples
=============================================

The model has many inputs, some of them nested, and nobody knows by heart which of their
dimensions vary. Written by hand, ``dynamic_shapes`` misses one, and the program refuses
the next batch with ``Guard failed: tokens.size()[0] == 2`` or ``Expected input at ... to
be equal to 2, but got 3``.

This page compares two calls of the model and writes ``dynamic_shapes`` from what
differs, in a function of a dozen lines. It shows what
:class:`torch.export.AdditionalInputs` does with the same calls, and four ways in which
two examples mislead.

.. meta::
   :description: Compare the shapes of two calls, mark what differs with Dim.DYNAMIC, and
      run the program on both calls before you trust it.
   :keywords: infer dynamic_shapes, AdditionalInputs, two example inputs, automatic
      dynamic shapes, nested inputs, kwargs, which dimensions are dynamic, Node arity
      mismatch, differing values
"""

# %%
# The model
# +++++++++
#
# One step of a decoder: new tokens, a cache in a dictionary, an optional mask by
# keyword, and an option that stays None. ``call`` makes the arguments of one call.

# sphinx_gallery_tags = ["dynamic shapes", "how to", "turns static", "run fails"]
# sphinx_gallery_wording = "how to know which dimensions are dynamic"
# sphinx_gallery_wording = "generate dynamic_shapes automatically from sample inputs"

import inspect

import torch

Dim = torch.export.Dim
pytree = torch.utils._pytree
REFUSED = (AssertionError, RuntimeError)
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Decoder(torch.nn.Module):
    def forward(self, tokens, cache, *, mask=None, scale=None):
        hidden = torch.cat([*cache["keys"], tokens], dim=1)
        if mask is not None:
            hidden = hidden * mask.unsqueeze(-1)
        return hidden if scale is None else hidden * scale


def call(batch, new, past):
    keys = [torch.randn(batch, past, 3), torch.randn(batch, past + 1, 3)]
    args = torch.randn(batch, new, 3), {"keys": keys}
    return args, {"mask": torch.ones(batch, new + 2 * past + 1), "scale": None}


torch.manual_seed(0)
model = Decoder()
args, kwargs = call(2, 5, 7)
print(model(*args, **kwargs).shape)

# %%
# The symptom
# +++++++++++
#
# What is not mentioned is static. Here the batch is forgotten.

by_hand = {
    "tokens": {1: Dim.DYNAMIC},
    "cache": {"keys": [{1: Dim.DYNAMIC}, {1: Dim.DYNAMIC}]},
    "mask": {1: Dim.DYNAMIC},
    "scale": None,
}
program = torch.export.export(model, args, kwargs, dynamic_shapes=by_hand, strict=False)
other_args, other_kwargs = call(3, 4, 9)
try:
    program.module()(*other_args, **other_kwargs)
except REFUSED as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with another batch."
print(message)
assert "== 2" in message or "to be equal to 2, but got 3" in message, message

# %%
# The function
# ++++++++++++
#
# Two calls that are both valid, and differ wherever they may. The signature gives every
# argument its name, be it positional or by keyword, and ``tree_map_with_path`` visits
# the same leaf of all calls together. Sizes that are not the same are dynamic. A leaf
# that is not a tensor gives None, which is what ``dynamic_shapes`` needs at that place.


def infer(model, *calls, mark=lambda sizes: Dim.DYNAMIC):
    bind = inspect.signature(model.forward).bind
    first, *others = [dict(bind(*args, **kw).arguments) for args, kw in calls]

    def compare(path, *leaves):
        if not isinstance(leaves[0], torch.Tensor):
            return None
        if len({leaf.dim() for leaf in leaves}) > 1:
            raise ValueError(f"inputs{pytree.keystr(path)} has several ranks")
        shapes = enumerate(zip(*(leaf.shape for leaf in leaves)))
        return {dim: mark(sizes) for dim, sizes in shapes if len(set(sizes)) > 1}

    return pytree.tree_map_with_path(compare, first, *others)


def dimensions(shapes):
    def is_leaf(node):
        return isinstance(node, dict) and not any(isinstance(k, str) for k in node)

    leaves, _ = pytree.tree_flatten_with_path(shapes, is_leaf=is_leaf)
    return {pytree.keystr(path): list(leaf or ()) for path, leaf in leaves}


shapes = infer(model, (args, kwargs), (other_args, other_kwargs))
for path, dynamic in dimensions(shapes).items():
    print(f"{path:20} {dynamic}")
assert dimensions(shapes)["['cache']['keys'][1]"] == [0, 1]
assert shapes["scale"] is None

# %%
# The result is a plain dictionary, in the form that the export takes. Print it, read it
# once, and keep it with the model: the calls are not needed again. This works on all
# releases of this page and in both modes.

program = torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)
exported = program.module()
for sizes in ((3, 4, 9), (2, 5, 7), (4, 1, 2), (1, 30, 12)):
    new_args, new_kwargs = call(*sizes)
    torch.testing.assert_close(
        exported(*new_args, **new_kwargs), model(*new_args, **new_kwargs)
    )
    print(f"batch {sizes[0]}, new {sizes[1]}, past {sizes[2]}: same result")

# %%
# A registered class has to be described by the list that it flattens to, which this
# function does not do. :class:`~torch.export.dynamic_shapes.ShapesCollection` does: give
# it the tensors of the first call, with the sizes of all. It needs these same tensors at
# the export (see :ref:`l-plot-exporter-inputs-nested`).


def infer_collection(*calls):
    collection = torch.export.ShapesCollection()
    for leaves in zip(*map(pytree.tree_leaves, calls)):
        if isinstance(leaves[0], torch.Tensor):
            pairs = enumerate(zip(*(leaf.shape for leaf in leaves)))
            dynamic = {dim: Dim.DYNAMIC for dim, sizes in pairs if len(set(sizes)) > 1}
            collection[leaves[0]] = dynamic
    return collection


collection = infer_collection((args, kwargs), (other_args, other_kwargs))
assert collection.dynamic_shapes(model, args, kwargs) == shapes

# %%
# Torch's own way
# +++++++++++++++
#
# :class:`torch.export.AdditionalInputs` compares in the same way, since 2.8. It marks
# with ``Dim.DYNAMIC``, marks integers that differ as well, and after the export it
# verifies that the other calls fit the ranges of the program.

if RELEASE >= (2, 8):
    additional = torch.export.AdditionalInputs()
    additional.add(other_args, other_kwargs)
    program = torch.export.export(
        model, args, kwargs, dynamic_shapes=additional, strict=False
    )
    found = additional.dynamic_shapes(model, args, kwargs)
    print(
        "cache:", [len(key) for key in found["cache"]["keys"]], "mask:", found["mask"]
    )
    assert found["tokens"] == (Dim.DYNAMIC, Dim.DYNAMIC, None)
    program.module()(*other_args, **other_kwargs)
else:
    print("AdditionalInputs is there since 2.8.")
