"""
.. _l-plot-exporter-effects-checkpoint:

Switch activation checkpointing off for the export
==================================================

.. answer::
   :cost: ``torch.compile`` of the model does not checkpoint, either.

   ``checkpoint`` saves memory in training. Strict mode fails on it in newer
   releases. The other mode records the reentrant variant without gradients: the
   results are right, and the program does not train, silently until ``backward``.

   .. code-block:: diff

      -        return self.head(checkpoint(self.block, x, use_reentrant=True))
      +        if torch.compiler.is_compiling():
      +            return self.head(self.block(x))
      +        return self.head(checkpoint(self.block, x, use_reentrant=True))

   Not your case?

   * The code is not yours, or a library has a switch: see *Other fixes*.
   * No checkpoint, and gradients are missing: :ref:`l-plot-exporter-wrong-gradients`.
   * Hooks and prints: :ref:`l-plot-exporter-effects-print-hooks`.

.. meta::
   :keywords: activation checkpointing, gradient checkpointing, use_reentrant,
      tag_activation_checkpoint, _checkpoint_context_fn, torch.utils.checkpoint,
      wrap_with_set_grad_enabled
"""

# %%
# The problem
# +++++++++++
#
# The model recomputes a block in the backward pass.

# sphinx_gallery_tags = ["side effects", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "RuntimeError: '_checkpoint_context_fn While executing %tag_activation_checkpoint"
# sphinx_gallery_wording = "element 0 of tensors does not require grad, exported model with gradient checkpointing"
# sphinx_gallery_wording = "Operator '<built-in function linear>' is not an allowed operator type"
# sphinx_gallery_wording = "gradient checkpointing model does not train after torch.export"

import torch
from torch._export.verifier import SpecViolationError
from torch.utils.checkpoint import checkpoint


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh())
        self.head = torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.head(checkpoint(self.block, x, use_reentrant=True))


torch.manual_seed(0)
model, x = Model(), torch.randn(4, 8, requires_grad=True)
dims = ({0: torch.export.Dim("batch", max=64)},)
try:
    torch.export.export(model, (x,), dynamic_shapes=dims, strict=True)
except (RuntimeError, SpecViolationError) as error:
    print(str(error).splitlines()[0])


def gradients(run, x):
    model.zero_grad()
    run(x).square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


silent = torch.export.export(model, (x,), dynamic_shapes=dims, strict=False)
torch.testing.assert_close(silent.module()(x), model(x))
print("model trains:  ", model(x).requires_grad)
print("program trains:", silent.module()(x).requires_grad)
assert not silent.module()(x).requires_grad
try:
    gradients(silent.module(), x)
except RuntimeError as error:
    print(error)

# %%
# The fix
# +++++++


class Plain(Model):
    def forward(self, x):
        if torch.compiler.is_compiling():
            return self.head(self.block(x))
        return self.head(checkpoint(self.block, x, use_reentrant=True))


plain = Plain()
plain.load_state_dict(model.state_dict())
program = torch.export.export(plain, (x,), dynamic_shapes=dims, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# The reentrant variant `runs the block without gradients
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/utils/checkpoint.py#L273>`_ and
# adds a backward pass of its own. The trace sees the first half (`issue 185140
# <https://github.com/pytorch/pytorch/pull/185140>`_):

print([n.target.__name__ for n in silent.graph.nodes if n.op == "call_function"])
print([n.target.__name__ for n in program.graph.nodes if n.op == "call_function"])

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
#    * - the program is for inference
#      - ``strict=False`` under ``torch.no_grad()``
#      - no gradients at all
#    * - the line may change
#      - ``use_reentrant=False`` and ``strict=False``
#      - the program saves all activations
#    * - a library has a switch
#      - ``model.gradient_checkpointing_disable()`` (transformers)
#      - none
#    * - the model checkpoints if ``self.training``
#      - ``model.eval()`` before the export
#      - a program in eval mode


class NonReentrant(Model):
    def forward(self, x):
        return self.head(checkpoint(self.block, x, use_reentrant=False))


changed = NonReentrant()
changed.load_state_dict(model.state_dict())
changed = torch.export.export(changed, (x,), dynamic_shapes=dims, strict=False)

# %%
# Check
# +++++
#
# Results and gradients against the formula, at sizes that were not traced. Programs
# share the parameters of the modules that they come from.


def formula(x):
    (first, _), head = model.block, model.head
    return torch.tanh(x @ first.weight.T + first.bias) @ head.weight.T + head.bias


expected_names = {name for name, _ in model.named_parameters()}
for exported in (program.module(), changed.module()):
    for size in (1, 2, 9, 64):
        rows = torch.randn(size, 8)
        torch.testing.assert_close(exported(rows), formula(rows))
        expected = gradients(formula, rows)
        assert set(expected) == expected_names
        exported.zero_grad()
        exported(rows).square().sum().backward()
        for name, parameter in exported.named_parameters():
            torch.testing.assert_close(
                parameter.grad, expected[name], rtol=1e-4, atol=1e-4
            )
try:
    program.module()(torch.randn(65, 8))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Switch checkpointing off before the export, whichever mode you use.
# * Equal results do not mean equal gradients: :ref:`l-plot-exporter-wrong-gradients`.
