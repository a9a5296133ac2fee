"""
.. _l-plot-exporter-onnx-validate:

Check an ONNX file before you ship it
=====================================

``torch.onnx.export`` succeeded, and the file is wrong for another size, for the second
call, or fails in onnxruntime with ``Non-zero status code returned while running`` some
node. Or its axes are called ``s77`` and ``s27`` instead of ``batch`` and ``length``.

This page checks a file on sizes that were not traced, shows three faults that
``verify=True`` does not find, and gives the axes their names.

.. meta::
   :description: Run the file with onnxruntime on other sizes and twice in a row, compare
      with eager, and look at the names of its axes.
   :keywords: onnxruntime compare outputs, onnx dynamic axes names, dim_param s77, verify=True,
      onnx wrong results, Non-zero status code, INVALID_ARGUMENT, ONNX stateful model
"""

# %%
# The model
# +++++++++
#
# It averages the vectors of tokens where a mask says so.

# sphinx_gallery_tags = ["onnx", "wrong without an error", "run fails", "how to"]
# sphinx_gallery_wording = "Non-zero status code returned while running Where node."
# sphinx_gallery_wording = "ONNX model only works with the batch size of the export"
# sphinx_gallery_wording = "Type (tensor(float)) of output arg does not match expected type"

import warnings

import onnxruntime
import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
Dim = torch.export.Dim
ORT = onnxruntime.capi.onnxruntime_pybind11_state


class Pool(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(10, 4)

    def forward(self, ids, mask):
        weights = mask.to(torch.float32)[..., None]
        total = (self.embedding(ids) * weights).sum(dim=1)
        return total / weights.sum(dim=1).clamp(min=1), mask.sum(dim=1)


def make_inputs(batch, length):
    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[:, length // 2 + 1 :] = 0
    return torch.randint(0, 10, (batch, length)), mask


def convert(model, args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.onnx.export(model, args, dynamo=True, verbose=False, **options)


torch.manual_seed(0)
model = Pool().eval()
dims = {0: Dim("batch", max=1024), 1: Dim("length", max=1024)}
converted = convert(model, make_inputs(2, 5), dynamic_shapes=(dims, dims))

# %%
# The check
# +++++++++
#
# A session is what runs a file. ``compare`` runs it as users will, from the bytes of
# the file and with arrays, and compares number, dtype, shape and values of the outputs.


def start(converted):
    return onnxruntime.InferenceSession(converted.model_proto.SerializeToString())


def run(session, *tensors):
    names = [value.name for value in session.get_inputs()]
    arrays = [tensor.numpy() for tensor in tensors]
    outputs = session.run(None, dict(zip(names, arrays, strict=True)))
    return [torch.from_numpy(output) for output in outputs]


def compare(session, model, *tensors):
    expected = torch.utils._pytree.tree_leaves(model(*tensors))
    torch.testing.assert_close(run(session, *tensors), expected)


session = start(converted)
for batch, length in [(1, 1), (3, 7), (2, 100)]:
    inputs = make_inputs(batch, length)
    for _ in range(2):
        compare(session, model, *inputs)
    print(f"batch {batch}, length {length}, twice: same results")

# %%
# Sizes that were not traced, the smallest included, and each call twice: the three
# faults below fail exactly this. ``verify=True`` in the call of the exporter runs the
# file as well, but once, and with the example.
#
# Fault 1: a number of the example
# ++++++++++++++++++++++++++++++++
#
# A model that stores a size on its first call has a number from then on, as in
# :ref:`l-plot-exporter-lost_dynamic_dimension`. The file has the right axes, and the
# check with the example passes.


class Mean(torch.nn.Module):
    count = None

    def forward(self, x):
        if self.count is None:
            self.count = x.shape[1]
        return x.sum(dim=1) / self.count


x = torch.rand(2, 5)
mean = Mean()
mean(x)
session = start(convert(mean, (x,), dynamic_shapes=(dims,), verify=True))
compare(session, Mean(), x)
longer = torch.rand(2, 7)
result, expected = run(session, longer)[0], Mean()(longer)
print("same as the model for length 7:", torch.allclose(result, expected))
torch.testing.assert_close(result * 5, expected * 7)

# %%
# Fault 2: an axis that turned static
# +++++++++++++++++++++++++++++++++++
#
# The batch size of this model is written into a ``reshape``.
# :func:`torch.export.export` refuses a named batch. ``torch.onnx.export`` follows the
# suggestion of that message, ``batch = 2``, without a word (`source
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/onnx/_internal/exporter/_capture_strategies.py#L192>`_).
# The other ways to say that a dimension is dynamic have their own fates.


class Heads(torch.nn.Module):
    def forward(self, x):
        return x.reshape(2, 5) * 2


def axes(converted):
    graph = converted.model_proto.graph
    return {
        value.name: [
            d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim
        ]
        for value in [*graph.input, *graph.output]
    }


WAYS = {"Dim('batch')": Dim("batch", max=9), "Dim.AUTO": Dim.AUTO}
WAYS["Dim.DYNAMIC"] = Dim.DYNAMIC
if RELEASE >= (2, 7):
    WAYS["'batch'"] = "batch"
names = {"input_names": ["x"], "output_names": ["y"]}
table = {}
for name, way in WAYS.items():
    try:
        file = convert(Heads(), (x,), dynamic_shapes=({0: way},), **names)
    except torch.onnx.OnnxExporterError:
        table[name] = "refused"
    else:
        table[name] = axes(file)
    print(f"{name:13} {table[name]}")
assert table["Dim('batch')"] == {"x": [2, 5], "y": [2, 5]}
assert table["Dim.AUTO"]["y"] == [2, 5]
assert (table["Dim.DYNAMIC"] == "refused") == (RELEASE != (2, 8))

# %%
# A number among the axes is a size that the file insists on. A name is no promise
# either: it may be a number in quotation marks, or stand at an input whose output is
# fixed. With ``Dim.DYNAMIC`` and with strings, the fault is an error since 2.9.
#
# The way that is safe on all releases has two steps: export with names, which fails
# with the name of the dimension (:ref:`l-plot-exporter-shapes-specialized`), then
# convert.

try:
    torch.export.export(
        Heads(), (x,), dynamic_shapes=({0: Dim("batch", max=9)},), strict=False
    )
except torch._dynamo.exc.UserError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release exports it."
print(message)
assert "Constraints violated (batch)" in message

# %%
# Fault 3: a state that is not kept
# +++++++++++++++++++++++++++++++++
#
# ONNX has no state. A buffer that the model changes is a constant of the file: each
# call begins with the value of the export.


class Counter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls.add_(1)
        return x + self.calls


session = start(convert(Counter(), (x,), input_names=["x"]))
eager = Counter()
for call in (1, 2):
    result, expected = run(session, x)[0], eager(x)
    print(f"call {call}, same as the model:", torch.allclose(result, expected))
    assert torch.allclose(result, expected) == (call == 1)

# %%
# The fix is to make the state an input and an output, and to pass it on.


class Stateless(torch.nn.Module):
    def forward(self, x, calls):
        calls = calls + 1
        return x + calls, calls


session, calls = start(convert(Stateless(), (x, torch.zeros(())))), torch.zeros(())
eager = Counter()
for _ in range(3):
    result, calls = run(session, x, calls)
    torch.testing.assert_close(result, eager(x))

# %%
# What the file does not check
# ++++++++++++++++++++++++++++
#
# Runtimes check the rank, the dtype and the static axes. Two axes of one name need not
# be equal: where the sizes broadcast, there is a result. The exported program refuses
# this call since 2.9, the model takes it.

ids, mask = make_inputs(3, 5)
session = start(converted)
result = run(session, ids, mask[:1])[0]
print("a mask of one row for three:", tuple(result.shape))
assert result.shape == (3, 4)
try:
    run(session, ids, mask.float())
except ORT.InvalidArgument as error:
    message = str(error)
else:
    message = "This release takes floats."
print(message)
assert "expected: (tensor(int64))" in message, message

# %%
# Names of axes
# +++++++++++++
#
# The name of an axis is all that a user of the file learns about it. It comes from
# ``dynamic_shapes``. A program that was exported before has symbols, also if it was
# exported with names. (2.6 loses the names here as well.)

strings = {0: "batch", 1: "length"}
program = torch.export.export(
    model, make_inputs(2, 5), dynamic_shapes=(dims, dims), strict=False
)
made = {
    "Dim('batch')": converted,
    "Dim.DYNAMIC": convert(
        model, make_inputs(2, 5), dynamic_shapes=({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},) * 2
    ),
    "a program": convert(program, ()),
}
if RELEASE >= (2, 7):
    made["'batch'"] = convert(model, make_inputs(2, 5), dynamic_shapes=(strings,) * 2)
for name, file in made.items():
    print(f"{name:13} {axes(file)['ids']}")
    kept = axes(file)["ids"] == ["batch", "length"]
    assert kept == ("batch" in name and RELEASE >= (2, 7))

# %%
# Strings are names without a range, since 2.7. For a program, which is the safe way,
# write the names into the file.


def rename(converted, names):
    graph = converted.model_proto.graph
    old_to_new = {}
    for value in graph.input:
        for axis, name in names.get(value.name, {}).items():
            old_to_new[value.type.tensor_type.shape.dim[axis].dim_param] = name
    proto = converted.model_proto
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in old_to_new:
                dim.dim_param = old_to_new[dim.dim_param]
    return proto


proto = rename(made["a program"], {"ids": strings})
dimensions = proto.graph.input[0].type.tensor_type.shape.dim
print([dim.dim_param for dim in dimensions])
assert [dim.dim_param for dim in dimensions] == ["batch", "length"]
compare(
    onnxruntime.InferenceSession(proto.SerializeToString()), model, *make_inputs(4, 9)
)

# %%
# To remember
# +++++++++++
#
# * Other sizes, twice in a row, against eager: no option of the exporter does it for
#   you.
# * ``torch.onnx.export`` may drop a named dimension. Export with names first, then
#   convert the program, and read the axes of the file.
# * State goes in and out; relations between inputs are for the caller to keep.
#
# Next: :ref:`l-plot-exporter-wrong-checklist` for the checks of the program before it
# becomes a file, :ref:`l-plot-exporter-wrong-state` for state, and
# :ref:`l-plot-exporter-onnx-control-flow` for models with branches and loops.
