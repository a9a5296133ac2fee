"""
.. _l-plot-exporter-inputs-nested:

Trying to flatten user inputs: pass nested dictionaries and lists
=================================================================

.. answer::
   :cost: A new dictionary at each call; the tensors are not copied.

   The containers of the example are part of the exported program: their types, the keys
   and mostly their order, the lengths. Build each dictionary from the keys of the
   example, which the program keeps.

   .. code-block:: diff

      +_, example = program.example_inputs[0]
      +ordered = {name: swapped[name] for name in example}
      -exported(query, swapped)
      +exported(query, ordered)

   Not your case?

   * A keyword or an argument differs: :ref:`l-plot-exporter-inputs-args-kwargs`.
   * An input is None or missing: :ref:`l-plot-exporter-inputs-optional`.
   * The export fails: :ref:`l-plot-exporter-inputs-structure-mismatch`.

.. meta::
   :keywords: nested inputs, dictionary input, list of tensors, named tuple, key order,
      exported input tree spec, ShapesCollection, nested dynamic_shapes, pytree,
      Can't serialize TreeSpec of namedtuple
"""

# %%
# The problem
# +++++++++++
#
# A dictionary holds a tensor and a list of tensors. With another order of the keys the
# program fails. The model does not care.

# sphinx_gallery_tags = ["inputs", "run fails", "turns static", "how to"]
# sphinx_gallery_wording = "dynamic_shapes for a dictionary or a list of tensors"
# sphinx_gallery_wording = "the list has another number of tensors at run time"
import io
from typing import NamedTuple

import torch

pytree = torch.utils._pytree


class Merge(torch.nn.Module):
    def forward(self, query, features):
        hidden = query + features["bias"]
        for level in features["levels"]:
            hidden = torch.relu(hidden + level)
        return hidden


def make_inputs(size, levels=2):
    query, bias, *rest = [torch.randn(size, 4) for _ in range(2 + levels)]
    return query, {"bias": bias, "levels": rest}


torch.manual_seed(0)
model = Merge()
query, features = make_inputs(3)
exported = torch.export.export(model, (query, features), strict=False).module()
swapped = {"levels": features["levels"], "bias": features["bias"]}
torch.testing.assert_close(model(query, swapped), model(query, features))
try:
    exported(query, swapped)
except ValueError as error:
    print(error)

# %%
# The fix
# +++++++
#
# ``dynamic_shapes`` has the containers of the inputs, too.

rows = {0: torch.export.Dim("rows", min=1, max=64)}
dynamic_shapes = (rows, {"bias": rows, "levels": [rows, rows]})
# sphinx_gallery_picture = "The program takes tensors, one after the other."
program = torch.export.export(
    model, (query, features), dynamic_shapes=dynamic_shapes, strict=False
)
exported = program.module()

_, example = program.example_inputs[0]
ordered = {name: swapped[name] for name in example}
exported(query, ordered)

# %%
# Why it happens
# ++++++++++++++
#
# The program takes tensors, one after the other. A call flattens its inputs, and their
# structure is `compared with the one of the example
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_unlift.py#L40>`_.

print(program.graph_signature.user_inputs)
structure = pytree.tree_structure((query, features))
assert pytree.tree_structure((query, swapped)) != structure
assert pytree.tree_structure((query, ordered)) == structure

# %%
# Since PyTorch 2.10 a different order of the keys is accepted, with the right result,
# where the structure is the same, as in a dictionary of nothing but tensors.


class Scale(torch.nn.Module):
    def forward(self, features):
        return features["x"] * 10 + features["y"]


pair = {"x": torch.ones(2), "y": torch.zeros(2)}
flat = torch.export.export(Scale(), (pair,), strict=False).module()
try:
    print(flat({"y": pair["y"], "x": pair["x"]}))
except ValueError as error:
    print(error)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - What differs
#      - Write instead
#      - Cost
#    * - the order of the keys, or there are more of them
#      - ``{name: given[name] for name in example}``
#      - none
#    * - a tuple, an ``OrderedDict``
#      - ``list(given)``, ``dict(given)``: the type of the example
#      - none
#    * - the length of a list
#      - one tensor with a dynamic dimension, as below
#      - the items have one shape; a loop becomes an operator
#    * - the length, and the items differ
#      - a program for each length, or :ref:`l-plot-exporter-control-scan`
#      - more programs
#
# A loop over a list is unrolled, so no ``dynamic_shapes`` makes its length dynamic.


class MergeStacked(torch.nn.Module):
    def forward(self, query, levels):
        return torch.relu(query + levels.sum(dim=0))


stack = torch.stack(features["levels"])
number = {0: torch.export.Dim("number", min=1, max=16)}
stacked = torch.export.export(
    MergeStacked(), (query, stack), dynamic_shapes=(None, number), strict=False
).module()

# %%
# Is ``dynamic_shapes`` hard to write? Index a :class:`ShapesCollection
# <torch.export.dynamic_shapes.ShapesCollection>` with the tensors of the example, not
# with copies. What you forget is static.

collection = torch.export.ShapesCollection()
for tensor in pytree.tree_leaves((query, features)):
    collection[tensor] = rows
found = collection.dynamic_shapes(model, (query, features))
assert found == {"query": dynamic_shapes[0], "features": dynamic_shapes[1]}

collection[query.clone()] = rows
try:
    collection.dynamic_shapes(model, (query, features))
except ValueError as error:
    print(error)

# %%
# Check
# +++++
#
# The model is the reference; keys in both orders, one of them too many. The stacked
# levels are added one by one.

for size in (1, 2, 9, 64):
    x, given = make_inputs(size)
    for keys in (["bias", "levels"], ["levels", "other", "bias"]):
        mixed = {key: given.get(key) for key in keys}
        ordered = {name: mixed[name] for name in example}
        torch.testing.assert_close(exported(x, ordered), model(x, given))
for count in (1, 3, 16):
    total, levels = query, torch.randn(count, 3, 4)
    for level in levels:
        total = total + level
    torch.testing.assert_close(stacked(query, levels), torch.relu(total))

# %%
# A third level, a tuple, and items of different sizes must be rejected.

bias, levels = features["bias"], features["levels"]
for wrong in (
    {"bias": bias, "levels": [*levels, bias]},
    {"bias": bias, "levels": tuple(levels)},
    {"bias": torch.randn(1, 4), "levels": levels},
):
    try:
        exported(query, wrong)
    except (AssertionError, RuntimeError, ValueError) as error:
        print("-", str(error).splitlines()[0])

# %%
# Limitations
# +++++++++++
#
# A named tuple has the same named tuple in ``dynamic_shapes``. To save the program, its
# class needs a name, and the function that gives one is private. Call it again before
# you load the file.


class Affine(NamedTuple):
    scale: torch.Tensor
    shift: torch.Tensor


class Apply(torch.nn.Module):
    def forward(self, x, affine):
        return x * affine.scale + affine.shift


affine = Affine(torch.rand(4), torch.rand(4))
named = torch.export.export(
    Apply(), (query, affine), dynamic_shapes=(rows, Affine(None, None)), strict=False
)
try:
    torch.export.save(named, io.BytesIO())
except NotImplementedError as error:
    print(error)

pytree._register_namedtuple(Affine, serialized_type_name="mine.Affine")
file = io.BytesIO()
torch.export.save(named, file)
file.seek(0)
with torch.serialization.safe_globals([Affine]):
    loaded = torch.export.load(file).module()
torch.testing.assert_close(loaded(x, affine), Apply()(x, affine))

# %%
# Summary
# +++++++
#
# * Call the program with the types, keys and lengths of the example.
# * Stack what varies in number.
#
# Next: :ref:`l-plot-exporter-inputs-structure-mismatch` when ``dynamic_shapes`` fails,
# :ref:`l-plot-exporter-inputs-dataclass` for classes.
