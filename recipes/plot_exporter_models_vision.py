"""
.. _l-plot-exporter-models-vision:

Export a vision model for any image size
========================================

The exported ViT takes one image size: the export says ``your code specialized it to be
a constant (32)``, or the program says ``Guard failed: pixel_values.size()[3] ==
pixel_values.size()[2]`` for an image that is not a square. Or it refuses the very size
that the model was trained with.

This page exports two small untrained models of transformers, a vision transformer and a
ConvNet, with a dynamic batch, height and width.

.. meta::
   :description: Ask for interpolate_pos_encoding, drop the shortcut for the native size,
      and export with an image that is not a square.
   :keywords: ViT dynamic image size, interpolate_pos_encoding, position embeddings,
      pixel_values, ConvNext, dynamic height and width, patches, image classification
"""

# %%
# The models
# ++++++++++
#
# A vision transformer cuts the image into patches of 8 by 8. It was made for images of
# 32 by 32, hence it has 16 positions. The ConvNet has no positions.

# sphinx_gallery_tags = ["whole models", "export fails", "run fails"]
# sphinx_gallery_wording = "exported ViT only works for the training resolution"
# sphinx_gallery_wording = "Input image size (48*40) doesn't match model (32*32)."

import torch
import transformers
from transformers.models.vit.modeling_vit import ViTEmbeddings

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
Dim = torch.export.Dim

torch.manual_seed(0)
config = transformers.ViTConfig(
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    image_size=32,
    patch_size=8,
)
vit = transformers.ViTModel(config).eval().requires_grad_(False)
config = transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)
convnext = transformers.ConvNextModel(config).eval().requires_grad_(False)
native, other = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 48, 40)

# %%
# The symptom
# +++++++++++
#
# With names for height and width the export fails. Here the exporter is right: the
# model itself refuses any other size.

batch = Dim("batch", max=64)
height, width = Dim("height", max=512), Dim("width", max=512)
named = {"pixel_values": {0: batch, 2: height, 3: width}}
try:
    torch.export.export(vit, (native,), dynamic_shapes=named, strict=False)
except torch._dynamo.exc.UserError as error:
    message = "\n".join(line.split(". If")[0] for line in str(error).splitlines()[:3])
else:
    message = "This release exports it."
print(message)
assert "constant (32)" in message

try:
    vit(other)
except ValueError as error:
    message = str(error)
else:
    message = "This version of transformers takes the image."
print(message)
assert "48*40" in message

# %%
# ``interpolate_pos_encoding=True`` asks the model to resize its positions. Eager then
# takes any size. The program that was made with a square image takes squares.

options = {"interpolate_pos_encoding": True}
dynamic = {
    "pixel_values": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},
    "interpolate_pos_encoding": None,
}


def export(model, image):
    return torch.export.export(
        model, (image,), options, dynamic_shapes=dynamic, strict=False
    )


def sizes(program):
    nodes = [node for node in program.graph.nodes if node.name == "pixel_values"]
    return [str(size) for size in nodes[0].meta["val"].shape]


program = export(vit, native)
print(sizes(program))
assert sizes(program)[2] == sizes(program)[3]
try:
    program.module()(other, **options)
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs it."
print(message)
assert message != "This release runs it."

# %%
# And the program that was made with 48 by 40 refuses the native size, since 2.9.
# Before, nothing checks.

program = export(vit, other)
print(sizes(program))
assert sizes(program)[2] != sizes(program)[3]
try:
    result = program.module()(native, **options)
except AssertionError as error:
    result, message = None, str(error)
else:
    message = "This release runs it."
print(message)
assert (result is None) == (RELEASE >= (2, 9)), message

# %%
# The cause
# +++++++++
#
# The model has a shortcut: positions are not resized if the image has the native number
# of patches and is a square (`source
# <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/vit/modeling_vit.py#L102>`_).
# Each of the two tests becomes a guard. With a square example the answer is *yes*, the
# whole shortcut is traced, and the two sides are tied. With the other example the
# answer is *no*, and 16 patches are excluded.
#
# The comment in that file says that a trace resizes in any case. It means
# ``torch.jit.trace``. In the exporter, ``torch.jit.is_tracing()`` is false:


class IsTracing(torch.nn.Module):
    def forward(self, x):
        return x + 1 if torch.jit.is_tracing() else x - 1


program = torch.export.export(IsTracing(), (torch.zeros(1),), strict=False)
print("is_tracing during the export:", bool(program.module()(torch.zeros(1)) > 0))
assert program.module()(torch.zeros(1)) == -1

# %%
# The fix
# +++++++
#
# Without the shortcut, no question is asked. Resizing to the native size gives back the
# positions, so the results stay the same. The price is one interpolation for images of
# the native size. Works on all releases of this page.


class AnySize(ViTEmbeddings):
    def interpolate_pos_encoding(self, embeddings, height, width):
        first, rest = self.position_embeddings[:, :1], self.position_embeddings[:, 1:]
        side = int(rest.shape[1] ** 0.5)
        rest = rest.unflatten(1, (side, side)).permute(0, 3, 1, 2)
        size = (height // self.patch_size, width // self.patch_size)
        rest = torch.nn.functional.interpolate(rest, size=size, mode="bicubic")
        return torch.cat([first, rest.flatten(2).mT], dim=1)


expected = vit(native).last_hidden_state
vit.embeddings.__class__ = AnySize
torch.testing.assert_close(vit(native, **options).last_hidden_state, expected)

program = export(vit, other)
print(sizes(program))
print([str(range_) for range_ in program.range_constraints.values()])
assert len(set(sizes(program))) == 4

# %%
# A ConvNet asks nothing
# ++++++++++++++++++++++
#
# Convolutions and a mean over the image work for any size, so it is enough to declare
# the dimensions. The smallest image is found by the exporter.

any_size = {"pixel_values": dynamic["pixel_values"]}
conv_program = torch.export.export(
    convnext, (other,), dynamic_shapes=any_size, strict=False
)
print(sizes(conv_program))
print([str(range_) for range_ in conv_program.range_constraints.values()])
assert len(set(sizes(conv_program))) == 4

# %%
# The check
# +++++++++
#
# Batches and sizes that were not traced: the native one, one that is not a multiple of
# the patch, an upright and a large one.

exported, conv_exported = program.module(), conv_program.module()
for shape in [(1, 3, 32, 32), (3, 3, 30, 50), (2, 3, 64, 24), (1, 3, 128, 160)]:
    image = torch.rand(*shape)
    result = exported(image, **options)
    expected = vit(image, **options)
    torch.testing.assert_close(result.last_hidden_state, expected.last_hidden_state)
    torch.testing.assert_close(result.pooler_output, expected.pooler_output)
    result, expected = conv_exported(image), convnext(image)
    torch.testing.assert_close(result.pooler_output, expected.pooler_output)
    print(shape, "same results")

# %%
# What it refuses
# +++++++++++++++
#
# An image that is smaller than two patches: sizes of one patch were excluded by the
# example (:ref:`l-plot-exporter-shapes-zero-one`).

try:
    exported(torch.rand(1, 3, 8, 40), **options)
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print(message)
assert ">= 16" in message, message

# %%
# To remember
# +++++++++++
#
# * Export with an image that is neither a square nor of the native size.
# * A shortcut for one size is a guard: it excludes that size, or everything else.
# * ``torch.jit.is_tracing()`` is false in ``torch.export``; the test for a compiler or
#   an exporter is :func:`torch.compiler.is_exporting`.
#
# Next: :ref:`l-plot-exporter-shapes-resize` for interpolation and strides,
# :ref:`l-plot-exporter-shapes-specialized` for other shortcuts of this kind, and
# :ref:`l-plot-exporter-onnx-validate` for the program in ONNX.
