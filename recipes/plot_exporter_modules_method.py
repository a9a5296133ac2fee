"""
.. _l-plot-exporter-modules-method:

Export a method other than forward
==================================

The model has ``encode`` and ``decode``, and no useful ``forward``. The export says
``Expected `mod` to be an instance of `torch.nn.Module`, got <class 'method'>``. With a
wrapper it says that the keys of ``dynamic_shapes`` ``must be the arg names ['args']``,
or ``KeyError: 'L__self___function___self___down_weight'``, or it exports a program that
has no weights in its ``state_dict``.

This page exports several methods of one model as programs that share their weights, in
three ways, and a function.

.. meta::
   :description: Give each method a small module whose forward calls it with the same
      argument names, and whose only submodule is the model.
   :keywords: export encode decode, export a function, several entry points, multiple
      methods, Expected mod to be an instance of torch.nn.Module, shared weights,
      wrapper module, jit.export, KeyError L__self___function___self__
"""

# %%
# The model
# +++++++++
#
# An autoencoder. Its users call ``encode`` in one place and ``decode`` in another.

# sphinx_gallery_tags = ["modules", "export fails", "wrong without an error", "how to"]
# sphinx_gallery_wording = "how to export a method of a model with torch.export"
# sphinx_gallery_wording = "torch.export a function that is not a module"
# sphinx_gallery_wording = "state_dict of the exported program is empty, weights became constants"

import contextlib
import inspect
import io
import warnings

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
Dim = torch.export.Dim


class AutoEncoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.down = torch.nn.Linear(6, 2)
        self.up = torch.nn.Linear(2, 6)

    def encode(self, images, scale=1.0):
        return self.down(images).tanh() * scale

    def decode(self, codes):
        return self.up(codes)


torch.manual_seed(0)
model = AutoEncoder().eval()
images = torch.rand(4, 6)
batch = Dim("batch", max=1024)

# %%
# The symptom
# +++++++++++
#
# Methods and functions are refused.

for thing in (model.encode, torch.sin):
    try:
        torch.export.export(thing, (images,), strict=False)
    except ValueError as error:
        message = str(error)
    else:
        message = "This release exports it."
    print(message)
    assert "Expected `mod` to be an instance of" in message

# %%
# The model itself is no way out: ``forward`` is what is traced, and there is none.

try:
    torch.export.export(model, (images,), strict=False)
except NotImplementedError as error:
    message = str(error)
else:
    message = "This release exports it."
print(message)
assert 'missing the required "forward" function' in message

# %%
# The cause
# +++++++++
#
# A program knows its parameters by name, and takes the names from a module. So the
# exporter `wants a module
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/__init__.py#L159>`_;
# this is its design. There is no counterpart of ``torch.jit.export`` yet (`issue 167631
# <https://github.com/pytorch/pytorch/issues/167631>`_). The obvious wrapper takes
# anything:


class Anything(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(*args, **kwargs)


anything, shapes = Anything(model.encode), {"images": {0: batch}}
try:
    torch.export.export(anything, (images,), dynamic_shapes=shapes, strict=False)
except torch._dynamo.exc.UserError as error:
    message = str(error).split(". Alternatively")[0]
else:
    message = "This release exports it."
print(message)
assert "['args']" in message

# %%
# The names of the arguments are those of *its* ``forward``. The names of the parameters
# are lost too. The model is hidden behind a bound method, which is not a submodule:
# look at what the wrapper says its parameters are. Non-strict mode makes constants of
# tensors that it does not know; since 2.8 it does not even warn. Nobody can load other
# weights into that program.

print(list(anything.parameters()))
with warnings.catch_warnings(record=True) as caught:  # for the question below
    warnings.simplefilter("always")
    program = torch.export.export(anything, (images,), strict=False)
warned = any("treat it as a constant" in str(each.message) for each in caught)
print("state_dict:", list(program.state_dict), "constants:", list(program.constants))
print("torch warned of it:", warned)
assert not list(anything.parameters()) and not program.state_dict
assert len(program.constants) == 2 and warned == (RELEASE < (2, 8))

# %%
# Strict mode looks the parameter up by name, and fails up to 2.13. A function that uses
# a global model is the same case, with ``G__`` at the beginning of the name.

try:
    program = torch.export.export(anything, (images,), strict=True)
except KeyError as error:
    program = None
    print("KeyError:", error)
else:
    print("state_dict:", list(program.state_dict), "constants:", len(program.constants))
assert (program is None) == (RELEASE < (2, 14))
assert program is None or not program.state_dict

# %%
# Fix 1: one small module for each method
# +++++++++++++++++++++++++++++++++++++++
#
# With the model as a submodule, and the argument names written out. Works on all
# releases of this page and in both modes. The price: names get a prefix, ``model.``.


class Encode(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images, scale=1.0):
        return self.model.encode(images, scale=scale)


class Decode(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, codes):
        return self.model.decode(codes)


codes = model.encode(images)
encoders, decoders = [], []
for strict in (False, True):
    options = {"strict": strict}
    program = torch.export.export(
        Encode(model), (images,), dynamic_shapes={"images": {0: batch}}, **options
    )
    encoders.append(program)
    program = torch.export.export(
        Decode(model), (codes,), dynamic_shapes={"codes": {0: batch}}, **options
    )
    decoders.append(program)
print(list(encoders[0].state_dict))
assert list(encoders[0].state_dict) == [f"model.{name}" for name in model.state_dict()]

# %%
# Each program has all the weights of the model, also those that it does not use. They
# are the model's own tensors, so several programs do not take more memory in this
# process. In files they do, each file has a copy:


def written(program):
    file = io.BytesIO()
    torch.export.save(program, file)
    return len(file.getvalue())


wide = AutoEncoder()
wide.up = torch.nn.Linear(2, 100_000)  # 1.2 MB, which encode does not use
program = torch.export.export(Encode(wide), (images,), strict=False)
same = program.state_dict["model.up.weight"].data_ptr() == wide.up.weight.data_ptr()
print("the model's own tensors:", same, "- file over 1 MB:", written(program) > 10**6)
assert same and written(program) > 10**6

# %%
# Fix 2: a module with only the parts of the method
# +++++++++++++++++++++++++++++++++++++++++++++++++
#
# A function of a class works on anything that has the attributes which it uses. Here
# ``encode`` becomes the ``forward`` of a module that has ``down`` and nothing else.
# Names of arguments and weights stay as they are, and the file is small. The price: you
# have to know what the method uses. What is missing is an ``AttributeError``.


class OnlyEncode(torch.nn.Module):
    forward = AutoEncoder.encode

    def __init__(self, model):
        super().__init__()
        self.down = model.down


small = torch.export.export(OnlyEncode(wide), (images,), strict=False)
print(list(small.state_dict), "- file over 1 MB:", written(small) > 10**6)
assert list(small.state_dict) == ["down.weight", "down.bias"]
assert written(small) < 10**6

# %%
# Fix 3: lend the method the name forward
# +++++++++++++++++++++++++++++++++++++++
#
# For a model with many methods, put one in the place of ``forward`` for the time of the
# export. All names stay as they are. The price is a model that is patched for a moment:
# restore it in any case, as here. Do not use a ``lambda``: it has other argument names.


@contextlib.contextmanager
def as_forward(model, name):
    model.forward = getattr(model, name)
    try:
        yield model
    finally:
        del model.forward


for name, example, found in (
    ("encode", images, encoders),
    ("decode", codes, decoders),
):
    argument = next(iter(inspect.signature(getattr(model, name)).parameters))
    with as_forward(model, name):
        program = torch.export.export(
            model, (example,), dynamic_shapes={argument: {0: batch}}, strict=False
        )
    found.append(program)
    assert list(program.state_dict) == list(model.state_dict())
assert "forward" not in vars(model)

# %%
# A function
# ++++++++++
#
# A function without weights needs a module too. Write ``forward`` with the arguments of
# the function. If it uses a model, the model has to be an attribute, as in the first
# fix.


class Normalise(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.normalize(x, dim=-1)


normalise = torch.export.export(
    Normalise(), (images,), dynamic_shapes={"x": {0: batch}}, strict=False
).module()

# %%
# The check
# +++++++++
#
# All programs, against the methods, on batches that were not traced.

for size in (1, 3, 1024):
    images = torch.rand(size, 6)
    codes = model.encode(images)
    for program in encoders:
        torch.testing.assert_close(program.module()(images), codes)
    for program in decoders:
        torch.testing.assert_close(program.module()(codes), model.decode(codes))
    expected = torch.nn.functional.normalize(images, dim=-1)
    torch.testing.assert_close(normalise(images), expected)
    print(f"batch {size}: same results")
try:
    encoders[0].module()(torch.rand(1025, 6))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print(message)
assert "1024" in message, message

# %%
# An optional argument that was not given is frozen with its default, and the program
# does not take it (:ref:`l-plot-exporter-inputs-python-scalars`).

try:
    encoders[0].module()(images, scale=2.0)
except ValueError as error:
    message = str(error).strip().splitlines()[0]
else:
    message = "This release takes it."
print(message)
assert "scale" in message

# %%
# To remember
# +++++++++++
#
# * A module with the model as a submodule, and with the argument names of the method.
# * A bound method, or a function with a global model, hides the parameters: look at the
#   ``state_dict`` of the program.
# * Programs of one model share its weights in memory, not in files.
#
# Next: :ref:`l-plot-exporter-inputs-args-kwargs` for names of arguments,
# :ref:`l-plot-exporter-models-encoder-decoder` for a model in two programs, and
# :ref:`l-plot-exporter-modules-unflatten` to get modules back.
