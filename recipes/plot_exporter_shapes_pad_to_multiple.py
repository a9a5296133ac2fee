"""
.. _l-plot-exporter-shapes-pad-to-multiple:

Pad to a multiple without a branch
==================================

.. answer::
   :cost: One or two windows of zeros more than needed are computed.

   A trace keeps one side of ``if n % 8``, and the guard ``% 8 != 0`` remains. Compute the
   padding instead, with a spare window, so that no size can be special. Declare the
   length as ``Dim.DYNAMIC``: for a named one, torch cannot prove what always holds.

   .. code-block:: diff

      -        if n % 8 != 0:
      -            x = pad(x, (0, 0, 0, 8 - n % 8))
      +        x = pad(x, (0, 0, 0, (n // 8 + 2) * 8 - n))

      -shapes = ({1: length},)
      +shapes = ({1: Dim.DYNAMIC},)

   Not your case?

   * Sizes from strides and skip connections: :ref:`l-plot-exporter-shapes-resize`.
   * ``must always be related``, or a multiple: :ref:`l-plot-exporter-shapes-related`.
   * The branch does not pad: :ref:`l-plot-exporter-shapes-ranges`.

.. meta::
   :keywords: pad to multiple, window attention, Swin padding, U-Net divisible by 32,
      Guard failed % 8 == 0, Constraints violated % 8 != 0, math.ceil dynamic shape,
      derived dimension 8*k, crop after padding, Cannot create Dim with inconsistent min
"""

# %%
# The problem
# +++++++++++
#
# Each position gets the mean of its window of 8. A length that is not a multiple of 8 is
# padded, and the result is cropped. (Window attention is built like this.)

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "run fails", "wrong without an error"]
# sphinx_gallery_wording = "exported program only accepts multiples of 8"
# sphinx_gallery_wording = "exported window attention returns the padded length"
# sphinx_gallery_wording = "image size must be divisible by 32 after export"
# sphinx_gallery_wording = "Cannot create Dim with inconsistent min=1, max=-512"
# sphinx_gallery_wording = "Not all values of seq_len satisfy the generated guard Ne(Mod(L['input_ids'].size()[1] + 1, 8), 0)"

import torch
from torch.export import Dim
from torch.nn.functional import pad, scaled_dot_product_attention


class WindowMean(torch.nn.Module):
    def windows(self, x):
        return x.unfold(1, 8, 8).mean(dim=-1).repeat_interleave(8, dim=1)

    def forward(self, x):
        n = x.shape[1]
        if n % 8 != 0:
            x = pad(x, (0, 0, 0, 8 - n % 8))
        return self.windows(x)[:, :n]


torch.manual_seed(0)
model = WindowMean()
x = torch.randn(2, 20, 6)
length = Dim("length", max=4096)
shapes = ({1: length},)
try:
    torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error.msg)

# %%
# Read the first guard. Do not take the suggestion, ``length = 8*_length - 4``: it describes
# the example, 20, and means lengths of 4, 12, 20, 28. For an example of 24, torch suggests
# ``8*_length``, which is right only if the caller pads.
#
# The fix
# +++++++


class Padded(WindowMean):
    def forward(self, x):
        n = x.shape[1]
        x = pad(x, (0, 0, 0, (n // 8 + 2) * 8 - n))
        return self.windows(x)[:, :n]


shapes = ({1: Dim.DYNAMIC},)
program = torch.export.export(Padded(), (x,), dynamic_shapes=shapes, strict=False)
print(program.range_constraints)

# %%
# To limit the length, use ``Dim.DYNAMIC(max=4096)`` in PyTorch 2.8 and later.
#
# Why it happens
# ++++++++++++++
#
# With ``Dim.DYNAMIC`` the first model exports, too, and the program holds for one kind of
# length. Without the ``if``, but with no spare window, two guards remain: one window is
# special, as every `size of 1
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_prims_common/__init__.py#L285>`_,
# and so is a crop of nothing. (PyTorch 2.8 and earlier do not check these guards. 2.7 and
# earlier drop a crop that does nothing for the example, silently.)


class NoSpare(WindowMean):
    def forward(self, x):
        n = x.shape[1]
        x = pad(x, (0, 0, 0, (n + 7) // 8 * 8 - n))
        return self.windows(x)[:, :n]


for kind, lengths in ((WindowMean, (24,)), (NoSpare, (8, 24))):
    other = torch.export.export(kind(), (x,), dynamic_shapes=shapes, strict=False)
    for size in lengths:
        try:
            other.module()(torch.randn(2, size, 6))
        except (AssertionError, RuntimeError) as error:
            print(kind.__name__, size, error)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Fix
#      - Cost
#    * - ``8 * Dim("k", min=2)``, with an example that is a multiple; the model stays
#      - the caller pads and crops; the smallest length is 16
#    * - ``(n + 7) // 8 * 8 - n``, crop by a negative ``pad``, and
#        ``backed_size_oblivious``: :ref:`l-plot-exporter-shapes-unbacked`
#      - a private option, PyTorch 2.8 and later; no spare window
#    * - ``-n % 8`` for ``8 - n % 8``
#      - does not help: ``Cannot create Dim with inconsistent min=1, max=-512``
#
# The first one, where the declaration decides the ``if``:

k = Dim("k", min=2, max=512)
multiple = torch.export.export(
    model, (torch.randn(2, 24, 6),), dynamic_shapes=({1: 8 * k},), strict=False
)

# %%
# Check
# +++++
#
# The reference is the original model, with the ``if``: for lengths of both kinds, one
# window, and 1. The same for attention within windows.


def attend(x):
    windows = x.unflatten(1, (-1, 8))
    return scaled_dot_product_attention(windows, windows, windows).flatten(1, 2)


attention, padded_attention = WindowMean(), Padded()
attention.windows = padded_attention.windows = attend
second = torch.export.export(
    padded_attention, (x,), dynamic_shapes=shapes, strict=False
)
for size in (1, 2, 7, 8, 9, 16, 20, 21, 24, 100):
    new = torch.randn(2, size, 6)
    torch.testing.assert_close(program.module()(new), model(new))
    torch.testing.assert_close(second.module()(new), attention(new))
    assert program.module()(new).shape == new.shape
for size in (16, 40, 4096):
    new = torch.randn(2, size, 6)
    torch.testing.assert_close(multiple.module()(new), model(new))
for call, size in ((program, (3, 20, 6)), (multiple, (2, 20, 6))):
    try:
        call.module()(torch.randn(size))
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# Limitations
# +++++++++++
#
# Windows do not see each other here. Where positions see the padding (a convolution, a mean
# over all windows), more zeros change the result: mask them.
#
# Summary
# +++++++
#
# * Compute the padding with ``//`` and without ``if``, keep a spare window, and declare
#   the length as ``Dim.DYNAMIC``.
# * Test a multiple, a length between two multiples, one window, and 1.
# * Next: what slices do to strides (:ref:`l-plot-exporter-shapes-slices`), and padding
#   that attention must not see (:ref:`l-plot-exporter-ops-attention`).
