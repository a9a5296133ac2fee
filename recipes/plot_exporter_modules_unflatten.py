"""
.. _l-plot-exporter-modules-unflatten:

Replace a submodule of an exported program
==========================================

.. answer::
   :cost: You choose the modules at the export.

   ``torch.export.unflatten`` makes modules again, but calls them with what their piece
   of the graph reads, in its own order. A replacement fails, or silently computes wrong
   results. ``preserve_module_call_signature`` keeps the arguments.

   .. code-block:: diff

      -program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
      +program = torch.export.export(
      +    model,
      +    (x,),
      +    dynamic_shapes=shapes,
      +    strict=False,
      +    preserve_module_call_signature=("block",),
      +)

   Not your case?

   * One argument too many, ``is not a descendant``, or the result is exported again:
     see *Other fixes*.
   * You want to change single operators: :ref:`l-plot-exporter-after-edit`.

.. meta::
   :keywords: torch.export.unflatten, UnflattenedModule, swap submodule,
      InterpreterModule, preserve_module_call_signature, nn_module_stack,
      replace a layer in an exported program, is not a descendant of,
      export an unflattened module again, no flat args adapter specified
"""

# %%
# The problem
# +++++++++++
#
# The program is unflattened. Then a copy of the model's own block is put in the place
# of the block: nothing should change.

# sphinx_gallery_tags = ["modules", "run fails", "wrong without an error"]
# sphinx_gallery_wording = "replace a submodule of an exported program"
# sphinx_gallery_wording = "wrong result after swapping a module of torch.export.unflatten"
# sphinx_gallery_wording = "There is no flat args adapter specified. Are you sure you are calling this with the right arguments?"
# sphinx_gallery_wording = "export the result of torch.export.unflatten again"
# sphinx_gallery_wording = "Child module 'getattr(L['fn'], '0')' is not a descendant of parent module 'L['fn']'"

import copy
import warnings

import torch

warnings.simplefilter("ignore")  # unflatten warns of attributes that it adds later


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x, skip):
        return self.linear(x).relu() + skip


class Mean(torch.nn.Module):
    def forward(self, x):
        return x.sum(dim=0) / x.shape[0]


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.block, self.mean = torch.nn.Linear(3, 4), Block(), Mean()

    def forward(self, x):
        x = self.first(x)
        return self.mean(self.block(x.tanh(), x))


torch.manual_seed(0)
model = Model().eval()
x = torch.rand(2, 3)
shapes = {"x": {0: torch.export.Dim("batch", max=64)}}
program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
plain = torch.export.unflatten(program)
assert torch.allclose(plain(x), model(x))

plain.block = copy.deepcopy(model.block)
print(f"wrong by {(plain(x) - model(x)).abs().max().item():.2f}")

# %%
# The same with ``mean``, which gets too many arguments:

plain.mean = Mean()
try:
    plain(x)
except TypeError as error:
    print(error)

# %%
# The fix
# +++++++

program = torch.export.export(
    model,
    (x,),
    dynamic_shapes=shapes,
    strict=False,
    preserve_module_call_signature=("block",),
)
unflat = torch.export.unflatten(program)
unflat.block = copy.deepcopy(model.block)

# %%
# Why it happens
# ++++++++++++++
#
# A piece of a graph has no ``forward`` with names. What it reads becomes its arguments,
# and what it reads later is `put in front
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/unflatten.py#L1326>`_.
# ``block`` gets ``skip``, which is ``first``, before ``tanh``; the shapes are equal.
# ``mean`` gets the size that it divides by.

for node in plain.graph.nodes:
    if node.op == "call_module":
        print(node.target, node.args)


class SkipFirst(Block):
    def forward(self, skip, x):
        return super().forward(x, skip)


swapped = torch.export.unflatten(
    torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
)
swapped.block = SkipFirst()
swapped.block.load_state_dict(model.block.state_dict())
torch.testing.assert_close(swapped(x), model(x))

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If
#      - Do this
#    * - a preserved module gets one argument too many: it reads a dynamic size
#      - drop the first arguments, as ``DropFirst`` does
#    * - ``must be the arg names ['args']``, ``inputs[0]`` is a tuple: the unflattened
#        module is exported again
#      - ``strict=False``, and a wrapper with named arguments, as ``Again``, or
#        ``{"args": (entry,)}``
#    * - ``is not a descendant of parent module``: a ``Sequential``, exported in strict
#        mode by PyTorch 2.8 or earlier
#      - ``strict=False``, or make it a submodule
#    * - ``no flat args adapter``: a different number of inputs
#      - call it with the inputs of the export
#
# A graph reads each size once, at the first tensor that has it. So the preserved
# ``mean`` gets `the input of the model
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/unflatten.py#L1296>`_ in
# front (`issue 132930 <https://github.com/pytorch/pytorch/issues/132930>`_).


class DropFirst(torch.nn.Module):
    def __init__(self, part, extra):
        super().__init__()
        self.part, self.extra = part, extra

    def forward(self, *args):
        return self.part(*args[self.extra :])


both = torch.export.unflatten(
    torch.export.export(
        model,
        (x,),
        dynamic_shapes=shapes,
        strict=False,
        preserve_module_call_signature=("block", "mean"),
    )
)
for node in both.graph.nodes:
    if node.op == "call_module":
        print(node.target, node.args)
both.mean = DropFirst(Mean(), extra=1)

# %%
# The ``forward`` of an unflattened module takes ``*args``. Strict mode raises
# ``Unsupported`` even for the wrapper.


class Again(torch.nn.Module):
    def __init__(self, unflat):
        super().__init__()
        self.unflat = unflat

    def forward(self, x):
        return self.unflat(x)


try:
    torch.export.export(unflat, (x,), dynamic_shapes=shapes, strict=False)
except torch._dynamo.exc.UserError as error:
    print(str(error).splitlines()[0])
again = torch.export.export(Again(unflat), (x,), dynamic_shapes=shapes, strict=False)
args = {"args": (shapes["x"],)}
direct = torch.export.export(unflat, (x,), dynamic_shapes=args, strict=False)

# %%
# A ``Sequential``, in both modes:

sequential = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
try:
    torch.export.unflatten(torch.export.export(sequential, (x,), strict=True))
except (AssertionError, RuntimeError) as error:
    print(error)
layers = torch.export.unflatten(torch.export.export(sequential, (x,), strict=False))
print([name for name, _ in layers.named_children()])

# %%
# Check
# +++++
#
# The model's own part first, as above: this finds arguments in a wrong order. Then new
# weights, at sizes that were not traced. The program exported again keeps its weights.

torch.testing.assert_close(unflat(x), model(x))
torch.testing.assert_close(layers(x), sequential(x))
before = copy.deepcopy(model)
unflat.block = both.block = model.block = Block().eval()
assert not torch.allclose(model(x), before(x))
for size in (1, 3, 64):
    rows = torch.randn(size, 3)
    torch.testing.assert_close(unflat(rows), model(rows))
    torch.testing.assert_close(both(rows), model(rows))
    torch.testing.assert_close(again.module()(rows), before(rows))
    torch.testing.assert_close(direct.module()(rows), before(rows))
try:
    unflat(torch.rand(65, 3))
except RuntimeError as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# The weights of an unflattened module are copies. It does not verify the guards of the
# program: :ref:`l-plot-exporter-after-guards`.

with torch.no_grad():
    model.first.weight.zero_()
assert not torch.allclose(unflat(x), model(x))

# %%
# Summary
# +++++++
#
# * Name the modules to be replaced in ``preserve_module_call_signature``.
# * Before you swap in something new, swap in the original: nothing may change.
#
# Next: :ref:`l-plot-exporter-after-edit` for single operators,
# :ref:`l-plot-exporter-modules-wrapped` for quantized modules.
