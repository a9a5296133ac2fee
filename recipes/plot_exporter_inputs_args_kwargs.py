"""
.. _l-plot-exporter-inputs-args-kwargs:

Call the program as it was exported: args and kwargs
====================================================

The exported program raises ``Ran into a kwarg keyword mismatch: Got the following
keywords ['keys'] but expected []``, or ``Trying to flatten user inputs with exported
input tree spec...``, for a call that the model accepts. Or the model takes ``*args``
or ``**kwargs``: the export raises ``Must provide a tree_name when there might be a
mismatch``, or the program raises ``name 'L' is not defined``.

This page shows what the program compares a call with, how to accept every call that
the model accepts, where the order of keywords matters, and how ``dynamic_shapes``
names ``*args`` and ``**kwargs``.

.. meta::
   :description: Call the program with the positional arguments and keywords of the export, and replace variable arguments by names.
   :keywords: kwarg keyword mismatch, Trying to flatten user inputs, torch.export kwargs, variable arguments, keyword order, positional arguments, default argument, Must provide a tree_name, name 'L' is not defined, TransformersKwargs, args to be a tuple
"""

# %%
# The model
# +++++++++
#
# The scores of some queries against some keys. The temperature has a default.

# sphinx_gallery_tags = ["inputs", "run fails", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "exported program does not accept keyword arguments"
# sphinx_gallery_wording = "output depends on the order of kwargs in eager, not after the export"

import inspect

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
Dim = torch.export.Dim


class Scores(torch.nn.Module):
    def forward(self, query, keys, temperature=1.0):
        return torch.softmax(query @ keys.T / temperature, dim=-1)


torch.manual_seed(0)
model = Scores()
query, keys = torch.randn(4, 3), torch.randn(6, 3)
expected = model(query, keys)

# %%
# The symptom
# +++++++++++
#
# The program was exported with two positional arguments. It refuses the same tensors
# when one of them is given by name.

program = torch.export.export(model, (query, keys), strict=False)
run = program.module()
torch.testing.assert_close(run(query, keys), expected)
try:
    run(query, keys=keys)
except ValueError as error:
    message = str(error)
else:
    message = "This release accepts a keyword for a positional argument."
print(message)
assert "Got the following keywords ['keys'] but expected []" in message, message

# %%
# The reverse fails too: exported by name, called by position.

by_name = torch.export.export(
    model, (), {"query": query, "keys": keys}, strict=False
).module()
try:
    by_name(query, keys)
except ValueError as error:
    message = str(error)
else:
    message = "This release accepts positional arguments for keywords."
print(message)
assert "keywords [] but expected ['query', 'keys']" in message, message

# %%
# A default that was not given at the export is no input of the program. It is refused
# when the program runs, even with the same value. The first tree is the call of the
# export, the second one is this call; each ``*`` is one value.

try:
    run(query, keys, 1.0)
except ValueError as error:
    message = str(error)
else:
    message = "This release accepts the default."
print(message)
assert message.startswith("Trying to flatten user inputs"), message

# %%
# The export is as formal. It takes a tuple of positional arguments, not a tensor.

try:
    torch.export.export(model, query, {"keys": keys}, strict=False)
except torch._dynamo.exc.UserError as error:
    message = str(error).split("\n\n")[0]
else:
    message = "This release accepts a tensor for the tuple of arguments."
print(message)
assert message.startswith("Expecting `args` to be a tuple"), message

# %%
# The cause
# +++++++++
#
# The program keeps the structure of ``(args, kwargs)`` of the export, and compares
# each call with it: see `reorder_kwargs
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_tree_utils.py#L28>`_
# and `_check_inputs_match
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_unlift.py#L70>`_. This
# is torch's design. The signature of the program does not show it: it has the names of
# the model in both cases. The example inputs show it.


def calling_convention(program):
    args, kwargs = program.example_inputs
    return f"{len(args)} positional, keywords {list(kwargs)}"


mixed = torch.export.export(model, (query,), {"keys": keys}, strict=False)
for exported in (program, mixed):
    signature = inspect.signature(exported.module().forward)
    print(signature, "->", calling_convention(exported))
    assert list(signature.parameters) == ["query", "keys"]
assert calling_convention(mixed) == "1 positional, keywords ['keys']"

# %%
# Fix 1: export with the call that you will make
# ++++++++++++++++++++++++++++++++++++++++++++++
#
# Write the example inputs as your callers write theirs: the call that the first program
# refused is the one that the second program accepts. It costs nothing and works on all
# releases of this page. What a caller may leave out needs a program of its own.

torch.testing.assert_close(mixed.module()(query, keys=keys), expected)

# %%
# Fix 2: one form for all calls
# +++++++++++++++++++++++++++++
#
# ``inspect.Signature.bind`` sorts a call into the form that the signature of the
# model demands. Apply it to the example inputs and to each call. ``apply_defaults``
# makes the temperature an input. The price is a Python function around the program,
# and the model, or its signature, where the program runs. It works on all releases of
# this page.

signature = inspect.signature(model.forward)


def canonical(*args, **kwargs):
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.args, bound.kwargs


args, kwargs = canonical(keys=keys, query=query)
program = torch.export.export(
    model,
    args,
    kwargs,
    dynamic_shapes=({0: Dim("rows", min=1, max=8)}, {0: Dim("n", min=2, max=99)}, None),
    strict=False,
)
print(calling_convention(program))
run = program.module()


def call(*args, **kwargs):
    args, kwargs = canonical(*args, **kwargs)
    return run(*args, **kwargs)


# %%
# The check: four ways to call, each with shapes that were not traced.

for rows, count in [(1, 2), (3, 50), (8, 99)]:
    a, b = torch.randn(rows, 3), torch.randn(count, 3)
    for result in (call(a, b), call(a, keys=b), call(keys=b, query=a), call(a, b, 1.0)):
        torch.testing.assert_close(result, model(a, b))
    print(f"{rows} queries, {count} keys: same result")

# %%
# The temperature is accepted, as the constant that it was at the export
# (:ref:`l-plot-exporter-inputs-python-scalars`). Another value must be refused.

try:
    call(query, keys, temperature=2.0)
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program with another temperature."
print(message)
assert "== 1.0" in message or "to be equal to 1.0" in message, message

# %%
# The order of keywords
# +++++++++++++++++++++
#
# When the program runs, the order of keywords is free: they are sorted by name. At the
# export the order of the example decides the order of the inputs. Up to 2.7 something
# goes wrong if that is not the order of ``forward``. In non-strict mode 2.6 swaps the
# names of the inputs (`issue 143732
# <https://github.com/pytorch/pytorch/issues/143732>`_): the input called ``query`` has
# the six rows of ``keys``.

program = torch.export.export(model, (), {"keys": keys, "query": query}, strict=False)
torch.testing.assert_close(program.module()(query=query, keys=keys), expected)
torch.testing.assert_close(program.module()(keys=keys, query=query), expected)
shapes = {
    node.name: tuple(node.meta["val"].shape)
    for node in program.graph.nodes
    if node.op == "placeholder"
}
print(shapes)
assert (shapes["query"] == (6, 3)) == (RELEASE < (2, 7))

# %%
# 2.6 and 2.7 swap the ranges of dynamic dimensions too (`pull request 149528
# <https://github.com/pytorch/pytorch/pull/149528>`_). Fifty keys are within 2 to 99,
# and these releases refuse them, with the bound of the queries. So write keywords in
# the order of ``forward``, or use the function ``canonical`` of the second fix.

ranges = {"query": {0: Dim("rows", min=1, max=8)}, "keys": {0: Dim("n", min=2, max=99)}}
swapped = torch.export.export(
    model, (), {"keys": keys, "query": query}, dynamic_shapes=ranges, strict=False
).module()
many_keys = torch.randn(50, 3)
try:
    result = swapped(query=query, keys=many_keys)
except RuntimeError as error:
    result = None
    print(error)
else:
    torch.testing.assert_close(result, model(query, many_keys))
    print("This release keeps each range with its input.")
assert (result is None) == (RELEASE < (2, 8))

# %%
# The wrong result: a model that reads kwargs in their order
# ++++++++++++++++++++++++++++++++++++++++++++++++++++++++++
#
# Eager sees ``**features`` in the order of the call. The program sorts them into the
# order of the export, without a word. The two results differ on every release.


class Join(torch.nn.Module):
    def forward(self, x, **features):
        return torch.cat([x, *features.values()], dim=-1)


x, colour, depth = torch.zeros(1, 1), torch.ones(1, 1), torch.full((1, 1), 2.0)
named = {"colour": colour, "depth": depth}
joined = torch.export.export(Join(), (x,), named, strict=False).module()
print("model:  ", Join()(x, depth=depth, colour=colour).tolist())
print("program:", joined(x, depth=depth, colour=colour).tolist())
assert Join()(x, depth=depth, colour=colour).tolist() == [[0.0, 2.0, 1.0]]
assert joined(x, depth=depth, colour=colour).tolist() == [[0.0, 1.0, 2.0]]

# %%
# The fix is a model that does not depend on the order: it sorts the names itself. This
# changes the model for callers who relied on their own order.


class JoinSorted(torch.nn.Module):
    def forward(self, x, **features):
        parts = [features[name] for name in sorted(features)]
        return torch.cat([x, *parts], dim=-1)


joined = torch.export.export(JoinSorted(), (x,), named, strict=False).module()
for order in (["colour", "depth"], ["depth", "colour"]):
    features = {name: named[name] for name in order}
    torch.testing.assert_close(joined(x, **features), JoinSorted()(x, **features))

# %%
# Dynamic shapes of ``*args``
# +++++++++++++++++++++++++++
#
# ``dynamic_shapes`` follows the signature, and there ``*others`` is one entry. One
# specification for each tensor is one too many.


class Total(torch.nn.Module):
    def forward(self, x, *others):
        for other in others:
            x = x + other
        return x


def tensors(count, rows=4):
    return tuple(torch.randn(rows, 3) for _ in range(count))


rows = {0: Dim("rows", min=1, max=64)}
try:
    torch.export.export(
        Total(), tensors(3), dynamic_shapes=(rows, rows, rows), strict=False
    )
except torch._dynamo.exc.UserError as error:
    message = str(error).split("\n")[0]
else:
    message = "This release accepts a flat tuple."
print(message)
assert "`inputs` has 2 elements, but `dynamic_shapes` has 3" in message, message

# %%
# That entry is a tuple, under the name of the parameter if you use a dictionary. All
# releases export it. 2.9 cannot run the program: its guards compare two inputs, and the
# name ``L['others'][0]`` is not translated (2.10 does that: `_force_gm_signature_match
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_unlift.py#L111>`_).

program = torch.export.export(
    Total(),
    tensors(3),
    dynamic_shapes={"x": rows, "others": (rows, rows)},
    strict=False,
)
print(program.graph_signature.user_inputs)
assert program.graph_signature.user_inputs == ("x", "others_0", "others_1")
try:
    results = [program.module()(*tensors(3, size)) for size in (1, 2, 64)]
except NameError as error:
    results = None
    print(error)
else:
    print([tuple(result.shape) for result in results])
assert (results is None) == (RELEASE == (2, 9))

# %%
# The number of arguments is part of the structure. Four instead of three are refused.

try:
    program.module()(*tensors(4))
except ValueError as error:
    message = str(error).splitlines()[0].strip()
else:
    message = "This release runs the program with four arguments."
print(message)
assert message.startswith("Trying to flatten user inputs"), message

# %%
# Dynamic shapes of ``**kwargs``
# ++++++++++++++++++++++++++++++
#
# ``**gates`` is one entry too, a dictionary. 2.6 and 2.7 accept it. 2.8 to 2.13 compare
# it with the flat keywords, and fail (`issue 150022
# <https://github.com/pytorch/pytorch/issues/150022>`_; models of transformers meet it
# through ``TransformersKwargs``, `issue 164313
# <https://github.com/pytorch/pytorch/issues/164313>`_). Since 2.14 the export works,
# also with the keywords at the top level (`pull request 185730
# <https://github.com/pytorch/pytorch/pull/185730>`_), and then the program does not
# run, for the reason of 2.9 above. With ``strict=True`` it does.


class Gated(torch.nn.Module):
    def forward(self, x, **gates):
        return x * gates["scale"] + gates["shift"]


x, scale, shift = tensors(3)
gates = {"scale": scale, "shift": shift}
shapes = {"x": rows, "gates": {"scale": rows, "shift": rows}}
program = None
try:
    program = torch.export.export(
        Gated(), (x,), gates, dynamic_shapes=shapes, strict=False
    )
    result = program.module()(x, **gates)
except (AssertionError, NameError) as error:
    result = None
    print(f"{type(error).__name__}: {error}")
else:
    print("This release exports and runs the model.")
assert (result is None) == (RELEASE >= (2, 8))
assert (program is None) == ((2, 8) <= RELEASE < (2, 14))
if RELEASE >= (2, 14):
    shapes = {"x": rows, "scale": rows, "shift": rows}
    program = torch.export.export(
        Gated(), (x,), gates, dynamic_shapes=shapes, strict=True
    )
    torch.testing.assert_close(program.module()(x, **gates), Gated()(x, **gates))

# %%
# The fix for both: a wrapper with names
# ++++++++++++++++++++++++++++++++++++++
#
# The wrapper names what you pass. It freezes the number of arguments and their names,
# and the program does that anyway. It works on all releases of this page, in both
# modes. The ``dynamic_shapes`` are flat, and each input has the name that you gave.


class NamedInputs(torch.nn.Module):
    def __init__(self, total, gated):
        super().__init__()
        self.total, self.gated = total, gated

    def forward(self, x, left, right, scale, shift):
        return self.gated(self.total(x, left, right), scale=scale, shift=shift)


wrapped = NamedInputs(Total(), Gated())
for strict in (False, True):
    program = torch.export.export(
        wrapped, tensors(5), dynamic_shapes=(rows,) * 5, strict=strict
    )
    print(program.graph_signature.user_inputs)
    for size in (1, 2, 64):
        inputs = tensors(5, size)
        torch.testing.assert_close(program.module()(*inputs), wrapped(*inputs))
        print(f"strict={strict}, {size} rows: same result")

# %%
# What must be refused: 65 rows, because the range ends at 64.

try:
    program.module()(*tensors(5, rows=65))
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
# * What is positional at the export is positional when the program runs. What is a
#   keyword stays a keyword, and a default that was left out is gone.
# * The order of keywords is free when the program runs. At the export, write them in
#   the order of ``forward``.
# * The program puts ``**kwargs`` into the order of the export. A model that depends on
#   their order gives another result.
# * Replace ``*args`` and ``**kwargs`` by names before you ask for dynamic shapes.
#
# Next: :ref:`l-plot-exporter-inputs-optional` for a default that is ``None``,
# :ref:`l-plot-exporter-inputs-python-scalars` for a default that is a number,
# :ref:`l-plot-exporter-inputs-structure-mismatch` for other specifications that do not
# follow the inputs.
