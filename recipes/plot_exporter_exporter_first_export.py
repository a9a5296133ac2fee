"""
.. _l-plot-exporter-exporter-first-export:

Export a model and read what comes back
=======================================

The first call of :func:`torch.export.export` is refused: ``Expecting `args` to be a
tuple of example positional inputs...``, or ``Expected `mod` to be an instance of
`torch.nn.Module`...``. Or the export works, and the program cannot be called:
``Unable to call ExportedProgram directly...``, ``Guard failed: x.size()[0] == 5``.

This page exports a small model, reads the program that comes back (graph, signature,
range constraints), runs it, and lists what is kept of the model and what is not.

.. meta::
   :description: Pass the example inputs as a tuple, call program.module(), declare dynamic dimensions, and know what an ExportedProgram keeps.
   :keywords: torch.export tutorial, first export, ExportedProgram, args must be a tuple, graph signature, range constraints, run exported program, batch size, lifted parameters, export a function
"""

# %%
# The model
# +++++++++
#
# A scorer: it centres the measurements, runs two layers, and returns three scores for
# each row. It has what most models have: parameters, a buffer, a test on an attribute,
# a loop over layers, a dropout, and a method that is not ``forward``.

# sphinx_gallery_tags = ["start here", "how to", "export fails", "run fails"]
# sphinx_gallery_wording = "TypeError: 'ExportedProgram' object is not callable"
# sphinx_gallery_wording = "exported program only works with the batch size of the example"
# sphinx_gallery_wording = "where are the weights of an exported program"

import torch


class Scorer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [(4, 4), (4, 3)]
        self.layers = torch.nn.ModuleList([torch.nn.Linear(*size) for size in sizes])
        self.dropout = torch.nn.Dropout(0.5)
        self.register_buffer("mean", torch.full((4,), 0.5))
        self.labels = ["cat", "dog", "bird"]
        self.limit = None

    def forward(self, x):
        x = x - self.mean
        if self.limit is not None:
            x = x.clamp(-self.limit, self.limit)
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.dropout(x)

    def label(self, x):
        return [self.labels[index] for index in self(x).argmax(dim=-1).tolist()]


torch.manual_seed(0)
model = Scorer().eval()
x = torch.randn(5, 4)
print(model(x).shape, model.label(x))

# %%
# The calls that are refused
# ++++++++++++++++++++++++++
#
# ``export(model, args)`` runs the model once, as ``model(*args)``. So ``args`` is a
# tuple, also for one input: ``(x,)``, with the comma. A tensor or a list is refused,
# and so is a tuple that does not fit the arguments of ``forward``. (Since 2.8 a
# paragraph that recommends ``draft_export`` follows the first two messages; it is cut
# off here.)

attempts = {"x": x, "[x]": [x], "()": (), "(x, x)": (x, x)}
for text, args in attempts.items():
    try:
        torch.export.export(model, args, strict=False)
    except (torch._dynamo.exc.UserError, TypeError) as error:
        message = str(error).splitlines()[0]
    else:
        message = "This release takes them."
    print(f"{text:>6}: {message}")
    assert "to be a tuple" in message or "argument" in message, message

# %%
# The first argument is an instance of :class:`torch.nn.Module`. A function is refused,
# a method as well, and a class.


def normalise(x):
    return x / x.norm(dim=-1, keepdim=True)


for attempt in (normalise, model.forward, Scorer):
    try:
        torch.export.export(attempt, (x,), strict=False)
    except ValueError as error:
        message = str(error)
    else:
        message = "This release exports it."
    print(message)
    assert message.startswith("Expected `mod` to be an instance of `torch.nn.Module`")

# %%
# A function is exported as the ``forward`` of a module. This works on all releases of
# this page and costs nothing. Keyword arguments of the model go into a dictionary, the
# third argument of ``export``: see :ref:`l-plot-exporter-inputs-args-kwargs`.


class Normalise(torch.nn.Module):
    def forward(self, x):
        return normalise(x)


program = torch.export.export(Normalise(), (x,), strict=False)
torch.testing.assert_close(program.module()(x), normalise(x))

# %%
# The graph
# +++++++++
#
# The model itself, exported the right way. ``strict=False`` is the default since 2.8;
# :ref:`l-plot-exporter-exporter-strict` explains it. Printing the program gives its
# graph as a function. (The comments with files and line numbers are left out.)

program = torch.export.export(model, (x,), strict=False)
text = str(program).split("Graph signature")[0]
for line in text.splitlines():
    if line.strip() and "# File:" not in line:
        print(line)

# %%
# There is no ``if`` and no loop: the export ran ``forward`` once and wrote down each
# operator that torch was asked for. The loop became two pairs of operators, and the
# branch that was not taken left nothing. The node of the dropout ends with ``False``:
# the model was in eval mode.

operators = [n for n in program.graph.nodes if n.op == "call_function"]
names = [str(node.target) for node in operators]
assert names.count("aten.linear.default") == 2
assert "aten.clamp.default" not in names
assert operators[-1].args[1:] == (0.5, False)

# %%
# This graph has three kinds of nodes. A ``placeholder`` is an input, a
# ``call_function`` is a call of an operator, ``output`` returns a tuple.
# ``node.meta["val"]`` is a tensor without data: its shape and its type are what the
# exporter knows about the result.

for node in program.graph.nodes:
    value = node.meta.get("val")
    print(f"{node.op:13} {node.name:18} {tuple(value.shape) if node.users else ''}")
kinds = {node.op for node in program.graph.nodes}
assert kinds == {"placeholder", "call_function", "output"}

# %%
# The signature
# +++++++++++++
#
# Six placeholders for one input: parameters and buffers are inputs of the graph as
# well, they were *lifted*. The signature says which placeholder is what. The
# documentation describes each part: :class:`torch.export.graph_signature.InputSpec`.

for spec in program.graph_signature.input_specs:
    print(f"{spec.kind.name:10} {spec.arg.name:18} {spec.target}")
signature = program.graph_signature
print("returned:", signature.user_outputs)
assert signature.parameters == tuple(name for name, _ in model.named_parameters())
assert signature.buffers == ("mean",)
assert signature.user_inputs == ("x",)

# %%
# The values are in ``program.state_dict``, under the names that they have in the model.
# They are not copies: a later change of the model's parameters in place is a change of
# the program. Export a copy of the model (``copy.deepcopy``) if training goes on.

assert set(program.state_dict) == set(model.state_dict())
print(list(program.state_dict))
before = program.module()(x)
with torch.no_grad():
    model.layers[1].bias.add_(1.0)
assert program.state_dict["layers.1.bias"] is model.layers[1].bias
assert not torch.equal(program.module()(x), before)
torch.testing.assert_close(program.module()(x), model(x))

# %%
# Run the program
# +++++++++++++++
#
# The program is a description, and `refuses to be called
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/exported_program.py#L1446>`_.

try:
    program(x)
except RuntimeError as error:
    message = str(error)
else:
    message = "This release calls the program."
print(message)
assert message.startswith("Unable to call ExportedProgram directly"), message

# %%
# ``program.graph_module`` is no way out, it wants the lifted parameters.

try:
    program.graph_module(x)
except TypeError as error:
    message = str(error)
else:
    message = "This release calls the graph module."
print(message)
assert "missing 5 required positional arguments" in message, message

# %%
# :meth:`module() <torch.export.ExportedProgram.module>` returns a
# :class:`torch.nn.Module` that holds them and takes the inputs of the model. Each call
# of ``module()`` makes a new one, so keep it.

exported = program.module()
torch.testing.assert_close(exported(x), model(x))
print(exported(x).shape)

# %%
# Another batch size
# ++++++++++++++++++
#
# A batch of six rows is refused, since the example had five. Up to 2.8 this is a
# ``RuntimeError``, later an ``AssertionError``.

try:
    exported(torch.randn(6, 4))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs another batch size."
print(message)
assert "x.size()[0] == 5" in message or "to be equal to 5" in message, message

# %%
# The cause is in the graph: the placeholder has the shape of the example, two
# numbers, and the program has no range of sizes. A dimension is a constant unless
# ``dynamic_shapes`` says that it is not.

shape = next(n for n in program.graph.nodes if n.name == "x").meta["val"].shape
print(tuple(shape), program.range_constraints)
assert [type(size) for size in shape] == [int, int]
assert not program.range_constraints

# %%
# The fix: one entry for each argument of ``forward``, and in it the dimensions that
# vary, each with a name and a range. The price: the export fails if the model works
# for one size only, or tests it (:ref:`l-plot-exporter-shapes-specialized`). Works on
# all releases of this page.

batch = torch.export.Dim("batch", max=1024)
program = torch.export.export(
    model, (x,), dynamic_shapes={"x": {0: batch}}, strict=False
)
shape = next(n for n in program.graph.nodes if n.name == "x").meta["val"].shape
print(tuple(shape), program.range_constraints)
assert [type(size) for size in shape] == [torch.SymInt, int]

# %%
# The first dimension is now a symbol, and ``range_constraints`` gives its range
# (``VR`` stands for range of values). Every shape of the graph is written with it.

scores = next(n for n in program.graph.nodes if n.name == "dropout").meta["val"]
print(tuple(scores.shape))
assert str(list(program.range_constraints.values())) == "[VR[0, 1024]]"
assert scores.shape[0] == shape[0] and scores.shape[1] == 3

# %%
# What is kept, and what is not
# +++++++++++++++++++++++++++++
#
# Parameters and buffers are kept under their names, and the inputs keep theirs. The
# class is gone, with its methods and its other attributes. Submodules are empty shells:
# they hold the parameters and have no ``forward``.

exported = program.module()
print(type(exported.layers), hasattr(exported.get_submodule("layers.0"), "weight"))
kept = {name: hasattr(exported, name) for name in ["mean", "labels", "label", "limit"]}
print(kept)
assert not isinstance(exported, Scorer)
assert kept == {"mean": True, "labels": False, "label": False, "limit": False}
try:
    exported.get_submodule("layers.0")(x)
except NotImplementedError as error:
    print(error)
else:
    print("This release runs a submodule of the program.")

# %%
# The values that Python had during the export are part of the program. Setting the
# attribute afterwards changes the model only.

model.limit = 0.01
difference = (exported(x) - model(x)).abs().max()
model.limit = None
print(f"limit set after the export: {'differs' if difference > 0 else 'same'}")
assert difference > 0
torch.testing.assert_close(exported(x), model(x))

# %%
# A hook on the model is Python too. What a hook computes during the export is in the
# graph, and stays there when the hook is removed. A hook that is registered later is
# never called by the program.

before = exported(x)
handle = model.layers[1].register_forward_hook(lambda layer, args, output: 2 * output)
with_hook = torch.export.export(model, (x,), strict=False).module()
assert torch.equal(exported(x), before)
torch.testing.assert_close(with_hook(x), model(x))
handle.remove()
torch.testing.assert_close(exported(x), model(x))
difference = (with_hook(x) - model(x)).abs().max()
print(f"hook removed after the export: {'differs' if difference > 0 else 'same'}")
assert difference > 0

# %%
# The mode is the one of the export. The program has no other, and ``eval()`` says so.
# A model that was exported in train mode keeps its dropout: call ``model.eval()``
# before the export (:ref:`l-plot-exporter-wrong-train-eval`).

try:
    exported.eval()
except NotImplementedError as error:
    message = str(error)
else:
    message = "This release has an eval mode after the export."
print(message)
assert message == "Calling eval() is not supported yet.", message

# %%
# The check
# +++++++++
#
# Compare program and model on shapes that were not traced, the smallest included.

for size in [5, 1, 2, 17, 1024]:
    new_x = torch.randn(size, 4)
    torch.testing.assert_close(exported(new_x), model(new_x))
    print(f"batch {size}: same result")

# %%
# A batch above the range is refused, and so is a row with three measurements.

messages = []
for size in [(1025, 4), (5, 3)]:
    try:
        exported(torch.randn(size))
    except (AssertionError, RuntimeError) as error:
        messages.append(str(error))
    else:
        messages.append("This release runs the program with this shape.")
    print(size, messages[-1])
assert "<= 1024" in messages[0], messages
assert "x.size()[1] == 4" in messages[1] or "to be equal to 4" in messages[1], messages

# %%
# To remember
# +++++++++++
#
# * ``export(model, (x,), strict=False)``: a module, and a tuple.
# * Run ``program.module()``, never the program or its ``graph_module``.
# * A dimension is constant unless ``dynamic_shapes`` names it: look at the shapes of
#   the placeholders and at ``range_constraints``.
# * Parameters and buffers are kept, and shared with the model. Python is not kept: one
#   path through ``forward``, one mode, the values of that moment.
#
# Next: :ref:`l-plot-exporter-wrong-checklist` before you trust the program,
# :ref:`l-plot-exporter-shapes-auto-dynamic-static` for the ways to declare a dimension,
# :ref:`l-plot-exporter-exporter-draft` if the export fails on your model.
