"""
.. _l-plot-exporter-models-transformers-exporters:

Export with transformers' DynamoExporter: mask and empty cache
==============================================================

.. answer::
   :cost: Two programs instead of one; experimental code of transformers.

   The exporter captures a call of ``generate``, which drops a mask of ones: such a
   program takes no mask. A program for one step takes no empty cache. Export both
   parts, from a text that is padded.

   .. code-block:: diff

      -exported = exporter.export(model, one_step, config=config)
      +text["attention_mask"][0, :2] = 0
      +exported = exporter.export_for_generation(
      +    model, text, config=config, multi_token_decode=True
      +)

   Not your case?

   * PyTorch before 2.11, one program: :ref:`l-plot-exporter-models-tiny-llm`.
   * ONNX, with your own loop: :ref:`l-plot-exporter-onnx-llm`.
   * A cache class of yours: :ref:`l-plot-torch-export-with-dynamic-cache-201`.

.. meta::
   :keywords: transformers.exporters, DynamoExporter, DynamoConfig, OnnxExporter,
      export_for_generation, multi_token_decode, StaticCache, attention_mask,
      convert_and_export_with_cache, TorchExportableModuleWithStaticCache
"""

# %%
# The problem
# +++++++++++
#
# A small Llama with random weights, and one step of a generation. The exporter
# registers the cache and finds the dynamic dimensions.

# sphinx_gallery_tags = ["whole models", "run fails", "how to"]
# sphinx_gallery_needs_torch = "2.11"
# sphinx_gallery_wording = "ValueError: Trying to flatten user inputs with exported input tree spec: TreeSpec(DynamicCache, {'_t': 'obj', 'p': 'transformers.cache_utils:DynamicCache'"
# sphinx_gallery_wording = "program exported with DynamoExporter rejects an empty DynamicCache"
# sphinx_gallery_wording = "export_for_generation has no attention_mask input"

import warnings

import torch
import transformers
from transformers.cache_utils import DynamicCache
from transformers.exporters import DynamoConfig, DynamoExporter
from transformers.integrations.executorch import (
    TorchExportableModuleWithStaticCache,
    convert_and_export_with_cache,
)

warnings.simplefilter("ignore")
transformers.utils.logging.set_verbosity_error()
torch.manual_seed(0)
config = transformers.LlamaConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=4,
    num_key_value_heads=2,
    initializer_range=0.3,
)
model = transformers.LlamaForCausalLM(config).eval().requires_grad_(False)


def make_step(batch, new, past):
    cache = DynamicCache(config=model.config)
    if past:
        cache.update(torch.rand(batch, 2, past, 8), torch.rand(batch, 2, past, 8), 0)
    mask = torch.ones(batch, past + new, dtype=torch.int64)
    ids = torch.randint(0, 64, (batch, new))
    return {"input_ids": ids, "attention_mask": mask, "past_key_values": cache}


exporter, config = DynamoExporter(), DynamoConfig(dynamic=True)
one_step = make_step(batch=2, new=3, past=5)
exported = exporter.export(model, one_step, config=config)
try:
    exported(**make_step(batch=2, new=6, past=0))
except ValueError as error:
    print(*[line[:80] for line in str(error).splitlines()[:5]], sep="\n")

# %%
# Exported from a call of ``generate``, the mask is not among the inputs:


def make_text(batch, length):
    ids = torch.randint(0, 64, (batch, length))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


exported = exporter.export_for_generation(model, make_text(2, 6), config=config)
print(exported.components["prefill"].program.graph_signature.user_inputs)
try:
    exported.runners["prefill"](**make_text(2, 6))
except ValueError as error:
    print(error)

# %%
# The fix
# +++++++
#
# ``multi_token_decode`` keeps the number of new tokens dynamic, too.

exporter, config = DynamoExporter(), DynamoConfig(dynamic=True)
text = make_text(batch=2, length=6)
text["attention_mask"][0, :2] = 0
exported = exporter.export_for_generation(
    model, text, config=config, multi_token_decode=True
)
for name, component in exported.components.items():
    print(name, component.program.graph_signature.user_inputs)

# %%
# Prompt and steps; positions are inputs.


def generate(input_ids, attention_mask, steps):
    text, mask = input_ids, attention_mask
    new, cache = text, DynamicCache(config=model.config)
    for step in range(steps):
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -new.shape[1] :]
        output = exported.runners["decode" if step else "prefill"](
            input_ids=new,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
        )
        cache, new = output.past_key_values, output.logits[:, -1:].argmax(dim=-1)
        text = torch.cat([text, new], dim=1)
        mask = torch.cat([mask, torch.ones_like(new)], dim=1)
    return text


# %%
# Why it happens
# ++++++++++++++
#
# An empty cache `has no tensors
# <https://github.com/huggingface/transformers/pull/37880>`_, one with a step has two per
# layer (:ref:`l-plot-exporter-inputs-structure-mismatch`). A mask of ones does
# not reach ``forward``:

seen = []
hook = model.register_forward_pre_hook(
    lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True
)
options = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
for masked in (0, 2):
    example = make_text(2, 6)
    example["attention_mask"][0, :masked] = 0
    model.generate(**example, max_new_tokens=1, **options)
    print(masked, "padded, a mask:", seen[-1].get("attention_mask") is not None)
hook.remove()

# %%
# `While it traces
# <https://github.com/huggingface/transformers/blob/main/src/transformers/exporters/exporter_dynamo.py>`_,
# the exporter replaces parts of torch and transformers: the signature of ``forward``,
# layers with a sliding window, attention on CPU (`issue 180202
# <https://github.com/pytorch/pytorch/issues/180202>`_). ``labels`` among the inputs raise.

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - You want
#      - Use
#      - Cost
#    * - one program for prompt and steps
#      - ``register_dynamic_cache_export_support``:
#        :ref:`l-plot-exporter-models-tiny-llm`
#      - not with the exporter in one process: the first registration wins
#    * - a cache of fixed size
#      - ``convert_and_export_with_cache``, below
#      - one batch size, one token per call; the program keeps the cache
#    * - a different runtime
#      - ``OnnxExporter``, ``ExecutorchExporter``, ``OpenVINOExporter``
#      - their packages
#
# The cache of fixed size is a buffer of the program. The class has a ``generate`` for
# tests, which `skips a position
# <https://github.com/huggingface/transformers/blob/main/src/transformers/integrations/executorch.py>`_
# after the prompt: from the second token on, its results may silently be wrong. Count
# the positions yourself:

model.generation_config.cache_implementation = "static"
model.generation_config.cache_config = {"batch_size": 1, "max_cache_len": 16}
static = convert_and_export_with_cache(model, strict=False)
model.generation_config.cache_implementation = None
prompt = make_text(batch=1, length=4)
expected = model.generate(**prompt, max_new_tokens=8, **options)
ids, call = prompt["input_ids"], static.module()
for i in range(11):
    logits = call(input_ids=ids[:, i : i + 1], cache_position=torch.tensor([i]))
    if i >= 3:
        ids = torch.cat([ids, logits[:, -1:].argmax(dim=-1)], dim=1)
torch.testing.assert_close(ids, expected)
helper = TorchExportableModuleWithStaticCache.generate(static, ids[:, :4], 8)
print("same tokens:", (helper == expected)[0, 4:].tolist())
assert not torch.equal(helper, expected)

# %%
# Check
# +++++
#
# The reference is ``generate`` of the model, at other batches and lengths.

for batch, length in [(1, 4), (3, 5), (2, 30)]:
    example = make_text(batch, length)
    for masked in (0, length // 2):
        example["attention_mask"][0, :masked] = 0
        expected = model.generate(**example, max_new_tokens=8, **options)
        torch.testing.assert_close(generate(**example, steps=8), expected)

# %%
# A mask that does not cover the text is rejected.

example["position_ids"] = torch.arange(length).repeat(batch, 1)
example["past_key_values"] = DynamicCache(config=model.config)
example["attention_mask"] = example["attention_mask"][:, 1:]
try:
    exported.runners["prefill"](**example)
except (AssertionError, RuntimeError) as error:
    print(str(error).splitlines()[0])

# sphinx_gallery_start_ignore
for registry in (
    torch.utils._pytree.SUPPORTED_NODES,
    torch.utils._pytree.SUPPORTED_SERIALIZED_TYPES,
    torch.fx._pytree.SUPPORTED_NODES,
    torch.fx._pytree.SUPPORTED_NODES_EXACT_MATCH,
):
    for cls in [cls for cls in registry if cls.__module__.startswith("transformers")]:
        registry.pop(cls)
# sphinx_gallery_end_ignore

# %%
# Limitations
# +++++++++++
#
# The exporters need PyTorch 2.11, are experimental, and mark every dimension
# ``Dim.AUTO``: look at ``program.range_constraints``. The example, two texts of six
# tokens, has no size of 0 or 1. With sliding windows a program starts from a cache of
# the same state as the example's only.
#
# Summary
# +++++++
#
# * ``export_for_generation`` from a padded text, then a loop over two runners.
# * Next: :ref:`l-plot-exporter-inputs-from-calls` for the inputs that ``generate``
#   passes, :ref:`l-plot-exporter-wrong-checklist` to check the programs.
