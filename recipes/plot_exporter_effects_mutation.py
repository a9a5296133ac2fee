"""
.. _l-plot-exporter-effects-mutation:

Replace in-place operations on inputs and parameters
====================================================

.. answer::
   :cost: A copy of the tensor, which compilers often remove.

   The model changes a parameter, an input, or a view of one in place. For a parameter
   the export raises ``a leaf Variable that requires grad...``. For an input it works,
   and the program changes the caller's tensor. Only buffers may change.

   .. code-block:: diff

      -        self.weight.div_(self.weight.norm())
      -        return x.mul_(self.weight)
      +        weight = self.weight / self.weight.norm()
      +        return x * weight

   Not your case?

   * A list or a dictionary is filled: :ref:`l-plot-exporter-wrong-inputs`.
   * In a branch of ``torch.cond``: :ref:`l-plot-exporter-control-cond-rules`.
   * In a custom operator: :ref:`l-plot-exporter-ops-custom-inplace`.

.. meta::
   :keywords: in-place, mutation, inplace operator, frozen storage, leaf Variable
      requires grad, user_inputs_to_mutate, buffers_to_mutate, functionalization,
      copy_, ReLU inplace, weight.data
"""

# %%
# The problem
# +++++++++++
#
# The model normalizes its weight and scales its input, both in place. In an application
# it runs under ``no_grad``. The export does not.

# sphinx_gallery_tags = ["side effects", "export fails", "run fails"]
# sphinx_gallery_wording = "Found following user inputs located at [0] are mutated. This is currently banned in the aot_export workflow."
# sphinx_gallery_wording = "exported program changes its input tensor"
# sphinx_gallery_wording = "RuntimeError: Found a graph input that requires gradients, and received a mutation."
# sphinx_gallery_wording = "Constant lifted_tensor_0 is mutated in the forward method. Pls register it as buffer"

import copy

import torch


class Scale(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))

    def forward(self, x):
        self.weight.div_(self.weight.norm())
        return x.mul_(self.weight)


x = torch.ones(4, 2)
shapes = ({0: torch.export.Dim("batch", max=64)},)
try:
    torch.export.export(Scale(), (x,), dynamic_shapes=shapes, strict=False)
except RuntimeError as error:
    print(error)

# %%
# Under ``no_grad`` the export works. But the program does what the model does, and the
# caller's ones are changed by a call:

with torch.no_grad():
    changing = torch.export.export(Scale(), (x,), dynamic_shapes=shapes, strict=False)
    rows = torch.ones(1, 2)
    changing.module()(rows)
print(rows)
assert not torch.equal(rows, torch.ones(1, 2))

# %%
# The fix
# +++++++


class ScaleCopy(Scale):
    def forward(self, x):
        weight = self.weight / self.weight.norm()
        return x * weight


# sphinx_gallery_picture = "No operator ends with an underscore."
program = torch.export.export(ScaleCopy(), (x,), dynamic_shapes=shapes, strict=False)

# %%
# ``x += 1`` and ``x[:, 0] = 0`` are in place as well:
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your line
#      - Write instead
#    * - ``x.mul_(2)``, ``x += 1``, on an input or a view of it
#      - ``x * 2``, ``x + 1``
#    * - ``x[:, 0] = 0``
#      - ``x = x.clone()`` before it
#    * - ``x.to(torch.float32).mul_(2)``, also ``contiguous``, ``reshape``
#      - ``x.to(torch.float32) * 2``
#    * - ``torch.nn.ReLU(inplace=True)`` as the first layer
#      - ``torch.nn.ReLU()``
#    * - ``self.weight.div_(...)``, ``self.weight.data.div_(...)``
#      - ``weight = self.weight / ...``
#    * - ``self.mean.lerp_(...)``, a buffer
#      - nothing: the program updates its buffer
#
# Why it happens
# ++++++++++++++
#
# Autograd does not allow in-place operations on a leaf, in eager mode either. A change
# of an input is kept: after ``run_decompositions``, which tools for other runtimes
# call, the new value is an output that is copied into the input.


class Double(torch.nn.Module):
    def forward(self, x):
        return x.to(torch.float32).mul_(2)


double = torch.export.export(Double(), (x,), dynamic_shapes=shapes, strict=False)
try:
    print(double.run_decompositions().graph_signature.user_inputs_to_mutate)
except RuntimeError as error:
    print(error)

# %%
# ``x.to(torch.float32)`` is ``x`` itself or a copy, depending on the dtype. Before
# PyTorch 2.8 the decomposition `forbids changes of such a result
# <https://github.com/pytorch/pytorch/blob/v2.6.0/torch/_subclasses/functional_tensor.py#L538>`_
# (``cannot mutate tensors with frozen storage``, `issue 131679
# <https://github.com/pytorch/pytorch/issues/131679>`_).
#
# ``data`` hides the parameter from autograd and from the export, which fails later:


class ScaleData(Scale):
    def forward(self, x):
        self.weight.data.div_(self.weight.norm())
        return x * self.weight


try:
    data = torch.export.export(ScaleData(), (x,), dynamic_shapes=shapes, strict=False)
    data.run_decompositions()
except RuntimeError as error:
    print(str(error).splitlines()[0])

# %%
# Check
# +++++
#
# The reference is a new original model, on a copy of the input. A second model changes
# a buffer: the program does, too, call after call.


class Center(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))

    def forward(self, x):
        self.mean.lerp_(x.mean(dim=0), 0.1)
        x = x.clone()
        x[:, 0] = 0
        return x - self.mean


torch.manual_seed(0)
center = Center()
centered = torch.export.export(
    copy.deepcopy(center), (x,), dynamic_shapes=shapes, strict=False
)
print(centered.run_decompositions().graph_signature.buffers_to_mutate)
scaling, centering = program.module(), centered.module()
for size in (1, 2, 7, 64):
    rows = torch.rand(size, 2)
    kept = rows.clone()
    with torch.no_grad():
        torch.testing.assert_close(scaling(rows), Scale()(rows.clone()))
    torch.testing.assert_close(centering(rows), center(rows))
    torch.testing.assert_close(centering.mean, center.mean)
    assert torch.equal(rows, kept)
try:
    scaling(torch.rand(65, 2))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * No underscore on inputs, parameters and what may be a view of them.
# * ``user_inputs_to_mutate`` of the decomposed program lists the inputs that change.
#
# Next: :ref:`l-plot-exporter-wrong-state` for buffers and what a program keeps between
# two calls.
