"""
.. _l-plot-exporter-modules-piece-by-piece:

Find the submodule that cannot be exported
==========================================

The export of a large model fails, and the traceback ends in torch. Or it takes half an
hour before it fails. Which of the hundred submodules is it, and is it the only one?

This page exports each submodule alone, with the inputs that it gets in the model, and
reads the result from the inside out. Then it exports the rest of the model around the
one that fails.

.. meta::
   :description: Record the inputs of every submodule in one eager run, export each alone,
      and look at the innermost ones that fail.
   :keywords: export submodule by submodule, which layer fails, bisect model export, large
      model export error, draft_export, forward hooks, partial export, custom operator
"""

# %%
# The model
# +++++++++
#
# A small stack of blocks. It stands for a model of many thousand lines.

# sphinx_gallery_tags = ["modules", "export fails", "how to"]
# sphinx_gallery_wording = "which part of my model breaks torch.export"
# sphinx_gallery_wording = "export a large model step by step"

import inspect

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

Dim = torch.export.Dim


class Clip(torch.nn.Module):
    def forward(self, x, *, limit):
        return x * (limit / x.abs().max()) if x.abs().max() > limit else x


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(8, 24), torch.nn.Linear(8, 8)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        attention = torch.nn.functional.scaled_dot_product_attention
        return self.out(attention(q, k, v))


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.clip = Attention(), Clip()
        self.norm = torch.nn.LayerNorm(8)

    def forward(self, x):
        return self.clip(self.norm(x + self.attention(x)), limit=1.5)


class Head(torch.nn.Module):
    def forward(self, x):
        return [row.mean(dim=0).tolist() for row in x]


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Linear(3, 8)
        self.blocks = torch.nn.ModuleList([Block(), Block()])
        self.head = Head()

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


torch.manual_seed(0)
model = Model().eval()
small, large = torch.rand(2, 5, 3), torch.rand(4, 7, 3)

# %%
# The symptom
# +++++++++++
#
# One error, of the first fault. The message does not name a module.

REFUSED = (
    GuardOnDataDependentSymNode,
    torch._dynamo.exc.TorchDynamoException,
    RuntimeError,
    ValueError,
)
try:
    torch.export.export(model, (small,), strict=False)
except REFUSED as error:
    message = str(error).strip().splitlines()[0]
else:
    message = "This release exports it."
print(message)
assert "data-dependent" in message

# %%
# Record the inputs of each submodule
# +++++++++++++++++++++++++++++++++++
#
# A hook in front of each module keeps the first call, in eager mode. Two runs with
# other sizes tell which dimensions vary (see :ref:`l-plot-exporter-shapes-infer`).


def record(model, *args):
    calls, hooks = {}, []
    for name, part in model.named_modules():

        def keep(part, args, kwargs, name=name):
            calls.setdefault(name, (args, kwargs))

        hooks.append(part.register_forward_pre_hook(keep, with_kwargs=True))
    try:
        model(*args)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


calls, others = record(model, small), record(model, large)
print(len(calls), "modules were called")
assert {name for name, _ in model.named_modules()} - set(calls) == {"blocks"}

# %%
# A ``ModuleList`` is never called. A module that is called several times is recorded
# once.
#
# Export each alone
# +++++++++++++++++
#
# ``bind`` gives each argument its name, so that one dictionary says what is dynamic.


def dynamic(first, second):
    if not isinstance(first, torch.Tensor):
        return None
    sizes = enumerate(zip(first.shape, second.shape))
    return {i: Dim.DYNAMIC for i, (a, b) in sizes if a != b}


def export(part, call, other):
    signature = inspect.signature(part.forward)
    first, second = (signature.bind(*a, **k).arguments for a, k in (call, other))
    shapes = torch.utils._pytree.tree_map(dynamic, dict(first), dict(second))
    return torch.export.export(
        part, call[0], call[1], dynamic_shapes=shapes, strict=False
    )


failures = {}
for name, call in calls.items():
    try:
        export(model.get_submodule(name), call, others[name])
    except REFUSED as error:
        failures[name] = str(error).strip().splitlines()[0]
    print(f"{'FAILS' if name in failures else 'ok':6} {name or 'the model'}")
assert "blocks.0.attention" in calls and "blocks.0.attention" not in failures

# %%
# Read it from the inside out: a module that fails although all its parts work has the
# fault in its own ``forward``. These are the faults, and their messages are now those
# of a small model.


def culprits(failures):
    def inner(name):
        prefix = f"{name}." if name else ""
        return [
            other for other in failures if other != name and other.startswith(prefix)
        ]

    return {name: text for name, text in failures.items() if not inner(name)}


for name, text in culprits(failures).items():
    print(f"{name}: {text}")
assert list(culprits(failures)) == ["blocks.0.clip", "blocks.1.clip", "head"]

# %%
# The first message came from ``blocks.0.clip``. That ``head`` fails as well is
# something that the export of the whole model would have said only after the first fix.
# (:ref:`l-plot-exporter-exporter-draft` reports several faults in one run as well,
# where they are of a kind that it can step over.)
#
# The fixes
# +++++++++
#
# Each fault is now a small problem. The ``if`` becomes ``torch.where``
# (:ref:`l-plot-exporter-control-cond`), and lists of numbers are made outside of the
# model. Replace the class of the parts that fail; this works for classes of a library,
# too.


class ClipTensor(Clip):
    def forward(self, x, *, limit):
        largest = x.abs().max()
        return x * torch.where(largest > limit, limit / largest, 1.0)


class MeanHead(Head):
    def forward(self, x):
        return x.mean(dim=1)


expected = torch.tensor(model(small))
for block in model.blocks:
    block.clip.__class__ = ClipTensor
model.head.__class__ = MeanHead
torch.testing.assert_close(model(small), expected)
program = export(model, ((small,), {}), ((large,), {}))
print(program.range_constraints)
assert len(program.range_constraints) == 2

# %%
# A part that nobody can change
# +++++++++++++++++++++++++++++
#
# If a part has to stay as it is, make it a custom operator: the program calls it and
# does not look inside (:ref:`l-plot-exporter-ops-custom`). The price: the program needs
# Python and this code wherever it runs, and no compiler can improve the part.

original = Clip()
library = torch.library.Library("cookbook", "DEF")
library.define("clip(Tensor x, float limit) -> Tensor")
library.impl(
    "clip",
    lambda x, limit: original(x, limit=limit).clone(),
    "CompositeExplicitAutograd",
)
torch.library.register_fake(
    "cookbook::clip", lambda x, limit: torch.empty_like(x), lib=library
)


class ClipOperator(Clip):
    def forward(self, x, *, limit):
        return torch.ops.cookbook.clip(x, limit)


for block in model.blocks:
    block.clip.__class__ = ClipOperator
around = export(model, ((small,), {}), ((large,), {}))
targets = [str(node.target) for node in around.graph.nodes]
print(targets.count("cookbook.clip.default"), "calls of the operator")
assert targets.count("cookbook.clip.default") == 2

# %%
# The check
# +++++++++
#
# Both programs against the model with its original parts, on sizes that were not
# traced, and with values that are clipped.

for block in model.blocks:
    block.clip.__class__ = Clip
model.head.__class__ = Head
for batch, length in [(1, 1), (3, 9), (8, 40)]:
    for factor in (0.1, 10.0):
        x = factor * torch.rand(batch, length, 3)
        expected = torch.tensor(model(x))
        torch.testing.assert_close(program.module()(x), expected)
        torch.testing.assert_close(around.module()(x), expected)
    print(f"batch {batch}, length {length}: same results")
try:
    program.module()(torch.rand(2, 5, 4))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print(message)
assert "== 3" in message or "equal to 3" in message, message

# %%
# The registration of the operator ends with this page.

library._destroy()

# %%
# To remember
# +++++++++++
#
# * One eager run gives the inputs of all submodules; each can then be exported alone.
# * A module that fails while all its parts work is the one to mend.
# * A custom operator keeps a part that cannot be exported, for programs that run in
#   Python.
#
# Next: :ref:`l-plot-exporter-shapes-find-the-line` for a dimension instead of an error,
# :ref:`l-plot-exporter-exporter-draft` for a report of the whole model, and
# :ref:`l-plot-exporter-data-guard` for the message of this page.
