"""
.. _l-plot-exporter-models-encoder-decoder:

Export an encoder-decoder in its parts
======================================

One export of the whole model fails with ``Unsupported input type <class
'transformers.cache_utils.EncoderDecoderCache'>``, or gives a program that encodes the
input again for each new token. ``generate`` itself cannot be exported: it is a loop
that Python decides about.

This page exports a small untrained T5 as two programs, an encoder that runs once and a
decoder that runs for each token, and generates the same text as ``generate``. Whisper,
BART and their like have the same parts.

.. meta::
   :description: Wrap encoder and decoder as two modules whose inputs and outputs are
      tensors, and pass both caches as lists of tensors.
   :keywords: T5, Whisper, BART, encoder decoder, EncoderDecoderCache, cross attention
      cache, speech to text, decoder_input_ids, export generate, is_updated
"""

# %%
# The model
# +++++++++
#
# A T5 with random weights and two layers on each side.

# sphinx_gallery_tags = ["whole models", "export fails", "how to"]
# sphinx_gallery_wording = "export model.generate of an encoder-decoder model"
# sphinx_gallery_wording = "Found EncoderDecoderCache in output, which is not a known type"

import torch
import transformers
from transformers.cache_utils import DynamicCache, DynamicLayer, EncoderDecoderCache

LAYERS, HEADS, WIDTH = 2, 4, 8
DYNAMIC = torch.export.Dim.DYNAMIC

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
print("transformers", transformers.__version__)


def make_texts(batch, length):
    """Random texts; the last two tokens of the first one are padding."""
    input_ids = torch.randint(1, 64, (batch, length))
    mask = torch.ones_like(input_ids)
    mask[0, -2:] = 0
    return input_ids, mask


# %%
# The symptom
# +++++++++++
#
# The model takes texts of both sides, and a cache that consists of two: the keys and
# values of the tokens so far, and those of the encoder's output, the *cross* cache.

input_ids, mask = make_texts(batch=2, length=7)
cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
inputs = {"input_ids": input_ids, "attention_mask": mask}
inputs |= {"decoder_input_ids": input_ids[:, :3].clone(), "past_key_values": cache}
try:
    torch.export.export(model, (), inputs, strict=False)
except ValueError as error:
    message = str(error).split(". To")[0]
else:
    message = "This release takes the cache as an input."
print(message)
assert "EncoderDecoderCache" in message

# %%
# Without any cache the whole model is exported. It encodes the text and reads all
# tokens from the start at each step, so the work for a token grows with their number.
# These are the products of matrices for one step:

inputs.pop("past_key_values")
inputs["use_cache"] = False
whole = torch.export.export(model, (), inputs, strict=False)


def products(program):
    targets = [str(node.target) for node in program.graph.nodes]
    return sum("linear" in name or "matmul" in name for name in targets)


print(products(whole), "products")
assert products(whole) > 0

# %%
# The parts
# +++++++++
#
# What must run once is one module: the encoder, and the cross cache, which depends on
# nothing but the encoder's output. Inputs and outputs are tensors and lists of tensors,
# so no class has to be registered. (The other way is to register the classes, as in
# :ref:`l-plot-exporter-models-tiny-llm`.)


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


# %%
# What runs for each token is the other: it puts the lists into a cache, and takes the
# new list out of it. ``is_updated`` says that the cross cache is complete.


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


# %%
# All sizes are dynamic: batch, length of the text, new tokens and tokens so far. The
# example has none of 0 or 1.

both = {0: DYNAMIC, 1: DYNAMIC}
encoder_program = torch.export.export(
    Encoder(model), (input_ids, mask), dynamic_shapes=(both, both), strict=False
)
states, cross = Encoder(model)(input_ids, mask)
past = [torch.rand(2, HEADS, 5, WIDTH) for _ in range(2 * LAYERS)]
example = (input_ids[:, :3].clone(), states, mask, past, cross)
cached = [{0: DYNAMIC, 2: DYNAMIC}] * (2 * LAYERS)
shapes = (both, both, both, cached, cached)
decoder_program = torch.export.export(
    Decoder(model), example, dynamic_shapes=shapes, strict=False
)
print(products(encoder_program), "products, once")
print(products(decoder_program), "products for each token")
assert products(decoder_program) < products(whole)

# %%
# A cache that is not marked
# ++++++++++++++++++++++++++
#
# ``is_updated`` is a flag of Python: its value during the export is part of the
# program. In a cache without the mark, the decoder computes keys and values of the text
# again and appends them. It then attends to twice as many positions as the mask has,
# and the message shows the sum of the two sizes.

try:
    torch.export.export(
        Decoder(model, is_updated=False), example, dynamic_shapes=shapes, strict=False
    )
except RuntimeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release exports it."
print(message)
assert " + " in message, message

# %%
# The check
# +++++++++
#
# The two programs, in a loop, against ``generate``: other batches and lengths, from an
# empty cache on, one token at a time.

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


for batch, length in [(1, 4), (3, 9), (2, 30)]:
    texts = make_texts(batch, length)
    expected = model.generate(
        texts[0], attention_mask=texts[1], max_new_tokens=6, do_sample=False
    )
    text = generate(*texts, steps=6)
    print(f"batch {batch}, length {length}: {text[0].tolist()}")
    torch.testing.assert_close(text, expected)

# %%
# What it refuses
# +++++++++++++++
#
# Caches of another batch than the text. Since 2.9 the program says so before it starts.

mixed = [t[:1] for t in past]
try:
    decode(input_ids[:, :1], states, mask, mixed, cross)
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print(message)
assert message != "This release runs it."

# %%
# To remember
# +++++++++++
#
# * One program for what runs once, one for what runs for each token; the loop stays in
#   Python, or in the application.
# * Lists of tensors need no registration.
# * Flags inside of a cache are frozen: set them in the wrapper.
#
# Next: :ref:`l-plot-exporter-models-tiny-llm` for one model with a cache,
# :ref:`l-plot-exporter-modules-method` for several entry points of one model, and
# :ref:`l-plot-exporter-wrong-inputs` for values that are frozen.
