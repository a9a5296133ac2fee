"""
.. _l-plot-exporter-after-aotinductor:

Compile a program into a package without Python
===============================================

``aoti_compile_and_package`` says ``Only ExportedProgram is supported``, or ``No working
C++ compiler found``. Or the package is made and runs, and returns wrong numbers for an
input that the exported program refuses.

This page compiles a program with AOTInductor, loads the package where the model's code
is not known, and shows which inputs it takes without a word.

.. meta::
   :description: Compile the program, not the module; run with AOTI_RUNTIME_CHECK_INPUTS=1,
      or verify strides, dtypes and sizes in front.
   :keywords: AOTInductor, aoti_compile_and_package, aoti_load_package, pt2 package, shared
      library, No working C++ compiler, AOTI_RUNTIME_CHECK_INPUTS, C++ inference
"""

# %%
# The model
# +++++++++
#
# A normalisation, with a dynamic batch. AOTInductor writes C++ for it, and a compiler
# makes a shared library of that. The compiler is ``g++`` or ``clang++``, and it is
# needed for the compilation only. Where there is none, this page ends after the next
# cell.

# sphinx_gallery_tags = ["after the export", "conversion fails", "wrong without an error"]
# sphinx_gallery_needs_program = "g++"
# sphinx_gallery_wording = "torch._inductor.exc.InvalidCxxCompiler: No working C++ compiler found"
# sphinx_gallery_wording = "AOTInductor returns wrong results"

import os
import tempfile
import unittest.mock
import warnings
import zipfile

import torch
import torch._inductor
from torch._inductor.cpp_builder import get_cpp_compiler

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
config = torch._inductor.config


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
try:
    get_cpp_compiler()
except torch._inductor.exc.InvalidCxxCompiler as error:
    COMPILER, message = False, str(error).splitlines()[0]
else:
    COMPILER, message = True, "There is a C++ compiler."
print(message)
assert COMPILER or message.startswith("No working C++ compiler")

# %%
# Two errors before anything is compiled
# ++++++++++++++++++++++++++++++++++++++
#
# It takes the program. Neither the model nor ``program.module()`` will do. And the file
# ends in ``.pt2``.

compile_and_package = torch._inductor.aoti_compile_and_package
CALLS = {
    "the model": lambda: compile_and_package(model),
    "program.module()": lambda: compile_and_package(program.module()),
    "another ending": lambda: compile_and_package(program, package_path="norm.so"),
}
for name, call in CALLS.items():
    try:
        call()
    except (AssertionError, ValueError) as error:
        message = str(error).splitlines()[0]
    else:
        message = "This release takes it."
    print(f"{name}: {message}")
    assert message != "This release takes it."

# %%
# Compile
# +++++++
#
# The package is a zip file with the library in it. The settings are for this page: one
# process, no optimisation of the part that is not computed in a loop, and a folder for
# the files of the compiler that is removed at the end. You need none of them. Compiling
# takes from some seconds to many minutes; a package is for the kind of machine that
# made it.

folder = tempfile.TemporaryDirectory()
path = os.path.join(folder.name, "norm.pt2")
settings = {
    "compile_threads": 1,
    "aot_inductor.compile_wrapper_opt_level": "O0",
    "aot_inductor.precompile_headers": False,
    "aot_inductor.metadata": {},
}
known = config.get_config_copy()
settings = {name: value for name, value in settings.items() if name in known}
if COMPILER:
    environment = {"TORCHINDUCTOR_CACHE_DIR": folder.name}
    with (
        config.patch(settings),
        unittest.mock.patch.dict(os.environ, environment),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        compile_and_package(program, package_path=path)
    names = zipfile.ZipFile(path).namelist()
    endings = sorted({os.path.splitext(name)[1] for name in names})
    print("files that end in", [ending for ending in endings if ending])
    assert ".so" in endings
else:
    print("Nothing is compiled here.")

# %%
# Load and run
# ++++++++++++
#
# The process that loads the package needs torch, or its C++ library, and nothing of the
# model. The results are those of the model to rounding, for batches that were not
# traced.


def load():
    return torch._inductor.aoti_load_package(path)


if COMPILER:
    package = load()
    for batch in (2, 7, 64):
        x = torch.randn(batch, 16)
        torch.testing.assert_close(package(x), model(x))
    print("batches 2, 7 and 64: same results")

# %%
# What the package does not check
# +++++++++++++++++++++++++++++++
#
# Each of these inputs is one that the exported program was not made for. The library
# was compiled for one dtype, one order of the elements in memory, and a range of sizes,
# and it believes the caller.

INPUTS = {
    "65 rows": torch.randn(65, 16),
    "1 row": torch.randn(1, 16),
    "transposed": torch.randn(16, 3).T,
    "every second column": torch.randn(3, 32)[:, ::2],
    "double": torch.randn(3, 16, dtype=torch.float64),
}
if COMPILER:
    right = {}
    for name, x in INPUTS.items():
        result, expected = package(x), model(x)
        right[name] = torch.allclose(result.to(expected.dtype), expected, atol=1e-5)
        print(f"{name:20} {'right' if right[name] else 'WRONG'}")
    assert right["65 rows"] and right["1 row"]
    assert not right["transposed"] and not right["every second column"]
    assert not right["double"]

# %%
# The exported program computes the transposed input correctly, since its operators look
# at strides; the package reads memory in the order of the example. No release of this
# page checks this by default. Inputs of other sizes may be read beyond their end, which
# can end the process.
#
# Fix 1: let the package check
# ++++++++++++++++++++++++++++
#
# With the environment variable ``AOTI_RUNTIME_CHECK_INPUTS=1``, the library compares
# dtype, sizes, strides and ranges before each call. It is read when the library is used
# for the first time, and exists since 2.7. The price is some comparisons for each call,
# and a batch of one: the range of the program begins at 2, because the example was
# larger than 1 (:ref:`l-plot-exporter-shapes-zero-one`).

messages = {}
if COMPILER:
    with unittest.mock.patch.dict(os.environ, AOTI_RUNTIME_CHECK_INPUTS="1"):
        checking = load()
        for name, x in INPUTS.items():
            try:
                checking(x)
            except RuntimeError as error:
                messages[name] = str(error).strip().splitlines()[0]
            else:
                messages[name] = "accepted"
            print(f"{name:20} {messages[name]}")
            assert (messages[name] == "accepted") == (RELEASE < (2, 7)), messages

# %%
# Fix 2: bring the input into the form of the example
# +++++++++++++++++++++++++++++++++++++++++++++++++++
#
# Where the variable is not an option, convert in front: one line, which copies only
# what has another form. It works on all releases of this page.


def prepared(x):
    assert x.shape[0] <= 64 and x.shape[1:] == (16,), x.shape
    return x.to(torch.float32).contiguous()


if COMPILER:
    for name, x in INPUTS.items():
        if name != "65 rows":
            result = package(prepared(x)).to(x.dtype)
            torch.testing.assert_close(result, model(x), rtol=1e-4, atol=1e-5)
            print(f"{name:20} right")

# %%
# A size that must not vary is refused by ``prepared``, with a message of your own.

try:
    prepared(torch.randn(3, 15))
except AssertionError as error:
    message = str(error)
else:
    message = "accepted"
print(message)
assert message == "torch.Size([3, 15])"
folder.cleanup()

# %%
# To remember
# +++++++++++
#
# * Compile the exported program; the compiler is needed for that step only.
# * A package checks nothing by default: contiguous inputs of the right dtype and size
#   are the caller's business, or that of ``AOTI_RUNTIME_CHECK_INPUTS=1``.
#
# Next: :ref:`l-plot-exporter-after-guards` for what the program itself checks,
# :ref:`l-plot-exporter-after-move` for ``torch.compile`` of a program, and
# :ref:`l-plot-exporter-after-compare` if the numbers differ.
