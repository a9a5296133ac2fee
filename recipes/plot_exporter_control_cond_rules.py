"""
.. _l-plot-exporter-control-cond-rules:

Fix the branches when torch.cond says "captured completely"
===========================================================

.. answer::
   :cost: One copy of a tensor.

   A branch breaks a rule. Which one stands below the line "captured completely" (up to
   PyTorch 2.8: in the exception above it). Most often a branch returns its input or a
   view of it: return a copy. The table below has the other rules.

   .. code-block:: diff

           def quiet(self, x, peak):
      -        return x
      +        return x.clone()

   Not your case?

   * The operator is ``scan``: :ref:`l-plot-exporter-control-scan`; ``while_loop``:
     :ref:`l-plot-exporter-control-while`.
   * The *program* fails for a batch of one, ``u0 >= 2``: *Limitations*, at the end.
   * "Could not guard on data-dependent ...": :ref:`l-plot-exporter-control-cond`.

.. meta::
   :keywords: torch.cond, UncapturedHigherOrderOpError, captured completely with
      torch.compile, higher order ops do not support aliasing, input mutation, unsafe
      side effect, expected same dtype, expect operands to be a tuple, u0 >= 2, clone,
      FunctionalTensor
"""

# %%
# The problem
# +++++++++++
#
# A signal that is too loud is scaled down; any other is returned as it is.

# sphinx_gallery_tags = ["control flow", "export fails", "run fails"]
# sphinx_gallery_wording = "torch.cond: Expected branch to return a single tensor"
# sphinx_gallery_wording = "torch.cond works in eager mode and fails with export"
# sphinx_gallery_wording = "exported torch.cond model fails with batch size 1"
# sphinx_gallery_wording = "pair[0] differ in 'shape: torch.Size([2, s1]) vs [2, s2]'"
# sphinx_gallery_wording = "Expect operands to be a tuple of possibly nested dict/list/tuple that only consists of tensor leaves, but got"
# sphinx_gallery_wording = "Failed to convert args/kwargs to proxy call_function args: TensorVariable() UserDefinedObjectVariable(SymFloat)"

import re

import torch
from torch._dynamo.exc import TorchRuntimeError, UncapturedHigherOrderOpError, UserError


class Limit(torch.nn.Module):
    def forward(self, x):
        peak = x.abs().amax()
        return torch.cond(peak > 1, self.loud, self.quiet, (x, peak))

    def loud(self, x, peak):
        return x / peak

    def quiet(self, x, peak):
        return x


torch.manual_seed(0)
x = torch.randn(5, 8)
shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
try:
    torch.export.export(Limit(), (x,), dynamic_shapes=shapes, strict=False)
except UncapturedHigherOrderOpError as error:
    message = f"{error.__cause__ or ''}\n{error}".strip()
    print(re.sub(" at 0x[0-9a-f]+", "", message))

# %%
# The fix
# +++++++


class LimitCopy(Limit):
    def quiet(self, x, peak):
        return x.clone()


program = torch.export.export(LimitCopy(), (x,), dynamic_shapes=shapes, strict=False)

# %%
# All rules, by what the message says:
#
# .. list-table::
#    :header-rows: 1
#
#    * - Message
#      - In the branch
#      - Write instead
#    * - ``Input-to-output aliasing``
#      - ``x``, ``x.view(...)``, ``x.float()``, ``self.weight``, dropout in eval mode
#      - ``.clone()`` after it
#    * - ``Output-to-output aliasing``
#      - ``return y, y``
#      - ``return y, y.clone()``
#    * - ``Input-to-input aliasing``
#      - ``x.T``
#      - ``x.transpose(0, 1)``
#    * - the same
#      - two weights or operands that are views of one tensor
#      - clone them *before* ``torch.cond``
#    * - ``input mutation``
#      - ``x.add_(1)``, ``self.peak.copy_(y)``
#      - ``x + 1``; return ``y`` and store it after the call
#    * - ``side effect``
#      - ``self.gain = y``, ``self.seen.append(y)``
#      - return ``y``, store it after the call
#    * - ``same dtype``, ``order of strides``
#      - ``x.half()``, a transposed result
#      - ``.to(x.dtype)``, ``.contiguous()``
#    * - ``differing branch outputs``, ``same pytree structure``
#      - one tensor more, other keys
#      - the same structure in both
#    * - ``unsupported branch return type``, ``HOP body output``
#      - ``None``, a float
#      - ``torch.zeros_like(x)``, ``torch.full((), 0.5)``
#    * - ``Constraints violated``
#      - ``x[: n // 2]`` in one branch
#      - a mask: ``torch.arange(n) < n // 2``
#    * - ``Expect operands to be a tuple``
#      - an operand that is a number, ``None`` or a size
#      - read it in the branch, without an operand
#    * - ``SymFloat``
#      - the result of ``item()``
#      - the tensor itself, as ``peak`` above
#
# Why it happens
# ++++++++++++++
#
# ``torch.cond`` captures its branches with ``torch.compile``, `in eager mode
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_higher_order_ops/cond.py#L247>`_
# too: ``model(x)`` raises the same error. Most rules belong to the operator. The `check
# of aliases
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_dynamo/variables/higher_order_ops.py#L1458>`_
# is a safety check, new in PyTorch 2.8, and may be relaxed (`issue 153832
# <https://github.com/pytorch/pytorch/issues/153832>`_ is open).
#
# 2.6, 2.7, and since 2.12 an export under ``no_grad`` skip that check. Then the next
# step fails, which the conversion to ONNX takes too:

with torch.no_grad():
    try:
        unchecked = torch.export.export(
            Limit(), (x,), dynamic_shapes=shapes, strict=False
        )
        unchecked.run_decompositions()
    except RuntimeError as error:
        print(str(error).splitlines()[0])
program.run_decompositions()

# %%
# Other fixes
# +++++++++++
#
# A branch that changes a buffer returns the new value, and ``forward`` stores it. The
# other branch returns a copy of the old one.


class Peak(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("peak", torch.zeros(()))

    def forward(self, x):
        y, peak = torch.cond(
            x.abs().amax() > 1,
            lambda x, peak: (x.clamp(-1, 1), x.amax()),
            lambda x, peak: (x * 2, peak.clone()),
            (x, self.peak),
        )
        self.peak.copy_(peak)
        return y


peak = torch.export.export(Peak(), (x,), dynamic_shapes=shapes, strict=False).module()

# %%
# The other rows, as a broken branch, its fix, and the other branch:


class Choose(torch.nn.Module):
    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x):
        return torch.cond(x.sum() > 0, self.first, self.second, (x,))


def double(x):
    return x * 2


def columns(x):
    return x.transpose(0, 1).contiguous().transpose(0, 1)


scale, shift = torch.randn(2, 8)
copies = [scale.clone(), shift.clone()]
ROWS = [
    (lambda x: x.view(-1, 8), lambda x: x.view(-1, 8).clone(), double),
    (
        lambda x: (x + 1,) * 2,
        lambda x: (x + 1, (x + 1).clone()),
        lambda x: (x - 1, x * 2),
    ),
    (lambda x: x.T @ x, lambda x: x.transpose(0, 1) @ x, lambda x: x[0].outer(x[0])),
    (lambda x: x * scale + shift, lambda x: x * copies[0] + copies[1], double),
    (lambda x: x.add_(1), lambda x: x + 1, double),
    (lambda x: x.half(), lambda x: x.half().to(x.dtype), double),
    (columns, lambda x: columns(x).contiguous(), double),
    (lambda x: torch.tensor(0.5), lambda x: torch.full((), 0.5), lambda x: x.sum()),
]

# %%
# The last row is an open problem and no rule: since 2.8 ``torch.tensor(0.5)`` or
# ``x.new_tensor(0.5)`` in a branch exports, and ``run_decompositions`` fails.
# ``torch.full``, a plain number and a buffer work.

for half in (lambda x: torch.tensor(0.5), lambda x: torch.full((), 0.5)):
    try:
        filled = torch.export.export(Choose(half, torch.sum), (x,), strict=False)
        filled.run_decompositions()
    except (RuntimeError, torch._export.verifier.SpecViolationError) as error:
        print(str(error).splitlines()[0])

# %%
# Check
# +++++
#
# Through both branches, against one formula without branches.

exported = program.module()
for size in (1, 2, 9, 64):
    for loudness in (0.1, 1.0, 10.0):
        signal = loudness * torch.randn(size, 8).clamp(-3, 3)
        expected = signal / signal.abs().amax().clamp(min=1)
        torch.testing.assert_close(exported(signal), expected)
torch.testing.assert_close(peak(3 * torch.ones(2, 8)), torch.ones(2, 8))
torch.testing.assert_close(peak(0.1 * torch.ones(2, 8)), 0.2 * torch.ones(2, 8))
assert peak.peak == 3
try:
    exported(torch.randn(5, 9))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Every row, through both branches, against the broken branch.

for broken, fixed, other in ROWS:
    row = torch.export.export(
        Choose(fixed, other), (x,), dynamic_shapes=shapes, strict=False
    )
    row = row.run_decompositions().module()
    for batch in (
        torch.rand(1, 8),
        torch.rand(7, 8),
        -torch.rand(1, 8),
        -torch.rand(7, 8),
    ):
        branch = broken if batch.sum() > 0 else other
        torch.testing.assert_close(row(batch), branch(batch.clone()), check_dtype=False)

# sphinx_gallery_start_ignore
# The messages, for the search: these fail everywhere, the rows above somewhere.
seen = []
FAIL = [
    (lambda x: x.half(), double),
    (columns, double),
    (lambda x: (x - 1, x * 2), lambda x: (x * 2,)),
    (lambda x: (x - 1, x * 2), lambda x: (x * 3, None)),
    (lambda x: (x * 2, 0.5), lambda x: (x * 3, 1.5)),
    (lambda x: seen.append(0) or x * 3, double),
    (lambda x: x[: x.shape[0] // 2] * 2, double),
]
for first, second in FAIL + [(broken, other) for broken, _, other in ROWS[:-1]]:
    failed = False
    try:
        torch.export.export(
            Choose(first, second), (x,), dynamic_shapes=shapes, strict=False
        )
    except (UncapturedHigherOrderOpError, TorchRuntimeError, UserError):
        failed = True
    assert failed or (first, second) not in FAIL
# sphinx_gallery_end_ignore

# %%
# Limitations
# +++++++++++
#
# Without strict mode, a dimension that two operands share becomes two symbols. If each
# branch returns the size of another operand, the result gets a third one, ``u0``, and
# since 2.8 the program fails for a batch of one.


class Residual(torch.nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, self.first, self.second, (x, torch.tanh(x)))

    def first(self, x, y):
        return y * 2

    def second(self, x, y):
        return x + 1


residual = torch.export.export(Residual(), (x,), dynamic_shapes=shapes, strict=False)
try:
    residual.module()(torch.ones(1, 8))
except RuntimeError as error:
    print(error)

# %%
# Say in one branch that the sizes are equal; it costs nothing.


class Tied(Residual):
    def first(self, x, y):
        torch._check(x.shape[0] == y.shape[0])
        return y * 2


tied = torch.export.export(Tied(), (x,), dynamic_shapes=shapes, strict=False).module()
for size in (1, 2, 64):
    batch = torch.rand(size, 8)
    torch.testing.assert_close(tied(batch), 2 * torch.tanh(batch))
    torch.testing.assert_close(tied(-batch), 1 - batch)

# %%
# Summary
# +++++++
#
# * A branch takes tensors, changes nothing, and returns new tensors: same number, dtype
#   and strides in both branches.
# * Test a batch of one, and ``run_decompositions``.
# * Next: :ref:`l-plot-exporter-control-while`, if it is a loop;
#   :ref:`l-plot-exporter-onnx-control-flow`; :ref:`l-plot-exporter-data-guard` if
#   the size of the result is ``u0``.
