"""
.. _l-plot-exporter-modules-unflatten:

Get the modules of a program back
=================================

The program is one flat graph, and you want to replace a submodule, quantise one, or
send its parts to two devices. ``torch.export.unflatten`` makes modules again, but a
swapped one fails with ``forward() takes 2 positional arguments but 4 were given``, or
it runs and the numbers are wrong. Or ``unflatten`` itself says ``Child module
'getattr(L['fn'], '0')' is not a descendant of parent module``.

This page unflattens a program, shows how the new modules are called, and swaps two of
them.

.. meta::
   :description: Export with preserve_module_call_signature for the modules to be
      swapped, unflatten, look at the calls, and assign the new ones.
   :keywords: torch.export.unflatten, UnflattenedModule, swap submodule,
      InterpreterModule, preserve_module_call_signature, nn_module_stack,
      replace a layer in an exported program, is not a descendant of,
      no flat args adapter specified
"""

# %%
# The model
# +++++++++
#
# A residual block with two positional arguments, and a mean over a dynamic length with
# a keyword argument.

# sphinx_gallery_tags = ["modules", "run fails", "wrong without an error"]
# sphinx_gallery_wording = "replace a submodule of an exported program"
# sphinx_gallery_wording = "wrong result after swapping a module of torch.export.unflatten"

import copy
import warnings

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
Dim = torch.export.Dim


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x, skip):
        return self.linear(x).relu() + skip


class Mean(torch.nn.Module):
    def forward(self, x, *, mask):
        return (x * mask.unsqueeze(-1)).sum(dim=1) / x.shape[1]


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.block, self.mean = torch.nn.Linear(3, 4), Block(), Mean()

    def forward(self, x, mask):
        x = self.first(x)
        return self.mean(self.block(x.tanh(), x), mask=mask)


def make_inputs(batch, length):
    return torch.randn(batch, length, 3), (torch.rand(batch, length) > 0.3).float()


torch.manual_seed(0)
model, inputs = Model().eval(), make_inputs(2, 5)
sizes = {0: Dim("batch", max=64), 1: Dim("length", max=64)}
options = {"dynamic_shapes": {"x": sizes, "mask": sizes}, "strict": False}
program = torch.export.export(model, inputs, **options)

# %%
# Back to modules
# +++++++++++++++
#
# The names are those of the model, the classes are not: each module is a piece of the
# graph. The weights have their old names, and are copies: what happens to them does not
# reach the model.


def unflatten(program):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some releases warn of nodes to be filled
        return torch.export.unflatten(program)


unflat = unflatten(program)
for name, part in unflat.named_modules():
    print(f"{name or 'the model':12} {type(part).__name__}")
assert {"first", "block.linear", "mean"} <= {name for name, _ in unflat.named_modules()}
torch.testing.assert_close(unflat(*inputs), model(*inputs))
shared = unflat.first.weight.data_ptr() == model.first.weight.data_ptr()
print("shares its weights with the model:", shared)
assert unflat.state_dict().keys() == model.state_dict().keys() and not shared

# %%
# The symptoms
# ++++++++++++
#
# Put a module of the same class in the place of ``mean``. It is called with too many
# arguments.

unflat.mean = Mean()
try:
    unflat(*inputs)
except TypeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release calls the new module."
print(message)
assert "takes 2 positional arguments but 4 were given" in message, message

# %%
# Worse is ``block``. This puts back what was there, a copy of the model's own block:
# nothing may change. There is no error, and the result is another one.

unflat = unflatten(program)
unflat.block = copy.deepcopy(model.block)
difference = (unflat(*inputs) - model(*inputs)).abs().max().item()
print(f"wrong by {difference:.2f}")
assert difference > 0.1

# %%
# The cause
# +++++++++
#
# A piece of a graph takes what it reads. It has no ``forward`` with names, and the
# order has nothing to do with the model's. This is how the graph calls the pieces:


def show_calls(unflat):
    found = {}
    for node in unflat.graph.nodes:
        if node.op == "call_module" and node.target in ("block", "mean"):
            found[node.target] = (len(node.args), list(node.kwargs))
            print(node.target, [str(arg) for arg in node.args], node.kwargs)
    return found


counts = show_calls(unflatten(program))
assert counts == {"block": (2, []), "mean": (3, [])}

# %%
# ``block`` reads ``x.tanh()`` first and ``skip`` after it, and what is read later is
# `put in front
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/unflatten.py#L1326>`_.
# So ``forward`` gets the two in the other order. They have the same shape, and nobody
# complains. Swap them by hand, and the result is right:

unflat = unflatten(program)
original = copy.deepcopy(model.block)


class OtherOrder(torch.nn.Module):
    def forward(self, skip, x):
        return original(x, skip)


unflat.block = OtherOrder()
torch.testing.assert_close(unflat(*inputs), model(*inputs))

# %%
# The fix
# +++++++
#
# ``preserve_module_call_signature`` keeps the arguments of the modules that it names.
# It works on all releases of this page and in both modes. The price: you decide at the
# export which modules can be swapped.

options["preserve_module_call_signature"] = ("block", "mean")
for strict in (True, False):
    options["strict"] = strict
    program = torch.export.export(model, inputs, **options)
    unflat = unflatten(program)
    unflat.block = copy.deepcopy(model.block)
    torch.testing.assert_close(unflat(*inputs), model(*inputs))
counts = show_calls(unflat)
assert counts == {"block": (2, []), "mean": (2, ["mask"])}

# %%
# One argument too many
# +++++++++++++++++++++
#
# Look at ``mean`` again: ``mask`` has its name, but there is one more in front, the
# input ``x`` of the model. A graph reads each dynamic size once, at the first tensor
# that has it, and this piece needs the length. `The source says so
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/unflatten.py#L1296>`_;
# `issue 132930 <https://github.com/pytorch/pytorch/issues/132930>`_ discusses it.

unflat.mean = Mean()
try:
    unflat(*inputs)
except TypeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release calls the new module."
print(message)
assert "takes 2 positional arguments but 3" in message, message

# %%
# What is added stands in front. So drop it, as many as the call has more than the class
# takes.


class DropFirst(torch.nn.Module):
    def __init__(self, part, extra):
        super().__init__()
        self.part, self.extra = part, extra

    def forward(self, *args, **kwargs):
        return self.part(*args[self.extra :], **kwargs)


extra = counts["mean"][0] - 1
assert extra == 1
unflat.mean = DropFirst(Mean(), extra)
torch.testing.assert_close(unflat(*inputs), model(*inputs))

# %%
# A Sequential as the model
# +++++++++++++++++++++++++
#
# Up to 2.9, strict mode writes ``getattr(L['fn'], '0')`` beside the nodes of a
# ``Sequential`` that is itself the model, where the name should be (`issue 130931
# <https://github.com/pytorch/pytorch/issues/130931>`_). Up to 2.8 ``unflatten`` fails
# on that, 2.9 puts all in one part with an odd name. Printed are the names beside the
# first node, then the parts.

sequential = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())


def names(program):
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    return [name for name, _ in nodes[0].meta["nn_module_stack"].values()]


for strict in (False, True):
    flat = torch.export.export(sequential, inputs[:1], strict=strict)
    try:
        parts = unflatten(flat)
    except RuntimeError as error:
        parts, message = None, str(error)
    else:
        message = f"parts: {[name for name, _ in parts.named_children()]}"
    print(f"strict={strict}: {names(flat)}\n    {message}")
    assert (names(flat) == ["", "0"]) == (not strict or RELEASE >= (2, 10))
    assert (parts is None) == (strict and RELEASE < (2, 9)), message

# %%
# Use ``strict=False``, or put the ``Sequential`` into a module of your own. Both work
# on all releases of this page.


class Boxed(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


boxed = unflatten(torch.export.export(Boxed(sequential), inputs[:1], strict=True))
torch.testing.assert_close(boxed(inputs[0]), sequential(inputs[0]))

# %%
# The check
# +++++++++
#
# First with the model's own parts, as above: this finds arguments in another order.
# Then with other weights, on sizes that were not traced.

other = Block().eval()
model.block = other
unflat.block = other
for batch, length in [(1, 1), (3, 7), (64, 2)]:
    inputs = make_inputs(batch, length)
    torch.testing.assert_close(unflat(*inputs), model(*inputs))
    print(f"batch {batch}, length {length}: same results")

# %%
# Ranges are verified, and so is the number of inputs. What the code of the model
# compared (*guards*) is not part of the modules: see
# :ref:`l-plot-exporter-after-guards`.

try:
    unflat(*make_inputs(65, 5))
except RuntimeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print(message)
assert "to be <= 64, but got 65" in message, message

try:
    unflat(inputs[0])
except TypeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print(message)
assert "no flat args adapter" in message, message

# %%
# To remember
# +++++++++++
#
# * ``unflatten`` gives pieces with the old names, copies of the weights, and arguments
#   in an order of their own.
# * Name the modules that you want to swap in ``preserve_module_call_signature``, and
#   count the arguments of their calls.
# * Before you swap in something new, swap in the original: nothing may change.
#
# Next: :ref:`l-plot-exporter-after-edit` to change single nodes,
# :ref:`l-plot-exporter-after-move` for other weights, and
# :ref:`l-plot-exporter-modules-wrapped` for quantised modules.
