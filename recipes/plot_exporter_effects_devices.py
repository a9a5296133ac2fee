"""
.. _l-plot-exporter-effects-devices:

Replace CPU-only code in forward: fixed devices and NumPy
=========================================================

.. answer::
   :cost: Nothing at run time.

   ``forward`` makes a tensor on the CPU, and the inputs are on another device. Or it
   calls NumPy, and the tensors of an export have no values. Take the device from an
   input, make constants buffers, and write torch in place of NumPy.

   .. code-block:: diff

      -        x = x * torch.tensor([1.0, 2.0, 3.0])
      -        x = x + torch.arange(x.shape[0])[:, None]
      -        return torch.from_numpy(np.sin(x.numpy()))
      +        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0]))
      +        x = x * self.scale
      +        x = x + torch.arange(x.shape[0], device=x.device)[:, None]
      +        return torch.sin(x)

   Not your case?

   * The model and the example are on different devices: move both before the export.
   * You run a program on another device: :ref:`l-plot-exporter-after-move`.
   * ``tolist()``, ``item()``: :ref:`l-plot-exporter-data-item`.

.. meta::
   :keywords: FakeTensor device propagation, two different devices cuda:0 cpu, device
      mismatch, dtype mismatch, numpy in forward, hard-coded cpu, constant tensor,
      numpy is not supported for tensor subclasses
"""

# %%
# The problem
# +++++++++++
#
# There was no GPU where this page was built. The device ``meta`` stands for one.

# sphinx_gallery_tags = ["side effects", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "Unhandled FakeTensor Device Propagation, found two different devices cuda:0, cpu"
# sphinx_gallery_wording = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"

import numpy as np
import torch


class OnlyCPU(torch.nn.Module):
    def forward(self, x):
        x = x * torch.tensor([1.0, 2.0, 3.0])
        x = x + torch.arange(x.shape[0])[:, None]
        return torch.from_numpy(np.sin(x.numpy()))


torch.manual_seed(0)
x = torch.rand(4, 3)
for inputs in ((x.to("meta"),), (x,)):
    try:
        torch.export.export(OnlyCPU(), inputs, strict=False)
    except RuntimeError as error:
        print(error)

# %%
# The fix
# +++++++


class AnyDevice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, x):
        x = x * self.scale
        x = x + torch.arange(x.shape[0], device=x.device)[:, None]
        return torch.sin(x)


shapes = ({0: torch.export.Dim("batch", max=64)},)
model = AnyDevice().to("cpu")
program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# An export moves nothing. Each operator `compares the devices
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_subclasses/fake_tensor.py#L1193>`_
# of its fake tensors, as eager mode does: on a GPU the model fails in
# eager mode, too. Move the model and the example, and the same code exports there:

there = torch.export.export(
    AnyDevice().to("meta"), (x.to("meta"),), dynamic_shapes=shapes, strict=False
)
for exported in (program, there):
    (arange,) = [node for node in exported.graph.nodes if "arange" in node.name]
    print(arange.kwargs["device"])

# %%
# The device of the example is a constant of each program, and so is the dtype,
# silently: this model follows the dtype of its input, its program does not.


class Cast(torch.nn.Module):
    def forward(self, x, weight):
        return weight.to(x.dtype)


cast = torch.export.export(Cast(), (x, torch.rand(3)), strict=False).module()
doubles = (x.double(), torch.rand(3))
print("model:", Cast()(*doubles).dtype, "program:", cast(*doubles).dtype)
assert Cast()(*doubles).dtype != cast(*doubles).dtype

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your line
#      - Write instead
#    * - ``torch.zeros(n)``, ``torch.ones(n)``
#      - ``x.new_zeros(n)``, ``x.new_ones(n)``, ``torch.zeros_like(x)``
#    * - ``mask.cpu()``, ``mask.cuda()``
#      - ``mask.to(x.device)``
#    * - an array that does not depend on the inputs
#      - a buffer, made in ``__init__``
#    * - ``np.sin(x.numpy())``, ``np.sin(x)``
#      - ``torch.sin(x)``; or ``strict=True``, which translates NumPy calls
#    * - a NumPy function that torch does not have
#      - a custom operator; it needs this Python code wherever the program runs
#
# The last two:

translated = torch.export.export(OnlyCPU(), (x,), dynamic_shapes=shapes, strict=True)


@torch.library.custom_op("cookbook_devices::unwrap", mutates_args=())
def unwrap(phase: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.unwrap(phase.numpy()))


@unwrap.register_fake
def unwrap_fake(phase):
    return torch.empty_like(phase)


class Unwrap(torch.nn.Module):
    def forward(self, x):
        return unwrap(x)


unwrapping = torch.export.export(Unwrap(), (x,), dynamic_shapes=shapes, strict=False)

# %%
# Check
# +++++
#
# The references are the original model in eager mode, and NumPy itself.

for size in (1, 2, 7, 64):
    rows = 9 * torch.randn(size, 3)
    for exported in (program, translated):
        torch.testing.assert_close(exported.module()(rows), OnlyCPU()(rows))
    expected = torch.from_numpy(np.unwrap(rows.numpy()))
    torch.testing.assert_close(unwrapping.module()(rows), expected)
for rows in (torch.rand(65, 3), torch.rand(4, 3, device="meta")):
    try:
        program.module()(rows)
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# Summary
# +++++++
#
# * Constants are buffers; new tensors take their device from an input.
# * One program for each device and dtype, exported there.
#
# Next: :ref:`l-plot-exporter-after-move` to move a program,
# :ref:`l-plot-exporter-wrong-constants` for what else is frozen.
