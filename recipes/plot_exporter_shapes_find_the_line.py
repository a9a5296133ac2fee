"""
.. _l-plot-exporter-shapes-find-the-line:

Find the line that made a dimension a constant
==============================================

.. answer::
   :cost: One more export, a few times as slow.

   The message names the dimension and not the line; with ``Dim.AUTO`` (``auto`` below)
   there is none. Print the shape after each operation: the fault is between the last
   line with a symbol, such as ``s31``, and the first without.

   .. code-block:: diff

      +class Shapes(torch.overrides.TorchFunctionMode):
      +    def __torch_function__(self, func, types, args=(), kwargs=None):
      +        result = func(*args, **(kwargs or {}))
      +        stack = [f for f in traceback.extract_stack() if f.name == "forward"]
      +        if stack:
      +            print(getattr(result, "shape", result), stack[-1].line)
      +        return result
      +with Shapes():
      +    torch.export.export(model, (x,), dynamic_shapes=auto, strict=False)

   Not your case?

   * You know the line: :ref:`l-plot-exporter-shapes-specialized`.
   * You want all errors of the model: :ref:`l-plot-exporter-exporter-draft`.

.. meta::
   :keywords: which line specialized, TORCH_LOGS dynamic, guard added, Eq(s0, 4), User
      stack, TORCHDYNAMO_EXTENDED_DEBUG_GUARD_ADDED, range_refined_to_singleton,
      where was the dimension fixed, dimension turned static
"""

# %%
# The problem
# +++++++++++
#
# The length, 5, is in the model twice: as the number of rows of a table, and as a
# Python number. The message gives neither line.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "turns static", "how to"]
# sphinx_gallery_wording = "For more information, run with TORCH_LOGS=\"+dynamic\""
# sphinx_gallery_wording = "which line of my model makes the batch size static"

import logging
import math
import traceback

import torch
from torch.export import Dim


class Positions(torch.nn.Module):
    def __init__(self, rows):
        super().__init__()
        self.register_buffer("table", torch.sin(torch.arange(rows * 6.0)).view(rows, 6))

    def forward(self, x):
        return x + self.table


class Scale(torch.nn.Module):
    def forward(self, x):
        count = float(len(x))
        x = x.relu()
        return x / math.sqrt(count)


torch.manual_seed(0)
linear = torch.nn.Linear(3, 6)
model = torch.nn.Sequential(linear, Positions(5), Scale())
x = torch.rand(5, 3)
named = ({0: Dim("length", max=1024)},)
try:
    torch.export.export(model, (x,), dynamic_shapes=named, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# The fix
# +++++++
#
# Nothing in the model has to change. The line is that of the innermost ``forward``.


class Shapes(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        stack = [f for f in traceback.extract_stack() if f.name == "forward"]
        if stack:
            print(getattr(result, "shape", result), stack[-1].line)
        return result


auto = ({0: Dim.AUTO},)
with Shapes():
    torch.export.export(model, (x,), dynamic_shapes=auto, strict=False)

# %%
# The symbol is there after ``F.linear`` and gone after ``x + self.table``.
#
# Why it happens
# ++++++++++++++
#
# Adding five rows requires ``Eq(s31, 5)``. Then torch `puts the number in place of the
# symbol
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L7675>`_
# everywhere, which hides later faults. Repair this line and run again:


class LongPositions(Positions):
    def forward(self, x):
        return x + self.table[: x.shape[0]]


half = torch.nn.Sequential(linear, LongPositions(1024), Scale())
with Shapes():
    torch.export.export(half, (x,), dynamic_shapes=auto, strict=False)

# %%
# ``len(x)`` is the symbol, and ``float`` made it 5. What to write instead is in
# :ref:`l-plot-exporter-shapes-specialized` and
# :ref:`l-plot-exporter-shapes-python-int`.


class SizeScale(torch.nn.Module):
    def forward(self, x):
        return x.relu() / x.shape[0] ** 0.5


repaired = torch.nn.Sequential(linear, LongPositions(1024), SizeScale())
program = torch.export.export(repaired, (x,), dynamic_shapes=named, strict=False)
assert len(program.range_constraints) == 1

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Way
#      - What you see
#      - Limits
#    * - ``strict=True``
#      - the line, under ``User stack:``
#      - PyTorch 2.8 or later, a named dimension; finds what strict mode loses, which is
#        not ``float(len(x))``
#    * - ``TORCH_LOGS="dynamic"``
#      - ``Eq(s31, 5) [guard added]``
#      - the line is often one of torch's
#    * - and ``TORCHDYNAMO_EXTENDED_DEBUG_GUARD_ADDED="Eq(s31, 5)"``
#      - the whole stack, your line included
#      - needs the equation from the log
#    * - :ref:`draft_export <l-plot-exporter-exporter-draft>`
#      - the line and its variables
#      - PyTorch 2.8 or later, a named dimension; no line under Python 3.13 and later
#    * - :ref:`one module at a time <l-plot-exporter-modules-piece-by-piece>`
#      - all modules at fault
#      - one export for each
#
# Strict mode:

try:
    torch.export.export(model, (x,), dynamic_shapes=named, strict=True)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# The log, here with ``Dim.AUTO``. In a shell, set ``TORCH_LOGS="dynamic"`` instead.

torch._logging.set_logs(dynamic=logging.INFO)
handler = logging.Handler()
handler.emit = lambda record: print(record.getMessage())  # on stdout
logging.getLogger("torch.fx.experimental.symbolic_shapes").handlers[:] = [handler]
torch.export.export(model, (x,), dynamic_shapes=auto, strict=False)
torch._logging.set_logs()

# %%
# ``create_symbol`` says which dimension of which input ``s31`` is, and
# ``set_replacement`` that it became 5.
#
# Check
# +++++
#
# The reference is the original model with a table of the right length.

exported = program.module()
for size in (1, 2, 5, 7, 1024):
    rows = torch.rand(size, 3)
    reference = torch.nn.Sequential(linear, Positions(size), Scale())
    torch.testing.assert_close(exported(rows), reference(rows))
try:
    exported(torch.rand(1025, 3))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Print the shapes and look where the symbol ends. Repair, and run again.
# * The input is dynamic, and a number is wrong? See
#   :ref:`l-plot-exporter-lost_dynamic_dimension`.
