"""
.. _l-plot-exporter-ops-triton:

"Cannot access data pointer": wrap a Triton or C kernel in an operator
======================================================================

.. answer::
   :cost: Nothing at run time. Gradients need ``register_autograd``.

   A kernel of Triton, CUDA or C takes pointers, and the tensors of an export have no
   memory. Make the function that launches it an operator: the export keeps one call,
   and the kernel runs when the program does.

   .. code-block:: diff

      +@torch.library.custom_op("cookbook_kernel::scale", mutates_args=())
      +def scale(x: torch.Tensor) -> torch.Tensor:
      +    return launch(x)
      +@scale.register_fake
      +def scale_fake(x):
      +    return x.new_empty(x.shape)
      -        return launch(x).relu()
      +        return scale(x).relu()

   Not your case?

   * The kernel writes into an input: :ref:`l-plot-exporter-ops-custom-inplace`.
   * The size of the result is not that simple: :ref:`l-plot-exporter-ops-custom`.
   * The line is ``x.numpy()``: :ref:`l-plot-exporter-effects-devices`.

.. meta::
   :keywords: Triton, triton_op, wrap_triton, capture_triton, user-defined kernel,
      data_ptr, FakeTensor, ctypes, CUDA extension, cupy, numba, flash attention, mamba,
      raw Triton kernel, TRITON_INTERPRET, active drivers, segmentation fault
"""

# %%
# The problem
# +++++++++++
#
# ``kernel`` stands for a compiled one: it takes two addresses and a size.

# sphinx_gallery_tags = ["operators", "export fails"]
# sphinx_gallery_wording = "Raw Triton kernel calls are not supported by non-strict torch.export."
# sphinx_gallery_wording = "torch.export of a model with a Triton kernel ends with a segmentation fault"
# sphinx_gallery_wording = "how to export a model that calls a triton.jit function"
# sphinx_gallery_wording = "RuntimeError: 0 active drivers ([]). There should only be one."
# sphinx_gallery_wording = "ValueError: Pointer argument (at 0) cannot be accessed from Triton (cpu tensor?)"

import ctypes

import torch


def kernel(source, target, size):
    if not (source and target):
        raise ValueError("null pointer")
    floats = ctypes.c_float * size
    source, target = floats.from_address(source), floats.from_address(target)
    for i in range(size):
        target[i] = 2 * source[i] + 1


def launch(x):
    x = x.contiguous()
    result = x.new_empty(x.shape)
    kernel(x.data_ptr(), result.data_ptr(), x.numel())
    return result


class Direct(torch.nn.Module):
    def forward(self, x):
        return launch(x).relu()


torch.manual_seed(0)
x = torch.randn(3, 5)
try:
    torch.export.export(Direct(), (x,), strict=False)
except (RuntimeError, ValueError) as error:
    print(error)

# %%
# PyTorch 2.6 and 2.7 hand out a null pointer: a kernel that does not test it crashes.
# From 2.14 on, Triton gets `Raw Triton kernel calls are not supported
# <https://github.com/pytorch/pytorch/blob/v2.14.1/torch/_export/non_strict_utils.py#L81>`_.
#
# The fix
# +++++++


@torch.library.custom_op("cookbook_kernel::scale", mutates_args=())
def scale(x: torch.Tensor) -> torch.Tensor:
    return launch(x)


@scale.register_fake
def scale_fake(x):
    return x.new_empty(x.shape)


class Wrapped(torch.nn.Module):
    def forward(self, x):
        return scale(x).relu()


batch = torch.export.Dim("batch", min=1, max=64)
program = torch.export.export(
    Wrapped(), (x,), dynamic_shapes=({0: batch},), strict=False
)

# %%
# Why it happens
# ++++++++++++++
#
# The tensors of an export are shapes without memory, and a launch is not an operator
# (`issue 146066 <https://github.com/pytorch/pytorch/issues/146066>`_). With one, torch
# calls `the fake implementation
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_library/custom_ops.py#L784>`_:

print(program.graph_module.code.strip())

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If
#      - Do this
#      - Cost
#    * - the kernel needs a GPU, and you export without one
#      - ``device_types="cuda"``, and ``register_kernel("cpu")`` as below
#      - a second implementation, if the program runs on the CPU
#    * - ``torch.compile`` or AOTInductor should see the Triton kernel
#      - :func:`torch.library.triton_op` and ``wrap_triton``, as below
#      - in PyTorch 2.6, ``run_decompositions`` replaces it, and ``save`` fails
#
# The export needs no kernel, only the program does:


@torch.library.custom_op(
    "cookbook_kernel::gpu_scale", mutates_args=(), device_types="cuda"
)
def gpu_scale(x: torch.Tensor) -> torch.Tensor:
    return launch(x)


gpu_scale.register_fake(scale_fake)


class OnGpu(torch.nn.Module):
    def forward(self, x):
        return gpu_scale(x).relu()


on_gpu = torch.export.export(
    OnGpu(), (x,), dynamic_shapes=({0: batch},), strict=False
).module()
try:
    on_gpu(x)
except NotImplementedError as error:
    print(str(error).partition(". ")[0])


@gpu_scale.register_kernel("cpu")
def cpu_scale(x):
    return 2 * x + 1


# %%
# Do not write ``if``: exported on the CPU, a program never launches the kernel,
# silently.


class ByDevice(torch.nn.Module):
    def forward(self, x):
        return gpu_scale(x) if x.is_cuda else 2 * x + 1


by_device = torch.export.export(ByDevice(), (x,), strict=False)
print([node.name for node in by_device.graph.nodes])
assert "gpu_scale" not in str(by_device.graph)

# %%
# With Triton, ``launch`` is this:
#
# .. code-block:: python
#
#    @triton.jit
#    def scale_kernel(x_ptr, result_ptr, size, BLOCK: tl.constexpr):
#        place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
#        value = tl.load(x_ptr + place, mask=place < size)
#        tl.store(result_ptr + place, 2 * value + 1, mask=place < size)
#
#
#    def launch(x):
#        x = x.contiguous()
#        result = x.new_empty(x.shape)
#        grid = (triton.cdiv(x.numel(), 64),)
#        scale_kernel[grid](x, result, x.numel(), BLOCK=64)
#        return result
#
# ``triton_op`` replaces ``custom_op``. It launches
# ``torch.library.wrap_triton(scale_kernel)[grid](...)`` and has no ``register_fake``.
#
# The block is not run here: torch for the CPU has no triton. With torch for CUDA, both
# are exported without a GPU (PyTorch 2.6 to 2.15), and with ``TRITON_INTERPRET=1`` the
# program of ``custom_op`` is right on a CPU. No GPU was tried.
#
# Check
# +++++
#
# The reference is the formula. A kernel does not know strides: a transposed input and a
# slice need ``contiguous()``.

exported = program.module()
for rows in (1, 2, 7, 64):
    for new in (
        torch.randn(rows, 5),
        torch.randn(5, rows).T,
        torch.randn(rows, 9)[:, 4:],
    ):
        expected = torch.relu(2 * new + 1)
        torch.testing.assert_close(exported(new), expected)
        torch.testing.assert_close(on_gpu(new), expected)
        torch.library.opcheck(scale, (new,))
try:
    exported(torch.randn(65, 5))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Whatever takes a pointer belongs into an operator with a fake implementation.
# * ``register_kernel`` chooses by device at run time, an ``if`` during the export:
#   :ref:`l-plot-exporter-effects-devices`.
#
# Next: :ref:`l-plot-exporter-wrong-gradients` to train through the kernel,
# :ref:`l-plot-exporter-after-save-load` for other processes,
# :ref:`l-plot-exporter-onnx-missing-op` for ONNX.
