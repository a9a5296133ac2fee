"""
.. _l-plot-exporter-after-save-load:

Save an exported program and load it in another process
=======================================================

.. answer::
   :cost: Nothing at run time. The name must stay the same afterwards.

   The file has the names of classes and custom operators, not their code. Give the
   class a name where it is registered. Before ``torch.export.load``, import what
   registers classes and operators.

   .. code-block:: diff

      -torch.export.register_dataclass(Result)
      +torch.export.register_dataclass(Result, serialized_type_name="app.Result")
       torch.export.save(program, file)

   Not your case?

   * Another message, or the class is no dataclass: the table in *Other fixes*.
   * A different PyTorch version loads the file: *Limitations*.
   * The application has no Python: :ref:`l-plot-exporter-after-aotinductor`.

.. meta::
   :keywords: torch.export.save, torch.export.load, pt2 file, serialized_type_name,
      error when deserializing the saved file, SerializeError, Unsupported target type,
      extra_files, export in one release and load in another, custom operator not found,
      No registered serialization name, register_dataclass, load_pt2
"""

# %%
# The problem
# +++++++++++
#
# The model returns a registered dataclass. It exports, and cannot be saved.

# sphinx_gallery_tags = ["after the export", "export fails", "conversion fails"]
# sphinx_gallery_wording = "Unable to serialize context. Please make the context json dump-able"
# sphinx_gallery_wording = "got an unexpected keyword argument 'treespec_namedtuple_fields'"
# sphinx_gallery_wording = "exported on torch 2.9, cannot load on torch 2.7"
# sphinx_gallery_wording = "There is no item named 'version' in the archive"
# sphinx_gallery_wording = "We ran into an error when deserializing the saved file. Please check the warnings above for possible errors."
# sphinx_gallery_wording = "Unsupported target type for node Node(target='torch.ops.my.op.default') <class 'str'>"
# sphinx_gallery_wording = "AttributeError: 'ExportedProgram' object has no attribute 'tell'"
# sphinx_gallery_wording = "Can't get attribute 'Batch' on <module '__main__'"
# sphinx_gallery_wording = "TypeError: not enough arguments for format string"
# sphinx_gallery_wording = "torch.export.save AssertionError: TODO, forward returns a bool of a size"

import dataclasses
import io
import os
import re
import subprocess
import sys
import tempfile

import torch


@dataclasses.dataclass
class Result:
    scores: torch.Tensor
    label: torch.Tensor


class Classify(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x):
        scores = self.head(x).softmax(dim=-1)
        return Result(scores, scores.argmax(dim=-1))


torch.manual_seed(0)
model = Classify()
x = torch.randn(2, 4)
shapes = ({0: torch.export.Dim("batch", max=64)},)
torch.export.register_dataclass(Result)
program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
try:
    torch.export.save(program, io.BytesIO())
except NotImplementedError as error:
    print(error)

# %%
# The fix
# +++++++
#
# A class can be registered only once, so it is defined again.


@dataclasses.dataclass
class Result:
    scores: torch.Tensor
    label: torch.Tensor


torch.export.register_dataclass(Result, serialized_type_name="app.Result")
program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
file = io.BytesIO()
torch.export.save(program, file)
loaded = torch.export.load(io.BytesIO(file.getvalue()))

# %%
# Why it happens
# ++++++++++++++
#
# The file has none of your code. Only the second process registers ``app.Result``.

load = """
import sys, torch
exported = torch.export.load(sys.argv[1]).module()
torch.save(exported(torch.ones(5, 4)).scores, sys.argv[2])
"""
register = """
import dataclasses, torch
@dataclasses.dataclass
class Result:
    scores: torch.Tensor
    label: torch.Tensor
torch.export.register_dataclass(Result, serialized_type_name="app.Result")
"""
with tempfile.TemporaryDirectory() as folder:
    path, scores = os.path.join(folder, "a.pt2"), os.path.join(folder, "scores.pt")
    torch.export.save(program, path)
    for code in (load, register + load):
        command = [sys.executable, "-c", code, path, scores]
        child = subprocess.run(command, capture_output=True, text=True)
        errors = re.findall(r"(?:\w+Error|deserializing): .*", child.stderr)
        print(f"exit status {child.returncode}", *errors, sep="\n  ")
    torch.testing.assert_close(torch.load(scores), model(torch.ones(5, 4)).scores)

# %%
# Since PyTorch 2.8 the last error is not the cause: ``load`` `tries an older format
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/__init__.py#L347>`_. The
# cause is logged above the traceback (not by 2.8).
#
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Message
#      - What to do
#    * - ``No registered serialization name``, no dataclass
#      - ``register_pytree_node(..., serialized_type_name=...)``, see
#        :ref:`l-plot-torch-export-with-dynamic-cache-201`
#    * - ``Unable to serialize context``; or the loaded program rejects the class
#      - the context becomes JSON, a tuple a list: register ``to_dumpable_context`` and
#        ``from_dumpable_context``
#    * - ``Unsupported target type ... <class 'str'>``
#      - import the module of the custom operator: :ref:`l-plot-exporter-ops-custom`
#    * - ``Can't get attribute 'Batch'``
#      - example inputs are pickled: put the class into a module that both import
#    * - ``AssertionError: TODO``; or ``load`` fails for a model that returns a string
#      - a size can be an output, ``x.shape[0] > 3`` cannot: return a tensor, as below
#    * - ``not enough arguments for format string``
#      - nothing: the file is loaded (a `mistake in the log
#        <https://github.com/pytorch/pytorch/pull/189679>`_ up to PyTorch 2.14)
#    * - ``Failed serializing node``, and the model has ``1j``
#      - ``torch.tensor(1j)``: :ref:`l-plot-exporter-ops-complex`
#    * - ``'ExportedProgram' object has no attribute 'tell'``
#      - give ``load`` a file


class Sizes(torch.nn.Module):
    def forward(self, x):
        return x.shape[0] + 1, x.shape[0] > 3


class SizesTensor(torch.nn.Module):
    def forward(self, x):
        return x.shape[0] + 1, x.new_full((), x.shape[0]) > 3


for sizes in (Sizes(), SizesTensor()):
    file = io.BytesIO()
    sized = torch.export.export(sizes, (x,), dynamic_shapes=shapes, strict=False)
    try:
        torch.export.save(sized, file)
    except AssertionError as error:
        print(f"AssertionError: {error}")
file.seek(0)
returned = torch.export.load(file).module()(torch.randn(5, 4))
assert returned[0] == 6 and returned[1].item() is True

# %%
# Check
# +++++
#
# The reference is the model in eager mode, at sizes that were not traced.

for size in (1, 3, 64):
    x = torch.randn(size, 4)
    result, expected = loaded.module()(x), model(x)
    assert type(result) is Result
    torch.testing.assert_close(result.scores, expected.scores)
    torch.testing.assert_close(result.label, expected.label)
for name, weight in model.state_dict().items():
    torch.testing.assert_close(loaded.state_dict[name], weight, rtol=0, atol=0)

# %%
# The range is in the file: more rows must be rejected.

try:
    loaded.module()(torch.randn(65, 4))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# The documentation of :func:`torch.export.save`: "saved files may not be usable in
# newer versions of PyTorch". Keep the code and the weights, and export again after an
# upgrade. Older versions may fail, too: 2.6 to 2.8 cannot load files of 2.9.
#
# Attributes that you set on a program are not saved. Strings can be, also the version:

extra = {"labels.txt": "cat dog bird", "torch.txt": str(torch.__version__)}
program.labels = ["cat", "dog", "bird"]
file = io.BytesIO()
torch.export.save(program, file, extra_files=extra)
found = {"labels.txt": ""}
loaded = torch.export.load(io.BytesIO(file.getvalue()), extra_files=found)
print(hasattr(loaded, "labels"), found["labels.txt"])

# sphinx_gallery_start_ignore
assert not hasattr(loaded, "labels") and found["labels.txt"] == "cat dog bird"
# sphinx_gallery_end_ignore

# %%
# ``load`` uses pickle: never load a file that you do not trust. It has the example
# inputs, too.
#
# Summary
# +++++++
#
# * Give classes a ``serialized_type_name``, and register them before ``load``.
# * Read the first error of ``load``, not the last.
# * One program for each file or buffer: a second ``save`` into a buffer loses the first.
#
# Next: :ref:`l-plot-exporter-after-several-programs` for several in one file,
# :ref:`l-plot-exporter-inputs-dataclass` for dataclasses as inputs,
# :ref:`l-plot-exporter-after-guards` for the inputs that a loaded program accepts.
