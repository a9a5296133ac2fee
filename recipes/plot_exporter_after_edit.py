"""
.. _l-plot-exporter-after-edit:

Replace a node in an exported program
=====================================

.. answer::
   :cost: A second trace; some operators come back under another name.

   Graph, ``val`` metadata, signature and compiled code must agree, and ``torch.fx``
   edits the graph only. Edit it, then let torch trace it again:
   ``run_decompositions({})`` returns a program in which all of them are new.

   .. code-block:: diff

       old.replace_all_uses_with(new)
       program.graph.erase_node(old)
      -    torch.export.save(program, io.BytesIO())
      +edited = program.run_decompositions({})
      +torch.export.save(edited, io.BytesIO())

   Not your case?

   * Each call of one operator: a table, :ref:`l-plot-exporter-ops-decompositions`.
   * Another submodule or layer: :ref:`l-plot-exporter-modules-unflatten`.
   * Another device or dtype: :ref:`l-plot-exporter-after-move`.

.. meta::
   :keywords: edit exported program, replace node, insert node, fx pass, graph surgery,
      SpecViolationError, missing val field, graph.lint, recompile, graph_signature,
      used before it has been defined, Tried to erase Node, User output is not in the
      correct order, not an allowed operator type, add an output, add a parameter
"""

# %%
# The problem
# +++++++++++
#
# A ReLU is to become a GELU, without the source of the model. Its result is an output,
# too. The edited program runs and cannot be saved.

# sphinx_gallery_tags = ["after the export", "conversion fails", "wrong without an error"]
# sphinx_gallery_wording = "editing the graph of the exported program has no effect"
# sphinx_gallery_wording = "cannot save an ExportedProgram whose graph was modified"
# sphinx_gallery_wording = "replace an operator in an exported program"

import io

import torch
from torch._export.verifier import SpecViolationError

aten = torch.ops.aten


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(4, 8)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x):
        features = torch.relu(self.body(x))
        return self.head(features), features


def export(module):
    dims = ({0: torch.export.Dim("batch", max=64)},)
    return torch.export.export(module, (x,), dynamic_shapes=dims, strict=False)


def find(graph, target):
    return next(node for node in graph.nodes if node.target is target)


torch.manual_seed(0)
model, x = Classifier(), torch.randn(3, 4)
program = export(model)
old = find(program.graph, aten.relu.default)
with program.graph.inserting_after(old):
    new = program.graph.call_function(aten.gelu.default, old.args)
old.replace_all_uses_with(new)
program.graph.erase_node(old)
try:
    torch.export.save(program, io.BytesIO())
except SpecViolationError as error:
    print(error)

# %%
# The fix
# +++++++

program = export(model)
old = find(program.graph, aten.relu.default)
with program.graph.inserting_after(old):
    new = program.graph.call_function(aten.gelu.default, old.args)
old.replace_all_uses_with(new)
program.graph.erase_node(old)
edited = program.run_decompositions({})
torch.export.save(edited, io.BytesIO())

# %%
# Why it happens
# ++++++++++++++
#
# ``save`` calls ``validate``, which `wants
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/verifier.py#L75>`_
# a ``val`` in each node: a tensor without data that tells dtype and shape. Give the
# node one, and the next message is about the signature, which has the old name. The code
# still computes a ReLU:

new.meta["val"] = aten.gelu.default(new.args[0].meta["val"])
try:
    program.validate()
except SpecViolationError as error:
    print(error)
assert "aten.relu" in program.graph_module.code
assert "aten.relu" not in edited.graph_module.code

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - You want
#      - Do this
#      - Cost
#    * - another operator, same arguments, dtype and shape
#      - change ``node.target``, then ``recompile``
#      - none
#    * - no second trace
#      - ``val``, signature and code by hand (``replace`` below)
#      - an incorrect ``val`` is not detected
#    * - a new parameter, buffer or output
#      - edit ``program.module()`` and export it
#      - ``dynamic_shapes`` has to be given again

short = export(model)
find(short.graph, aten.relu.default).target = aten.gelu.default
short.graph_module.recompile()


def replace(program, old, target, args):
    graph = program.graph
    with graph.inserting_after(old):
        new = graph.call_function(target, args)
    values = [a.meta["val"] if isinstance(a, torch.fx.Node) else a for a in args]
    new.meta = {**old.meta, "val": target(*values)}
    old.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
    program.graph_signature.replace_all_uses(old.name, new.name)
    if not old.users:
        graph.erase_node(old)
    graph.lint()
    program.graph_module.recompile()
    program.validate()


by_hand = export(model)
old = find(by_hand.graph, aten.relu.default)
replace(by_hand, old, aten.gelu.default, old.args)

module = export(model).module()
module.register_buffer("gain", torch.full((8,), 2.0))
old = find(module.graph, aten.relu.default)
with module.graph.inserting_after(old):
    gain = module.graph.get_attr("gain")
with module.graph.inserting_after(gain):
    new = module.graph.call_function(aten.mul.Tensor, (old, gain))
old.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
module.recompile()
scaled = export(module)

# %%
# Without ``delete_user_cb``, a node that takes the old one would become its own input.
#
# Check
# +++++
#
# The reference is the formula in eager mode; the programs come from a file.


def saved(program):
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file).module()


gelus = [saved(program) for program in (edited, short, by_hand)]
gains = saved(scaled)
for size in (1, 2, 17, 64):
    rows = 3 * torch.randn(size, 4)
    features = torch.nn.functional.gelu(model.body(rows))
    for gelu in gelus:
        torch.testing.assert_close(gelu(rows), (model.head(features), features))
    features = 2 * torch.relu(model.body(rows))
    torch.testing.assert_close(gains(rows), (model.head(features), features))
try:
    gelus[0](torch.randn(65, 4))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Message, or none
#      - What to do
#    * - ``Tried to erase Node relu but it still had 2 users in the graph``
#      - erase it after ``replace_all_uses_with``
#    * - ``Argument 'linear' of Node ... was used before it has been defined``
#      - insert the node behind its inputs
#    * - ``Operator ... is not an allowed operator type``
#      - name the overload of an operator: ``aten.gelu.default``
#    * - ``Number of output nodes ... is different``
#      - a new output: edit ``program.module()`` instead
#    * - no error, no effect
#      - call ``recompile``, and ``program.module()`` after the edit
#    * - no error, incorrect dtype in the metadata
#      - do not copy ``val`` from the old node; ``run_decompositions({})`` corrects it
#
# A module is a copy of the graph at that time:

program = export(model)
before = program.module()
find(program.graph, aten.relu.default).target = aten.gelu.default
after = program.module()
assert torch.equal(before(x)[1], model(x)[1])
assert not torch.equal(after(x)[1], model(x)[1])

# %%
# Summary
# +++++++
#
# * Edit the graph, then ``run_decompositions({})``; call ``validate()`` after it.
# * It may replace ``to`` by ``_to_copy``, and in-place operators by functional ones.
#
# The first node that differs: :ref:`l-plot-exporter-after-compare`. Files:
# :ref:`l-plot-exporter-after-save-load`.
