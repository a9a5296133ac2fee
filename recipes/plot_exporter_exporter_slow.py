"""
.. _l-plot-exporter-exporter-slow:

When the export takes minutes, count the nodes
==============================================

.. answer::
   :cost: The loop is written as one operation on tensors.

   The time grows with the number of operators that ``forward`` calls, not with the
   size of weights and inputs. A Python loop calls them again at each step. Replace the
   loop, and use ``strict=False``, two to four times as fast as strict mode.

   .. code-block:: diff

      -        for step in range(x.shape[1]):
      -            level = 0.9 * level + x[:, step]
      -        return level
      +        age = torch.arange(x.shape[1] - 1, -1, -1)
      +        return x @ 0.9**age

   Not your case?

   * It runs out of memory: :ref:`l-plot-exporter-exporter-memory`.
   * Each step needs the result of the one before: :ref:`l-plot-exporter-control-scan`.
   * The program is slow when it is called: :ref:`l-plot-exporter-after-aotinductor`.

.. meta::
   :keywords: torch.export slow, export hangs, export takes hours, export never finishes,
      unrolled loop, large graph, many nodes, strict mode slow, run_decompositions slow,
      compile time, py-spy
"""

# %%
# The problem
# +++++++++++
#
# A moving sum over the columns. With 800 of them, the export takes minutes. Twice as many
# columns are twice as many nodes.

# sphinx_gallery_tags = ["start here", "how to", "turns static"]
# sphinx_gallery_wording = "torch.export.export is very slow"
# sphinx_gallery_wording = "torch.export hangs and never finishes"
# sphinx_gallery_wording = "torch.onnx.export takes hours"
# sphinx_gallery_wording = "torch.export takes a long time for a model with many repeated layers"

import time
from collections import Counter

import torch


class Loop(torch.nn.Module):
    def forward(self, x):
        level = torch.zeros_like(x[:, 0])
        for step in range(x.shape[1]):
            level = 0.9 * level + x[:, step]
        return level


torch.manual_seed(0)
for columns in (10, 20, 40):
    x = torch.rand(4, columns)
    unrolled = torch.export.export(Loop(), (x,), strict=False)
    print(f"{columns} columns: {len(unrolled.graph.nodes)} nodes")

# sphinx_gallery_start_ignore
assert len(unrolled.graph.nodes) > 120
# sphinx_gallery_end_ignore

# %%
# Export a short example, and count the nodes of each line. ``py-spy dump --pid <number>``
# tells in which line of the model a running export is.


def lines(program):
    for node in program.graph.nodes:
        trace = (node.stack_trace or "").splitlines()
        code = [line.strip() for line in trace if set(line) - set(" ~^")]
        yield code[-1] if code else "no line"


for line, count in Counter(lines(unrolled)).most_common(1):
    print(f"{count} nodes: {line}")

# %%
# The fix
# +++++++
#
# Column ``i`` counts ``0.9**age``. The number of columns may be dynamic now.


class Sum(torch.nn.Module):
    def forward(self, x):
        age = torch.arange(x.shape[1] - 1, -1, -1)
        return x @ 0.9**age


batch, columns = torch.export.Dim("batch"), torch.export.Dim("columns", min=2)
# sphinx_gallery_picture = "Seven nodes for any number of columns."
program = torch.export.export(
    Sum(), (x,), dynamic_shapes=({0: batch, 1: columns},), strict=False
)
print(len(program.graph.nodes), "nodes")

# %%
# Why it happens
# ++++++++++++++
#
# Each operator runs once, on `stand-ins for tensors
# <https://docs.pytorch.org/docs/2.13/torch.compiler_fake_tensor.html>`_ that have no
# values. That is Python for each node, and costs the same for four million rows.


def seconds(model, x):
    start = time.perf_counter()
    torch.export.export(model, (x,), strict=False)
    return time.perf_counter() - start


with torch.device("meta"):
    huge = torch.empty(4_000_000, 10)
few, many = seconds(Loop(), torch.rand(4, 10)), seconds(Loop(), torch.rand(4, 100))
assert many > 3 * few
assert many > 3 * seconds(Loop(), huge)

# %%
# Seconds of one run on two busy cores: 64 equal blocks, 706 nodes.
#
# .. list-table::
#    :header-rows: 1
#
#    * -
#      - PyTorch 2.6
#      - 2.13
#      - 2.15
#    * - ``strict=False``
#      - 2
#      - 3
#      - 6
#    * - ``strict=True``
#      - 7
#      - 13
#      - 16
#    * - ``run_decompositions()``, which traces again
#      - 5
#      - 12
#      - 10
#    * - ``torch.export.save``
#      - 1
#      - 2
#      - 2
#
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - What takes the time
#      - Do this instead
#      - Cost
#    * - ``strict=True``
#      - ``strict=False``
#      - other errors: :ref:`l-plot-exporter-exporter-strict`
#    * - a loop whose step needs the one before
#      - ``scan``: :ref:`l-plot-exporter-control-scan`, or
#        :ref:`l-plot-exporter-control-while`
#      - rules for the body
#    * - a loop over rows or experts
#      - :ref:`l-plot-exporter-control-map`, :ref:`l-plot-exporter-data-experts`
#      - none
#    * - 80 equal layers
#      - export one of them, and call it with each layer's weights
#      - the loop is in the application
#    * - ``run_decompositions``, more than once
#      - one call, with all that you want to decompose
#      - none
#    * - ``torch.onnx.export(model, ...)``, which tries again after a failure
#      - ``torch.export.export`` first, then ``torch.onnx.export(program)``
#      - none
#
# One of several equal layers, called with the weights of each:

layers = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(12))
x = torch.rand(4, 3)
one = torch.export.export(
    layers[0], (x,), dynamic_shapes=({0: batch},), strict=False
).module()


def stack(x):
    for layer in layers:
        x = torch.func.functional_call(one, dict(layer.named_parameters()), (x,))
    return x


# %%
# Check
# +++++
#
# The references are the loops, at other numbers of rows and columns.

run = program.module()
for size in ((1, 2), (5, 7), (3, 300)):
    x = torch.randn(size)
    torch.testing.assert_close(run(x), Loop()(x))
for size in (1, 2, 9):
    x = expected = torch.randn(size, 3)
    for layer in layers:
        expected = layer(expected)
    torch.testing.assert_close(stack(x), expected)

# %%
# The unrolled program accepts 40 columns only. The other must reject a vector.

for exported, wrong in ((unrolled.module(), torch.rand(4, 41)), (run, torch.rand(4))):
    try:
        exported(wrong)
    except (AssertionError, IndexError, RuntimeError, ValueError) as error:
        print(str(error).splitlines()[0])

# %%
# Summary
# +++++++
#
# * Count the nodes by line, look for loops, and use ``strict=False``.
# * Weights cost memory and no time: :ref:`l-plot-exporter-exporter-memory`.
#
# Many equal modules are the subject of `issue 160199
# <https://github.com/pytorch/pytorch/issues/160199>`_, slow decompositions of `pull
# request 177927 <https://github.com/pytorch/pytorch/pull/177927>`_.
