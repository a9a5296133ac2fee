"""
.. _l-plot-exporter-shapes-specialized:

Keep the batch dynamic when the export says "constant (4)"
==========================================================

.. answer::
   :cost: Nothing at run time.

   The batch size of the example, 4, is hard-coded in the model: in ``reshape`` or
   ``expand``, in a buffer with 4 rows, or through ``len(x)``. Torch's suggestions,
   ``batch = 4`` and ``Dim.AUTO``, only make the dimension static.

   .. code-block:: diff

      -        heads = x.reshape(4, 2, 3)
      +        heads = x.reshape(x.shape[0], 2, 3)

   Not your case?

   * ``constant (1)`` or ``constant (0)``: it is the size of your example, not your
     model: :ref:`l-plot-exporter-shapes-zero-one`.
   * The model has an LSTM or a GRU: :ref:`l-plot-exporter-ops-recurrent`.
   * "must always be equal", or "generated guard" with a suggestion:
     :ref:`l-plot-exporter-shapes-related`.

.. meta::
   :keywords: Constraints violated, specialized it to be a constant, inferred to be a
      constant, RelaxedUnspecConstraint, suggested fixes, dynamic batch,
      hard-coded size, maybe_mark_dynamic, ConstraintViolationError
"""

# %%
# The problem
# +++++++++++
#
# A model splits the features into two heads, and the batch size is hard-coded.

# sphinx_gallery_tags = ["dynamic shapes", "export fails"]
# sphinx_gallery_wording = "Not all values of RelaxedUnspecConstraint(L['query'].size()[2]) are valid because L['query'].size()[2] was inferred to be a constant (22)."
# sphinx_gallery_wording = "The following dimensions have been specialized and CANNOT be dynamic"

import torch
from torch.export import Dim


class HardCoded(torch.nn.Module):
    def forward(self, x):
        heads = x.reshape(4, 2, 3)
        return heads.softmax(dim=-1)


torch.manual_seed(0)
x = torch.rand(4, 6)
batch = Dim("batch", max=1024)
try:
    torch.export.export(HardCoded(), (x,), dynamic_shapes=({0: batch},), strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# ``(batch)`` is the dimension, ``constant (4)`` the only size that the traced model
# accepts. With ``Dim.DYNAMIC`` the message names the input and the axis instead:

try:
    torch.export.export(
        HardCoded(), (x,), dynamic_shapes=({0: Dim.DYNAMIC},), strict=False
    )
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# The fix
# +++++++
#
# ``x.shape[0]`` stays a symbol during the export. ``-1`` works too, if it is the only
# unknown size.


class Heads(torch.nn.Module):
    def forward(self, x):
        heads = x.reshape(x.shape[0], 2, 3)
        return heads.softmax(dim=-1)


# sphinx_gallery_picture = "The batch is a symbol and not 4."
program = torch.export.export(Heads(), (x,), dynamic_shapes=({0: batch},), strict=False)
print(program.range_constraints)

# %%
# Why it happens
# ++++++++++++++
#
# ``x`` has ``6 * batch`` elements and ``reshape(4, 2, 3)`` needs 24. The exporter solves
# the equation, ``batch`` becomes 4, and `this test
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L6186>`_
# finds that a dimension declared dynamic is a number.
#
# The two suggestions change the declaration and not the model: ``batch = 4`` declares the
# constant, and ``Dim.AUTO`` accepts one silently. Both exports succeed, and both programs
# accept four rows only.

for size in (4, Dim.AUTO):
    static = torch.export.export(
        HardCoded(), (x,), dynamic_shapes=({0: size},), strict=False
    )
    assert static.range_constraints == {}
    try:
        static.module()(torch.rand(5, 6))
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# Other fixes
# +++++++++++
#
# The message does not name the line. Look for the number in the code and in the shapes
# of buffers, or see :ref:`l-plot-exporter-shapes-find-the-line`.
#
# .. list-table::
#    :header-rows: 1
#
#    * - Where the number comes from
#      - Write instead
#    * - ``x.reshape(4, 2, 3)``, ``x.view(self.batch_size, 2, 3)``
#      - ``x.shape[0]``, or ``-1``
#    * - ``x + self.table``, with as many rows as the example
#      - a table of the largest size, ``self.table[: x.shape[0]]``; costs memory, and its
#        length limits the dimension
#    * - ``torch.tanh(x + self.state)``, a state with one row per sample
#      - a state with one row, if all samples start alike
#    * - ``self.token.expand(4, 6)``, ``torch.zeros(4, 6)``
#      - ``self.token.expand(x.shape[0], -1)``, ``torch.zeros_like(x)``
#    * - ``if x.shape[0] != self.positions.shape[0]: resize``: the example fits, so the
#        export keeps the shortcut
#      - resize always; costs one resize per call
#    * - ``len(x)``, ``int(x.shape[0])``, ``float(...)``, ``math.sqrt(...)``
#      - ``x.shape[0]``; more in :ref:`l-plot-exporter-shapes-python-int`
#    * - ``sum(row for row in x)``, ``for i in range(len(x))``
#      - ``x.sum(dim=0)``; or :ref:`l-plot-exporter-control-scan`; a loop over lengths
#        or grids: :ref:`l-plot-exporter-data-lengths`
#
# Two of them:


class Table(torch.nn.Module):
    def __init__(self, rows):
        super().__init__()
        self.register_buffer("table", torch.sin(torch.arange(rows * 6.0)).view(rows, 6))

    def forward(self, x):
        return x + self.table


class LongTable(Table):
    def forward(self, x):
        return x + self.table[: x.shape[0]]


class Token(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.token = torch.nn.Parameter(torch.ones(1, 6))

    def forward(self, x):
        return torch.cat([self.token.expand(4, 6), x], dim=1)


class AnyToken(Token):
    def forward(self, x):
        return torch.cat([self.token.expand(x.shape[0], -1), x], dim=1)


for model in (Table(4), Token()):
    try:
        torch.export.export(model, (x,), dynamic_shapes=({0: batch},), strict=False)
    except torch._dynamo.exc.UserError as error:
        assert "constant (4)" in str(error)
        print(f"{type(model).__name__}: constant (4)")

table, token = (
    torch.export.export(fix, (x,), dynamic_shapes=({0: batch},), strict=False).module()
    for fix in (LongTable(1024), AnyToken())
)

# %%
# Check
# +++++
#
# At the traced size, the reference is the original model. At other sizes it is the result
# row by row, where no batch size occurs.

exported = program.module()
for call, model in [(exported, HardCoded()), (table, Table(4)), (token, Token())]:
    torch.testing.assert_close(call(x), model(x))
for size in (1, 2, 7, 1024):
    rows = torch.randn(size, 6)
    heads = torch.stack([row.view(2, 3).softmax(dim=-1) for row in rows])
    torch.testing.assert_close(exported(rows), heads)
    waves = torch.sin(torch.arange(6.0 * size)).view(size, 6)
    torch.testing.assert_close(table(rows), rows + waves)
    longer = torch.stack([torch.cat([torch.ones(6), row]) for row in rows])
    torch.testing.assert_close(token(rows), longer)
try:
    exported(torch.rand(1025, 6))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# If the model makes sense for one size only, such as a fixed number of sensors, keep the
# constant: ``batch = 4`` declares what is true.
#
# Summary
# +++++++
#
# * ``constant (4)``: find the number in the model, and take it from ``x.shape``.
# * Follow ``batch = 4`` or ``Dim.AUTO`` only if one size is what you want. Suggestions
#   with an equation or a range (``b = a``, ``a = 2*_a``, ``min=3``) keep the dimension
#   dynamic: :ref:`l-plot-exporter-shapes-related`, :ref:`l-plot-exporter-shapes-ranges`.
# * If a message has several lines, start with the one that says ``constant``: the others
#   may go with it. A guard such as ``== 0.408`` has no suggestion:
#   :ref:`l-plot-exporter-lost_dynamic_dimension`.
