"""
.. _l-plot-exporter-effects-print-hooks:

Keep prints, logs and hooks out of the exported program
=======================================================

.. answer::
   :cost: A second output.

   ``print``, logging, warnings and hooks run once, during the export, on tensors
   without values. A number format fails; otherwise ``FakeTensor`` is printed, and the
   exported program prints nothing. Print in eager mode only, and return what you need.

   .. code-block:: diff

      -        print(f"mean {y.mean():.2f}")
      -        return y
      +        mean = y.mean()
      +        if not torch.compiler.is_compiling():
      +            print(f"mean {mean:.2f}")
      +        return y, mean

   Not your case?

   * Python needs the value, for an ``if`` or a size: :ref:`l-plot-exporter-data-item`.
   * A check has to run with the program: :ref:`l-plot-exporter-control-assert`.
   * The model is broken after the export: :ref:`l-plot-exporter-wrong-leaked`.
   * A library replaced ``forward``: :ref:`l-plot-exporter-effects-replaced-forward`.

.. meta::
   :keywords: print in forward, logger.debug, warnings.warn, Logger not supported,
      forward hook, backward hook, activations, debug exported program, is_compiling,
      breakpoint, debugger, debugpy, pdb, tensor.H is only supported on matrices
"""

# %%
# The problem
# +++++++++++
#
# The model prints the mean of a layer, with two digits.

# sphinx_gallery_tags = ["side effects", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "Logger not supported for non-export cases."
# sphinx_gallery_wording = "print does nothing in the exported program"
# sphinx_gallery_wording = "forward hook is not called by the exported program"

import contextlib
import logging

import torch


class Prints(torch.nn.Module):
    def forward(self, x):
        y = torch.relu(x)
        print(f"mean {y.mean():.2f}")
        return y


x = torch.arange(6.0).reshape(2, 3)
shapes = ({0: torch.export.Dim("batch", max=64)},)
try:
    torch.export.export(Prints(), (x,), dynamic_shapes=shapes, strict=False)
except TypeError as error:
    print(error)

# %%
# Without the format it exports, prints once, and never again:


class PrintsTensor(torch.nn.Module):
    def forward(self, x):
        y = torch.relu(x)
        print("mean", y.mean())
        return y


silent = torch.export.export(PrintsTensor(), (x,), dynamic_shapes=shapes, strict=False)
print("now the program is called")
torch.testing.assert_close(silent.module()(x), x.clamp(min=0))

# %%
# The fix
# +++++++
#
# ``is_compiling`` is true during the export, in both modes.


class Returns(torch.nn.Module):
    def forward(self, x):
        y = torch.relu(x)
        mean = y.mean()
        if not torch.compiler.is_compiling():
            print(f"mean {mean:.2f}")
        return y, mean


program = torch.export.export(Returns(), (x,), dynamic_shapes=shapes, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# A program has operators on tensors and nothing else. During the export the tensors are
# fake, and `only a tensor with a value can be formatted
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_tensor.py#L1139>`_.

print([node.name for node in silent.graph.nodes])

# %%
# The mean is computed for nothing. Hooks are Python, too: what they do to tensors
# becomes part of the program, also if they are removed later. What they store is fake:

layer = torch.nn.Linear(3, 3)
stored = []
doubling = layer.register_forward_hook(lambda module, args, output: 2 * output)
storing = layer.register_forward_hook(lambda module, args, y: stored.append(y))
hooked = torch.export.export(torch.nn.Sequential(layer), (x,), strict=False).module()
doubling.remove()
storing.remove()
print(type(stored[0]).__name__)
assert type(stored[0]) is not torch.Tensor
torch.testing.assert_close(hooked(x), 2 * layer(x))

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - You want
#      - Write
#      - Cost
#    * - all intermediate results
#      - :class:`torch.fx.Interpreter`, below; the model does not change
#      - slow, for debugging
#    * - a program that prints
#      - ``torch._higher_order_ops.print("mean {m}", m=mean)``
#      - PyTorch 2.10 or later, private; other runtimes do not know it
#    * - a log with ``strict=True``
#      - a global logger; ``logging.getLogger`` in ``forward`` fails
#      - silent in the export, too
#    * - a backward hook with ``strict=True``
#      - remove it, or ``strict=False``
#      - the program has no such hook


class Printer(torch.fx.Interpreter):
    def run_node(self, node):
        result = super().run_node(node)
        if node.op == "call_function" and isinstance(result, torch.Tensor):
            print(f"{node.name}: {tuple(result.shape)}, mean {result.mean():.2f}")
        return result


y, mean = Printer(program.module()).run(torch.ones(5, 3))

# %%
# What fails in strict mode only:


class GetsLogger(torch.nn.Module):
    def forward(self, x):
        logging.getLogger("model").debug("forward")
        return torch.relu(x)


layer.register_full_backward_hook(lambda *args: None)
for model in (GetsLogger(), layer):
    torch.export.export(model, (x,), strict=False)
    try:
        torch.export.export(model, (x,), strict=True)
    except torch._dynamo.exc.Unsupported as error:
        print(str(error).splitlines()[0])

# %%
# A debugger reads properties such as ``tensor.H`` to show a variable, and ignores what
# they raise. Each becomes part of the program, which fails in its call (`issue 188153
# <https://github.com/pytorch/pytorch/issues/188153>`_). Set no breakpoint in ``forward``,
# or export with ``strict=True``.


class Watched(torch.nn.Module):
    def forward(self, x):
        y = torch.relu(x)
        with contextlib.suppress(RuntimeError):
            _ = y.H  # as a debugger at this line
        return y


row = torch.randn(5)
watched = torch.export.export(Watched(), (row,), strict=False).module()
try:
    watched(row)
except RuntimeError as error:
    print(str(error).splitlines()[0])

# %%
# Check
# +++++
#
# The reference is a direct computation, at sizes that were not traced.

torch.manual_seed(0)
exported = program.module()
for size in (1, 3, 64):
    rows = torch.randn(size, 3)
    y, mean = exported(rows)
    torch.testing.assert_close(y, rows.clamp(min=0))
    torch.testing.assert_close(mean, rows.clamp(min=0).sum() / rows.numel())
try:
    exported(torch.rand(65, 3))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Print, log and warn if not ``torch.compiler.is_compiling()``.
# * Return what has to be seen at run time. Remove hooks before the export.
#
# Next: :ref:`l-plot-exporter-wrong-leaked` for fake tensors that hooks and caches keep,
# :ref:`l-plot-exporter-after-compare` to compare two programs node by node.
