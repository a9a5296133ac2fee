"""
.. _l-plot-exporter-wrong-inputs:

Give each input its own tensor, or the program ignores one
==========================================================

.. answer::
   :cost: Nothing: the example is used during the export only.

   The example has the same tensor for two inputs. The exporter knows tensors by their
   identity: the program reads one of the inputs, and silently ignores the other one.

   .. code-block:: diff

      -inputs = (x, x)
      +inputs = (x, x.clone())
       program = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)

   Not your case?

   * The model fills a list or a dictionary, or stores the input: *Other fixes*.
   * The example had None: :ref:`l-plot-exporter-inputs-optional`.
   * The input is a number or a flag: :ref:`l-plot-exporter-inputs-python-scalars`.

.. meta::
   :keywords: output is constant, input has no effect, unused placeholder, same tensor
      passed twice, aliased inputs, list not filled, dict not updated, input ignored,
      siamese network, self attention example, query key value
"""

# %%
# The problem
# +++++++++++
#
# The model compares rows of numbers. It was exported with the same tensor twice, and
# returns 0 for any two rows.

# sphinx_gallery_tags = ["wrong results", "wrong without an error"]
# sphinx_gallery_wording = "output is constant whatever the input"
# sphinx_gallery_wording = "exported program ignores the attention mask"
# sphinx_gallery_wording = "two inputs are treated as one"

import torch


class Distance(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Linear(3, 8)

    def forward(self, left, right):
        return (self.encoder(left) - self.encoder(right)).norm(dim=1)


torch.manual_seed(0)
model = Distance()
x, y = torch.randn(4, 3), torch.randn(4, 3)
batch = torch.export.Dim("batch", max=64)
shapes = ({0: batch}, {0: batch})
inputs = (x, x)
program = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
print("model:  ", model(x, y).detach())
print("program:", program.module()(x, y).detach())

# sphinx_gallery_start_ignore
assert (program.module()(x, y) == 0).all()
# sphinx_gallery_end_ignore

# %%
# No operator reads ``left``. This finds such inputs in any program:


def unread(program):
    nodes = program.graph.find_nodes(op="placeholder")
    return [node.name for node in nodes if not node.users]


print("not read:", unread(program))
assert unread(program) == ["left"]

# %%
# The fix
# +++++++

inputs = (x, x.clone())
program = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# A fake tensor replaces each tensor of the example, and the exporter `remembers which
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_subclasses/fake_tensor.py#L477>`_:
# the same tensor gives the same fake tensor, which has one name in the graph. Two names
# of ``Dim`` do not help: the sizes of one tensor are equal, too. The tensor may also be
# one of the model's. Then the program reads the input in the place of its own buffer.


class Step(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("start", torch.zeros(3))

    def forward(self, x, state):
        return x + state - self.start


step = Step()
for name, state in {"buffer": step.start, "copy": step.start.clone()}.items():
    exported = torch.export.export(step, (x, state), strict=False)
    same = torch.allclose(exported.module()(x, y[0]), step(x, y[0]))
    print(f"{name}: not read {unread(exported)}, the same as the model: {same}")

# %%
# Use ``clone()`` and not a view: with a view of a tensor, PyTorch 2.9 and later may add
# guards on its ``_base`` (:ref:`l-plot-exporter-after-guards`).
#
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - The input is ignored because
#      - Do this
#      - Cost
#    * - the example holds a buffer or a parameter of the model
#      - ``model.start.clone()``
#      - nothing
#    * - the model fills a list or a dictionary: ``cache["last"] = x``
#      - return what it fills in
#      - the caller stores it
#    * - the model stores it: ``self.last = x``
#      - return it, or copy it into a buffer: :ref:`l-plot-exporter-wrong-state`
#      - the caller stores it, or the model has state
#
# The second row: the items of a dictionary are inputs, the dictionary is not. ``copy_``
# into a tensor that is already in it is an operator, and works.


class Fills(torch.nn.Module):
    def forward(self, x, cache):
        cache["last"] = cache["last"] + x
        return x + 1


class Returns(torch.nn.Module):
    def forward(self, x, cache):
        return x + 1, {"last": cache["last"] + x}


lost = torch.export.export(Fills(), (x, {"last": y}), strict=False)
cache = {"last": y}
lost.module()(x, cache)
print("filled by the program:", not torch.equal(cache["last"], y))
options = {"dynamic_shapes": ({0: batch}, {"last": {0: batch}}), "strict": False}
kept = torch.export.export(Returns(), (x, {"last": y}), **options)
exported = kept.module()
result, cache = exported(x, cache)
print("returned by the program:", not torch.equal(cache["last"], y))

# %%
# Check
# +++++
#
# The reference is the original model in eager mode, with independent inputs, at sizes
# that were not traced. The dictionary is compared after the call.

for size in (1, 2, 9, 64):
    left, right = torch.randn(size, 3), torch.randn(size, 3)
    torch.testing.assert_close(program.module()(left, right), model(left, right))
    expected = {"last": right}
    torch.testing.assert_close(
        exported(left, {"last": right}), (Fills()(left, expected), expected)
    )
assert unread(program) == unread(kept) == []

# %%
# Two inputs with different batch sizes must be rejected.

try:
    program.module()(torch.randn(4, 3), torch.randn(5, 3))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Never give the same tensor twice in an example, nor a tensor of the model.
# * What the model fills in or stores has to be returned.
# * An input that no operator reads is suspicious, and easy to find.
#
# Next: :ref:`l-plot-exporter-wrong-checklist` calls the program to find ignored inputs,
# :ref:`l-plot-exporter-effects-mutation` for inputs that are changed in place.
