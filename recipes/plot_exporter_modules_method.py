"""
.. _l-plot-exporter-modules-method:

Export a function, or a method other than forward
=================================================

.. answer::
   :cost: Nothing at run time. Weights get a prefix, ``model.``.

   Only an instance of ``torch.nn.Module`` can be exported, and ``forward`` is what is
   traced. Call the function, the ``functools.partial`` or the method in the ``forward``
   of a small module, with named arguments.

   .. code-block:: diff

      -torch.export.export(scale, (x,), strict=False)
      +class Scale(torch.nn.Module):
      +    def forward(self, x):
      +        return scale(x, by=2.0)
       # a method: with the model as a submodule
      +        self.model = model
      +        return self.model.encode(x)

   Not your case?

   * It is a scripted or compiled model: :ref:`l-plot-exporter-modules-wrapped`.
   * ``must be the arg names ['args']``: :ref:`l-plot-exporter-inputs-args-kwargs`.
   * Encoder and decoder with a cache: :ref:`l-plot-exporter-models-encoder-decoder`.

.. meta::
   :keywords: Expected mod to be an instance of torch.nn.Module, functools.partial,
      lambda, callable, export a function, export encode decode, several entry points,
      multiple methods, shared weights, wrapper module, jit.export,
      KeyError L__self___function___self__, missing the required "forward" function
"""

# %%
# The problem
# +++++++++++
#
# A function, a partial, an object that can be called and a method: none is a module.

# sphinx_gallery_tags = ["modules", "export fails", "wrong without an error", "how to"]
# sphinx_gallery_wording = "how to export a method of a model with torch.export"
# sphinx_gallery_wording = "torch.export a function that is not a module"
# sphinx_gallery_wording = "state_dict of the exported program is empty, weights became constants"
# sphinx_gallery_wording = "Expected `mod` to be an instance of `torch.nn.Module`, got <class 'function'>."
# sphinx_gallery_wording = "KeyError: 'L__self___function___self___down_weight'"
# sphinx_gallery_wording = "torch.export of functools.partial, lambda or callable object"

import functools

import torch


def scale(x, by=1.0):
    return x.tanh() * by


class Scaler:
    def __call__(self, x):
        return scale(x, by=2.0)


class AutoEncoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.down = torch.nn.Linear(6, 2)
        self.up = torch.nn.Linear(2, 6)

    def encode(self, x):
        return self.down(x).tanh()

    def decode(self, codes):
        return self.up(codes)


torch.manual_seed(0)
model = AutoEncoder().eval()
x = torch.rand(4, 6)
try:
    torch.export.export(scale, (x,), strict=False)
except ValueError as error:
    print(error)
for thing in (functools.partial(scale, by=2.0), Scaler(), model.encode):
    try:
        torch.export.export(thing, (x,), strict=False)
    except ValueError as error:
        print(error)

# %%
# The model itself does not help if it has no ``forward``:

try:
    torch.export.export(model, (x,), strict=False)
except NotImplementedError as error:
    print(error)

# %%
# The fix
# +++++++
#
# A method needs its model as a submodule; so does a function that uses a model.


class Scale(torch.nn.Module):
    def forward(self, x):
        return scale(x, by=2.0)


class Encode(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model.encode(x)


shapes = {"x": {0: torch.export.Dim("batch", max=1024)}}
scaled = torch.export.export(Scale(), (x,), dynamic_shapes=shapes, strict=False)
encoded = torch.export.export(Encode(model), (x,), dynamic_shapes=shapes, strict=False)
print(list(encoded.state_dict))

# %%
# Why it happens
# ++++++++++++++
#
# An exported program has parameters with names, and the names come from a module. So
# ``export`` `wants a module
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/__init__.py#L159>`_.
# There is no counterpart of ``torch.jit.export`` (`issue 167631
# <https://github.com/pytorch/pytorch/issues/167631>`_).
#
# So a wrapper for any function is not enough. It hides the model, and the weights
# silently become constants: ``state_dict`` is empty, and no weights can be loaded. In
# strict mode, PyTorch 2.13 and earlier raise
# ``KeyError: 'L__self___function___self___down_weight'``.


class Anything(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


hidden = torch.export.export(Anything(model.encode), (x,), strict=False)
print("weights:", list(hidden.state_dict), "constants:", list(hidden.constants))
try:
    torch.export.export(
        Anything(model.encode), (x,), dynamic_shapes=shapes, strict=False
    )
except torch._dynamo.exc.UserError as error:
    print(error)

# sphinx_gallery_start_ignore
assert not hidden.state_dict and len(hidden.constants) == 2
# sphinx_gallery_end_ignore

# %%
# Partials, objects with ``__call__`` and functions that use a global model hide tensors
# in the same way. Assign modules to the wrapper, and register tensors as buffers.
#
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If
#      - Do this
#      - Cost
#    * - ``encode`` uses a small part of the weights
#      - a module with that part, and ``forward = AutoEncoder.encode``
#      - you have to know what the method uses
#    * - the model has many methods, or names must stay as they are
#      - ``model.forward = model.decode`` during the export
#      - the model is patched; a ``lambda`` would change the names of the arguments
#
# The programs of one model share its weights in memory. In files they do not: each has
# all the weights of the exported module, used or not.


class OnlyEncode(torch.nn.Module):
    forward = AutoEncoder.encode

    def __init__(self, model):
        super().__init__()
        self.down = model.down


only = torch.export.export(OnlyEncode(model), (x,), dynamic_shapes=shapes, strict=False)
print(list(only.state_dict))

codes = model.encode(x)
model.forward = model.decode
try:
    decoded = torch.export.export(
        model, (codes,), dynamic_shapes={"codes": shapes["x"]}, strict=False
    )
finally:
    del model.forward
print(list(decoded.state_dict))

# %%
# Check
# +++++
#
# The reference is a formula, with other weights, at sizes that were not traced.

with torch.no_grad():
    model.down.weight.copy_(torch.randn(2, 6))
for size in (1, 3, 1024):
    x = torch.randn(size, 6)
    codes = (x @ model.down.weight.T + model.down.bias).tanh()
    torch.testing.assert_close(scaled.module()(x), 2 * torch.tanh(x))
    torch.testing.assert_close(encoded.module()(x), codes)
    torch.testing.assert_close(only.module()(x), codes)
    expected = codes @ model.up.weight.T + model.up.bias
    torch.testing.assert_close(decoded.module()(codes), expected)
try:
    encoded.module()(torch.rand(1025, 6))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * One small module for each function or method; the model is its submodule.
# * Print ``state_dict``: if it is empty, the weights were hidden.
# * An argument that is not passed, such as ``by``, becomes a constant:
#   :ref:`l-plot-exporter-inputs-python-scalars`.
#
# Next: :ref:`l-plot-exporter-exporter-torchscript` for ``@torch.jit.export``,
# :ref:`l-plot-exporter-inputs-args-kwargs` for names of arguments,
# :ref:`l-plot-exporter-modules-unflatten` to get submodules back.
