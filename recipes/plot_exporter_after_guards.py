"""
.. _l-plot-exporter-after-guards:

Guard failed: which inputs a program accepts
============================================

The exported program refuses an input that the model takes: ``Guard failed:
images.size()[1] == 3``, or, up to 2.8 and with ``check_guards=False``, ``Expected input
at *args[0].shape[1] to be equal to 3, but got 1``. Or it refuses nothing, and the
result is another one than the model's.

This page reads the messages, lists what a program verifies before it computes and what
it does not (the type of the elements, for one), and shows what to change for each.

.. meta::
   :description: Read the guard: a number or a range comes from dynamic_shapes, an
      expression from a branch; verify dtype and rank yourself.
   :keywords: Guard failed, Expected input at args shape, check_guards, validate_inputs,
      run-time check, exported program input validation, dtype not checked, wrong rank,
      'NoneType' object has no attribute 'size', tuple index out of range
"""

# %%
# The model
# +++++++++
#
# It measures how bright the masked part of each channel is. Images of bytes are scaled
# first, large images are clipped first. Height and width are dynamic, as is the batch.
# The channels and the gain are not.

# sphinx_gallery_tags = ["after the export", "run fails", "wrong without an error"]
# sphinx_gallery_wording = "the exported program refuses another batch size"
# sphinx_gallery_wording = "Expected input l_args_0_.shape[0] to be equal to 4"
# sphinx_gallery_wording = "exported program accepts the wrong dtype"

import torch

Dim = torch.export.Dim
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Brightness(torch.nn.Module):
    def forward(self, images, mask, gain=1.0):
        if images.dtype == torch.uint8:
            images = images / 255
        height, width = images.shape[-2:]
        if height * width > 64:
            images = images.clamp(max=0.9)
        return gain * (images * mask).mean(dim=(-2, -1))


def make_inputs(batch, height, width, channels=3, gain=2.0):
    images = torch.rand(batch, channels, height, width)
    return images, torch.rand(height, width), gain


torch.manual_seed(0)
model = Brightness()
batch, height = Dim("batch", max=32), Dim("height", min=4, max=512)
width = Dim("width", min=4, max=512)
shapes = ({0: batch, 2: height, 3: width}, {0: height, 1: width}, None)
inputs = make_inputs(2, 9, 10)
program = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
exported = program.module()

# %%
# The symptom
# +++++++++++
#
# The model takes images with one channel, the program does not: an ``AssertionError``
# since 2.9, before that a ``RuntimeError`` with another text.

grey = make_inputs(2, 9, 10, channels=1)
print(model(*grey).shape)
try:
    exported(*grey)
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program with one channel."
print(message)
assert ("Guard failed" in message) == (RELEASE >= (2, 9)), message
assert "size()[1] == 3" in message or "to be equal to 3" in message, message

# %%
# The cause
# +++++++++
#
# A program is one path through the model, and the trace kept a list of what must hold
# on that path. Part of it is in the inputs of the graph and in ``range_constraints``: a
# number is constant, a symbol has a range, two dimensions with one symbol are equal.

symbols = {}
for node in program.graph.find_nodes(op="placeholder"):
    value = node.meta["val"]
    symbols[node.name] = tuple(getattr(value, "shape", [value]))
    print(node.name, symbols[node.name])
print(program.range_constraints)
assert symbols["images"][1] == 3 and symbols["gain"] == (2.0,)
assert str(symbols["images"][2:]) == str(symbols["mask"])

# %%
# The other part are comparisons that the code made with sizes. They are stored since
# 2.9 (in a private attribute), and since then a program verifies both parts (`the
# change <https://github.com/pytorch/pytorch/pull/161178>`_). Each guard below comes
# from a line of the model: the ``if``, and the product with the mask.

guards = getattr(program, "_guards_code", ["This release stores no guards."])
print("\n".join(guards))
assert any("> 64" in guard for guard in guards) == (RELEASE >= (2, 9))

# %%
# What the messages mean
# ++++++++++++++++++++++
#
# Every kind of refusal, with its message. ``*args[1].shape[0]`` is the first dimension
# of the second input. In the older wording of a relation, "equal to 20" is not a
# constant: 20 is the height of the images of this call.

refused = {
    "static": make_inputs(2, 9, 10, channels=1),
    "range": make_inputs(33, 9, 10),
    "relation": (make_inputs(2, 20, 30)[0], torch.rand(1, 30), 2.0),
    "Python value": make_inputs(2, 9, 10, gain=3.0),
    "structure": make_inputs(2, 9, 10)[:2],
}
for kind, new_inputs in refused.items():
    model(*new_inputs)
    try:
        exported(*new_inputs)
    except (AssertionError, RuntimeError, ValueError) as error:
        message = str(error).strip().splitlines()[0]
    else:
        message = "accepted"
    print(f"{kind:12} {message}")
    assert message != "accepted", kind

# %%
# What to do depends on what is compared:
#
# * A size with a number, ``== 3``: the dimension is constant. Give it a ``Dim``; if the
#   export then complains, see :ref:`l-plot-exporter-shapes-specialized`.
# * A size with a bound, ``<= 32``: the range of the ``Dim`` or of the model, see
#   :ref:`l-plot-exporter-shapes-ranges`.
# * Two sizes: they share a symbol, see :ref:`l-plot-exporter-shapes-related`.
# * ``!= 1``, also of a quotient as in ``size()[0] // 5 != 1``: the trace excluded a
#   special size, see :ref:`l-plot-exporter-shapes-zero-one`.
# * An expression, ``height * width > 64``: a branch of the model, see below.
# * A value, ``gain == 2.0``: see :ref:`l-plot-exporter-inputs-python-scalars`.
# * The input tree spec: see :ref:`l-plot-exporter-inputs-nested`.
#
# Some messages do not look like a refusal. Since 2.9 the list is a function that reads
# sizes. Given an array, ``None``, or too few dimensions, this function fails itself.

strange = {
    "array": (inputs[0].numpy(), inputs[1], 2.0),
    "None": (None, inputs[1], 2.0),
    "rank": (inputs[0], torch.rand(9), 2.0),
}
for kind, new_inputs in strange.items():
    try:
        exported(*new_inputs)
    except (AttributeError, IndexError, RuntimeError, TypeError) as error:
        message = f"{type(error).__name__}: {error}"
    else:
        message = "accepted"
    print(f"{kind:5} {message}")
    assert message.startswith("RuntimeError") == (RELEASE < (2, 9)), message

# %%
# The same words come from an example that is a *slice*, with ``Dim.DYNAMIC`` or
# ``Dim.AUTO``. Since 2.9 non-strict mode compares the input with the tensor that it was
# cut from, and an input that was not cut has none. Copy the example, as here, and the
# guard is gone.


class Twice(torch.nn.Module):
    def forward(self, x):
        return x * 2


wide = torch.rand(4, 9)[:, :6]
for name, example in {"slice": wide, "copy": wide.clone()}.items():
    twice = torch.export.export(
        Twice(), (example,), dynamic_shapes=({0: Dim.DYNAMIC},), strict=False
    )
    try:
        twice.module()(torch.rand(3, 6))
    except AttributeError as error:
        message = str(error)
    else:
        message = "accepted"
    print(f"{name:5} {getattr(twice, '_guards_code', None)} {message}")
    assert (message == "accepted") == (name == "copy" or RELEASE < (2, 9))

# %%
# What is not verified
# ++++++++++++++++++++
#
# The dtype, on any release. The test of the dtype in the model was decided by the
# trace, and no guard remembers it. Bytes run through the path of the floats: there is
# no error, and the result is too large.

bytes_ = torch.randint(0, 256, (2, 3, 9, 10), dtype=torch.uint8)
expected = model(bytes_, *inputs[1:])
result = exported(bytes_, *inputs[1:])
print(f"model {float(expected.mean()):.3f}, program {float(result.mean()):.3f}")
assert not torch.allclose(expected, result)

# %%
# The rank, since 2.9: one dimension more passes, and the program divides by another
# size than the model. (Too few dimensions are the ``IndexError`` from above.) `This
# code <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_unlift.py#L627>`_
# writes the function that verifies, and neither the rank nor the dtype is among what it
# writes.


class Average(torch.nn.Module):
    def forward(self, x):
        return x.sum(-1) / x.shape[-1]


x = (torch.rand(4, 5),)
dims = ({0: Dim("rows"), 1: Dim("columns")},)
average = torch.export.export(Average(), x, dynamic_shapes=dims, strict=False)
(size,) = (node for node in average.graph.nodes if "sym_size" in node.name)
print("x.shape[-1] became", size.target, size.args)
assert size.args[1] == 1
cube = torch.rand(4, 5, 7)
try:
    result = average.module()(cube)
except RuntimeError as error:
    result = None
    print(error)
else:
    print("The same as the model:", torch.allclose(result, Average()(cube)))
    assert not torch.allclose(result, Average()(cube))
assert (result is None) == (RELEASE < (2, 9))

# %%
# Before 2.9 nothing verified the comparisons. A small image ran through the path of the
# large ones, which is wrong without an error. If a newer release refuses an input that
# an older one took, the older result may have been wrong.

small = make_inputs(2, 4, 4)
small[0].fill_(1.0)
try:
    result = exported(*small)
except AssertionError as error:
    result = None
    print(error)
else:
    print("The same as the model:", torch.allclose(result, model(*small)))
    assert not torch.allclose(result, model(*small))
assert (result is None) == (RELEASE >= (2, 9))

# %%
# ``check_guards=False``
# ++++++++++++++++++++++
#
# This option of :meth:`~torch.export.ExportedProgram.module` (since 2.9) is no fix for
# a guard. It brings back the `older verification
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/utils.py#L446>`_: the
# ranges, constants and relations with the older messages, the rank as well, and not
# the comparisons. The same happens if ``example_inputs`` of the program is ``None``, or
# if a file on the stack has ``executorch`` or ``torchao`` in its path (`this list
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_unlift.py#L740>`_).

unguarded = program.module(check_guards=False) if RELEASE >= (2, 9) else exported
result = unguarded(*small)
print("The same as the model:", torch.allclose(result, model(*small)))
assert not torch.allclose(result, model(*small))
for wrong in (grey, strange["rank"]):
    try:
        unguarded(*wrong)
    except RuntimeError as error:
        message = str(error)
    else:
        message = "accepted"
    print(message)
    assert message.startswith(("Expected input at", "Unexpected number")), message
if RELEASE >= (2, 9):
    program.example_inputs = None
    assert not hasattr(program.module(), "_guards_fn")

# %%
# The fix for a constant
# ++++++++++++++++++++++
#
# Export again with a ``Dim`` for the channels. The price: the model must not depend on
# the number of channels. Works on all releases of this page, as do the next two fixes.

channels = Dim("channels", max=16)
shapes = ({0: batch, 1: channels, 2: height, 3: width}, *shapes[1:])
options = {"dynamic_shapes": shapes, "strict": False}
program = torch.export.export(model, inputs, **options)
torch.testing.assert_close(program.module()(*grey), model(*grey))

# %%
# The fix for a branch
# ++++++++++++++++++++
#
# A guard with an expression comes from a branch. Remove the branch, or export one
# program for each side and choose between them in front. The price is a second program
# and a condition in two places.

few = torch.export.export(model, make_inputs(2, 5, 6), **options)
sides = {True: program.module(), False: few.module()}


def dispatch(images, mask, gain):
    large = images.shape[-2] * images.shape[-1] > 64
    return sides[large](images, mask, gain)


torch.testing.assert_close(dispatch(*small), model(*small))

# %%
# The fix for dtype and rank
# ++++++++++++++++++++++++++
#
# The inputs of the graph know the dtype, the device and the rank of the example.
# Compare them before the call. The user's inputs are the last ones of the graph. The
# price is a loop in Python for each call.


def verify(program, inputs):
    leaves = torch.utils._pytree.tree_leaves(inputs)
    nodes = program.graph.find_nodes(op="placeholder")[-len(leaves) :]
    for node, leaf in zip(nodes, leaves, strict=True):
        value = node.meta["val"]
        for name in ("dtype", "device", "ndim"):
            wanted, found = getattr(value, name, None), getattr(leaf, name, None)
            if wanted != found:
                raise TypeError(f"{node.name}.{name} is {found}, expected {wanted}")


verify(program, inputs)
for wrong in [(bytes_, *inputs[1:]), *strange.values()]:
    try:
        verify(program, wrong)
    except TypeError as error:
        message = str(error)
    else:
        message = "accepted"
    print(message)
    assert "expected" in message, message

# %%
# Or put the condition into the graph: this operator stays in the program, also after
# :meth:`~torch.export.ExportedProgram.run_decompositions`. Its name begins with an
# underscore, so it may change.


class FloatsOnly(Brightness):
    def forward(self, images, mask, gain=1.0):
        verify_metadata = torch.ops.aten._assert_tensor_metadata.default
        verify_metadata(images, None, None, torch.float32)
        return super().forward(images, mask, gain)


checked = torch.export.export(FloatsOnly(), inputs, **options).run_decompositions()
try:
    checked.module()(bytes_, *inputs[1:])
except RuntimeError as error:
    message = str(error).splitlines()[0]
else:
    message = "accepted"
print(message)
assert message.startswith("Tensor dtype mismatch!"), message

# %%
# The check
# +++++++++
#
# Sizes that were not traced, on both sides of the branch, the smallest included. Too
# small is refused by both programs, with the range of the ``Dim``.

for size in [(1, 4, 4), (1, 8, 8), (3, 8, 9), (32, 20, 7), (5, 40, 50)]:
    for number in (1, 3, 4):
        new_inputs = make_inputs(*size, channels=number)
        verify(program, new_inputs)
        torch.testing.assert_close(dispatch(*new_inputs), model(*new_inputs))
    print(f"batch {size[0]}, {size[1]} by {size[2]}: same result")
try:
    dispatch(*make_inputs(1, 3, 9))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "accepted"
print(message)
assert "size()[2] >= 4" in message or "to be >= 4, but got 3" in message, message

# %%
# To remember
# +++++++++++
#
# * A guard is a fact of the traced path. Change ``dynamic_shapes`` for a number or a
#   range, change the model (or export twice) for an expression.
# * ``check_guards=False`` lets an input into a path that is not its own.
# * No release verifies dtypes, and since 2.9 the guards leave out the rank as well. Do
#   it in front.
#
# Next: :ref:`l-plot-exporter-after-aotinductor`, where fewer of these conditions are
# verified, :ref:`l-plot-exporter-inputs-optional` for ``None``, and
# :ref:`l-plot-exporter-wrong-checklist`.
