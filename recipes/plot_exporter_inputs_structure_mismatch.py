"""
.. _l-plot-exporter-inputs-structure-mismatch:

Make dynamic_shapes follow the inputs
=====================================

The export ends with ``Detected mismatch between the structure of `inputs` and
`dynamic_shapes` ...`` or another complaint about ``dynamic_shapes``. Or it does not
complain, and a dimension that was named is a constant.

This page shows one message for each mistake, and the mistakes without a message. It has
a skeleton to fill in, a function that compares ``dynamic_shapes`` with the inputs, and
a way to keep ``dynamic_shapes`` in a JSON file.

.. meta::
   :description: Begin with the skeleton that ShapesCollection makes of the inputs, and
      compare dynamic_shapes with the inputs path by path before the export.
   :keywords: dynamic_shapes, Detected mismatch between the structure, top-level keys
      must be the arg names, Cannot associate shape, list assignment index out of range,
      Unexpected dimension, pytree, JSON, Dim is not JSON serializable
"""

# %%
# The model
# +++++++++
#
# A tensor, a list of two tensors, a dictionary with a tensor and a number: this is
# what ``dynamic_shapes`` has to follow.

# sphinx_gallery_tags = ["inputs", "export fails", "turns static", "how to"]
# sphinx_gallery_wording = "dynamic_shapes is ignored"
# sphinx_gallery_wording = "save dynamic_shapes to a file and load them again"
import inspect
import itertools
import json

import torch
from torch._export.serde.dynamic_shapes import (
    _dump_dynamic_shapes,
    _load_dynamic_shapes,
)

pytree = torch.utils._pytree
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Score(torch.nn.Module):
    def forward(self, query, keys, options):
        scores = torch.cat([query @ key.transpose(0, 1) for key in keys], dim=1)
        return scores * options["scale"] + options["bias"]


def make_inputs(rows, *lengths, width=4):
    keys = [torch.randn(length, width) for length in lengths]
    return torch.randn(rows, width), keys, {"bias": torch.randn(rows, 1), "scale": 0.5}


torch.manual_seed(0)
model = Score()
inputs = make_inputs(3, 5, 6)
rows = torch.export.Dim("rows", min=1, max=64)
first = torch.export.Dim("first", min=1, max=64)
query, keys, options = {0: rows}, [{0: first}, None], {"bias": {0: rows}, "scale": None}
program = torch.export.export(
    model, inputs, dynamic_shapes=(query, keys, options), strict=False
)
print(program.range_constraints)
assert len(program.range_constraints) == 2

# %%
# The rule: the same tuples, lists and dictionaries as the inputs, and an *entry* in the
# place of each tensor. An entry is a dictionary from indices of dimensions to ``Dim``,
# or a tuple with one item for each dimension, or None. At the top it is either a tuple
# in the order of the arguments, or a dictionary with their names. A number has None.
#
# The symptom: containers that do not match
# +++++++++++++++++++++++++++++++++++++++++
#
# Each of these has one mistake, and the message says where: ``inputs[1]`` is the second
# argument. If there are several mistakes, it names the first.

mistakes = {
    "one argument is missing": (query, keys),
    "one argument too many": (query, keys, options, None),
    "no tuple around it": query,
    "a wrong name": {"query": query, "key": keys, "options": options},
    "a tuple for a list": (query, ({0: first}, None), options),
    "a list that is too short": (query, [{0: first}], options),
    "None for a list": (query, None, options),
    "a key is missing": (query, keys, {"bias": {0: rows}}),
    "a wrong key": (query, keys, {"bias": {0: rows}, "factor": None}),
}


def shortened(error):
    return str(error).partition("For more information")[0].strip().partition("\n")[0]


for name, spec in mistakes.items():
    try:
        torch.export.export(model, inputs, dynamic_shapes=spec, strict=False)
    except torch._dynamo.exc.UserError as error:
        message = shortened(error)
    else:
        message = "accepted on this release"
    print(f"{name}:\n    {message}")
    assert message.startswith(("Detected mismatch", "When `dynamic_shapes`")), message

# %%
# The symptom: entries that do not match
# ++++++++++++++++++++++++++++++++++++++
#
# The containers are right in these, one entry is wrong. 2.6 and 2.7 take a tuple of any
# length. The message for an index that is too large does not even name the input.

mistakes = {
    "an entry for a number": (query, keys, {"bias": None, "scale": {0: rows}}),
    "a string for a Dim": ({0: "rows"}, keys, options),
    "a Dim for an entry": (rows, keys, options),
    "a set for a dictionary": ({0}, keys, options),
    "a tuple that is too short": ((rows,), keys, options),
    "two definitions of a Dim": ({0: torch.export.Dim("rows", max=9)}, keys, options),
    "an index that is too large": ({2: rows}, keys, options),
}
accepted = []
for name, spec in mistakes.items():
    try:
        torch.export.export(model, inputs, dynamic_shapes=spec, strict=False)
    except (torch._dynamo.exc.UserError, IndexError) as error:
        message = shortened(error)
    else:
        accepted.append(name)
        message = "accepted on this release"
    print(f"{name}:\n    {message}")
assert accepted == (["a tuple that is too short"] if RELEASE < (2, 8) else [])

# %%
# The symptom: no error, and the dimension is a constant
# ++++++++++++++++++++++++++++++++++++++++++++++++++++++
#
# These are accepted by both modes, and no dimension is dynamic. An empty specification
# counts as none. An index that does not exist is ignored with a hint such as
# ``Dim.DYNAMIC``; strict mode ignores it with a named ``Dim`` too. Negative indices are
# no better: do not use them.


def dynamic_dimensions(program):
    """Return the dynamic dimensions of the inputs, by the names of the program."""
    found = {}
    for node in program.graph.nodes:
        shape = getattr(node.meta.get("val"), "shape", ())
        dimensions = [i for i, size in enumerate(shape) if not isinstance(size, int)]
        if node.op == "placeholder" and dimensions:
            found[node.name] = dimensions
    return found


DYNAMIC = torch.export.Dim.DYNAMIC
nothing = {"bias": None, "scale": None}
silent = {
    "an empty dictionary": {},
    "an empty tuple": (),
    "an index that is too large": ({2: DYNAMIC}, [None, None], nothing),
    "a negative index": ({-2: DYNAMIC}, [None, None], nothing),
}
for name, spec in silent.items():
    for strict in (False, True):
        static = torch.export.export(model, inputs, dynamic_shapes=spec, strict=strict)
        assert dynamic_dimensions(static) == {}
    print(f"{name}: {dynamic_dimensions(static)}")
ignored = torch.export.export(
    model, inputs, dynamic_shapes=({2: rows}, [None, None], nothing), strict=True
)
assert dynamic_dimensions(ignored) == {}
print(f"as it should be: {dynamic_dimensions(program)}")
assert dynamic_dimensions(program) == {
    "query": [0],
    "keys_0": [0],
    "options_bias": [0],
}

# %%
# With keyword arguments, a tuple goes by the *signature*, and not by the order in which
# the arguments are given. Here ``second`` gets the entry that was meant for ``first``,
# and ``first`` is a constant. A dictionary with the names cannot go wrong like this.


class Sums(torch.nn.Module):
    def forward(self, first, second):
        return first.sum(dim=0) + second.sum(dim=0)


kwargs = {"second": torch.randn(6, 4), "first": torch.randn(5, 4)}
longer = {"second": torch.randn(6, 4), "first": torch.randn(9, 4)}
for spec in [(None, {0: first}), {"second": None, "first": {0: first}}]:
    program = torch.export.export(Sums(), (), kwargs, dynamic_shapes=spec, strict=False)
    try:
        program.module()(**longer)
    except (AssertionError, RuntimeError) as error:
        message = str(error)
    else:
        message = "first is dynamic"
    print(f"{type(spec).__name__}: {message}")
    assert (message == "first is dynamic") == isinstance(spec, dict), message

# %%
# The cause, made visible
# +++++++++++++++++++++++
#
# Both sides are trees. ``torch.utils._pytree`` shows them: a star is a tensor or a
# number in the first, an entry in the second. The names come from the signature, as in
# `the exporter itself
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/dynamic_shapes.py#L726>`_.


def by_name(model, args, values):
    """Return values, the inputs or their entries, with the names of the arguments."""
    names = inspect.signature(model.forward).bind(*args).arguments
    if isinstance(values, dict):
        return {**{name: values[name] for name in names if name in values}, **values}
    return dict(zip(itertools.chain(names, itertools.count(len(names))), values))


def is_entry(value):
    return isinstance(value, dict) and all(isinstance(key, int) for key in value)


def tree(model, args, values):
    return pytree.tree_structure(by_name(model, args, values), is_leaf=is_entry)


tuple_for_list = (query, ({0: first}, None), options)
print(tree(model, inputs, inputs), tree(model, inputs, tuple_for_list), sep="\n\n")
assert tree(model, inputs, inputs) == tree(model, inputs, (query, keys, options))
assert tree(model, inputs, inputs) != tree(model, inputs, tuple_for_list)

# %%
# The fix: begin with a skeleton
# ++++++++++++++++++++++++++++++
#
# An empty :class:`~torch.export.dynamic_shapes.ShapesCollection` makes a specification
# with the right structure and None for each tensor. Fill in the entries. It does the
# same for registered classes, and it works on all releases of this page.
# :ref:`l-plot-exporter-inputs-nested` goes on from there.

skeleton = torch.export.ShapesCollection().dynamic_shapes(model, inputs)
print(skeleton)
assert skeleton == {
    "query": None,
    "keys": [None, None],
    "options": {"bias": None, "scale": None},
}
skeleton["query"] = skeleton["options"]["bias"] = {0: rows}
skeleton["keys"][0] = {0: first}
program = torch.export.export(model, inputs, dynamic_shapes=skeleton, strict=False)
assert len(program.range_constraints) == 2

# %%
# The fix: compare before the export
# ++++++++++++++++++++++++++++++++++
#
# This function compares the two path by path. It names all mistakes of the structure at
# once, and the indices that would be ignored. Entries have to be dictionaries.


def leaves(model, args, values):
    named = by_name(model, args, values)
    found, _ = pytree.tree_flatten_with_path(named, is_leaf=is_entry)
    return {pytree.keystr(path): leaf for path, leaf in found}


def compare(model, args, spec):
    """Return what is wrong with a specification, as lines of text."""
    values, entries = leaves(model, args, args), leaves(model, args, spec)
    wrong = [f"{path}: no entry" for path in values if path not in entries]
    for path, entry in entries.items():
        if path not in values:
            wrong.append(f"{path}: no such input")
        elif entry is not None and not is_entry(entry):
            wrong.append(f"{path}: not a dictionary of dimensions")
        elif entry is not None and not isinstance(values[path], torch.Tensor):
            wrong.append(f"{path}: not a tensor")
        else:
            bad = [i for i in entry or () if i not in range(values[path].dim())]
            wrong += [f"{path}: no dimension {index}" for index in bad]
    if not wrong and tree(model, args, args) != tree(model, args, spec):
        wrong.append("another type of container (or order of keys: no mistake)")
    return wrong


by_names = {"query": {-2: rows}, "key": keys, "options": {"bias": {5: DYNAMIC}}}
for spec in [by_names, (rows, [{0: first}], options, None), tuple_for_list]:
    print("\n".join(compare(model, inputs, spec)), end="\n\n")
assert len(compare(model, inputs, by_names)) == 7
assert compare(model, inputs, (query, keys, options)) == []
assert all(compare(model, inputs, spec) for spec in silent.values())

# %%
# Store dynamic_shapes as JSON
# ++++++++++++++++++++++++++++
#
# ``json`` does not know ``Dim``. It also turns the indices into strings, and tuples
# into lists.

try:
    json.dumps(query)
except TypeError as error:
    message = str(error)
else:
    message = "This release writes Dim as JSON."
print(message)
assert message.endswith("is not JSON serializable"), message
assert json.loads(json.dumps(({0: 4},))) == [{"0": 4}]

# %%
# torch has two private functions for this, ``_dump_dynamic_shapes`` and
# ``_load_dynamic_shapes``. Look at what they do before you rely on them. The first one
# ignores the names: here the entry of ``second`` is stored for the first argument. It
# stores the static dimensions as numbers, so the file only fits to examples of the same
# sizes. After JSON, tuples are lists, which do not fit to tuples.

pair = (torch.randn(5, 4), torch.randn(6, 4))
stored = _dump_dynamic_shapes({"second": {0: rows}, "first": None}, pair, to_dict=True)
print(json.dumps(stored))
assert stored["dynamic_shapes"][0] == ["rows", 4]
loaded = _load_dynamic_shapes(json.loads(json.dumps(stored)), from_dict=True)
assert type(stored["dynamic_shapes"]) is tuple and type(loaded) is list

# %%
# The second one refuses a ``Dim`` without an upper bound, and some names, since SymPy
# takes them for functions.

for dim in (torch.export.Dim("rows"), torch.export.Dim("N", max=64)):
    stored = _dump_dynamic_shapes(({0: dim}, None), pair, to_dict=True)
    try:
        _load_dynamic_shapes(json.loads(json.dumps(stored)), from_dict=True)
    except torch._dynamo.exc.UserError as error:
        message = str(error)
    else:
        message = "This release loads it."
    print(message)
    assert message.startswith("Expected "), message

# %%
# By hand it is short. The file has one line for each tensor, by its path, and the
# ranges of the dimensions; the paths lead back to the tensors of *any* example, and a
# ``ShapesCollection`` to the structure. (Derived dimensions such as ``2 * rows`` and
# hints with a range would need more.)

Dim = torch.export.Dim
HINTS = {"AUTO": Dim.AUTO, "DYNAMIC": Dim.DYNAMIC, "STATIC": Dim.STATIC}


def dump(model, args, spec):
    ranges, shapes = {}, {}
    for path, entry in leaves(model, args, spec).items():
        for index, dim in (entry or {}).items():
            text = next((name for name, hint in HINTS.items() if dim == hint), None)
            if text is None:
                text = dim.__name__
                ranges[text] = [dim.min, dim.max if isinstance(dim.max, int) else None]
            shapes.setdefault(path, {})[index] = text
    return json.dumps({"ranges": ranges, "shapes": shapes})


def load(text, model, args):
    stored, tensors = json.loads(text), leaves(model, args, args)
    dims = {k: Dim(k, min=v[0], max=v[1]) for k, v in stored["ranges"].items()}
    collection = torch.export.ShapesCollection()
    for path, entry in stored["shapes"].items():
        collection[tensors[path]] = {int(i): {**dims, **HINTS}[entry[i]] for i in entry}
    return collection


text = dump(model, inputs, (query, [{0: first}, {0: DYNAMIC}], options))
print(text)
assert json.loads(text)["shapes"]["['keys'][1]"] == {"0": "DYNAMIC"}

# %%
# The check
# +++++++++
#
# The specification comes from the text, the example is another one, and its static
# dimension is 6 instead of 4. Both modes, four shapes that were not traced.

for strict in (False, True):
    example = make_inputs(2, 7, 8, width=6)
    exported = torch.export.export(
        model, example, dynamic_shapes=load(text, model, example), strict=strict
    )
    assert dynamic_dimensions(exported) == {
        "query": [0],
        "keys_0": [0],
        "keys_1": [0],
        "options_bias": [0],
    }
    for shape in [(1, 1, 2), (9, 3, 4), (64, 64, 5), (5, 2, 70)]:
        new = make_inputs(*shape, width=6)
        torch.testing.assert_close(exported.module()(*new), model(*new))
print(exported.range_constraints)

# %%
# What the ranges in the file exclude is refused.

exported = exported.module()
try:
    exported(*make_inputs(65, 5, 6, width=6))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program with 65 rows."
print(message)
assert "<= 64" in message, message

# %%
# To remember
# +++++++++++
#
# * ``dynamic_shapes`` has the containers of the inputs and one entry for each tensor.
#   An empty ``ShapesCollection`` writes the skeleton.
# * Empty specifications, indices that do not exist and negative indices are accepted
#   and ignored. Look at the dynamic dimensions of the program after the export.
# * Use names for keyword arguments; a tuple goes by the signature.
# * Store paths and names, and give them to a ``ShapesCollection`` to load them.
#
# Next: :ref:`l-plot-exporter-shapes-specialized`, when the structure is right and the
# export says ``Constraints violated``; :ref:`l-plot-exporter-inputs-args-kwargs` for
# ``*args`` and ``**kwargs``.
