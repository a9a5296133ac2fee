"""
.. _l-plot-exporter-modules-unflatten:

Get the modules of a program back
=================================

The program is one flat graph, and you want to replace a submodule, quantise one, or
send its parts to two devices. ``torch.export.unflatten`` makes modules again, but the
swapped one fails with ``forward() takes 2 positional arguments but 3 were given``. Or
``unflatten`` itself says ``Child module 'getattr(L['fn'], '0')' is not a descendant of
parent module``.

This page unflattens a program, shows what the new modules are, and swaps one of them.

.. meta::
   :description: Export with preserve_module_call_signature for the modules to be swapped,
      unflatten, and assign the new ones.
   :keywords: torch.export.unflatten, UnflattenedModule, preserve_module_call_signature,
      swap submodule, replace a layer in an exported program, nn_module_stack, InterpreterModule,
      is not a descendant of
"""

# %%
# The model
# +++++++++
#
# A gate with a keyword argument, called twice.

# sphinx_gallery_tags = ["modules", "run fails", "how to"]
# sphinx_gallery_wording = "There is no flat args adapter specified"
# sphinx_gallery_wording = "replace a submodule of an exported program"

import warnings

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
Dim = torch.export.Dim


class Gate(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x, *, mask):
        return self.linear(x).sigmoid() * mask.unsqueeze(-1)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.gate = torch.nn.Linear(3, 4), Gate()

    def forward(self, x):
        mask = (x.sum(dim=-1) > 1).to(x.dtype)
        x = self.first(x).relu()
        return self.gate(self.gate(x, mask=mask), mask=mask)


torch.manual_seed(0)
model, x = Model().eval(), torch.rand(2, 5, 3)
options = {
    "dynamic_shapes": {"x": {0: Dim("batch", max=64), 1: Dim("length", max=64)}},
    "strict": False,
}
program = torch.export.export(model, (x,), **options)

# %%
# Back to modules
# +++++++++++++++
#
# The names are those of the model, the classes are not: each module is a piece of the
# graph. The gate is called twice and is one module. (``unflatten`` warns of nodes that
# it is about to fill; this is not shown.)


def unflatten(program):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of nodes that it is about to fill
        return torch.export.unflatten(program)


unflat = unflatten(program)
for name, part in unflat.named_modules():
    print(f"{name or 'the model':12} {type(part).__name__}")
assert {"first", "gate.linear"} <= {name for name, _ in unflat.named_modules()}
torch.testing.assert_close(unflat(x), model(x))

# %%
# Weights have their old names, and are copies: what happens to them does not reach the
# model.

assert unflat.state_dict().keys() == model.state_dict().keys()
shared = unflat.gate.linear.weight.data_ptr() == model.gate.linear.weight.data_ptr()
print("shares its weights with the model:", shared)
assert not shared

# %%
# The symptom
# +++++++++++
#
# Replace the gate by another module of the same class.

other = Gate().eval()
unflat.gate = other
try:
    unflat(x)
except TypeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release calls the new module."
print(message)
assert "takes 2 positional arguments but 3 were given" in message

# %%
# The cause
# +++++++++
#
# A piece of a graph takes what it reads, in the order in which it reads it, and nothing
# has the name ``mask`` any more. How the graph calls the piece:


def calls(unflat):
    nodes = [node for node in unflat.graph.nodes if node.op == "call_module"]
    return [
        (n.target, len(n.args), list(n.kwargs)) for n in nodes if n.target == "gate"
    ]


unflat = unflatten(program)
print(calls(unflat))
assert calls(unflat) == [("gate", 2, [])] * 2

# %%
# The fix
# +++++++
#
# ``preserve_module_call_signature`` keeps the arguments of the modules that it names.
# This is the one thing that changes, and the swap works. It works on all releases of
# this page. The price: you decide at the export which modules can be swapped, and their
# arguments and results have to be tensors or containers of tensors.

program = torch.export.export(
    model, (x,), preserve_module_call_signature=("gate",), **options
)
unflat = unflatten(program)
print(calls(unflat))
assert calls(unflat) == [("gate", 1, ["mask"])] * 2
unflat.gate = other

# %%
# A Sequential as the model
# +++++++++++++++++++++++++
#
# A program of strict mode whose model is a ``Sequential`` cannot be unflattened up to
# 2.8: the note beside its nodes has ``getattr(L['fn'], '0')`` in the place of the name.
# Non-strict mode writes the name. Or put the ``Sequential`` into a module of your own.

sequential = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
for strict in (False, True):
    flat = torch.export.export(sequential, (x,), strict=strict)
    try:
        unflatten(flat)
    except (AssertionError, RuntimeError) as error:
        message = str(error)
    else:
        message = "unflattened"
    print(f"strict={strict}: {message}")
    assert (message == "unflattened") == (not strict or RELEASE >= (2, 9)), message

# %%
# The check
# +++++++++
#
# The swapped program against the model with the same swap, on sizes that were not
# traced.

model.gate = other
for batch, length in [(1, 1), (3, 7), (64, 2)]:
    x = torch.rand(batch, length, 3)
    torch.testing.assert_close(unflat(x), model(x))
    print(f"batch {batch}, length {length}: same results")
try:
    unflat(torch.rand(65, 5, 3))
except RuntimeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print(message)
assert "to be <= 64, but got 65" in message, message

# %%
# Ranges are verified, with the messages of older releases. What the code of the model
# compared (*guards*) is not part of the modules: see
# :ref:`l-plot-exporter-after-guards`.
#
# To remember
# +++++++++++
#
# * ``unflatten`` gives modules with the old names and copies of the weights.
# * Name the modules that you want to swap in ``preserve_module_call_signature``.
# * Compare after the swap, on other sizes.
#
# Next: :ref:`l-plot-exporter-after-edit` to change single nodes,
# :ref:`l-plot-exporter-after-move` for other weights, and
# :ref:`l-plot-exporter-modules-wrapped` for quantised modules.
