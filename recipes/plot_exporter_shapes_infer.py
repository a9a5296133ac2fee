"""
.. _l-plot-exporter-shapes-infer:

Find the dynamic dimensions from two examples
=============================================

The model has many inputs, some of them nested, and nobody knows by heart which of their
dimensions vary. Written by hand, ``dynamic_shapes`` misses one, and the program refuses
the next batch with ``Guard failed: tokens.size()[0] == 2`` or ``Expected input at ...
to be equal to 2, but got 3``.

This page compares two calls of the model and writes ``dynamic_shapes`` from what
differs, in a function of a dozen lines. It shows what :class:`AdditionalInputs
<torch.export.dynamic_shapes.AdditionalInputs>` does with the same calls, and four ways
in which two examples mislead.

.. meta::
   :description: Compare the shapes of two calls, mark what differs with Dim.DYNAMIC,
      and run the program on both calls before you trust it.
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
# function does not do. :class:`~torch.export.dynamic_shapes.ShapesCollection` does:
# give it the tensors of the first call, with the sizes of all. It needs these same
# tensors at the export (see :ref:`l-plot-exporter-inputs-nested`).


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
# :class:`AdditionalInputs <torch.export.dynamic_shapes.AdditionalInputs>` compares in
# the same way, since 2.8. It marks with ``Dim.DYNAMIC``, marks integers that differ as well, and after the export it
# verifies that the other calls fit the ranges of the program.

program = None
if RELEASE >= (2, 8):
    additional = torch.export.AdditionalInputs()
    additional.add(other_args, other_kwargs)
    program = torch.export.export(
        model, args, kwargs, dynamic_shapes=additional, strict=False
    )
    program.module()(*other_args, **other_kwargs)
    found = additional.dynamic_shapes(model, args, kwargs)
    print(
        "tokens:", ["static" if dim is None else "dynamic" for dim in found["tokens"]]
    )
    assert found["tokens"] == (Dim.DYNAMIC, Dim.DYNAMIC, None)
assert (program is None) == (RELEASE < (2, 8))

# %%
# All calls must have the same structure, and every value that is neither a tensor nor
# an integer must be the same. The messages do not say which input they are about.

plain = other_kwargs["mask"]
different = {
    "a mask and None": (other_args, {"mask": None, "scale": None}),
    "None and a number": (other_args, {"mask": plain, "scale": 2.0}),
    "three keys": ((args[0], {"keys": [plain] * 3}), other_kwargs),
    "no scale": (other_args, {"mask": plain}),
}
if RELEASE >= (2, 8):
    for name, (new_args, new_kwargs) in different.items():
        additional = torch.export.AdditionalInputs()
        additional.add(new_args, new_kwargs)
        try:
            additional.dynamic_shapes(model, args, kwargs)
        except ValueError as error:
            message = str(error)
        else:
            message = "This release accepts the calls."
        print(f"{name}: {message}")
        assert "mismatch" in message or "differing" in message, message
else:
    print("AdditionalInputs is there since 2.8.")

# %%
# ``infer`` raises the same ``mismatch`` for containers. A tensor in one call and None
# in the other cannot be one program, however it is specified: see
# :ref:`l-plot-exporter-inputs-optional`.
#
# Trap: sizes that are equal by accident
# ++++++++++++++++++++++++++++++++++++++
#
# Both calls have a batch of two, so the batch is static. This is the most frequent
# mistake, and nothing complains before a third call. List what stays static, with its
# size, and read the list: every number in it must be a property of the model.


def static_sizes(shapes, example):
    leaves = pytree.tree_leaves(example)
    for (path, dynamic), leaf in zip(dimensions(shapes).items(), leaves):
        if isinstance(leaf, torch.Tensor):
            kept = [dim for dim in range(leaf.dim()) if dim not in dynamic]
            yield path, {dim: leaf.shape[dim] for dim in kept}


careless = infer(model, (args, kwargs), call(2, 4, 9))
for name, found in (("same batch", careless), ("another batch", shapes)):
    static = dict(static_sizes(found, (args, kwargs)))
    print(f"{name:14}", static["['tokens']"], static["['mask']"])
assert 0 in dict(static_sizes(careless, (args, kwargs)))["['tokens']"]
assert 0 not in dict(static_sizes(shapes, (args, kwargs)))["['tokens']"]

# %%
# A third call settles it. The function takes any number of them.

several = infer(model, (args, kwargs), call(2, 4, 9), call(3, 5, 7))
assert several == shapes

# %%
# Trap: a size of one in the first call
# +++++++++++++++++++++++++++++++++++++
#
# The first call is the one that is traced, and its sizes of 0 and 1 become constants
# (:ref:`l-plot-exporter-shapes-zero-one`). With ``Dim.DYNAMIC`` that is an error since
# 2.8. Before, and with ``Dim.AUTO``, the dimension is static and nobody says so. Put
# the call with the larger sizes first: in the others, a size of one does no harm.

single, larger = call(1, 5, 7), (args, kwargs)
one_first = infer(model, single, larger)
try:
    torch.export.export(model, *single, dynamic_shapes=one_first, strict=False)
except ValueError as error:
    message = str(error).splitlines()[1].strip()
else:
    message = "This release makes the dimension static without an error."
print(message)
assert ("0/1 specialized" in message) == (RELEASE >= (2, 8)), message

one_first = infer(model, single, larger, mark=lambda sizes: Dim.AUTO)
program = torch.export.export(model, *single, dynamic_shapes=one_first, strict=False)
(tokens,) = [node for node in program.graph.nodes if node.name == "tokens"]
print("with Dim.AUTO:", tokens.meta["val"].shape[0])
assert tokens.meta["val"].shape[0] == 1

# %%
# Trap: names
# +++++++++++
#
# Sizes that are the same in every call could share a name. It reads better, and it ties
# dimensions together that have nothing to do with each other: the batch and the number
# of new tokens are 2 and 3 here, in both calls. The program then wants them equal.
# ``Dim.DYNAMIC`` finds the relations of the model, and only these.


def named():
    names = {}

    def mark(sizes):
        return names.setdefault(sizes, Dim(f"d{len(names)}"))

    return mark


first, second, third = call(2, 2, 7), call(3, 3, 9), call(4, 5, 6)
messages = {}
for name, mark in (("names", named()), ("DYNAMIC", lambda sizes: Dim.DYNAMIC)):
    tied = infer(model, first, second, mark=mark)
    program = torch.export.export(model, *first, dynamic_shapes=tied, strict=False)
    try:
        program.module()(*third[0], **third[1])
    except REFUSED as error:
        messages[name] = str(error).splitlines()[0]
    else:
        messages[name] = "runs"
    print(f"{name:8}", messages[name])
assert messages["names"] != "runs" and messages["DYNAMIC"] == "runs"

# %%
# A relation such as ``new + 1`` makes the export with names fail instead:
# :ref:`l-plot-exporter-shapes-related` has the messages. Names are for a specification
# that is written by hand, after the dimensions are known.
#
# Trap: the second call is refused
# ++++++++++++++++++++++++++++++++
#
# The calls show which sizes differ, not that one program can take both. This model
# reads the last four positions, and the second call has no more than four. The
# verification of ``AdditionalInputs`` compares sizes with ranges. It does not evaluate
# the guards, which the program does since 2.9: the export passes, and the call is
# refused.


class Tail(torch.nn.Module):
    def forward(self, tokens):
        return tokens[:, -4:].mean(dim=1)


calls = [((torch.randn(2, length, 3),), {}) for length in (6, 4)]
if RELEASE >= (2, 8):
    found = torch.export.AdditionalInputs()
    found.add(*calls[1])
else:
    found = infer(Tail(), *calls)
exported = torch.export.export(
    Tail(), *calls[0], dynamic_shapes=found, strict=False
).module()
try:
    exported(*calls[1][0])
except REFUSED as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program on the second call."
print(message)
assert ("Guard failed" in message) == (RELEASE >= (2, 9)), message

# %%
# :ref:`l-plot-exporter-shapes-ranges` explains the guard. What helps in general is the
# check below: run every call, not only the first.
#
# The check
# +++++++++
#
# The program of the first section, in both modes, on the two calls and on three others
# which have nothing in common with them.

for strict in (False, True):
    program = torch.export.export(
        model, args, kwargs, dynamic_shapes=shapes, strict=strict
    )
    exported = program.module()
    others = [call(4, 1, 2), call(1, 30, 12), call(5, 2, 3)]
    for new_args, new_kwargs in [(args, kwargs), (other_args, other_kwargs), *others]:
        torch.testing.assert_close(
            exported(*new_args, **new_kwargs), model(*new_args, **new_kwargs)
        )
    print(f"strict={strict}: same results on five calls")

# %%
# A mask that does not fit is refused. The relation between its length and the three
# others was in no specification, the export found it. (Up to 2.7 it is not checked, and
# the operator fails.)

new_args, new_kwargs = call(3, 4, 9)
try:
    exported(*new_args, mask=torch.ones(3, 22), scale=None)
except REFUSED as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with a shorter mask."
print(message)
assert "This release" not in message, message

# %%
# To remember
# +++++++++++
#
# * Two valid calls that differ wherever they may, no size below two in the first.
# * ``Dim.DYNAMIC`` for all that differs; read the list of what does not.
# * Run the program on every call. ``AdditionalInputs`` does not do that.
#
# Next: :ref:`l-plot-exporter-shapes-auto-dynamic-static` for the kinds of marks,
# :ref:`l-plot-exporter-shapes-zero-one` for sizes of 0 and 1, and
# :ref:`l-plot-exporter-wrong-checklist` for what to check besides shapes.
