"""
.. _l-plot-exporter-after-move:

Move a program to another device, dtype or set of weights
=========================================================

``'ExportedProgram' object has no attribute 'to'``. And after ``program.module().to(...)``
it is ``Tensor on device cpu is not on the expected device ...!``, ``Expected all tensors
to be on the same device``, or a result in the wrong dtype without an error.

This page shows where a program keeps devices, dtypes and weights, how to change each of
them, which changes reach the model that was exported, and what :func:`torch.compile`
does with a program.

.. meta::
   :description: Use move_to_device_pass for a device, export a converted copy for a dtype,
      load_state_dict on program.module() for weights.
   :keywords: ExportedProgram has no attribute to, move exported program to cuda, expected
      all tensors to be on the same device, bfloat16 exported program, load_state_dict,
      move_to_device_pass, torch.compile exported program
"""

# %%
# The model
# +++++++++
#
# A layer with everything that a program can hold: two parameters, a buffer, a tensor
# that is a plain attribute, and positions that are made in ``forward``. The model
# itself follows its input: device and dtype are taken from ``x``.

# sphinx_gallery_tags = ["after the export", "conversion fails", "wrong without an error"]
# sphinx_gallery_wording = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
# sphinx_gallery_wording = "exported program returns float32 instead of bfloat16"

import copy

import torch
from torch.export.passes import move_to_device_pass

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)
        self.register_buffer("scale", torch.full((8,), 2.0))
        self.offset = torch.full((8,), 0.5)

    def forward(self, x):
        offset = self.offset.to(device=x.device, dtype=x.dtype)
        positions = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        return self.linear(x) * self.scale + offset + positions[:, None]


def export(model, x):
    batch, length = torch.export.Dim("batch", max=64), torch.export.Dim("n", max=64)
    shapes = ({0: batch, 1: length},)
    return torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)


torch.manual_seed(0)
model, x = Layer().eval(), torch.randn(2, 5, 8)
program = export(copy.deepcopy(model), x)
torch.testing.assert_close(program.module()(x), model(x))

# %%
# The symptom
# +++++++++++
#
# There was no GPU where this page was built, so the device ``meta`` stands for one: it
# has shapes and no data. A program cannot be moved as a module is, and its module can,
# but does not run.

try:
    program.to("meta")
except AttributeError as error:
    message = str(error)
else:
    message = "This release has ExportedProgram.to."
print(message)
assert "has no attribute 'to'" in message, message

there = x.to("meta")
try:
    export(copy.deepcopy(model), x).module().to("meta")(there)
except RuntimeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the module on the other device."
print(message)
assert "device cpu" in message and "meta" in message, message

# %%
# The cause
# +++++++++
#
# ``to`` moves parameters and buffers. A program has two more places: the tensors in
# ``program.constants``, and devices and dtypes that are arguments of nodes. During the
# trace ``x.device`` was a Python value, and it was written down.


def places(program):
    for name, value in {**program.state_dict, **program.constants}.items():
        yield f"{name:14} {value.device.type:5} {value.dtype}"
    for node in program.graph.nodes:
        arguments = [str(value) for value in (*node.args, *node.kwargs.values())]
        kept = [v for v in arguments if v in ("cpu", "meta", "torch.float32")]
        if node.op == "call_function" and kept:
            yield f"{node.target} {' '.join(sorted(kept))}"


print(*places(program), sep="\n")
assert any(line.startswith("aten.arange.default cpu") for line in places(program))
assert list(program.constants) == ["offset"]

# %%
# Another device: ``move_to_device_pass``
# +++++++++++++++++++++++++++++++++++++++
#
# The pass moves all of these places, and the example inputs. It changes the program that
# it is given and returns it. Instead of one device it takes a dictionary, ``{"cuda:0":
# "cuda:1"}``, which leaves the other devices alone. See the `source
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/passes/__init__.py#L11>`_.

moved = move_to_device_pass(program, "meta")
print(*places(moved), sep="\n")
print("the same object:", moved is program)
assert moved is program
assert any("cpu" in line for line in places(moved)) == (RELEASE < (2, 9))

# %%
# 2.6 to 2.8 overlook ``aten.to.device``, whose device is not a keyword. There, export a
# model in which the tensor is a buffer, and nothing has to be moved in ``forward``.

try:
    result = moved.module()(there)
except NotImplementedError as error:
    result = None
    print(str(error).splitlines()[0])
else:
    print("result:", result.device)
assert (result is None) == (RELEASE < (2, 9))

# %%
# The price: a program is made for one device. Now it does not run on the former one any
# more. Copy it first (``copy.deepcopy(program)``), or save it and move what you load.

try:
    moved.module()(x)
except RuntimeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it with an input on the cpu."
print(message)
assert "meta" in message, message

# %%
# Another dtype: convert the model, export again
# ++++++++++++++++++++++++++++++++++++++++++++++
#
# There is no such pass for dtypes. ``program.module().to(torch.bfloat16)`` converts
# parameters and buffers, and here nothing fails: the positions are ``float32`` as in
# the example, so the sum is, and so is the result. The model would return ``bfloat16``.

model = Layer().eval()
program = export(model, x)
half = program.module().to(torch.bfloat16)
low = x.to(torch.bfloat16)
print("program:", half(low).dtype)
print("model:  ", copy.deepcopy(model).to(torch.bfloat16)(low).dtype)
assert half(low).dtype == torch.float32

# %%
# It did more than that. Parameters are shared: those of the model, of the program and
# of each ``program.module()`` are the same objects. The conversion reached the
# model, and left it with a buffer of another dtype.

print("weight of the model:", model.linear.weight.dtype, "| buffer:", model.scale.dtype)
assert model.linear.weight is program.state_dict["linear.weight"]
assert model.linear.weight.dtype == torch.bfloat16 and model.scale.dtype == x.dtype

# %%
# The fix works on all releases: convert a copy of the model, and export that with an
# input of the new dtype. It costs a second export and a second set of weights.

model = Layer().eval()
converted = copy.deepcopy(model).to(torch.bfloat16)
program = export(converted, low)
print("program:", program.module()(low).dtype, "| model:", model.linear.weight.dtype)
torch.testing.assert_close(program.module()(low), converted(low))
assert program.module()(low).dtype == torch.bfloat16
assert model.linear.weight.dtype == torch.float32

# %%
# Other weights: ``load_state_dict``
# ++++++++++++++++++++++++++++++++++
#
# The module of a program has the names of the model, so weights of a later checkpoint
# can be loaded. They are written into the shared parameters: the program has
# them, and so has the model that was exported, unless that was a copy.

trained = Layer().eval()
with torch.no_grad():
    trained.scale.fill_(3.0)
program = export(model, x)
print(program.module().load_state_dict(trained.state_dict()))
torch.testing.assert_close(program.module()(x), trained(x))
torch.testing.assert_close(model(x), trained(x))
print("The program has the new weights, and so has the model.")

# %%
# What is not in ``state_dict`` cannot be loaded. The plain tensor stays what it was at
# the export; a buffer with ``persistent=False`` does, too. Make it a buffer before the
# export, or set ``program.constants["offset"]`` and take ``program.module()`` again.

trained.offset = torch.full((8,), 9.0)
print("in state_dict:", list(program.state_dict), "| not:", list(program.constants))
difference = (program.module()(x) - trained(x)).abs().max().item()
print(f"difference after load_state_dict: {difference:.2f}")
assert "offset" not in program.module().state_dict() and abs(difference - 8.5) < 1e-3
program.constants["offset"] = trained.offset
torch.testing.assert_close(program.module()(x), trained(x))

# %%
# Names and shapes are checked. Shapes of weights are constants of the graph.

try:
    program.module().load_state_dict(torch.nn.Linear(8, 8).state_dict())
except RuntimeError as error:
    message = "\n".join(line.strip() for line in str(error).splitlines())
else:
    message = "This release loads weights of another module."
print(message)
assert "Missing key(s)" in message and "Unexpected key(s)" in message, message

# %%
# ``torch.compile`` of a program
# ++++++++++++++++++++++++++++++
#
# ``program.module()`` is a module like others, so it can be compiled. The backend below
# only counts how often it is asked to compile; leave ``backend`` away to get inductor,
# which needs a C++ compiler. The dimensions of the program do not become dynamic by
# themselves: ``dynamic=True`` saves the second compilation. Sizes 0 and 1 are always
# compiled apart.

compiled_graphs = []


def counting(graph, example_inputs):
    compiled_graphs.append(graph)
    return graph


CASES = [(None, [5, 7, 9], 2), (True, [5, 7, 9], 1), (True, [5, 1, 9], 2)]
for dynamic, lengths, expected in CASES:
    torch.compiler.reset()
    compiled_graphs.clear()
    compiled = torch.compile(
        program.module(), backend=counting, dynamic=dynamic, fullgraph=True
    )
    for length in lengths:
        new = torch.randn(3, length, 8)
        torch.testing.assert_close(compiled(new), trained(new))
    print(f"dynamic={dynamic}, lengths {lengths}: {len(compiled_graphs)} compiled")
    assert len(compiled_graphs) == expected

# %%
# The checks of the program are compiled with it: an input that it would refuse is
# refused, often in other words.

try:
    compiled(torch.randn(65, 5, 8))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs 65 rows."
line = next(line.strip() for line in message.splitlines() if "<= 64" in line)
print(line[max(line.find("Guard failed"), 0) :].split("'")[0])
assert "<= 64" in message, message
torch.compiler.reset()

# %%
# The check
# +++++++++
#
# The program with the loaded weights, on shapes that were not traced.

exported = program.module()
for batch, length in [(1, 1), (3, 9), (64, 64)]:
    new = torch.randn(batch, length, 8)
    torch.testing.assert_close(exported(new), trained(new))
    print(f"batch {batch}, length {length}: same result")
try:
    exported(torch.randn(65, 5, 8))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs 65 rows."
print(message)
assert "<= 64" in message, message

# %%
# To remember
# +++++++++++
#
# * A device: ``move_to_device_pass(program, device)``. It changes the program.
# * A dtype: export a converted copy of the model.
# * Weights: ``program.module().load_state_dict(...)``. They are shared with the model
#   and with the program; plain tensors are not among them.
# * Export ``copy.deepcopy(model)`` if the model is to stay as it is.
#
# Next: :ref:`l-plot-exporter-effects-devices` to write models that follow their
# inputs, :ref:`l-plot-exporter-after-save-load` for files,
# :ref:`l-plot-exporter-after-guards` for what a program accepts, and
# :ref:`l-plot-exporter-after-aotinductor` for a compiled package.
