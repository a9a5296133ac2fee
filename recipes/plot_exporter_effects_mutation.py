"""
.. _l-plot-exporter-effects-mutation:

In-place changes of inputs, buffers and parameters
==================================================

The export, or a tool that reads the program, fails because something is changed in
place: ``cannot mutate tensors with frozen storage``, ``a leaf Variable that requires
grad is being used in an in-place operation``, ``Found following user inputs located at
[0] are mutated``. Or it works, and the caller's tensors change.

This page shows what becomes of each kind of change, how to read it in the signature,
and which ones are refused.

.. meta::
   :description: Write out-of-place operators on inputs; keep in-place changes for buffers,
      and look at user_inputs_to_mutate and buffers_to_mutate.
   :keywords: in-place, mutation, inplace operator, frozen storage, leaf Variable requires
      grad, user_inputs_to_mutate, buffers_to_mutate, functionalization, copy_
"""

# %%
# The models
# ++++++++++
#
# Each one changes something: its input, a part of it, the result of a conversion that
# may be the input itself, a buffer, a parameter.

# sphinx_gallery_tags = ["side effects", "export fails", "run fails"]
# sphinx_gallery_wording = "Found following user inputs located at [0] are mutated. This is currently banned in the aot_export workflow."
# sphinx_gallery_wording = "exported program changes its input tensor"

import copy

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Input(torch.nn.Module):
    def forward(self, x):
        return x.mul_(2).sum()


class Part(torch.nn.Module):
    def forward(self, x):
        x[:, :1].zero_()
        return x + 1


class Converted(torch.nn.Module):
    def forward(self, x):
        return x.to(torch.float32).mul_(2)


class Buffer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        self.mean.lerp_(x.mean(dim=0), 0.1)
        return x - self.mean


class Parameter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward(self, x):
        with torch.no_grad():
            self.weight.mul_(0.9)
        return x * self.weight


MODELS = [Input, Part, Converted, Buffer, Parameter]

# %%
# The symptom
# +++++++++++
#
# Each is exported with a dynamic batch, run twice and compared with the model, and
# decomposed, as tools for other runtimes do. The first step that is refused ends the
# row.


def outcome(module, inputs):
    given = inputs.clone()
    results = [module(given), module(given)]
    return results, given, dict(module.named_buffers())


torch.manual_seed(0)
x = torch.rand(4, 3)
batch = ({0: torch.export.Dim("batch", max=1024)},)
programs, decomposed, changed, messages = {}, {}, {}, {}
for kind in MODELS:
    name, model = kind.__name__, kind()
    try:
        step = "export"
        programs[name] = torch.export.export(
            kind(), (x.clone(),), dynamic_shapes=batch, strict=False
        )
        step = "run"
        got = outcome(programs[name].module(), x)
        step = "decompose"
        decomposed[name] = programs[name].run_decompositions()
    except RuntimeError as error:
        messages[name] = step, str(error).splitlines()[0]
        print(f"{name:9} {step} refused: {messages[name][1]}")
    else:
        torch.testing.assert_close(got, outcome(model, x))
        changed[name] = not torch.equal(got[1], x)
        print(f"{name:9} as the model; input changed: {changed[name]}")
assert {"Input", "Part", "Buffer"} <= set(decomposed)

# %%
# What works does what the model does, to the result, to the input and to the buffer, on
# each call. So a caller's tensor is changed by a program as it is by the model. A
# parameter can be changed since 2.9.

assert changed["Input"] and changed["Part"] and not changed["Buffer"]
assert ("Parameter" in messages) == (RELEASE < (2, 9))

# %%
# How to read it
# ++++++++++++++
#
# In the graphs of an export, an in-place operator ends with an underscore. (A block
# under ``no_grad`` has a graph of its own.) Tools for other runtimes want none of
# these. ``run_decompositions`` replaces them: the new value becomes an output, and the
# signature says where it goes.


def in_place(program):
    graphs = [module.graph for module in program.graph_module.modules()]
    targets = [str(node.target) for graph in graphs for node in graph.nodes]
    return [target for target in targets if "_." in target]


for name, program in decomposed.items():
    signature = program.graph_signature
    goes_to = [*signature.user_inputs_to_mutate.values()]
    goes_to += signature.buffers_to_mutate.values()
    goes_to += getattr(signature, "parameters_to_mutate", {}).values()
    print(f"{name:9} {in_place(programs[name])} -> an output for {goes_to}")
    assert in_place(programs[name]) and not in_place(program) and len(goes_to) == 1

# %%
# The example is not changed by the export: the trace changed a fake copy of it.

example = x.clone()
torch.export.export(Input(), (example,), strict=False)
assert torch.equal(example, x)

# %%
# Why ``to`` may be refused
# +++++++++++++++++++++++++
#
# ``x.to(torch.float32)`` is ``x`` itself if it has this dtype, and a copy if not. The
# answer for the example cannot be trusted for other inputs. Up to 2.7 the decomposition
# therefore `freezes the result
# <https://github.com/pytorch/pytorch/blob/v2.6.0/torch/_subclasses/functional_tensor.py#L538>`_:
# a change of it later on is an error (reported in `131679
# <https://github.com/pytorch/pytorch/issues/131679>`_). Since 2.8 the program checks the
# dtype.

if "Converted" in messages:
    print(*messages["Converted"])
    assert RELEASE < (2, 8)
else:
    exported = programs["Converted"].module()
    try:
        exported(x.double())
    except RuntimeError as error:
        print(str(error).splitlines()[0])
    else:
        print("This release accepts another dtype.")

# %%
# The fix
# +++++++
#
# Write operators without underscore on what is not yours, and return the result. What
# has to be kept is a buffer. The price is a copy of the tensor, which compilers often
# remove again. It works on all releases.


class Sound(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        self.mean.lerp_(x.mean(dim=0), 0.1)
        y = torch.cat([torch.zeros_like(x[:, :1]), x[:, 1:]], dim=1)
        return (y.to(torch.float32) * 2 - self.mean,)


# %%
# The check
# +++++++++
#
# On batches that were not traced, several calls in a row, before and after the
# decomposition. The input is never changed.

model = Sound()
program = torch.export.export(
    copy.deepcopy(model), (x,), dynamic_shapes=batch, strict=False
)
for some in (program, program.run_decompositions()):
    exported, reference = some.module(), copy.deepcopy(model)
    exported.load_state_dict(reference.state_dict())
    for size in (1, 2, 9):
        inputs = torch.rand(size, 3)
        kept = inputs.clone()
        torch.testing.assert_close(exported(inputs), reference(inputs))
        assert torch.equal(inputs, kept)
    torch.testing.assert_close(exported.mean, reference.mean)
print("same results, same buffer, inputs untouched")

# %%
# More rows than were declared are refused.

try:
    exported(torch.rand(1025, 3))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with 1025 rows."
print(message)
assert "1024" in message, message

# %%
# What is refused everywhere
# ++++++++++++++++++++++++++
#
# An input that has a gradient of its own cannot be changed in place, in eager as in an
# export.

try:
    torch.export.export(Input(), (x.clone().requires_grad_(),), strict=False)
except RuntimeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release exports it."
print(message)
assert "a leaf Variable that requires grad" in message, message

# %%
# To remember
# +++++++++++
#
# * A program repeats the in-place changes of its model, on inputs and buffers.
# * ``user_inputs_to_mutate`` and ``buffers_to_mutate`` of the decomposed program list
#   them.
# * Change buffers in place; on everything else use operators without underscore.
#
# Next: :ref:`l-plot-exporter-wrong-state` for what is kept between two calls,
# :ref:`l-plot-exporter-wrong-inputs` for containers that a model fills, and
# :ref:`l-plot-exporter-control-cond-rules`, since branches may not change anything.
