"""
.. _l-plot-exporter-ops-custom:

Export a model with a custom operator
=====================================

The model calls an operator of your own, and the export stops: ``There was no fake impl
registered for <CustomOpDef(...)>``, ``UnsupportedOperatorException``, or ``attempted to
run this operator with Meta tensors``. Or it passes, and the results are wrong because
the fake implementation is.

This page writes the fake implementation, for an output whose size depends on the data
as well, shows what :func:`torch.library.opcheck` finds and what it misses, and does
the same for an ``out=`` variant.

.. meta::
   :description: Register a fake implementation that computes the output's shape and
      dtype, and run torch.library.opcheck on two sizes.
   :keywords: custom operator, register_fake, no fake impl, meta kernel, opcheck,
      new_dynamic_size, UnsupportedOperatorException, out variant, torch.library
"""

# %%
# The model
# +++++++++
#
# ``frame_energy`` is an operator that NumPy computes: the energy of each block of
# ``hop`` samples. The exporter cannot look into NumPy, so the function is registered
# as one operator. The model divides by the number of frames.

# sphinx_gallery_tags = ["operators", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "Dynamo failed to run FX node with fake tensors: call_function mynamespace.func: There was no fake impl registered for <CustomOpDef(mynamespace::func)>"
# sphinx_gallery_wording = "NotImplementedError: aten::_native_batch_norm_legit.out: attempted to run this operator with Meta tensors, but there was no fake impl or Meta kernel registered"

import numpy
import torch
import torch._dynamo
from torch._subclasses.fake_tensor import UnsupportedOperatorException
from torch.testing._internal.optests import OpCheckError

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


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
model = Loudness()
signal = torch.randn(3, 22)
batch = torch.export.Dim("batch", max=64)
samples = torch.export.Dim("samples", min=8, max=4096)
shapes = ({0: batch, 1: samples},)
print(model(signal).shape)

# %%
# The symptom
# +++++++++++
#
# The model runs, and neither mode of the exporter takes it. The message asks for a
# *fake implementation*.

try:
    torch.export.export(model, (signal,), dynamic_shapes=shapes, strict=False)
except RuntimeError as error:
    message = str(error).split("\n")[0]
else:
    message = "This release needs no fake implementation."
print(message)
assert message.startswith("There was no fake impl registered"), message

# %%
# Strict mode has a frame of its own around the same words.

try:
    torch.export.export(model, (signal,), dynamic_shapes=shapes, strict=True)
except torch._dynamo.exc.TorchRuntimeError as error:
    message = str(error)
else:
    message = "This release needs no fake implementation."
found = message.find("There was no fake impl registered")
print(message[found:].split("'")[0].split("\n")[0])
assert found > 0, message

# %%
# The cause
# +++++++++
#
# The exporter runs the model on fake tensors: they have a shape and a dtype, and no
# values. (The `place that raises
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_library/custom_ops.py#L779>`_.)
# NumPy cannot compute with them, so somebody must say which shape and dtype come out.
# That is a fake implementation: a function with the same arguments that allocates the
# output and fills nothing in. With it, and nothing else changed, the model is exported.
# It may use ``signal.shape``, and must not read values. (The range of ``samples``
# begins at two frames, since a size of 1 is special:
# :ref:`l-plot-exporter-shapes-zero-one`.)


@frame_energy.register_fake
def frame_energy_fake(signal, hop):
    return signal.new_empty(signal.shape[0], signal.shape[1] // hop)


program = torch.export.export(model, (signal,), dynamic_shapes=shapes, strict=False)
for node in program.graph.nodes:
    if "frame_energy" in str(node.target):
        print(node.target, tuple(node.meta["val"].shape))
torch.testing.assert_close(program.module()(signal), model(signal))

# %%
# The operator is one node, and its shape is a formula of the input's shape. The formula
# is yours: the exporter believes it.
#
# Wrong fake implementations
# ++++++++++++++++++++++++++
#
# Here are three that a reviewer could miss. The first forgets the blocks, the second
# has the wrong dtype, the third keeps the number of frames of the example. They are
# registered in turn, and each time the model is exported and run.

fakes = {
    "right": frame_energy_fake,
    "shape": lambda signal, hop: torch.empty_like(signal),
    "dtype": lambda signal, hop: signal.new_empty(
        signal.shape[0], signal.shape[1] // hop, dtype=torch.float64
    ),
    "constant": lambda signal, hop: signal.new_empty(signal.shape[0], 5),
}
longer = torch.randn(3, 40)
good = {}
for name, fake in fakes.items():
    frame_energy.register_fake(fake)
    wrong = torch.export.export(model, (signal,), dynamic_shapes=shapes, strict=False)
    good[name] = [torch.allclose(wrong.module()(x), model(x)) for x in (signal, longer)]
    print(f"{name:9} right on 22 samples: {good[name][0]}, on 40: {good[name][1]}")
assert good["right"] == [True, True]
assert good["shape"] == [False, False]
assert good["constant"] == [True, False]

# %%
# No export failed and no run failed. With the wrong shape, the division by
# ``energy.shape[1]`` became a division by the number of samples. The constant one is
# right on the example only. The dtype does no harm here, since nothing after the
# operator asks for it.
#
# opcheck
# +++++++
#
# :func:`torch.library.opcheck` runs the operator on real and on fake tensors and
# compares. By default it raises at the first test that fails.

frame_energy.register_fake(fakes["shape"])
try:
    torch.library.opcheck(frame_energy, (signal, 4))
except OpCheckError as error:
    message = str(error)
else:
    message = "This release does not find it."
print(message)
assert "test_faketensor failed" in message and "Shapes" in message, message

# %%
# With ``raise_exception=False`` it returns the result of each test. It checks the
# sizes that it is given: the constant 5 passes on 22 samples, and fails on 40.

found = {}
for name, fake in fakes.items():
    frame_energy.register_fake(fake)
    found[name] = []
    for x in (signal, longer):
        tests = torch.library.opcheck(frame_energy, (x, 4), raise_exception=False)
        found[name].append(tests["test_faketensor"] != "SUCCESS")
    print(f"{name:9} found on 22 samples: {found[name][0]}, on 40: {found[name][1]}")
assert found["right"] == [False, False]
assert found["shape"] == found["dtype"] == [True, True]
assert found["constant"] == [False, True]
frame_energy.register_fake(frame_energy_fake)

# %%
# An output whose size depends on the data
# ++++++++++++++++++++++++++++++++++++++++
#
# ``loud_rows`` returns the rows of the batch whose energy is above a threshold. No
# formula of the input's shape gives their number. A fake implementation that returns
# the largest possible size is accepted, and what the model computes from that size is
# wrong, again without an error.


@torch.library.custom_op("cookbook_custom::loud_rows", mutates_args=())
def loud_rows(energy: torch.Tensor, threshold: float) -> torch.Tensor:
    return (energy > threshold).nonzero().squeeze(1)


class LoudShare(torch.nn.Module):
    def forward(self, signal):
        energy = frame_energy(signal, 4).sum(dim=1)
        found = loud_rows(energy, 20.0)
        return energy[found] * (found.shape[0] / energy.shape[0])


@loud_rows.register_fake
def loud_rows_bound(energy, threshold):
    return energy.new_empty(energy.shape[0], dtype=torch.int64)


share = LoudShare()
bound = torch.export.export(share, (signal,), dynamic_shapes=shapes, strict=False)
print("eager:  ", share(signal))
print("program:", bound.module()(signal))
assert not torch.allclose(bound.module()(signal), share(signal))

# %%
# `torch.library.get_ctx().new_dynamic_size()
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_library/fake_impl.py#L163>`_
# makes a new symbol for a size that only the run knows. Its default range begins at 0,
# and ``min=`` and ``max=`` narrow it. Use every symbol that you make in a shape that
# you return.


@loud_rows.register_fake
def loud_rows_fake(energy, threshold):
    count = torch.library.get_ctx().new_dynamic_size()
    return energy.new_empty(count, dtype=torch.int64)


program = torch.export.export(share, (signal,), dynamic_shapes=shapes, strict=False)
for node in program.graph.nodes:
    if "loud_rows" in str(node.target):
        print(node.target, tuple(node.meta["val"].shape))
        assert str(node.meta["val"].shape[0]).startswith("u")
tests = torch.library.opcheck(loud_rows, (torch.tensor([3.0, 30.0, 25.0]), 20.0))
assert set(tests.values()) == {"SUCCESS"}

# %%
# The price: the model cannot branch on ``found.shape[0]``, which is
# :ref:`l-plot-exporter-data-guard`.
#
# The check
# +++++++++
#
# Shapes that were not traced, the smallest among them, and a silent signal, for which
# ``loud_rows`` finds nothing.

exported = program.module()
for x in (torch.randn(1, 8), torch.randn(2, 31), torch.randn(7, 90), torch.zeros(2, 9)):
    torch.testing.assert_close(exported(x), share(x))
    print(f"{tuple(x.shape)}: {exported(x).shape[0]} loud rows")

# %%
# A signal shorter than two blocks is out of the range.

try:
    exported(torch.randn(2, 7))
except (AssertionError, RuntimeError) as error:
    message = str(error).split("\n")[0]
else:
    message = "This release runs the program with seven samples."
print(message)
assert ">= 8" in message, message

# %%
# An out= variant
# +++++++++++++++
#
# Operators from C++ often have a second form, which writes into a tensor that the
# caller brings. It is another overload, and needs its own fake implementation: the one
# of the functional form does not serve it. The missing one has two more wordings:
# the exporter's, and that of a call on meta tensors.

library = torch.library.Library("cookbook_gate", "DEF")
library.define("gate(Tensor x) -> Tensor")
library.define("gate.out(Tensor x, *, Tensor(a!) out) -> Tensor(a!)")
library.impl("gate", lambda x: x * torch.sigmoid(x), "CPU")
library.impl("gate.out", lambda x, *, out: out.copy_(x * torch.sigmoid(x)), "CPU")
torch.library.register_fake("cookbook_gate::gate", torch.empty_like, lib=library)


class Gated(torch.nn.Module):
    def forward(self, x):
        out = torch.empty_like(x)
        return torch.ops.cookbook_gate.gate.out(x, out=out) + 1


try:
    torch.export.export(Gated(), (signal,), strict=False)
except UnsupportedOperatorException as error:
    message = str(error).split("\n")[0]
else:
    message = "This release needs no fake implementation."
print(message)
assert message == "cookbook_gate.gate.out", message

# %%
# The same on meta tensors:

meta = signal.to("meta")
try:
    torch.ops.cookbook_gate.gate.out(meta, out=torch.empty_like(meta))
except NotImplementedError as error:
    message = str(error).split(" You may have")[0]
else:
    message = "This release needs no fake implementation."
print(message)
assert "attempted to run this operator with Meta tensors" in message, message

# %%
# Its fake implementation returns ``out``. The export passes then. The next step,
# ``run_decompositions``, does not take an operator that returns its argument: see
# :ref:`l-plot-exporter-ops-custom-inplace`. The functional form goes all the way.

torch.library.register_fake(
    "cookbook_gate::gate.out", lambda x, *, out: out, lib=library
)
program = torch.export.export(Gated(), (signal,), strict=False)
torch.testing.assert_close(program.module()(signal), Gated()(signal))
try:
    program.run_decompositions({})
except RuntimeError as error:
    message = str(error).split(":")[0]
else:
    message = "This release decomposes the program."
print(message)
assert "output has alias annotations" in message, message


class GatedFunctional(torch.nn.Module):
    def forward(self, x):
        return torch.ops.cookbook_gate.gate(x) + 1


program = torch.export.export(GatedFunctional(), (signal,), strict=False)
decomposed = program.run_decompositions({})
torch.testing.assert_close(decomposed.module()(signal), Gated()(signal))

# %%
# An operator lives as long as its library. In a notebook, do this before you run the
# definitions again.

library._destroy()
for operator in (frame_energy, loud_rows):
    operator._lib._destroy()

# %%
# To remember
# +++++++++++
#
# * A fake implementation computes shape and dtype from shapes. The exporter believes
#   it, right or wrong.
# * Run ``opcheck`` on at least two sizes: it sees only what you pass.
# * A size that depends on values is ``get_ctx().new_dynamic_size()``, never a bound.
# * Each overload has its own fake implementation; prefer the functional form.
#
# All of this works on all releases of this page. The process that loads a saved program
# must define the same operators first: :ref:`l-plot-exporter-after-save-load`.
#
# Next: :ref:`l-plot-exporter-ops-custom-inplace` when the operator writes into an
# argument, :ref:`l-plot-exporter-wrong-gradients` when it is trained,
# :ref:`l-plot-exporter-data-guard` when the model branches on the new size.
