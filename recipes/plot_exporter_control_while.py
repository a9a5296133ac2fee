"""
.. _l-plot-exporter-control-while:

Replace a while on a tensor with while_loop
===========================================

.. answer::
   :cost: ``while_loop`` is experimental, and not every backend supports it.

   ``while`` asks for a value at every round, and tensors have none during the export.
   ``while_loop`` keeps condition and body in the exported program. The state is a tuple
   of tensors that keep their shapes and dtypes.

   .. code-block:: diff

      -        while (y * y / x - 1).abs().max() > 1e-4:
      -            y = (y + x / y) / 2
      +        def not_yet(y):
      +            return (y * y / x - 1).abs().max() > 1e-4
      +        def step(y):
      +            return ((y + x / y) / 2,)
      +        (y,) = while_loop(not_yet, step, (y,))

   Not your case?

   * One round per row, ``for row in x``: :ref:`l-plot-exporter-control-scan`.
   * It is ``n.item()``, ``for i in range(n)``: :ref:`l-plot-exporter-data-item`.
   * "captured completely": the table at the end, or
     :ref:`l-plot-exporter-control-cond-rules`.

.. meta::
   :keywords: while loop, while_loop, convergence, data-dependent loop, number of
      iterations, Newton, carried_inputs, captured completely, body_fn_output
"""

# %%
# The problem
# +++++++++++
#
# Newton's method for a square root, until the error is small.

# sphinx_gallery_tags = ["control flow", "export fails"]
# sphinx_gallery_wording = "while_loop doesn't work unless it is captured completely"
# sphinx_gallery_wording = "Attempting to use FunctionalTensor on its own. Instead, please use it with a corresponding FunctionalTensorMode() While executing while_loop"

import torch
from torch._higher_order_ops.while_loop import while_loop
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode


class Newton(torch.nn.Module):
    def forward(self, x):
        y = (x + 1) / 2
        while (y * y / x - 1).abs().max() > 1e-4:
            y = (y + x / y) / 2
        return y


torch.manual_seed(0)
x = torch.rand(4, 3) + 1
shapes = ({0: torch.export.Dim("batch", max=1024)},)
try:
    torch.export.export(Newton(), (x,), dynamic_shapes=shapes, strict=False)
except GuardOnDataDependentSymNode as error:
    print(error)

# %%
# In strict mode the message is ``Data-dependent branching``.
#
# The fix
# +++++++
#
# What does not change, here ``x``, is read from outside. (Only PyTorch 2.6 needs
# ``strict=True``.)


class WhileLoop(torch.nn.Module):
    def forward(self, x):
        y = (x + 1) / 2

        def not_yet(y):
            return (y * y / x - 1).abs().max() > 1e-4

        def step(y):
            return ((y + x / y) / 2,)

        (y,) = while_loop(not_yet, step, (y,))
        return y


# sphinx_gallery_picture = "One node holds the loop."
program = torch.export.export(WhileLoop(), (x,), dynamic_shapes=shapes, strict=True)

# %%
# Which form fits:
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your loop
#      - Write
#      - Cost
#    * - stops when a value says so
#      - ``while_loop``
#      - experimental
#    * - a few rounds are always enough
#      - a fixed number, and ``torch.where`` (below)
#      - all rounds are computed, each written into the program
#    * - decoding, or a loop around the whole model
#      - export one step, keep the loop in Python
#      - a Python loop in every application
#
# Why it happens
# ++++++++++++++
#
# During the export the condition is a symbol, ``u0``, and torch `cannot decide it
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L8459>`_.
# With a number of rounds known to Python the same steps export, one after the other, so
# the number is fixed.


class Rounds(torch.nn.Module):
    def __init__(self, rounds):
        super().__init__()
        self.rounds = rounds

    def forward(self, x):
        y = (x + 1) / 2
        for _ in range(self.rounds):
            y = (y + x / y) / 2
        return y


for rounds in (2, 10):
    fixed = torch.export.export(Rounds(rounds), (x,), strict=False)
    print(f"{rounds} rounds: {len(fixed.graph.nodes)} nodes")

# %%
# Other fixes
# +++++++++++
#
# A fixed number of rounds, where ``torch.where`` keeps what is finished. This is plain
# torch: every backend takes it, and gradients work.


class Bounded(torch.nn.Module):
    def forward(self, x):
        y = (x + 1) / 2
        for _ in range(12):
            y = torch.where((y * y / x - 1).abs() > 1e-4, (y + x / y) / 2, y)
        return y


bounded = torch.export.export(Bounded(), (x,), dynamic_shapes=shapes, strict=False)

# %%
# Or export one step, as for language models.


class Step(torch.nn.Module):
    def forward(self, x, y):
        return (y + x / y) / 2


step = torch.export.export(Step(), (x, x * 1), dynamic_shapes=shapes * 2, strict=False)
step = step.module()


def outside(x):
    y = (x + 1) / 2
    while (y * y / x - 1).abs().max() > 1e-4:
        y = step(x, y)
    return y


# %%
# A program whose condition stays true never ends. A counter in the state limits it.


class Counted(torch.nn.Module):
    def forward(self, x):
        def not_yet(y, count):
            return ((y * y / x - 1).abs().max() > 1e-4) & (count < 50)

        def step(y, count):
            return (y + x / y) / 2, count + 1

        zero = torch.zeros((), dtype=torch.int64)
        return while_loop(not_yet, step, ((x + 1) / 2, zero))


counted = torch.export.export(Counted(), (x,), dynamic_shapes=shapes, strict=True)

# %%
# Check
# +++++
#
# Against the Python loop and ``torch.sqrt``, at sizes that were not traced.

exported = program.module()
for numbers in (torch.ones(1, 3), torch.rand(2, 3) + 1, 1e4 * torch.rand(1000, 3) + 1):
    expected = Newton()(numbers)
    torch.testing.assert_close(expected, numbers.sqrt(), rtol=1e-4, atol=0)
    torch.testing.assert_close(exported(numbers), expected)
    torch.testing.assert_close(outside(numbers), expected)
    torch.testing.assert_close(bounded.module()(numbers), expected, rtol=1e-4, atol=0)
    result, count = counted.module()(numbers)
    torch.testing.assert_close(result, Rounds(int(count))(numbers))
    torch.testing.assert_close(result, expected)
    print(f"{len(numbers)} rows: {count} rounds")
assert counted.module()(torch.full((1, 3), -1.0))[1] == 50  # no square root
try:
    exported(torch.rand(1025, 3))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# Each round returns what it got: the same number of tensors, shapes and dtypes.
#
# .. list-table::
#    :header-rows: 1
#
#    * - Message
#      - In the body
#      - Write instead
#    * - ``same metadata``, ``shape``
#      - ``torch.cat([rows, new])``, a state that grows
#      - a tensor of the largest size, and ``torch.where``
#    * - ``same metadata``, ``dtype``
#      - ``y.double()``
#      - ``.to(y.dtype)``
#    * - ``same number of outputs``
#      - ``return (y,)``
#      - return every tensor of the state
#    * - ``aliasing``
#      - ``return y, count + 1``
#      - ``y.clone()``
#    * - ``input mutation``
#      - ``y.mul_(2)``
#      - ``y * 2``
#    * - ``can only be of``
#      - ``0.0`` in the state
#      - ``torch.zeros(())``
#    * - ``FunctionalTensor on its own``, ``Pending unbacked symbols``; when the program
#        runs, ``Eq(u0, 1)``
#      - a tensor from outside, in ``torch.ops.higher_order.while_loop``
#      - ``while_loop``, imported as above; or ``strict=True``


class Rules(torch.nn.Module):
    def forward(self, x):
        def step(y, kept, rows, count):
            rows = torch.where(torch.arange(4)[:, None] == count, y[0], rows)
            return (y.double() * 2).to(y.dtype), kept.clone(), rows, count + 1

        state = (x * 1, x + 1, torch.zeros(4, 3), torch.zeros(()))
        return while_loop(lambda y, kept, rows, count: count < 4, step, state)


rules = torch.export.export(Rules(), (x,), dynamic_shapes=shapes, strict=True).module()
y, kept, rows, count = rules(numbers)
torch.testing.assert_close((y, kept), (16 * numbers, numbers + 1))
torch.testing.assert_close(rows, numbers[0] * torch.tensor([[1.0], [2], [4], [8]]))

# sphinx_gallery_start_ignore
# The messages, for the search. The first two fail everywhere.


class Broken(torch.nn.Module):
    def __init__(self, step, start):
        super().__init__()
        self.step, self.start = step, start

    def forward(self, x):
        return while_loop(lambda y, c: c.sum() < 3, self.step, (x, self.start))


zero, failed = torch.zeros(1), []
for strict in (True, False):
    for step, start in (
        (lambda y, c: (torch.cat([y, y]), c + 1), zero),
        (lambda y, c: (y.double(), c + 1), zero),
        (lambda y, c: (y, c + 1), zero),
        (lambda y, c: (y.mul_(2), c + 1), zero),
        (lambda y, c: (y + 1,), zero),
        (lambda y, c: (y + 1, c + 1), 0.0),
    ):
        failed.append(True)
        try:
            torch.export.export(
                Broken(step, start), (x,), dynamic_shapes=shapes, strict=strict
            )
            failed[-1] = False
        except (RuntimeError, AssertionError, AttributeError):
            pass
assert all(failed[:2])


class Direct(torch.nn.Module):
    def forward(self, x):
        loop = torch.ops.higher_order.while_loop
        return loop(lambda y: (y / x).max() < 99, lambda y: (y * 2,), (x * 1,), ())[0]


for call in (lambda p: p.module()(x), lambda p: p.run_decompositions()):
    try:
        call(torch.export.export(Direct(), (x,), strict=False))
    except (RuntimeError, torch._export.verifier.SpecViolationError):
        pass
    else:
        raise AssertionError("the table is out of date")
direct = torch.export.export(Direct(), (x,), strict=True).run_decompositions().module()
torch.testing.assert_close(direct(x), 128 * x)
# sphinx_gallery_end_ignore

# %%
# Summary
# +++++++
#
# * A ``while`` on a value: ``while_loop``, a fixed number of rounds, or a loop outside.
# * Next: :ref:`l-plot-exporter-wrong-state` for a state that lives between calls,
#   :ref:`l-plot-exporter-onnx-control-flow` for ONNX.
