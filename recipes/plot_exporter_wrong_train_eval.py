"""
.. _l-plot-exporter-wrong-train-eval:

Call eval() before the export, not after
========================================

In production the program gives another result for the same input on each call, or its
accuracy is lower than that of the model. Calling ``eval()`` on it fails with ``Calling
eval() is not supported yet``, or nobody called it, since the model has it in its own
script.

This page shows what of train and eval mode is written into a program, what to do before
the export, and what can be done with a program that was exported in the wrong mode.

.. meta::
   :description: Call model.eval() before torch.export.export; the mode is part of the
      program and cannot be changed by calling eval() on it.
   :keywords: dropout active in exported model, batch norm, eval mode, train mode, random
      output, NotImplementedError eval, move_exported_model_to_eval
"""

# %%
# The model
# +++++++++
#
# Batch norm and dropout are the two layers that know a mode. The third place is a line
# of one's own that asks ``self.training``.

# sphinx_gallery_tags = ["wrong results", "wrong without an error", "run fails"]
# sphinx_gallery_wording = "exported model output changes on every call"
# sphinx_gallery_wording = "dropout is still active after export"
# sphinx_gallery_wording = "lower accuracy after export"
# sphinx_gallery_wording = "Operator aten._native_batch_norm_legit_functional.default is not Aten Canonical."

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(3)
        self.dropout = torch.nn.Dropout(0.5)
        self.linear = torch.nn.Linear(3, 2)

    def forward(self, x):
        y = self.linear(self.dropout(self.norm(x)))
        return y if self.training else torch.softmax(y, dim=-1)


# %%
# The symptom
# +++++++++++
#
# A module is in train mode from its birth. Nothing in the export says so. The same
# input gives two results, and none of them is a probability.

torch.manual_seed(0)
dynamic = ({0: torch.export.Dim("batch")},)
x = torch.rand(4, 3)
model = Classifier()
program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
exported = program.module()
first, second = exported(x), exported(x)
print("largest difference of two calls:", f"{(first - second).abs().max():.2f}")
print("sums of the rows:", [round(value, 2) for value in first.sum(dim=1).tolist()])
assert not torch.equal(first, second)

# %%
# It is too late for ``eval()`` now. A module that has the program as a part of it
# cannot be switched either.

for module in (exported, torch.nn.Sequential(exported)):
    try:
        module.eval()
    except NotImplementedError as error:
        message = str(error)
    else:
        message = "This release switches the program to eval mode."
    print(type(module).__name__, "-", message)
    assert message.endswith("is not supported yet."), message

# %%
# The attribute ``training`` can be set, and nothing follows from it.

exported.training = False
assert not torch.equal(exported(x), exported(x))

# %%
# The cause
# +++++++++
#
# The mode is a Python attribute. Layers read it when they run, and hand it to an
# operator as an argument. In the graph it is ``True`` and stays so. The branch on
# ``self.training`` was taken once: there is no ``softmax``.


def modes(program):
    for node in program.graph.nodes:
        if node.target is torch.ops.aten.dropout.default:
            yield f"dropout(train={node.args[2]})"
        elif node.target is torch.ops.aten.batch_norm.default:
            yield f"batch_norm(training={node.args[5]})"
        elif node.target is torch.ops.aten.softmax.int:
            yield "softmax"


print("train:", *modes(program))
assert list(modes(program)) == ["batch_norm(training=True)", "dropout(train=True)"]

# %%
# One thing is changed: ``eval()`` before the export. All three follow.

model.eval()
program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
print("eval: ", *modes(program))
assert list(modes(program)) == [
    "batch_norm(training=False)",
    "dropout(train=False)",
    "softmax",
]

# %%
# The fix, and its check
# ++++++++++++++++++++++
#
# Put ``eval()`` in front of the export. It works on all releases and in both modes of
# the exporter. The result is the same on each call, and that of the model.

exported = program.module()
for size in (1, 2, 9, 100):
    inputs = torch.rand(size, 3)
    torch.testing.assert_close(exported(inputs), model(inputs))
    assert torch.equal(exported(inputs), exported(inputs))
    print(f"batch {size}: same result")

# %%
# What was not declared dynamic is still checked.

try:
    exported(torch.rand(4, 5))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with five columns."
print(message)
assert "size()[1] == 3" in message or "to be equal to 3" in message, message

# %%
# Both modes are needed
# +++++++++++++++++++++
#
# Export two programs, one in each mode. They share the parameters of the model, so a
# training step on one is seen by the other. The price is a second export. The
# statistics are shared as well: all four calls of the first program above have moved
# them.

moved = model.norm.num_batches_tracked.item()
print("batches seen so far:", moved)
assert moved == 4
inference = torch.export.export(model.eval(), (x,), strict=False).module()
training = torch.export.export(model.train(), (x,), strict=False).module()
model.eval()
training(x).sum().backward()
with torch.no_grad():
    for parameter in training.parameters():
        parameter -= 0.1 * parameter.grad
torch.testing.assert_close(inference(x), model(x))
print("batches seen now:   ", model.norm.num_batches_tracked.item())
assert model.norm.num_batches_tracked.item() == moved + 1

# %%
# One difference remains. In train mode the layer of batch norm refuses a batch of one
# row, because its variance is zero. This check is written in Python, so the program
# does not have it. It returns the bias, whatever the input is.

batches = torch.export.export(
    Classifier().train(), (x,), dynamic_shapes=dynamic, strict=False
).module()
row = torch.rand(1, 3)
try:
    Classifier().train()(row)
except ValueError as error:
    message = str(error)
else:
    message = "This release accepts a batch of one row."
print("model:  ", message)
print("program:", [f"{value:.1f}" for value in batches(row)[0].tolist()])
print("        ", [f"{value:.1f}" for value in batches(100 * row)[0].tolist()])
assert message.startswith("Expected more than 1 value per channel when training")
torch.testing.assert_close(batches(row), batches(100 * row), atol=0.1, rtol=0)

# %%
# The wrong mode, and the model is gone
# +++++++++++++++++++++++++++++++++++++
#
# As long as the program has not been decomposed, ``dropout`` and ``batch_norm`` are
# single nodes, and their argument can be changed. Branches on ``self.training`` cannot
# be brought back, and the counter of batches goes on. ``torch.ao.quantization`` had
# ``move_exported_model_to_eval`` up to 2.10 for this. It is now in `torchao
# <https://github.com/pytorch/ao/blob/main/torchao/quantization/pt2e/export_utils.py>`_.

FLAGS = {torch.ops.aten.dropout.default: 2, torch.ops.aten.batch_norm.default: 5}


def switch_to_eval(program):
    for node in program.graph.nodes:
        if node.target in FLAGS:
            node.update_arg(FLAGS[node.target], False)
    program.graph_module.recompile()


class Plain(Classifier):
    def forward(self, x):
        return self.linear(self.dropout(self.norm(x)))


model = Plain().train()
program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
switch_to_eval(program)
exported = program.module()
model.eval()
for size in (1, 2, 9):
    inputs = torch.rand(size, 3)
    torch.testing.assert_close(exported(inputs), model(inputs))
print(*modes(program))

# %%
# Dropout that no mode switches off
# +++++++++++++++++++++++++++++++++
#
# ``torch.nn.functional.dropout`` has ``training=True`` as its default. Without the
# argument it drops in eval mode as well, in the model and in the program. The two
# agree, so no comparison with the same seed finds it.


class Functional(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.dropout(x)


model = Functional().eval()
program = torch.export.export(model, (x,), strict=False)
print(*modes(program))
assert list(modes(program)) == ["dropout(train=True)"]
assert not torch.equal(model(x), model(x))

# %%
# To remember
# +++++++++++
#
# * ``model.eval()`` comes before the export; the program has no mode of its own.
# * Look for ``True`` in the arguments of ``dropout`` and ``batch_norm``, or call the
#   program twice.
# * A program in train mode lacks the checks that layers make in Python.
#
# Next: :ref:`l-plot-exporter-wrong-checklist` compares with the model in eval mode as
# one of its steps. What becomes of the statistics, which are buffers:
# :ref:`l-plot-exporter-effects-mutation`.
