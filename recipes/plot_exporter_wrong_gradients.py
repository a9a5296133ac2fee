"""
.. _l-plot-exporter-wrong-gradients:

Check the gradients if the program is trained
=============================================

The results of the exported program are right, and its gradients are not: a custom
``backward`` is gone, a part under ``torch.no_grad()`` is trained after all, or nothing
has a gradient. Nothing is said at the export.

This page compares the gradients of model and program, shows what survives the export
and what does not survive ``run_decompositions``, and gives a form that survives both.

.. meta::
   :description: Compare gradients as well as results; write custom gradients with
      detach(), or as a custom operator with register_autograd.
   :keywords: autograd.Function, custom backward lost, straight-through estimator,
      no_grad, requires_grad, gradient is None, fine-tune exported program
"""

# %%
# The models
# ++++++++++
#
# ``Rounded`` rounds and lets the gradient through, as in quantisation-aware training.
# ``Centred`` subtracts a mean that is not to be trained.

# sphinx_gallery_tags = ["wrong results", "wrong without an error"]
# sphinx_gallery_wording = "gradient of the exported program is zero"
# sphinx_gallery_wording = "torch.autograd.Function backward is ignored by torch.export"

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


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


class Centred(Rounded):
    def forward(self, x):
        with torch.no_grad():
            mean = self.linear(x).mean()
        return self.linear(x) * mean


# %%
# The symptom
# +++++++++++
#
# The results agree, so every check of results passes. ``gradient`` returns the gradient
# of the weight for the sum of the outputs.


def gradient(module, x):
    weight = dict(module.named_parameters())["linear.weight"]
    (found,) = torch.autograd.grad(module(x).sum(), weight)
    return found


torch.manual_seed(0)
x = torch.rand(4, 3)
model = Rounded()
program = torch.export.export(model, (x,), strict=False)
exported = program.module()
torch.testing.assert_close(exported(x), model(x))
print("model:  ", [round(value, 2) for value in gradient(model, x)[0].tolist()])
print("program:", [round(value, 2) for value in gradient(exported, x)[0].tolist()])
assert not torch.allclose(gradient(exported, x), gradient(model, x))

# %%
# Strict mode is no better: there the result has no gradient at all.

exported = torch.export.export(model, (x,), strict=True).module()
try:
    gradient(exported, x)
except RuntimeError as error:
    message = str(error)
else:
    message = "This release computes a gradient."
print(message)
assert "does not require grad" in message, message

# %%
# The cause
# +++++++++
#
# A program holds the forward operators. Gradients are computed from them when the
# program runs, by the rules of these operators. The rule of ``round`` is zero. A
# ``backward`` that is written in Python is not an operator, so nothing is left of it.


def operators(program):
    nodes = program.graph.nodes
    return [str(node.target) for node in nodes if node.op == "call_function"]


print(operators(program))
assert operators(program) == ["aten.linear.default", "aten.round.default"]

# %%
# The fix: say it with detach
# +++++++++++++++++++++++++++
#
# The straight-through estimator is a sum: ``x`` plus a correction that has no gradient.
# ``detach`` is an operator, so it is in the graph. The price is two additions.


class Straight(Rounded):
    def forward(self, x):
        y = self.linear(x)
        return y + (y.round() - y).detach()


model = Straight()
program = torch.export.export(model, (x,), strict=False)
torch.testing.assert_close(gradient(program.module(), x), gradient(model, x))
print(operators(program))
assert "aten.detach.default" in operators(program)

# %%
# Decompose, and the gradients are gone again
# +++++++++++++++++++++++++++++++++++++++++++
#
# ``run_decompositions`` keeps what the program returns, and not its gradients: it
# removes ``detach``, and the block that the exporter makes of ``no_grad``. Many
# compilers, and :func:`torch.onnx.export`, call it. So train before you decompose.

for model in (Straight(), Centred()):
    program = torch.export.export(model, (x,), strict=False)
    decomposed = program.run_decompositions()
    for name, some in (("exported", program), ("decomposed", decomposed)):
        exported = some.module()
        torch.testing.assert_close(exported(x), model(x))
        same = torch.allclose(gradient(exported, x), gradient(model, x))
        print(f"{type(model).__name__:8} {name:10} gradients agree: {same}")
        assert same == (name == "exported")

# %%
# A gradient that survives
# ++++++++++++++++++++++++
#
# A custom operator is not decomposed, and its gradient is registered with it. The price
# is a definition outside of the model, which every process that runs the program needs.


@torch.library.custom_op("cookbook::round_through", mutates_args=())
def round_through(x: torch.Tensor) -> torch.Tensor:
    return x.round()


round_through.register_fake(torch.empty_like)
round_through.register_autograd(lambda ctx, gradient: gradient)


class Custom(Rounded):
    def forward(self, x):
        return round_through(self.linear(x))


model = Custom()
program = torch.export.export(model, (x,), strict=False).run_decompositions()
torch.testing.assert_close(gradient(program.module(), x), gradient(model, x))
print(operators(program))

# %%
# What does not matter
# ++++++++++++++++++++
#
# An export under ``torch.no_grad()`` gives a program that can be trained: the mode
# around the export is not part of it.

model = Straight()
with torch.no_grad():
    program = torch.export.export(model, (x,), strict=False)
torch.testing.assert_close(gradient(program.module(), x), gradient(model, x))

# %%
# What a model asks during the trace does matter: ``torch.is_grad_enabled()`` and
# ``x.requires_grad`` are Python values, and the answer is frozen.


class Asks(torch.nn.Module):
    def forward(self, x):
        return 2 * x if torch.is_grad_enabled() or x.requires_grad else 3 * x


exported = torch.export.export(Asks(), (x,), strict=False).module()
with torch.no_grad():
    print("model gives 3x:  ", torch.equal(Asks()(x), 3 * x))
    print("program gives 3x:", torch.equal(exported(x), 3 * x))
    assert torch.equal(Asks()(x), 3 * x) and torch.equal(exported(x), 2 * x)

# %%
# The check
# +++++++++
#
# Results and gradients, for batches that were not traced. It works on all releases of
# this page.

batch = ({0: torch.export.Dim("batch")},)
for model in (Straight(), Centred(), Custom()):
    program = torch.export.export(model, (x,), dynamic_shapes=batch, strict=False)
    exported = program.module()
    for size in (1, 2, 7):
        inputs = torch.rand(size, 3)
        torch.testing.assert_close(exported(inputs), model(inputs))
        torch.testing.assert_close(gradient(exported, inputs), gradient(model, inputs))
    print(f"{type(model).__name__}: same results and gradients")

# %%
# Another number of columns is refused.

try:
    exported(torch.rand(4, 5))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with five columns."
print(message)
assert "size()[1] == 3" in message or "to be equal to 3" in message, message

# %%
# To remember
# +++++++++++
#
# * A program has forward operators; a ``backward`` written in Python is lost.
# * ``no_grad`` and ``detach`` survive the export and are lost in
#   ``run_decompositions``; the gradient of a custom operator survives both.
# * If somebody will train the program, compare gradients, in the form that is trained.
#
# Next: :ref:`l-plot-exporter-wrong-train-eval`, since a program that is trained needs
# train mode, and :ref:`l-plot-exporter-wrong-checklist` for everything else.
