"""
.. _l-plot-exporter-wrong-train-eval:

Call eval() before the export, not on the program
=================================================

.. answer::
   :cost: Nothing. A program that is trained needs an export of its own.

   The mode is a Python attribute. During the export it becomes an argument of
   ``dropout`` and ``batch_norm``, and a branch on ``self.training`` is decided. A module
   starts in train mode, and ``eval()`` on the program raises ``Calling eval() is not
   supported yet``.

   .. code-block:: diff

      +model.eval()
       program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
      -program.module().eval()

   Not your case?

   * The "random" number is the same at each call: :ref:`l-plot-exporter-wrong-constants`.
   * The gradients are wrong: :ref:`l-plot-exporter-wrong-gradients`.
   * It is in eval mode and still wrong: :ref:`l-plot-exporter-wrong-checklist`.

.. meta::
   :keywords: dropout active in exported model, batch norm, eval mode, train mode, random
      output, NotImplementedError eval, move_exported_model_to_eval,
      Calling eval() is not supported yet, Calling train() is not supported yet
"""

# %%
# The problem
# +++++++++++
#
# Batch norm, dropout and a line of the model ask for the mode. Nobody called ``eval()``:
# the same input gives two results, and none of them is a probability.

# sphinx_gallery_tags = ["wrong results", "wrong without an error", "run fails"]
# sphinx_gallery_wording = "exported model output changes on every call"
# sphinx_gallery_wording = "dropout is still active after export"
# sphinx_gallery_wording = "lower accuracy after export"
# sphinx_gallery_wording = "Operator aten._native_batch_norm_legit_functional.default is not Aten Canonical."

import torch


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(3)
        self.dropout = torch.nn.Dropout(0.5)
        self.linear = torch.nn.Linear(3, 64)

    def forward(self, x):
        y = self.linear(self.dropout(self.norm(x)))
        return y if self.training else torch.softmax(y, dim=-1)


torch.manual_seed(0)
model = Classifier()
x = torch.rand(4, 3)
dynamic = ({0: torch.export.Dim("batch")},)
program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
trains = program.module()
print("same result twice:", torch.equal(trains(x), trains(x)))
print("probabilities:", torch.allclose(trains(x).sum(dim=1), torch.ones(4)))
try:
    program.module().eval()
except NotImplementedError as error:
    print(error)

# %%
# A module that contains the program fails as well, with ``Calling train()``, which
# ``eval()`` calls. Setting ``training = False`` changes nothing.

try:
    torch.nn.Sequential(trains).eval()
except NotImplementedError as error:
    print(error)
trains.training = False
assert not torch.equal(trains(x), trains(x))

# %%
# The fix
# +++++++

model.eval()
program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# A layer `passes its mode to the operator
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/nn/modules/dropout.py#L73>`_. In
# train mode the argument is True, and there is no ``softmax``.


def modes(program):
    for node in program.graph.nodes:
        if node.target is torch.ops.aten.dropout.default:
            yield f"dropout(train={node.args[2]})"
        elif node.target is torch.ops.aten.batch_norm.default:
            yield f"batch_norm(training={node.args[5]})"
        elif node.target is torch.ops.aten.softmax.int:
            yield "softmax"


in_train_mode = torch.export.export(Classifier().train(), (x,), strict=False)
print("train:", *modes(in_train_mode))
print("eval: ", *modes(program))

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
#    * - you need both modes
#      - two programs, one exported in each mode
#      - a second export; parameters and statistics are shared
#    * - the model is gone, and the program was exported in train mode
#      - change the arguments, as below; ``move_exported_model_to_eval`` of torchao also
#        resets ``eps``, ``momentum`` and ``p`` (`issue 2980
#        <https://github.com/pytorch/ao/issues/2980>`_)
#      - not after ``run_decompositions``; a branch on ``self.training`` stays lost
#    * - ``F.dropout(x)`` is active in eval mode
#      - ``F.dropout(x, training=self.training)``
#      - none
#
# Change the arguments:

FLAGS = {torch.ops.aten.dropout.default: 2, torch.ops.aten.batch_norm.default: 5}


def switch_to_eval(program):
    for node in program.graph.nodes:
        if node.target in FLAGS:
            node.update_arg(FLAGS[node.target], False)
    program.graph_module.recompile()


class Plain(Classifier):
    def forward(self, x):
        return self.linear(self.dropout(self.norm(x)))


plain = Plain()
switched = torch.export.export(plain, (x,), dynamic_shapes=dynamic, strict=False)
switch_to_eval(switched)
print(*modes(switched))

# %%
# Check
# +++++
#
# The reference is the formula of eval mode, at sizes that were not traced. The first
# program has moved the statistics.

assert model.norm.num_batches_tracked > 0


def formula(model, x):
    scale = (model.norm.running_var + model.norm.eps) ** -0.5 * model.norm.weight
    y = (x - model.norm.running_mean) * scale + model.norm.bias
    return y @ model.linear.weight.T + model.linear.bias


exported, plainly = program.module(), switched.module()
for size in (1, 2, 9, 100):
    rows = torch.rand(size, 3)
    expected = formula(model, rows).exp()
    expected = expected / expected.sum(dim=1, keepdim=True)
    torch.testing.assert_close(exported(rows), expected)
    assert torch.equal(exported(rows), exported(rows))
    torch.testing.assert_close(plainly(rows), formula(plain, rows))
try:
    exported(torch.rand(4, 5))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Two programs share the parameters: a step of training changes both.

training = torch.export.export(model.train(), (x,), strict=False).module()
model.eval()
before = exported(x)
training(x).pow(2).sum().backward()
with torch.no_grad():
    for parameter in training.parameters():
        parameter -= 0.1 * parameter.grad
assert not torch.allclose(exported(x), before)
torch.testing.assert_close(exported(x), formula(model, x).softmax(dim=1))

# %%
# Limitations
# +++++++++++
#
# In train mode, batch norm raises for a batch of one row. This test is Python, so a
# program does not have it, and returns a result.

batches = torch.export.export(
    Plain(), (x,), dynamic_shapes=dynamic, strict=False
).module()
row = torch.rand(1, 3)
try:
    Plain()(row)
except ValueError as error:
    print("model:  ", error)
print("program:", batches(row).shape)

# %%
# Summary
# +++++++
#
# * ``model.eval()`` comes before the export. The program has no mode of its own.
# * Call the program twice, and look for ``True`` in the arguments of ``dropout`` and
#   ``batch_norm``.
#
# Next: :ref:`l-plot-exporter-wrong-checklist` compares with the model in eval mode,
# :ref:`l-plot-exporter-modules-quantized` is for models of PT2E.
# What becomes of the statistics, which are buffers: :ref:`l-plot-exporter-effects-mutation`.
