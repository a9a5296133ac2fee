"""
.. _l-plot-exporter-control-assert:

Keep the checks of a model in the program
=========================================

An ``assert`` on the values of a tensor fails to export with ``Could not guard on
data-dependent expression``. Or the export works and the check is gone: the model
refuses a bad input, and the program returns NaN for it.

This page compares the ways to write a check, on values and on shapes, and shows which
of them the program still makes.

.. meta::
   :description: Use torch._assert_async for values of tensors and the range of a Dim for
      sizes; a Python assert is refused or lost.
   :keywords: assert in forward, raise ValueError, torch._check, torch._assert_async,
      runtime assertion, Runtime assertion failed for expression, input validation
"""

# %%
# The models
# ++++++++++
#
# A logarithm needs positive numbers. Each class says so in another way.

# sphinx_gallery_tags = ["control flow", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "assertion in forward is ignored by the exported program"

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Assert(torch.nn.Module):
    def forward(self, x):
        assert (x > 0).all(), "positive only"
        return x.log()


class Raise(torch.nn.Module):
    def forward(self, x):
        if not (x > 0).all():
            raise ValueError("positive only")
        return x.log()


class CheckItem(torch.nn.Module):
    def forward(self, x):
        torch._check((x > 0).all().item(), lambda: "positive only")
        return x.log()


class Async(torch.nn.Module):
    def forward(self, x):
        torch._assert_async((x > 0).all(), "positive only")
        return x.log()


# %%
# The symptom
# +++++++++++
#
# All four refuse zeros in eager. The table says what the exporter makes of them, and
# what the program says to zeros.

batch = ({0: torch.export.Dim("batch", max=1024)},)
x, zeros = torch.rand(4, 3) + 1, torch.zeros(4, 3)
REFUSED = (
    GuardOnDataDependentSymNode,
    torch._dynamo.exc.Unsupported,
    torch._dynamo.exc.UserError,
)
exported, messages = {}, {}
for strict in (False, True):
    for kind in (Assert, Raise, CheckItem, Async):
        key = f"{kind.__name__:9} strict={strict!s:5}"
        try:
            program = torch.export.export(
                kind(), (x,), dynamic_shapes=batch, strict=strict
            )
        except REFUSED as error:
            messages[key] = str(error).strip().splitlines()[0]
            print(key, "export refused:", messages[key].split(" (unhinted")[0])
        else:
            exported[key] = program.module()
            print(key, "exported")

# %%
# The same error as for any ``if`` on a value, and the reason is the same: an ``assert``
# asks for a bool, and a fake tensor has none. Strict mode reads the bytecode,
# recognises an ``assert``, and writes an operator in its place.

assert "Assert    strict=False" in messages and "Assert    strict=True " in exported

# %%
# What the programs say to zeros is the point. Since 2.10 strict mode exports
# ``torch._check`` with ``item()``, and loses it.

for key, module in exported.items():
    try:
        module(zeros)
    except RuntimeError as error:
        messages[key] = str(error).strip().splitlines()[0].split(" on node")[0]
    print(key, messages.get(key, "no check: the result is -inf"))
assert messages["Async     strict=False"] == "positive only"
assert messages["Async     strict=True "] == "positive only"
assert "CheckItem strict=False" in messages
if "CheckItem strict=True " in exported:
    assert "CheckItem strict=True " not in messages

# %%
# The cause
# +++++++++
#
# A check survives if it is an operator, one without a result: the exporter has to know
# that it must not be removed. These are the ones that are left.


def checks(module):
    nodes = module.graph.nodes
    return sorted({str(node.target) for node in nodes if "assert_" in str(node.target)})


for key, module in exported.items():
    print(key, checks(module))
    assert bool(checks(module)) == (key in messages)

# %%
# The fix for values
# ++++++++++++++++++
#
# ``torch._assert_async`` takes a tensor with one bool and a message. It works in both
# modes and on all releases, and the message is kept. The price: on a GPU the failure is
# reported late, by a later call, and the name is not public. ``torch._assert`` of a
# tensor does the same since 2.15. ``torch._check`` with ``item()`` is for numbers that
# the model goes on with: see :ref:`l-plot-exporter-data-item`.

program = torch.export.export(Async(), (x,), dynamic_shapes=batch, strict=False)
decomposed = program.run_decompositions()
try:
    decomposed.module()(zeros)
except RuntimeError as error:
    message = str(error)
else:
    message = "The decomposed program has no check."
print(message)
assert message == "positive only"

# %%
# Checks on shapes
# ++++++++++++++++
#
# The condition is made of sizes, so the exporter can decide it, for the example. For
# other sizes it becomes a condition on the dimension, and the range has to fit:
# ``batch`` may be smaller than 3 as far as ``Dim`` says.


class ThreeRows(torch.nn.Module):
    def forward(self, x):
        assert x.shape[0] >= 3, "three rows at least"
        return x - x.median(dim=0).values


try:
    torch.export.export(ThreeRows(), (x,), dynamic_shapes=batch, strict=False)
except torch._dynamo.exc.UserError as error:
    message = str(error)
else:
    message = "This release exports it."
print(message.split("\n\n")[0])
assert "Suggested fixes" in message, message

# %%
# The suggested fix is right here. The range is now the check, and its message is that
# of the program, not that of the model.

rows = ({0: torch.export.Dim("rows", min=3, max=1024)},)
program = torch.export.export(ThreeRows(), (x,), dynamic_shapes=rows, strict=False)
try:
    program.module()(torch.rand(2, 3))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with two rows."
print(message)
assert "3" in message and "three rows" not in message, message

# %%
# Checks on Python values
# +++++++++++++++++++++++
#
# A check of a flag or a dtype is made once, during the trace. For a dtype nothing takes
# its place: see :ref:`l-plot-exporter-effects-devices`.


class OnlyFloat(torch.nn.Module):
    def forward(self, x):
        assert x.dtype == torch.float32, "float32 only"
        return 2 * x


program = torch.export.export(OnlyFloat(), (x,), dynamic_shapes=batch, strict=False)
result = program.module()(x.double())
print("the program returns", result.dtype)
assert result.dtype == torch.float64

# %%
# The check
# +++++++++
#
# Programs with their checks agree with the models where the models accept.

for model, shapes, sizes in [
    (Async(), batch, (1, 2, 50)),
    (ThreeRows(), rows, (3, 9, 50)),
]:
    program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
    module = program.module()
    for size in sizes:
        inputs = torch.rand(size, 3) + 1
        torch.testing.assert_close(module(inputs), model(inputs))
    print(f"{type(model).__name__}: same results for {sizes} rows")

# %%
# To remember
# +++++++++++
#
# * Values: ``torch._assert_async``. Sizes: the range of a ``Dim``. Flags and dtypes:
#   check outside of the program.
# * A check that is not a node of the graph is not made.
# * Test the refusal, too: call the program with what it must not accept.
#
# Next: :ref:`l-plot-exporter-data-guard` if the message is about another expression,
# :ref:`l-plot-exporter-shapes-ranges` for bounds, and
# :ref:`l-plot-exporter-control-cond` if the condition chooses a computation.
