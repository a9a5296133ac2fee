"""
.. _l-plot-torch-export-with-dynamic-cache-201:

Use a custom class as an input: a key/value cache
=================================================

One input of the model is an instance of a class of your own, and
:func:`torch.export.export` refuses it: ``Unsupported input type <class '...'>``, or
``It looks like one of the inputs with type <class '...'> is not supported or
pytree-flattenable``.

This page registers such a class, a key/value cache. It shows what a registration
must give, what flattening returns, how ``dynamic_shapes`` follows it, and what the
exported program accepts afterwards.

.. meta::
   :description: Register the class with register_pytree_node, with keys and a serialised
      name, before the export.
   :keywords: DynamicCache, StaticCache, register_pytree_node, custom class, transformers
      cache, Unsupported input type, flatten_with_keys_fn, past_key_values
"""

# %%
# The model
# +++++++++
#
# The cache holds one tensor of keys and one tensor of values for each layer. The two
# methods are called as in ``transformers.cache_utils.DynamicCache`` (see the
# `documentation of transformers <https://huggingface.co/docs/transformers/>`_), but
# the class does not inherit from it.

# sphinx_gallery_tags = ["inputs", "export fails"]
# sphinx_gallery_wording = "Found <class 'transformers.cache_utils.DynamicCache'> in output, which is not a known type."
# sphinx_gallery_wording = "It looks like one of the inputs with type DynamicCache is not supported or pytree-flattenable."

import collections
import functools
import json

import torch

pytree = torch.utils._pytree
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class DynamicCache:
    def __init__(self):
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
        return self.key_cache[layer_idx].shape[-2]


# %%
# The model reads every layer of the cache: this is the attention of one query over
# all the cached positions.


class AttentionOverCache(torch.nn.Module):
    def forward(self, query, cache):
        for keys, values in zip(cache.key_cache, cache.value_cache):
            scores = query @ keys.transpose(-1, -2) / keys.shape[-1] ** 0.5
            query = query + torch.softmax(scores, dim=-1) @ values
        return query * cache.get_seq_length()


def make_inputs(batch, length, heads=8, layers=2, cls=DynamicCache):
    cache = cls()
    for layer in range(layers):
        shape = (batch, heads, length, 6)
        cache.update(torch.randn(shape), torch.randn(shape), layer)
    return torch.randn(batch, heads, 1, 6), cache


torch.manual_seed(0)
model = AttentionOverCache()
inputs = make_inputs(batch=4, length=11)
print(model(*inputs).shape)

# %%
# The symptom
# +++++++++++
#
# Both modes of the exporter refuse the cache, each in its own words. Strict mode was
# the default up to torch 2.7, the other one is since 2.8: this page always says which
# one it uses. Only the first line of each message is printed.

try:
    torch.export.export(model, inputs, strict=False)
except ValueError as error:
    message = str(error).splitlines()[0].strip()
else:
    message = "This release needs no registration in non-strict mode."
print(message)
assert message.startswith("Unsupported input type <class"), message

# %%
# Strict mode goes on with a long list of the types that it accepts.

try:
    torch.export.export(model, inputs, strict=True)
except torch._dynamo.exc.UserError as error:
    message = str(error).splitlines()[0].strip()
else:
    message = "This release needs no registration in strict mode."
print(message)
assert "is not supported or pytree-flattenable" in message, message

# %%
# The cause
# +++++++++
#
# The exporter takes the inputs apart until it holds tensors. ``torch.utils._pytree``
# does that, and it knows lists, tuples, dictionaries, named tuples, and the classes
# that somebody registered. Anything else is a leaf. The cache is a leaf, and it is
# not a tensor.

leaves, structure = pytree.tree_flatten(inputs)
print([type(leaf).__name__ for leaf in leaves])
print(structure)
assert [type(leaf) for leaf in leaves] == [torch.Tensor, DynamicCache]

# %%
# So the container is the only reason. A named tuple with the same attributes and the
# same tensors, for the same model, is taken apart and exported. (The model calls one
# method, the named tuple gets it as well.)

NamedCache = collections.namedtuple("NamedCache", "key_cache value_cache")
NamedCache.get_seq_length = DynamicCache.get_seq_length
named = NamedCache(inputs[1].key_cache, inputs[1].value_cache)
program = torch.export.export(model, (inputs[0], named), strict=False)
print(program.graph_signature.user_inputs)
torch.testing.assert_close(program.module()(inputs[0], named), model(*inputs))
assert len(program.graph_signature.user_inputs) == 5

# %%
# The fix: register the class
# +++++++++++++++++++++++++++
#
# Two functions say how to take the class apart and how to put it together again. The
# *context* is what is not a tensor; here it is the name of the two attributes. It
# becomes part of the exported program, so it should be plain data: strings, numbers,
# lists.

ATTRIBUTES = ["key_cache", "value_cache"]


def flatten_cache(cache):
    return [getattr(cache, name) for name in ATTRIBUTES], ATTRIBUTES


def unflatten_cache(values, context, cls=DynamicCache):
    cache = cls()
    for name, value in zip(context, values):
        setattr(cache, name, value)
    return cache


# %%
# These two are not enough. The exporter gives each input a name, and it needs a key
# for each part of the class to make one. (A class can be registered only once, so the
# attempt has a subclass, which is taken out of the registries afterwards.)

REGISTRIES = (
    pytree.SUPPORTED_NODES,
    pytree.SUPPORTED_SERIALIZED_TYPES,
    torch.fx._pytree.SUPPORTED_NODES,
    torch.fx._pytree.SUPPORTED_NODES_EXACT_MATCH,
)


def unregister(cls):
    for registry in REGISTRIES:
        registry.pop(cls, None)
    pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE.pop(f"cookbook.{cls.__name__}")


class CacheWithoutKeys(DynamicCache):
    pass


pytree.register_pytree_node(
    CacheWithoutKeys,
    flatten_cache,
    functools.partial(unflatten_cache, cls=CacheWithoutKeys),
    serialized_type_name="cookbook.CacheWithoutKeys",
)
without_keys = make_inputs(4, 11, cls=CacheWithoutKeys)
try:
    torch.export.export(model, without_keys, strict=False)
except ValueError as error:
    message = str(error)
else:
    message = "This release makes its own keys."
unregister(CacheWithoutKeys)
print(message)
assert message.startswith("Did not find a flatten_with_keys_fn"), message

# %%
# A third function gives the keys. A key says how Python reaches the part. Here it is
# an attribute, so it is a ``GetAttrKey``. The *serialised name* stands for the class
# in a file that :func:`torch.export.save` writes. It must be the same when the file
# is loaded, so it is better written by hand than made of ``__module__``. The
# parameters are explained in the source of `register_pytree_node
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/utils/_pytree.py#L212>`_.


def flatten_cache_with_keys(cache):
    values, context = flatten_cache(cache)
    return [(pytree.GetAttrKey(k), v) for k, v in zip(context, values)], context


pytree.register_pytree_node(
    DynamicCache,
    flatten_cache,
    unflatten_cache,
    serialized_type_name="cookbook.DynamicCache",
    flatten_with_keys_fn=flatten_cache_with_keys,
)

# %%
# There is a second registry, the one of ``torch.fx``. It says how an exported program
# takes an instance apart when it is called. Without it, 2.6 exports the model and
# cannot run the program. Since 2.7 the program falls back on the first registry: see
# `tree_flatten_spec
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/_pytree.py#L42>`_.

program = torch.export.export(model, inputs, strict=False)
try:
    result = program.module()(*inputs)
except RuntimeError as error:
    result = None
    print(str(error).split(". ")[0])
else:
    torch.testing.assert_close(result, model(*inputs))
    print("This release runs the program without the second registration.")
assert (result is None) == (RELEASE < (2, 7))

# %%
# The second registration takes one function. It is one line, and a script that has it
# works on all releases.

torch.fx._pytree.register_pytree_flatten_spec(
    DynamicCache, lambda cache, spec: [getattr(cache, k) for k in spec.context]
)
torch.testing.assert_close(program.module()(*inputs), model(*inputs))

# %%
# What flattening gives
# +++++++++++++++++++++
#
# One leaf became four tensors. Each has a path: the key of the attribute, then the
# position in the list. First all the keys, then all the values: this is the order of
# the flattened lists, and not the order of the layers.

paths, structure = pytree.tree_flatten_with_path(inputs[1])
for path, leaf in paths:
    print(pytree.keystr(path), tuple(leaf.shape))
print(structure)
assert [pytree.keystr(path) for path, _ in paths] == [
    ".key_cache[0]",
    ".key_cache[1]",
    ".value_cache[0]",
    ".value_cache[1]",
]

# %%
# Unflattening must give the same cache back: the same class with the same tensors.

rebuilt = pytree.tree_unflatten([leaf for _, leaf in paths], structure)
assert type(rebuilt) is DynamicCache
assert rebuilt.get_seq_length() == 11
assert all(a is b for a, b in zip(rebuilt.key_cache, inputs[1].key_cache))
assert all(a is b for a, b in zip(rebuilt.value_cache, inputs[1].value_cache))

# %%
# The serialised name and the context are what a file keeps of the class. The name
# leads back to the class, as long as the class is registered.

text = pytree.treespec_dumps(structure)
_, root = json.loads(text)
print("type   ", root["type"])
print("context", root["context"])
assert root["type"] == "cookbook.DynamicCache"
assert pytree.treespec_loads(text) == structure

# %%
# Dynamic shapes
# ++++++++++++++
#
# ``dynamic_shapes`` does not follow the class, it follows what the class flattens to:
# the list that ``flatten_cache`` returns. The names of the attributes play no part,
# and a dictionary is refused.

batch = torch.export.Dim("batch", min=1, max=1024)
clength = torch.export.Dim("clength", min=1, max=1024)
both = {0: batch, 2: clength}
by_name = {"key_cache": [both, both], "value_cache": [both, both]}
try:
    torch.export.export(
        model, inputs, dynamic_shapes=({0: batch}, by_name), strict=False
    )
except ValueError as error:
    message = str(error)
else:
    message = "This release accepts the names of the attributes."
print(message)
assert message.startswith("Node type mismatch; expected <class 'list'>"), message

# %%
# The list has two items, one for each attribute; each item is a list with one
# dictionary for each layer. The `rule is written in the source
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/dynamic_shapes.py#L602>`_
# of torch.

by_position = [[both, both], [both, both]]
program = torch.export.export(
    model, inputs, dynamic_shapes=({0: batch}, by_position), strict=False
)
for node in program.graph.nodes:
    if node.op == "placeholder":
        print(node.name, tuple(node.meta["val"].shape))
print(program.range_constraints)

# %%
# The cache gave four inputs, named after the paths. Two dimensions are symbols: the
# first is shared by the five inputs, the second by the four tensors of the cache.

assert program.graph_signature.user_inputs == (
    "query",
    "cache_key_cache_0",
    "cache_key_cache_1",
    "cache_value_cache_0",
    "cache_value_cache_1",
)
assert [str(r) for r in program.range_constraints.values()] == ["VR[1, 1024]"] * 2

# %%
# The check
# +++++++++
#
# The program takes the class, as the model does. Each pair of shapes is a new one,
# and the smallest has only ones.

exported = program.module()
for size in [(4, 11), (2, 3), (7, 30), (1, 1)]:
    new_inputs = make_inputs(*size)
    torch.testing.assert_close(exported(*new_inputs), model(*new_inputs))
    print(f"batch {size[0]}, length {size[1]}: same result")

# %%
# What stayed constant is checked when the program runs. A cache with nine heads
# instead of eight is refused. Up to 2.8 this is a ``RuntimeError``, later an
# ``AssertionError``.

try:
    exported(*make_inputs(4, 11, heads=9))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program with nine heads."
print(message)
assert "size()[1] == 8" in message or "to be equal to 8" in message, message

# %%
# The number of layers is part of the structure, so it is constant too.

try:
    exported(*make_inputs(4, 11, layers=3))
except ValueError as error:
    message = str(error).splitlines()[0].strip()
else:
    message = "This release runs the program with three layers."
print(message)
assert message.startswith("Trying to flatten user inputs"), message

# %%
# Strict mode and the kind of key
# +++++++++++++++++++++++++++++++
#
# Strict mode exports the same class with the same registration.

options = {"dynamic_shapes": ({0: batch}, by_position), "strict": True}
exported = torch.export.export(model, inputs, **options).module()
for size in [(4, 11), (2, 3), (7, 30), (1, 1)]:
    new_inputs = make_inputs(*size)
    torch.testing.assert_close(exported(*new_inputs), model(*new_inputs))
    print(f"batch {size[0]}, length {size[1]}: same result")

# %%
# Many scripts use ``MappingKey`` instead, as for a dictionary. The path is then
# ``['key_cache'][0]``, and strict mode calls the same tensor ``.key_cache[0]``. On 2.9
# a program `compares the two as text
# <https://github.com/pytorch/pytorch/blob/v2.9.1/torch/export/_unlift.py#L85>`_ to
# verify its inputs, and it fails when it runs.


def flatten_cache_as_mapping(cache):
    values, context = flatten_cache(cache)
    return [(pytree.MappingKey(k), v) for k, v in zip(context, values)], context


class MappingCache(DynamicCache):
    pass


pytree.register_pytree_node(
    MappingCache,
    flatten_cache,
    functools.partial(unflatten_cache, cls=MappingCache),
    serialized_type_name="cookbook.MappingCache",
    flatten_with_keys_fn=flatten_cache_as_mapping,
)
torch.fx._pytree.register_pytree_flatten_spec(
    MappingCache, lambda cache, spec: [getattr(cache, k) for k in spec.context]
)
inputs = make_inputs(4, 11, cls=MappingCache)
exported = torch.export.export(model, inputs, **options).module()
try:
    result = exported(*inputs)
except NameError as error:
    result = None
    print(error)
else:
    torch.testing.assert_close(result, model(*inputs))
    print("This release runs the program with both kinds of keys.")
assert (result is None) == (RELEASE == (2, 9))

# %%
# Clean up
# ++++++++
#
# A registration lives as long as the process, and a class can be registered only
# once. No public function takes it back, so each class is removed from each registry.
# Where the package optree is installed, its own registry keeps the class: in a
# notebook, define the class again before you run the registration again.

for cls in (DynamicCache, MappingCache):
    unregister(cls)
for registry in REGISTRIES:
    assert not {DynamicCache, CacheWithoutKeys, MappingCache} & set(registry)
assert not [n for n in pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE if "cookbook" in n]

# %%
# To remember
# +++++++++++
#
# * Register the class before the export: flatten, unflatten, flatten with keys (an
#   attribute is a ``GetAttrKey``), and a serialised name that does not change.
# * ``dynamic_shapes`` follows the flattened lists, in their order, without the names.
# * The number of layers is frozen, the dimensions that you named are not.
#
# Next: :ref:`l-plot-exporter-nn_modules_inputs`, where the same class derives from
# :class:`torch.nn.Module`.
