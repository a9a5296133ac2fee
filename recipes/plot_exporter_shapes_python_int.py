"""
.. _l-plot-exporter-shapes-python-int:

Keep len(), int() and math from making a size constant
======================================================

.. answer::
   :cost: Nothing.

   During the export a size is a symbol. ``int``, ``len``, ``float`` and ``math.sqrt``
   return numbers, so they take the size of the example. Use the size itself, ``//``,
   ``**``, ``torch.sym_int`` and ``torch.sym_float``.

   .. code-block:: diff

      -        size = int(signals.shape[2] * 1.5)
      +        size = torch.sym_int(signals.shape[2] * 1.5)
               longer = torch.nn.functional.interpolate(signals, size=size)
      -        return longer.sum(dim=0) / len(signals)
      +        return longer.sum(dim=0) / signals.shape[0]

   Not your case?

   * ``constant (1)`` or ``constant (0)``: :ref:`l-plot-exporter-shapes-zero-one`.
   * The model contains the number: :ref:`l-plot-exporter-shapes-specialized`.
   * Which line is it? :ref:`l-plot-exporter-shapes-find-the-line`.

.. meta::
   :keywords: int(x.shape[0]), len(tensor), float, math.sqrt, math.log, round, SymInt,
      torch.sym_int, torch.sym_float, math.trunc, numpy, range, specialized it to be a
      constant, unhashable type, non-nested SymInt
"""

# %%
# The problem
# +++++++++++
#
# The model stretches signals by one half, and averages over the batch.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "turns static", "run fails"]
# sphinx_gallery_wording = "worked with torch 2.7, fails with torch 2.8"
# sphinx_gallery_wording = "output shape does not change with the input shape"
# sphinx_gallery_wording = "int(x.shape[0]) makes the dimension static"
# sphinx_gallery_wording = "TypeError: loop of ufunc does not support argument 0 of type SymInt which has no callable sqrt method"
# sphinx_gallery_wording = "TypeError: unsupported operand type(s) for divmod(): 'SymInt' and 'int'"

import math

import numpy as np
import torch
from torch.export import Dim


class Stretch(torch.nn.Module):
    def forward(self, signals):
        size = int(signals.shape[2] * 1.5)
        longer = torch.nn.functional.interpolate(signals, size=size)
        return longer.sum(dim=0) / len(signals)


torch.manual_seed(0)
model = Stretch()
signals = torch.randn(2, 3, 6)
shapes = ({0: Dim("batch"), 2: Dim("frames")},)
try:
    torch.export.export(model, (signals,), dynamic_shapes=shapes, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# With ``Dim.AUTO`` the export succeeds. The program rejects other sizes, or, up to
# PyTorch 2.8, is wrong (`issue 138853
# <https://github.com/pytorch/pytorch/issues/138853>`_).

auto = ({2: Dim.AUTO},)
frozen = torch.export.export(model, (signals,), dynamic_shapes=auto, strict=False)
longer = torch.randn(2, 3, 8)
try:
    print(frozen.module()(longer).shape, "and eager", model(longer).shape)
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# The fix
# +++++++


class AnyStretch(torch.nn.Module):
    def forward(self, signals):
        size = torch.sym_int(signals.shape[2] * 1.5)
        longer = torch.nn.functional.interpolate(signals, size=size)
        return longer.sum(dim=0) / signals.shape[0]


program = torch.export.export(
    AnyStretch(), (signals,), dynamic_shapes=shapes, strict=False
)
print(program.range_constraints)

# %%
# Why it happens
# ++++++++++++++
#
# Operators, ``math.ceil`` and ``math.floor`` return symbols. Python insists that
# ``int()``, ``float()`` and ``len()`` return numbers, so torch `takes the size of the
# example
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/sym_node.py#L553>`_
# and adds a guard.


class Types(torch.nn.Module):
    def forward(self, x):
        n = x.shape[0]
        symbols = [n, n // 2, n % 4, n**0.5, math.ceil(n / 2), torch.sym_int(n * 1.5)]
        numbers = [int(n), len(x), float(n), math.sqrt(n), math.log(n)]
        for values in (symbols, numbers):
            print([type(value).__name__ for value in values])
        return x * 2


rows = ({0: Dim.AUTO},)
torch.export.export(Types(), (torch.ones(6, 3),), dynamic_shapes=rows, strict=False)

# %%
# Other fixes
# +++++++++++
#
# Strict mode, the default up to PyTorch 2.7, follows ``int``, ``len``, ``float`` and
# ``math.sqrt``. It fails on other Python code: :ref:`l-plot-exporter-exporter-strict`.
#
# What to write instead; ``n`` is ``x.shape[0]``:
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your line
#      - Write
#    * - ``len(x)``, ``int(n)``
#      - ``n``
#    * - ``int(n * 0.75)``
#      - ``torch.sym_int(n * 0.75)``
#    * - ``float(n)``
#      - ``torch.sym_float(n)``
#    * - ``math.sqrt(n)``; ``np.sqrt(n)`` raises ``loop of ufunc does not support``
#      - ``n**0.5``
#    * - ``math.isqrt(n)``
#      - ``torch.sym_int(n**0.5)``
#    * - ``math.log(n)``
#      - ``x.new_full((), n).log()``
#    * - ``int(np.prod(x.shape))``
#      - ``math.prod(x.shape)``
#    * - ``divmod(n, 4)``, which raises
#      - ``n // 4, n % 4``
#    * - ``for i in range(n)``, ``for row in x``
#      - an operator, or :ref:`l-plot-exporter-control-scan`
#    * - ``torch.linspace(0, 1, n)``
#      - ``torch.arange(n) / (n - 1)``, if ``n >= 2``
#    * - ``x.new_tensor(n)``
#      - ``x.new_full((), n)``
#    * - ``table[n]``, a list; a dictionary raises ``unhashable type``
#      - a tensor; ``table.index_select``, as below
#    * - ``max(n, 8)``, ``min(n, 8)``
#      - the same, from PyTorch 2.8 on
#    * - ``if n in (4, 8)``, ``if n > 8``
#      - :ref:`l-plot-exporter-control-cond`
#
# Check
# +++++
#
# The references are the original model and the left column of the table.


class Before(torch.nn.Module):
    def forward(self, x):
        n = x.shape[0]
        weights = torch.linspace(0, 1, n)[:, None]
        values = [len(x), int(n * 0.75), float(n), math.sqrt(n), math.isqrt(n)]
        values += [math.log(n), int(np.prod(x.shape)), divmod(n, 4)[0], divmod(n, 4)[1]]
        values += [sum(range(n)), weights, x.new_tensor(n), list(range(200))[n]]
        return [x * value for value in values]


class After(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.arange(200))

    def forward(self, x):
        n = x.shape[0]
        weights = (torch.arange(n) / (n - 1))[:, None]
        index = x.new_full((1,), n, dtype=torch.long)
        values = [n, torch.sym_int(n * 0.75), torch.sym_float(n), n**0.5]
        values += [torch.sym_int(n**0.5), x.new_full((), n).log(), math.prod(x.shape)]
        values += [n // 4, n % 4]
        values += [n * (n - 1) // 2, weights, x.new_full((), n)]
        values += [self.table.index_select(0, index)]
        return [x * value for value in values]


strict = torch.export.export(model, (signals,), dynamic_shapes=shapes, strict=True)
rows = ({0: Dim("n", min=2, max=199)},)
after = torch.export.export(
    After(), (torch.ones(6, 3),), dynamic_shapes=rows, strict=False
)
for n in (2, 3, 7, 9, 100):
    new = torch.randn(n, 3)
    torch.testing.assert_close(after.module()(new), Before()(new))
for shape in [(1, 3, 1), (5, 3, 2), (3, 3, 7), (4, 3, 200)]:
    new = torch.randn(shape)
    torch.testing.assert_close(program.module()(new), model(new))
    torch.testing.assert_close(strict.module()(new), model(new))
try:
    program.module()(torch.randn(2, 4, 6))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# Non-strict mode is silently wrong here: a symbol is no ``int``, its text is a name
# such as ``s77``, and ``round`` with negative digits does nothing (`issue 198064
# <https://github.com/pytorch/pytorch/issues/198064>`_). Write ``isinstance(n, (int,
# torch.SymInt))`` and ``(n + 5) // 10 * 10``.


class Wrong(torch.nn.Module):
    def forward(self, x):
        n = x.shape[0]
        kind = 1 if isinstance(n, int) else 2
        return x * kind, x * len(str(n)), x * round(n, -1)


rows = ({0: Dim.DYNAMIC},)
wrong = torch.export.export(
    Wrong(), (torch.ones(6, 1),), dynamic_shapes=rows, strict=False
)
nine = torch.ones(9, 1)
for result, expected in zip(wrong.module()(nine), Wrong()(nine)):
    print(f"exported {result[0].item():g}, eager {expected[0].item():g}")
    assert not torch.equal(result, expected)

# %%
# Summary
# +++++++
#
# * Compute with the size itself; convert with ``torch.sym_int``, ``torch.sym_float``.
# * ``Dim.DYNAMIC`` makes a constant an error:
#   :ref:`l-plot-exporter-shapes-auto-dynamic-static`.
# * A computed size may be compared with 1: :ref:`l-plot-exporter-shapes-unbacked`. A
#   size may be lost in an operator: :ref:`l-plot-exporter-lost_dynamic_dimension`. A
#   size is no key of a dictionary: :ref:`l-plot-exporter-shapes-size-as-key`.
