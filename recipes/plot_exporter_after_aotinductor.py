"""
.. _l-plot-exporter-after-aotinductor:

Fix wrong results of an AOTInductor package
===========================================

.. answer::
   :cost: A copy of an input that has another dtype or layout; otherwise nothing.

   The library is compiled for the dtype and memory layout of the example input, and
   does not check what it gets: it reads a transposed or double tensor in the order of
   the example. Convert inputs before the call.

   .. code-block:: diff

      -    result = package(x)
      +    assert x.shape[0] <= 64 and x.shape[1:] == (16,)
      +    result = package(x.to(torch.float32).contiguous())

   Not your case?

   * The exported program is wrong, too: :ref:`l-plot-exporter-wrong-checklist`.
   * ``torch.compile`` of an exported program: :ref:`l-plot-exporter-after-move`.
   * ``Guard failed``: that is the program, :ref:`l-plot-exporter-after-guards`.

.. meta::
   :keywords: AOTInductor, aoti_compile_and_package, aoti_load_package, pt2 package, shared
      library, AOTI_RUNTIME_CHECK_INPUTS, C++ inference, run without Python,
      Only ExportedProgram is supported
"""

# %%
# The problem
# +++++++++++
#
# A normalization is compiled with a dynamic batch. Contiguous inputs give the right
# result, other layouts and dtypes do not.

# sphinx_gallery_tags = ["after the export", "wrong without an error", "how to"]
# sphinx_gallery_needs_program = "g++"
# sphinx_gallery_wording = "AOTInductor returns wrong results"

import os
import tempfile

import torch
import torch._inductor

# sphinx_gallery_start_ignore
# Compile in this process, quickly, and leave no files behind.
cache = tempfile.TemporaryDirectory()
os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache.name
known = torch._inductor.config.get_config_copy()
settings = {
    "compile_threads": 1,
    "aot_inductor.compile_wrapper_opt_level": "O0",
    "aot_inductor.precompile_headers": False,
    "aot_inductor.metadata": {},
    "cpp.vec_isa_ok": False,
}
settings = {name: value for name, value in settings.items() if name in known}
patch = torch._inductor.config.patch(settings)
patch.__enter__()
# sphinx_gallery_end_ignore


class Norm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(1, 2, 16))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


torch.manual_seed(0)
model, x = Norm().eval().requires_grad_(False), torch.randn(3, 16)
dims = ({0: torch.export.Dim("batch", max=64)},)
program = torch.export.export(model, (x,), dynamic_shapes=dims, strict=False)
folder = tempfile.TemporaryDirectory()
path = os.path.join(folder.name, "norm.pt2")
torch._inductor.aoti_compile_and_package(program, package_path=path)
# sphinx_gallery_start_ignore
patch.__exit__(None, None, None)
del os.environ["TORCHINDUCTOR_CACHE_DIR"]
# sphinx_gallery_end_ignore
package = torch._inductor.aoti_load_package(path)

inputs = {
    "contiguous": x,
    "transposed": torch.randn(16, 3).T,
    "every second column": torch.randn(3, 32)[:, ::2],
    "double": torch.randn(3, 16, dtype=torch.float64),
}
for name, x in inputs.items():
    result = package(x)
    right = torch.allclose(result.to(x.dtype), model(x), atol=1e-5)
    print(name, "right" if right else "WRONG")

# %%
# The fix
# +++++++

for x in inputs.values():
    assert x.shape[0] <= 64 and x.shape[1:] == (16,)
    result = package(x.to(torch.float32).contiguous())

# %%
# The process that loads the package needs torch or its C++ library, but neither the
# model nor a compiler.
#
# Why it happens
# ++++++++++++++
#
# The kernel has the strides of the example, 16 and 1. For the transposed tensor it
# computes the result of the same memory in that order:

x = inputs["transposed"]
print("strides:", x.stride())
in_memory_order = torch.as_strided(x, x.shape, (16, 1))
torch.testing.assert_close(package(x), model(in_memory_order))

# %%
# The `checks of the exported program
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_unlift.py#L882>`_ are not
# part of the library. A wrong size can be read beyond the end of the input, which can
# end the process.
#
# Other fixes
# +++++++++++
#
# With ``AOTI_RUNTIME_CHECK_INPUTS=1`` the library checks dtype, sizes, strides and
# ranges itself (PyTorch 2.7 or later). Set it before the first call. Cost: a few
# comparisons per call; and a batch of one is out of range, as the example was larger
# (:ref:`l-plot-exporter-shapes-zero-one`). PyTorch 2.9 raises ``run_func_(...) API call
# failed``; the reason is on stderr.
#
# Each size is compared with its range only. With ``Dim.DYNAMIC``,
# ``x.reshape(100, -1)`` takes 2099 numbers, and silently drops 99 (`issue 151925
# <https://github.com/pytorch/pytorch/issues/151925>`_). Assert ``x.shape[0] % 100 == 0``
# before the call. PyTorch 2.13 rejects 2099 if the dimension is ``100 * Dim("n")``.

os.environ["AOTI_RUNTIME_CHECK_INPUTS"] = "1"
checking = torch._inductor.aoti_load_package(path)
for x in (*inputs.values(), torch.randn(65, 16), torch.randn(1, 16)):
    try:
        checking(x)
    except RuntimeError as error:
        print(str(error).strip())
del os.environ["AOTI_RUNTIME_CHECK_INPUTS"]

# %%
# Check
# +++++
#
# The reference is the model in eager mode, at sizes that were not traced.

for size in (1, 2, 7, 64):
    for x in (
        torch.randn(size, 16),
        torch.randn(16, size).T,
        torch.randn(size, 32)[:, ::2],
        torch.randn(size, 16, dtype=torch.float64),
        torch.randn(1, 16).expand(size, 16),
    ):
        assert x.shape[0] <= 64 and x.shape[1:] == (16,)
        result = package(x.to(torch.float32).contiguous())
        torch.testing.assert_close(
            result, model(x), rtol=1e-4, atol=1e-5, check_dtype=False
        )

# %%
# Limitations
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Message
#      - What to do
#    * - ``Only ExportedProgram is supported``
#      - pass the program, not the model and not ``program.module()``
#    * - ``Expect package path to be a file ending in .pt2``
#      - name the file so
#    * - ``No working C++ compiler found``
#      - :ref:`l-plot-exporter-after-aoti-compiler`

for wrong, name in ((program.module(), path), (program, "norm.so")):
    try:
        torch._inductor.aoti_compile_and_package(wrong, package_path=name)
    except (AssertionError, ValueError) as error:
        print(error)
# sphinx_gallery_start_ignore
folder.cleanup()
cache.cleanup()
# sphinx_gallery_end_ignore

# %%
# Summary
# +++++++
#
# * A package checks nothing by default: convert its inputs, or set
#   ``AOTI_RUNTIME_CHECK_INPUTS=1``.
# * A package is for the kind of machine that compiled it.
#
# To give a package other weights: :ref:`l-plot-exporter-after-aoti-weights`.
# If the numbers still differ, :ref:`l-plot-exporter-after-compare` tells whether the
# program differs from the model already.
