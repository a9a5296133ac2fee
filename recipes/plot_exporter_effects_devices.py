"""
.. _l-plot-exporter-effects-devices:

Make tensors on the device and in the dtype of an input
=======================================================

The export fails with ``Unhandled FakeTensor Device Propagation for aten.add.Tensor,
found two different devices``, or with ``.numpy() is not supported for tensor
subclasses``. Or it works, and the program computes on the device, or in the dtype, of
the example for ever.

This page shows where devices and dtypes are written into a program, which of them are
checked, how to write a model that follows its inputs, and what to do with NumPy.

.. meta::
   :description: Use x.new_zeros, torch.zeros_like or device=x.device and dtype=x.dtype, and
      buffers instead of constants; replace NumPy by torch.
   :keywords: FakeTensor device propagation, two different devices cuda:0 cpu, device
      mismatch, dtype mismatch, numpy in forward, hard-coded cpu, constant tensor
"""

# %%
# The models
# ++++++++++
#
# One scales its columns, the other adds a position to each row. Both make a tensor in
# ``forward``. There was no GPU where this page was built, so the device ``meta`` stands
# for one: it has shapes and no data.

# sphinx_gallery_tags = ["side effects", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "Unhandled FakeTensor Device Propagation, found two different devices cuda:0, cpu"
# sphinx_gallery_wording = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"

import numpy as np
import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Scaled(torch.nn.Module):
    def forward(self, x):
        return x * torch.tensor([1.0, 2.0, 3.0])


class Positions(torch.nn.Module):
    def forward(self, x):
        return x + torch.arange(x.shape[0], device="cpu")[:, None]


# %%
# The symptom
# +++++++++++
#
# The example is on the other device. Each operator has its own words for it.

batch = ({0: torch.export.Dim("batch", max=1024)},)
here, there = torch.rand(4, 3), torch.rand(4, 3, device="meta")
for model in (Scaled(), Positions()):
    try:
        torch.export.export(model, (there,), strict=False)
    except RuntimeError as error:
        message = str(error).splitlines()[0]
    else:
        message = "This release exports it."
    print(f"{type(model).__name__}: {message}")
    assert "device" in message and "cpu" in message, message

# %%
# The cause
# +++++++++
#
# Nothing is moved during a trace. Each operator compares the devices of its fake
# tensors, as eager does with real ones, so eager on a GPU fails as well. In a graph,
# device and dtype are arguments of the operator that makes a tensor.


def made(program):
    for node in program.graph.nodes:
        if "device" in node.kwargs:
            yield f"{node.target} {node.kwargs['device']} {node.kwargs.get('dtype')}"


program = torch.export.export(Positions(), (here,), dynamic_shapes=batch, strict=False)
print(*made(program))
assert list(made(program)) == ["aten.arange.default cpu None"]

# %%
# The fix
# +++++++
#
# A constant is a buffer: it moves with the model. A tensor that is made in ``forward``
# takes its device and its dtype from an input: ``device=x.device``, ``x.new_zeros``,
# ``torch.zeros_like(x)``. This costs nothing and works on all releases.


class Following(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, x):
        positions = torch.arange(x.shape[0], device=x.device, dtype=x.dtype)
        return x * self.scale + positions[:, None]


program = torch.export.export(
    Following().to("meta"), (there,), dynamic_shapes=batch, strict=False
)
print(*made(program), "constants:", list(program.constants))
assert list(made(program)) == ["aten.arange.default meta torch.float32"]

# %%
# It follows during the trace
# +++++++++++++++++++++++++++
#
# ``x.device`` and ``x.dtype`` are Python values, so the answer is a constant. The
# program is made for the device of the example. Another one is not looked for, and it
# fails where two devices meet.

program = torch.export.export(Following(), (here,), dynamic_shapes=batch, strict=False)
exported = program.module()
try:
    exported(there)
except RuntimeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print(message)
assert "device" in message, message

# %%
# With a dtype nothing may meet, and then nothing is said. The next model returns its
# second input in the dtype of the first. For ``float64`` the program returns
# ``float32``.


class Cast(torch.nn.Module):
    def forward(self, x, weight):
        return weight.to(x.dtype)


exported = torch.export.export(Cast(), (here, torch.rand(3)), strict=False).module()
inputs = (here.double(), torch.rand(3))
print("model:", Cast()(*inputs).dtype, "program:", exported(*inputs).dtype)
assert Cast()(*inputs).dtype == torch.float64
assert exported(*inputs).dtype == torch.float32

# %%
# One program for each device and dtype is the rule. A program that exists can be moved
# since 2.7, with its constants and the arguments of its operators.

if RELEASE >= (2, 7):
    from torch.export.passes import move_to_device_pass

    moved = move_to_device_pass(program, "meta")
    print(*made(moved), "->", moved.module()(there).device)
    assert moved.module()(there).device.type == "meta"
else:
    print("This release has no move_to_device_pass.")

# %%
# NumPy
# +++++
#
# A fake tensor cannot become an array in non-strict mode. Strict mode reads the calls
# of NumPy and writes those of torch in their place.


class WithNumPy(torch.nn.Module):
    def forward(self, x):
        return x + torch.from_numpy(np.tanh(x.numpy()))


try:
    torch.export.export(WithNumPy(), (here,), strict=False)
except RuntimeError as error:
    message = str(error)
else:
    message = "This release exports it."
print(message)
assert ".numpy() is not supported" in message, message
strict = torch.export.export(WithNumPy(), (here,), strict=True)
print([str(node.target) for node in strict.graph.nodes if "tanh" in node.name])
torch.testing.assert_close(strict.module()(2 * here), WithNumPy()(2 * here))

# %%
# ``torch.tanh`` is the fix. Where torch has no such function, a custom operator holds
# the NumPy code. An array that does not depend on the inputs becomes a constant, see
# :ref:`l-plot-exporter-wrong-constants`.


class WithTorch(torch.nn.Module):
    def forward(self, x):
        return x + torch.tanh(x)


# %%
# The check
# +++++++++
#
# Both models, on batches that were not traced.

for model in (Following(), WithTorch()):
    program = torch.export.export(model, (here,), dynamic_shapes=batch, strict=False)
    exported = program.module()
    for size in (1, 2, 1000):
        inputs = torch.rand(size, 3)
        torch.testing.assert_close(exported(inputs), model(inputs))
    print(f"{type(model).__name__}: same results")
try:
    exported(torch.rand(1025, 3))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with 1025 rows."
print(message)
assert "<= 1024" in message, message

# %%
# To remember
# +++++++++++
#
# * Constants are buffers; new tensors take device and dtype from an input.
# * Device and dtype of the example are part of the program, and the dtype of an input
#   is not checked.
# * NumPy on tensors works in strict mode only; write torch.
#
# Next: :ref:`l-plot-exporter-wrong-state` for buffers that change,
# :ref:`l-plot-exporter-wrong-constants` for what else is frozen, and
# :ref:`l-plot-exporter-exporter-strict` for the two modes.
