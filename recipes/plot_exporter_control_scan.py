"""
.. _l-plot-exporter-control-scan:

A loop with a carry, for any number of steps
============================================

A recurrence over time steps is a loop in Python. The export fails with ``Constraints
violated ... specialized it to be a constant (5)``, or gives a graph with a copy of the
step for each time step, and a program for one length.

This page writes such a loop with ``scan``, shows the rules of its function, and two
ways to do without a loop.

.. meta::
   :description: Use torch._higher_order_ops.scan for a recurrence over a dynamic length,
      or write it with cumsum or a matrix.
   :keywords: loop over time, recurrent, carry, scan, for loop unrolled, dynamic sequence
      length, running mean, exponential moving average, higher-order operator
"""

# %%
# The model
# +++++++++
#
# An exponential moving average: each step needs the result of the one before. The first
# dimension is time.

# sphinx_gallery_tags = ["control flow", "export fails", "turns static"]
# sphinx_gallery_wording = "python loop is unrolled in the exported graph"
# sphinx_gallery_wording = "scan must be captured completely with torch.compile"

import torch
from torch._higher_order_ops.scan import scan

Dim = torch.export.Dim
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Loop(torch.nn.Module):
    def forward(self, x):
        average, results = torch.zeros_like(x[0]), []
        for step in x:
            average = 0.9 * average + 0.1 * step
            results.append(average)
        return torch.stack(results)


# %%
# The symptom
# +++++++++++

torch.manual_seed(0)
x = torch.rand(5, 3)
time = ({0: Dim("time", max=1024)},)
try:
    torch.export.export(Loop(), (x,), dynamic_shapes=time, strict=False)
except torch._dynamo.exc.UserError as error:
    message = str(error).split("\n\nFramework")[0].split("\n\nThe error above")[0]
else:
    message = "This release exports the loop."
print(message)
assert "Constraints violated (time)" in message and "constant (5)" in message

# %%
# The cause
# +++++++++
#
# Python runs the loop, and the trace sees five steps. Without a dynamic dimension the
# export works, and the graph shows it: it grows with the length of the example.


def size_of_graph(model, length):
    program = torch.export.export(model, (torch.rand(length, 3),), strict=False)
    return len(program.graph.nodes)


sizes = {length: size_of_graph(Loop(), length) for length in (2, 5, 20)}
print(sizes)
assert sizes[2] < sizes[5] < sizes[20]

# %%
# Fix 1: scan
# +++++++++++
#
# ``scan`` takes the step as a function of the carry and of one slice. It returns the
# next carry and an output, and stacks the outputs. It is not public yet, and can be
# imported under the same name on all releases of this page. The price: the step is
# called once for each slice, as a graph of its own, and runtimes have to know the
# operator.


class Scan(torch.nn.Module):
    def forward(self, x):
        def step(average, now):
            average = 0.9 * average + 0.1 * now
            return average, average.clone()

        _, results = scan(step, torch.zeros_like(x[0]), x, dim=0)
        return results


program = torch.export.export(Scan(), (x,), dynamic_shapes=time, strict=False)
scanned = program.module()
names = [node.name for node in program.graph.nodes if node.op == "call_function"]
print(len(program.graph.nodes), "nodes, among them", [n for n in names if "scan" in n])
torch.testing.assert_close(scanned(x), Loop()(x))

# %%
# The rules of the step
# +++++++++++++++++++++
#
# The carry that comes out has the shape and the dtype of the one that went in. The step
# returns two things. Nothing is changed in place, and no output is an input itself.
# Each line breaks one rule; the reason may be in the exception that the message was
# raised from.


class Steps(torch.nn.Module):
    def __init__(self, step, start=None):
        super().__init__()
        self.step, self.start = step, start

    def forward(self, x):
        start = torch.zeros_like(x[0]) if self.start is None else self.start
        return scan(self.step, start, x, dim=0)[1]


BROKEN = {
    "carry changes shape": Steps(lambda c, s: (torch.cat([c, s]), s + 1)),
    "carry changes dtype": Steps(lambda c, s: (c.double(), s + 1)),
    "one result": Steps(lambda c, s: c + s),
    "returns its input": Steps(lambda c, s: (c + s, s)),
    "changes in place": Steps(lambda c, s: (c.add_(s), s + 1)),
    "carry is a number": Steps(lambda c, s: (c + 1, s + 1), start=0.0),
}


def reason(error):
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    inner = [line for line in lines if "differ in" in line or "Explanation" in line]
    return (inner or lines)[0].split(", where")[0].split(". Found")[0][:100]


REFUSED = (torch._dynamo.exc.TorchDynamoException, RuntimeError, TypeError)
refused = set()
for name, model in BROKEN.items():
    try:
        torch.export.export(model, (x,), dynamic_shapes=time, strict=False)
    except REFUSED as error:
        refused.add(name)
        print(f"{name}: {reason(error)}")
    else:
        print(f"{name}: this release exports it")
assert {"carry changes shape", "carry changes dtype", "carry is a number"} <= refused

# %%
# Fix 2: without a loop
# +++++++++++++++++++++
#
# Many recurrences have a closed form. A linear one is a product with a triangular
# matrix of weights, and sums are :func:`torch.cumsum`. This is plain torch: it works on
# all releases and in all runtimes, and is parallel. The price is memory for the matrix,
# the square of the length.


class Matrix(torch.nn.Module):
    def forward(self, x):
        position = torch.arange(x.shape[0])
        age = position[:, None] - position
        weights = torch.where(age >= 0, 0.1 * 0.9 ** age.clamp(min=0), 0.0)
        return weights @ x


program = torch.export.export(Matrix(), (x,), dynamic_shapes=time, strict=False)
matrix = program.module()

# %%
# Fix 3: export the step
# ++++++++++++++++++++++
#
# One step is a program, and the loop stays in Python. The price is one call for each
# step. For a stream, where the steps arrive one by one, it is the right form.


class Step(torch.nn.Module):
    def forward(self, average, now):
        return 0.9 * average + 0.1 * now


step = torch.export.export(Step(), (x[0], x[1]), strict=False).module()

# %%
# The check
# +++++++++
#
# Lengths that were not traced, a single step included.

for length in (1, 2, 7, 300):
    inputs = torch.rand(length, 3)
    expected = Loop()(inputs)
    torch.testing.assert_close(scanned(inputs), expected)
    torch.testing.assert_close(matrix(inputs), expected)
    average = torch.zeros(3)
    for now in inputs:
        average = step(average, now)
    torch.testing.assert_close(average, expected[-1])
    print(f"{length} steps: same results")
try:
    scanned(torch.rand(1025, 3))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with 1025 steps."
print(message)
assert "1024" in message, message

# %%
# To remember
# +++++++++++
#
# * A loop of Python is unrolled, so its length is a constant.
# * ``scan`` holds the step once; carry in and carry out look the same.
# * Look for a closed form first, and export the step alone for streams.
#
# Next: :ref:`l-plot-exporter-control-while` if the data decides when to stop,
# :ref:`l-plot-exporter-control-map` if no step needs the one before, and
# :ref:`l-plot-exporter-control-cond-rules` for the rules in detail.
