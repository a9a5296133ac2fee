"""
.. _l-plot-exporter-shapes-unbacked:

Let the program accept size 1 when it raises "Guard failed: ... != 1"
=====================================================================

.. answer::
   :cost: Nothing at run time; the option is experimental.

   Torch asked whether a computed size is 1, and answered with the size of the example.
   The option ``backed_size_oblivious`` takes the general answer instead and adds no
   guard. The model does not change, and the example may have size 1.

   .. code-block:: diff

      -rejects_one = export(model, (crops,), dynamic_shapes=shapes, strict=False)
      +with torch.fx.experimental._config.patch(backed_size_oblivious=True):
      +    program = export(model, (crops,), dynamic_shapes=shapes, strict=False)

   Not your case?

   * ``constant (1)``, and a larger example is fine:
     :ref:`l-plot-exporter-shapes-zero-one`.
   * ``Could not guard on ... u0 > 1``: :ref:`l-plot-exporter-data-guard`.
   * A guard with ``>=``, ``<=``: :ref:`l-plot-exporter-shapes-ranges`.

.. meta::
   :keywords: mark_unbacked export, backed_size_oblivious, unbacked dynamic shapes,
      batch size 1 after export, Guard failed // 5 != 1, ShapesSpec ShapeVar,
      guard_or_false, guard_or_true, Could not guard on data-dependent expression u0,
      size oblivious, 0/1 specialization
"""

# %%
# The problem
# +++++++++++
#
# The model takes the mean of the five crops of each image. The example has three
# images. With PyTorch 2.9 or later, the program rejects one image.

# sphinx_gallery_tags = ["dynamic shapes", "run fails", "export fails", "wrong without an error", "turns static"]
# sphinx_gallery_needs_torch = "2.7"
# sphinx_gallery_wording = "exported program rejects a batch size of 1 and accepts all others"
# sphinx_gallery_wording = "mark_unbacked has no effect in torch.export"
# sphinx_gallery_wording = "Dim.UNBACKED"

import torch
from torch._dynamo.decorators import mark_unbacked
from torch.export import Dim, export


class FiveCrops(torch.nn.Module):
    def forward(self, crops):
        return crops.reshape(-1, 5, crops.shape[1]).mean(dim=1)


torch.manual_seed(0)
model = FiveCrops()
crops = torch.randn(15, 6)
shapes = ({0: Dim.DYNAMIC},)
rejects_one = export(model, (crops,), dynamic_shapes=shapes, strict=False)
try:
    rejects_one.module()(torch.randn(5, 6))
except AssertionError as error:
    print(error)

# %%
# The fix
# +++++++

with torch.fx.experimental._config.patch(backed_size_oblivious=True):
    program = export(model, (crops,), dynamic_shapes=shapes, strict=False)
print(program.range_constraints)

# %%
# Names and ranges, ``Dim("n", min=1, max=64)``, work too.
#
# Why it happens
# ++++++++++++++
#
# ``reshape`` computes the size ``15 // 5``. Torch asks whether it is 1, for strides and
# broadcasting, and "not 1" becomes a guard (`discussed
# <https://github.com/pytorch/pytorch/issues/181097>`_). An example of one image
# gives the opposite guard:

from_one = export(model, (crops[:5],), dynamic_shapes=shapes, strict=False)
try:
    from_one.module()(crops)
except AssertionError as error:
    print(error)

# %%
# With the option, such questions `get a default answer
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L1549>`_,
# as for sizes that depend on data (*unbacked* sizes). :func:`torch.onnx.export` with
# ``dynamo=True`` uses it since PyTorch 2.8.
#
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Fix
#      - Cost
#    * - take the size from an input that has it:
#        ``crops.reshape(images.shape[0], 5, -1)``
#      - the model changes
#    * - ``ShapesSpec``, PyTorch 2.14: :ref:`l-plot-exporter-shapes-spec`
#      - experimental; the model may not test the size
#    * - ``mark_unbacked(crops, 0)``, without ``dynamic_shapes``, PyTorch 2.10
#      - private; strict mode only
#
# PyTorch 2.12 and earlier have no ``ShapesSpec``, and 2.13 does not export with it:

try:
    from torch.fx.experimental.dynamic_spec import ParamsSpec, ShapeVar, TensorSpec

    spec = ParamsSpec({"crops": TensorSpec([ShapeVar("rows", min=5), None])})
    unbacked = export(model, (crops,), dynamic_shapes=spec, strict=False)
except (ImportError, TypeError) as error:
    print(error)
else:
    print(unbacked.range_constraints)
    torch.testing.assert_close(unbacked.module()(crops[:5]), model(crops[:5]))

# %%
# In non-strict mode the mark is ignored, silently, and the size is static:

marked = crops.clone()
mark_unbacked(marked, 0)
ignored = export(model, (marked,), strict=False)
assert ignored.range_constraints == {}

# %%
# Check
# +++++
#
# The reference is the original model, from one image on. 12 crops must be rejected.

with torch.fx.experimental._config.patch(backed_size_oblivious=True):
    from_one = export(model, (crops[:5],), dynamic_shapes=shapes, strict=False)
for exported in (program.module(), from_one.module()):
    for images in (1, 2, 3, 7, 100):
        new = torch.randn(5 * images, 6)
        torch.testing.assert_close(exported(new), model(new))
try:
    program.module()(torch.randn(12, 6))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# The default answer to "does it broadcast?" is no. An example that broadcasts fails:


class Add(torch.nn.Module):
    def forward(self, x, y):
        return x + y


both = ({0: Dim.DYNAMIC}, {0: Dim.DYNAMIC})
try:
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        added = export(Add(), (crops[:1], crops), dynamic_shapes=both, strict=False)
    added.module()(crops[:1], crops)
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# A test in the model itself has no default answer. With the option, the example
# answers, and one row is rejected again. With an unbacked size, the export fails:


class Center(torch.nn.Module):
    def forward(self, x):
        if x.shape[0] > 1:
            return x - x.mean(dim=0)
        return x


try:
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        tested = export(Center(), (crops,), dynamic_shapes=shapes, strict=False)
    tested.module()(crops[:1])
except (AssertionError, torch._dynamo.exc.UserError) as error:
    print(error)
try:
    export(Center(), (marked,), strict=True)
except torch._dynamo.exc.UserError as error:
    print(str(error).splitlines()[0])

# %%
# :func:`torch.cond` keeps both branches (:ref:`l-plot-exporter-control-cond`).
# ``guard_or_false``, which the rest of the message proposes, can be wrong, silently:
# :ref:`l-plot-exporter-data-guard`.
#
# An operation that needs 5 rows makes an unbacked size 5, silently. Look at the range,
# or pass ``mark_unbacked(x, 0, strict=True)``.


class NeedsFive(torch.nn.Module):
    def forward(self, x):
        return x + torch.ones(5, 6)


five = torch.randn(5, 6)
mark_unbacked(five, 0)
fixed = export(NeedsFive(), (five,), strict=True)
print(fixed.range_constraints)
assert [str(bounds) for bounds in fixed.range_constraints.values()] == ["VR[5, 5]"]

# %%
# Summary
# +++++++
#
# * ``Guard failed: ... != 1``: export with the option, then run size 1.
# * What is computed from a shape after ``squeeze`` stays wrong for size 1:
#   :ref:`l-plot-exporter-shapes-zero-one`.
# * Sizes that have to be multiples: :ref:`l-plot-exporter-shapes-pad-to-multiple`.
