"""
.. _l-plot-exporter-wrong-inputs:

The program ignores one of its inputs
=====================================

The result of the exported program does not depend on an input that the model uses. Two
inputs act as one. A list or a dictionary that the model fills stays as it was. There
was no error at the export, and there is none when the program runs.

This page shows three ways to get there, one test that finds them all, and what to write
instead.

.. meta::
   :description: Give each input a tensor of its own at the export, and return what the
      model fills in; then change each input alone and compare.
   :keywords: output is constant, input has no effect, unused placeholder, same tensor
      passed twice, aliased inputs, list not filled, dict not updated, mask ignored
"""

# %%
# The models
# ++++++++++
#
# A difference of two inputs, an optional mask, and a dictionary that is filled.

# sphinx_gallery_tags = ["wrong results", "wrong without an error"]
# sphinx_gallery_wording = "output is constant whatever the input"
# sphinx_gallery_wording = "exported program ignores the attention mask"
# sphinx_gallery_wording = "two inputs are treated as one"

import torch
from torch.utils import _pytree as pytree

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Difference(torch.nn.Module):
    def forward(self, x, y):
        return x - 2 * y


class Masked(torch.nn.Module):
    def forward(self, x, mask):
        return x if mask is None else x * mask


class Fills(torch.nn.Module):
    def forward(self, x, cache):
        cache["last"] = 2 * x
        return x + 1


# %%
# The symptom
# +++++++++++
#
# The example of ``Difference`` has the same tensor twice, as in an attention that is
# tried with ``query = key``. The program returns ``-y`` for any ``x``.

torch.manual_seed(0)
x, y = torch.rand(4, 3), torch.rand(4, 3)
program = torch.export.export(Difference(), (x, x), strict=False)
exported = program.module()
print("as the model:", torch.allclose(exported(x, y), x - 2 * y))
print("equal to -y: ", torch.allclose(exported(x, y), -y))
torch.testing.assert_close(exported(x, y), -y)

# %%
# ``Masked`` was exported with ``None`` and is called with a mask. Every position
# counts.

exported = torch.export.export(Masked(), (x, None), strict=False).module()
mask = torch.tensor([1.0, 1.0, 0.0])
print("as the model:", torch.allclose(exported(x, mask), x * mask))
print("equal to x:  ", torch.equal(exported(x, mask), x))
torch.testing.assert_close(exported(x, mask), x)

# %%
# ``Fills`` returns what it should, and the dictionary is not touched.

example = {"last": torch.zeros(4, 3)}
exported = torch.export.export(Fills(), (x, example), strict=False).module()
given, expected = {"last": torch.zeros(4, 3)}, {"last": torch.zeros(4, 3)}
torch.testing.assert_close(exported(x, given), Fills()(x, expected))
print("model:  ", torch.equal(expected["last"], 2 * x))
print("program:", torch.equal(given["last"], 2 * x))
assert torch.equal(given["last"], torch.zeros(4, 3))

# %%
# The cause
# +++++++++
#
# The graphs show it. The subtraction has ``y`` in both places; ``mask`` is used by no
# node; and in ``Fills`` nothing but ``x + 1`` is returned.


def show(program):
    for node in program.graph.nodes:
        if node.op == "placeholder":
            print(f"{node.name}: used by {len(node.users)} nodes")
        elif node.op == "call_function":
            print(f"  {node.name} = {node.target}{node.args}")


show(program)
users = {node.name: len(node.users) for node in program.graph.nodes}
assert users["x"] == 0 and users["y"] == 2

# %%
# * Each tensor is replaced by a fake one, and the exporter `remembers which
#   <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_subclasses/fake_tensor.py#L477>`_:
#   the same tensor gives the same fake tensor, and a tensor has one name in the graph.
#   A copy is another tensor, and so is a view. Change this one thing, and the program
#   is right.

for other in (x.clone(), x[:]):
    exported = torch.export.export(Difference(), (x, other), strict=False).module()
    torch.testing.assert_close(exported(x, y), x - 2 * y)

# %%
# * ``None`` is a constant, as any input that is not a tensor. A number or a flag with
#   another value is refused when the program runs, ``None`` is not.
# * The items of lists and dictionaries are inputs, the containers are not. The model
#   got its own dictionary during the trace, and the program gets none.
#
# The test that finds all of it
# +++++++++++++++++++++++++++++
#
# Change one tensor of the inputs, and note which results react, and which of the inputs
# look different after the call. Model and program must react alike.


def reactions(call, inputs, number):
    leaves, spec = pytree.tree_flatten(inputs)
    outcomes = []
    for change in (0, 1):
        copies = [
            leaf + change * (place == number) for place, leaf in enumerate(leaves)
        ]
        given = pytree.tree_unflatten(copies, spec)
        outcomes.append(pytree.tree_leaves((call(*given), given)))
    return [not torch.equal(before, after) for before, after in zip(*outcomes)]


def ignored(model, exported, inputs):
    paths, _ = pytree.tree_flatten_with_path(inputs)
    return [
        pytree.keystr(path)
        for number, (path, _) in enumerate(paths)
        if reactions(model, inputs, number) != reactions(exported, inputs, number)
    ]


# %%
# It names the inputs for each of the three. In the last case the effect of ``x`` on the
# dictionary is missing, and what was in the dictionary survives.

cases = [
    (Difference(), (x, x), (x, y)),
    (Masked(), (x, None), (x, mask)),
    (Fills(), (x, example), (x, example)),
]
found = []
for model, traced, inputs in cases:
    exported = torch.export.export(model, traced, strict=False).module()
    found.append(ignored(model, exported, inputs))
    print(f"{type(model).__name__:10} does not follow", found[-1])
assert found == [["[0]"], ["[1]"], ["[0]", "[1]['last']"]]

# %%
# The fixes
# +++++++++
#
# * A tensor of its own for each input of the example: ``clone()`` costs nothing later.
# * A mask that is always there; all ones where there is none. The price is a product.
#   Or two programs, see :ref:`l-plot-exporter-inputs-optional`.
# * What the model fills in is a result. The caller puts it where it belongs.


class Sound(torch.nn.Module):
    def forward(self, x, y, mask):
        last = 2 * x
        return (x - 2 * y) * mask, {"last": last}


# %%
# The check
# +++++++++
#
# Sizes that were not traced, each input on its own, and the smallest batch.

model = Sound()
batch = torch.export.Dim("batch")
shapes = ({0: batch}, {0: batch}, None)
traced = (x, x.clone(), torch.ones(3))
program = torch.export.export(model, traced, dynamic_shapes=shapes, strict=False)
exported = program.module()
for size in (1, 2, 9):
    inputs = (torch.rand(size, 3), torch.rand(size, 3), mask)
    torch.testing.assert_close(exported(*inputs), model(*inputs))
    assert ignored(model, exported, inputs) == []
    print(f"batch {size}: same result, no input ignored")

# %%
# Two batches that differ are refused: the dimensions have the same name.

try:
    exported(torch.rand(4, 3), torch.rand(5, 3), mask)
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with two batch sizes."
print(message)
assert "size()[0]" in message or "shape[0]" in message, message

# %%
# To remember
# +++++++++++
#
# * Never give the same tensor twice in an example.
# * ``None`` at the export is ``None`` for ever, without a message.
# * Containers are taken apart: what a model puts into them is lost.
# * A placeholder without users, or an input that only the model reacts to, is a fault.
#
# Next: :ref:`l-plot-exporter-inputs-optional`,
# :ref:`l-plot-exporter-inputs-python-scalars` for numbers and flags,
# :ref:`l-plot-exporter-nn_modules_inputs` for an input that is a module, and
# :ref:`l-plot-exporter-wrong-checklist`.
