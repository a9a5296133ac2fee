"""
.. _l-plot-exporter-after-guards:

Guard failed: x.size()[0] == 4
==============================

.. answer::
   :cost: The model is exported again, and must not depend on that size.

   An exported program checks its inputs when it is called. A size that must equal a
   number is constant: it was not in ``dynamic_shapes``. PyTorch 2.6 to 2.8 say
   ``Expected input at *args[0].shape[0] to be equal to 4``.

   .. code-block:: diff

      -shapes = {"images": {1: height, 2: width}}
      +shapes = {"images": {0: batch, 1: height, 2: width}}
       program = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)

   Not your case?

   * It is compared with something else, or is no size: the table in *Other fixes*.
   * The export then says ``constant (4)``: :ref:`l-plot-exporter-shapes-specialized`.
   * A wrong input is accepted: *Limitations*.

.. meta::
   :keywords: Guard failed, Expected input at args shape, check_guards, validate_inputs,
      run-time check, exported program input validation, dtype not checked, wrong rank,
      'NoneType' object has no attribute 'size', tuple index out of range, _guards_fn
"""

# %%
# The problem
# +++++++++++
#
# The model measures the brightness of images, and clips large ones. The batch size was
# left out of ``dynamic_shapes``.

# sphinx_gallery_tags = ["after the export", "run fails", "wrong without an error"]
# sphinx_gallery_wording = "the exported program rejects a different batch size"
# sphinx_gallery_wording = "Expected input l_args_0_.shape[0] to be equal to 4"
# sphinx_gallery_wording = "exported program accepts the wrong dtype"
# sphinx_gallery_wording = "Expected input at *args[0].shape[1] to be equal to 3, but got 1. If you meant for this dimension to be dynamic, please re-export and specify dynamic_shapes"
# sphinx_gallery_wording = "Unexpected number of dimensions in input at *args[0].shape (expected torch.Size([s77, s27]), got torch.Size([4, 5, 7]))"
# sphinx_gallery_wording = "AttributeError: 'NoneType' object has no attribute 'size' in _guards_fn"
# sphinx_gallery_wording = "Guard failed: images.size()[0] == mask.size()[0]"
# sphinx_gallery_wording = "Guard failed: gain == 2.0"

import torch


class Brightness(torch.nn.Module):
    def forward(self, images):
        if images.shape[1] * images.shape[2] > 64:
            images = images.clamp(max=0.5)
        return images.mean(dim=(1, 2))


torch.manual_seed(0)
model = Brightness()
inputs = (torch.rand(4, 9, 10),)
height = torch.export.Dim("height", min=4, max=512)
width = torch.export.Dim("width", min=4, max=512)
shapes = {"images": {1: height, 2: width}}
static = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
try:
    static.module()(torch.rand(5, 9, 10))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# The fix
# +++++++

batch = torch.export.Dim("batch", max=32)
shapes = {"images": {0: batch, 1: height, 2: width}}
program = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
exported = program.module()

# %%
# Why it happens
# ++++++++++++++
#
# The sizes of the inputs in the graph are checked: a number is constant, a symbol has a
# range, and a symbol that occurs twice makes two sizes equal.

for made in (static, program):
    (node,) = made.graph.find_nodes(op="placeholder")
    print(tuple(node.meta["val"].shape), made.range_constraints)

# %%
# PyTorch 2.9 and later (`code
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_unlift.py#L627>`_) also
# checks comparisons that the model made. A small image needs the other branch:

small = torch.full((4, 5, 6), 0.8)
try:
    result = exported(small)
except AssertionError as error:
    print(error)

# %%
# ``check_guards=False`` (PyTorch 2.9 and later) switches these comparisons off, and
# makes the result wrong. It does not switch off constants and ranges.

try:
    unguarded = program.module(check_guards=False)
    result = unguarded(small)
    unguarded(torch.rand(33, 9, 10))
except (RuntimeError, TypeError) as error:
    print(error)
print("as the model:", torch.allclose(result, model(small)))
assert not torch.allclose(result, model(small))

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Message, or its end
#      - What to do
#    * - ``size()[0] == 4``
#      - a ``Dim``, as above
#    * - ``size()[0] <= 32``
#      - a wider range: :ref:`l-plot-exporter-shapes-ranges`
#    * - ``x.size()[0] == y.size()[0]``
#      - :ref:`l-plot-exporter-shapes-related`
#    * - ``!= 1``, also after a division
#      - :ref:`l-plot-exporter-shapes-zero-one`
#    * - ``size()[2] * size()[1] > 64``
#      - remove the branch, or one program for each side (below)
#    * - ``gain == 2.0``
#      - a tensor: :ref:`l-plot-exporter-inputs-python-scalars`
#    * - ``input tree spec``
#      - :ref:`l-plot-exporter-inputs-structure-mismatch`
#    * - ``'NoneType' object has no attribute 'size'``
#      - :ref:`l-plot-exporter-inputs-optional`. With ``_base``: the example was a
#        slice, ``clone()`` it
#    * - ``'int' object is not callable``
#      - pass a tensor, not an array
#    * - ``tuple index out of range``
#      - pass as many dimensions as in the example
#
# The cost of two programs: a second export, and a condition in two places.

few = torch.export.export(
    model, (torch.rand(4, 5, 6),), dynamic_shapes=shapes, strict=False
).module()


def dispatch(images):
    large = images.shape[1] * images.shape[2] > 64
    return exported(images) if large else few(images)


# %%
# Check
# +++++
#
# The reference is the model in eager mode, on both sides of the branch.

for size in [(1, 4, 4), (3, 8, 8), (1, 5, 13), (3, 8, 9), (32, 20, 7), (5, 40, 50)]:
    images = torch.rand(*size)
    torch.testing.assert_close(dispatch(images), model(images))

# %%
# A batch outside of its range must be rejected.

try:
    dispatch(torch.rand(33, 9, 10))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# The dtype is never checked, nor are too many dimensions since PyTorch 2.9. The result
# can be wrong. Check both before the call:


def verify(program, *inputs):
    nodes = program.graph.find_nodes(op="placeholder")[-len(inputs) :]
    for node, given in zip(nodes, inputs, strict=True):
        wanted = node.meta["val"]
        if given.dtype != wanted.dtype or given.ndim != wanted.ndim:
            raise TypeError(f"{node.name}: {given.dtype}, {given.ndim} dimensions")


verify(program, *inputs)
for wrong in (torch.rand(4, 9, 10).double(), torch.rand(4, 9, 10, 2)):
    try:
        print(exported(wrong).dtype, tuple(exported(wrong).shape))
    except RuntimeError as error:
        print(error)
    try:
        verify(program, wrong)
    except TypeError as error:
        print("  verify:", error)

# %%
# Summary
# +++++++
#
# * A number or a range in a guard: change ``dynamic_shapes``.
# * An expression: change the model, or export twice. ``check_guards=False`` is no fix.
#
# Next: :ref:`l-plot-exporter-shapes-specialized` if the export fails now,
# :ref:`l-plot-exporter-after-aotinductor` for packages, which check less.
