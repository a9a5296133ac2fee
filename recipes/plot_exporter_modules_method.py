"""
.. _l-plot-exporter-modules-method:

Export a method other than forward
==================================

The model has ``encode`` and ``decode``, and no useful ``forward``. The export says
``Expected `mod` to be an instance of `torch.nn.Module`, got <class 'method'>``. With a
wrapper it says that the keys of ``dynamic_shapes`` ``must be the arg names ['args']``.

This page exports several methods of one model as programs that share their weights, in
two ways, and a function as a third.

.. meta::
   :description: Give each method a small module whose forward calls it with the same
      argument names, and whose only submodule is the model.
   :keywords: export encode decode, export a function, several entry points, Expected mod
      to be an instance of torch.nn.Module, multiple methods, shared weights, wrapper module
"""

# %%
# The model
# +++++++++
#
# An autoencoder. Its users call ``encode`` in one place and ``decode`` in another.

# sphinx_gallery_tags = ["modules", "export fails", "how to"]
# sphinx_gallery_wording = "how to export a method of a model with torch.export"
# sphinx_gallery_wording = "torch.export a function that is not a module"

import contextlib
import inspect

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
# A program needs the parameters by name, and the exporter takes the names from a
# module. A method or a function has none. So a module has to stand around it. The
# obvious one takes anything:


class Anything(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(*args, **kwargs)


try:
    torch.export.export(
        Anything(model.encode),
        (images,),
        dynamic_shapes={"images": {0: batch}},
        strict=False,
    )
except torch._dynamo.exc.UserError as error:
    message = str(error).split(". Alternatively")[0]
else:
    message = "This release exports it."
print(message)
assert "['args']" in message

# %%
# The names of the arguments are those of *its* ``forward``. The names of the parameters
# are lost as well: the module is hidden behind a method, so the weights are constants
# that are not in the ``state_dict``.

program = torch.export.export(Anything(model.encode), (images,), strict=False)
print(list(program.state_dict), list(program.constants))
assert "down.weight" not in program.state_dict

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


encode = torch.export.export(
    Encode(model), (images,), dynamic_shapes={"images": {0: batch}}, strict=False
)
codes = model.encode(images)
decode = torch.export.export(
    Decode(model), (codes,), dynamic_shapes={"codes": {0: batch}}, strict=False
)
print(list(encode.state_dict))
assert "model.down.weight" in encode.state_dict

# %%
# Each program has all the weights of the model, also those that it does not use. They
# are the same tensors as the model's, so several programs do not take more memory in
# this process. In files they do: each file has a copy.

shared = encode.state_dict["model.up.weight"].data_ptr() == model.up.weight.data_ptr()
print("shares its weights with the model:", shared)
assert shared

# %%
# Fix 2: lend the method the name forward
# +++++++++++++++++++++++++++++++++++++++
#
# For a model with many methods, put one in the place of ``forward`` for the time of the
# export. The names of the parameters stay as they are. The price is a model that is
# patched for a moment: restore it in any case, as here.


@contextlib.contextmanager
def as_forward(model, name):
    model.forward = getattr(model, name)
    try:
        yield model
    finally:
        del model.forward


programs = {}
for name, example in {"encode": images, "decode": codes}.items():
    argument = next(iter(inspect.signature(getattr(model, name)).parameters))
    with as_forward(model, name):
        programs[name] = torch.export.export(
            model, (example,), dynamic_shapes={argument: {0: batch}}, strict=False
        )
print(list(programs["encode"].state_dict))
assert "forward" not in vars(model)
assert list(programs["encode"].state_dict) == list(model.state_dict())

# %%
# A function
# ++++++++++
#
# A function without weights needs a module too. Write ``forward`` with the arguments of
# the function. If it uses a model, the model has to be an attribute, as above.


class Normalise(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.normalize(x, dim=-1)


normalise = torch.export.export(
    Normalise(), (images,), dynamic_shapes={"x": {0: batch}}, strict=False
)

# %%
# The check
# +++++++++
#
# All programs, against the methods, on batches that were not traced, and the two one
# after the other.

for size in (1, 3, 1024):
    images = torch.rand(size, 6)
    expected = model.encode(images)
    for first in (encode, programs["encode"]):
        torch.testing.assert_close(first.module()(images), expected)
    for second in (decode, programs["decode"]):
        torch.testing.assert_close(second.module()(expected), model.decode(expected))
    result = torch.nn.functional.normalize(images, dim=-1)
    torch.testing.assert_close(normalise.module()(images), result)
    print(f"batch {size}: same results")
try:
    encode.module()(torch.rand(1025, 6))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print(message)
assert "1024" in message, message

# %%
# An optional argument that was not given is frozen with its default: another ``scale``
# is refused (:ref:`l-plot-exporter-inputs-python-scalars`).

try:
    encode.module()(images, scale=2.0)
except (AssertionError, RuntimeError, TypeError, ValueError) as error:
    message = str(error).strip().splitlines()[0]
else:
    message = "This release takes it."
print(message)
assert message != "This release takes it."

# %%
# To remember
# +++++++++++
#
# * A module with the model as a submodule, and with the argument names of the method.
# * A bound method as an attribute hides the parameters.
# * Programs of one model share its weights in memory, not in files.
#
# Next: :ref:`l-plot-exporter-inputs-args-kwargs` for names of arguments,
# :ref:`l-plot-exporter-models-encoder-decoder` for a model in two programs, and
# :ref:`l-plot-exporter-modules-unflatten` to get modules back.
