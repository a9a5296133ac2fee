"""
.. _l-plot-exporter-exporter-first-export:

Export your first model and run the result
==========================================

.. answer::
   :cost: Nothing at run time.

   The example inputs go in a tuple, even a single one: ``(x,)``, with the comma. A
   dimension is a constant unless ``dynamic_shapes`` names it. The exported program is
   a description: its ``module()`` runs.

   .. code-block:: diff

      -torch.export.export(model, x)
      +model.eval()
      +batch = torch.export.Dim("batch", max=1024)
      +program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
      +exported = program.module()
      +scores = exported(x)

   Not your case?

   * The message is about your model, not the call: :ref:`l-topic-start-here`.
   * Keyword arguments, ``*args``: :ref:`l-plot-exporter-inputs-args-kwargs`.
   * You export a method, or a part of a model: :ref:`l-plot-exporter-modules-method`.

.. meta::
   :keywords: torch.export tutorial, first export, ExportedProgram, graph signature,
      args must be a tuple, range constraints, run exported program, batch size, lifted
      parameters, export a function, Expected mod to be an instance of torch.nn.Module
"""

# %%
# The problem
# +++++++++++
#
# The inputs are not in a tuple:

# sphinx_gallery_tags = ["start here", "how to", "export fails", "run fails"]
# sphinx_gallery_wording = "TypeError: 'ExportedProgram' object is not callable"
# sphinx_gallery_wording = "exported program only works with the batch size of the example"
# sphinx_gallery_wording = "where are the weights of an exported program"
# sphinx_gallery_wording = "Calling eval() is not supported yet."
# sphinx_gallery_wording = "forward() missing 5 required positional arguments: 'p_layers_0_bias', 'p_layers_1_weight', 'p_layers_1_bias', 'b_mean', and 'x'"

import torch


class Scorer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.full((4,), 0.5))
        self.layers = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(2))
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x):
        x = x - self.mean
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.dropout(x)


torch.manual_seed(0)
model = Scorer()
x = torch.rand(5, 4)
try:
    torch.export.export(model, x)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# With a tuple the export works, but its result cannot be called. ``module()`` can, with
# five rows only: the example had five.

static = torch.export.export(model, (x,))
try:
    static(x)
except RuntimeError as error:
    print(error)
try:
    static.module()(torch.rand(6, 4))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# The fix
# +++++++
#
# ``eval()`` comes first: the program keeps the model's mode. ``dynamic_shapes`` has one
# entry for each argument of ``forward``, with the dimensions that vary.

# sphinx_gallery_picture = "The batch is a symbol, and parameters are inputs."
batch = torch.export.Dim("batch", max=1024)
model.eval()
program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
exported = program.module()
scores = exported(x)

# %%
# Why it happens
# ++++++++++++++
#
# ``export`` calls ``model(*args)`` once and records the operators. A size that
# ``dynamic_shapes`` does not name is a number of the program. A named one is a symbol
# with a range (``VR``, value range):

print("without dynamic_shapes:", static.range_constraints)
print("with dynamic_shapes:   ", list(program.range_constraints.values()))
assert static.range_constraints == {} and len(program.range_constraints) == 1

# %%
# No loop and no ``if`` is left, only operators. ``False`` in ``dropout`` is eval mode.

print(program.graph_module.code.strip())

# %%
# Parameters and buffers are inputs of the graph (they are *lifted*), so the program
# `cannot be called directly
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/exported_program.py#L1446>`_.
# ``module()`` fills them in. The signature says what each input is:

for spec in program.graph_signature.input_specs:
    print(f"{spec.kind.name:10} {spec.arg.name:17} {spec.target}")
assert set(program.state_dict) == set(model.state_dict())

# %%
# The class, its other methods and attributes, and hooks are gone. Parameters are shared
# with the model: export ``copy.deepcopy(model)`` if training goes on.

with torch.no_grad():
    model.layers[1].bias.add_(1.0)
assert not torch.equal(exported(x), scores)
torch.testing.assert_close(exported(x), model(x))
assert not isinstance(exported, Scorer)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - The message
#      - What to write
#    * - ``missing a required argument: 'x'``, ``too many positional arguments``
#      - one entry of the tuple for each argument of ``forward``
#    * - ``Expected mod to be an instance of torch.nn.Module``
#      - an instance and not a class; for a function, the wrapper below
#    * - ``forward() missing 5 required positional arguments: 'p_...``
#      - ``program.module()(x)`` instead of ``program.graph_module(x)``
#    * - ``Calling eval() is not supported yet.``
#      - ``model.eval()`` before the export: :ref:`l-plot-exporter-wrong-train-eval`
#    * - ``Module [Module] is missing the required "forward" function``
#      - a submodule of the program does not run alone:
#        :ref:`l-plot-exporter-modules-unflatten`


def normalize(x):
    return x / x.norm(dim=-1, keepdim=True)


for module, args in [(model, ()), (model, (x, x)), (normalize, (x,))]:
    try:
        torch.export.export(module, args)
    except (TypeError, ValueError) as error:
        print(error)


class Normalize(torch.nn.Module):
    def forward(self, x):
        return normalize(x)


normalized = torch.export.export(Normalize(), (x,), dynamic_shapes=({0: batch},))

# %%
# Check
# +++++
#
# The reference is the model, at sizes that were not traced.

for size in (1, 2, 17, 1024):
    rows = torch.randn(size, 4)
    torch.testing.assert_close(exported(rows), model(rows))
    torch.testing.assert_close(normalized.module()(rows), normalize(rows))
for shape in ((1025, 4), (5, 3)):
    try:
        exported(torch.rand(shape))
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# Summary
# +++++++
#
# * A module in eval mode, a tuple of inputs, and a name for each dimension that varies.
# * Run ``program.module()``, and keep it: each call makes a new module.
#
# Next: :ref:`l-plot-exporter-wrong-checklist` before you trust the program,
# :ref:`l-plot-exporter-shapes-specialized` if the export says ``constant``,
# :ref:`l-plot-exporter-exporter-draft` if it fails on your model, and
# :ref:`l-plot-exporter-exporter-strict` on ``strict=``.
