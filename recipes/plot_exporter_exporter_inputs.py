"""
.. _l-plot-exporter-nn_modules_inputs:

Do not use a Module as an input
===============================

.. answer::
   :cost: Nothing at run time. PyTorch 2.6 needs one more line, see *Limitations*.

   The exporter does not look into a :class:`torch.nn.Module` that is not registered:
   the tensors in its lists and attributes become constants, and the exported program
   silently ignores the cache you pass. With a dynamic batch, the batch becomes
   ``constant (4)``.

   .. code-block:: diff

      -class DynamicCache(torch.nn.Module):
      +@dataclass
      +class DynamicCache:
      +    key_cache: list = field(default_factory=list)
      +    value_cache: list = field(default_factory=list)
      +torch.export.register_dataclass(DynamicCache)

   Not your case?

   * ``Unsupported input type``, and the class is no Module:
     :ref:`l-plot-torch-export-with-dynamic-cache-201`.
   * The class is registered, and calls ``len(tensor)``:
     :ref:`l-plot-exporter-shapes-python-int`.
   * No class among the inputs: :ref:`l-plot-exporter-shapes-specialized`.

.. meta::
   :keywords: nn.Module as input, cache as a module, past_key_values, DynamicCache,
      output does not change, cache is ignored, inferred to be a constant,
      Constraints violated, BaseDummyClass, deallocator differs from 'Module'
"""

# %%
# The problem
# +++++++++++
#
# The model takes a cache, and the class of the cache derives from
# :class:`torch.nn.Module`.

# sphinx_gallery_tags = ["inputs", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "exported program returns the same result whatever the cache holds"
# sphinx_gallery_wording = "nn.Module passed as an argument to forward"

from dataclasses import dataclass, field

import torch


class DynamicCache(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.key_cache = []
        self.value_cache = []

    def get_seq_length(self):
        return self.key_cache[0].shape[-2]


class ModelTakingDynamicCacheAsInput(torch.nn.Module):
    def forward(self, x, dc):
        keys = torch.cat(dc.key_cache, dim=1)
        values = torch.cat(dc.value_cache, dim=1)
        batch, heads, _, width = dc.key_cache[0].shape
        ones = torch.ones((batch, heads, dc.get_seq_length(), width))
        return x + (keys + 2 * values + ones).sum(dim=2, keepdim=True)


def make_inputs(cls, batch, length, heads=8):
    cache = cls()
    cache.key_cache.append(torch.randn(batch, heads, length, 6))
    cache.value_cache.append(torch.randn(batch, heads, length, 6))
    return torch.randn(batch, 8, 7, 1), cache


# %%
# The export works, and so does the program. It has one input, ``x``. A different cache
# changes the result of the model, and not the result of the program.

torch.manual_seed(0)
model = ModelTakingDynamicCacheAsInput()
x, cache = make_inputs(DynamicCache, batch=4, length=11)
_, other = make_inputs(DynamicCache, batch=4, length=5)
# sphinx_gallery_start_ignore
frozen = None  # what it stays on PyTorch 2.6
# sphinx_gallery_end_ignore
try:
    # sphinx_gallery_picture = "The program has no input but x."
    frozen = torch.export.export(model, (x, cache), strict=False)
    print("inputs:", frozen.graph_signature.user_inputs)
    run = frozen.module()
    print("model, same result:  ", torch.equal(model(x, cache), model(x, other)))
    print("program, same result:", torch.equal(run(x, cache), run(x, other)))
except ValueError as error:
    print(error)

# sphinx_gallery_start_ignore
if frozen is not None:
    assert frozen.graph_signature.user_inputs == ("x",)
    assert not torch.equal(model(x, cache), model(x, other))
    assert torch.equal(run(x, cache), run(x, other))
# sphinx_gallery_end_ignore

# %%
# With a dynamic batch the export fails, because the constants have a batch of 4. The
# message does not mention the cache.

batch = torch.export.Dim("batch", min=1, max=1024)
shapes = ({0: batch}, None)
try:
    torch.export.export(model, (x, cache), dynamic_shapes=shapes, strict=False)
except (torch._dynamo.exc.UserError, ValueError) as error:
    print(error)

# %%
# The fix
# +++++++
#
# Make the class a dataclass and register it. ``dynamic_shapes`` has a list for each
# field, in the order of the fields.


@dataclass
class DynamicCache:
    key_cache: list = field(default_factory=list)
    value_cache: list = field(default_factory=list)

    def get_seq_length(self):
        return self.key_cache[0].shape[-2]


torch.export.register_dataclass(DynamicCache)

x, cache = make_inputs(DynamicCache, batch=4, length=11)
batch = torch.export.Dim("batch", min=1, max=1024)
clength = torch.export.Dim("clength", min=1, max=1024)
dynamic_shapes = ({0: batch}, [[{0: batch, 2: clength}], [{0: batch, 2: clength}]])
# sphinx_gallery_picture = "The tensors of the cache are inputs now."
program = torch.export.export(model, (x, cache), dynamic_shapes=dynamic_shapes)

print(program.graph_signature.user_inputs)
print(program.range_constraints)

# %%
# Why it happens
# ++++++++++++++
#
# `The exporter passes a Module on as it is
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/non_strict_utils.py#L178-L183>`_,
# and `only its parameters and buffers become inputs
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/utils.py#L1531-L1538>`_.
# Here both tensors are 1 during the export and 10 when the program runs. The buffer is
# an input. The attribute is a constant, so the program returns 11 and not 20.


class TwoTensors(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.register_buffer("buffer", torch.full((2,), value))
        self.attribute = torch.full((2,), value)


class Adds(torch.nn.Module):
    def forward(self, x, holder):
        return x + holder.buffer + holder.attribute


# sphinx_gallery_start_ignore
half = None  # what it stays on PyTorch 2.6
# sphinx_gallery_end_ignore
try:
    half = torch.export.export(Adds(), (torch.zeros(2), TwoTensors(1.0)), strict=False)
    print(half.graph_signature.user_inputs)
    print(half.module()(torch.zeros(2), TwoTensors(10.0)))
except ValueError as error:
    print(error)

# sphinx_gallery_start_ignore
if half is not None:
    assert half.graph_signature.user_inputs == ("x", "holder_buffer")
    assert half.module()(torch.zeros(2), TwoTensors(10.0)).tolist() == [11, 11]
# sphinx_gallery_end_ignore

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
#    * - the class cannot become a dataclass
#      - make it plain and call ``register_pytree_node``, as below
#      - three functions to write, in a module that is not public
#    * - the class must stay a Module
#      - register it in the same way, as below
#      - the same; up to PyTorch 2.9 only with ``strict=False``
#    * - the class is not yours
#      - pass the tensors, make the cache in ``forward``
#      - a different signature
#
# The last one needs no registration:


class TakesTensors(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, key_cache, value_cache):
        return self.model(x, DynamicCache(key_cache, value_cache))


tensors = (x, cache.key_cache, cache.value_cache)
flat_shapes = (dynamic_shapes[0], *dynamic_shapes[1])
wrapped = torch.export.export(TakesTensors(model), tensors, dynamic_shapes=flat_shapes)
print(wrapped.graph_signature.user_inputs)

# %%
# Check
# +++++
#
# The expected result is computed from the tensors, without the cache and the model.
# Neither the values nor three of the four sizes are those of the example.

# sphinx_gallery_start_ignore
torch.fx._pytree.register_pytree_flatten_spec(  # PyTorch 2.6
    DynamicCache, lambda cache, spec: [cache.key_cache, cache.value_cache]
)
# sphinx_gallery_end_ignore


def check(run, cls):
    for batch, length in [(4, 11), (3, 5), (9, 30), (1, 1)]:
        x, cache = make_inputs(cls, batch, length)
        total = cache.key_cache[0].sum(2) + 2 * cache.value_cache[0].sum(2) + length
        torch.testing.assert_close(run(x, cache), x + total.unsqueeze(2))
    print("same results")


check(program.module(), DynamicCache)
run = wrapped.module()
check(lambda x, cache: run(x, cache.key_cache, cache.value_cache), DynamicCache)

# %%
# Nine heads must be rejected: that dimension is static.

try:
    program.module()(*make_inputs(DynamicCache, 4, 11, heads=9))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# PyTorch 2.6 to 2.9: registered, and constant all the same
# +++++++++++++++++++++++++++++++++++++++++++++++++++++++++
#
# There, it is not enough to register the Module: in strict mode, the default up to 2.7,
# its dimensions become constant. First a plain class, which works. Its methods are
# called as in ``transformers.cache_utils.DynamicCache``; an empty list stands for a
# layer that was skipped.


class PlainCache:
    def __init__(self):
        super().__init__()
        self.key_cache = []
        self.value_cache = []

    def update(self, keys, values, layer_idx):
        while len(self.key_cache) <= layer_idx:  # this layer, and skipped ones
            self.key_cache.append([])
            self.value_cache.append([])
        if isinstance(self.key_cache[layer_idx], torch.Tensor):
            keys = torch.cat([self.key_cache[layer_idx], keys], dim=-2)
            values = torch.cat([self.value_cache[layer_idx], values], dim=-2)
        self.key_cache[layer_idx], self.value_cache[layer_idx] = keys, values
        return keys, values

    def get_seq_length(self, layer_idx=0):
        layer = self.key_cache[layer_idx] if layer_idx < len(self.key_cache) else []
        return layer.shape[-2] if isinstance(layer, torch.Tensor) else 0


skipped = PlainCache()
for layer_idx in (2, 0, 0):  # layer 1 is skipped, layer 0 comes late and grows
    skipped.update(torch.ones(4, 8, 11, 6), torch.ones(4, 8, 11, 6), layer_idx)
lengths = [skipped.get_seq_length(layer_idx) for layer_idx in range(4)]
print(lengths)
assert lengths == [22, 0, 11, 0] and skipped.value_cache[1] == []

print(model(*make_inputs(PlainCache, 3, 5)).shape)
print(model(*make_inputs(PlainCache, 4, 11)).shape)

# %%
# The registration says how to take the class apart and how to put it together
# (:ref:`l-plot-torch-export-with-dynamic-cache-201` explains each part). The second
# call is for PyTorch 2.6.

pytree = torch.utils._pytree


def flatten_cache(cache):
    return [cache.key_cache, cache.value_cache], ["key_cache", "value_cache"]


def flatten_with_keys_cache(cache):
    values, names = flatten_cache(cache)
    return [(pytree.GetAttrKey(k), v) for k, v in zip(names, values)], names


def register(cls):
    def unflatten_cache(values, context):
        cache = cls()
        cache.key_cache, cache.value_cache = values
        return cache

    pytree.register_pytree_node(
        cls,
        flatten_cache,
        unflatten_cache,
        serialized_type_name=f"cookbook.{cls.__name__}",
        flatten_with_keys_fn=flatten_with_keys_cache,
    )
    torch.fx._pytree.register_pytree_flatten_spec(
        cls, lambda cache, spec: [cache.key_cache, cache.value_cache]
    )


register(PlainCache)
inputs = make_inputs(PlainCache, 4, 11)
plain = torch.export.export(model, inputs, dynamic_shapes=dynamic_shapes, strict=True)
print(plain)
check(plain.module(), PlainCache)

# %%
# Now the class derives from Module. Nothing else changes.


class ModuleCache(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.key_cache = []
        self.value_cache = []

    update = PlainCache.update
    get_seq_length = PlainCache.get_seq_length


register(ModuleCache)
inputs = make_inputs(ModuleCache, 4, 11)
print(model(*make_inputs(ModuleCache, 3, 5)).shape)
print(model(*inputs).shape)

# %%
# Up to 2.9 this raises ``Constraints violated (batch)! ... batch was inferred to be a
# constant (4)``, or ``You marked batch as dynamic but your code specialized it to be a
# constant (4)`` (`issue 147326 <https://github.com/pytorch/pytorch/issues/147326>`_).
# Choose one of these releases above to see it. Since 2.10 it works.

options = {"dynamic_shapes": dynamic_shapes, "strict": True}
try:
    accepted = torch.export.export(model, inputs, **options)
    print(accepted.graph_signature.user_inputs)
except torch._dynamo.exc.UserError as error:
    print("It did not work:", error)

# %%
# Strict mode took the tensors of a Module for weights, whose shapes are static. One
# `setting of Dynamo
# <https://github.com/pytorch/pytorch/blob/v2.9.1/torch/_dynamo/utils.py#L3746>`_
# decides that. Without it the same call works on each of these releases. It is
# internal: it shows the cause and is no fix.

with torch._dynamo.config.patch(force_nn_module_property_static_shapes=False):
    patched = torch.export.export(model, inputs, **options)
print(patched.range_constraints)
assert len(patched.range_constraints) == 2

# %%
# The workaround of that time: replace the base class, and the instance is no Module any
# more. The class, its registration and the instance stay. The new base is an empty
# class, since ``object`` is not accepted:

try:
    ModuleCache.__bases__ = (object,)
except TypeError as error:
    print(error)


class BaseDummyClass:
    pass


ModuleCache.__bases__ = (BaseDummyClass,)
assert not isinstance(inputs[1], torch.nn.Module)
replaced = torch.export.export(model, inputs, **options)
print(replaced)

# %%
# With the base class back, the program takes Modules. Non-strict mode needs no
# workaround: it accepts a Module that is registered.

ModuleCache.__bases__ = (torch.nn.Module,)
assert isinstance(inputs[1], torch.nn.Module)
check(replaced.module(), ModuleCache)
options["strict"] = False
check(torch.export.export(model, inputs, **options).module(), ModuleCache)

# %%
# No public function takes a registration back, so the classes are removed from the
# registries by hand. The one of the package optree, where it is installed, keeps them:
# define a class again before you register it a second time.

for cls in (PlainCache, ModuleCache, DynamicCache):
    pytree.SUPPORTED_NODES.pop(cls)
    pytree.SUPPORTED_SERIALIZED_TYPES.pop(cls)
    torch.fx._pytree.SUPPORTED_NODES.pop(cls, None)
    torch.fx._pytree.SUPPORTED_NODES_EXACT_MATCH.pop(cls, None)

# %%
# Limitations
# +++++++++++
#
# PyTorch 2.6 exports the dataclass, and runs the program only after
# ``torch.fx._pytree.register_pytree_flatten_spec``, as above. To save the program, give
# the class a name: ``register_dataclass(DynamicCache, serialized_type_name="...")``.
#
# Summary
# +++++++
#
# * A class that carries inputs is a dataclass, registered, and no Module.
# * Look at ``program.graph_signature.user_inputs``: what is not there is a constant.
#
# Next: fields that are None or no tensors, :ref:`l-plot-exporter-inputs-dataclass`;
# inputs that disappear for other reasons, :ref:`l-plot-exporter-wrong-inputs`; the
# program in a file, :ref:`l-plot-exporter-after-save-load`.
