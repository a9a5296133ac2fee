"""
.. _l-plot-exporter-ops-custom:

"There was no fake impl registered": write one, and test it
===========================================================

.. answer::
   :cost: Nothing at run time.

   The exporter runs the model on tensors without values, and your operator needs
   values. A fake implementation returns an empty tensor of the right shape and dtype.
   Torch trusts it: run :func:`torch.library.opcheck` on at least two sizes.

   .. code-block:: diff

      +@frame_energy.register_fake
      +def frame_energy_fake(signal, hop):
      +    return signal.new_empty(signal.shape[0], signal.shape[1] // hop)

   Not your case?

   * The operator writes into an argument, or has ``out=``:
     :ref:`l-plot-exporter-ops-custom-inplace`.
   * ``torch.export.load`` fails: :ref:`l-plot-exporter-after-save-load`.
   * The conversion to ONNX fails: :ref:`l-plot-exporter-onnx-missing-op`.
   * An argument is an object of your own: :ref:`l-plot-exporter-inputs-custom-objects`.

.. meta::
   :keywords: custom operator, register_fake, no fake impl, meta kernel, opcheck,
      new_dynamic_size, UnsupportedOperatorException, Meta tensors, torch.library,
      MetadataMismatchError, C++ extension
"""

# %%
# The problem
# +++++++++++
#
# The operator computes the energy of each block of ``hop`` samples, in NumPy.

# sphinx_gallery_tags = ["operators", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "Dynamo failed to run FX node with fake tensors: call_function mynamespace.func: There was no fake impl registered for <CustomOpDef(mynamespace::func)>"
# sphinx_gallery_wording = "NotImplementedError: aten::_native_batch_norm_legit.out: attempted to run this operator with Meta tensors, but there was no fake impl or Meta kernel registered"

import numpy
import torch
from torch._subclasses.fake_tensor import UnsupportedOperatorException
from torch.testing._internal.optests import OpCheckError


@torch.library.custom_op("cookbook_custom::frame_energy", mutates_args=())
def frame_energy(signal: torch.Tensor, hop: int) -> torch.Tensor:
    frames = signal.shape[1] // hop
    blocks = signal.detach().numpy()[:, : frames * hop].reshape(-1, frames, hop)
    return torch.from_numpy(numpy.square(blocks).sum(axis=2))


class Loudness(torch.nn.Module):
    def forward(self, signal):
        energy = frame_energy(signal, 4)
        return energy / energy.shape[1]


torch.manual_seed(0)
model, signal = Loudness(), torch.randn(3, 22)
batch = torch.export.Dim("batch", max=64)
samples = torch.export.Dim("samples", min=8, max=4096)
shapes = ({0: batch, 1: samples},)
try:
    torch.export.export(model, (signal,), dynamic_shapes=shapes, strict=False)
except RuntimeError as error:
    print(error)

# %%
# Strict mode wraps the message in ``Dynamo failed to run FX node with fake tensors``.
#
# The fix
# +++++++
#
# A function with the same arguments. It may use shapes and dtypes, and must not read
# values.


@frame_energy.register_fake
def frame_energy_fake(signal, hop):
    return signal.new_empty(signal.shape[0], signal.shape[1] // hop)


program = torch.export.export(model, (signal,), dynamic_shapes=shapes, strict=False)
for size in (22, 40):
    torch.library.opcheck(frame_energy, (torch.randn(3, size), 4))

# %%
# Why it happens
# ++++++++++++++
#
# NumPy cannot compute with tensors that have no values, so torch looks for a fake
# implementation, and `raises if there is none
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_library/custom_ops.py#L779>`_.
#
# The export does not compare it with what the operator returns. If the number of
# blocks, 5, is hard-coded, the program is right for the example and wrong for others.

frame_energy.register_fake(lambda signal, hop: signal.new_empty(signal.shape[0], 5))
wrong = torch.export.export(model, (signal,), dynamic_shapes=shapes, strict=False)
wrong, longer = wrong.module(), torch.randn(3, 40)
torch.testing.assert_close(wrong(signal), model(signal))
print("eager:  ", model(longer)[0, :3])
print("program:", wrong(longer)[0, :3])
assert not torch.allclose(wrong(longer), model(longer))

# %%
# ``opcheck`` compares, for the arguments that it is given: 22 samples pass.

torch.library.opcheck(frame_energy, (signal, 4))
try:
    torch.library.opcheck(frame_energy, (longer, 4))
except OpCheckError as error:
    print(error)
frame_energy.register_fake(frame_energy_fake)

# %%
# ``opcheck`` also finds a wrong dtype and, in PyTorch 2.13 and later, wrong strides.
#
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If
#      - Write
#      - Cost
#    * - the function is made of operators of torch
#      - a plain function, without ``custom_op``
#      - the program has these operators instead of one
#    * - the size of the output depends on values
#      - ``torch.library.get_ctx().new_dynamic_size()``
#      - the model cannot branch on this size: :ref:`l-plot-exporter-data-guard`
#    * - the operator was defined in C++ or with ``Library.define``
#      - ``torch.library.register_fake("namespace::name", function)``
#      - none
#
# Do not return the largest possible size where the size depends on values: the export
# succeeds, and results that use this size are wrong.


@torch.library.custom_op("cookbook_custom::loud_rows", mutates_args=())
def loud_rows(energy: torch.Tensor, threshold: float) -> torch.Tensor:
    return (energy > threshold).nonzero().squeeze(1)


class LoudShare(torch.nn.Module):
    def forward(self, energy):
        found = loud_rows(energy, 20.0)
        return energy[found] * (found.shape[0] / energy.shape[0])


@loud_rows.register_fake
def at_most(energy, threshold):
    return energy.new_empty(energy.shape[0], dtype=torch.int64)


energy = torch.tensor([3.0, 30.0, 25.0])
bound = torch.export.export(
    LoudShare(), (energy,), dynamic_shapes=({0: batch},), strict=False
)
print("eager:  ", LoudShare()(energy))
print("program:", bound.module()(energy))
try:
    torch.library.opcheck(loud_rows, (energy, 20.0))
except OpCheckError as error:
    print(error)

# %%
# `new_dynamic_size
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_library/fake_impl.py#L163>`_
# makes a size that is known at run time only. Use each in a shape that you return.


@loud_rows.register_fake
def loud_rows_fake(energy, threshold):
    count = torch.library.get_ctx().new_dynamic_size()
    return energy.new_empty(count, dtype=torch.int64)


share = torch.export.export(
    LoudShare(), (energy,), dynamic_shapes=({0: batch},), strict=False
)
torch.library.opcheck(loud_rows, (energy, 20.0))

# %%
# Operators from C++ fail with their name only; the second message is for meta tensors.

library = torch.library.Library("cookbook_gate", "FRAGMENT")
library.define("gate(Tensor x) -> Tensor")
library.impl("gate", lambda x: x * torch.sigmoid(x), "CPU")


class Gated(torch.nn.Module):
    def forward(self, x):
        return torch.ops.cookbook_gate.gate(x) + 1


try:
    torch.export.export(Gated(), (signal,), strict=False)
except UnsupportedOperatorException as error:
    print(error)
try:
    Gated()(signal.to("meta"))
except NotImplementedError as error:
    print(error)

torch.library.register_fake("cookbook_gate::gate", torch.empty_like)
gated = torch.export.export(Gated(), (signal,), dynamic_shapes=shapes, strict=False)

# %%
# Check
# +++++
#
# The references are operators of torch, at sizes that were not traced. All, some and
# none of the values are loud.

exported = program.module()
for rows, size in [(1, 8), (2, 31), (7, 90), (64, 4096)]:
    x = torch.randn(rows, size)
    expected = x.unfold(1, 4, 4).square().sum(dim=2) / (size // 4)
    torch.testing.assert_close(exported(x), expected)
    torch.testing.assert_close(gated.module()(x), torch.nn.functional.silu(x) + 1)
for values in ([30.0, 40.0], [1.0, 50.0, 2.0, 60.0], [1.0, 2.0, 3.0]):
    loud = torch.tensor([value for value in values if value > 20])
    result = share.module()(torch.tensor(values))
    torch.testing.assert_close(result, loud * (len(loud) / len(values)))
try:
    exported(torch.randn(2, 7))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Compute shape and dtype from the shapes of the arguments; a size that depends on
#   values is ``new_dynamic_size()``, never a bound.
# * Run ``opcheck`` on two sizes: a wrong one gives wrong results, silently.
# * Next: :ref:`l-plot-exporter-wrong-gradients` if the program is trained. Each process
#   that loads it must define the operator: :ref:`l-plot-exporter-after-save-load`.
