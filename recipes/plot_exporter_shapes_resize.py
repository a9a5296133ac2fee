"""
.. _l-plot-exporter-shapes-resize:

Export a U-Net or a resize for images of any size
=================================================

.. answer::
   :cost: None at run time. Images smaller than the minimum are rejected.

   A stride of 2 halves the size and rounds up: twice the half is the old size for even
   sizes only. Resize to the size of the skip connection, and give height and width a
   minimum of ``2 ** levels + 1``, so that no feature map has size 1.

   .. code-block:: diff

      -        return interpolate(small, scale_factor=2) + skip
      +        return interpolate(small, size=skip.shape[-2:]) + skip

   Not your case?

   * The model pads the image to a multiple: :ref:`l-plot-exporter-shapes-pad-to-multiple`.
   * ``int(...)`` or ``math`` without images: :ref:`l-plot-exporter-shapes-python-int`.
   * A crop by a slice: :ref:`l-plot-exporter-shapes-slices`.

.. meta::
   :keywords: interpolate dynamic shape, upsample dynamic size, scale_factor guard, U-Net
      export odd size, strided convolution Constraints violated, max_pool2d guard
      % 2 == 0, adaptive pooling export, dynamic image size, recompute_scale_factor,
      _maybe_guard_rel non-relation expression
"""

# %%
# The problem
# +++++++++++
#
# A small U-Net: two strides down, two steps up, each with a skip connection.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "run fails", "wrong without an error", "turns static"]
# sphinx_gallery_wording = "exported U-Net only works with the image size of the example"
# sphinx_gallery_wording = "SymIntArrayRef expected to contain only concrete integers"
# sphinx_gallery_wording = "exported model returns the wrong output size"
# sphinx_gallery_wording = "_maybe_guard_rel() was called on non-relation expression ((((s0 - 1)//2)) + 1 > 0) | ((((s53 - 1)//2)) + 1 > 0)"
# sphinx_gallery_wording = "the generated guard (((-2) + L['x'].size()[2]) % 2) == 0"

import torch
from torch.export import Dim
from torch.nn.functional import interpolate


class UNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.down1 = torch.nn.Conv2d(3, 3, 3, stride=2, padding=1)
        self.down2 = torch.nn.Conv2d(3, 3, 3, stride=2, padding=1)

    def up(self, small, skip):
        return interpolate(small, scale_factor=2) + skip

    def forward(self, x):
        half = self.down1(x)
        return self.up(self.up(self.down2(half), half), x)


torch.manual_seed(0)
model = UNet().eval()
x = torch.randn(2, 3, 24, 36)
height, width = Dim("height", min=5, max=512), Dim("width", min=5, max=512)
named = ({2: height, 3: width},)
try:
    torch.export.export(model, (x,), dynamic_shapes=named, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# The suggestion is right: this model fails for other sizes in eager mode, too. With
# ``Dim.DYNAMIC``, the program rejects them when it runs. (PyTorch 2.8 and earlier do so
# with names, too.)

dynamic = ({2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
try:
    program.module()(torch.randn(2, 3, 33, 48))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# The fix
# +++++++


class UNetAnySize(UNet):
    def up(self, small, skip):
        return interpolate(small, size=skip.shape[-2:]) + skip


fixed = UNetAnySize().eval()
fixed.load_state_dict(model.state_dict())
height, width = Dim("height", min=5, max=512), Dim("width", min=5, max=512)
named = ({2: height, 3: width},)
program = torch.export.export(fixed, (x,), dynamic_shapes=named, strict=False)
print(program.range_constraints)

# %%
# Why it happens
# ++++++++++++++
#
# Each size is an expression of the size of the input, and an addition needs equal sizes.
# In the fixed program, they are equal by construction:

for node in program.graph.nodes:
    if node.op == "call_function" and isinstance(node.meta.get("val"), torch.Tensor):
        print(node.name, node.meta["val"].shape[2])

# %%
# The minimum has a different reason. A size of 1 is special (broadcasting, strides), and
# `torch asks whether a size is 1
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_prims_common/__init__.py#L285>`_.
# With strides of 2 (kernel 3, padding 1), ``2 ** levels + 1`` pixels leave a map of 2.
# With one pixel less, PyTorch 2.8 and later fail:

low = ({2: Dim("height", min=4, max=512), 3: width},)
try:
    torch.export.export(fixed, (x,), dynamic_shapes=low, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error.msg)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your model
#      - Write
#      - Cost
#    * - must stay as it is
#      - ``4 * Dim("rows", min=2)``, as suggested
#      - the caller pads
#    * - ``ConvTranspose2d``, then ``+ skip``
#      - ``pad`` the result by ``skip.shape[-1] - up.shape[-1]``, and so on
#      - none
#    * - ``interpolate(x, size=[int(s * 1.5), ...])``
#      - ``size=[s * 3 // 2, ...]``
#      - rounding is yours
#    * - ``scale_factor=18 / x.shape[3]``
#      - ``size=(x.shape[2] * 18 // x.shape[3], 18)``
#      - see Limitations; a result of height 1 is rejected
#    * - ``MaxPool2d(2)`` up to PyTorch 2.12: ``% 2 == 0``
#      - ``unfold`` and ``amax`` (below)
#      - slower
#    * - must take images below the minimum
#      - :ref:`l-plot-exporter-shapes-unbacked`
#      - experimental
#
# Adaptive pooling and a constant ``scale_factor`` need no change. A float that is computed
# from a size is frozen: in PyTorch 2.8 and earlier, with ``Dim.DYNAMIC``, silently.


class Enlarge(torch.nn.Module):
    def forward(self, x):
        return interpolate(x, size=[int(size * 1.5) for size in x.shape[-2:]])


class ToWidth(torch.nn.Module):
    def forward(self, x):
        return interpolate(x, scale_factor=18 / x.shape[3])


class EnlargeByIntegers(torch.nn.Module):
    def forward(self, x):
        return interpolate(x, size=[size * 3 // 2 for size in x.shape[-2:]])


class ToWidthBySize(torch.nn.Module):
    def forward(self, x):
        return interpolate(x, size=(x.shape[2] * 18 // x.shape[3], 18))


class Pooling(torch.nn.Module):
    def forward(self, x):
        return x.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(-2, -1))


for broken in (Enlarge(), ToWidth(), torch.nn.MaxPool2d(2)):
    try:
        torch.export.export(broken, (x,), dynamic_shapes=named, strict=False)
    except torch._dynamo.exc.UserError as error:
        print(error.msg)
enlarge, to_width, pooling = [
    torch.export.export(module, (x,), dynamic_shapes=named, strict=False).module()
    for module in (EnlargeByIntegers(), ToWidthBySize(), Pooling())
]

# %%
# Check
# +++++
#
# The reference is the original model where it runs, and otherwise the same two steps with
# rows and columns picked by index. Height 4 is rejected.


def pick(small, like):
    rows = torch.arange(like.shape[2]) * small.shape[2] // like.shape[2]
    columns = torch.arange(like.shape[3]) * small.shape[3] // like.shape[3]
    return small[:, :, rows][:, :, :, columns] + like


exported = program.module()
for size in ((24, 36), (8, 100), (33, 48), (5, 5), (7, 101), (64, 6)):
    new = torch.randn(2, 3, *size)
    half = model.down1(new)
    expected = pick(pick(model.down2(half), half), new)
    if size[0] % 4 == size[1] % 4 == 0:
        torch.testing.assert_close(expected, model(new))
    torch.testing.assert_close(exported(new), expected)
    torch.testing.assert_close(enlarge(new), Enlarge()(new))
    torch.testing.assert_close(pooling(new), torch.nn.MaxPool2d(2)(new))
for size in ((24, 36), (16, 32), (40, 72)):
    new = torch.randn(2, 3, *size)
    torch.testing.assert_close(to_width(new), ToWidth()(new))
try:
    exported(torch.randn(2, 3, 4, 36))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# ``size=`` and ``scale_factor=`` give the same result only where the product is an integer.
# Otherwise the pixels are not the same distance apart: 1.5 with the factor, 37 / 25 with
# the size. If they must not move, keep a constant factor.

image = torch.randn(1, 1, 25, 33)
by_factor = interpolate(image, scale_factor=1.5, mode="bilinear")
by_size = interpolate(image, size=(37, 49), mode="bilinear")
assert by_factor.shape == by_size.shape
assert not torch.allclose(by_factor, by_size)

# %%
# Summary
# +++++++
#
# * Go up to ``skip.shape[-2:]``, give height and width a minimum of ``2 ** levels + 1``,
#   and compute sizes with ``//``. Test an odd size.
# * The warning ``_maybe_guard_rel() was called on non-relation expression``, from an
#   export to ONNX, is `harmless <https://github.com/pytorch/pytorch/issues/170180>`_.
# * Next: an image that has to be padded (:ref:`l-plot-exporter-shapes-pad-to-multiple`),
#   or whole models (:ref:`l-plot-exporter-models-vision`).
