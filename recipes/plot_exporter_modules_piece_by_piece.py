"""
.. _l-plot-exporter-modules-piece-by-piece:

Find the submodule that cannot be exported
==========================================

.. answer::
   :cost: One eager run, and one export for each module looked at.

   The export stops at the first fault, and the message shows a line at best. Record
   what each submodule gets in one eager run, export each alone, and descend only where
   that fails: ``record`` and ``failing`` are in *The fix*.

   .. code-block:: diff

      -torch.export.export(model, (x,), strict=False)
      +for name, message in failing(model, record(model, x)).items():
      +    print(f"{name}: {message}")

   Not your case?

   * All faults, without the modules: :ref:`l-plot-exporter-exporter-draft`.
   * ``constant (4)``, a lost dimension: :ref:`l-plot-exporter-shapes-find-the-line`.
   * You have the line already: :ref:`l-plot-exporter-data-guard`.

.. meta::
   :keywords: export submodule by submodule, which layer fails, bisect model export,
      large model export error, forward hooks, partial export, which module fails
"""

# %%
# The problem
# +++++++++++
#
# ``clip`` has an ``if`` on a value, and ``head`` makes Python numbers. The message is
# about the first of them, and does not name it.

# sphinx_gallery_tags = ["modules", "export fails", "how to"]
# sphinx_gallery_wording = "which part of my model breaks torch.export"
# sphinx_gallery_wording = "export a large model step by step"

import copy

import torch
from torch.fx.experimental import symbolic_shapes
from torch.utils._pytree import tree_map


class Clip(torch.nn.Module):
    def forward(self, x, *, limit):
        return x * (limit / x.abs().max()) if x.abs().max() > limit else x


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.clip = torch.nn.Linear(8, 8), Clip()

    def forward(self, x):
        return self.clip(self.linear(x), limit=1.5)


class Head(torch.nn.Module):
    def forward(self, x):
        return torch.stack([row * max(row.tolist()) for row in x])


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
        return self.head(x.mean(dim=1))


torch.manual_seed(0)
model = Model().eval()
x = torch.rand(2, 5, 3)
try:
    torch.export.export(model, (x,), strict=False)
except symbolic_shapes.GuardOnDataDependentSymNode as error:
    print(error)

# %%
# The fix
# +++++++
#
# All sizes are dynamic where possible. Add exception types if your model raises others.


@torch.no_grad()
def record(model, *args):
    calls, hooks = {}, []
    for name, part in model.named_modules():

        def keep(part, args, kwargs, name=name):
            calls.setdefault(name, copy.deepcopy((args, kwargs)))

        hooks.append(part.register_forward_pre_hook(keep, with_kwargs=True))
    model(*args)
    for hook in hooks:
        hook.remove()
    return calls


def sizes(value):
    if isinstance(value, torch.Tensor):
        return dict.fromkeys(range(value.dim()), torch.export.Dim.AUTO)
    return None


def fault(part, args, kwargs):
    shapes = tree_map(sizes, (*args, *kwargs.values()))
    try:
        torch.export.export(part, args, kwargs, dynamic_shapes=shapes, strict=False)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        return str(error).strip().splitlines()[0]


def failing(model, calls, name=""):
    part, message = model.get_submodule(name), None
    if name in calls:  # a ModuleList is not called
        message = fault(part, *calls[name])
        if message is None:
            return {}
    found = {}
    for child, _ in part.named_children():
        found |= failing(model, calls, f"{name}.{child}".lstrip("."))
    return found or ({name: message} if message else {})


for name, message in failing(model, record(model, x)).items():
    print(f"{name}: {message}")

# sphinx_gallery_start_ignore
found = list(failing(model, record(model, x)))
assert found == ["blocks.0.clip", "blocks.1.clip", "head"], found
# sphinx_gallery_end_ignore

# %%
# These are the innermost modules that fail, each a small model with its own message.
# Fix them and search again: their parents may have faults, too. If the export takes
# long, begin inside: ``failing(model, calls, "blocks.0")``.
#
# Why it happens
# ++++++++++++++
#
# The export runs on tensors without values, and stops at the first operation that needs
# one. The same module fails alone, and its neighbor does not:

calls = record(model, x)
assert fault(model.blocks[0].clip, *calls["blocks.0.clip"])
assert fault(model.blocks[0].linear, *calls["blocks.0.linear"]) is None

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - The module that fails
#      - Do this
#      - Cost
#    * - is yours
#      - rewrite its ``forward``
#      - none
#    * - comes from a library
#      - replace the class of the instance, as below
#      - a copy of its ``forward`` to maintain
#    * - cannot be changed
#      - a custom operator that calls it: :ref:`l-plot-exporter-ops-custom`
#      - the program needs Python and this code
#    * - is not needed in the program
#      - export the rest, and call it in Python
#      - two steps
#
# Both classes are replaced; weights stay where they are:


class ClipTensor(Clip):
    def forward(self, x, *, limit):
        largest = x.abs().max()
        return x * torch.where(largest > limit, limit / largest, 1.0)


class MaxHead(Head):
    def forward(self, x):
        return x * x.amax(dim=1, keepdim=True)


fixed = copy.deepcopy(model)
for part in fixed.modules():
    if isinstance(part, Clip):
        part.__class__ = ClipTensor
fixed.head.__class__ = MaxHead
assert failing(fixed, record(fixed, x)) == {}
shapes = (
    {0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("length", max=64)},
)
program = torch.export.export(fixed, (x,), dynamic_shapes=shapes, strict=False)

# %%
# Check
# +++++
#
# The reference is the original model, at sizes that were not traced, with values that
# are clipped and values that are not.

for size in ((1, 2), (3, 9), (64, 40)):
    for factor in (0.1, 10.0):
        x = factor * torch.randn(*size, 3)
        torch.testing.assert_close(program.module()(x), model(x))
        clipped = model.blocks[0].linear(model.embed(x)).abs().max() > 1.5
        assert clipped == (factor == 10)
try:
    program.module()(torch.rand(2, 5, 4))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# A fault can lie between two modules. ``Keep`` makes a size that depends on values, and
# ``Pool`` compares it. Alone, ``Pool`` gets the rows as an input, whose size is known.
# Both can be exported, and the search names the parent.


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


between = KeepAndPool()
calls = record(between, torch.rand(9, 3), torch.arange(9) > 3)
print(failing(between, calls))

# %%
# The sign is ``u0`` in the message of a parent. Objects that pass between modules, such
# as a cache, have to be registered: :ref:`l-plot-torch-export-with-dynamic-cache-201`.
#
# Summary
# +++++++
#
# * Record the inputs in one eager run, then export the modules alone.
# * A parent named although its parts work has the fault in its ``forward``, or between
#   two parts.
#
# Next: :ref:`l-plot-exporter-data-guard` for an ``if`` on a value,
# :ref:`l-plot-exporter-data-mask` for sizes that a mask decides.
