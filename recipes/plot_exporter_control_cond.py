"""
.. _l-plot-exporter-control-cond:

Replace an if on a tensor with torch.cond or torch.where
========================================================

The model has an ``if`` on the value of a tensor. Without strict mode the export fails
with ``Could not guard on data-dependent expression Eq(u0, 1) ...``, in strict mode
with ``Data-dependent branching ...`` or ``Dynamic control flow is not supported at
the moment ...``.

This page shows why, and three ways out for a model that stops early when it is sure:
compute both results and choose, keep both branches in the program, or decide outside
of it. An ``if`` on a size or on a Python flag is something else, and comes last.

.. meta::
   :description: Choose with torch.where, branch with torch.cond, or export two
      programs and decide between them.
   :keywords: if on a tensor, data-dependent branching, dynamic control flow is not
      supported, could not guard on data-dependent expression, generic_jump
      TensorVariable, torch.cond, torch.where, early exit, Eq(u0, 1)
"""

# %%
# The model
# +++++++++
#
# A classifier with two heads. If the first head is sure about every row of the batch,
# its answer is returned and the rest of the network is skipped.

# sphinx_gallery_tags = ["control flow", "export fails"]
# sphinx_gallery_wording = "Unsupported: generic_jump TensorVariable()"
# sphinx_gallery_wording = "Please use torch.cond to explicitly capture the control"
# sphinx_gallery_wording = "torch.cond exported only one of the branches"

import warnings

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class EarlyExit(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Linear(8, 16)
        self.body = torch.nn.Linear(16, 16)
        self.first_head = torch.nn.Linear(16, 4)
        self.last_head = torch.nn.Linear(16, 4)

    def start(self, x):
        hidden = torch.relu(self.stem(x))
        return hidden, torch.softmax(self.first_head(hidden), dim=-1)

    def finish(self, hidden):
        hidden = torch.relu(self.body(hidden))
        return torch.softmax(self.last_head(hidden), dim=-1)

    def forward(self, x):
        hidden, early = self.start(x)
        if early.amax(dim=-1).min() > 0.5:
            return early
        return self.finish(hidden)


# %%
# Two batches, one for each branch: with large inputs the first head is sure of
# itself, with small inputs it is not.

torch.manual_seed(0)
model = EarlyExit().eval()
x = torch.randn(5, 8)
for name, batch in [("small", x), ("large", 100 * x)]:
    sure = model.start(batch)[1].amax(dim=-1).min() > 0.5
    print(f"{name} inputs, stops early: {bool(sure)}")
    assert bool(sure) == (name == "large")

# %%
# The symptom
# +++++++++++
#
# Without strict mode, the default since 2.8, the exporter cannot *guard*: it would
# have to know whether ``u0`` is 1. ``u0`` is the value of the comparison. The end of
# the message names the line of the model.

dynamic_shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
try:
    torch.export.export(model, (x,), dynamic_shapes=dynamic_shapes, strict=False)
except RuntimeError as error:
    message = str(error)
else:
    message = "This release exports an if on a tensor."
lines = [line.strip() for line in message.splitlines()]
print(lines[0])
print(*[line for line in lines if line.startswith("if early")])
assert "Could not guard on data-dependent expression Eq(u0, 1)" in message, message

# %%
# Strict mode, the default up to 2.7, sees the ``if`` itself and says so.

try:
    torch.export.export(model, (x,), dynamic_shapes=dynamic_shapes, strict=True)
except torch._dynamo.exc.Unsupported as error:
    message = str(error)
else:
    message = "This release exports an if on a tensor in strict mode."
print(message.splitlines()[0])
old = "Dynamic control flow is not supported at the moment"
assert message.startswith(old if RELEASE < (2, 7) else "Data-dependent branching")

# %%
# The cause
# +++++++++
#
# While the exporter runs ``forward``, the tensors are *fake*: they have a shape and a
# dtype, and no values. ``if`` needs one value, now, and there is none. Torch makes a
# symbol for it, ``u0``, and refuses to `decide on a symbol that comes from data
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L8459>`_.
# A traced program is one straight list of operators, so guessing a branch would make
# it wrong for half of the inputs.
#
# The condition is the only obstacle. With a Python constant in its place the same
# model exports, and the list of operators tells which branch it got.


class AlwaysEarly(EarlyExit):
    def forward(self, x):
        hidden, early = self.start(x)
        if True:
            return early
        return self.finish(hidden)


program = torch.export.export(AlwaysEarly().eval(), (x,), strict=False)
names = [n.name for n in program.graph.nodes if n.op == "call_function"]
print(names)
assert sum(name.startswith("linear") for name in names) == 2

# %%
# The ``if`` may not look like one. Whatever asks a tensor for ``True`` or ``False``,
# or for a number to compare, ends in the same place: ``and``, ``not``, ``item()``,
# :func:`torch.equal` and ``max`` of Python. The last one needs no ``if``:
# :func:`torch.maximum`, and since 2.8 the exporter takes ``max`` as such.


class Double(torch.nn.Module):
    def __init__(self, condition):
        super().__init__()
        self.condition = condition

    def forward(self, x):
        return x * 2 if self.condition(x) else x


CONDITIONS = {
    "(x > 0).all() and (x < 9).all()": lambda x: (x > 0).all() and (x < 9).all(),
    "not torch.isnan(x).any()": lambda x: not torch.isnan(x).any(),
    "x.max().item() > 0": lambda x: x.max().item() > 0,
    "int(x.argmax()) == 3": lambda x: int(x.argmax()) == 3,
    "torch.equal(x, x + 1)": lambda x: torch.equal(x, x + 1),
}
REFUSED = (RuntimeError, torch._subclasses.fake_tensor.DataDependentOutputException)
messages = {}
for name, condition in CONDITIONS.items():
    try:
        torch.export.export(Double(condition), (x,), strict=False)
    except REFUSED as error:
        messages[name] = str(error).splitlines()[0].split(" (unhinted")[0]
    else:
        messages[name] = "exported"
    print(f"{name:32} {messages[name]}")
assert "exported" not in messages.values()

# %%
# Fix 1: compute both, choose with torch.where
# ++++++++++++++++++++++++++++++++++++++++++++
#
# :func:`torch.where` is an operator like any other: it takes a tensor of booleans and
# two tensors. It works on all releases of this page, under both modes, with every
# backend.


class BothAndChoose(EarlyExit):
    def forward(self, x):
        hidden, early = self.start(x)
        sure = early.amax(dim=-1).min() > 0.5
        return torch.where(sure, early, self.finish(hidden))


options = {"dynamic_shapes": dynamic_shapes, "strict": False}
chooser = BothAndChoose().eval()
chooser.load_state_dict(model.state_dict())
chosen = torch.export.export(chooser, (x,), **options).module()
for batch in (x, 100 * x):
    torch.testing.assert_close(chosen(batch), model(batch))

# %%
# It can do what no ``if`` does: choose row by row. Leave ``.min()`` out and keep the
# dimension, ``early.amax(dim=-1, keepdim=True) > 0.5``, and the condition has one
# value for each row.
#
# The price is the other branch: it is computed and thrown away, every time. The
# profiler counts the four linear layers, also for the batch that needs two.


def count_linear(function, batch):
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.inference_mode(), torch.profiler.profile(activities=activities) as p:
        function(batch)
    return sum(event.name == "aten::linear" for event in p.events())


print("eager  ", count_linear(model, x), count_linear(model, 100 * x))
print("program", count_linear(chosen, x), count_linear(chosen, 100 * x))
assert count_linear(model, 100 * x) == 2
assert count_linear(chosen, 100 * x) == 4

# %%
# There is a second price for those who train. A branch that is thrown away may be
# infinite or ``NaN``; the result is right, and the gradient is not, because
# ``0 * inf`` is ``NaN``. The remedy is to make the unused branch harmless *before*
# the dangerous operator.

positive = torch.tensor([4.0, 0.0, -1.0], requires_grad=True)
torch.where(positive > 0, positive.sqrt(), 0.0).sum().backward()
print("one where ", positive.grad)
assert positive.grad.isnan().any()

positive.grad = None
safe = torch.where(positive > 0, positive, 1.0)
torch.where(positive > 0, safe.sqrt(), 0.0).sum().backward()
print("two wheres", positive.grad)
assert positive.grad.isfinite().all()

# %%
# Fix 2: keep both branches with torch.cond
# +++++++++++++++++++++++++++++++++++++++++
#
# :func:`torch.cond` takes the condition, two functions, and the tensors that they
# need. The exporter traces both functions, and the program runs one of them. Both
# must return the same thing: same number of tensors, dtypes and shapes. They must not
# return a tensor that they were given, hence ``clone()``: without it, 2.8 and later
# refuse the branch (:ref:`l-plot-exporter-control-cond-rules`).


class Branches(EarlyExit):
    def forward(self, x):
        hidden, early = self.start(x)
        sure = early.amax(dim=-1).min() > 0.5
        return torch.cond(sure, self.stop, self.go_on, (hidden, early))

    def stop(self, hidden, early):
        torch._check(hidden.shape[0] == early.shape[0])
        return early.clone()

    def go_on(self, hidden, early):
        return self.finish(hidden)


brancher = Branches().eval()
brancher.load_state_dict(model.state_dict())
program = torch.export.export(brancher, (x,), **options)
branched = program.module()

# %%
# The program has one node for the choice, and each branch is a graph of its own.

for node in program.graph.nodes:
    if node.target is torch.ops.higher_order.cond:
        print(node.name, [str(argument) for argument in node.args[1:3]])
        stop, go_on = (getattr(program.graph_module, a.target) for a in node.args[1:3])
for branch in (stop, go_on):
    print([n.name for n in branch.graph.nodes if n.op == "call_function"])
assert "clone" in [n.name for n in stop.graph.nodes]

# %%
# The branch that is not taken costs nothing.

print("program", count_linear(branched, x), count_linear(branched, 100 * x))
assert count_linear(branched, x) == 4
assert count_linear(branched, 100 * x) == 2

# %%
# The prices are others. The condition is one value for the whole batch: a tensor with
# several elements is refused. The branches obey rules. What comes after the export
# must know the operator: not every backend does. And ``model(x)`` itself, in eager
# mode, compiles the branches before it runs them: keep the ``if`` for eager work if
# that is too slow.


class RowByRow(EarlyExit):
    def forward(self, x):
        hidden, early = self.start(x)
        sure = early.amax(dim=-1) > 0.5
        branches = (lambda h, e: e.clone(), lambda h, e: self.finish(h))
        return torch.cond(sure, *branches, (hidden, early))


try:
    torch.export.export(RowByRow().eval(), (x,), **options)
except RuntimeError as error:
    message = str(error)
else:
    message = "This release takes a condition with several elements."
print(message)
assert "Expected pred to be bool or single-element tensor" in message, message

# %%
# Fix 3: decide outside of the program
# ++++++++++++++++++++++++++++++++++++
#
# Export the two halves, and leave the ``if`` to the code that calls them. Nothing is
# computed in vain, no rule applies, and the caller can do more: send only the rows
# that are not sure through the second half. The price is two programs to store, and
# that ``if`` in every host that runs them. It works on all releases of this page.


class Method(torch.nn.Module):
    def __init__(self, model, name):
        super().__init__()
        self.model, self.name = model, name

    def forward(self, x):
        return getattr(self.model, self.name)(x)


start = torch.export.export(Method(model, "start"), (x,), **options).module()
hidden, early = start(x)
finish = torch.export.export(Method(model, "finish"), (hidden,), **options).module()


def answer(x):
    hidden, result = start(x)
    if result.amax(dim=-1).min() > 0.5:
        return result
    return finish(hidden)


# %%
# The check
# +++++++++
#
# Four batch sizes that were not traced, the smallest and the largest among them, with
# both branches for each size. Strict mode exports the same two models.

functions = [chosen, branched, answer]
for wrapped in (chooser, brancher):
    strict = torch.export.export(
        wrapped, (x,), dynamic_shapes=dynamic_shapes, strict=True
    )
    functions.append(strict.module())

for size in [1, 2, 9, 64]:
    for scale in [0.1, 1000.0]:
        batch = scale * torch.ones(size, 1) * x[:1] + 0.01 * torch.randn(size, 8)
        stops = bool(model.start(batch)[1].amax(dim=-1).min() > 0.5)
        for function in functions:
            torch.testing.assert_close(function(batch), model(batch))
        print(f"batch {size:2}, stops early {stops!s:5}: same results")
        assert stops == (scale > 1)

# %%
# A batch of 65 is out of the range that was named.

try:
    branched(torch.randn(65, 8))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program outside of its range."
print(message)
assert "<= 64" in message, message

# %%
# What needs none of this: sizes and flags
# ++++++++++++++++++++++++++++++++++++++++
#
# An ``if`` on a Python value, such as ``self.training`` or an option of the
# constructor, is decided during the export. The program has one of the branches, and
# later changes of the option do not reach it (:ref:`l-plot-exporter-wrong-train-eval`).
#
# An ``if`` on a size is decided with the size of the example. The decision becomes a
# *guard*: with a name for the dimension, the export refuses a range that has both
# answers.


class Sizes(torch.nn.Module):
    def forward(self, x):
        if x.shape[0] > 3:
            return x * 2
        return x + 1


try:
    torch.export.export(Sizes(), (x,), **options)
except torch._dynamo.exc.UserError as error:
    message = str(error)
else:
    message = "This release exports both branches."
lines = [line.strip() for line in message.splitlines() if line.strip()]
print(*lines[:2], sep="\n")
assert "Constraints violated (batch)!" in message, message

# %%
# A range in which the answer is always the same is the usual fix, here
# ``Dim("batch", min=4)``: see :ref:`l-plot-exporter-shapes-ranges`. Where both sizes
# are wanted, :func:`torch.cond` takes the comparison of sizes as its condition, on
# all releases of this page.


class SizesWithCond(torch.nn.Module):
    def forward(self, x):
        return torch.cond(
            x.shape[0] > 3, lambda x: x * 2, lambda x: x + 1, operands=(x,)
        )


program = torch.export.export(SizesWithCond(), (x,), **options)
for size in [1, 3, 4, 64]:
    batch = torch.randn(size, 8)
    torch.testing.assert_close(program.module()(batch), Sizes()(batch))
assert "cond" in [node.name for node in program.graph.nodes]

# %%
# This is so for a dynamic size only. When the size is constant, the comparison is a
# Python ``bool``, and ``torch.cond`` keeps one branch. It gives a warning, which this
# page catches in order to print it.

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    program = torch.export.export(SizesWithCond(), (x,), strict=False)
found = [str(warning.message) for warning in caught]
found = [text for text in found if "Pred is a Python constant" in text]
print(found[0])
print([node.name for node in program.graph.nodes if node.op == "call_function"])
assert "cond" not in [node.name for node in program.graph.nodes]

# %%
# To remember
# +++++++++++
#
# * The exporter has no values: an ``if`` on a tensor has no answer while it traces.
# * Cheap branches, or a choice row by row: :func:`torch.where`. Beware of gradients.
# * An expensive branch to skip: :func:`torch.cond`, or two programs and an ``if``
#   between them.
# * An ``if`` on a size is a guard, an ``if`` on a flag is a constant.
#
# Next: :ref:`l-plot-exporter-control-cond-rules`, when ``torch.cond`` refuses a
# branch; :ref:`l-plot-exporter-control-while` for ``while``;
# :ref:`l-plot-exporter-control-assert` for ``assert`` and ``raise``;
# :ref:`l-plot-exporter-data-guard` when the same message comes without an ``if``.
