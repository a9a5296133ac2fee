"""
.. _l-plot-torch-export-with-dynamic-cache-201:

Unsupported input type: register the class of the cache
=======================================================

.. answer::
   :cost: Nothing at run time. PyTorch 2.6 needs one more line, see *Limitations*.

   The exporter takes lists, dictionaries and tuples apart to find the tensors, and does
   not know your class. Make it a dataclass and register it. For a class that is not
   yours, see *Other fixes*.

   .. code-block:: diff

      +@dataclass
       class DynamicCache:
      -    def __init__(self):
      -        self.key_cache = []
      -        self.value_cache = []
      +    key_cache: list = field(default_factory=list)
      +    value_cache: list = field(default_factory=list)
      +torch.export.register_dataclass(DynamicCache)

   Not your case?

   * The class derives from Module: :ref:`l-plot-exporter-nn_modules_inputs`.
   * The model returns it, or a field is None: :ref:`l-plot-exporter-inputs-dataclass`.
   * A language model of transformers: :ref:`l-plot-exporter-models-tiny-llm`.

.. meta::
   :keywords: DynamicCache, StaticCache, custom class, register_dataclass,
      register_pytree_node, transformers cache, Unsupported input type,
      not supported or pytree-flattenable, flatten_with_keys_fn, past_key_values
"""

# %%
# The problem
# +++++++++++
#
# Attention of one query over all cached positions, layer by layer.

# sphinx_gallery_tags = ["inputs", "export fails"]
# sphinx_gallery_wording = "Found <class 'transformers.cache_utils.DynamicCache'> in output, which is not a known type."
# sphinx_gallery_wording = "It looks like one of the inputs with type DynamicCache is not supported or pytree-flattenable."
# sphinx_gallery_wording = "Did not find a flatten_with_keys_fn for type: <class 'DynamicCache'>. Please pass a flatten_with_keys_fn argument to register_pytree_node."
# sphinx_gallery_wording = "<class 'DynamicCache'> is already registered as pytree node."

from dataclasses import dataclass, field

import torch


class DynamicCache:
    def __init__(self):
        self.key_cache = []
        self.value_cache = []


class Attention(torch.nn.Module):
    def forward(self, query, cache):
        for keys, values in zip(cache.key_cache, cache.value_cache):
            scores = query @ keys.transpose(-1, -2)
            query = query + scores.softmax(dim=-1) @ values
        return query


def make_inputs(cls, batch, length, heads=8, layers=2):
    cache = cls()
    for _ in range(layers):
        cache.key_cache.append(torch.randn(batch, heads, length, 6))
        cache.value_cache.append(torch.randn(batch, heads, length, 6))
    return torch.randn(batch, heads, 1, 6), cache


torch.manual_seed(0)
model = Attention()
inputs = make_inputs(DynamicCache, batch=4, length=11)
try:
    torch.export.export(model, inputs, strict=False)
except ValueError as error:
    print(error)

# %%
# In strict mode the message begins with ``It looks like one of the inputs``. An entry
# for the cache in ``dynamic_shapes`` fails first:

batch = torch.export.Dim("batch", min=1, max=1024)
try:
    torch.export.export(model, inputs, dynamic_shapes=({0: batch}, {}), strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# The fix
# +++++++
#
# In ``dynamic_shapes`` the cache is a list with one item for each field, in their
# order. Here each item is a list too, with a dictionary for each layer.


@dataclass
class DynamicCache:
    key_cache: list = field(default_factory=list)
    value_cache: list = field(default_factory=list)


torch.export.register_dataclass(DynamicCache)

inputs = make_inputs(DynamicCache, batch=4, length=11)
batch = torch.export.Dim("batch", min=1, max=1024)
length = torch.export.Dim("length", min=1, max=1024)
both = {0: batch, 2: length}
dynamic_shapes = ({0: batch}, [[both, both], [both, both]])
program = torch.export.export(
    model, inputs, dynamic_shapes=dynamic_shapes, strict=False
)
print(program.graph_signature.user_inputs)

# %%
# Why it happens
# ++++++++++++++
#
# ``torch.utils._pytree`` flattens the inputs. A class that is not registered is a leaf,
# and `a leaf that is no tensor and no number is not supported
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/non_strict_utils.py#L207>`_.


class Unknown(DynamicCache):  # a registration does not hold for subclasses
    pass


for cls in (Unknown, DynamicCache):
    query, cache = make_inputs(cls, batch=4, length=11, layers=1)
    leaves = torch.utils._pytree.tree_leaves(cache)
    print(cls.__name__, [type(leaf).__name__ for leaf in leaves])

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If
#      - Do this
#      - Cost
#    * - the class is not yours
#      - ``register_pytree_node``, as below
#      - private API, four functions
#    * - it is ``DynamicCache`` of transformers
#      - ``register_dynamic_cache_export_support()`` of
#        ``transformers.integrations.executorch``
#      - depends on the version of transformers
#    * - you cannot register anything
#      - pass ``key_cache`` and ``value_cache``, make the cache in ``forward``
#      - a different signature
#    * - it is ``StaticCache`` of transformers
#      - ``TorchExportableModuleWithStaticCache``: the cache is buffers of the model
#      - the program keeps the cache, of a fixed batch and length
#
# A class that is not yours needs a function that takes it apart, one that puts it
# together, and one that names the parts; without it, torch raises ``Did not find a
# flatten_with_keys_fn``. Register a class once: the second time fails.


class TheirCache:
    def __init__(self):
        self.key_cache = []
        self.value_cache = []


pytree = torch.utils._pytree
NAMES = ["key_cache", "value_cache"]


def flatten(cache):
    return [cache.key_cache, cache.value_cache], NAMES


def unflatten(values, names):
    cache = TheirCache()
    cache.key_cache, cache.value_cache = values
    return cache


def flatten_with_keys(cache):
    values, names = flatten(cache)
    return [(pytree.GetAttrKey(k), v) for k, v in zip(names, values)], names


pytree.register_pytree_node(
    TheirCache,
    flatten,
    unflatten,
    serialized_type_name="mine.TheirCache",  # the name in a saved file
    flatten_with_keys_fn=flatten_with_keys,
)
torch.fx._pytree.register_pytree_flatten_spec(  # PyTorch 2.6 only
    TheirCache, lambda cache, spec: [cache.key_cache, cache.value_cache]
)

theirs = torch.export.export(
    model,
    make_inputs(TheirCache, batch=4, length=11),
    dynamic_shapes=dynamic_shapes,
    strict=False,
)

# %%
# Many scripts have ``MappingKey`` instead of ``GetAttrKey``. Exported in strict mode
# with PyTorch 2.9, such a program fails: ``name 'L' is not defined``.
#
# Check
# +++++
#
# The reference is computed from the tensors, without model and class.

# sphinx_gallery_start_ignore
torch.fx._pytree.register_pytree_flatten_spec(  # PyTorch 2.6
    DynamicCache, lambda cache, spec: [cache.key_cache, cache.value_cache]
)
# sphinx_gallery_end_ignore


def check(run, cls):
    for batch, length in [(4, 11), (2, 3), (7, 30), (1, 1)]:
        query, cache = make_inputs(cls, batch, length)
        expected = query
        for layer in range(2):
            expected = expected + torch.nn.functional.scaled_dot_product_attention(
                expected, cache.key_cache[layer], cache.value_cache[layer], scale=1.0
            )
        torch.testing.assert_close(run(query, cache), expected)


strict = torch.export.export(model, inputs, dynamic_shapes=dynamic_shapes, strict=True)
check(program.module(), DynamicCache)
check(strict.module(), DynamicCache)
check(theirs.module(), TheirCache)
assert len(program.range_constraints) == len(theirs.range_constraints) == 2

# %%
# Nine heads instead of eight must be rejected.

try:
    program.module()(*make_inputs(DynamicCache, 4, 11, heads=9))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# A cache of a fixed length, which the model writes into: the same registration, and the
# program writes into the tensor that you pass.


@dataclass
class StaticCache:
    keys: torch.Tensor


class Writes(torch.nn.Module):
    def forward(self, key, position, cache):
        cache.keys.index_copy_(1, position, key)
        return cache.keys.sum(dim=1)


torch.export.register_dataclass(StaticCache)
# sphinx_gallery_start_ignore
torch.fx._pytree.register_pytree_flatten_spec(  # PyTorch 2.6
    StaticCache, lambda cache, spec: [cache.keys]
)
# sphinx_gallery_end_ignore
example = (torch.rand(2, 1, 3), torch.tensor([0]), StaticCache(torch.zeros(2, 5, 3)))
writes = torch.export.export(Writes(), example, strict=False).module()
key, cache = torch.rand(2, 1, 3), StaticCache(torch.zeros(2, 5, 3))
for position in (1, 4):
    result = writes(key, torch.tensor([position]), cache)
torch.testing.assert_close(cache.keys[:, [1, 4]], key.expand(2, 2, 3))
torch.testing.assert_close(result, 2 * key[:, 0])

# %%
# Limitations
# +++++++++++
#
# PyTorch 2.6 runs the program only after ``register_pytree_flatten_spec``, as above. To
# save it, use ``register_dataclass(DynamicCache, serialized_type_name="...")``.
#
# Summary
# +++++++
#
# * Your class: ``@dataclass`` and ``register_dataclass``. Any other:
#   ``register_pytree_node``, with keys.
# * The number of layers is fixed: :ref:`l-plot-exporter-inputs-nested`.
#
# Next: :ref:`l-plot-exporter-nn_modules_inputs` for a cache that is ignored,
# :ref:`l-plot-exporter-after-save-load` for a program in a file.
