"""
.. _l-plot-exporter-wrong-leaked:

The model is broken after the export
====================================

The exported program is right. But the model that it was made from now returns a
``FakeTensor``, raises ``SymIntArrayRef expected to contain only concrete integers``, or
fails to be exported again: ``We found a fake tensor in the exported program constant's
list``. A process that did not export it has no such problem.

This page shows how a tensor of the trace stays behind in a cache, how to find the line
that kept it, and how to protect a model from its own export.

.. meta::
   :description: Make tables in __init__ as buffers, or export a copy and clear the
      caches; look for fake tensors afterwards.
   :keywords: FakeTensor leak, leaked fake tensor, lru_cache, cached cos sin table,
      rotary embedding cache, model broken after export
"""

# %%
# The model
# +++++++++
#
# Position tables are often computed on the first call and kept. This model keeps one in
# a plain object.

# sphinx_gallery_tags = ["wrong results", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "model returns FakeTensor after torch.export"
# sphinx_gallery_wording = "eager model does not work any more after export"

import copy
import functools
import warnings

import torch
from torch._subclasses.fake_tensor import FakeTensor

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Tables:
    cosine = None


class Positions(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.tables = Tables()

    def forward(self, x):
        if self.tables.cosine is None:
            self.tables.cosine = torch.arange(3).cos()
        return x * self.tables.cosine


# %%
# The symptom
# +++++++++++
#
# The program is right. The model itself returns a fake tensor from now on: it has a
# shape and no values, and whatever is computed from it is fake as well.

x = torch.arange(12.0).reshape(4, 3)
model = Positions()
program = torch.export.export(model, (x,), strict=False)
expected = x * torch.arange(3).cos()
torch.testing.assert_close(program.module()(x), expected)
result = model(x)
print(result)
print(result.sum().item())
assert isinstance(result, FakeTensor)

# %%
# With a dynamic dimension the model fails at once, with a message that does not help.
# (The number of the line in torch is cut off.)

dynamic = ({0: torch.export.Dim("batch")},)
model = Positions()
program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
torch.testing.assert_close(program.module()(x), expected)
try:
    result = model(x)
except RuntimeError as error:
    message = str(error).splitlines()[0].split(": ", 1)[1]
else:
    message = f"This release returns {result}."
print(message)
assert message.startswith("SymIntArrayRef expected to contain only concrete integers")

# %%
# A second export finds the fake tensor since 2.10, and does not say where it is. Up to
# 2.9 it writes the fake tensor into the program as a constant, without a word.

try:
    again = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
except RuntimeError as error:
    again, message = None, str(error).split(". This")[0]
else:
    (constant,) = again.constants.values()
    message = f"This release exports it with a {type(constant).__name__} in it."
print(message)
assert (again is None) == (RELEASE >= (2, 10))

# %%
# The cause
# +++++++++
#
# In non-strict mode Python runs the model on fake tensors, and what Python keeps is
# kept. Here it is the table, in an object that belongs to nobody.

print(type(model.tables.cosine).__name__)
assert isinstance(model.tables.cosine, FakeTensor)

# %%
# So it is the first call that counts. If that call is not the trace, the table is a
# real tensor. The export reads it, and it becomes a constant of the program.

model = Positions()
model(x)
program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
torch.testing.assert_close(model(x), expected)
print(type(model.tables.cosine).__name__, list(program.constants))
assert type(model.tables.cosine) is torch.Tensor and len(program.constants) == 1

# %%
# An attribute of the module itself is put back after the trace, with a warning since
# 2.10 and an error before: see :ref:`l-plot-exporter-wrong-state`. This care ends where
# the module ends. Other objects, globals, closures and caches are not looked at.
#
# The next model has its table from a function with a cache. The function belongs to no
# model, so this cache is shared by all of them.


@functools.lru_cache
def cosine_table(width):
    return torch.arange(width).cos()


class CachedPositions(torch.nn.Module):
    def forward(self, x):
        return x * cosine_table(3)


# %%
# How to find the line
# ++++++++++++++++++++
#
# A switch of the exporter, off by default, reports each fake tensor that outlives the
# export, with the line that made it. It exists since 2.10. See `its definition
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/config.py#L21>`_.

model = CachedPositions()
if RELEASE >= (2, 10):
    from torch._export import config

    with config.patch(detect_non_strict_fake_tensor_leaks=True):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.export.export(model, (x,), strict=False)
    (report,) = [str(entry.message) for entry in caught]
    print(report)
    assert "cosine_table(3)" in report
else:
    torch.export.export(model, (x,), strict=False)
    print("This release has no such switch.")
assert isinstance(cosine_table(3), FakeTensor)

# %%
# Fix 1: make the table in ``__init__``
# +++++++++++++++++++++++++++++++++++++
#
# A buffer is part of the model, moves with it to another device, and is made once. The
# price: the longest width has to be known. It works on all releases.


class SoundPositions(torch.nn.Module):
    def __init__(self, longest=512):
        super().__init__()
        table = torch.arange(longest).cos()
        self.register_buffer("cosine", table, persistent=False)

    def forward(self, x):
        return x * self.cosine[: x.shape[1]]


# %%
# The check
# +++++++++
#
# Program and model agree on shapes that were not traced, and the model is as it was.

both = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("width", max=512)},)
model = SoundPositions()
program = torch.export.export(model, (x,), dynamic_shapes=both, strict=False)
exported = program.module()
for shape in [(1, 3), (4, 1), (7, 5), (2, 512)]:
    inputs = torch.rand(shape)
    torch.testing.assert_close(exported(inputs), model(inputs))
    torch.testing.assert_close(model(inputs), inputs * torch.arange(shape[1]).cos())
    print(f"{shape}: same result")

# %%
# A width beyond the table is refused. Up to 2.8 this is a ``RuntimeError``, later an
# ``AssertionError``.

try:
    exported(torch.rand(4, 600))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with a width of 600."
print(message)
assert "512" in message

# %%
# Fix 2: protect the model
# ++++++++++++++++++++++++
#
# If the model is not yours, export a copy: what the trace leaves behind goes with the
# copy. This covers what the model holds. A cache of a function is outside of every copy
# and has to be cleared. Both cost nothing at run time and work on all releases.

model = Positions()
torch.export.export(copy.deepcopy(model), (x,), strict=False)
torch.testing.assert_close(model(x), expected)

cosine_table.cache_clear()
model = CachedPositions()
torch.export.export(model, (x,), strict=False)
cosine_table.cache_clear()
torch.testing.assert_close(model(x), expected)
print("both models are sound")

# %%
# Fix 3: strict mode
# ++++++++++++++++++
#
# Strict mode does not run the model in Python, so nothing is kept: since 2.10 for the
# object, on all releases for the function, whose cache it does not use. The price is
# strict mode, which refuses more: :ref:`l-plot-exporter-exporter-strict`. It warns of
# both, so warnings are recorded here.

model = Positions()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    torch.export.export(model, (x,), strict=True)
    torch.export.export(CachedPositions(), (x,), strict=True)
left = type(model.tables.cosine).__name__
print("object:", left, "  cache:", type(cosine_table(3)).__name__)
assert (left == "FakeTensor") == (RELEASE < (2, 10))
assert type(cosine_table(3)) is torch.Tensor

# %%
# To remember
# +++++++++++
#
# * The trace is a call of your model. What a call leaves behind, a trace leaves behind,
#   as fake tensors.
# * Run the model once more after each export, and look at the type of the result.
# * Tables belong into ``__init__``; caches of functions have to be cleared.
#
# Next: :ref:`l-plot-exporter-wrong-checklist` has this as one of its steps. If the
# exporter warns of an assigned attribute: :ref:`l-plot-exporter-wrong-state`.
