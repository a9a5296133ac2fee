"""
.. _l-plot-exporter-inputs-structure-mismatch:

Detected mismatch between the structure of inputs and dynamic_shapes
====================================================================

.. answer::
   :cost: Nothing at run time.

   ``dynamic_shapes`` needs the tuples, lists and dictionaries of the inputs, an entry
   for each tensor, and None for each other value. An empty ``ShapesCollection`` writes
   the skeleton for you.

   .. code-block:: diff

      +print(torch.export.ShapesCollection().dynamic_shapes(model, inputs))
       shapes = {
           "query": {0: rows},
      -    "keys": ({0: length}, None),
      -    "options": {"bias": {0: rows}},
      +    "keys": [{0: length}, None],
      +    "options": {"bias": {0: rows}, "scale": None},
       }

   Not your case?

   * ``*args``, ``**kwargs`` in ``forward``: :ref:`l-plot-exporter-inputs-args-kwargs`.
   * The input is a class of yours: :ref:`l-plot-exporter-inputs-dataclass`.
   * ``Constraints violated``: :ref:`l-plot-exporter-shapes-specialized`.

.. meta::
   :keywords: dynamic_shapes, top-level keys must be the arg names, Cannot associate
      shape, list assignment index out of range, Unexpected dimension, different
      definitions, pytree, JSON, Dim is not JSON serializable
"""

# %%
# The problem
# +++++++++++
#
# The inputs are a tensor, a list of tensors, and a dictionary with a tensor and a
# number.

# sphinx_gallery_tags = ["inputs", "export fails", "turns static", "how to"]
# sphinx_gallery_wording = "dynamic_shapes is ignored"
# sphinx_gallery_wording = "save dynamic_shapes to a file and load them again"
# sphinx_gallery_wording = "Static shape constraint of 5 does not match input size of 4, for L['x'].size()[0]"
# sphinx_gallery_wording = "Object of type Dim is not JSON serializable"
# sphinx_gallery_wording = "Cannot associate shape {} specified at `dynamic_shapes['past_key_values']` to non-tensor type <class 'transformers.cache_utils.StaticCache'> at `inputs['past_key_values']` (expected None)"
import json

import torch
from torch.export import Dim


class Score(torch.nn.Module):
    def forward(self, query, keys, options):
        scores = torch.cat([query @ key.transpose(0, 1) for key in keys], dim=1)
        return scores * options["scale"] + options["bias"]


def make_inputs(count, *lengths):
    keys = [torch.randn(length, 4) for length in lengths]
    return torch.randn(count, 4), keys, {"bias": torch.randn(count, 1), "scale": 0.5}


torch.manual_seed(0)
model, inputs = Score(), make_inputs(3, 5, 6)
rows, length = Dim("rows", min=1, max=64), Dim("length", min=1, max=64)
shapes = {
    "query": {0: rows},
    "keys": ({0: length}, None),
    "options": {"bias": {0: rows}},
}
try:
    torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# The message names the first mistake only.
#
# The fix
# +++++++
#
# Print the skeleton, and replace None where a dimension is dynamic.

print(torch.export.ShapesCollection().dynamic_shapes(model, inputs))

rows, length = Dim("rows", min=1, max=64), Dim("length", min=1, max=64)
shapes = {
    "query": {0: rows},
    "keys": [{0: length}, None],
    "options": {"bias": {0: rows}, "scale": None},
}
program = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
print(program.range_constraints)

# %%
# Each mistake has its message:
#
# .. list-table::
#    :header-rows: 1
#
#    * - Message
#      - Write instead
#    * - ``inputs`` has 3 elements, but ``dynamic_shapes`` has 2
#      - an entry for each argument, item and key; None if it is static
#    * - is a list, but ``dynamic_shapes[...]`` is a tuple (a dict, None)
#      - the same container as in the inputs
#    * - top-level keys must be the arg names
#      - the names in ``forward`` of the arguments that you pass, all of them
#    * - ``inputs[0]`` is a tuple, and ``forward`` has ``*args``, as after ``unflatten``
#      - ``{"args": (entry, entry)}``
#    * - Cannot associate shape ... to non-tensor type
#      - None for a number; register the class: :ref:`l-plot-exporter-inputs-dataclass`
#    * - Unexpected dimension mapped to index 0
#      - ``Dim("rows")``, not the string ``"rows"``
#    * - Unexpected input tensor shape
#      - ``{0: rows}``, not ``rows`` or ``{0}``
#    * - list assignment index out of range
#      - an index from 0 to ``tensor.dim() - 1``
#    * - Found different definitions
#      - one ``Dim`` for each name, used everywhere
#    * - Static shape constraint of 5 does not match input size of 4
#      - None instead of the number 5
#
# The first line of each:

mistakes = (
    {"query": {0: rows}, "keys": [{0: length}], "options": shapes["options"]},
    {"query": {0: rows}, "keys": None, "options": shapes["options"]},
    {"query": {0: rows}, "key": shapes["keys"], "options": shapes["options"]},
    {**shapes, "options": {"bias": None, "scale": {0: rows}}},
    {**shapes, "query": {0: "rows"}},
    {**shapes, "query": rows},
    {**shapes, "query": {2: rows}},
    {**shapes, "query": {0: Dim("rows", max=9)}},
)
for wrong in mistakes:
    try:
        torch.export.export(model, inputs, dynamic_shapes=wrong, strict=False)
    except (torch._dynamo.exc.UserError, IndexError) as error:
        print("-", str(error).splitlines()[0])

# %%
# Why it happens
# ++++++++++++++
#
# `Inputs and entries are walked side by side
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/dynamic_shapes.py#L591>`_,
# as trees. Each star of this tree needs an entry; a list is no tuple.

pytree = torch.utils._pytree
print(pytree.tree_structure(inputs))
assert pytree.tree_structure([1, 2]) != pytree.tree_structure((1, 2))

# %%
# Other fixes
# +++++++++++
#
# ``ShapesCollection`` also takes the entries, tensor by tensor:
# :ref:`l-plot-exporter-inputs-nested`.
#
# To store ``dynamic_shapes``, write the names of the dimensions, since ``Dim`` is not
# JSON serializable. JSON turns indices into strings, and tuples into lists.

text = json.dumps(shapes, default=lambda dim: dim.__name__)
print(text)
dims = {"rows": rows, "length": length}


def with_dims(found):
    if all(key.isdigit() for key in found):
        return {int(index): dims[name] for index, name in found.items()}
    return found


loaded = json.loads(text, object_hook=with_dims)
assert loaded == shapes

# %%
# Check
# +++++
#
# The model is the reference.

strict = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=True)
from_file = torch.export.export(model, inputs, dynamic_shapes=loaded, strict=False)
for exported in (program, strict, from_file):
    for count, first in [(3, 5), (1, 1), (9, 3), (64, 64)]:
        new = make_inputs(count, first, 6)
        torch.testing.assert_close(exported.module()(*new), model(*new))

# %%
# 65 rows, and a second key of another length, are rejected.

for new in (make_inputs(65, 5, 6), make_inputs(3, 5, 7)):
    try:
        program.module()(*new)
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# Limitations
# +++++++++++
#
# Some mistakes make a dimension static, silently: an empty ``dynamic_shapes``, a
# negative index, or one that does not exist (with ``Dim.DYNAMIC``, and in strict mode).
# Look at ``range_constraints`` after the export.

nothing = {"keys": [None, None], "options": {"bias": None, "scale": None}}
too_large, negative = {"query": {2: Dim.DYNAMIC}}, {"query": {-2: Dim.DYNAMIC}}
for silent in ({}, (), {**too_large, **nothing}, {**negative, **nothing}):
    static = torch.export.export(model, inputs, dynamic_shapes=silent, strict=False)
    assert static.range_constraints == {}

# %%
# With keyword arguments, a tuple follows the signature of ``forward``, and not the
# order of the keywords. Here ``b`` is dynamic and ``a`` is not. Names avoid that.


class Sums(torch.nn.Module):
    def forward(self, a, b):
        return a.sum(dim=0) + b.sum(dim=0)


kwargs = {"b": torch.randn(6, 4), "a": torch.randn(5, 4)}
second = (None, {0: rows})
sums = torch.export.export(Sums(), (), kwargs, dynamic_shapes=second, strict=False)
try:
    sums.module()(b=torch.randn(6, 4), a=torch.randn(9, 4))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Start with the skeleton of an empty ``ShapesCollection``.
# * Names at the top, the containers of the inputs below, None for what is static.
#
# Next: :ref:`l-plot-exporter-shapes-infer` to have ``dynamic_shapes`` made from two
# examples; :ref:`l-plot-exporter-shapes-specialized` for ``Constraints violated``.
