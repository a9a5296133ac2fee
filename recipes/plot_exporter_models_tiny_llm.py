"""
.. _l-plot-exporter-models-tiny-llm:

Export an LLM of transformers with its cache
============================================

``torch.export.export`` refuses the model: ``Unsupported input type <class
'transformers.cache_utils.DynamicCache'>``, or ``Found <class
'transformers.cache_utils.DynamicCache'> in output, which is not a known type``. Or it
accepts the model for one batch, one prompt and one length of the cache.

This page exports a small untrained Llama so that batch, new tokens and cache are
dynamic. The same program reads the prompt and makes the next tokens, and generates the
same text as ``generate``.

.. meta::
   :description: Register DynamicCache as a pytree, mark batch, tokens and cache with
      Dim.DYNAMIC, and use no size of 0 or 1 in the example.
   :keywords: LLM export, DynamicCache, past_key_values, KV cache, transformers, Llama,
      CausalLMOutputWithPast, prefill and decode, greedy generation, attention_mask
"""

# %%
# The model
# +++++++++
#
# A Llama with one layer and random weights: the class and the code are those of the
# large models. ``make_inputs`` makes a call in the middle of a generation: ``new``
# tokens come in, and the cache holds ``past`` tokens for each layer. The mask covers
# both.

# sphinx_gallery_tags = ["whole models", "export fails", "conversion fails"]
# sphinx_gallery_wording = "export a Hugging Face causal language model with past_key_values"
# sphinx_gallery_wording = "exported LLM only works for the sequence length of the example"

import copy

import torch
import transformers
from transformers.cache_utils import DynamicCache, DynamicLayer

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
LAYERS, HEADS, WIDTH = 1, 2, 8

torch.manual_seed(0)
config = transformers.LlamaConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=LAYERS,
    num_attention_heads=4,
    num_key_value_heads=HEADS,
    max_position_embeddings=512,
)
model = transformers.LlamaForCausalLM(config).eval().requires_grad_(False)
print("transformers", transformers.__version__)


def make_inputs(batch, new, past):
    cache = DynamicCache()
    for layer in range(LAYERS):
        keys = torch.rand(batch, HEADS, past, WIDTH)
        cache.update(keys, torch.rand_like(keys), layer)
    return {
        "input_ids": torch.randint(0, 64, (batch, new)),
        "attention_mask": torch.ones(batch, new + past, dtype=torch.int64),
        "past_key_values": cache,
    }


# %%
# The symptoms
# ++++++++++++
#
# With a cache in the inputs, the class is unknown. Without one, the model makes a cache
# by itself and returns it, and the class is unknown on the way out.

inputs = make_inputs(batch=2, new=3, past=5)
try:
    torch.export.export(model, (), inputs, strict=False)
except ValueError as error:
    message = str(error).split(". To")[0]
else:
    message = "This release takes the cache as an input."
print(message)
assert "DynamicCache" in message

prompt = {"input_ids": inputs["input_ids"]}
try:
    torch.export.export(model, (), prompt, strict=False)
except (RuntimeError, ValueError) as error:
    message = str(error).split(". If")[0]
else:
    message = "This release returns the cache."
print(message)
assert "DynamicCache" in message

# %%
# If you need no cache at all, ``model.config.use_cache = False`` is the shortest way
# out. Each new token then costs a run over the whole text.
#
# Step 1: register the cache
# ++++++++++++++++++++++++++
#
# Torch has to know which tensors are in a cache and how to make a cache of them: see
# :ref:`l-plot-torch-export-with-dynamic-cache-201` for what each function does. A class
# can be registered only once, so the registration calls whatever ``unflatten`` is when
# it needs it: step 3 replaces it.

pytree = torch.utils._pytree


def flatten(cache):
    return [t for layer in cache.layers for t in (layer.keys, layer.values)], None


def flatten_with_keys(cache):
    tensors, context = flatten(cache)
    return [(pytree.SequenceKey(i), t) for i, t in enumerate(tensors)], context


def fill_with_update(tensors, context):
    cache = DynamicCache()
    for layer, pair in enumerate(zip(tensors[::2], tensors[1::2])):
        cache.update(*pair, layer)
    return cache


def register():
    unregister()
    pytree.register_pytree_node(
        DynamicCache,
        flatten,
        lambda tensors, context: unflatten(tensors, context),
        serialized_type_name="transformers.DynamicCache",
        flatten_with_keys_fn=flatten_with_keys,
    )
    torch.fx._pytree.register_pytree_flatten_spec(
        DynamicCache, lambda cache, spec: flatten(cache)[0]
    )


def unregister():
    for registry in (
        pytree.SUPPORTED_NODES,
        pytree.SUPPORTED_SERIALIZED_TYPES,
        torch.fx._pytree.SUPPORTED_NODES,
        torch.fx._pytree.SUPPORTED_NODES_EXACT_MATCH,
    ):
        registry.pop(DynamicCache, None)
    pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE.pop("transformers.DynamicCache", None)


unflatten = fill_with_update
register()
program = torch.export.export(model, (), inputs, strict=False)
assert not program.range_constraints
print("exported, for one batch, one number of new tokens and one length of the cache")

# %%
# Step 2: the dynamic dimensions
# ++++++++++++++++++++++++++++++
#
# Four sizes vary: batch, new tokens, tokens of the cache, and their sum in the mask.
# Names would be natural, but a sum of two of them cannot be written down.

Dim = torch.export.Dim
try:
    total = Dim("new") + Dim("past")
except NotImplementedError as error:
    message = str(error)
else:
    message = "This release adds dimensions."
print(message)
assert "an integer was expected" in message

# %%
# Names for all four are refused as well. The example shows why: 2 new tokens and 2 in
# the cache are the smallest, so the sum is 4 at least.


def shapes(batch, new, total, past):
    return {
        "input_ids": {0: batch, 1: new},
        "attention_mask": {0: batch, 1: total},
        "past_key_values": [{0: batch, 2: past}] * (2 * LAYERS),
    }


batch, past = Dim("batch", max=64), Dim("past", max=256)
named = shapes(batch, Dim("new", max=256), Dim("total", max=512), past)
try:
    torch.export.export(model, (), inputs, dynamic_shapes=named, strict=False)
except torch._dynamo.exc.UserError as error:
    message = "\n".join(str(error).splitlines()[:2])
else:
    message = "This release exports it."
print(message)
assert "Constraints violated" in message and "4 <= " in message

# %%
# ``Dim.DYNAMIC`` leaves it to the exporter to find how the sizes are related, and still
# fails if one of them turns static.

DYNAMIC = Dim.DYNAMIC
dynamic = shapes(DYNAMIC, DYNAMIC, DYNAMIC, DYNAMIC)
program = torch.export.export(model, (), inputs, dynamic_shapes=dynamic, strict=False)
names = program.graph_signature.user_inputs
for node in program.graph.nodes:
    if node.name in names:
        print(node.name, [str(size) for size in node.meta["val"].shape])
        assert not str(node.meta["val"].shape[0]).isdigit()

# %%
# The example must have no size of 0 or 1: a batch of one, or one new token, would be
# constants (:ref:`l-plot-exporter-shapes-zero-one`). This is the call that everybody
# has at hand. Since 2.8 it is an error; before, the program takes one sample and one
# token.

one = make_inputs(batch=1, new=1, past=5)
try:
    torch.export.export(model, (), one, dynamic_shapes=dynamic, strict=False)
except ValueError as error:
    message = "\n".join(str(error).splitlines()[:2])
else:
    message = "This release exports it."
print(message)
assert message.startswith("This release") == (RELEASE < (2, 8)), message

# %%
# Step 3: a cache that can be made without an operator
# ++++++++++++++++++++++++++++++++++++++++++++++++++++
#
# The program runs. The next tool in line often calls ``run_decompositions``, among them
# the ONNX exporter, and that fails up to 2.13.

try:
    program.run_decompositions({})
except (IndexError, torch._export.verifier.SpecViolationError) as error:
    message = f"{type(error).__name__}: {error}"
else:
    message = "decomposed"
print(message)
assert (message == "decomposed") == (RELEASE >= (2, 14)), message

# %%
# The cause is ``fill_with_update``: ``update`` begins with an empty tensor and
# concatenates. The empty tensors are constants that the trace did not expect. Fill the
# layers instead, and there is none. This works on all releases of this page.


def fill(tensors, context):
    cache = DynamicCache()
    for keys, values in zip(tensors[::2], tensors[1::2]):
        layer = DynamicLayer()
        layer.keys, layer.values = keys, values
        layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
        cache.layers.append(layer)
    return cache


unflatten = fill
program = torch.export.export(model, (), inputs, dynamic_shapes=dynamic, strict=False)
decomposed = program.run_decompositions({})
print("decomposed:", len(decomposed.graph.nodes), "nodes")
assert not decomposed.constants.keys() - program.constants.keys()

# %%
# The check
# +++++++++
#
# One step after the other, as in a generation: other batches, one new token, a long
# cache, an empty cache for the prompt. None of these sizes was traced.

exported = program.module()


def compare(inputs):
    expected = model(**copy.deepcopy(inputs))
    result = exported(**copy.deepcopy(inputs))
    torch.testing.assert_close(result.logits, expected.logits)
    torch.testing.assert_close(
        flatten(result.past_key_values)[0], flatten(expected.past_key_values)[0]
    )


for batch, new, past in [(1, 1, 7), (3, 4, 9), (3, 1, 30), (2, 6, 0)]:
    compare(make_inputs(batch, new, past))
    print(f"batch {batch}, {new} new, {past} in the cache: same result")

# %%
# A batch of texts of several lengths is padded on the left, and the mask says so.

padded = make_inputs(batch=2, new=4, past=6)
padded["attention_mask"][0, :3] = 0
compare(padded)

# %%
# Greedy generation with the program, from an empty cache, against ``generate``.


def generate(input_ids, steps):
    empty = torch.zeros(input_ids.shape[0], HEADS, 0, WIDTH)
    cache, new, text = fill([empty] * (2 * LAYERS), None), input_ids, input_ids
    for _ in range(steps):
        output = exported(
            input_ids=new,
            attention_mask=torch.ones_like(text),
            past_key_values=cache,
        )
        cache, new = output.past_key_values, output.logits[:, -1:].argmax(dim=-1)
        text = torch.cat([text, new], dim=1)
    return text


ids = torch.randint(0, 64, (3, 4))
options = {"do_sample": False, "max_new_tokens": 8}
options |= {"pad_token_id": 0, "eos_token_id": None}
expected = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
text = generate(ids, steps=8)
print(text[0].tolist())
torch.testing.assert_close(text, expected)

# %%
# What it refuses
# +++++++++++++++
#
# Fewer than four tokens in all, since the example said that 2 and 2 are the smallest
# sizes. A prompt of one token has to be padded.

try:
    exported(**make_inputs(batch=1, new=1, past=1))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs it."
print(message)
assert ">= 4" in message, message

# %%
# And a mask that does not cover the cache and the new tokens. Up to 2.8 the relation of
# the sizes is not checked, and the message is one of an operator.

wrong = make_inputs(batch=2, new=3, past=5)
wrong["attention_mask"] = wrong["attention_mask"][:, 1:]
try:
    exported(**wrong)
except (AssertionError, IndexError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print(message)
assert "Guard failed" in message or "out of bounds" in message, message

# %%
# The registration ends with this page.

unregister()
assert DynamicCache not in pytree.SUPPORTED_NODES

# %%
# To remember
# +++++++++++
#
# * Register ``DynamicCache``, and rebuild it without ``update``.
# * ``Dim.DYNAMIC`` for batch, new tokens, mask and cache; an example with a batch of 2,
#   3 new tokens and 5 in the cache.
# * One program serves the prompt (an empty cache) and each step (one new token).
#
# Next: :ref:`l-plot-torch-export-with-dynamic-cache-201` for the registration,
# :ref:`l-plot-exporter-shapes-zero-one` for sizes of 1,
# :ref:`l-plot-exporter-models-encoder-decoder` for a model in two parts, and
# :ref:`l-plot-exporter-onnx-validate` for the same program in ONNX.
