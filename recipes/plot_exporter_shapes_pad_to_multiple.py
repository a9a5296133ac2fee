"""
.. _l-plot-exporter-shapes-pad-to-multiple:

Pad to a multiple without a branch
==================================

The model pads a length to a multiple of 8, and the export stops with ``Constraints
violated (length)! ... Not all values of length ... satisfy the generated guard
(L['x'].size()[1] % 8) != 0``. Or the export works, and the program refuses every
length of one kind: ``Guard failed: x.size()[1] % 8 == 0``.

This page shows which part of the padding makes which guard: the test, the number of
windows, the crop. It ends with a program that takes every length, multiples of 8 or
not, down to 1, and with the alternative that leaves the padding to the caller.

.. meta::
   :description: Compute the padding with // and no if, keep at least two windows, and export the length with Dim.DYNAMIC; or declare it as 8 * k.
   :keywords: pad to multiple, window attention, Swin padding, U-Net divisible by 32, Guard failed % 8 == 0, Constraints violated % 8 != 0, math.ceil dynamic shape, derived dimension 8*k, crop after padding, Cannot create Dim with inconsistent min
"""

# %%
# The model
# +++++++++
#
# Attention within windows of 8 positions. A length which is not a multiple of 8 is
# padded with zeros, and the result is cropped to the length of the input.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "run fails", "wrong without an error"]
# sphinx_gallery_wording = "exported program only accepts multiples of 8"
# sphinx_gallery_wording = "exported window attention returns the padded length"
# sphinx_gallery_wording = "image size must be divisible by 32 after export"

import math

import torch
import torch.fx.experimental._config

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
WINDOW = 8
pad = torch.nn.functional.pad
attention = torch.nn.functional.scaled_dot_product_attention


class WindowAttention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.query = torch.nn.Linear(6, 6)

    def padding(self, length):
        if length % WINDOW:
            return WINDOW - length % WINDOW
        return 0

    def attend(self, x):
        batch, length, width = x.shape
        windows = x.reshape(batch, length // WINDOW, WINDOW, width)
        query = self.query(windows)
        mixed = attention(query, windows, windows)
        return mixed.reshape(batch, length, width)

    def forward(self, x):
        length = x.shape[1]
        x = pad(x, (0, 0, 0, self.padding(length)))
        return self.attend(x)[:, :length]


torch.manual_seed(0)
model = WindowAttention().eval()
x20, x24 = torch.randn(2, 20, 6), torch.randn(2, 24, 6)
print(tuple(model(x20).shape), tuple(model(x24).shape))

# %%
# The symptom
# +++++++++++
#
# The length is a named dimension. The message is long, and every line says the same
# about another condition: it was recorded, and it does not hold for all lengths. Two
# of the lines are enough.

length = torch.export.Dim("length", min=1, max=4096)
options = {"dynamic_shapes": ({1: length},), "strict": False}
try:
    torch.export.export(model, (x20,), **options)
except torch._dynamo.exc.UserError as error:
    message = str(error)
else:
    message = "This release exports both branches."
print("\n".join(message.splitlines()[:2]))
assert "% 8) != 0" in message, message

# %%
# ``Dim.DYNAMIC`` accepts any condition, so the export works, with either example. Run
# each program with the length of the other.

options = {"dynamic_shapes": ({1: torch.export.Dim.DYNAMIC},), "strict": False}
program20 = torch.export.export(model, (x20,), **options)
program24 = torch.export.export(model, (x24,), **options)

try:
    program24.module()(x20)
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs length 20."
print("exported with 24, run with 20:", message)
assert "% 8 == 0" in message or "//8" in message, message

# %%
# The other direction is refused since 2.9, where a program verifies the conditions
# that were recorded. Up to 2.8 this one runs: it always pads, by 8 positions here, and
# the crop hides it.

try:
    result = program20.module()(x24)
except AssertionError as error:
    result, message = None, str(error)
else:
    message = "This release runs length 24."
print("exported with 20, run with 24:", message)
assert (result is None) == (RELEASE >= (2, 9))
if result is not None:
    torch.testing.assert_close(result, model(x24))

# %%
# The cause: one of the two branches
# ++++++++++++++++++++++++++++++++++
#
# The exporter runs ``forward`` once. The test ``if length % 8`` asks for an answer,
# the example gives it, and the graph holds the branch that was taken. The condition
# becomes a *guard*: the program is valid for the lengths that give the same answer.
# The node that pads shows it. Exported with 24, it pads by the number 0, for ever.


def amount_of_padding(program):
    for node in program.graph.nodes:
        if node.target is torch.ops.aten.pad.default:
            return node.args[1][-1]


print("exported with 20:", amount_of_padding(program20))
print("exported with 24:", amount_of_padding(program24))
assert isinstance(amount_of_padding(program20), torch.fx.Node)
assert amount_of_padding(program24) == 0

# %%
# A formula is not enough
# +++++++++++++++++++++++
#
# The same number of zeros can be computed without ``if``. All three formulas give
# guards again. (The first that each message names is printed.)


class Ceil(WindowAttention):
    def padding(self, length):
        return math.ceil(length / WINDOW) * WINDOW - length


class FloorDivision(WindowAttention):
    def padding(self, length):
        return (length + WINDOW - 1) // WINDOW * WINDOW - length


class Modulo(WindowAttention):
    def padding(self, length):
        return -length % WINDOW


options = {"dynamic_shapes": ({1: length},), "strict": False}
for kind in (Ceil, FloorDivision, Modulo):
    try:
        torch.export.export(kind(), (x20,), **options)
    except (torch._dynamo.exc.UserError, AssertionError) as error:
        message = str(error)
    else:
        message = "This release exports it."
    guard = (message.splitlines() + [message])[1].split("generated guard ")[-1]
    print(f"{kind.__name__:>13}: {guard}")
    assert "generated guard" in message or message.startswith("Cannot create Dim")

# %%
# (The last message, ``Cannot create Dim with inconsistent min=..., max=-512``, comes
# from `the part of torch that prepares the suggested fixes
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L3523>`_:
# it fails on ``-length % 8``, and hides the guards.)
#
# Take the floor division, the plainest of the three, and export with
# ``Dim.DYNAMIC``. Since 2.9 the program refuses lengths up to 8, *and* multiples of 8.
# (Up to 2.8 these guards are not verified when the program runs.)

options = {"dynamic_shapes": ({1: torch.export.Dim.DYNAMIC},), "strict": False}
exported = torch.export.export(FloorDivision(), (x20,), **options).module()
for x in (x24[:, :8], x24):
    try:
        result = exported(x)
    except AssertionError as error:
        result, message = None, str(error)
    else:
        message = "This release runs it."
    print(f"length {x.shape[1]:>2}: {message}")
    assert (result is None) == (RELEASE >= (2, 9))

# %%
# The first guard comes from **the number of windows**. A size of 1 is special to
# torch. Whoever looks at the strides of a tensor asks of each dimension whether it is
# 1 (`check_contiguous_sizes_strides
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_prims_common/__init__.py#L285>`_).
# There were 3 windows, so 1 window is excluded, whatever the range of the length says.
#
# The second guard comes from **the crop**. A slice is a view into the longer tensor. The
# same function compares the stride of that view (6 times the padded length) with the
# stride that the cropped length would have by itself. For 20 they differ, for 24 they
# are equal, and the answer for the example is recorded. See :ref:`the page on slices
# <l-plot-exporter-shapes-slices>`.
#
# The other way round it is worse. Export with 24, and up to 2.7 the crop is *dropped*,
# since it did nothing for the example: the program returns 24 positions for 20.

exported = torch.export.export(FloorDivision(), (x24,), **options).module()
try:
    result = exported(x20)
except AssertionError as error:
    result, message = None, str(error)
else:
    message = f"This release returns {tuple(result.shape)}."
print("exported with 24, run with 20:", message)
assert (result is None) == (RELEASE >= (2, 9))
if result is not None:
    assert result.shape[1] == (24 if RELEASE < (2, 8) else 20)

# %%
# Fix 1: a spare window, crop by padding
# ++++++++++++++++++++++++++++++++++++++
#
# Two changes, and no condition is left that excludes a length.
#
# * ``length // 8 + 2`` is at least 2 for every length: the exporter proves it from
#   ``length >= 0``, so no guard is needed.
# * A negative padding crops. The result of ``pad`` is a new tensor and not a view, so
#   nobody compares strides.


class Padded(WindowAttention):
    def padding(self, length):
        return (length // WINDOW + 2) * WINDOW - length

    def forward(self, x):
        padding = self.padding(x.shape[1])
        x = pad(x, (0, 0, 0, padding))
        return pad(self.attend(x), (0, 0, 0, -padding))


fixed = Padded().eval()
fixed.load_state_dict(model.state_dict())
options = {"dynamic_shapes": ({1: torch.export.Dim.DYNAMIC},), "strict": False}
program = torch.export.export(fixed, (x20,), **options)
print(program.range_constraints)

# %%
# Works on all releases of this page, and in strict mode. Its price:
#
# * One or two windows of zeros more than needed are computed. Windows do not see each
#   other here, so the result is the same. Where positions see the padding (a
#   convolution, a mean over all windows) more zeros change the result: mask them.
# * The length must be ``Dim.DYNAMIC``. A named dimension still fails: a guard that
#   always holds is recorded, and torch cannot prove it for the range of the name.
#
# The check: the program against the *original* model, with the ``if``, on lengths of
# both kinds, and down to 1.

strict_program = torch.export.export(fixed, (x24,), **{**options, "strict": True})
exported, strict_exported = program.module(), strict_program.module()
for size in (20, 24, 21, 9, 8, 7, 2, 1):
    x = torch.randn(2, size, 6)
    torch.testing.assert_close(exported(x), model(x))
    torch.testing.assert_close(strict_exported(x), model(x))
print("same result for 20, 24, 21, 9, 8, 7, 2, 1")

# %%
# The named dimension, and the guard that torch cannot prove.

options = {"dynamic_shapes": ({1: length},), "strict": False}
try:
    torch.export.export(fixed, (x20,), **options)
except torch._dynamo.exc.UserError as error:
    message = str(error)
else:
    message = "This release exports it."
print(message.splitlines()[1])
assert "generated guard" in message, message

# %%
# The batch was not declared, so it is constant. This input must be refused.

try:
    exported(torch.randn(3, 20, 6))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs with a batch of 3."
print(message)
assert "size()[0] == 2" in message or "to be equal to 2" in message, message

# %%
# Fix 2: no extra windows, an option of the exporter
# ++++++++++++++++++++++++++++++++++++++++++++++++++
#
# Both guards of the floor division come from questions about 0, 1 and strides. The
# option ``backed_size_oblivious`` answers these questions as for an unknown size, and
# records nothing. The plain formula is then enough, a named dimension works, with its
# range, and one window is allowed. (The class below takes the formula from the one and
# the crop from the other.)


class CroppedByPadding(FloorDivision, Padded):
    pass


plain = CroppedByPadding().eval()
plain.load_state_dict(model.state_dict())
dimension = length if RELEASE >= (2, 9) else torch.export.Dim.DYNAMIC
options = {"dynamic_shapes": ({1: dimension},), "strict": False}
if RELEASE >= (2, 8):
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        program = torch.export.export(plain, (x24,), **options)
    print(program.range_constraints)
    exported = program.module()
    for size in (20, 24, 21, 9, 8, 7, 2, 1):
        x = torch.randn(2, size, 6)
        torch.testing.assert_close(exported(x), model(x))
else:
    print("This release does not have the option, or it is of no help.")

# %%
# The price: the option is private (``torch.fx.experimental._config``), and its
# `comment in the source
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/_config.py#L97>`_
# calls it experimental. With a named dimension this works from 2.9 on; on 2.8 with
# ``Dim.DYNAMIC``. It does not help against the ``if`` of the first model: that
# question is about neither 0 nor 1. More of it: :ref:`l-plot-exporter-shapes-unbacked`.
#
# Fix 3: the caller pads
# ++++++++++++++++++++++
#
# If the caller can pad and crop, the model needs neither. The dimension is then
# declared as a multiple: ``8 * k``. The example has to be one as well.

k = torch.export.Dim("k", min=2, max=512)
options = {"dynamic_shapes": ({1: WINDOW * k},), "strict": False}
try:
    torch.export.export(model, (x20,), **options)
except torch._dynamo.exc.UserError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release exports with 20."
print(message)
assert "to be of the form 8*k" in message, message

# %%
# With 24 the test ``if length % 8`` is decided by the declaration, even though the
# model still contains it.

program = torch.export.export(model, (x24,), **options)
exported = program.module()
for size in (24, 16, 40, 4096):
    x = torch.randn(2, size, 6)
    torch.testing.assert_close(exported(x), model(x))
try:
    exported(x20)
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs length 20."
print(message)
assert "% 8 == 0" in message or "of the form 8*" in message, message

# %%
# The price: whoever runs the program has to know about the 8, and the smallest length
# is 16, since ``min=2`` excludes one window, as the first of the two guards does. Works
# on all releases of this page.
#
# To remember
# +++++++++++
#
# * ``if length % 8`` keeps one branch. Compute the padding with ``//`` instead.
# * A formula leaves two guards: more than one window, and the crop by a slice. Keep at
#   least two windows, crop with a negative padding, export with ``Dim.DYNAMIC``.
# * Test a multiple, a length between two multiples, one window, and 1.
#
# Next: :ref:`l-plot-exporter-shapes-resize` for images, where strides make sizes of the
# same kind; :ref:`l-plot-exporter-shapes-related` for more on ``8 * k``;
# :ref:`l-plot-exporter-shapes-ranges` for what an exported program accepts.
