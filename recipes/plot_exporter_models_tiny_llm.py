"""
.. _l-plot-exporter-models-tiny-llm:

Export an LLM of transformers with its DynamicCache
===================================================

.. answer::
   :cost: Nothing at run time. The program wants four tokens or more, cached and new.

   Torch does not know the class of the cache; transformers has a function that registers
   it. Batch, new tokens, mask and cache vary: ``Dim.DYNAMIC`` for all of them, and an
   example without a size of 0 or 1.

   .. code-block:: diff

      +register_dynamic_cache_export_support()
      -inputs = make_inputs(batch=1, new=1, past=5)
      -torch.export.export(model, (), inputs, strict=False)
      +inputs = make_inputs(batch=2, new=3, past=5)
      +program = torch.export.export(model, (), inputs, dynamic_shapes=shapes, strict=False)

   Not your case?

   * The cache is a class of yours: :ref:`l-plot-torch-export-with-dynamic-cache-201`.
   * Encoder and decoder: :ref:`l-plot-exporter-models-encoder-decoder`.
   * ``run_decompositions`` or ONNX fails, sliding windows: see *Other fixes*.

.. meta::
   :keywords: LLM export, DynamicCache, past_key_values, KV cache, transformers, Llama,
      CausalLMOutputWithPast, prefill and decode, greedy generation, attention_mask,
      sliding window, Mistral, StaticCache, register_dynamic_cache_export_support
"""

# %%
# The problem
# +++++++++++
#
# A small Llama with random weights; the classes are those of the large models. The call
# is one step of a generation: ``new`` tokens, and a cache of ``past`` tokens.

# sphinx_gallery_tags = ["whole models", "export fails", "conversion fails"]
# sphinx_gallery_wording = "export a Hugging Face causal language model with past_key_values"
# sphinx_gallery_wording = "exported LLM only works for the sequence length of the example"

import copy

import torch
import transformers
from torch.export import Dim
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.integrations.executorch import (
    register_dynamic_cache_export_support,
)

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
torch.manual_seed(0)
config = transformers.LlamaConfig(**SIZES)
model = transformers.LlamaForCausalLM(config).eval().requires_grad_(False)


def make_inputs(batch, new, past, cls=DynamicCache, config=config):
    cache = cls(config=config)
    keys = torch.rand(batch, 2, past, 8)
    cache.update(keys, torch.rand_like(keys), 0)
    return {
        "input_ids": torch.randint(0, 64, (batch, new)),
        "attention_mask": torch.ones(batch, new + past, dtype=torch.int64),
        "past_key_values": cache,
    }


inputs = make_inputs(batch=1, new=1, past=5)
try:
    torch.export.export(model, (), inputs, strict=False)
except ValueError as error:
    print(error)

# %%
# Without a cache among the inputs the model makes one, and fails when it returns it.

prompt = {"input_ids": inputs["input_ids"]}
try:
    torch.export.export(model, (), prompt, strict=False)
except (RuntimeError, ValueError) as error:
    print(error)

# %%
# The fix
# +++++++
#
# The cache is a list of the keys of all layers, and one of the values.

register_dynamic_cache_export_support()
inputs = make_inputs(batch=2, new=3, past=5)
tokens = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
cached = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC}
shapes = {
    "input_ids": tokens,
    "attention_mask": tokens,
    "past_key_values": [[cached], [cached]],
}
program = torch.export.export(model, (), inputs, dynamic_shapes=shapes, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# The exporter takes the inputs apart into tensors, with `what is registered for a class
# <https://github.com/huggingface/transformers/blob/main/src/transformers/integrations/executorch.py>`_.
# ``Dim.DYNAMIC`` lets it find how the sizes are related; the mask has the sum of two.

for node in program.graph.nodes:
    if node.name in program.graph_signature.user_inputs:
        print(node.name, [str(size) for size in node.meta["val"].shape])

# %%
# A batch of one and one new token, the call that everybody has at hand, would become
# constants (:ref:`l-plot-exporter-shapes-zero-one`). PyTorch 2.7 and earlier make them so
# silently.

one = make_inputs(batch=1, new=1, past=5)
try:
    torch.export.export(model, (), one, dynamic_shapes=shapes, strict=False)
except ValueError as error:
    print("\n".join(str(error).splitlines()[:3]))

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
#    * - you need no cache
#      - ``model.config.use_cache = False``
#      - each token costs a run over the whole text
#    * - ``run_decompositions`` or ONNX fails (PyTorch 2.13 and earlier), with
#        ``lifted_tensor_2 is not in the constants dictionary``
#      - a class that is put together without an operator, as below
#      - code that follows the versions of transformers
#    * - you want names
#      - ``Dim("total", min=4, max=512)`` for the mask, as torch suggests, and one name
#        for each of the others
#      - none
#    * - the cache has a fixed length
#      - ``TorchExportableModuleWithStaticCache`` of transformers
#      - the cache is part of the program, for one batch size; its own ``generate`` skips a
#        position: :ref:`l-plot-exporter-models-transformers-exporters`
#    * - the model has sliding windows
#      - ``StaticCache``; or the exporters of ``transformers.exporters``
#      - see *Limitations*
#
# The registration of transformers calls ``update``, which concatenates to an empty
# tensor; this tensor is the constant that the trace did not expect. A subclass that is
# filled layer by layer has none.


class ExportCache(DynamicCache):
    pass


def flatten(cache):
    if any(type(layer) is not DynamicLayer for layer in cache.layers):
        raise TypeError("ExportCache has plain layers only, no sliding windows")
    return [t for layer in cache.layers for t in (layer.keys, layer.values)], None


def unflatten(tensors, context):
    cache = ExportCache()
    for keys, values in zip(tensors[::2], tensors[1::2]):
        layer = DynamicLayer()
        layer.keys, layer.values = keys, values
        layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
        cache.layers.append(layer)
    return cache


def flatten_with_keys(cache):
    tensors, context = flatten(cache)
    keys = [torch.utils._pytree.SequenceKey(i) for i in range(len(tensors))]
    return list(zip(keys, tensors)), context


torch.utils._pytree.register_pytree_node(
    ExportCache,
    flatten,
    unflatten,
    serialized_type_name="mine.ExportCache",
    flatten_with_keys_fn=flatten_with_keys,
)
torch.fx._pytree.register_pytree_flatten_spec(  # PyTorch 2.6 only
    ExportCache, lambda cache, spec: flatten(cache)[0]
)

filled = torch.export.export(
    model,
    (),
    make_inputs(2, 3, 5, cls=ExportCache),
    dynamic_shapes={**shapes, "past_key_values": [cached, cached]},
    strict=False,
)
decomposed = filled.run_decompositions({})
try:
    program.run_decompositions({})
except (IndexError, torch._export.verifier.SpecViolationError) as error:
    print(error)

# %%
# Check
# +++++
#
# The reference is the model: other batches, one new token, a long cache, an empty one
# for the prompt, and a text that is padded on the left.


def compare(call, inputs):
    expected = model(**copy.deepcopy(inputs))
    result = call(**copy.deepcopy(inputs))
    torch.testing.assert_close(result.logits, expected.logits)
    for layer, other in zip(
        result.past_key_values.layers, expected.past_key_values.layers
    ):
        torch.testing.assert_close(layer.keys, other.keys)
        torch.testing.assert_close(layer.values, other.values)


exported = program.module()
steps = decomposed.module()
for batch, new, past in [(1, 1, 7), (3, 4, 9), (3, 1, 30), (2, 6, 0)]:
    compare(exported, make_inputs(batch, new, past))
    compare(steps, make_inputs(batch, new, past, cls=ExportCache))
padded = make_inputs(batch=2, new=4, past=6)
padded["attention_mask"][0, :3] = 0
compare(exported, padded)

# %%
# Greedy generation with the program, from an empty cache, against ``generate``.


def generate(text, count):
    new = text
    cache = make_inputs(len(text), 1, 0)["past_key_values"]
    for _ in range(count):
        mask = torch.ones_like(text)
        output = exported(input_ids=new, attention_mask=mask, past_key_values=cache)
        cache, new = output.past_key_values, output.logits[:, -1:].argmax(dim=-1)
        text = torch.cat([text, new], dim=1)
    return text


ids = torch.randint(0, 64, (3, 4))
options = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
expected = model.generate(
    ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, **options
)
assert torch.equal(generate(ids, 8), expected)

# %%
# Three tokens in all are rejected, and a mask that does not cover the cache.

short, wrong = make_inputs(1, 2, 1), make_inputs(2, 3, 5)
wrong["attention_mask"] = wrong["attention_mask"][:, 1:]
for rejected in (short, wrong):
    try:
        exported(**rejected)
    except (AssertionError, IndexError, RuntimeError) as error:
        print(str(error).splitlines()[0])

# %%
# Limitations
# +++++++++++
#
# A layer with a sliding window cuts its cache, to three tokens here, so the length is a
# constant, and ``Dim.DYNAMIC`` raises. With ``Dim.AUTO``, and with PyTorch 2.7 and earlier,
# there is no error, and the result is wrong even for the example: do not export such a
# model with a cache that grows.

sliding = transformers.MistralConfig(**SIZES, sliding_window=4)
mistral = transformers.MistralForCausalLM(sliding).eval().requires_grad_(False)
for cls in (DynamicCache, ExportCache):
    windowed = make_inputs(2, 3, 5, cls=cls, config=sliding)
    try:
        torch.export.export(mistral, (), windowed, dynamic_shapes=shapes, strict=False)
    except (TypeError, ValueError) as error:
        print("\n".join(str(error).splitlines()[:2]))

# sphinx_gallery_start_ignore
for registry in (
    torch.utils._pytree.SUPPORTED_NODES,
    torch.utils._pytree.SUPPORTED_SERIALIZED_TYPES,
    torch.fx._pytree.SUPPORTED_NODES,
    torch.fx._pytree.SUPPORTED_NODES_EXACT_MATCH,
):
    registry.pop(DynamicCache, None)
# sphinx_gallery_end_ignore

# %%
# Summary
# +++++++
#
# * Register ``DynamicCache``; ``Dim.DYNAMIC`` for batch, new tokens, mask and cache; an
#   example of 2, 3 and 5.
# * One program serves the prompt (an empty cache) and each step (one new token).
#
# Next: :ref:`l-plot-exporter-inputs-from-calls` for the inputs that ``generate`` passes,
# :ref:`l-plot-exporter-onnx-llm` for the file in ONNX,
# :ref:`l-plot-exporter-models-transformers-exporters` for what transformers has itself,
# :ref:`l-plot-exporter-wrong-state` to compare designs of a cache.
