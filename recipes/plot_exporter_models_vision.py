"""
.. _l-plot-exporter-models-vision:

Export a vision transformer for any image size
==============================================

.. answer::
   :cost: One interpolation for images of the size of the training.

   A ViT of transformers has one position per patch of its own image size, and a
   shortcut for that size. Ask for interpolation, and replace the method with the
   shortcut.

   .. code-block:: diff

      -    export(vit, (square,), dynamic_shapes=images, strict=False)
      +fixed.embeddings.interpolate_pos_encoding = resize_positions
      +options = {"interpolate_pos_encoding": True}
      +program = export(fixed, (wide,), options, dynamic_shapes=any_size, strict=False)

   Not your case?

   * ``interpolate``, strides or pooling in your own model:
     :ref:`l-plot-exporter-shapes-resize`.
   * ``constant (...)`` in a model without positions:
     :ref:`l-plot-exporter-shapes-specialized`.
   * The boxes of a detector: :ref:`l-plot-exporter-data-detection`.

.. meta::
   :keywords: ViT dynamic image size, interpolate_pos_encoding, position embeddings,
      pixel_values, DINOv2, CLIP, SigLIP, dynamic height and width, patches, image
      classification
"""

# %%
# The problem
# +++++++++++
#
# A small untrained vision transformer for images of 32 by 32, in patches of 8 by 8.

# sphinx_gallery_tags = ["whole models", "export fails", "run fails"]
# sphinx_gallery_wording = "exported ViT only works for the training resolution"
# sphinx_gallery_wording = "Input image size (48*40) doesn't match model (32*32)."

import copy

import torch
import transformers
from torch.export import Dim, export

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
square, wide = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 48, 40)
size = {0: Dim("batch", max=64), 2: Dim("height", max=512), 3: Dim("width", max=512)}
images = {"pixel_values": size}
try:
    export(vit, (square,), dynamic_shapes=images, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# The exporter is right: the model itself accepts no different size.

try:
    vit(wide)
except ValueError as error:
    print(error)

# %%
# The fix
# +++++++
#
# The method of transformers without its shortcut. CLIP, DINOv2, SigLIP and others have
# the same one. The example is not a square.


def resize_positions(embeddings, height, width):
    positions = fixed.embeddings.position_embeddings
    first, rest = positions[:, :1], positions[:, 1:]
    side = int(rest.shape[1] ** 0.5)
    rest = rest.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    patches = (height // 8, width // 8)
    rest = torch.nn.functional.interpolate(rest, size=patches, mode="bicubic")
    return torch.cat([first, rest.flatten(2).mT], dim=1)


fixed = copy.deepcopy(vit)
fixed.embeddings.interpolate_pos_encoding = resize_positions
options = {"interpolate_pos_encoding": True}
any_size = {
    "pixel_values": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},
    "interpolate_pos_encoding": None,
}
program = export(fixed, (wide,), options, dynamic_shapes=any_size, strict=False)
print(program.range_constraints)

# %%
# Why it happens
# ++++++++++++++
#
# With ``interpolate_pos_encoding=True`` alone, eager mode accepts any size. The export
# follows the `shortcut
# <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/vit/modeling_vit.py#L103>`_:
# positions are not resized if the image is a square with as many patches as there are
# positions. With a square example the program accepts squares only. With a different
# example it excludes 16 patches, the size of the training.

for example, other in ((square, wide), (wide, square)):
    shortcut = export(vit, (example,), options, dynamic_shapes=any_size, strict=False)
    try:
        shortcut.module()(other, **options)
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# The shortcut is meant to be off in a trace. It asks ``torch.jit.is_tracing()``, which
# is false in ``torch.export``; :func:`torch.compiler.is_exporting` is true.


class IsTracing(torch.nn.Module):
    def forward(self, x):
        return x + 1 if torch.jit.is_tracing() else x - 1


tracing = export(IsTracing(), (torch.zeros(1),), strict=False)
assert tracing.module()(torch.zeros(1)) == -1

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
#    * - all images have the size of the training
#      - leave height and width static
#      - the caller resizes
#    * - no image has exactly that size
#      - ``interpolate_pos_encoding=True``, and an example such as ``wide``
#      - that size raises
#    * - the model has no positions (ConvNeXt, ResNet)
#      - declare the dimensions
#      - none
#
# Check
# +++++
#
# Against the original model in eager mode: the size of the training, a size that is not
# a multiple of the patch, an upright and a large one.

exported = program.module()
for shape in ((1, 3, 32, 32), (3, 3, 30, 50), (2, 3, 64, 24), (1, 3, 128, 160)):
    image = torch.rand(*shape)
    expected = vit(image, **options)
    found = exported(image, **options)
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state)
    torch.testing.assert_close(found.pooler_output, expected.pooler_output)
image = torch.rand(1, 3, 32, 32)
torch.testing.assert_close(
    exported(image, **options).last_hidden_state, vit(image).last_hidden_state
)

# %%
# A ConvNet needs its dimensions declared, and nothing else:

config = transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)
convnext = transformers.ConvNextModel(config).eval().requires_grad_(False)
images = {"pixel_values": any_size["pixel_values"]}
conv = export(convnext, (wide,), dynamic_shapes=images, strict=False)
for shape in ((1, 3, 32, 32), (3, 3, 30, 50), (2, 3, 64, 24)):
    image = torch.rand(*shape)
    torch.testing.assert_close(
        conv.module()(image).pooler_output, convnext(image).pooler_output
    )

# %%
# An image of less than two patches raises: the example excludes one patch
# (:ref:`l-plot-exporter-shapes-zero-one`).

try:
    exported(torch.rand(1, 3, 8, 40), **options)
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Export with an image that is not a square, and not of the size of the training.
# * A shortcut for one size is a guard: it excludes that size, or all others.
# * Next: the program in ONNX, :ref:`l-plot-exporter-onnx-validate`.
