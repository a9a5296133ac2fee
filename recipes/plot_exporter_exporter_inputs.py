"""
.. _l-plot-exporter-nn_modules_inputs:

Do not use a Module as an input
===============================

An input of the model is an instance of a class that derives from
:class:`torch.nn.Module`, a cache for example. The export fails with ``Constraints
violated (batch)! ... inferred to be a constant (4)``. Or worse: it works, and the
exported program returns the same result whatever the cache holds.

This page exports a model that takes a cache, first with a plain class, then with the
same class as a Module. It continues :ref:`l-plot-torch-export-with-dynamic-cache-201`.

.. meta::
   :description: Make the class plain and register it with pytree; an nn.Module as an input
      is frozen or makes dimensions constant.
   :keywords: nn.Module as input, cache as a module, past_key_values, output does not
      change, inferred to be a constant
"""

# %%
# Custom classes work
# +++++++++++++++++++
#
# ``DynamicCache`` copies the interface of ``transformers.cache_utils.DynamicCache``
# (see the `documentation of transformers
# <https://huggingface.co/docs/transformers/>`_) and does not inherit from it. Keep
# the last line of ``get_seq_length`` in mind: an empty tensor stands for a layer
# without a cache, and the test uses ``len``.

# sphinx_gallery_tags = ["inputs", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "exported program returns the same result whatever the cache holds"
# sphinx_gallery_wording = "nn.Module passed as an argument to forward"

import warnings

import torch

pytree = torch.utils._pytree
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class DynamicCache:
    def __init__(self):
        super().__init__()
        self.key_cache = []
        self.value_cache = []

    def update(self, key_states, value_states, layer_idx):
        if layer_idx == len(self.key_cache):
            self.key_cache.append(key_states)
            self.value_cache.append(value_states)
        else:
            keys, values = self.key_cache[layer_idx], self.value_cache[layer_idx]
            self.key_cache[layer_idx] = torch.cat([keys, key_states], dim=-2)
            self.value_cache[layer_idx] = torch.cat([values, value_states], dim=-2)
        return self.key_cache[layer_idx], self.value_cache[layer_idx]

    def get_seq_length(self, layer_idx=0):
        if layer_idx >= len(self.key_cache):
            return 0
        keys = self.key_cache[layer_idx]
        return 0 if len(keys) == 0 else keys.shape[-2]


# %%
# The model reads the two lists and calls the method.


class ModelWithCache(torch.nn.Module):
    def forward(self, x, dc):
        keys = torch.cat(dc.key_cache, dim=1)
        values = torch.cat(dc.value_cache, dim=1)
        batch, heads, _, last = dc.key_cache[0].shape
        zeros = torch.zeros((batch, heads, dc.get_seq_length(), last))
        total = (keys + values + zeros).sum(dim=2, keepdim=True)
        return x + total


def make_inputs(cls, batch, length, heads=8, value=1.0):
    cache = cls()
    shape = (batch, heads, length, 6)
    cache.update(torch.full(shape, value), torch.full(shape, 2 * value), 0)
    return torch.randn(batch, 8, 7, 1), cache


# %%
# It runs on two shapes.

torch.manual_seed(0)
model = ModelWithCache()
print(model(*make_inputs(DynamicCache, 3, 5)).shape)
print(model(*make_inputs(DynamicCache, 4, 11)).shape)

# %%
# The registration says how to take the class apart and how to put it together;
# :ref:`l-plot-torch-export-with-dynamic-cache-201` explains each part. Here it is a
# function, because two classes need it, and a second one takes it back.


def flatten_cache(cache):
    return [cache.key_cache, cache.value_cache], ["key_cache", "value_cache"]


def flatten_cache_with_keys(cache):
    values, context = flatten_cache(cache)
    return [(pytree.GetAttrKey(k), v) for k, v in zip(context, values)], context


def register(cls):
    def unflatten(values, context):
        cache = cls()
        cache.key_cache, cache.value_cache = values
        return cache

    pytree.register_pytree_node(
        cls,
        flatten_cache,
        unflatten,
        serialized_type_name=f"cookbook.{cls.__name__}",
        flatten_with_keys_fn=flatten_cache_with_keys,
    )
    torch.fx._pytree.register_pytree_flatten_spec(
        cls, lambda cache, spec: [cache.key_cache, cache.value_cache]
    )


REGISTRIES = (
    pytree.SUPPORTED_NODES,
    pytree.SUPPORTED_SERIALIZED_TYPES,
    torch.fx._pytree.SUPPORTED_NODES,
    torch.fx._pytree.SUPPORTED_NODES_EXACT_MATCH,
)


def unregister(cls):
    for registry in REGISTRIES:
        registry.pop(cls)
    pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE.pop(f"cookbook.{cls.__name__}")


# %%
# The export in strict mode
# +++++++++++++++++++++++++
#
# Two dimensions are dynamic, both between 1 and 1024: the batch, and the length of the
# cache. ``dynamic_shapes`` follows what the class flattens to. Strict mode reads the
# bytecode of the model and does not run it. It was the default up to torch 2.7.

batch = torch.export.Dim("batch", min=1, max=1024)
clength = torch.export.Dim("clength", min=1, max=1024)
dynamic_shapes = ({0: batch}, [[{0: batch, 2: clength}], [{0: batch, 2: clength}]])


def export(inputs, strict):
    return torch.export.export(
        model, inputs, dynamic_shapes=dynamic_shapes, strict=strict
    )


register(DynamicCache)
inputs = make_inputs(DynamicCache, 4, 11)
strict_program = export(inputs, strict=True)
print(strict_program)

# %%
# The class is gone: its two tensors are inputs. Both dimensions are symbols, with the
# bounds that were asked for. The last lines of the listing are the signature and the
# range constraints.

names = ("x", "dc_key_cache_0", "dc_value_cache_0")
assert strict_program.graph_signature.user_inputs == names
ranges = [str(r) for r in strict_program.range_constraints.values()]
assert ranges == ["VR[1, 1024]"] * 2, ranges

# %%
# The program gives the result of the model on shapes that were not traced. (With
# ``MappingKey`` in the registration, which many scripts use, the program of 2.9
# raises ``name 'L' is not defined`` here. The page on the registration shows why.)

run = strict_program.module()
for size in [(4, 11), (3, 5), (9, 30), (1, 1)]:
    new_inputs = make_inputs(DynamicCache, *size)
    torch.testing.assert_close(run(*new_inputs), model(*new_inputs))
    print(f"batch {size[0]}, length {size[1]}: same result")

# %%
# The export in non-strict mode: a method that loses a dimension
# ++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++
#
# Non-strict mode runs the Python code of the model with tensors that have symbols for
# shapes. It is the default since 2.8. It refuses the same class.

try:
    export(inputs, strict=False)
except torch._dynamo.exc.UserError as error:
    message = str(error).split("\n\n")[0]
else:
    message = "This release keeps the symbol when Python calls len."
print(message)
assert "Constraints violated (batch)" in message, message
assert "constant (4)" in message, message

# %%
# The cause is ``len``. Python demands an integer from it, so the symbol has to become
# one: `SymInt.__index__
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/__init__.py#L466>`_. The same
# number read from ``shape`` stays a symbol. This model prints both types while it is
# traced, and the graph adds the constant 4.


class TwoWays(torch.nn.Module):
    def forward(self, x):
        print("shape:", type(x.shape[0]).__name__, "- len:", type(len(x)).__name__)
        return x + len(x)


auto = ({0: torch.export.Dim.AUTO},)
witness = torch.export.export(
    TwoWays(), (torch.zeros(4, 2),), dynamic_shapes=auto, strict=False
)
placeholder, addition, _ = witness.graph.nodes
print(addition.target, addition.args)
assert addition.args == (placeholder, 4)
assert placeholder.meta["val"].shape == (4, 2)

# %%
# One thing is changed, the test on the empty tensor. Both modes export the class.


def get_seq_length(self, layer_idx=0):
    if layer_idx >= len(self.key_cache):
        return 0
    keys = self.key_cache[layer_idx]
    return 0 if keys.shape[0] == 0 else keys.shape[-2]


DynamicCache.get_seq_length = get_seq_length
program = export(inputs, strict=False)
print(program.range_constraints)
for exported in (program, export(inputs, strict=True)):
    assert exported.graph_signature.user_inputs == names
    ranges = [str(r) for r in exported.range_constraints.values()]
    assert ranges == ["VR[1, 1024]"] * 2, ranges

# %%
# The check: the program and the model agree on shapes that were not traced.

run = program.module()
for size in [(4, 11), (3, 5), (9, 30), (1, 1)]:
    new_inputs = make_inputs(DynamicCache, *size)
    torch.testing.assert_close(run(*new_inputs), model(*new_inputs))
    print(f"batch {size[0]}, length {size[1]}: same result")

# %%
# A cache with nine heads must be refused, because this dimension is constant. Up to
# 2.8 this is a ``RuntimeError``, later an ``AssertionError``.

try:
    run(*make_inputs(DynamicCache, 4, 11, heads=9))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program with nine heads."
print(message)
assert "size()[1] == 8" in message or "to be equal to 8" in message, message

# %%
# The class leaves the registries.

unregister(DynamicCache)
assert not any(DynamicCache in registry for registry in REGISTRIES)

# %%
# The same class, as a Module
# +++++++++++++++++++++++++++
#
# That is the only change: one more base class. The model, the registration and the
# shapes are the same, and the model still runs on two shapes.


class ModuleCache(DynamicCache, torch.nn.Module):
    pass


print(model(*make_inputs(ModuleCache, 3, 5)).shape)
print(model(*make_inputs(ModuleCache, 4, 11)).shape)

# %%
# Strict mode refuses it up to 2.9: ``batch`` became the constant 4, the size in the
# example (`issue 147326 <https://github.com/pytorch/pytorch/issues/147326>`_). Since
# 2.10 it is accepted. (2.8 appends a stack of C++ calls to the message; it is cut off.)

register(ModuleCache)
module_inputs = make_inputs(ModuleCache, 4, 11)
try:
    accepted = export(module_inputs, strict=True)
except torch._dynamo.exc.UserError as error:
    accepted = None
    message = str(error).split("\n\nThe error above")[0]
    print("It did not work:", message.split("\n\nFramework stack")[0])
else:
    print("It worked:", accepted.graph_signature.user_inputs)
    assert accepted.graph_signature.user_inputs == names
assert (accepted is None) == (RELEASE < (2, 10))

# %%
# The cause: up to 2.9, strict mode treats the tensors that it finds in a Module like
# weights, and the shape of a weight is constant. Ask for the length only. The export
# works on every release, and up to 2.9 the dimension is lost. All that says so is a
# line in the log, ``Untracked tensor used in export constraints``.


def shapes_of_inputs(program):
    placeholders = [node for node in program.graph.nodes if node.name in names]
    return {node.name: tuple(node.meta["val"].shape) for node in placeholders}


length_only = (None, [[{2: clength}], [{2: clength}]])
lost = torch.export.export(
    model, module_inputs, dynamic_shapes=length_only, strict=True
)
print(shapes_of_inputs(lost))
print(lost.range_constraints)
assert (len(lost.range_constraints) == 0) == (RELEASE < (2, 10))

# %%
# The batch is shared with ``x``, so it cannot be lost in silence, and the export
# fails. A `setting of Dynamo
# <https://github.com/pytorch/pytorch/blob/v2.9.1/torch/_dynamo/utils.py#L3746>`_
# decides this. Without it the same call works. It is internal: it is here to show the
# cause, and is no fix.

with torch._dynamo.config.patch(force_nn_module_property_static_shapes=False):
    patched = export(module_inputs, strict=True)
print(shapes_of_inputs(patched))
ranges = [str(r) for r in patched.range_constraints.values()]
assert ranges == ["VR[1, 1024]"] * 2, ranges

# %%
# Non-strict mode looks at the tensors only, and it accepts the registered Module on
# every release.

run = export(module_inputs, strict=False).module()
for size in [(4, 11), (3, 5), (9, 30), (1, 1)]:
    new_inputs = make_inputs(ModuleCache, *size)
    torch.testing.assert_close(run(*new_inputs), model(*new_inputs))
    print(f"batch {size[0]}, length {size[1]}: same result")

# %%
# The trick: replace the base class
# +++++++++++++++++++++++++++++++++
#
# If you need strict mode on 2.6 to 2.9, and the class is not yours, there is a trick.
# Python can take the base class away. The class, its registration and the instance
# stay what they were, but the instance is not a Module any more.

ModuleCache.__bases__ = (DynamicCache,)
assert not isinstance(module_inputs[1], torch.nn.Module)
tricked = export(module_inputs, strict=True)
print(shapes_of_inputs(tricked))
print(tricked.range_constraints)
assert tricked.graph_signature.user_inputs == names
ranges = [str(r) for r in tricked.range_constraints.values()]
assert ranges == ["VR[1, 1024]"] * 2, ranges

# %%
# The program gives the right result, with an instance that is still a Module too.

ModuleCache.__bases__ = (DynamicCache, torch.nn.Module)
run = tricked.module()
for size in [(4, 11), (3, 5), (9, 30), (1, 1)]:
    new_inputs = make_inputs(ModuleCache, *size)
    assert isinstance(new_inputs[1], torch.nn.Module)
    torch.testing.assert_close(run(*new_inputs), model(*new_inputs))
    print(f"batch {size[0]}, length {size[1]}: same result")

# %%
# The base class is back already, and the registration is removed.

unregister(ModuleCache)
assert not any(ModuleCache in registry for registry in REGISTRIES)

# %%
# The wrong result: a Module that nobody registered
# +++++++++++++++++++++++++++++++++++++++++++++++++
#
# A plain class that is not registered is refused. A Module is not: since 2.7,
# non-strict mode accepts it, and says nothing about the cache. (The one warning is
# about a function that torch itself calls.) Look at the inputs of the program: the
# cache is not one of them.

x, traced = torch.zeros(4, 8, 7, 1), make_inputs(ModuleCache, 4, 11)[1]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        frozen = torch.export.export(model, (x, traced), strict=False)
    except ValueError as error:
        frozen = None
        print(error)
    else:
        for spec in frozen.graph_signature.input_specs:
            print(spec.kind.name, spec.arg.name)
for text in dict.fromkeys(str(warning.message) for warning in caught):
    print("warning:", text)
    assert "_register_pytree_node" in text, text
assert (frozen is None) == (RELEASE < (2, 7))

# %%
# The tensors of the cache became constants of the program. It still takes a cache, of
# any shape, and ignores it. The model adds keys and values over the length: with
# ones and twos over 11 positions, 33. (2.6 exported no program, so there it is None.)

run = None if frozen is None else frozen.module()


def first_values(cache):
    expected = model(x, cache)[0, 0, 0, 0].item()
    if run is None:
        return expected, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the same as above
        return expected, run(x, cache)[0, 0, 0, 0].item()


results = {
    "the cache of the export": first_values(traced),
    "ten times its values": first_values(
        make_inputs(ModuleCache, 4, 11, value=10.0)[1]
    ),
    "only three positions": first_values(make_inputs(ModuleCache, 4, 3)[1]),
}
for name, (expected, got) in results.items():
    print(f"{name}: the model returns {expected}, the program {got}")
assert [expected for expected, _ in results.values()] == [33.0, 330.0, 9.0]
assert [got for _, got in results.values()] == [None if frozen is None else 33.0] * 3

# %%
# The cause: `the exporter hands a Module over as it is
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/non_strict_utils.py#L180>`_,
# with its own tensors. Its parameters and buffers become inputs (since 2.7, see
# `pull request 143925 <https://github.com/pytorch/pytorch/pull/143925>`_); a tensor
# in a list or in a plain attribute does not. Here are a buffer and a plain attribute.
# Both hold 1 at the export and 10 when the program runs: it adds 10 and 1.


class TwoTensors(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.register_buffer("buffer", torch.full((2,), value))
        self.plain = torch.full((2,), value)


class Adds(torch.nn.Module):
    def forward(self, x, holder):
        return x + holder.buffer + holder.plain


zeros = torch.zeros(2)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # the same as above
    try:
        half = torch.export.export(Adds(), (zeros, TwoTensors(1.0)), strict=False)
    except ValueError as error:
        half = None
        print(error)
    else:
        print(half.graph_signature.user_inputs)
        got = half.module()(zeros, TwoTensors(10.0)).tolist()
        print("the model returns", Adds()(zeros, TwoTensors(10.0)).tolist())
        print("the program returns", got)
        assert half.graph_signature.user_inputs == ("x", "holder_buffer")
        assert got == [11.0, 11.0]
assert (half is None) == (RELEASE < (2, 7))

# %%
# A dynamic batch makes the mistake visible, since the constants have a batch of 4:
# this is the message of the beginning again. (2.6 refuses the class here.)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    try:
        torch.export.export(
            model, (x, traced), dynamic_shapes=({0: batch}, None), strict=False
        )
    except (torch._dynamo.exc.UserError, ValueError) as error:
        message = str(error).split("\n\n")[0]
    else:
        message = "This release freezes the cache and keeps the batch dynamic."
print(message)
symptom = "Unsupported input type" if frozen is None else "Constraints violated (batch)"
assert symptom in message, message

# %%
# The fix when the class has to stay a Module
# +++++++++++++++++++++++++++++++++++++++++++
#
# The best fix is the first half of this page: a plain class, registered. When the
# class is not yours, give the exporter the tensors and make the cache inside. This
# needs no registration, and it works on every release.


class TakesTensors(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, key_cache, value_cache):
        cache = ModuleCache()
        cache.key_cache, cache.value_cache = key_cache, value_cache
        return self.model(x, cache)


cache_shapes = [{0: batch, 2: clength}]
wrapped = torch.export.export(
    TakesTensors(model),
    (x, traced.key_cache, traced.value_cache),
    dynamic_shapes=({0: batch}, cache_shapes, cache_shapes),
    strict=False,
)
print(wrapped.graph_signature.user_inputs)
print(wrapped.range_constraints)

# %%
# The check again, with the model that takes the cache as the reference.

run = wrapped.module()
for size in [(4, 11), (3, 5), (9, 30), (1, 1)]:
    x, cache = make_inputs(ModuleCache, *size, value=10.0)
    got = run(x, cache.key_cache, cache.value_cache)
    torch.testing.assert_close(got, model(x, cache))
    print(f"batch {size[0]}, length {size[1]}: same result")

# %%
# Nothing is left behind in the registries of torch.

for registry in REGISTRIES:
    assert not {DynamicCache, ModuleCache} & set(registry)
assert not [n for n in pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE if "cookbook" in n]

# %%
# To remember
# +++++++++++
#
# * A class that carries inputs should be a plain class, and it should be registered.
# * As a Module, its tensors become constants if it is not registered (non-strict mode,
#   since 2.7), and its shapes become constant if it is (strict mode, up to 2.9).
# * ``len(tensor)`` turns a dynamic dimension into a constant in non-strict mode; use
#   ``tensor.shape[0]``.
#
# Next: :ref:`l-plot-torch-export-with-dynamic-cache-201` explains the registration.
