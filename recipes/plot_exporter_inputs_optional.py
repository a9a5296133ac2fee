"""
.. _l-plot-exporter-inputs-optional:

Do not export an optional input as None
=======================================

The model has an optional input. It was exported with ``mask=None``, and the program
ignores every mask that it gets, without an error. Or it was exported with a mask, and
it refuses ``None``: ``'NoneType' object has no attribute 'size'``, ``Expected input at
*args[1] to be a tensor, but got <class 'NoneType'>``.

This page shows why ``None`` is never compared, how to see it in a program, what
``dynamic_shapes`` says about it, and four ways out.

.. meta::
   :description: Export an optional input with a tensor, or leave it out; an input exported as None is ignored without an error.
   :keywords: optional input, mask=None, None input ignored, attention mask has no effect, NoneType object has no attribute size, default argument None, torch.export Optional, non-tensor type NoneType, two programs
"""

# %%
# The model
# +++++++++
#
# Self-attention with an optional mask: ``True`` is a position to attend to.

# sphinx_gallery_tags = ["inputs", "wrong without an error", "run fails", "export fails"]
# sphinx_gallery_wording = "exported program ignores the attention mask"
# sphinx_gallery_wording = "same output with and without mask after torch.export"
# sphinx_gallery_wording = "optional argument has no effect in the exported program"

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.project = torch.nn.Linear(8, 8)

    def forward(self, x, mask=None):
        hidden = self.project(x)
        scores = hidden @ hidden.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, :], float("-inf"))
        return torch.softmax(scores, dim=-1) @ x


def make_inputs(batch, length):
    lengths = torch.arange(batch)[:, None] % length + 1
    return torch.randn(batch, length, 8), torch.arange(length)[None] < lengths


torch.manual_seed(0)
model = Attention().eval()
x, mask = make_inputs(batch=2, length=4)
print(mask.tolist())
difference = (model(x, mask) - model(x)).abs().max().item()
print(f"the mask changes the result by up to {difference:.1f}")
assert difference > 0.1

# %%
# The symptom: the mask is ignored
# ++++++++++++++++++++++++++++++++
#
# The export is given the default. The program accepts a mask, and returns the result
# without it. This is so on every release, in both modes.

for strict in (False, True):
    ignores = torch.export.export(model, (x, None), strict=strict).module()
    result = ignores(x, mask)
    same = {
        "model(x, mask)": torch.allclose(result, model(x, mask)),
        "model(x)": torch.allclose(result, model(x)),
    }
    print(f"strict={strict}: equal to {[name for name in same if same[name]]}")
    assert same == {"model(x, mask)": False, "model(x)": True}

# %%
# It accepts any other single value in this place.

torch.testing.assert_close(ignores(x, "not a mask"), model(x))

# %%
# The reverse is loud. The program was exported with a mask and gets ``None``. Up to 2.8
# the message names the input, later a guard stumbles over ``None``.

needs_mask = torch.export.export(model, (x, mask), strict=False).module()
try:
    needs_mask(x, None)
except (AttributeError, RuntimeError) as error:
    message = f"{type(error).__name__}: {error}"
else:
    message = "This release runs the program without the mask."
print(message)
assert ("has no attribute 'size'" in message) == (RELEASE >= (2, 9)), message
assert ("to be a tensor, but got" in message) == (RELEASE < (2, 9)), message

# %%
# The cause
# +++++++++
#
# ``if mask is not None`` is decided while the program is made, by Python. The program
# has one of the two branches. Only the example input differs between these two:


def operators(program):
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    return [node.target.__name__ for node in nodes]


without = torch.export.export(model, (x, None), strict=False)
masked = torch.export.export(model, (x, mask), strict=False)
print("None:", operators(without))
print("mask:", operators(masked))
assert "masked_fill.Scalar" in operators(masked)
assert "masked_fill.Scalar" not in operators(without)

# %%
# That a program keeps one branch is torch's design (`issue 112095
# <https://github.com/pytorch/pytorch/issues/112095>`_). That nothing is said comes from
# the checks of a call. They compare the structure, where ``None`` and a tensor are one
# value each (``*``), then tensors, integers, floats and strings, and nothing else. See
# `the checks up to 2.8
# <https://github.com/pytorch/pytorch/blob/v2.8.0/torch/_export/utils.py#L430>`_ and
# `the guards since 2.9
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_unlift.py#L679>`_.

pytree = torch.utils._pytree
assert pytree.tree_structure((x, None)) == pytree.tree_structure((x, mask))
assert pytree.tree_structure((x, None)) == pytree.tree_structure((x, "not a mask"))
print(pytree.tree_structure((x, None)))

# %%
# How to see it in a program that you have: an input that is the constant ``None``.


def inputs_that_are_none(program):
    names = []
    for spec in program.graph_signature.input_specs:
        constant = isinstance(spec.arg, torch.export.graph_signature.ConstantArgument)
        if constant and spec.arg.value is None:
            names.append(spec.arg.name)
    return names


print("None:", inputs_that_are_none(without), "mask:", inputs_that_are_none(masked))
assert inputs_that_are_none(without) == ["mask"]
assert inputs_that_are_none(masked) == []

# %%
# Fix 1: leave the input out
# ++++++++++++++++++++++++++
#
# If nobody will pass a mask, do not pass ``None`` to the export. Then the mask is no
# input, and a call with one is refused. It works on all releases of this page.

no_mask = torch.export.export(model, (x,), strict=False)
assert inputs_that_are_none(no_mask) == []
try:
    no_mask.module()(x, mask)
except ValueError as error:
    message = str(error).splitlines()[0].strip()
else:
    message = "This release accepts an input that the export did not have."
print(message)
assert message.startswith("Trying to flatten user inputs"), message

# %%
# What ``dynamic_shapes`` says about it
# +++++++++++++++++++++++++++++++++++++
#
# An input that is left out has no entry, not even ``None``.

batch = torch.export.Dim("batch", min=1, max=16)
length = torch.export.Dim("length", min=2, max=64)
shapes = {"x": {0: batch, 1: length}}
try:
    torch.export.export(
        model, (x,), dynamic_shapes={**shapes, "mask": None}, strict=False
    )
except torch._dynamo.exc.UserError as error:
    message = str(error).split(". ")[0]
else:
    message = "This release accepts an entry for an input that is left out."
print(message)
assert "top-level keys must be the arg names ['x']" in message, message

# %%
# An input that is ``None`` has the entry ``None``. An empty dictionary, or the entry of
# the tensor, is refused.

try:
    torch.export.export(
        model, (x, None), dynamic_shapes={**shapes, "mask": {}}, strict=False
    )
except torch._dynamo.exc.UserError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release accepts a shape for None."
print(message)
assert "to non-tensor type <class 'NoneType'>" in message, message
torch.export.export(
    model, (x, None), dynamic_shapes={**shapes, "mask": None}, strict=False
)

# %%
# Fix 2: always pass a tensor
# +++++++++++++++++++++++++++
#
# Export with a mask, and pass a neutral one when there is none: here, all ``True``. The
# price is the work of a mask that does nothing. It works on all releases of this page.
# The neutral value depends on the input: zeros for a bias that is added, ones for a
# factor.

shapes["mask"] = {0: batch, 1: length}
program = torch.export.export(model, (x, mask), dynamic_shapes=shapes, strict=False)
run = program.module()


def call(x, mask=None):
    if mask is None:
        mask = torch.ones(x.shape[:2], dtype=torch.bool)
    return run(x, mask)


for size in [(1, 2), (5, 3), (16, 64)]:
    x, mask = make_inputs(*size)
    torch.testing.assert_close(call(x, mask), model(x, mask))
    torch.testing.assert_close(call(x), model(x))
    print(f"batch {size[0]}, length {size[1]}: same results")

# %%
# A mask of another length must be refused.

x, mask = make_inputs(5, 3)
try:
    run(x, mask[:, :2])
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program with a shorter mask."
print(message)
assert "size()[1]" in message or "shape[1] to be equal to 3" in message, message

# %%
# Fix 3: a flag, when no value is neutral
# +++++++++++++++++++++++++++++++++++++++
#
# Here ``None`` stands for a learned default. No speaker that a caller could pass means
# the same, so the choice has to be an input too.


class Voice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.default = torch.nn.Parameter(torch.randn(8))

    def forward(self, x, speaker=None):
        return x * torch.tanh(self.default if speaker is None else speaker)


class VoiceWithFlag(torch.nn.Module):
    def __init__(self, voice):
        super().__init__()
        self.voice = voice

    def forward(self, x, speaker, has_speaker):
        speaker = torch.where(has_speaker, speaker, self.voice.default)
        return self.voice(x, speaker)


# %%
# :func:`torch.where` computes both sides, which is cheap for a choice between two
# tensors. When a side is expensive, use :ref:`l-plot-exporter-control-cond`. The caller
# passes a tensor in any case; with ``False`` its values play no part. It works on all
# releases of this page.

voice = Voice().eval()
frames = {0: torch.export.Dim("frames", min=1, max=1000)}
example = (torch.randn(6, 8), torch.randn(8), torch.tensor(True))
program = torch.export.export(
    VoiceWithFlag(voice), example, dynamic_shapes=(frames, None, None), strict=False
)
run = program.module()
for size in (1, 7, 1000):
    x, speaker = torch.randn(size, 8), torch.randn(8)
    result = run(x, speaker, torch.tensor(True))
    torch.testing.assert_close(result, voice(x, speaker))
    result = run(x, torch.zeros(8), torch.tensor(False))
    torch.testing.assert_close(result, voice(x))
    print(f"{size} frames: same results")

# %%
# Fix 4: two programs
# +++++++++++++++++++
#
# One program for each branch, and Python chooses. No program does needless work. The
# price is an export, and a file, for each combination: three optional inputs are eight
# programs. In memory the weights are there once: both programs hold the parameters of
# the model. It works on all releases of this page.

x, mask = make_inputs(2, 4)
with_mask = torch.export.export(model, (x, mask), dynamic_shapes=shapes, strict=False)
del shapes["mask"]
without = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
weights = [p.state_dict["project.weight"].data_ptr() for p in (with_mask, without)]
assert weights == [model.project.weight.data_ptr()] * 2

run_with_mask, run_without = with_mask.module(), without.module()


def choose(x, mask=None):
    return run_without(x) if mask is None else run_with_mask(x, mask)


for size in [(1, 2), (5, 3), (16, 64)]:
    x, mask = make_inputs(*size)
    torch.testing.assert_close(choose(x, mask), model(x, mask))
    torch.testing.assert_close(choose(x), model(x))
    print(f"batch {size[0]}, length {size[1]}: same results")

# %%
# When the program is not yours
# +++++++++++++++++++++++++++++
#
# A program that was exported with ``None`` cannot use a mask. It can refuse one: a hook
# compares each call with the example inputs. The price is that the hook belongs to the
# module, and a file that :func:`torch.export.save` writes does not have it.

x, mask = make_inputs(2, 4)
program = torch.export.export(model, (x, None), strict=False)
expected_leaves = pytree.tree_leaves(program.example_inputs)


def refuse_what_was_none(module, args, kwargs):
    leaves = pytree.tree_leaves((args, kwargs))
    for position, (expected, got) in enumerate(zip(expected_leaves, leaves)):
        if expected is None and got is not None:
            raise TypeError(f"input {position} was None at the export")


run = program.module()
run.register_forward_pre_hook(refuse_what_was_none, with_kwargs=True)
torch.testing.assert_close(run(x, None), model(x))
try:
    run(x, mask)
except TypeError as error:
    message = str(error)
else:
    message = "The mask is ignored."
print(message)
assert message == "input 1 was None at the export", message

# %%
# To remember
# +++++++++++
#
# * An input exported as ``None`` is accepted with any value and ignored.
# * Export with a tensor, and pass a neutral one; or leave the input out, and the
#   program refuses it.
# * The entry of ``None`` in ``dynamic_shapes`` is ``None``; an input that is left out
#   has no entry.
#
# Next: :ref:`l-plot-exporter-wrong-inputs` for other inputs that are ignored,
# :ref:`l-plot-exporter-inputs-args-kwargs` for the calls that a program accepts,
# :ref:`l-plot-exporter-wrong-checklist` to check a program before you trust it.
