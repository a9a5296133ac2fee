"""
.. _l-plot-exporter-inputs-python-scalars:

Keep a number an input: "Guard failed: temperature == 2.0"
==========================================================

.. answer::
   :cost: Both sides of a flag are computed. An int needs ``item()`` and checks.

   Only tensors are traced: a number, a bool or a string is a constant of the program.
   Pass a tensor without dimensions. For a string, export one program for each value:
   see *Other fixes*.

   .. code-block:: diff

      -inputs = (scores, 3, 2.0, True)
      +inputs = (scores, torch.tensor(3), torch.tensor(2.0), torch.tensor(True))
      +        top = top.item()
      -        if normalize:
      -            best = best.softmax(dim=-1)
      -        return best
      +        return torch.where(normalize, best.softmax(dim=-1), best)

   Not your case?

   * The guard is about a size, ``x.size()[0]``: :ref:`l-plot-exporter-after-guards`.
   * The value may be None: :ref:`l-plot-exporter-inputs-optional`.
   * A configuration object: :ref:`l-plot-exporter-inputs-dataclass`.

.. meta::
   :keywords: int input, float input, bool flag, string argument, scalar input,
      constant argument, Guard failed, to be equal to, Dim.DYNAMIC int,
      named Dims integers, 0-d tensor, torch.export specializes
"""

# %%
# The problem
# +++++++++++
#
# The export works. Then one value after the other is changed.

# sphinx_gallery_tags = ["inputs", "run fails", "turns static", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "int argument is hard-coded in the exported graph"
# sphinx_gallery_wording = "exported program always uses the same temperature"
# sphinx_gallery_wording = "bool argument of forward cannot be changed after torch.export"
# sphinx_gallery_wording = "Expected input at 'temperature' to be equal to 2.0, but got 0.5"
# sphinx_gallery_wording = "Guard failed: reduce == 'mean'"

import torch
from torch.export import Dim


class Sampler(torch.nn.Module):
    def forward(self, scores, top, temperature, normalize):
        best = scores.topk(top, dim=-1).values / temperature
        if normalize:
            best = best.softmax(dim=-1)
        return best


torch.manual_seed(0)
model = Sampler()
scores = torch.randn(4, 10)
inputs = (scores, 3, 2.0, True)
frozen = torch.export.export(model, inputs, strict=False).module()
for values in ((4, 2.0, True), (3, 0.5, True), (3, 2.0, False)):
    try:
        frozen(scores, *values)
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# The fix
# +++++++
#
# The two checks say what the exporter has to know of an int that is a size.


class TensorSampler(torch.nn.Module):
    def forward(self, scores, top, temperature, normalize):
        top = top.item()
        torch._check(top >= 1)
        torch._check(top <= scores.shape[-1])
        best = scores.topk(top, dim=-1).values / temperature
        return torch.where(normalize, best.softmax(dim=-1), best)


inputs = (scores, torch.tensor(3), torch.tensor(2.0), torch.tensor(True))
rows = {0: Dim("rows", min=1, max=64)}
# sphinx_gallery_picture = "The three values are inputs that something reads."
program = torch.export.export(
    TensorSampler(), inputs, dynamic_shapes=(rows, None, None, None), strict=False
)

# %%
# Why it happens
# ++++++++++++++
#
# `A number reaches forward as it is
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/non_strict_utils.py#L178>`_,
# and Python computes with it. The input exists in the graph, and nothing reads it; the
# value stands where it was used.

for top in (3, 4):
    graph = torch.export.export(model, (scores, top, 2.0, True), strict=False).graph
    for node in graph.nodes:
        if "topk" in node.name:
            print(node.target, node.args)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - The input is
#      - Do this
#      - Cost
#    * - an int
#      - ``Dim.DYNAMIC`` in ``dynamic_shapes`` (PyTorch 2.8 or later)
#      - a comparison becomes a guard: 2.9 and later reject 1 here
#    * - a string, or a flag that changes the whole model
#      - bind it in a wrapper: one program for each value
#      - an export and a file for each combination
#    * - a flag, and each side is expensive
#      - a tensor and :ref:`torch.cond <l-plot-exporter-control-cond>`
#      - rules for the branches


class Bound(torch.nn.Module):
    def __init__(self, model, *values):
        super().__init__()
        self.model, self.values = model, values

    def forward(self, scores):
        return self.model(scores, *self.values)


programs = {}
for normalize in (True, False):
    bound = Bound(model, 3, 2.0, normalize)
    programs[normalize] = torch.export.export(
        bound, (scores,), dynamic_shapes=(rows,), strict=False
    ).module()

# %%
# For an int, a named ``Dim`` is not supported, and ``Dim.DYNAMIC`` makes it a symbol.
# 11 of 10 scores must be rejected.

for top in (Dim("top"), Dim.DYNAMIC):
    try:
        symbol = torch.export.export(
            model,
            (scores, 3, 2.0, True),
            dynamic_shapes=(rows, top, None, None),
            strict=False,
        ).module()
        print(torch.equal(symbol(scores, 5, 2.0, True), model(scores, 5, 2.0, True)))
        symbol(scores, 11, 2.0, True)
    except (AssertionError, RuntimeError, ValueError, torch._dynamo.exc.UserError) as e:
        print(e)

# %%
# Check
# +++++
#
# The reference is the model of the beginning, with numbers.

run = program.module()
for size, *values in [(1, 1, 0.5, True), (7, 5, 3.0, False), (64, 10, 1.0, True)]:
    x = torch.randn(size, 10)
    tensors = [torch.tensor(value) for value in values]
    torch.testing.assert_close(run(x, *tensors), model(x, *values))
    for normalize, bound in programs.items():
        torch.testing.assert_close(bound(x), model(x, 3, 2.0, normalize))
assert all(node.users for node in list(program.graph.nodes)[:4])

# %%
# 11 of 10 scores must be rejected.

try:
    run(scores, torch.tensor(11), torch.tensor(2.0), torch.tensor(True))
except RuntimeError as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# Since PyTorch 2.9 the check of a constant is the text ``gain == 2``. In Python 2.0 ==
# 2, so the program silently accepts 2.0, and returns integers. A string with a quote
# makes a text that is not Python.


class Gain(torch.nn.Module):
    def forward(self, x, gain, label):
        return x * gain


counts = torch.arange(4)
for label in ("its", "it's"):
    gain = torch.export.export(Gain(), (counts, 2, label), strict=False)
    try:
        print(gain.module()(counts, 2.0, label), Gain()(counts, 2.0, label))
    except (RuntimeError, SyntaxError) as error:
        print(f"{type(error).__name__}: {error}")

# %%
# A loop ``for _ in range(steps)`` needs a constant:
# :ref:`l-plot-exporter-shapes-python-int`. In strict mode an int that is only compared
# becomes one silently, even with ``Dim.DYNAMIC``. The graph shows a symbol, or a
# number.


class Threshold(torch.nn.Module):
    def forward(self, x, level):
        return x.relu() if level > 2 else -x


for strict in (False, True):
    try:
        found = torch.export.export(
            Threshold(), (scores, 3), dynamic_shapes=(None, Dim.DYNAMIC), strict=strict
        )
        _, level, *_ = found.graph.nodes
        print(f"strict={strict}: {type(level.meta['val']).__name__}")
    except torch._dynamo.exc.UserError as error:
        print(str(error).splitlines()[0])

# %%
# Summary
# +++++++
#
# * float, bool: a tensor. int: ``Dim.DYNAMIC``, or a tensor and ``item()``. str: one
#   program for each value.
# * What stays a number in the example is a constant.
#
# Next: :ref:`l-plot-exporter-data-item` for errors after ``item()``,
# :ref:`l-plot-exporter-control-cond` for a branch on a flag.
