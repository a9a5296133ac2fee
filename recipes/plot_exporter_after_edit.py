"""
.. _l-plot-exporter-after-edit:

Change the graph of an exported program
=======================================

A node was replaced, the program runs, and when it is saved torch raises
``SpecViolationError: Node.meta gelu_default is missing val field`` or ``User output
gelu_default is not in the correct order``. Or there is no error and the edit has no
effect.

This page replaces an activation. It shows the four places that must agree after an
edit, three ways to keep them so, what the usual mistakes say, and which of them say
nothing.

.. meta::
   :description: Set val, replace the uses in graph and signature, lint, recompile,
      validate; or retrace with run_decompositions({}).
   :keywords: edit exported program, replace node, insert node, fx pass, graph surgery,
      SpecViolationError, missing val field, graph.lint, recompile, graph_signature,
      used before it has been defined, Tried to erase Node
"""

# %%
# The model
# +++++++++
#
# It returns class scores and the hidden features they are made of. The activation is to
# become a GELU, in the program, without the source of the model.

# sphinx_gallery_tags = ["after the export", "conversion fails", "wrong without an error"]
# sphinx_gallery_wording = "editing the graph of the exported program has no effect"
# sphinx_gallery_wording = "cannot save an ExportedProgram whose graph was modified"
# sphinx_gallery_wording = "replace an operator in an exported program"

import io

import torch

aten = torch.ops.aten


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(4, 8)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x):
        features = torch.relu(self.body(x))
        return self.head(features), features


class Wanted(Classifier):
    def forward(self, x):
        features = torch.nn.functional.gelu(self.body(x))
        return self.head(features), features


torch.manual_seed(0)
model, wanted = Classifier(), Wanted()
wanted.load_state_dict(model.state_dict())
shapes = ({0: torch.export.Dim("batch", max=64)},)
x = torch.randn(5, 4)


def export():
    inputs = (torch.randn(3, 4),)
    return torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)


def find(graph, target):
    return graph.find_nodes(op="call_function", target=target)[0]


# %%
# The symptom
# +++++++++++
#
# These are the usual lines of a pass over a graph of ``torch.fx``: insert the new node
# after the old one, let all users take the new one, erase the old one. The program runs
# and is right.

program = export()
old = find(program.graph, aten.relu.default)
with program.graph.inserting_after(old):
    new = program.graph.call_function(aten.gelu.default, old.args)
old.replace_all_uses_with(new)
program.graph.erase_node(old)
torch.testing.assert_close(program.module()(x), wanted(x))

# %%
# It cannot be saved.

SpecViolationError = torch._export.verifier.SpecViolationError
try:
    torch.export.save(program, io.BytesIO())
except SpecViolationError as error:
    message = str(error)
else:
    message = "This release saves the program."
print(message)
assert message == "Node.meta gelu_default is missing val field."

# %%
# The cause
# +++++++++
#
# The ``val`` of a node is a tensor without data. It says which dtype and shape the node
# gives, and who converts a program relies on it. It can be computed: the operator is
# called with the ``val`` of its input. With it, the next complaint appears.

new.meta["val"] = new.target(new.args[0].meta["val"])
print(new.meta["val"].dtype, tuple(new.meta["val"].shape))
try:
    program.validate()
except SpecViolationError as error:
    message = str(error)
else:
    message = "This release accepts the program."
print(message)
assert message.startswith("User output gelu_default is not in the correct order")

# %%
# :meth:`~torch.export.ExportedProgram.validate`, which ``save`` calls first, compares
# the graph with the signature. This has the old name of the output. The fourth place is
# the code of the graph module: it was made from the graph once, and computes a ReLU.

(output,) = program.graph.find_nodes(op="output")
print("graph    ", [node.name for node in output.args[0]])
print("signature", list(program.graph_signature.user_outputs))
print("code     ", "relu" if "relu.default" in program.graph_module.code else "gelu")
assert program.graph_signature.user_outputs == ("linear_1", "relu")
assert "relu.default" in program.graph_module.code

# %%
# The fix: mend all four
# ++++++++++++++++++++++
#
# One function does it all. The new node also takes the metadata of the old one: the
# line of the model, the module. ``lint`` verifies the order, ``validate`` the rest. The
# price: you are in charge of ``val``. Works on all releases of this page.


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


program = export()
old = find(program.graph, aten.relu.default)
replace(program, old, aten.gelu.default, old.args)
print(program.graph_signature.user_outputs)
assert "gelu.default" in program.graph_module.code

# %%
# ``delete_user_cb`` leaves the new node alone. Without it, a node that is put *behind*
# the old one would get itself as its input. So the same function limits the features.

limited = export()
old = find(limited.graph, aten.relu.default)
replace(limited, old, aten.clamp.default, (old, None, 0.5))
assert limited.module()(x)[1].max() == 0.5
print([node.name for node in limited.graph.nodes if node.op == "call_function"])

# %%
# If arguments, dtype and shape stay the same, only the target has to change. The name
# does not, so nothing else is wrong but the code.

short = export()
find(short.graph, aten.relu.default).target = aten.gelu.default
short.graph_module.recompile()
short.validate()
torch.testing.assert_close(short.module()(x), wanted(x))

# %%
# The fix: let torch trace again
# ++++++++++++++++++++++++++++++
#
# :meth:`~torch.export.ExportedProgram.run_decompositions` with an empty table traces
# the graph and returns a new program, with new metadata and a new signature. It takes
# the careless edit of the symptom. The price: operators may become others, ``to``
# becomes ``_to_copy`` and in-place ones functional ones, see
# :ref:`l-plot-exporter-ops-decompositions`. Works on all releases of this page.

careless = export()
old = find(careless.graph, aten.relu.default)
with careless.graph.inserting_after(old):
    new = careless.graph.call_function(aten.gelu.default, old.args)
old.replace_all_uses_with(new)
careless.graph.erase_node(old)
retraced = careless.run_decompositions({})
retraced.validate()
print(retraced.graph_signature.user_outputs, retraced.range_constraints)
assert str(retraced.range_constraints) == str(program.range_constraints)

# %%
# The fix for new parameters: edit the module
# +++++++++++++++++++++++++++++++++++++++++++
#
# A new parameter is an input of the graph, an entry of the signature and one of the
# state dictionary. Do not write these. In the graph of ``module()`` it is an attribute:
# add it there, and export that module. The price: ``dynamic_shapes`` has to be given
# again. Without it the new program is static, and a wider range is not refused before
# 2.9.

module = export().module()
module.register_buffer("gain", torch.full((8,), 2.0))
old = find(module.graph, aten.relu.default)
with module.graph.inserting_after(old):
    gain = module.graph.get_attr("gain")
with module.graph.inserting_after(gain):
    new = module.graph.call_function(aten.mul.Tensor, (old, gain))
old.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
module.graph.lint()
module.recompile()
scaled = torch.export.export(
    module, (torch.randn(3, 4),), dynamic_shapes=shapes, strict=False
)
print(list(scaled.graph_signature.buffers), scaled.range_constraints)
torch.testing.assert_close(scaled.module()(x)[1], 2 * model(x)[1])
assert str(scaled.range_constraints) == str(program.range_constraints)
static = torch.export.export(module, (torch.randn(3, 4),), strict=False)
assert not static.range_constraints

# %%
# What the usual mistakes say
# +++++++++++++++++++++++++++
#
# Each function edits a fresh program. Most of them still run: call ``validate`` at the
# end of every pass.


def erase_a_used_node(graph, old):
    graph.erase_node(old)


def insert_before_the_input(graph, old):
    with graph.inserting_before(old.args[0]):
        graph.call_function(aten.gelu.default, old.args)


def use_itself(graph, old):
    with graph.inserting_after(old):
        new = graph.call_function(aten.gelu.default, (old,))
    old.replace_all_uses_with(new)


def call_python(graph, old):
    old.target = torch.nn.functional.gelu


def forget_the_overload(graph, old):
    old.target = aten.gelu


def add_an_output(graph, old):
    (output,) = graph.find_nodes(op="output")
    output.args = ((*output.args[0], old.args[0]),)


for mistake in (
    erase_a_used_node,
    insert_before_the_input,
    use_itself,
    call_python,
    forget_the_overload,
    add_an_output,
):
    program = export()
    try:
        mistake(program.graph, find(program.graph, aten.relu.default))
        program.validate()
    except (RuntimeError, SpecViolationError) as error:
        message = str(error).splitlines()[0].split(" at 0x")[0].split(": (")[0]
    else:
        message = "accepted"
    print(f"{mistake.__name__}: {message}")
    assert message != "accepted", mistake.__name__

# %%
# The target of a node is an operator with its overload, ``aten.gelu.default``. The
# complaint about the target goes on with all that is allowed (`this check
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/verifier.py#L264>`_).
#
# Mistakes that say nothing
# +++++++++++++++++++++++++
#
# The graph of a module is compiled to Python once. An edit without
# :meth:`~torch.fx.GraphModule.recompile` has no effect. And ``module()`` copies the
# graph: a module that was made before the program was edited is the old one.

program = export()
before = program.module()
find(program.graph, aten.relu.default).target = aten.gelu.default
after = program.module()
module = export().module()
find(module.graph, aten.relu.default).target = aten.gelu.default
for name, result in {
    "module from before": before(x)[1],
    "module from after": after(x)[1],
    "module, not recompiled": module(x)[1],
}.items():
    edited = torch.allclose(result, wanted(x)[1])
    print(f"{name:22} {'edited' if edited else 'as it was'}")
    assert edited == (name == "module from after")

# %%
# And ``validate`` asks whether there is a ``val``, not whether it is true. Here the
# metadata was copied although the dtype changed. The program says float and returns
# double. Tracing again corrects it, also for all nodes behind.

stale = export()
old = find(stale.graph, aten.relu.default)
with stale.graph.inserting_after(old):
    new = stale.graph.call_function(aten.to.dtype, (old, torch.float64))
new.meta = dict(old.meta)
(output,) = stale.graph.find_nodes(op="output")
output.replace_input_with(old, new)
stale.graph_signature.replace_all_uses(old.name, new.name)
stale.validate()
returned = []
for name, edited in {"stale": stale, "retraced": stale.run_decompositions({})}.items():
    (output,) = edited.graph.find_nodes(op="output")
    claim, fact = output.args[0][1].meta["val"].dtype, edited.module()(x)[1].dtype
    print(f"{name:8} says {claim}, returns {fact}")
    returned.append((claim, fact))
assert edited.graph.find_nodes(op="call_function", target=aten._to_copy.default)
assert returned == [(torch.float32, torch.float64), (torch.float64, torch.float64)]

# %%
# The check
# +++++++++
#
# All versions of the edit, after a file, on sizes that were not traced. The range is
# still the one of the export.

program = export()
old = find(program.graph, aten.relu.default)
replace(program, old, aten.gelu.default, old.args)
for name, edited in {"mended": program, "retraced": retraced}.items():
    file = io.BytesIO()
    torch.export.save(edited, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for size in (1, 2, 17, 64):
        x = torch.randn(size, 4)
        torch.testing.assert_close(loaded(x), wanted(x))
    print(name, "same result")
try:
    loaded(torch.randn(65, 4))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "accepted"
print(message)
assert "<= 64" in message, message

# %%
# To remember
# +++++++++++
#
# * Graph, ``val``, signature and code must agree. ``validate`` compares the graph with
#   the signature and asks for a ``val``. It does not verify what ``val`` says.
# * When in doubt: edit, then ``run_decompositions({})``.
# * New parameters: edit ``module()``, recompile it, and export it.
#
# Next: :ref:`l-plot-exporter-after-compare`, to find the first node that differs from
# before, :ref:`l-plot-exporter-ops-decompositions`, a table instead of an edit, and
# :ref:`l-plot-exporter-after-save-load`.
