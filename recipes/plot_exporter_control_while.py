"""
.. _l-plot-exporter-control-while:

A loop that stops when the data says so
=======================================

A ``while`` on the value of a tensor, such as an iteration until convergence, fails with
``Could not guard on data-dependent expression`` or ``Data-dependent branching``. With
``while_loop`` the message becomes ``Expected body_fn_output and carried_inputs to have
same metadata``, or ``unless it is captured completely``.

This page turns such a loop into ``while_loop``, shows the rules that its two functions
have to follow, and gives two loops that need no such operator.

.. meta::
   :description: Use while_loop with tensors of constant shape as the state, or a fixed
      number of steps with torch.where.
   :keywords: while loop, while_loop, convergence, data-dependent loop, number of
      iterations, Newton, carried_inputs, captured completely
"""

# %%
# The model
# +++++++++
#
# Newton's method for a square root, until the error is small.

# sphinx_gallery_tags = ["control flow", "export fails"]
# sphinx_gallery_wording = "while_loop doesn't work unless it is captured completely"

import torch
from torch._higher_order_ops.while_loop import while_loop
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


def improve(x, y):
    return (y + x / y) / 2


class Newton(torch.nn.Module):
    def forward(self, x):
        y = (x + 1) / 2
        while (y * y / x - 1).abs().max() > 1e-4:
            y = improve(x, y)
        return y


# %%
# The symptom
# +++++++++++

torch.manual_seed(0)
x = torch.rand(4, 3) + 1
batch = ({0: torch.export.Dim("batch", max=1024)},)
REFUSED = (
    GuardOnDataDependentSymNode,
    torch._dynamo.exc.Unsupported,
    torch._dynamo.exc.UserError,
)
for strict in (False, True):
    try:
        torch.export.export(Newton(), (x,), dynamic_shapes=batch, strict=strict)
    except REFUSED as error:
        message = str(error).strip().splitlines()[0].split(" (unhinted")[0]
    else:
        message = "This release exports it."
    print(f"strict={strict}: {message}")
    assert not message.startswith("This release")

# %%
# The cause
# +++++++++
#
# ``while`` asks for a bool, and a fake tensor has no values. Change this one thing: the
# same steps, as often as a number of Python says, are exported. They are written down
# one after the other, so the number is fixed.


class Unrolled(torch.nn.Module):
    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def forward(self, x):
        y = (x + 1) / 2
        for _ in range(self.steps):
            y = improve(x, y)
        return y


for steps in (2, 10):
    program = torch.export.export(
        Unrolled(steps), (x,), dynamic_shapes=batch, strict=False
    )
    print(steps, "steps:", len(program.graph.nodes), "nodes")
torch.testing.assert_close(program.module()(x), x.sqrt())

# %%
# Fix 1: while_loop
# +++++++++++++++++
#
# The operator takes a condition, a body, and the state: tensors that go in and come out
# of each round. What does not change, here ``x``, is taken from around the functions.
# The counter is part of the state. The operator can be imported under all releases of
# this page; it is still marked as experimental. Gradients through it work since 2.9.


class WhileLoop(torch.nn.Module):
    def forward(self, x):
        def not_yet(y, steps):
            return ((y * y / x - 1).abs().max() > 1e-4) & (steps < 50)

        def step(y, steps):
            return improve(x, y), steps + 1

        start = (x + 1) / 2
        count = torch.zeros((), dtype=torch.int64)
        return while_loop(not_yet, step, (start, count))


# %%
# One node holds the loop. The number of steps is decided when the program runs. With
# 2.6 it takes strict mode.

try:
    program = torch.export.export(WhileLoop(), (x,), dynamic_shapes=batch, strict=False)
except torch._dynamo.exc.TorchDynamoException as error:
    print(str(error).splitlines()[0])
    program = torch.export.export(WhileLoop(), (x,), dynamic_shapes=batch, strict=True)
names = [node.name for node in program.graph.nodes if node.op == "call_function"]
print([name for name in names if "while" in name])
exported = program.module()
counts = []
for scale in (1.0, 100.0, 1e4):
    result, steps = exported(scale * x)
    torch.testing.assert_close(result, (scale * x).sqrt(), rtol=1e-3, atol=1e-3)
    counts.append(steps.item())
    print(f"numbers up to {2 * scale:g}: {counts[-1]} steps")
assert counts == sorted(set(counts))

# %%
# The rules, and how to read the refusals
# +++++++++++++++++++++++++++++++++++++++
#
# Each round has to return what it got: the same number of tensors, with the same shapes
# and dtypes, and none of them the very tensor that came in or a view of it. Nothing may
# be changed in place. Not every release refuses every fault. The message may be a
# wrapper around the reason, which is then the exception that it was raised from, or in
# the lines below the first.


class Rounds(torch.nn.Module):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def forward(self, x):
        def not_yet(y, steps):
            return steps.sum() < 3

        return while_loop(not_yet, self.step, (x, torch.zeros(1)))


BROKEN = {
    "grows": lambda y, steps: (torch.cat([y, y]), steps + 1),
    "changes dtype": lambda y, steps: (y.double(), steps + 1),
    "returns its input": lambda y, steps: (y, steps + 1),
    "changes in place": lambda y, steps: (y.mul_(2), steps + 1),
    "loses a tensor": lambda y, steps: (y + 1,),
}


def reason(error):
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    inner = [line for line in lines if "differ in" in line or "Explanation" in line]
    return (inner or lines)[0].split(", where")[0].split(". Found")[0][:100]


refused = set()
for name, step in BROKEN.items():
    try:
        torch.export.export(Rounds(step), (x,), dynamic_shapes=batch, strict=True)
    except (torch._dynamo.exc.TorchDynamoException, RuntimeError) as error:
        refused.add(name)
        print(f"{name}: {reason(error)}")
    else:
        print(f"{name}: this release exports it")
assert {"grows", "changes dtype"} <= refused

# %%
# For a state that grows, take a tensor of the largest size and write into a part of it:
# :ref:`l-plot-exporter-wrong-state`. For a body that returns what it got, ``clone()``.
#
# Fix 2: a fixed number of steps
# ++++++++++++++++++++++++++++++
#
# If a largest number of steps is known, ``torch.where`` keeps what is finished. It is
# plain torch: it works on all releases, in all runtimes, and with gradients. The price
# is that all steps are always computed, and a graph that is as long as the loop.


class Bounded(torch.nn.Module):
    def forward(self, x):
        y = (x + 1) / 2
        for _ in range(12):
            y = torch.where((y * y / x - 1).abs() > 1e-4, improve(x, y), y)
        return y


# %%
# Fix 3: keep the loop in Python
# ++++++++++++++++++++++++++++++
#
# Export one step and loop around the program. The price is a Python loop in production,
# and one check of guards a step. For the decoding of a language model this is what
# everybody does.


class Step(torch.nn.Module):
    def forward(self, x, y):
        return improve(x, y), (y * y / x - 1).abs().max()


step = torch.export.export(
    Step(), (x, x.clone()), dynamic_shapes=batch * 2, strict=False
).module()
y, error = (x + 1) / 2, torch.tensor(1.0)
while error > 1e-4:
    y, error = step(x, y)
torch.testing.assert_close(y, x.sqrt())

# %%
# The check
# +++++++++
#
# Both programs against the model, on batches and numbers that were not traced.

bounded = torch.export.export(
    Bounded(), (x,), dynamic_shapes=batch, strict=False
).module()
for size, scale in [(1, 1.0), (2, 50.0), (1000, 1000.0)]:
    inputs = scale * (torch.rand(size, 3) + 0.1)
    expected = Newton()(inputs)
    torch.testing.assert_close(exported(inputs)[0], expected)
    torch.testing.assert_close(bounded(inputs), expected, rtol=1e-3, atol=1e-3)
    print(f"batch {size}, numbers up to {1.1 * scale:g}: same result")
try:
    exported(torch.rand(1025, 3))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with 1025 rows."
print(message)
assert "1024" in message, message

# %%
# To remember
# +++++++++++
#
# * A ``while`` on a value is ``while_loop``, a fixed number of steps, or a loop
#   outside.
# * The state is tensors that keep their shapes and dtypes.
# * Give the loop a largest number of steps: a program that never ends has no error.
#
# Next: :ref:`l-plot-exporter-control-scan` if the number of rounds is a size,
# :ref:`l-plot-exporter-control-cond-rules` for the message "captured completely", and
# :ref:`l-plot-exporter-data-item` if the number of rounds is ``n.item()``.
