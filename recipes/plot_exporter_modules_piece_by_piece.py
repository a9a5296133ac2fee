"""
.. _l-plot-exporter-modules-piece-by-piece:

Find the submodule that cannot be exported
==========================================

The export of a large model fails, and the traceback ends in torch. Or it takes half an
hour before it fails. Which of the hundred submodules is it, and is it the only one?

This page exports the submodules alone, each with the inputs that it gets in the model,
and descends only where one fails. Then it mends what it found, or exports the rest of
the model around it. It also shows the one kind of fault that this cannot find.

.. meta::
   :description: Record the inputs of every submodule in one eager run, export each
      alone, and look at the innermost ones that fail.
   :keywords: export submodule by submodule, which layer fails, bisect model export,
      large model export error, draft_export, forward hooks, partial export
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
import torch._dynamo
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

pytree = torch.utils._pytree
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
        return self.out(torch.softmax(q @ k.transpose(-1, -2), dim=-1) @ v)


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
    torch._dynamo.exc.UserError,
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
# A hook in front of each module keeps a copy of the first call, in eager mode. It has
# to be a copy: the model may change the tensor later. Two runs with other sizes tell
# which dimensions vary (see :ref:`l-plot-exporter-shapes-infer`).


def copied(value):
    return value.clone() if isinstance(value, torch.Tensor) else value


def record(model, *args):
    calls, hooks = {}, []
    for name, part in model.named_modules():

        def keep(part, args, kwargs, name=name):
            calls.setdefault(name, pytree.tree_map(copied, (args, kwargs)))

        hooks.append(part.register_forward_pre_hook(keep, with_kwargs=True))
    try:
        model(*args)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


calls, others = record(model, small), record(model, large)
silent = {name for name, _ in model.named_modules()} - set(calls)
print(len(calls), "modules were called, not called:", sorted(silent))
assert silent == {"blocks"}

# %%
# A ``ModuleList`` is never called. Nor is a module whose ``forward`` or weight the
# model uses without calling the module.
#
# Export each alone
# +++++++++++++++++
#
# ``bind`` gives each argument its name, so that one dictionary says what is dynamic.


def dynamic(first, second):
    if not isinstance(first, torch.Tensor):
        return None
    sizes = enumerate(zip(first.shape, second.shape, strict=True))
    return {i: Dim.DYNAMIC for i, (a, b) in sizes if a != b}


def export(part, call, other):
    signature = inspect.signature(part.forward)
    first, second = (signature.bind(*a, **k).arguments for a, k in (call, other))
    shapes = pytree.tree_map(dynamic, dict(first), dict(second))
    return torch.export.export(
        part, call[0], call[1], dynamic_shapes=shapes, strict=False
    )


# %%
# What can be exported needs no further look, what cannot is taken apart. So a model of
# a hundred parts needs far fewer than a hundred exports. If the export of the whole
# takes long, begin with ``todo = inside("")``, its largest parts.


def inside(name):
    below = [n for n in calls if n != name and n.startswith(f"{name}." if name else "")]
    return [n for n in below if not any(n.startswith(f"{other}.") for other in below)]


todo, table = [""], {}
while todo:
    name = todo.pop(0)
    try:
        export(model.get_submodule(name), calls[name], others[name])
    except REFUSED as error:
        table[name] = str(error).strip().splitlines()[0]
        todo = inside(name) + todo
    else:
        table[name] = None
for name, text in table.items():
    print(f"{'FAILS' if text else 'ok':6} {name or 'the model'}")
assert table["blocks.0.attention"] is None and "blocks.0.attention.qkv" not in table
assert len(table) < len(calls)

# %%
# A module that fails although all its parts work has the fault in its own ``forward``.
# These are the faults, and their messages are now those of a small model.

culprits = [
    name
    for name, text in table.items()
    if text and not any(table[part] for part in inside(name))
]
for name in culprits:
    print(f"{name}: {table[name]}")
assert culprits == ["blocks.0.clip", "blocks.1.clip", "head"]

# %%
# The first message came from ``blocks.0.clip``. That ``head`` fails as well is
# something that the export of the whole model would have said only after the first fix.
# (:ref:`l-plot-exporter-exporter-draft` reports several faults in one run as well,
# where they are of a kind that it can step over.) A custom class that goes from part to
# part has to be registered for this, although the whole model does without:
# :ref:`l-plot-torch-export-with-dynamic-cache-201`.
#
# What this cannot find
# +++++++++++++++++++++
#
# A fault that lies between two parts. ``Keep`` returns as many rows as the mask says.
# Alone, ``Pool`` gets them as an input, and an input has a size that a guard can be put
# on. In the model nobody knows the size. Both parts work, and their parent is accused.


class Keep(torch.nn.Module):
    def forward(self, x, mask):
        return x[mask]


class Pool(torch.nn.Module):
    def forward(self, rows):
        return rows.mean(dim=0) if rows.shape[0] > 3 else rows.sum(dim=0)


class KeepAndPool(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.keep, self.pool = Keep(), Pool()

    def forward(self, x, mask):
        return self.pool(self.keep(x, mask))


between, few = KeepAndPool(), torch.arange(12)
runs = [record(between, torch.rand(n, 3), few[:n] > 3) for n in (9, 12)]
outcome = {}
for name in ("keep", "pool", ""):
    try:
        export(between.get_submodule(name), runs[0][name], runs[1][name])
    except GuardOnDataDependentSymNode as error:
        outcome[name] = str(error).strip().splitlines()[0]
    else:
        outcome[name] = "ok"
    print(f"{name or 'the model'}: {outcome[name]}")
assert outcome["keep"] == outcome["pool"] == "ok" and "u0 > 3" in outcome[""]

# %%
# A ``u0`` in the message of a parent whose parts work is the sign: look for the part
# that makes the size, and for the one that compares it
# (:ref:`l-plot-exporter-data-guard`).
#
# The fixes
# +++++++++
#
# Each of the other faults is now a small problem. The ``if`` becomes ``torch.where``
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
print(list(program.range_constraints.values()))
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
# * A module that fails while all its parts work is the one to mend, or one of its parts
#   makes a size (``u0``) that another part compares.
# * A custom operator keeps a part that cannot be exported, for programs that run in
#   Python.
#
# Next: :ref:`l-plot-exporter-shapes-find-the-line` for a dimension instead of an error,
# :ref:`l-plot-exporter-exporter-draft` for a report of the whole model, and
# :ref:`l-plot-exporter-data-guard` for the message of this page.
