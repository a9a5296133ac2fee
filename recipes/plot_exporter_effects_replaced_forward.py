"""
.. _l-plot-exporter-effects-replaced-forward:

Remove hooks that replace forward before the export
===================================================

.. answer::
   :cost: The model has lost its hooks: install them again, or export a copy.

   Libraries put a function in ``module.forward`` to move weights, to cache or to skip
   steps. The export runs it once. What it stores or decides becomes a constant,
   silently, and its ``*args, **kwargs`` hide the names of the inputs.

   .. code-block:: diff

      +for module in model.modules():
      +    module.__dict__.pop("forward", None)
       program = torch.export.export(model, ...)

   Not your case?

   * The hook has to be part of the program, or moves weights: see *Other fixes*.
   * Hooks of ``register_forward_hook``: :ref:`l-plot-exporter-effects-print-hooks`.
   * LoRA, DTensor or FSDP: :ref:`l-plot-exporter-modules-adapted`.

.. meta::
   :keywords: monkey patch, patched forward, add_hook_to_module, new_forward,
      functools.partial, types.MethodType, accelerate, diffusers, HookRegistry,
      cpu_offload, dispatch_model, device_map, enable_cache, AlignDevicesHook
"""

# %%
# The problem
# +++++++++++
#
# A hook computes the block in every second call and reuses the result in the others, as
# caches of diffusion models do. The model has run once before the export.

# sphinx_gallery_tags = ["side effects", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "AttributeError: 'functools.partial' object has no attribute '__code__'"
# sphinx_gallery_wording = "TypeError: FakeTensor.__new__() missing required argument: 'fake_mode'"
# sphinx_gallery_wording = "export a model with accelerate hooks, device_map or cpu_offload"
# sphinx_gallery_wording = "monkey patched forward is ignored by torch.export"
# sphinx_gallery_wording = "Skip calling function AlignDevicesHook.pre_forward since it was wrapped with torch.compiler.disable"

import copy
import functools
import inspect

import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = torch.nn.Linear(8, 8)

    def forward(self, x, scale=1.0):
        return x + scale * torch.tanh(self.block(x))


def reuse_every_second(module):
    old, state = module.forward, {"calls": 0}

    def new_forward(*args, **kwargs):
        if state["calls"] % 2 == 0:
            state["last"] = old(*args, **kwargs)
        state["calls"] += 1
        return state["last"]

    module.forward = new_forward


torch.manual_seed(0)
model = Model().requires_grad_(False)
x, other = torch.randn(4, 8), torch.randn(4, 8)
reuse_every_second(model.block)
model(x)
silent = torch.export.export(model, (x,), strict=False).module()

right = other + torch.tanh(other @ model.block.weight.T + model.block.bias)
print("right:", torch.allclose(silent(other), right))
assert not torch.allclose(silent(other), right)
torch.testing.assert_close(silent(other) - other, silent(x) - x)

# %%
# The program adds the block's result for the example to every input. Other hooks fail
# with a message, here on a function that was bound to its module:


def log_calls(module):
    module.old_forward = module.forward

    def new_forward(module, *args, **kwargs):
        return module.old_forward(*args, **kwargs)

    partial = functools.partial(new_forward, module)
    module.forward = functools.update_wrapper(partial, new_forward)


log_calls(model)
model(x)  # still runs
shapes = {"x": {0: torch.export.Dim("batch", max=64)}}
try:
    torch.export.export(model, (), {"x": x}, dynamic_shapes=shapes, strict=False)
except (TypeError, AttributeError) as error:
    print(error)

# %%
# The fix
# +++++++
#
# A replaced ``forward`` is an attribute of the module. Without it, the method of the
# class is back.

for module in model.modules():
    module.__dict__.pop("forward", None)
program = torch.export.export(model, (), {"x": x}, dynamic_shapes=shapes, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# The names of the inputs come from `the signature of
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/dynamic_shapes.py#L733>`_
# ``model.forward`` (`diffusers issue 14135 <https://github.com/huggingface/diffusers/issues/14135>`_):

print(inspect.signature(model.forward))
log_calls(model)
print(inspect.signature(model.forward))
del model.forward

# %%
# Python runs once, during the export: the number of calls until then decides what the
# program is. After one more call, the block is computed, and never reused:

reuse_every_second(model.block)
model(x)
model(x)
computes = torch.export.export(model, (x,), strict=False).module()
torch.testing.assert_close(computes(other), right)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If
#      - Do this
#      - Cost
#    * - accelerate (``device_map``, ``cpu_offload``) says ``FakeTensor.__new__()``, or
#        ``Skip calling`` in strict mode
#      - first ``accelerate.hooks.remove_hook_from_module(model, recurse=True)``, which
#        brings the weights back; then the fix, for what it leaves in ``forward``
#      - all weights in memory
#    * - the hook has to be in the program, and fails with ``missing a required
#        argument: 'module'``, ``arg names ['kwargs']`` or ``no attribute '__code__'``
#      - a module with named inputs around the model, ``Named`` below
#      - what the hook decides is a constant
#    * - the model keeps its hooks
#      - ``copy.deepcopy(model)``, and the fix on the copy
#      - memory for the copy


class Named(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x=x)


model.block.__dict__.pop("forward")
log_calls(model)
named = torch.export.export(
    Named(model), (), {"x": x}, dynamic_shapes=shapes, strict=False
)

# %%
# **A copy that keeps its hooks is not a copy**: ``new_forward`` calls the original. The
# program lists the copy's weights and computes with constants:

del model.forward
reuse_every_second(model.block)
copied = copy.deepcopy(model)
torch.nn.init.zeros_(copied.block.weight)
torch.nn.init.zeros_(copied.block.bias)
wrong = torch.export.export(copied, (x,), strict=False)
print(list(wrong.state_dict), list(wrong.constants))
torch.testing.assert_close(wrong.module()(other), right)  # the original's result

for module in copied.modules():
    module.__dict__.pop("forward", None)
plain_copy = torch.export.export(copied, (x,), strict=False)
torch.testing.assert_close(plain_copy.module()(other), other)  # tanh(0) is 0

# %%
# Check
# +++++
#
# Against the formula, at sizes that were not traced, three times each.

for exported in (program.module(), named.module()):
    for size in (1, 3, 64):
        for _ in range(3):
            rows = torch.randn(size, 8)
            expected = rows @ model.block.weight.T + model.block.bias
            torch.testing.assert_close(exported(x=rows), rows + torch.tanh(expected))
try:
    program.module()(x=torch.randn(65, 8))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Remove hooks before the export, and compare the program with the model on inputs
#   that are not the example: :ref:`l-plot-exporter-wrong-checklist`.
# * Weights among ``program.constants``: :ref:`l-plot-exporter-wrong-constants`.
