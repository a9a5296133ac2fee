"""
.. _l-plot-exporter-onnx-llm:

Run an LLM with its cache in onnxruntime: prefill and decoding
==============================================================

.. answer::
   :cost: Nothing at run time. The loop is yours, and the file checks few sizes.

   The file takes tensors only, and the cache is a class. Take and return it as a list
   of tensors, and give each a name in the same order: mixed up, keys and values have
   the same shape, and only the tokens after the first are wrong.

   .. code-block:: diff

      -torch.onnx.export(model, (), kwargs=make_call(2, 3, 5), **new_exporter)
      +program = torch.export.export(
      +    Step(model), make_inputs(2, 3, 5), dynamic_shapes=shapes, strict=False
      +)
      +names = {"input_names": INPUTS, "output_names": OUTPUTS, "dynamic_shapes": axes}
      +onnx_program = torch.onnx.export(program, (), **names, **new_exporter)

   Not your case?

   * No ONNX: :ref:`l-plot-exporter-models-tiny-llm`.
   * Encoder and decoder: :ref:`l-plot-exporter-models-encoder-decoder`.
   * Which node differs? :ref:`l-plot-exporter-onnx-find-node`.

.. meta::
   :keywords: ONNX LLM, onnxruntime generate, past_key_values.0.key, present.0.value,
      KV cache in ONNX, use_cache_branch, position_ids, GatherND, prefill, decode,
      DynamicCache ONNX, optimum, text-generation-with-past
"""

# %%
# The problem
# +++++++++++
#
# A small Llama with two layers and random weights. The export of a call with a cache
# fails in the first step.

# sphinx_gallery_tags = ["onnx", "conversion fails", "wrong without an error", "how to"]
# sphinx_gallery_needs_torch = "2.7"
# sphinx_gallery_wording = "ONNX model generates garbage after the first token"
# sphinx_gallery_wording = "ONNX LLM with KV cache gives different tokens than generate"
# sphinx_gallery_wording = "Non-zero status code returned while running GatherND node. Status Message: invalid index found, index = 1"
# sphinx_gallery_wording = "Required inputs (['past_key_values.0.key', 'past_key_values.0.value']) are missing from input feed (['input_ids', 'attention_mask'])."
# sphinx_gallery_wording = "names of the past_key_values inputs and present outputs in an ONNX file"

import onnxruntime
import torch
import transformers
from torch.export import Dim
from transformers.cache_utils import DynamicCache, DynamicLayer

LAYERS, HEADS, WIDTH = 2, 2, 8

torch.manual_seed(0)
config = transformers.LlamaConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=LAYERS,
    num_attention_heads=4,
    num_key_value_heads=HEADS,
    initializer_range=0.3,
)
model = transformers.LlamaForCausalLM(config).eval().requires_grad_(False)


def make_cache(tensors):
    cache = DynamicCache()
    for keys, values in zip(tensors[::2], tensors[1::2]):
        layer = DynamicLayer()
        layer.keys, layer.values = keys, values
        layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
        cache.layers.append(layer)
    return cache


def make_inputs(batch, new, past):
    ids = torch.randint(0, 64, (batch, new))
    mask = torch.ones(batch, past + new, dtype=torch.int64)
    cache = [torch.randn(batch, HEADS, past, WIDTH) for _ in range(2 * LAYERS)]
    return ids, mask, cache


def make_call(batch, new, past):
    ids, mask, cache = make_inputs(batch, new, past)
    cache = make_cache(cache)
    return {"input_ids": ids, "attention_mask": mask, "past_key_values": cache}


new_exporter = {"dynamo": True, "verbose": False}
try:
    torch.onnx.export(model, (), kwargs=make_call(2, 3, 5), **new_exporter)
except torch.onnx.OnnxExporterError as error:
    print(error.__cause__)

# %%
# The fix
# +++++++
#
# The names are those that optimum and onnxruntime's own tools use. ``axes`` names the
# dimensions of the file; ``shapes`` lets torch find how they are related.


class Step(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, past):
        output = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=make_cache(past),
        )
        layers = output.past_key_values.layers
        return output.logits, [t for la in layers for t in (la.keys, la.values)]


CACHE = [f"{i}.{kind}" for i in range(LAYERS) for kind in ("key", "value")]
INPUTS = ["input_ids", "attention_mask"]
INPUTS += [f"past_key_values.{name}" for name in CACHE]
OUTPUTS = ["logits", *(f"present.{name}" for name in CACHE)]


def make_shapes(batch, new, total, past):
    cache = [{0: batch, 2: past}] * (2 * LAYERS)
    return {0: batch, 1: new}, {0: batch, 1: total}, cache


shapes = make_shapes(*[Dim.DYNAMIC] * 4)
axes = make_shapes(Dim("batch"), Dim("new"), Dim("total"), Dim("past"))
program = torch.export.export(
    Step(model), make_inputs(2, 3, 5), dynamic_shapes=shapes, strict=False
)
names = {"input_names": INPUTS, "output_names": OUTPUTS, "dynamic_shapes": axes}
onnx_program = torch.onnx.export(program, (), **names, **new_exporter)
file = onnx_program.model_proto.SerializeToString()
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
for value in (*session.get_inputs(), *session.get_outputs()):
    print(value.name, value.shape)

# %%
# One file serves the prompt, with an empty cache, and each step, with one new token.


def generate(text, steps, outputs=OUTPUTS):
    empty = torch.zeros(len(text), HEADS, 0, WIDTH).numpy()
    cache, new = dict.fromkeys(INPUTS[2:], empty), text
    for _ in range(steps):
        feed = {
            "input_ids": new.numpy(),
            "attention_mask": torch.ones_like(text).numpy(),
        }
        logits, *tensors = session.run(outputs, feed | cache)
        cache = dict(zip(INPUTS[2:], tensors))
        new = torch.from_numpy(logits)[:, -1:].argmax(dim=-1)
        text = torch.cat([text, new], dim=1)
    return text


text = torch.randint(0, 64, (3, 5))
generated = generate(text, steps=8)

# %%
# Why it happens
# ++++++++++++++
#
# A class is taken apart into tensors if it is registered (`issue 153998
# <https://github.com/pytorch/pytorch/issues/153998>`_). ``DynamicCache`` can
# be (:ref:`l-plot-exporter-models-tiny-llm`), but up to PyTorch 2.13 the second step
# then fails: ``Failed to decompose the FX graph``. With 2.15 it succeeds, and all
# keys come before all values. Names are `assigned by position
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/onnx/_internal/exporter/_ir_passes.py#L22>`_,
# so ``INPUTS`` would name them wrongly. What a wrong name does:

order = [
    "logits",
    "present.0.key",
    "present.1.key",
    "present.0.value",
    "present.1.value",
]
mixed = generate(text, steps=8, outputs=order)
print("as they should be:", generated[0, 5:].tolist())
print("in another order: ", mixed[0, 5:].tolist())
assert torch.equal(mixed[:, :6], generated[:, :6]) and not torch.equal(mixed, generated)

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
#    * - positions are learned (GPT-2) and texts are padded on the left
#      - ``position_ids`` as an input, ``(mask.cumsum(1) - 1).clamp(min=0)``; clone
#        it in the example, if it is a slice
#      - one more input
#    * - copying the cache is slow
#      - ``session.io_binding()``
#      - more code
#    * - you want no loop of your own
#      - ``OnnxExporter`` of transformers
#      - experimental
#
# Check
# +++++
#
# The text against ``generate`` of transformers, and every output against the model, at
# sizes that were not traced.

options = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
mask = torch.ones_like(text)
expected = model.generate(text, attention_mask=mask, max_new_tokens=8, **options)
assert torch.equal(generated, expected)


def make_feed(inputs):
    leaves = torch.utils._pytree.tree_leaves(inputs)
    return dict(zip(INPUTS, [tensor.numpy() for tensor in leaves], strict=True))


for batch, new, past in [(1, 1, 7), (3, 4, 9), (3, 1, 30), (2, 6, 0)]:
    inputs = make_inputs(batch, new, past)
    inputs[1][0, : past // 2] = 0  # the first text is padded on the left
    logits, *cache = map(torch.from_numpy, session.run(None, make_feed(inputs)))
    ids, mask, past = inputs
    reference = model(ids, attention_mask=mask, past_key_values=make_cache(past))
    torch.testing.assert_close(logits, reference.logits, atol=1e-4, rtol=1e-4)
    for i, layer in enumerate(reference.past_key_values.layers):
        torch.testing.assert_close(cache[2 * i], layer.keys, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(cache[2 * i + 1], layer.values, atol=1e-4, rtol=1e-4)

# %%
# A call without the cache is rejected, and a mask for the new tokens only.

feed = make_feed(make_inputs(2, 1, 5))
try:
    session.run(None, {name: feed[name] for name in INPUTS[:2]})
except ValueError as error:
    print(error)
try:
    session.run(None, feed | {"attention_mask": feed["attention_mask"][:, -1:]})
except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# The program compares the sizes of its inputs, the file does not: with a cache of five
# tokens and one new token, a mask of seven is accepted. Count the tokens in your loop.

longer = torch.ones(2, 7, dtype=torch.int64).numpy()
assert session.run(["logits"], feed | {"attention_mask": longer})[0].shape == (2, 1, 64)

# %%
# Summary
# +++++++
#
# * A list of tensors in and out; names in the order of the tensors; one file for prompt
#   and steps. Compare more than the first token.
# * Next: :ref:`l-plot-exporter-onnx-validate` for the axes,
#   :ref:`l-plot-exporter-onnx-find-node` if values differ,
#   :ref:`l-plot-exporter-inputs-from-calls` to see what an application passes.
