"""
.. _l-plot-exporter-models-encoder-decoder:

Export an encoder-decoder as two programs
=========================================

.. answer::
   :cost: Two programs, and the loop of ``generate`` in your application.

   The encoder runs once, the decoder for each token, and ``generate`` is a Python loop.
   Wrap the two in modules whose inputs and outputs are tensors and lists of tensors: no
   ``EncoderDecoderCache`` crosses the border.

   .. code-block:: diff

      -    torch.export.export(model, (), inputs, strict=False)
      +encoder_program = torch.export.export(
      +    Encoder(model), texts, dynamic_shapes=(both, both), strict=False
      +)
      +decoder_program = torch.export.export(
      +    Decoder(model), example, dynamic_shapes=shapes, strict=False
      +)

   Not your case?

   * One model with a cache: :ref:`l-plot-exporter-models-tiny-llm`.
   * Your own class as an input: :ref:`l-plot-exporter-nn_modules_inputs`.
   * Other entry points than ``forward``: :ref:`l-plot-exporter-modules-method`.

.. meta::
   :keywords: T5, Whisper, BART, encoder decoder, EncoderDecoderCache, cross attention
      cache, speech to text, decoder_input_ids, decoder_inputs_embeds, export generate,
      is_updated, seq2seq
"""

# %%
# The problem
# +++++++++++
#
# A small T5 with random weights. Whisper and BART have the same parts. Its cache
# consists of two: the keys and values of the tokens so far, and those of the encoder's
# output, the *cross* cache.

# sphinx_gallery_tags = ["whole models", "export fails", "how to"]
# sphinx_gallery_wording = "export model.generate of an encoder-decoder model"
# sphinx_gallery_wording = "Found EncoderDecoderCache in output, which is not a known type"
# sphinx_gallery_wording = "ValueError: You have to specify either decoder_input_ids or decoder_inputs_embeds"

import torch
import transformers
from transformers.cache_utils import DynamicCache, DynamicLayer, EncoderDecoderCache

LAYERS, HEADS, WIDTH = 2, 4, 8

torch.manual_seed(0)
config = transformers.T5Config(
    vocab_size=64,
    d_model=32,
    d_kv=WIDTH,
    d_ff=64,
    num_layers=LAYERS,
    num_heads=HEADS,
    decoder_start_token_id=0,
    pad_token_id=0,
    eos_token_id=None,
    tie_word_embeddings=False,
    initializer_factor=3.0,
)
model = transformers.T5ForConditionalGeneration(config).eval().requires_grad_(False)


def make_texts(batch, length):
    input_ids = torch.randint(1, 64, (batch, length))
    mask = torch.ones_like(input_ids)
    mask[0, -2:] = 0
    return input_ids, mask


texts = make_texts(batch=2, length=7)
new = torch.randint(1, 64, (2, 3))
cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
inputs = {"input_ids": texts[0], "attention_mask": texts[1]}
try:
    torch.export.export(model, (), inputs, strict=False)
except ValueError as error:
    print(error)
inputs |= {"decoder_input_ids": new, "past_key_values": cache}
try:
    torch.export.export(model, (), inputs, strict=False)
except ValueError as error:
    print(error)

# %%
# The fix
# +++++++
#
# The cross cache depends on the encoder's output only, so the encoder makes it.


class Encoder(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.encoder, self.decoder = model.encoder, model.decoder

    def forward(self, input_ids, mask):
        states = self.encoder(input_ids=input_ids, attention_mask=mask)[0]
        cross = []
        for block in self.decoder.block:
            attention = block.layer[1].EncDecAttention
            for projection in (attention.k, attention.v):
                heads = projection(states).unflatten(-1, (HEADS, WIDTH))
                cross.append(heads.transpose(1, 2))
        return states, cross


def fill(tensors):
    cache = DynamicCache()
    for keys, values in zip(tensors[::2], tensors[1::2]):
        layer = DynamicLayer()
        layer.keys, layer.values = keys, values
        layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
        cache.layers.append(layer)
    return cache


class Decoder(torch.nn.Module):
    def __init__(self, model, is_updated=True):
        super().__init__()
        self.model, self.is_updated = model, is_updated

    def forward(self, new, states, mask, past, cross):
        cache = EncoderDecoderCache(fill(past), fill(cross))
        cache.is_updated = dict.fromkeys(range(LAYERS), self.is_updated)
        output = self.model(
            decoder_input_ids=new,
            encoder_outputs=(states,),
            attention_mask=mask,
            past_key_values=cache,
        )
        layers = output.past_key_values.self_attention_cache.layers
        return output.logits, [
            t for layer in layers for t in (layer.keys, layer.values)
        ]


both = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
cached = [{0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC}] * (2 * LAYERS)
shapes = (both, both, both, cached, cached)
states, cross = Encoder(model)(*texts)
past = [torch.rand(2, HEADS, 5, WIDTH) for _ in range(2 * LAYERS)]
example = (new, states, texts[1], past, cross)
encoder_program = torch.export.export(
    Encoder(model), texts, dynamic_shapes=(both, both), strict=False
)
decoder_program = torch.export.export(
    Decoder(model), example, dynamic_shapes=shapes, strict=False
)

# %%
# No size of the example is 0 or 1: :ref:`l-plot-exporter-shapes-zero-one`.
#
# Why it happens
# ++++++++++++++
#
# Inputs must be tensors in containers that are registered; lists are
# (``EncoderDecoderCache`` is not). ``is_updated`` is a Python flag that says that the
# cross cache is complete, and its value during the export is part of the program.
# Without it the decoder appends the keys of the text a second time, and their number no
# longer matches the mask.

try:
    torch.export.export(
        Decoder(model, is_updated=False), example, dynamic_shapes=shapes, strict=False
    )
except RuntimeError as error:
    print(str(error).splitlines()[0])

# %%
# Other fixes
# +++++++++++
#
# Without a cache the whole model exports. Each call then encodes the text and reads all
# tokens again. The matrix products of one call (the whole model, encoder, decoder):

input_ids, mask = make_texts(batch=2, length=7)
inputs = {"input_ids": input_ids, "attention_mask": mask}
inputs |= {"decoder_input_ids": input_ids[:, :3].clone(), "use_cache": False}
whole = torch.export.export(model, (), inputs, strict=False)


def products(program):
    names = [str(node.target) for node in program.graph.nodes]
    return sum("linear" in name or "matmul" in name for name in names)


print(products(whole), products(encoder_program), products(decoder_program))
assert products(decoder_program) < products(whole)

# %%
# You can also register the cache classes, as in :ref:`l-plot-exporter-models-tiny-llm`.
#
# Check
# +++++
#
# The two programs in a loop against ``generate``, at other batches and lengths, from an
# empty cache on.

encode, decode = encoder_program.module(), decoder_program.module()


def generate(input_ids, mask, steps):
    states, cross = encode(input_ids, mask)
    past = [torch.zeros(len(input_ids), HEADS, 0, WIDTH)] * (2 * LAYERS)
    text = new = torch.zeros(len(input_ids), 1, dtype=torch.int64)
    for _ in range(steps):
        logits, past = decode(new, states, mask, past, cross)
        new = logits[:, -1:].argmax(dim=-1)
        text = torch.cat([text, new], dim=1)
    return text


for size in [(1, 4), (3, 9), (2, 30)]:
    input_ids, mask = make_texts(*size)
    expected = model.generate(
        input_ids, attention_mask=mask, max_new_tokens=6, do_sample=False
    )
    print(expected[0].tolist())
    torch.testing.assert_close(generate(input_ids, mask, steps=6), expected)

# %%
# A cache for a different batch size is rejected.

try:
    decode(new[:, :1], states, texts[1], [t[:1] for t in past], cross)
except (AssertionError, RuntimeError) as error:
    print(str(error).splitlines()[0])

# %%
# Summary
# +++++++
#
# * One program for what runs once, one for what runs for each token; the loop stays in
#   your application.
# * Set the flags of a cache in the wrapper: their values are frozen.
# * Next: :ref:`l-plot-exporter-wrong-inputs` for other frozen values,
#   :ref:`l-plot-exporter-after-compare` if the tokens differ.
