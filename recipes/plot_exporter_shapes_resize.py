"""
.. _l-plot-exporter-shapes-resize:

Resize and pool images of any size
==================================

A model of images is exported with a dynamic height and width, and stops with
``Constraints violated (height, width)! ... the generated guard (1 + (((-1) +
L['x'].size()[2]) // 4)) != 1``. Or the program refuses odd sizes: ``Guard failed: 2 +
2 * ((-1 + x.size()[2]) // 2) == x.size()[2]``. Or, up to 2.8, it resizes every image by
the factor of the example.

This page shows which conditions come from strided convolutions, pooling, skip
connections and ``interpolate``, which of them are real, and what to write instead.

.. meta::
   :description: Resize to the size of the skip connection, give height and width a minimum of 2 ** levels + 1, and compute sizes with integers only.
   :keywords: interpolate dynamic shape, upsample dynamic size, scale_factor guard, U-Net export odd size, strided convolution Constraints violated, max_pool2d guard % 2 == 0, adaptive pooling export, dynamic image size, recompute_scale_factor, _maybe_guard_rel non-relation expression
"""

# %%
# The model
# +++++++++
#
# A small U-Net. Two convolutions halve the image twice, two steps go back up, and each
# step adds the map of the same level (the skip connection). A second output pools the
# smallest map.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "run fails", "wrong without an error", "turns static"]
# sphinx_gallery_wording = "exported U-Net only works with the image size of the example"
# sphinx_gallery_wording = "SymIntArrayRef expected to contain only concrete integers"
# sphinx_gallery_wording = "exported model returns the wrong output size"

import logging

import torch
import torch.fx.experimental._config

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
interpolate = torch.nn.functional.interpolate


class UNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.down1 = torch.nn.Conv2d(3, 3, 3, stride=2, padding=1)
        self.down2 = torch.nn.Conv2d(3, 3, 3, stride=2, padding=1)
        self.pool = torch.nn.AdaptiveAvgPool2d(1)

    def up(self, small, skip):
        return interpolate(small, scale_factor=2) + skip

    def forward(self, x):
        half = self.down1(x)
        quarter = self.down2(half)
        mask = self.up(self.up(quarter, half), x)
        return mask, self.pool(quarter).flatten(1)


torch.manual_seed(0)
model = UNet().eval()
x = torch.randn(2, 3, 24, 36)
print([tuple(result.shape) for result in model(x)])

# %%
# The symptom
# +++++++++++
#
# Height and width are named. Since 2.9 the export is refused. (Two lines of the
# message are printed.)

height = torch.export.Dim("height", min=8, max=512)
width = torch.export.Dim("width", min=8, max=512)
named = {"dynamic_shapes": ({2: height, 3: width},), "strict": False}
try:
    torch.export.export(model, (x,), **named)
except torch._dynamo.exc.UserError as error:
    message = str(error)
else:
    message = "This release exports the model."
print("\n".join(message.splitlines()[:2]))
assert ("generated guard" in message) == (RELEASE >= (2, 9))

# %%
# Up to 2.8 the condition appears when the program runs, as with ``Dim.DYNAMIC`` on all
# releases. The program refuses an image of 33 by 48.

dynamic = torch.export.Dim.DYNAMIC
any_size = {"dynamic_shapes": ({2: dynamic, 3: dynamic},), "strict": False}
program = torch.export.export(model, (x,), **any_size)
odd = torch.randn(2, 3, 33, 48)
try:
    program.module()(odd)
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs it."
print(message)
assert "Guard failed" in message or "Runtime assertion failed" in message

# %%
# The cause: sizes that must agree
# ++++++++++++++++++++++++++++++++
#
# The program knows each size as an expression of the size of the input. A convolution
# with stride 2 gives half, rounded up: ``(s - 1) // 2 + 1``. Twice that is the size of
# the input again only if the input is even. An addition needs equal sizes, so the
# equation becomes a guard.

for node in program.graph.nodes:
    if node.op == "call_function" and "val" in node.meta:
        value = node.meta["val"]
        if hasattr(value, "shape") and value.dim() == 4:
            print(f"{node.name:>20}: height {value.shape[2]}")

# %%
# Here the guard is right: the model itself fails for such an image.

try:
    model(odd)
except RuntimeError as error:
    message = str(error)
else:
    message = "This release adds them."
print(message)
assert "must match the size of tensor b" in message, message

# %%
# Fix 1: resize to the size of the skip connection
# ++++++++++++++++++++++++++++++++++++++++++++++++
#
# The size to go back to is at hand. ``size=`` takes it as it is, without a number in
# Python, and the two sizes are equal by construction. Works on all releases of this
# page. It also makes the model itself accept odd sizes, and for even sizes it gives
# the same result as before.


class UNetAnySize(UNet):
    def up(self, small, skip):
        return interpolate(small, size=skip.shape[-2:]) + skip


fixed = UNetAnySize().eval()
fixed.load_state_dict(model.state_dict())
torch.testing.assert_close(fixed(x), model(x))
program = torch.export.export(fixed, (x,), **named)
print(list(program.range_constraints.values()))

# %%
# (After a ``ConvTranspose2d``, which takes no size, pad the result:
# ``torch.nn.functional.pad(up, (0, skip.shape[3] - up.shape[3], 0, skip.shape[2] -
# up.shape[2]))``. A crop by a slice brings a guard of its own, see
# :ref:`l-plot-exporter-shapes-slices`.)
#
# Fix 2: say that the size is a multiple of 4
# +++++++++++++++++++++++++++++++++++++++++++
#
# If the model must stay as it is, declare what it needs. The price: the caller pads
# (:ref:`l-plot-exporter-shapes-pad-to-multiple`). Works on all releases of this page.

rows, columns = (torch.export.Dim(name, min=2, max=128) for name in ("rows", "columns"))
multiples = {"dynamic_shapes": ({2: 4 * rows, 3: 4 * columns},), "strict": False}
exported = torch.export.export(model, (x,), **multiples).module()
for size in ((8, 8), (32, 12), (64, 100)):
    image = torch.randn(2, 3, *size)
    torch.testing.assert_close(exported(image), model(image))
print("same result for 8x8, 32x12, 64x100")

# %%
# The minimum: no map of size 1
# +++++++++++++++++++++++++++++
#
# The first minimum was 8. With 4, the fixed model fails again since 2.8, with another
# guard. Height 4 gives a map of height 1 after two convolutions, and 1 is special: such
# a dimension is broadcast, and its stride does not count. The example has 6, so torch
# records that the size is not 1.

low = torch.export.Dim("low", min=4, max=512)
try:
    program4 = torch.export.export(
        fixed, (x,), dynamic_shapes=({2: low, 3: width},), strict=False
    )
except torch._dynamo.exc.UserError as error:
    program4, message = None, str(error)
else:
    message = "\nThis release exports with a minimum of 4."
print(message.splitlines()[1])
assert (program4 is None) == (RELEASE >= (2, 8))

# %%
# With ``levels`` convolutions of stride 2 (kernel 3, padding 1), the smallest size that
# leaves a map of 2 is ``2 ** levels + 1``. Here that is 5.

height5 = torch.export.Dim("height", min=5, max=512)
width5 = torch.export.Dim("width", min=5, max=512)
named = {"dynamic_shapes": ({2: height5, 3: width5},), "strict": False}
program = torch.export.export(fixed, (x,), **named)
strict_program = torch.export.export(fixed, (x,), **{**named, "strict": True})
print(list(program.range_constraints.values()))
assert [str(r) for r in program.range_constraints.values()] == ["VR[5, 512]"] * 2

# %%
# The check: eager against the program, in both modes of the exporter, and with the
# smallest sizes.

exported, strict_exported = program.module(), strict_program.module()
for size in ((24, 36), (33, 48), (5, 5), (7, 101), (64, 6)):
    image = torch.randn(2, 3, *size)
    torch.testing.assert_close(exported(image), fixed(image))
    torch.testing.assert_close(strict_exported(image), fixed(image))
print("same result for 24x36, 33x48, 5x5, 7x101, 64x6")

try:
    exported(torch.randn(2, 3, 4, 36))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs a height of 4."
print(message)
assert ">= 5" in message, message

# %%
# The price: images below 5 are refused. To take them too, the dimensions must not be
# guarded on: :ref:`l-plot-exporter-shapes-unbacked`. :func:`torch.onnx.export` with
# ``dynamo=True`` turns on such an option by itself since 2.8. On 2.9 a warning comes
# with it, ``_maybe_guard_rel() was called on non-relation expression``. The same option
# is turned on here without ONNX.


class Collector(logging.Handler):
    def emit(self, record):
        messages.append(record.getMessage())


messages, collector = [], Collector()
logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
logger.addHandler(collector)
if RELEASE >= (2, 8):
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        torch.export.export(fixed, (x,), **any_size)
        if RELEASE >= (2, 9):
            found = len(messages)
            torch.export.export(fixed, (x,), **named)
            assert len(messages) == found, "a minimum leaves nothing to ask"
logger.removeHandler(collector)
print("\n".join(messages) or "This release logs no warning.")
assert bool(messages) == (RELEASE == (2, 9))

# %%
# The warning says that a condition (one of the two output sizes is positive) cannot be
# used to simplify others. It is harmless: the export goes on. With the minimum of 5 the
# condition is known to hold, and the warning is gone. It was `reported
# <https://github.com/pytorch/pytorch/issues/170180>`_ with YOLOv3.
#
# Pooling: even or odd, up to 2.12
# ++++++++++++++++++++++++++++++++
#
# A convolution takes odd and even sizes, a pooling with a stride does not, up to 2.12:
# the exporter computed its output size with `a division that asks whether there is a
# remainder
# <https://github.com/pytorch/pytorch/blob/v2.12.1/torch/_meta_registrations.py#L4738>`_.
# In 2.13 the question `is gone
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_meta_registrations.py#L4893>`_.

pooling = torch.nn.MaxPool2d(2)
try:
    exported = torch.export.export(pooling, (x,), **named).module()
except torch._dynamo.exc.UserError as error:
    exported, message = None, str(error)
else:
    message = "\nThis release pools odd sizes as well."
    torch.testing.assert_close(exported(odd), pooling(odd))
print(message.splitlines()[1])
assert (exported is None) == (RELEASE < (2, 13))

# %%
# The fix for older releases is a pooling without a division: cut the image into windows
# of 2 by 2 and take the largest value of each. ``unfold`` drops the last row of an odd
# size, as the pooling does. The windows are a view. Works on all releases of this page.


class Pooling(torch.nn.Module):
    def forward(self, x):
        return x.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(-2, -1))


exported = torch.export.export(Pooling(), (x,), **named).module()
for size in ((24, 36), (33, 48), (5, 5), (64, 7)):
    image = torch.randn(2, 3, *size)
    torch.testing.assert_close(exported(image), pooling(image))
print("same result for 24x36, 33x48, 5x5, 64x7")

# %%
# A factor that is computed
# +++++++++++++++++++++++++
#
# ``scale_factor=2`` is a number, and any size can be multiplied by it. It is different
# when the factor or the size is a float that depends on the input. ``interpolate``
# needs the number itself, and ``int(...)`` makes one: the value of the example is
# frozen. Up to 2.8 nothing is said, and every image is resized as the example was.


class ToWidth(torch.nn.Module):
    def forward(self, x):
        return interpolate(x, scale_factor=18 / x.shape[3])


class Enlarge(torch.nn.Module):
    def forward(self, x):
        return interpolate(x, size=[int(size * 1.5) for size in x.shape[-2:]])


for kind in (ToWidth, Enlarge):
    exported = torch.export.export(kind(), (x,), **any_size).module()
    try:
        result = exported(odd)
    except AssertionError as error:
        result, message = None, str(error)
    else:
        message = f"{tuple(result.shape)} instead of {tuple(kind()(odd).shape)}"
    print(f"{kind.__name__}: {message}")
    assert (result is None) == (RELEASE >= (2, 9))
    assert result is None or result.shape != kind()(odd).shape

# %%
# The fix: compute the *size*, and with integers only. More of this:
# :ref:`l-plot-exporter-shapes-python-int`. Works on all releases of this page. The
# price is rounding: it is yours now, and the next section is about it.


class ToWidthBySize(torch.nn.Module):
    def forward(self, x):
        return interpolate(x, size=(x.shape[2] * 18 // x.shape[3], 18))


class EnlargeByIntegers(torch.nn.Module):
    def forward(self, x):
        return interpolate(x, size=[size * 3 // 2 for size in x.shape[-2:]])


for kind in (ToWidthBySize, EnlargeByIntegers):
    exported = torch.export.export(kind(), (x,), **any_size).module()
    for size in ((24, 36), (33, 48), (21, 30), (64, 47)):
        image = torch.randn(2, 3, *size)
        torch.testing.assert_close(exported(image), kind()(image))
    print(f"{kind.__name__}: same result")

# %%
# ``size=`` or ``scale_factor=``
# ++++++++++++++++++++++++++++++
#
# Before you replace one by the other: they are not the same. 25 times 1.5 is 37.5, the
# result has 37 columns, and with ``scale_factor`` the pixels are still 1.5 apart. With
# ``size`` they are 37 / 25 apart. ``recompute_scale_factor=True`` does the latter. The
# program keeps whichever the model has.


class Bilinear(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, x):
        return interpolate(x, scale_factor=1.5, mode="bilinear", **self.options)


image = torch.randn(2, 3, 25, 33)
by_size = interpolate(image, size=(37, 49), mode="bilinear")
for options in ({}, {"recompute_scale_factor": True}):
    module = Bilinear(**options)
    exported = torch.export.export(module, (x,), **any_size).module()
    torch.testing.assert_close(exported(image), module(image))
    same = torch.allclose(module(image), by_size, atol=1e-5)
    print(f"{options}: {'the same as' if same else 'not the same as'} size=(37, 49)")
    assert same == ("recompute_scale_factor" in options)

# %%
# To remember
# +++++++++++
#
# * Go up with ``interpolate(small, size=skip.shape[-2:])``. Adaptive pooling and a
#   ``scale_factor`` that is a constant need no change.
# * Give height and width a minimum of ``2 ** levels + 1``, and an example above it.
# * Sizes are integers: ``size * 3 // 2`` and never ``int(size * 1.5)``. Test a size
#   that is odd.
#
# Next: :ref:`l-plot-exporter-shapes-pad-to-multiple` when the image must be a multiple;
# :ref:`l-plot-exporter-shapes-python-int` for ``int()`` and ``math``;
# :ref:`l-plot-exporter-shapes-unbacked` when size 1 has to work.
