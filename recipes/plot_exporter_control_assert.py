"""
.. _l-plot-exporter-control-assert:

Keep an assert on tensor values in the exported program
=======================================================

.. answer::
   :cost: The name is not public, and on a GPU a later call reports the failure.

   An ``assert``, or ``if ...: raise``, needs True or False during the export, when
   tensors have no values. An operator that asserts runs with the exported program. If
   nobody needs the check, delete it.

   .. code-block:: diff

      -        assert (x > 0).all(), "positive only"
      +        torch._assert_async((x > 0).all(), "positive only")

   Not your case?

   * The condition chooses a computation: :ref:`l-plot-exporter-control-cond`.
   * It is about ``n = count.item()``: :ref:`l-plot-exporter-data-item`.
   * It is about ``x.shape``: :ref:`l-plot-exporter-shapes-ranges`.

.. meta::
   :keywords: assert in forward, raise ValueError, torch._check, torch._assert_async,
      runtime assertion, Runtime assertion failed for expression, input validation,
      torch.distributions validate_args
"""

# %%
# The problem
# +++++++++++
#
# A logarithm needs positive numbers.

# sphinx_gallery_tags = ["control flow", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "assertion in forward is ignored by the exported program"
# sphinx_gallery_wording = "assert x.size(-1) in [6, 2] makes the dimension static"

import torch
from torch._dynamo.exc import Unsupported, UserError
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode


class Log(torch.nn.Module):
    def forward(self, x):
        assert (x > 0).all(), "positive only"
        return x.log()


x, zeros = torch.rand(4, 3) + 1, torch.zeros(4, 3)
shapes = ({0: torch.export.Dim("batch", max=1024)},)
try:
    torch.export.export(Log(), (x,), dynamic_shapes=shapes, strict=False)
except GuardOnDataDependentSymNode as error:
    print(error)

# %%
# The fix
# +++++++


class LogAsync(torch.nn.Module):
    def forward(self, x):
        torch._assert_async((x > 0).all(), "positive only")
        return x.log()


program = torch.export.export(LogAsync(), (x,), dynamic_shapes=shapes, strict=False)

# %%
# By kind of check:
#
# .. list-table::
#    :header-rows: 1
#
#    * - In the model
#      - Write instead
#      - The exported program
#    * - ``if not (x > 0).all(): raise ...``
#      - ``torch._assert_async``
#      - raises ``RuntimeError`` with your message
#    * - ``torch._assert((x > 0).all(), "...")``
#      - ``torch._assert_async``, or PyTorch 2.15
#      - the same
#    * - ``torch._check((x > 0).all().item())``
#      - ``torch._assert_async``
#      - the same; ``torch._check`` can be lost (below)
#    * - ``assert x.shape[0] >= 3``
#      - ``Dim("batch", min=3)``
#      - raises with a message of torch
#    * - ``assert x.shape[1] in (2, 6)``: static, or ``constant (2)``
#      - ``torch._assert_async``, below
#      - raises ``RuntimeError`` with your message
#    * - ``assert x.dtype == torch.float32``, a flag
#      - a check in the caller
#      - checks nothing
#    * - ``torch.distributions.Normal(mean, scale)``
#      - ``validate_args=False``
#      - checks nothing
#
# Why it happens
# ++++++++++++++
#
# Python's ``assert`` asks for a value, and torch `cannot decide it
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L8459>`_.
# Strict mode reads the bytecode and writes the same operator in its place. A check that
# is no node of the graph is not made: since 2.10 ``torch._check`` with ``.all().item()``
# is silently lost in strict mode; with a number, ``n >= 2``, it is kept. The export does
# not try it: call the program with the example.


class LogCheck(torch.nn.Module):
    def forward(self, x):
        torch._check((x > 0).all().item(), lambda: "positive only")
        return x.log()


strict = torch.export.export(Log(), (x,), dynamic_shapes=shapes, strict=True)
print([str(node.target) for node in strict.graph.nodes if "assert" in node.name])
assert "aten._assert_async.msg" in [str(node.target) for node in strict.graph.nodes]
try:
    lost = torch.export.export(LogCheck(), (x,), dynamic_shapes=shapes, strict=True)
    print([str(node.target) for node in lost.graph.nodes if "assert" in node.name])
    print(lost.module()(zeros)[0])
except (Unsupported, UserError) as error:
    print(str(error).splitlines()[0])

# %%
# Other fixes
# +++++++++++
#
# A check of a size becomes a condition on the dimension. The message suggests a range.


class Centered(torch.nn.Module):
    def forward(self, x):
        assert x.shape[0] >= 3, "three rows at least"
        return x - x.median(dim=0).values


try:
    torch.export.export(Centered(), (x,), dynamic_shapes=shapes, strict=False)
except UserError as error:
    print(error)
rows = ({0: torch.export.Dim("batch", min=3, max=1024)},)
sized = torch.export.export(Centered(), (x,), dynamic_shapes=rows, strict=False)

# %%
# ``in`` compares with one number after the other, and the size of the example remains;
# ``not in`` is silently lost up to PyTorch 2.8. A tensor of the numbers keeps the size
# dynamic.


class Columns(torch.nn.Module):
    def forward(self, x):
        assert x.shape[1] in (2, 6), "two or six columns"
        return x.cumsum(dim=1)


class ColumnsAsync(torch.nn.Module):
    def forward(self, x):
        known = torch.tensor([2, 6]) == x.shape[1]
        torch._assert_async(known.any(), "two or six columns")
        return x.cumsum(dim=1)


auto = ({1: torch.export.Dim.AUTO},)
static = torch.export.export(
    Columns(), (torch.rand(4, 2),), dynamic_shapes=auto, strict=False
)
assert static.range_constraints == {}
columns = torch.export.export(
    ColumnsAsync(), (torch.rand(4, 2),), dynamic_shapes=auto, strict=False
)
columns = columns.run_decompositions().module()

# %%
# Check
# +++++
#
# Against the models, at sizes that were not traced. One bad value is rejected, and so
# are two rows, or three columns.

log, decomposed = program.module(), program.run_decompositions().module()
centered = sized.module()
for size in (1, 2, 50):
    inputs = torch.rand(size, 3) + 0.1
    torch.testing.assert_close(log(inputs), Log()(inputs))
    torch.testing.assert_close(decomposed(inputs), Log()(inputs))
for size in (3, 9, 50):
    inputs = torch.randn(size, 3)
    torch.testing.assert_close(centered(inputs), Centered()(inputs))
for size in (2, 6):
    inputs = torch.randn(4, size)
    torch.testing.assert_close(columns(inputs), Columns()(inputs))

one_zero = x.clone()
one_zero[2, 1] = 0
rejected = []
bad_inputs = {log: one_zero, decomposed: one_zero, centered: x[:2], columns: x}
for call, bad in bad_inputs.items():
    try:
        call(bad)
    except (AssertionError, RuntimeError) as error:
        rejected.append(str(error))
        print(error)
assert len(rejected) == 4

# %%
# Limitations
# +++++++++++
#
# A check of a dtype or a flag is made once, during the export, and never again: see
# :ref:`l-plot-exporter-effects-devices`.


class OnlyFloat(torch.nn.Module):
    def forward(self, x):
        assert x.dtype == torch.float32, "float32 only"
        return 2 * x


typed = torch.export.export(OnlyFloat(), (x,), dynamic_shapes=shapes, strict=False)
print(typed.module()(x.double()).dtype)

# %%
# Summary
# +++++++
#
# * Values: ``torch._assert_async``. Sizes: the range of a ``Dim``. Flags and dtypes:
#   the caller.
# * Call the program once with what it must not accept.
# * Next: :ref:`l-plot-exporter-data-guard` if the message remains,
#   :ref:`l-plot-exporter-shapes-ranges` for bounds.
