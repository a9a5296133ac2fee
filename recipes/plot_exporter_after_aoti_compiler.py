"""
.. _l-plot-exporter-after-aoti-compiler:

Fix "No working C++ compiler found" and "C++ compile error"
===========================================================

.. answer::
   :cost: Nothing where the package runs: it needs no compiler.

   Inductor compiles C++ on your machine, with ``g++``, on macOS with ``clang++``, or
   with what ``CXX`` names when Inductor is imported. Install a compiler
   (``apt install g++``), or name those that may be there.

   .. code-block:: diff

      -torch._inductor.aoti_compile_and_package(program, package_path=path)
      +search = {"cpp.cxx": ("g++", "clang++")}
      +torch._inductor.aoti_compile_and_package(
      +    program, package_path=path, inductor_configs=search
      +)

   Not your case?

   * ``Could not find schema``: before you load the package, import the module that
     registers the operator, :ref:`l-plot-exporter-ops-custom`.
   * The package gives wrong results: :ref:`l-plot-exporter-after-aotinductor`.
   * ``LoweringException``: :ref:`l-plot-exporter-ops-decompositions`.

.. meta::
   :keywords: InvalidCxxCompiler, CppCompileError, InductorError, Python.h, omp.h, libomp,
      TORCHINDUCTOR_CACHE_DIR, illegal instruction, march native, custom operator in
      a package, LoweringException, missing lowering, dlsym, pt2 of another version
"""

# %%
# The problem
# +++++++++++
#
# The model calls an operator of ours. The compiler is not there, as with
# ``CXX=no-such-compiler``.

# sphinx_gallery_tags = ["after the export", "conversion fails"]
# sphinx_gallery_needs_program = "g++"
# sphinx_gallery_wording = "torch._inductor.exc.InductorError: InvalidCxxCompiler: No working C++ compiler found in torch._inductor.config.cpp.cxx: (None, 'g++')"
# sphinx_gallery_wording = "torch._inductor.exc.InductorError: CppCompileError: C++ compile error fatal error: Python.h: No such file or directory"
# sphinx_gallery_wording = "fatal error: 'omp.h' file not found"
# sphinx_gallery_wording = "PermissionError: [Errno 13] Permission denied: '/tmp/torchinductor_user'"
# sphinx_gallery_wording = "AOTInductor package: illegal instruction (core dumped) on another machine"

import os
import tempfile
import warnings
import zipfile
from unittest import mock

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
    "cpp_cache_precompile_headers": False,
    "aot_inductor.metadata": {},
    "cpp.vec_isa_ok": False,
}
settings = {name: value for name, value in settings.items() if name in known}
patch = torch._inductor.config.patch(settings)
patch.__enter__()
# sphinx_gallery_end_ignore


def register():
    library = torch.library.Library("shop", "DEF")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x * 2, "CPU")
    torch.library.register_fake("shop::twice", torch.empty_like, lib=library)
    return library


class Net(torch.nn.Module):
    def forward(self, x):
        return torch.ops.shop.twice(x).relu() + 1


library = register()
torch.manual_seed(0)
x, dims = torch.randn(3, 4), ({0: torch.export.Dim("batch", min=1, max=64)},)
program = torch.export.export(Net(), (x,), dynamic_shapes=dims, strict=False)
folder = tempfile.TemporaryDirectory()
path = os.path.join(folder.name, "net.pt2")
with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
    try:
        torch._inductor.aoti_compile_and_package(program, package_path=path)
    except RuntimeError as error:
        print(error)

# %%
# The fix
# +++++++

search = {"cpp.cxx": ("g++", "clang++")}
torch._inductor.aoti_compile_and_package(
    program, package_path=path, inductor_configs=search
)
package = torch._inductor.aoti_load_package(path)

# %%
# Why it happens
# ++++++++++++++
#
# `The search
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_inductor/cpp_builder.py#L83>`_
# takes the first that answers ``--version``. If that one fails later, the message is
# ``C++ compile error``, then the command and, at the end, what the compiler printed.
# A Python without its headers (`torchchat 1293
# <https://github.com/pytorch/torchchat/issues/1293>`_):

compiled = torch.compile(torch.export.export(torch.nn.ReLU(), (x,)).module())
# sphinx_gallery_start_ignore
# The warning names the folder.
quiet = warnings.catch_warnings()
quiet.__enter__()
warnings.filterwarnings("ignore", "Can't find Python.h")
# sphinx_gallery_end_ignore
with mock.patch("sysconfig.get_path", return_value=folder.name):
    try:
        compiled(x)
    except RuntimeError as error:
        print(str(error).rpartition("fatal error: ")[2].splitlines()[0])
# sphinx_gallery_start_ignore
quiet.__exit__(None, None, None)
# sphinx_gallery_end_ignore

# %%
# That was ``torch.compile``, which makes an extension of Python. The code of a package
# does not include ``Python.h``.

with zipfile.ZipFile(path) as archive:
    sources = [archive.read(name) for name in archive.namelist() if ".cpp" in name]
assert sources and not any(b"Python.h" in source for source in sources)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Message
#      - What to do
#    * - ``Python.h: No such file or directory``
#      - Install ``python3-dev`` (``python3-devel``) of this Python, or make a package.
#    * - ``'omp.h' file not found``, macOS
#      - ``brew install libomp``, or set ``OMP_PREFIX`` (`torch's list
#        <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_inductor/cpp_builder.py#L705>`_).
#    * - ``Permission denied: '/tmp/torchinductor_...'``, ``failed to map segment``
#      - Before Python starts, set ``TORCHINDUCTOR_CACHE_DIR`` to a folder of yours that
#        is not ``noexec``.
#    * - ``LoweringException``, ``missing lowering``
#      - The message names an operator: :ref:`l-plot-exporter-ops-decompositions`.
#    * - ``Could not find schema for``
#      - Import the module that registers the operator, then load the package.
#    * - ``AOTI_CPU_ISA``, then ``Illegal instruction``
#      - The code is for the machine that compiled it (`-march=native
#        <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_inductor/cpp_builder.py#L1021>`_):
#        compile on the kind that runs it.
#    * - ``No AOTInductor generate cpp file or so file found``
#      - PyTorch 2.6 and 2.7 cannot load a package of 2.9 or later.
#    * - ``Loading outdated pt2 file``
#      - A package of 2.6; or loading failed, and the next message says why.
#    * - ``Could not dlsym``
#      - A warning: the package is of an earlier release.
#
# Check
# +++++
#
# The reference is the formula, at batch sizes that were not traced.

for size in (1, 2, 7, 64):
    x = torch.randn(size, 4)
    torch.testing.assert_close(package(x), (2 * x).clamp(min=0) + 1)

# %%
# The package calls the operator and does not contain it. Where nothing registers it,
# loading fails (`issue 145394 <https://github.com/pytorch/pytorch/issues/145394>`_).
# Without Python, the operator has to be written in C++.

del library
try:
    torch._inductor.aoti_load_package(path)
except RuntimeError as error:
    print(error)

library = register()
again = torch._inductor.aoti_load_package(path)
torch.testing.assert_close(again(x), (2 * x).clamp(min=0) + 1)
# sphinx_gallery_start_ignore
patch.__exit__(None, None, None)
del os.environ["TORCHINDUCTOR_CACHE_DIR"], library
folder.cleanup()
cache.cleanup()
# sphinx_gallery_end_ignore

# %%
# Summary
# +++++++
#
# * ``cpp.cxx`` or ``CXX`` names the compiler; the end of the message has the cause.
# * Next: :ref:`l-plot-exporter-after-aotinductor`, as a package does not check its
#   inputs.
