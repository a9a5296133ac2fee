"""
.. _l-plot-exporter-control-scan:

Replace a loop over time steps with scan
========================================

.. answer::
   :cost: ``scan`` is experimental, and calls the step once per row.

   Python runs the loop during the export, so its length, 5, becomes a constant.
   ``scan`` keeps one step in the exported program. The step takes carry and row, and
   returns the next carry and an output.

   .. code-block:: diff

      -        for now in x:
      +        def step(average, now):
                   average = 0.9 * average + 0.1 * now
      -            results.append(average)
      -        return torch.stack(results)
      +            return average, average.clone()
      +        _, results = scan(step, average, x)

   Not your case?

   * No step needs the one before: :ref:`l-plot-exporter-control-map`.
   * The loop stops when a value says so: :ref:`l-plot-exporter-control-while`.
   * "constant (5)" and no loop: :ref:`l-plot-exporter-shapes-specialized`.

.. meta::
   :keywords: loop over time, recurrent, carry, scan, for loop unrolled, dynamic
      sequence length, running mean, exponential moving average, higher-order operator
"""

# %%
# The problem
# +++++++++++
#
# An exponential moving average: each step needs the result of the one before. The first
# dimension is time.

# sphinx_gallery_tags = ["control flow", "export fails", "turns static"]
# sphinx_gallery_wording = "python loop is unrolled in the exported graph"
# sphinx_gallery_wording = "scan must be captured completely with torch.compile"

import torch
from torch._dynamo.exc import TorchDynamoException, UserError
from torch._higher_order_ops.scan import scan


class Loop(torch.nn.Module):
    def forward(self, x):
        average, results = torch.zeros_like(x[0]), []
        for now in x:
            average = 0.9 * average + 0.1 * now
            results.append(average)
        return torch.stack(results)


torch.manual_seed(0)
x = torch.rand(5, 3)
shapes = ({0: torch.export.Dim("time", max=1024)},)
try:
    torch.export.export(Loop(), (x,), dynamic_shapes=shapes, strict=False)
except UserError as error:
    print(error)

# %%
# The fix
# +++++++


class Scan(torch.nn.Module):
    def forward(self, x):
        average = torch.zeros_like(x[0])

        def step(average, now):
            average = 0.9 * average + 0.1 * now
            return average, average.clone()

        _, results = scan(step, average, x)
        return results


# sphinx_gallery_picture = "One node holds the loop, for any length."
program = torch.export.export(Scan(), (x,), dynamic_shapes=shapes, strict=False)

# %%
# An output must not be the carry or the row itself, hence ``clone()``. Which form fits:
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your loop
#      - Write
#      - Cost
#    * - a linear recurrence, a running sum
#      - :func:`torch.cumsum`, or a product with a matrix (below)
#      - the matrix has the square of the length
#    * - any recurrence
#      - ``scan``
#      - experimental
#    * - a stream, step by step
#      - export the step, loop in Python
#      - one call per step
#    * - an LSTM or a GRU
#      - :ref:`l-plot-exporter-ops-recurrent`
#      - see there
#
# Why it happens
# ++++++++++++++
#
# Iterating over a tensor `asks for its length
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_tensor.py#L1215>`_ as a Python
# number. Without a dynamic dimension the export succeeds, and the graph grows with the
# example.

for length in (2, 5, 20):
    unrolled = torch.export.export(Loop(), (torch.rand(length, 3),), strict=False)
    scanned = torch.export.export(Scan(), (torch.rand(length, 3),), strict=False)
    print(f"{length} rows: {len(unrolled.graph.nodes)} nodes unrolled,", end=" ")
    print(f"{len(scanned.graph.nodes)} with scan")

# %%
# Other fixes
# +++++++++++
#
# Without a loop: the average is a weighted sum of the rows before. This is plain torch,
# parallel, and every backend takes it.


class Matrix(torch.nn.Module):
    def forward(self, x):
        position = torch.arange(x.shape[0])
        age = position[:, None] - position
        weights = torch.where(age >= 0, 0.1 * 0.9 ** age.clamp(min=0), 0.0)
        return weights @ x


matrix = torch.export.export(Matrix(), (x,), dynamic_shapes=shapes, strict=False)

# %%
# The step alone, for a stream:


class Step(torch.nn.Module):
    def forward(self, average, now):
        return 0.9 * average + 0.1 * now


stream = torch.export.export(Step(), (x[0], x[1]), strict=False).module()

# %%
# Check
# +++++
#
# Against the Python loop, at lengths that were not traced, a single step included.

scanned, product = program.module(), matrix.module()
for length in (1, 2, 7, 300):
    inputs = torch.randn(length, 3)
    expected = Loop()(inputs)
    torch.testing.assert_close(scanned(inputs), expected)
    torch.testing.assert_close(product(inputs), expected)
    average = torch.zeros(3)
    for now in inputs:
        average = stream(average, now)
    torch.testing.assert_close(average, expected[-1])
try:
    scanned(torch.rand(1025, 3))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# The carry keeps its shape and dtype. For branches, loops and steps alike, more in
# :ref:`l-plot-exporter-control-cond-rules`.
#
# .. list-table::
#    :header-rows: 1
#
#    * - Message
#      - In the step
#      - Write instead
#    * - ``same metadata``, ``shape``
#      - ``torch.cat([carry, now])``
#      - a carry of the largest size, and ``torch.where``
#    * - ``same metadata``, ``dtype``
#      - ``carry.double() + now``
#      - ``.to(carry.dtype)`` at the end
#    * - ``number of returns``
#      - ``return carry``
#      - ``return carry, carry.clone()``
#    * - ``Input-to-output aliasing``
#      - ``return carry + now, now``
#      - ``now.clone()``
#    * - ``Input-to-input aliasing``
#      - two weights that are views of one tensor
#      - clone them *before* ``scan``, not in the step
#    * - ``input mutation``
#      - ``carry.add_(now)``
#      - ``carry + now``
#    * - ``All init leaves``
#      - a carry ``0.0``
#      - ``torch.zeros(())``
#    * - ``FunctionalTensor``, after the export
#      - ``torch.tensor(0.5)``
#      - ``torch.full((), 0.5)``


class Rules(torch.nn.Module):
    def forward(self, x):
        def step(carry, now):
            half = now * torch.full((), 0.5)
            return (carry.double() + half).to(carry.dtype), now.clone()

        return scan(step, torch.zeros(3), x)


rules = torch.export.export(Rules(), (x,), dynamic_shapes=shapes, strict=False)
last, same = rules.run_decompositions().module()(inputs)
torch.testing.assert_close((last, same), (inputs.sum(dim=0) / 2, inputs))

# sphinx_gallery_start_ignore
# The messages, for the search. The first two fail everywhere.


class Broken(torch.nn.Module):
    def __init__(self, step, start=None):
        super().__init__()
        self.step, self.start = step, start
        self.register_buffer("table", torch.ones(2, 3))

    def forward(self, x):
        start = torch.zeros(3) if self.start is None else self.start
        scale, shift = self.table
        return scan(self.step or (lambda c, n: (c * scale, n * shift)), start, x)


for number, (step, start) in enumerate(
    [
        (lambda c, n: (torch.cat([c, n]), n + 1), None),
        (lambda c, n: (c.double(), n + 1), None),
        (lambda c, n: c + n, None),
        (lambda c, n: (c + n, n), None),
        (lambda c, n: (c.add_(n), n + 1), None),
        (lambda c, n: (c + 1, n + 1), 0.0),
        (None, None),
    ]
):
    failed = False
    try:
        torch.export.export(
            Broken(step, start), (x,), dynamic_shapes=shapes, strict=False
        )
    except (
        TorchDynamoException,
        RuntimeError,
        AttributeError,
        TypeError,
        torch._export.verifier.SpecViolationError,
    ):
        failed = True
    assert failed or number > 1
# sphinx_gallery_end_ignore

# %%
# Summary
# +++++++
#
# * Look for a closed form first; then ``scan``, which holds the step once.
# * Next: :ref:`l-plot-exporter-onnx-control-flow` for ONNX,
#   :ref:`l-plot-exporter-data-item` if the step reads ``item()``.
