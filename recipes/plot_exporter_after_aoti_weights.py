"""
.. _l-plot-exporter-after-aoti-weights:

Constant not found: load other weights into an AOTInductor package
==================================================================

.. answer::
   :cost: Small weights are read from memory instead of being part of the code.

   The compiler writes small tensors into the code as numbers, so ``load_constants``
   cannot find them. Leaving them out silently keeps the old values: a mixture of two
   models. Compile with all weights kept.

   .. code-block:: diff

      -package = compile_package(program)
      -some = {name: weights[name] for name in package.get_constant_fqns()}
      -package.load_constants(some, check_full_update=True)
      +package = compile_package(program, {"always_keep_tensor_constants": True})
      +package.load_constants(weights, check_full_update=True)

   Not your case?

   * Several models in one package, no weights in the file: see *Other fixes*.
   * The input has another dtype or layout: :ref:`l-plot-exporter-after-aotinductor`.
   * Weights of a program, not of a package: :ref:`l-plot-exporter-after-edit`.

.. meta::
   :keywords: load_constants, get_constant_fqns, update_constant_buffer, swap weights,
      package_constants_in_so, always_keep_tensor_constants, several models in one pt2,
      AOTIModelPackageLoader, Failed to find a generated cpp file or so file for model
"""

# %%
# The problem
# +++++++++++
#
# A model was compiled, and trained further. This recipe needs PyTorch 2.7:
# ``load_constants`` ends the process on a CPU in older releases.

# sphinx_gallery_tags = ["after the export", "wrong without an error", "run fails"]
# sphinx_gallery_needs_torch = "2.7"
# sphinx_gallery_needs_program = "g++"
# sphinx_gallery_wording = "RuntimeError: Constant not found: linear.bias"
# sphinx_gallery_wording = "AOTInductor results do not change after load_constants"
# sphinx_gallery_wording = "AOTInductor segmentation fault with package_constants_in_so False"

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


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(16, 4)

    def forward(self, x):
        return self.linear(x).softmax(dim=-1)


folder = tempfile.TemporaryDirectory()


def compile_package(program, options=None):
    path = os.path.join(folder.name, f"{len(os.listdir(folder.name))}.pt2")
    torch._inductor.aoti_compile_and_package(
        program, package_path=path, inductor_configs=options
    )
    return torch._inductor.aoti_load_package(path)


torch.manual_seed(0)
first, tuned = Classifier().requires_grad_(False), Classifier().requires_grad_(False)
x, dims = torch.randn(3, 16), ({0: torch.export.Dim("batch", max=64)},)
program = torch.export.export(first, (x,), dynamic_shapes=dims, strict=False)
weights = tuned.state_dict()
package = compile_package(program)
try:
    package.load_constants(weights, check_full_update=True)
except RuntimeError as error:
    print(error)

# %%
# With the names that the package has, nothing is reported, and the result is neither
# that of the old weights nor that of the new ones.

some = {name: weights[name] for name in package.get_constant_fqns()}
package.load_constants(some, check_full_update=True)
print("names:", *some)
print("old model:", torch.allclose(package(x), first(x), atol=1e-5))
print("new model:", torch.allclose(package(x), tuned(x), atol=1e-5))
mixed = torch.nn.functional.linear(x, tuned.linear.weight, first.linear.bias)
torch.testing.assert_close(package(x), mixed.softmax(dim=-1), rtol=1e-4, atol=1e-5)

# %%
# The fix
# +++++++

package = compile_package(program, {"always_keep_tensor_constants": True})
package.load_constants(weights, check_full_update=True)

# %%
# Why it happens
# ++++++++++++++
#
# A tensor of one dimension and at most 8 elements, or of none, becomes `numbers in the
# code <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_inductor/graph.py#L1562>`_,
# unless the option is set. ``weights`` are the tensors to which the option gave names:

print("names:", *sorted(package.get_constant_fqns()))
assert set(package.get_constant_fqns()) == set(weights)

# %%
# ``load_constants`` checks names, not tensors. A weight of another dtype, shape or
# layout is read as it lies in memory, silently wrong:

transposed = dict(weights)
transposed["linear.weight"] = weights["linear.weight"].T.contiguous().T
package.load_constants(transposed, check_full_update=True)
print("right:", torch.allclose(package(x), tuned(x), atol=1e-5))

# %%
# So check them against the program. Its file has no code of the model, either:


def load_weights(package, program, weights):
    for name, old in program.state_dict.items():
        new = weights[name]
        assert new.shape == old.shape and new.dtype == old.dtype, name
    weights = {name: weights[name].contiguous() for name in program.state_dict}
    package.load_constants(weights, check_full_update=True)


load_weights(package, program, transposed)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - You want
#      - Write
#      - Cost
#    * - a package without weights
#      - also ``"aot_inductor.package_constants_in_so": False``
#      - a call before ``load_constants`` ends the process
#    * - no copy of the weights
#      - ``load_constants(..., user_managed=True)``, in newer releases
#      - the tensors have to stay alive; a change in place is seen
#    * - some new weights only
#      - ``check_full_update=False``
#      - what is forgotten stays old, silently
#    * - several models in one file
#      - ``aot_compile`` each, ``package_aoti(path, {"a": files, ...})``,
#        ``load_package(path, model_name="a")`` of ``torch._inductor.package``
#      - private functions
#    * - the same from C++
#      - ``load_constants`` of `AOTIModelPackageLoader
#        <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/csrc/inductor/aoti_package/model_package_loader.h>`_
#      - not tried here
#
# `The change that added load_constants
# <https://github.com/pytorch/pytorch/pull/142246>`_ has the discussion of the crash.
# The default is a copy: a later change in place has no effect.

copied = {name: value.clone() for name, value in weights.items()}
package.load_constants(copied, check_full_update=True)
copied["linear.weight"].mul_(2)
torch.testing.assert_close(package(x), tuned(x), rtol=1e-4, atol=1e-5)

# %%
# Check
# +++++
#
# The reference is the tuned model in eager mode, at sizes that were not traced; then
# the first model again.

for model in (tuned, first):
    load_weights(package, program, model.state_dict())
    for size in (1, 2, 7, 64):
        rows = torch.randn(size, 16)
        torch.testing.assert_close(package(rows), model(rows), rtol=1e-4, atol=1e-5)
wrong = dict(weights)
wrong["linear.weight"] = torch.randn(8, 16)
try:
    load_weights(package, program, wrong)
except AssertionError as error:
    print("rejected:", error)
# sphinx_gallery_start_ignore
patch.__exit__(None, None, None)
del os.environ["TORCHINDUCTOR_CACHE_DIR"]
folder.cleanup()
cache.cleanup()
# sphinx_gallery_end_ignore

# %%
# Summary
# +++++++
#
# * Compile with ``always_keep_tensor_constants``, and load all weights.
# * Compare shape, dtype and layout first: the package does not.
# * Next: :ref:`l-plot-exporter-after-aotinductor`, as inputs are not checked, either.
