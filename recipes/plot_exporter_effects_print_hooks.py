"""
.. _l-plot-exporter-effects-print-hooks:

Prints, logs and hooks happen at the export
===========================================

A ``print`` in the model shows a ``FakeTensor`` during the export and nothing
afterwards. A number in a message fails with ``unsupported format string passed to
FakeTensor.__format__``. A hook that collects activations collects fake ones.

This page shows what happens to output, warnings and hooks in both modes, and three ways
to look into a program while it runs.

.. meta::
   :description: Return what you want to see, use torch.fx.Interpreter or the operator
      print; remove hooks and logs before the export.
   :keywords: print in forward, logger.debug, warnings.warn, Logger not supported, forward
      hook, backward hook, activations, debug exported program
"""

# %%
# The models
# ++++++++++
#
# Three models that say something, each in its way, about the mean of a layer.

# sphinx_gallery_tags = ["side effects", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "Logger not supported for non-export cases."
# sphinx_gallery_wording = "print does nothing in the exported program"
# sphinx_gallery_wording = "forward hook is not called by the exported program"

import contextlib
import io
import logging
import warnings

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
logger = logging.getLogger("cookbook")
logger.addHandler(logging.NullHandler())


class Prints(torch.nn.Module):
    def forward(self, x):
        y = x * 2
        print("mean", y.mean())
        return y


class Logs(torch.nn.Module):
    def forward(self, x):
        y = x * 2
        logger.warning("mean %s", y.mean())
        return y


class Warns(torch.nn.Module):
    def forward(self, x):
        y = x * 2
        warnings.warn(f"shape {tuple(y.shape)}", stacklevel=1)
        return y


# %%
# The symptom
# +++++++++++
#
# Each is exported in both modes, and the program is called twice. The table says what
# was heard: during the export, and during the calls.

records = []
listener = logging.Handler()
listener.emit = lambda record: records.append(record.getMessage())


@contextlib.contextmanager
def listening():
    heard = []
    records.clear()
    logger.addHandler(listener)
    with warnings.catch_warnings(record=True) as caught, io.StringIO() as text:
        warnings.simplefilter("always")
        with contextlib.redirect_stdout(text):
            yield heard
        heard += text.getvalue().splitlines() + list(records)
        heard += [str(w.message) for w in caught if w.category is UserWarning]
    logger.removeHandler(listener)


x = torch.arange(6.0).reshape(2, 3)
batch = ({0: torch.export.Dim("batch")},)
heard = {}
for strict in (False, True):
    for model in (Prints(), Logs(), Warns()):
        key = f"{type(model).__name__:6} strict={strict!s:5}"
        with listening() as heard[key]:
            program = torch.export.export(
                model, (x,), dynamic_shapes=batch, strict=strict
            )
        exported = program.module()
        with listening() as at_run:
            torch.testing.assert_close(exported(x), 2 * x)
        print(key, "at export:", heard[key], "in a call:", at_run)
        assert at_run == []
        assert len(heard[key]) == (0 if strict else 1)

# %%
# In non-strict mode everything is said once, about fake tensors. In strict mode it is
# not said at all. A program never says anything.
#
# A message that needs a value stops the non-strict export. ``print`` of a whole tensor
# does not need one, a number with two digits does.


class Formats(torch.nn.Module):
    def forward(self, x):
        print(f"mean {x.mean():.2f}")
        return x * 2


try:
    torch.export.export(Formats(), (x,), strict=False)
except TypeError as error:
    message = str(error)
else:
    message = "This release formats a fake tensor."
print(message)
assert "unsupported format string" in message, message

# %%
# Strict mode refuses a logger that is looked up in the model, and leaves out one that
# is a global, as in ``Logs``.


class LooksUp(torch.nn.Module):
    def forward(self, x):
        logging.getLogger("cookbook").warning("hello")
        return x * 2


try:
    torch.export.export(LooksUp(), (x,), strict=True)
except torch._dynamo.exc.Unsupported as error:
    refusal = str(error).splitlines()[0].split(" in file ")[0]
else:
    refusal = "This release looks the logger up."
print(refusal.strip("'"))
assert not refusal.startswith("This release"), refusal

# %%
# The cause
# +++++++++
#
# The graph has operators on tensors and nothing else. Saying something is not one.

print([node.name for node in program.graph.nodes])
assert [node.name for node in program.graph.nodes] == ["x", "mul", "output"]

# %%
# Hooks
# +++++
#
# A hook is Python, too, and it is called during the trace. What it does to tensors is
# in the graph. What it stores is fake. Removing it from the model afterwards changes
# nothing in the program, and a hook that is added to the program's module is one for
# the whole, since the layers are gone.

layer = torch.nn.Linear(3, 3)
stored = []
doubling = layer.register_forward_hook(lambda module, args, output: 2 * output)
storing = layer.register_forward_hook(lambda module, args, y: stored.append(y))
program = torch.export.export(torch.nn.Sequential(layer), (x,), strict=False)
print([node.name for node in program.graph.nodes if node.op == "call_function"])
print("stored:", [type(tensor).__name__ for tensor in stored])
assert [type(tensor).__name__ for tensor in stored] == ["FakeTensor"]
expected = layer(x)
doubling.remove()
storing.remove()
torch.testing.assert_close(program.module()(x), expected)
torch.testing.assert_close(program.module()(x), 2 * layer(x))

# %%
# Hooks for the backward pass are ignored in non-strict mode and refused in strict mode.

hook = layer.register_full_backward_hook(lambda *args: None)
torch.export.export(torch.nn.Sequential(layer), (x,), strict=False)
try:
    torch.export.export(torch.nn.Sequential(layer), (x,), strict=True)
except torch._dynamo.exc.Unsupported as error:
    refusal = str(error).splitlines()[0]
else:
    refusal = "This release exports a module with a backward hook in strict mode."
hook.remove()
print(refusal)
assert "level backwards hooks" in refusal, refusal

# %%
# Look inside, 1: return it
# +++++++++++++++++++++++++
#
# What you need in production is a result. The price is another signature. It works in
# both modes and on all releases.


class Returns(torch.nn.Module):
    def forward(self, x):
        y = x * 2
        return y, y.mean()


# %%
# Look inside, 2: run the nodes one by one
# ++++++++++++++++++++++++++++++++++++++++
#
# To debug, nothing has to be exported again. :class:`torch.fx.Interpreter` runs a graph
# node by node, with real tensors. It is slower than the program and works on all
# releases.


class Printer(torch.fx.Interpreter):
    def run_node(self, node):
        result = super().run_node(node)
        if node.op == "call_function" and isinstance(result, torch.Tensor):
            print(f"{node.name:8} {tuple(result.shape)} mean {result.mean():.2f}")
        return result


program = torch.export.export(Returns(), (x,), dynamic_shapes=batch, strict=False)
result = Printer(program.module()).run(torch.ones(5, 3))
torch.testing.assert_close(result[0], 2 * torch.ones(5, 3))

# %%
# Look inside, 3: an operator that prints
# +++++++++++++++++++++++++++++++++++++++
#
# Since 2.10 there is one. It is part of the graph and prints when the program runs. It
# is not public yet: its name may change, and other runtimes do not know it.

if RELEASE >= (2, 10):

    class PrintsAtRun(torch.nn.Module):
        def forward(self, x):
            y = x * 2
            torch._higher_order_ops.print("mean {mean}", mean=y.mean())
            return y

    program = torch.export.export(PrintsAtRun(), (x,), strict=False)
    with listening() as at_run:
        program.module()(x), program.module()(x + 1)
    print(at_run)
    assert at_run == ["mean 5.0", "mean 7.0"]
else:
    print("This release has no such operator.")

# %%
# The check
# +++++++++
#
# The model that returns what it found, on batches that were not traced.

program = torch.export.export(Returns(), (x,), dynamic_shapes=batch, strict=False)
exported = program.module()
for size in (1, 3, 64):
    inputs = torch.rand(size, 3)
    torch.testing.assert_close(exported(inputs), Returns()(inputs))
    print(f"batch {size}: same results")
try:
    exported(torch.rand(2, 4))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with four columns."
print(message)
assert "size()[1] == 3" in message or "to be equal to 3" in message, message

# %%
# To remember
# +++++++++++
#
# * Output, logs, warnings and hooks belong to the trace. The program says nothing.
# * Remove hooks that store something before the export, and look up loggers outside of
#   the model.
# * Return what you need, and use an interpreter to look at the rest.
#
# Next: :ref:`l-plot-exporter-wrong-leaked` for what a hook leaves behind,
# :ref:`l-plot-exporter-data-item` for ``.item()``, which messages often contain, and
# :ref:`l-plot-exporter-control-assert` for checks that must survive.
