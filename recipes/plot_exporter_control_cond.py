"""
.. _l-plot-exporter-control-cond:

Replace an if on a tensor with torch.cond
=========================================

.. answer::
   :cost: The branches have to follow rules, and not every backend supports
      ``torch.cond``.

   An ``if`` needs a value, and tensors have none during the export. ``torch.cond``
   keeps both branches in the exported program and runs one of them. If both are cheap,
   ``torch.where`` chooses between the two results.

   .. code-block:: diff

      -        if x.abs().amax() < 1:
      -            return self.small(x)
      -        return self.large(x)
      +        quiet = x.abs().amax() < 1
      +        return torch.cond(quiet, self.small, self.large, (x,))

   Not your case?

   * "captured completely": :ref:`l-plot-exporter-control-cond-rules`.
   * ``assert``, or ``if ...: raise``: :ref:`l-plot-exporter-control-assert`.
   * The same message, and the line has no ``if``: :ref:`l-plot-exporter-data-guard`.

.. meta::
   :keywords: if on a tensor, data-dependent branching, dynamic control flow is not
      supported, could not guard on data-dependent expression, generic_jump
      TensorVariable, torch.cond, torch.where, early exit, Eq(u0, 1), torch.equal
"""

# %%
# The problem
# +++++++++++
#
# Quiet inputs take a small layer, loud ones a larger network.

# sphinx_gallery_tags = ["control flow", "export fails"]
# sphinx_gallery_wording = "Unsupported: generic_jump TensorVariable()"
# sphinx_gallery_wording = "Please use torch.cond to explicitly capture the control"
# sphinx_gallery_wording = "torch.cond exported only one of the branches"

import warnings

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode


class IfModel(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.small = torch.nn.Linear(8, 4)
        self.large = torch.nn.Sequential(
            torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4)
        )

    def forward(self, x):
        if x.abs().amax() < 1:
            return self.small(x)
        return self.large(x)


torch.manual_seed(0)
model = IfModel()
x = torch.randn(5, 8)
shapes = ({0: torch.export.Dim("batch", max=64)},)
try:
    torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
except GuardOnDataDependentSymNode as error:
    print(error)

# %%
# ``Eq(u0, 1)`` asks whether the condition is true. Strict mode names the cause.

try:
    torch.export.export(model, (x,), dynamic_shapes=shapes, strict=True)
except torch._dynamo.exc.Unsupported as error:
    print(error)

# %%
# The fix
# +++++++
#
# The branches are functions or modules. What they are called with follows in a tuple.


class CondModel(IfModel):
    def forward(self, x):
        quiet = x.abs().amax() < 1
        return torch.cond(quiet, self.small, self.large, (x,))


fixed = CondModel()
fixed.load_state_dict(model.state_dict())
# sphinx_gallery_picture = "Both branches are in the program; one of them runs."
program = torch.export.export(fixed, (x,), dynamic_shapes=shapes, strict=False)

# %%
# The condition has to stay a tensor, with one element:
#
# .. list-table::
#    :header-rows: 1
#
#    * - In the condition
#      - Write instead
#    * - ``a.all() and b.all()``, ``or``
#      - ``a.all() & b.all()``, ``|``
#    * - ``not mask.any()``
#      - ``~mask.any()``
#    * - ``x.max().item() > 0``
#      - ``x.max() > 0``
#    * - ``int(x.argmax()) == 3``
#      - ``x.argmax() == 3``
#    * - ``torch.equal(a, b)``
#      - ``(a == b).all()``, if the shapes are the same
#    * - ``torch.allclose(a, b)``
#      - ``torch.isclose(a, b).all()``
#
# Why it happens
# ++++++++++++++
#
# The exporter runs ``forward`` on fake tensors: a shape, a dtype, no values. The
# condition becomes a symbol, and torch raises `when nothing it knows decides it
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L8459>`_.
# With a constant as the condition the model exports, with one branch.


class ConstantModel(IfModel):
    def forward(self, x):
        if True:
            return self.small(x)
        return self.large(x)


constant = torch.export.export(ConstantModel(), (x,), strict=False)
print([node.name for node in constant.graph.nodes if node.op == "call_function"])

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your case
#      - Write
#      - Cost
#    * - cheap branches, or a choice row by row
#      - ``torch.where(condition, a, b)``
#      - both are computed; gradients can become NaN (below)
#    * - the caller can decide
#      - export each branch, keep the ``if`` outside
#      - two programs, an ``if`` in every application
#    * - ``if x.shape[0] > 3:``
#      - a range with one answer: :ref:`l-plot-exporter-shapes-ranges`
#      - other sizes are rejected
#    * - ``while`` on a tensor
#      - ``while_loop``: :ref:`l-plot-exporter-control-while`
#      - experimental


class WhereModel(IfModel):
    def forward(self, x):
        quiet = x.abs().amax() < 1
        return torch.where(quiet, self.small(x), self.large(x))


chooser = WhereModel()
chooser.load_state_dict(model.state_dict())
chosen = torch.export.export(
    chooser, (x,), dynamic_shapes=shapes, strict=False
).module()

# %%
# If you train: a branch that is *not* chosen can still make the gradient NaN, because
# ``0 * inf`` is NaN. Make its input harmless first.

y = torch.tensor([4.0, 0.0], requires_grad=True)
(one,) = torch.autograd.grad(torch.where(y > 0, y.sqrt(), 0.0).sum(), y)
safe = torch.where(y > 0, y, 1.0)
(two,) = torch.autograd.grad(torch.where(y > 0, safe.sqrt(), 0.0).sum(), y)
print("one where:", one.tolist(), "two:", two.tolist())
assert one.isnan().any() and two.tolist() == [0.25, 0.0]

# %%
# Check
# +++++
#
# Against the model with its ``if``: both branches, at sizes that were not traced. And
# the conditions of the table against their Python form, each true and false.

exported = program.module()
for size in (1, 2, 9, 64):
    for loudness in (0.1, 10.0):
        signal = loudness * torch.rand(size, 8).clamp(min=0.2)
        assert (signal.amax() < 1) == (loudness < 1)
        for function in (exported, chosen):
            torch.testing.assert_close(function(signal), model(signal))


class Conditions(torch.nn.Module):
    def forward(self, x):
        both = (x > 0).all() & (x < 9).all()
        none = ~torch.isnan(x).any()
        same = (x == x.round()).all()
        close = torch.isclose(x, x.round()).all()
        return torch.stack([both, none, x.max() > 0, x.argmax() == 3, same, close])


def in_python(x):
    both = (x > 0).all() and (x < 9).all()
    none = not torch.isnan(x).any()
    same = torch.equal(x, x.round())
    close = torch.allclose(x, x.round())
    return [both, none, x.max().item() > 0, int(x.argmax()) == 3, same, close]


conditions = torch.export.export(Conditions(), (torch.ones(4),), strict=False).module()
rows = [[1.0, 2, 3, 4], [0.5, 0, 0, 0], [0.0, 0, 0, 0], [-1, torch.nan, 0, 1]]
for row in torch.tensor(rows):
    assert conditions(row).tolist() == [bool(answer) for answer in in_python(row)]
try:
    exported(torch.randn(65, 8))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# The condition is one value for the whole batch. For one per row, use ``torch.where``.


class RowByRow(IfModel):
    def forward(self, x):
        return torch.cond(x.amax(dim=1) < 1, self.small, self.large, (x,))


try:
    torch.export.export(RowByRow(), (x,), dynamic_shapes=shapes, strict=False)
except RuntimeError as error:
    print(error)

# %%
# A comparison of a dynamic size keeps both branches. A flag or a static size is known
# during the export: one branch is left, with a warning.


class SizeModel(IfModel):
    def forward(self, x):
        return torch.cond(x.shape[0] > 3, self.small, self.large, (x,))


sizes = SizeModel()
dynamic = torch.export.export(sizes, (x,), dynamic_shapes=shapes, strict=False).module()
for batch in (torch.randn(1, 8), torch.randn(3, 8), torch.randn(4, 8)):
    branch = sizes.small if len(batch) > 3 else sizes.large
    torch.testing.assert_close(dynamic(batch), branch(batch))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    static = torch.export.export(sizes, (x,), strict=False)
print(*{str(w.message) for w in caught if "Pred is" in str(w.message)})
assert "cond" not in [node.name for node in static.graph.nodes]

# %%
# Summary
# +++++++
#
# * ``torch.cond`` for expensive branches, ``torch.where`` for cheap ones or row by row.
# * Eager ``torch.cond`` compiles its branches first: if that is too slow, keep the
#   ``if`` there.
# * Next: rules for the branches (:ref:`l-plot-exporter-control-cond-rules`); ONNX
#   (:ref:`l-plot-exporter-onnx-control-flow`).
