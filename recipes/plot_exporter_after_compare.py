"""
.. _l-plot-exporter-after-compare:

Find the first node where program and model differ
==================================================

The exported program returns other numbers than the model: ``Tensor-likes are not
close!``, ``Mismatched elements: 45 / 45``. Nothing fails, and the outputs do not say
where the difference comes from. The same happens between two versions of a program,
before and after a pass, a decomposition or a conversion.

This page keeps the value of every node and of every submodule, and finds the first one
that differs: the module, the node, the line of code.

.. meta::
   :description: Run the graph with torch.fx.Interpreter, keep every value, compare with
      forward hooks or with another program.
   :keywords: Tensor-likes are not close, accuracy drop after export, numerical
      discrepancy, intermediate outputs, torch.fx.Interpreter, nn_module_stack,
      from_node, debug exported program
"""

# %%
# The model
# +++++++++
#
# Two blocks of attention, and one normalisation that is called twice. The attention
# divides its scores by a temperature, a Python number.

# sphinx_gallery_tags = ["after the export", "wrong without an error"]
# sphinx_gallery_wording = "Tensor-likes are not close!"
# sphinx_gallery_wording = "exported program does not match eager, which layer is it"
# sphinx_gallery_wording = "accuracy is different after export"

import copy

import torch


class Attention(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.qkv = torch.nn.Linear(size, 3 * size)
        self.temperature = 1.0

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        scores = q @ k.transpose(1, 2) / self.temperature
        return torch.softmax(scores, dim=-1) @ v


class Block(torch.nn.Module):
    def __init__(self, size, attention):
        super().__init__()
        self.attention = attention(size)
        self.act = torch.nn.GELU()
        self.out = torch.nn.Linear(size, size)

    def forward(self, x):
        return x + self.out(self.act(self.attention(x)))


class Encoder(torch.nn.Module):
    def __init__(self, attention=Attention, size=8):
        super().__init__()
        self.blocks = torch.nn.ModuleList(Block(size, attention) for _ in range(2))
        self.norm = torch.nn.LayerNorm(size)

    def forward(self, x):
        for block in self.blocks:
            x = self.norm(block(x))
        return x


# %%
# The symptom
# +++++++++++
#
# The model is exported, and then training goes on: something lowers the temperature of
# the second block. The program still runs, and its result is not the model's.

torch.manual_seed(0)
model = Encoder().eval()
inputs = (torch.randn(3, 5, 8),)
shapes = ({0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("n", max=64)},)
program = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
model.blocks[1].attention.temperature = 0.25

try:
    torch.testing.assert_close(program.module()(*inputs), model(*inputs))
except AssertionError as error:
    message = str(error).splitlines()[0]
else:
    message = "Program and model agree."
print(message)
assert message == "Tensor-likes are not close!", message

# %%
# Keep every value
# ++++++++++++++++
#
# :class:`torch.fx.Interpreter` runs a graph node by node, and ``run_node`` can be
# overridden. Run it on ``program.module()``, which holds the parameters;
# ``program.graph_module`` has them as inputs. Values are cloned, since a later node may
# change them in place. The price is memory: every intermediate result at once.


class Recorder(torch.fx.Interpreter):
    def run_node(self, node):
        result = super().run_node(node)
        if isinstance(result, torch.Tensor):
            self.values[node.name] = result.detach().clone()
        return result


def record(exported, inputs):
    recorder = Recorder(exported)
    recorder.values = {}
    recorder.run(*inputs)
    return recorder.values


exported = program.module()
values = record(exported, inputs)
print(len(values), "values, the last ones:", list(values)[-3:])
assert torch.equal(list(values.values())[-1], exported(*inputs))

# %%
# Keep what each submodule of the model returns
# +++++++++++++++++++++++++++++++++++++++++++++
#
# The model has no nodes, but it has submodules, and forward hooks see what they return.
# A module that is called again gets ``@1`` after its name, as torch does in a graph.


def record_modules(model, inputs):
    outputs, paths = {}, {module: path for path, module in model.named_modules()}

    def keep(module, args, output):
        name, again = paths[module], 0
        while name in outputs:
            again += 1
            name = f"{paths[module]}@{again}"
        if isinstance(output, torch.Tensor):
            outputs[name] = output.detach().clone()

    handles = [module.register_forward_hook(keep) for module in paths]
    model(*inputs)
    for handle in handles:
        handle.remove()
    return outputs


eager = record_modules(model, inputs)
print(list(eager))
assert "norm" in eager and "norm@1" in eager

# %%
# Which module
# ++++++++++++
#
# Each node knows the modules that were being called when it was traced:
# ``node.meta["nn_module_stack"]``, outermost first. The last node of a module is its
# output, when the module returns one tensor and computes it last. The difference is
# divided by the largest value, and below ``1e-4`` it is called the same: ``float32``
# has about seven digits.


def last_nodes(exported):
    last = {}
    for node in exported.graph.nodes:
        if node.op == "call_function":
            for key, (path, _) in node.meta["nn_module_stack"].items():
                _, at, again = key.partition("@")
                last[path + at + again] = node.name
    return last


def gap(value, expected):
    return ((value - expected).abs().max() / expected.abs().max()).item()


def say(difference):
    return "same" if difference < 1e-4 else f"differs by {difference:.0e}"


# %%
# Modules are listed in the order in which they end, so an inner module comes before
# the one that calls it. The first that differs is the place: its own submodules agree.

different = []
last = last_nodes(exported)
for name, expected in eager.items():
    node, difference = last[name], gap(values[last[name]], expected)
    print(f"{name or '(model)':22} {node:12} {say(difference)}")
    if difference > 1e-4:
        different.append(name)
print("first:", different[0])
assert different[0] == "blocks.1.attention"
assert different[-1] == "" and "norm" not in different and "norm@1" in different

# %%
# Which line
# ++++++++++
#
# What is left are the nodes of this module that are in none of its submodules. Each
# keeps its stack trace, whose last line of code is the line of ``forward``. (Strict
# mode adds a line of ``^^^^`` below it.)


def line_of(node):
    lines = [line.strip() for line in node.meta["stack_trace"].splitlines()]
    return [line for line in lines if line.strip("^~ ")][-1]


lines = {}
for node in exported.graph.nodes:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    if node.op == "call_function" and stack[-1][0] == different[0]:
        lines.setdefault(line_of(node), []).append(node.name)
for line, names in lines.items():
    print(line, "|", ", ".join(names))
assert "scores = q @ k.transpose(1, 2) / self.temperature" in lines

# %%
# Which node: export again
# ++++++++++++++++++++++++
#
# A second export of the model as it is now gives a second program. If it agrees with
# the model, something that the model reads has changed since the first export. Both
# graphs have the same nodes, so their values are compared name by name. The first node
# that differs, seen from the inputs, is the cause.


def first_difference(values, others):
    assert list(values) == list(others), "these graphs do not have the same nodes"
    return next(n for n in values if gap(values[n], others[n]) > 1e-4)


again = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
torch.testing.assert_close(again.module()(*inputs), model(*inputs))
name = first_difference(values, record(again.module(), inputs))
for version in (program, again):
    node = next(node for node in version.graph.nodes if node.name == name)
    print(node.name, node.target, node.args)
    assert node.args[1] == (1.0 if version is program else 0.25)

# %%
# If the second program is as wrong as the first, the trace is at fault: a branch of
# Python, a random number, a value that was made into a constant. Then the lines above
# are the ones to read, and :ref:`l-plot-exporter-wrong-checklist` says for what.
#
# The fix
# +++++++
#
# What changes after the export has to be an input or a buffer. A buffer is part of the
# state: the program takes the new value with ``load_state_dict``. This works on all
# releases of this page, and costs one tensor operation in place of a constant.


class Annealed(Attention):
    def __init__(self, size):
        super().__init__(size)
        del self.temperature
        self.register_buffer("temperature", torch.tensor(1.0))


fixed = Encoder(Annealed).eval()
program = torch.export.export(fixed, inputs, dynamic_shapes=shapes, strict=False)
fixed.blocks[1].attention.temperature.fill_(0.25)
exported = program.module()
exported.load_state_dict(fixed.state_dict())
values, eager = record(exported, inputs), record_modules(fixed, inputs)
last = last_nodes(exported)
gaps = [gap(values[last[name]], expected) for name, expected in eager.items()]
print("largest difference of", len(gaps), "modules:", say(max(gaps)))
assert max(gaps) < 1e-4

# %%
# Two versions of a program
# +++++++++++++++++++++++++
#
# A pass gives a program with other nodes. Here ``run_decompositions`` splits operators
# into smaller ones, and somebody's table replaces GELU by a cheaper function. The
# results are not the same any more.


def cheap_gelu(x, approximate="none"):
    return x * torch.sigmoid(1.702 * x)


table = torch.export.default_decompositions()
table[torch.ops.aten.gelu.default] = cheap_gelu
lowered = program.run_decompositions(table)
print(say(gap(lowered.module()(*inputs), program.module()(*inputs))))
assert gap(lowered.module()(*inputs), program.module()(*inputs)) > 1e-4

# %%
# ``node.meta["from_node"]`` says which node of the former program a node comes from.
# One node may have become several; the last of them has its value. Tuples, as the one
# of ``chunk``, are left out.


def match(program):
    pairs = {}
    for node in program.graph.nodes:
        if node.op == "call_function" and node.meta.get("from_node"):
            pairs[node.meta["from_node"][-1].name] = node.name
    return pairs


before = record(program.module(), inputs)
after = record(lowered.module(), inputs)
pairs = [(a, b) for a, b in match(lowered).items() if a in before]
for old, new in pairs[:7]:
    print(f"{old:12} -> {new:12} {say(gap(after[new], before[old]))}")
first = next(old for old, new in pairs if gap(after[new], before[old]) > 1e-4)
print("first:", first)
assert first == "gelu"

# %%
# Is it rounding?
# +++++++++++++++
#
# Small differences are normal: another order of additions is another rounding. To
# know their size, export a copy of the model in ``float64`` and compare. Rounding grows
# slowly from node to node. A fault is a jump: here it is more than a thousand times the
# largest rounding error.

twice = (inputs[0].double(),)
double = copy.deepcopy(fixed).double()
double = torch.export.export(double, twice, dynamic_shapes=shapes, strict=False)
exact = record(double.module(), twice)
worst = max(gap(before[name].double(), exact[name]) for name in before)
jump = max(gap(after[new], before[old]) for old, new in pairs)
print("rounding below 1e-5:", worst < 1e-5)
print("jump more than 1000 times larger:", jump > 1000 * worst)
assert worst < 1e-5 and jump > 1000 * worst

# %%
# The check
# +++++++++
#
# The program with the buffer agrees with its model on shapes that were not traced, the
# smallest included.

exported = program.module()
for batch, n in [(1, 1), (2, 9), (64, 64)]:
    x = torch.randn(batch, n, 8)
    torch.testing.assert_close(exported(x), fixed(x))
    print(f"batch {batch}, length {n}: same result")
try:
    exported(torch.randn(65, 5, 8))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with 65 rows."
print(message)
assert "<= 64" in message, message

# %%
# To remember
# +++++++++++
#
# * :class:`torch.fx.Interpreter` on ``program.module()`` gives the value of each node.
# * ``nn_module_stack`` leads from a node to its module, ``stack_trace`` to its line,
#   ``from_node`` to the node it was made from.
# * Look for the first difference that is larger than rounding, and export again: it
#   tells a changed model from a wrong trace.
#
# Next: :ref:`l-plot-exporter-wrong-constants` and :ref:`l-plot-exporter-wrong-state`
# for the usual causes, :ref:`l-plot-exporter-ops-decompositions` for tables of one's
# own, and :ref:`l-plot-exporter-modules-piece-by-piece` when the export itself fails.
