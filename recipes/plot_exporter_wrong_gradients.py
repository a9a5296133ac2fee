"""
.. _l-plot-exporter-wrong-gradients:

Keep a custom backward when you train an exported program
=========================================================

.. answer::
   :cost: Two additions, and training before ``run_decompositions``.

   A program has the operators of ``forward``, and its gradients follow from these. The
   ``backward`` of a ``torch.autograd.Function`` is Python and is lost, silently. Say with
   ``detach``, which is an operator, what has no gradient.

   .. code-block:: diff

      -        return Round.apply(self.linear(x))
      +        y = self.linear(x)
      +        return y + (y.round() - y).detach()

   Not your case?

   * ``forward`` computes a gradient: :ref:`l-plot-exporter-wrong-gradients-inside`.
   * Dropout or batch norm do not train: :ref:`l-plot-exporter-wrong-train-eval`.
   * You look for differences in results: :ref:`l-plot-exporter-wrong-checklist`.

.. meta::
   :keywords: autograd.Function, custom backward lost, straight-through estimator,
      no_grad, requires_grad, gradient is None, fine-tune exported program, detach,
      register_autograd, gradient of the exported program is zero
"""

# %%
# The problem
# +++++++++++
#
# The model rounds, and its ``backward`` lets the gradient through, as in training that
# is aware of quantization. The results agree, so a check of the results passes.

# sphinx_gallery_tags = ["wrong results", "wrong without an error"]
# sphinx_gallery_wording = "gradient of the exported program is zero"
# sphinx_gallery_wording = "torch.autograd.Function backward is ignored by torch.export"

import torch


class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Rounded(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)

    def forward(self, x):
        return Round.apply(self.linear(x))


def gradient(module, x):
    weight = dict(module.named_parameters())["linear.weight"]
    return torch.autograd.grad(module(x).sum(), weight)[0]


torch.manual_seed(0)
x = torch.rand(4, 3)
model = Rounded()
lost = torch.export.export(model, (x,), strict=False).module()
torch.testing.assert_close(lost(x), model(x))
print("model:  ", gradient(model, x)[0].tolist())
print("program:", gradient(lost, x)[0].tolist())

# %%
# In strict mode the result has no gradient at all.

strict = torch.export.export(model, (x,), strict=True).module()
try:
    gradient(strict, x)
except RuntimeError as error:
    print(error)

# %%
# The fix
# +++++++
#
# The straight-through estimator as a sum: ``y``, and a correction without a gradient.


class Straight(Rounded):
    def forward(self, x):
        y = self.linear(x)
        return y + (y.round() - y).detach()


fixed = Straight()
fixed.load_state_dict(model.state_dict())
batch = ({0: torch.export.Dim("batch")},)
program = torch.export.export(fixed, (x,), dynamic_shapes=batch, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# The trace runs ``forward`` and records operators. Of ``Round`` it sees ``round``, whose
# `gradient is zero
# <https://github.com/pytorch/pytorch/blob/v2.13.0/tools/autograd/derivatives.yaml#L1496>`_;
# of ``Straight`` it sees ``detach``, too.


def operators(some):
    nodes = some.graph.nodes
    return [str(node.target) for node in nodes if node.op == "call_function"]


print(operators(torch.export.export(model, (x,), strict=False)))
print(operators(program))

# %%
# ``run_decompositions`` keeps what a program returns and not its gradients: it removes
# ``detach``, and the block that the exporter makes of ``torch.no_grad()``. Compilers and
# :func:`torch.onnx.export` call it.


class Scaled(Rounded):
    def forward(self, x):
        with torch.no_grad():
            mean = self.linear(x).mean()
        return self.linear(x) * mean


scaled = torch.export.export(Scaled(), (x,), dynamic_shapes=batch, strict=False)
for some in (program, scaled):
    before, after = some.module(), some.run_decompositions().module()
    torch.testing.assert_close(before(x), after(x))
    print("same gradients:", torch.allclose(gradient(before, x), gradient(after, x)))

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
#    * - the program is decomposed first
#      - a custom operator with ``register_autograd``, as below
#      - each process that runs the program needs the definition
#    * - a part must not be trained
#      - ``with torch.no_grad():`` or ``detach()``
#      - lost in ``run_decompositions``
#    * - the model asks ``torch.is_grad_enabled()`` or ``x.requires_grad``
#      - two programs: the answer of the example is frozen
#      - an export for each mode
#    * - you export under ``torch.no_grad()``
#      - nothing: the program can be trained
#      - none


@torch.library.custom_op("cookbook::round_through", mutates_args=())
def round_through(x: torch.Tensor) -> torch.Tensor:
    return x.round()


round_through.register_fake(torch.empty_like)
round_through.register_autograd(lambda ctx, gradient: gradient)


class Custom(Rounded):
    def forward(self, x):
        return round_through(self.linear(x))


with torch.no_grad():
    custom = torch.export.export(Custom(), (x,), dynamic_shapes=batch, strict=False)
decomposed = custom.run_decompositions()

# %%
# Check
# +++++
#
# The references are written by hand: each output is ``x @ weight.T + bias``, so the
# gradient of a row of the weight is the sum of the inputs, times the mean in ``Scaled``.

for size in (1, 2, 7):
    rows = torch.randn(size, 3)
    for some in (program, custom, decomposed):
        exported = some.module()
        weight, bias = exported.linear.weight, exported.linear.bias
        expected = (rows @ weight.T + bias).round()
        torch.testing.assert_close(exported(rows), expected)
        expected = rows.sum(dim=0).expand(2, 3)
        torch.testing.assert_close(gradient(exported, rows), expected)
    exported = scaled.module()
    mean = (rows @ exported.linear.weight.T + exported.linear.bias).mean().detach()
    torch.testing.assert_close(gradient(exported, rows), expected * mean)
try:
    program.module()(torch.rand(4, 5))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# The mode is frozen where the model asks for it, as in this one:


class Asks(torch.nn.Module):
    def forward(self, x):
        return 2 * x if torch.is_grad_enabled() else 3 * x


asked = torch.export.export(Asks(), (x,), strict=False).module()
with torch.no_grad():
    assert torch.equal(Asks()(x), 3 * x)
    assert torch.equal(asked(x), 2 * x)

# %%
# Summary
# +++++++
#
# * If somebody will train the program, compare gradients as well, in the form that is
#   trained.
# * ``detach`` and ``no_grad`` survive the export, a custom operator also
#   ``run_decompositions``.
#
# Next: train mode, :ref:`l-plot-exporter-wrong-train-eval`; more about custom operators,
# :ref:`l-plot-exporter-ops-custom`; checkpointing,
# :ref:`l-plot-exporter-effects-checkpoint`.
