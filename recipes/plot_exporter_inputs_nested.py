"""
.. _l-plot-exporter-inputs-nested:

Pass nested dictionaries, lists and named tuples
================================================

The inputs are dictionaries, lists or named tuples of tensors. The exported program
gets the same tensors as the model and raises ``Trying to flatten user inputs with
exported input tree spec ...``, or it is not clear how ``dynamic_shapes`` is written for
such inputs.

This page shows what of a container is frozen (often the order of the keys is), how
``dynamic_shapes`` follows the containers, and how ``ShapesCollection`` writes it tensor
by tensor.

.. meta::
   :description: Call the program with the same keys in the same order and lists of the
      same length; let ShapesCollection write the nested dynamic_shapes.
   :keywords: nested inputs, dictionary input, list of tensors, namedtuple, key order,
      Trying to flatten user inputs, ShapesCollection, dynamic_shapes, pytree
"""

# %%
# The model
# +++++++++
#
# The model takes a tensor, a dictionary that holds a tensor and a list, and a named
# tuple. It returns a dictionary.

# sphinx_gallery_tags = ["inputs", "run fails", "turns static", "how to"]
# sphinx_gallery_wording = "dynamic_shapes for a dictionary or a list of tensors"
# sphinx_gallery_wording = "the list has another number of tensors at run time"
import collections
import io
from typing import NamedTuple

import torch

pytree = torch.utils._pytree
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Affine(NamedTuple):
    scale: torch.Tensor
    shift: torch.Tensor


class Merge(torch.nn.Module):
    def forward(self, query, features, affine):
        hidden = query + features["bias"]
        for level in features["levels"]:
            hidden = torch.relu(hidden + level)
        return {"hidden": hidden * affine.scale + affine.shift, "last": [level]}


def make_inputs(size, levels=2):
    tensors = [torch.randn(size, 4) for _ in range(4 + levels)]
    query, bias, scale, shift, *rest = tensors
    return query, {"bias": bias, "levels": rest}, Affine(scale, shift)


torch.manual_seed(0)
model = Merge()
query, features, affine = make_inputs(3)
program = torch.export.export(model, (query, features, affine), strict=False)
exported = program.module()
got, expected = exported(query, features, affine), model(query, features, affine)
torch.testing.assert_close(got, expected)
print({name: type(value).__name__ for name, value in got.items()})
assert list(got) == ["hidden", "last"] and type(got["last"]) is list

# %%
# The symptom
# +++++++++++
#
# The dictionary has the same keys and the same tensors in another order. The model
# does not care, the program does.

swapped = {"levels": features["levels"], "bias": features["bias"]}
torch.testing.assert_close(model(query, swapped, affine), expected)
try:
    exported(query, swapped, affine)
except ValueError as error:
    message = str(error)
else:
    message = "This release takes the keys in any order."
print(message)
assert message.startswith("Trying to flatten user inputs"), message

# %%
# The cause
# +++++++++
#
# The program itself takes tensors, one after the other; the containers exist at its
# border only. The order of these tensors is the one in which flattening finds them.

print(program.graph_signature.user_inputs)
paths, structure = pytree.tree_flatten_with_path((query, features, affine))
print([pytree.keystr(path) for path, _ in paths])
assert program.graph_signature.user_inputs == (
    "query",
    "features_bias",
    "features_levels_0",
    "features_levels_1",
    "affine_scale",
    "affine_shift",
)

# %%
# So the *structure* of the inputs is part of the program: the types of the containers,
# the keys with their order, the lengths. It is `compared
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_unlift.py#L40>`_ with
# that of the new inputs each time the program is called. Each of these calls is refused
# with the same message.

bias, levels = features["bias"], features["levels"]
others = {
    "an extra key": {**features, "unused": bias},
    "a missing key": {"bias": bias},
    "a longer list": {"bias": bias, "levels": [*levels, bias]},
    "a shorter list": {"bias": bias, "levels": levels[:1]},
    "a tuple for the list": {"bias": bias, "levels": tuple(levels)},
    "an OrderedDict": collections.OrderedDict(features),
}
for name, other in others.items():
    try:
        exported(query, other, affine)
    except ValueError as error:
        message = str(error).splitlines()[0].strip()
    else:
        message = "accepted on this release"
    print(f"{name:20} {message}")
    assert message.startswith("Trying to flatten user inputs"), message

# %%
# The order of the keys has an exception. Since 2.10 it is free where it makes no
# difference to the structure, as in a dictionary that has nothing but tensors. Each
# tensor is still found by its key, so the result is right. Above, the first value is a
# tensor in one dictionary and a list in the other: this is refused on all releases.


class Scale(torch.nn.Module):
    def forward(self, features):
        return features["x"] * 10 + features["y"]


pair = {"x": torch.ones(2), "y": torch.zeros(2)}
flat = torch.export.export(Scale(), (pair,), strict=False).module()
try:
    result = flat({"y": pair["y"], "x": pair["x"]})
except ValueError:
    result = None
    print("refused on this release")
else:
    torch.testing.assert_close(result, Scale()(pair))
    print("accepted on this release, with the right result")
assert (result is None) == (RELEASE < (2, 10))

# %%
# The fix for a dictionary
# ++++++++++++++++++++++++
#
# Build it from the keys of the example, which the program keeps. Then neither the order
# nor extra keys matter. This works on all releases of this page.

_, example, _ = program.example_inputs[0]


def in_order(features):
    return {name: features[name] for name in example}


torch.testing.assert_close(exported(query, in_order(swapped), affine), expected)
extra = in_order(others["an extra key"])
torch.testing.assert_close(exported(query, extra, affine), expected)
assert list(in_order(swapped)) == ["bias", "levels"]

# %%
# The fix for a list
# ++++++++++++++++++
#
# A loop over a list is unrolled: the program has one step for each item of the example,
# so no specification makes the length dynamic. If the items have the same shape, and
# the loop can be written as an operator, give one tensor with one more dimension. Else
# export a program for each length, or see :ref:`l-plot-exporter-control-scan`.


class MergeStacked(torch.nn.Module):
    def forward(self, query, levels):
        return torch.relu(query + levels.sum(dim=0))


number = torch.export.Dim("number", min=1, max=16)
stacked = torch.export.export(
    MergeStacked(),
    (query, torch.stack(levels)),
    dynamic_shapes=(None, {0: number}),
    strict=False,
).module()
for count in (1, 3, 16):
    items = list(torch.randn(count, 3, 4).unbind())
    torch.testing.assert_close(
        stacked(query, torch.stack(items)), torch.relu(query + sum(items))
    )

# %%
# Dynamic shapes, container by container
# ++++++++++++++++++++++++++++++++++++++
#
# ``dynamic_shapes`` has the containers of the inputs: a dictionary for a dictionary, a
# list for a list, the same named tuple for a named tuple. Where the inputs have a
# tensor, it has a dictionary from dimensions to ``Dim``. Here the order of the keys
# does not matter.

size = torch.export.Dim("size", min=1, max=64)
rows = {0: size}
by_structure = (rows, {"levels": [rows, rows], "bias": rows}, Affine(rows, rows))
program = torch.export.export(
    model, (query, features, affine), dynamic_shapes=by_structure, strict=False
)


def input_shapes(program):
    inputs = [node for node in program.graph.nodes if node.op == "placeholder"]
    return [tuple(map(str, node.meta["val"].shape)) for node in inputs]


print(input_shapes(program), program.range_constraints)
assert len(set(input_shapes(program))) == 1 and len(program.range_constraints) == 1

# %%
# A tuple for the named tuple is not enough. A container cannot be replaced by None
# either. :ref:`l-plot-exporter-inputs-structure-mismatch` has all these messages.

wrong = {
    "a tuple": (rows, {"bias": rows, "levels": [rows, rows]}, (rows, rows)),
    "None": (rows, {"bias": rows, "levels": None}, Affine(rows, rows)),
}
for name, spec in wrong.items():
    try:
        torch.export.export(
            model, (query, features, affine), dynamic_shapes=spec, strict=False
        )
    except torch._dynamo.exc.UserError as error:
        message = str(error).splitlines()[0]
    else:
        message = "accepted on this release"
    print(f"{name}: ... {message.rpartition(', ')[2]}")
    assert message.startswith("Detected mismatch between the structure"), message

# %%
# Dynamic shapes, tensor by tensor
# ++++++++++++++++++++++++++++++++
#
# :class:`~torch.export.dynamic_shapes.ShapesCollection` is indexed with the tensors of
# the example and finds their places, however deep. It works on all releases of this
# page, also with registered classes (:ref:`l-plot-exporter-inputs-dataclass` has one).

collection = torch.export.ShapesCollection()
for tensor in pytree.tree_leaves((query, features, affine)):
    collection[tensor] = rows
found = collection.dynamic_shapes(model, (query, features, affine))
for name, spec in found.items():
    print(name, spec)
assert found == dict(zip(["query", "features", "affine"], by_structure))
program = torch.export.export(
    model, (query, features, affine), dynamic_shapes=collection, strict=False
)
assert len(program.range_constraints) == 1

# %%
# It knows a tensor by its identity. A copy is not the tensor, and a view is not either.

for other in (query.clone(), query[:]):
    copied = torch.export.ShapesCollection()
    copied[other] = rows
    try:
        copied.dynamic_shapes(model, (query, features, affine))
    except ValueError as error:
        message = str(error)
    else:
        message = "This release takes it for the tensor."
    assert message.startswith("Some tensors that were assigned shapes"), message
print(message)

# %%
# A tensor that is not mentioned is static, like None. Here the named tuple is forgotten.
# With a named ``Dim`` this is an error, since the model multiplies the tensors. With
# ``Dim.AUTO`` there is no error: what was forgotten makes all the others static.

for hint in (size, torch.export.Dim.AUTO):
    collection = torch.export.ShapesCollection()
    for tensor in pytree.tree_leaves((query, features)):
        collection[tensor] = {0: hint}
    try:
        forgetful = torch.export.export(
            model, (query, features, affine), dynamic_shapes=collection, strict=False
        )
    except torch._dynamo.exc.UserError as error:
        assert hint is size and "Constraints violated (size)" in str(error)
        print(str(error).splitlines()[0])
    else:
        assert hint is not size and not forgetful.range_constraints
        print(input_shapes(forgetful))

# %%
# The check
# +++++++++
#
# Both modes, with a collection, on four shapes that were not traced.

collection = torch.export.ShapesCollection()
for tensor in pytree.tree_leaves((query, features, affine)):
    collection[tensor] = rows
for strict in (False, True):
    exported = torch.export.export(
        model, (query, features, affine), dynamic_shapes=collection, strict=strict
    ).module()
    for length in (1, 2, 9, 64):
        new = make_inputs(length)
        torch.testing.assert_close(exported(*new), model(*new))
print("same results on 1, 2, 9 and 64 rows")

# %%
# What is too long is refused, and so are items of different lengths.

exported = program.module()
short = {"bias": torch.randn(1, 4), "levels": levels}
for inputs in (make_inputs(65), (query, short, affine)):
    try:
        exported(*inputs)
    except (AssertionError, RuntimeError) as error:
        message = str(error)
    else:
        message = "accepted on this release"
    print(message)
    assert message.startswith(("Guard failed", "Expected input at")), message

# %%
# Save a program with a named tuple
# +++++++++++++++++++++++++++++++++
#
# Dictionaries, lists and tuples can be saved. A named tuple is a class, and a class
# needs a name in the file.

try:
    torch.export.save(program, io.BytesIO())
except NotImplementedError as error:
    message = str(error)
else:
    message = "This release saves named tuples."
print(message)
assert message.startswith("Can't serialize TreeSpec of namedtuple"), message

# %%
# The function that the message names is private, but there is no other. Whoever loads
# the program must have called it before, with the same name. (The file also has the
# example inputs; ``safe_globals`` keeps some releases from warning of their class.) A
# plain tuple or a dictionary needs nothing of this.

pytree._register_namedtuple(Affine, serialized_type_name="cookbook.Affine")
buffer = io.BytesIO()
torch.export.save(program, buffer)
buffer.seek(0)
with torch.serialization.safe_globals([Affine]):
    loaded = torch.export.load(buffer).module()
for length in (1, 9):
    new = make_inputs(length)
    torch.testing.assert_close(loaded(*new), model(*new))

for registry in (pytree.SUPPORTED_NODES, pytree.SUPPORTED_SERIALIZED_TYPES):
    registry.pop(Affine)
del pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE["cookbook.Affine"]

# %%
# To remember
# +++++++++++
#
# * The types of the containers, the keys and the lengths of lists are frozen, and most
#   often the order of the keys. Build dictionaries from the keys of the example; stack
#   what varies in number.
# * ``dynamic_shapes`` repeats the containers of the inputs, down to the tensors.
# * ``ShapesCollection`` writes it, if you index it with the tensors themselves. What
#   you forget is static.
#
# Next: :ref:`l-plot-exporter-inputs-structure-mismatch` when ``dynamic_shapes`` is
# refused; :ref:`l-plot-exporter-inputs-args-kwargs` for ``*args`` and ``**kwargs``.
