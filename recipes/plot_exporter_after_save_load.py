"""
.. _l-plot-exporter-after-save-load:

Save an exported program and load it elsewhere
==============================================

:func:`torch.export.save` fails with ``No registered serialization name for <class ...>
found``, or it works and :func:`torch.export.load` fails in the other process: ``We ran
into an error when deserializing the saved file``, or on 2.8 ``There is no item named
'version' in the archive``.

This page shows what the file needs from the process that loads it (classes, operators,
a release), how to get the reason out of ``load``, and what a file does not keep.

.. meta::
   :description: Register classes with a serialised name, import what registers them
      before load, and ask load_pt2 for the reason.
   :keywords: torch.export.save, torch.export.load, pt2 file, serialized_type_name,
      error when deserializing the saved file, SerializeError, Unsupported target type,
      extra_files, export in one release and load in another, custom operator not found
"""

# %%
# The model
# +++++++++
#
# The input is a class of one's own: a tensor and the names of its axes. One parameter
# is frozen, to see what a file keeps.

# sphinx_gallery_tags = ["after the export", "export fails", "conversion fails"]
# sphinx_gallery_wording = "Unable to serialize context. Please make the context json dump-able"
# sphinx_gallery_wording = "got an unexpected keyword argument 'treespec_namedtuple_fields'"
# sphinx_gallery_wording = "exported on torch 2.9, cannot load on torch 2.7"

import contextlib
import io
import json
import warnings
import zipfile

import torch

pytree = torch.utils._pytree
Dim = torch.export.Dim
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Batch:
    def __init__(self, values, axes=("batch", "time")):
        self.values, self.axes = values, axes


class Average(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 2)
        self.head.bias.requires_grad_(False)

    def forward(self, batch):
        return self.head(batch.values.mean(dim=1))


# %%
# These functions register a class and take that back
# (:ref:`l-plot-torch-export-with-dynamic-cache-201` explains both), export, save, and
# load without the warnings of some releases about how they read a file. A class can be
# registered only once, so each attempt of this page has a subclass of its own.


def register(cls, **options):
    key = pytree.GetAttrKey("values")
    pytree.register_pytree_node(
        cls,
        lambda batch: ([batch.values], batch.axes),
        lambda values, axes: cls(*values, axes),
        flatten_with_keys_fn=lambda batch: ([(key, batch.values)], batch.axes),
        **options,
    )
    torch.fx._pytree.register_pytree_flatten_spec(cls, lambda b, _: [b.values])


def unregister(cls):
    for module in (pytree, torch.fx._pytree):
        for name in dir(module):
            if name.startswith("SUPPORTED_"):
                getattr(module, name).pop(cls, None)
    pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE.pop(f"cookbook.{cls.__name__}", None)


torch.manual_seed(0)
model = Average()
shapes = ([{0: Dim("size", max=64), 1: Dim("time", max=512)}],)


def export(cls):
    inputs = (cls(torch.randn(3, 5, 4)),)
    return torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)


def save(program):
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


def load(data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.load(io.BytesIO(data), **options)


# %%
# The symptom: it cannot be saved
# +++++++++++++++++++++++++++++++
#
# The registration is good enough for the export, and the program runs.


class NamelessBatch(Batch):
    pass


register(NamelessBatch)
program = export(NamelessBatch)
batch = NamelessBatch(torch.randn(2, 7, 4))
torch.testing.assert_close(program.module()(batch), model(batch))
try:
    save(program)
except NotImplementedError as error:
    message = str(error)
else:
    message = "This release saves a class without a name."
print(message)
assert message.startswith("No registered serialization name"), message

# %%
# The cause and the fix: the file is JSON, and the class is a name in it. Give it one
# that you will not change. What the flatten function returns as its second value, the
# *context*, is written as JSON too, where a tuple becomes a list. Then the loaded
# program refuses each input: its structure is not the exported one.


class TupleBatch(Batch):
    pass


register(TupleBatch, serialized_type_name="cookbook.TupleBatch")
batch = TupleBatch(torch.randn(2, 7, 4))
try:
    load(save(export(TupleBatch))).module()(batch)
except ValueError as error:
    message = str(error)
else:
    message = "This release gives the tuple back."
print(*(line for line in message.splitlines() if "Batch" in line), sep="\n")
assert "['batch', 'time']" in message and "('batch', 'time')" in message, message

# %%
# Use a list as the context, or say how it becomes JSON and how it comes back (on all
# releases of this page). For a named tuple, see :ref:`l-plot-exporter-inputs-nested`.

JSON = {"to_dumpable_context": list, "from_dumpable_context": tuple}
register(Batch, serialized_type_name="cookbook.Batch", **JSON)
program = export(Batch)
batch = Batch(torch.randn(2, 7, 4))
data = save(program)

# %%
# The symptom: it cannot be loaded
# ++++++++++++++++++++++++++++++++
#
# Another process knows neither the class nor your operators. Here the name of the class
# is taken out of the registry of names to see that. Up to 2.7 the message has the
# reason. On 2.8 there is none. Since 2.9 it is a log record above the traceback.

NAMES = pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE
del NAMES["cookbook.Batch"]
try:
    load(data)
except (KeyError, RuntimeError) as error:
    message = str(error).strip()
else:
    message = "This release loads a class that it does not know."
print(message)
assert ("cookbook.Batch" in message) == (RELEASE < (2, 8)), message

# %%
# ``load`` catches the error and tries an older format of the file (`here
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/__init__.py#L347>`_),
# and what you see is the failure of the second attempt. Since 2.8 ``load_pt2`` is the
# first attempt alone. Call it to get the reason. The fix: import the module that
# registers the class before the file is loaded. (Here its name comes back.)

first_attempt = torch.export.load
if RELEASE >= (2, 8):
    from torch.export.pt2_archive._package import load_pt2 as first_attempt

try:
    first_attempt(io.BytesIO(data))
except NotImplementedError as error:
    message = str(error)
else:
    message = "This release loads a class that it does not know."
print(message)
assert "cookbook.Batch" in message, message
NAMES["cookbook.Batch"] = Batch
torch.testing.assert_close(load(data).module()(batch), model(batch))

# %%
# The example inputs are in the file, too
# +++++++++++++++++++++++++++++++++++++++
#
# They are pickled, so put the class into a module that both processes import. A class
# of a script lives in ``__main__`` and is not found by another script.

kept = Batch
del Batch
try:
    load(data)
except AttributeError as error:
    message = str(error).split(" on <")[0]
else:
    message = "This release needs no class for the example inputs."
Batch = kept
print(message)
assert message == "Can't get attribute 'Batch'", message

# %%
# From 2.10 to 2.14 ``load`` also prints ``--- Logging error ---`` and a long traceback
# that ends in ``TypeError: not enough arguments for format string``. The file is loaded
# all the same. The inputs are first read without classes, then with them, and the `call
# that logs this <https://github.com/pytorch/pytorch/pull/189679>`_ had one argument too
# few. Declare the class safe, and the first attempt works.

log = []
for safe in ([], [Batch]):
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), torch.serialization.safe_globals(safe):
        loaded = load(data)
    log.append("Logging error" in stderr.getvalue())
print("as it is:", log[0], "declared safe:", log[1])
assert log == [(2, 10) <= RELEASE < (2, 15), False]

# %%
# Or save without them: ``program.example_inputs = None`` works since 2.7. The price is
# the guards of the loaded program (see :ref:`l-plot-exporter-after-guards`).
#
# An operator of one's own
# ++++++++++++++++++++++++
#
# The file has the name of the operator, not its code. If nothing registered it, the
# reason is ``Unsupported target type``: the name stayed a string. The fix is the same:
# register first (see :ref:`l-plot-exporter-ops-custom`).


def define():
    library = torch.library.Library("cookbook_save", "FRAGMENT")
    library.define("double(Tensor x) -> Tensor")
    library.impl("double", lambda x: x * 2, "CompositeExplicitAutograd")
    return library


class Double(torch.nn.Module):
    def forward(self, x):
        return torch.ops.cookbook_save.double(x)


library = define()
double = save(torch.export.export(Double(), (torch.ones(3),), strict=False))
library._destroy()
SerializeError = torch._export.serde.serialize.SerializeError
try:
    first_attempt(io.BytesIO(double))
except SerializeError as error:
    message = str(error).strip()
else:
    message = "This release loads an operator that it does not know."
message = message[message.rindex("Unsupported target type") :]
print(message.split(", ")[0], "...", message.rpartition("): ")[2])
assert "<class 'str'>" in message, message
library = define()
assert load(double).module()(torch.ones(3)).tolist() == [2, 2, 2]
library._destroy()

# %%
# Other errors
# ++++++++++++
#
# ``save`` takes the program, not the model. ``load`` takes a file; :func:`torch.load`
# reads other files. And up to 2.8 the format has no complex numbers: write a tensor
# with one number instead, which works on all releases of this page.


class Turn(torch.nn.Module):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x):
        return torch.view_as_real(x.sin() * self.number(1j))


ones = (torch.ones(3),)
number = torch.export.export(Turn(complex), ones, strict=False)
tensor = torch.export.export(Turn(torch.tensor), ones, strict=False)
attempts = {
    "save(model)": lambda: torch.export.save(model, io.BytesIO()),
    "load(program)": lambda: torch.export.load(program),
    "torch.load(file)": lambda: torch.load(io.BytesIO(data)),
    "x.sin() * 1j": lambda: save(number),
    "* torch.tensor(1j)": lambda: save(tensor),
}
for name, attempt in attempts.items():
    try:
        attempt()
    except (AttributeError, RuntimeError, SerializeError, TypeError) as error:
        message = str(error).splitlines()[0].split(". ")[0]
    else:
        message = "accepted"
    print(f"{name:18} {message}")
    works = "tensor" in name or ("1j" in name and RELEASE >= (2, 9))
    assert (message == "accepted") == works, message

# %%
# What is kept and what is lost
# +++++++++++++++++++++++++++++
#
# Graph, weights, constants and ranges are kept. On 2.9 a frozen parameter is trainable
# again (`mended <https://github.com/pytorch/pytorch/pull/164290>`_ in 2.10). What you
# set on the program yourself is lost. Put it into ``extra_files``, as strings. ``load``
# fills the dictionary that you give it if it is not empty.

program.labels = ["cat", "dog"]
file, labels = io.BytesIO(), json.dumps(program.labels)
torch.export.save(program, file, extra_files={"labels.json": labels})
found = [{}, {"labels.json": ""}]
for extra in found:
    loaded = load(file.getvalue(), extra_files=extra)
frozen = not loaded.state_dict["head.bias"].requires_grad
print("frozen:", frozen, found)
assert frozen == (RELEASE != (2, 9)) and not hasattr(loaded, "labels")
assert found == [{}, {"labels.json": labels}]

# %%
# One release saves, another one loads
# ++++++++++++++++++++++++++++++++++++
#
# A small program was saved and loaded under each of the ten releases. Every release
# loads what an older one saved. 2.6, 2.7 and 2.8 load nothing that is newer. 2.9 to
# 2.15 load the files of each other, but :func:`torch.export.save` does not promise it.
# A file of 2.8 or older has no guards, wherever it is loaded. The file says who wrote
# it, and the major number of its schema must be the one of the release.

old_name, new_name = "serialized_exported_program.json", "archive/models/model.json"
name = old_name if RELEASE < (2, 8) else new_name
header = json.loads(zipfile.ZipFile(io.BytesIO(data)).read(name))
print(name, header["schema_version"])
assert header["torch_version"] == torch.__version__
assert ("guards_code" in header) == (RELEASE >= (2, 9))

# %%
# The check
# +++++++++
#
# The loaded program, with sizes that were not traced, the smallest included, and one
# that its range refuses.

exported = loaded.module()
for sizes in [(1, 1), (2, 9), (64, 3), (5, 512)]:
    batch = Batch(torch.randn(*sizes, 4))
    torch.testing.assert_close(exported(batch), model(batch))
try:
    exported(Batch(torch.randn(65, 3, 4)))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "accepted"
print(message)
assert "<= 64" in message, message
for cls in (NamelessBatch, TupleBatch, Batch):
    unregister(cls)

# %%
# To remember
# +++++++++++
#
# * A file names classes and operators. Whoever loads it registers them first.
# * ``load`` hides the reason: look at the log, or call ``load_pt2``.
# * Loading unpickles: do not load a file that you do not trust.
# * Save with the oldest release that has to load the file.
#
# Next: :ref:`l-plot-exporter-after-guards`, which inputs the loaded program accepts,
# and :ref:`l-plot-exporter-after-aotinductor`, a package without Python.
