"""
.. _l-plot-exporter-after-move:

Move an exported program to another device or dtype
===================================================

.. answer::
   :cost: A second set of weights; for a dtype, a second export.

   ``to`` converts parameters and buffers only. The graph has devices and dtypes of its
   own, written down during the export. ``move_to_device_pass`` rewrites the devices;
   for another dtype, export a converted copy of the model.

   .. code-block:: diff

      -    program.to(device)
      +moved = move_to_device_pass(copy.deepcopy(program), device)
      -half = program.module().to(torch.bfloat16)
      +half = copy.deepcopy(model).to(torch.bfloat16)
      +half = torch.export.export(half, (low,), dynamic_shapes=dims, strict=False)

   Not your case?

   * The export itself reports two devices: :ref:`l-plot-exporter-effects-devices`.
   * ``FakeTensor`` in the message: :ref:`l-plot-exporter-wrong-leaked`.

.. meta::
   :keywords: ExportedProgram has no attribute to, move exported program to cuda, expected
      all tensors to be on the same device, bfloat16 exported program, load_state_dict,
      move_to_device_pass, torch.compile exported program, half precision, mps
"""

# %%
# The problem
# +++++++++++
#
# The layer follows its input: the positions get the device and dtype of ``x``. Here
# the device ``meta``, which has shapes but no values, stands for ``cuda``.

# sphinx_gallery_tags = ["after the export", "conversion fails", "wrong without an error"]
# sphinx_gallery_wording = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
# sphinx_gallery_wording = "exported program returns float32 instead of bfloat16"

import copy

import torch
from torch.export.passes import move_to_device_pass


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)
        self.register_buffer("scale", torch.full((8,), 2.0))

    def forward(self, x):
        positions = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        return self.linear(x) * self.scale + positions[:, None]


device = torch.device("meta")
torch.manual_seed(0)
model, x = Layer().eval(), torch.randn(2, 5, 8)
dims = ({0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("n", max=64)},)
program = torch.export.export(model, (x,), dynamic_shapes=dims, strict=False)
try:
    program.to(device)
except AttributeError as error:
    print(error)
try:
    copy.deepcopy(program).module().to(device)(x.to(device))
except RuntimeError as error:
    print(error)

# %%
# With a dtype, nothing fails. The result is ``float32``, where the converted model
# returns ``bfloat16``, and **the model was converted as well**: it shares its parameters
# with the program.

low = x.to(torch.bfloat16)
half = program.module().to(torch.bfloat16)
print("program:", half(low).dtype)
print("weight of the model:", model.linear.weight.dtype)

# %%
# The fix
# +++++++

model = Layer().eval()
program = torch.export.export(model, (x,), dynamic_shapes=dims, strict=False)
moved = move_to_device_pass(copy.deepcopy(program), device)

low = x.to(torch.bfloat16)
half = copy.deepcopy(model).to(torch.bfloat16)
half = torch.export.export(half, (low,), dynamic_shapes=dims, strict=False)

# %%
# The pass changes the program that it is given, hence the copy. Instead of one device
# it takes a dictionary, ``{"cuda:0": "cuda:1"}``, and leaves other devices alone.
#
# Why it happens
# ++++++++++++++
#
# During the export ``x.device`` and ``x.dtype`` are values, so they become arguments of
# the node. The `pass
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/passes/__init__.py#L11>`_
# rewrites ``device``; there is none for ``dtype``.

for exported in (program, moved, half):
    for node in exported.graph.nodes:
        if node.target is torch.ops.aten.arange.default:
            print(node.target, node.kwargs["device"], node.kwargs["dtype"])

# %%
# A graph without such a node can be moved with ``to``:

linear = torch.export.export(torch.nn.Linear(8, 8), (x,), strict=False)
print(linear.module().to(device)(x.to(device)).device)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - You have
#      - Do this
#      - Cost
#    * - the program and a new dtype, but not the model
#      - change ``dtype`` of the nodes, then ``module().to(...)``:
#        :ref:`l-plot-exporter-after-edit`
#      - you have to find all of them
#    * - weights of a later checkpoint
#      - ``program.module().load_state_dict(...)``
#      - the exported model gets them, too
#    * - a new value for a tensor that is neither parameter nor buffer
#      - ``program.constants["name"] = value``, then ``program.module()`` again
#      - none
#    * - a program that should run faster
#      - ``torch.compile(program.module(), dynamic=True)``
#      - without ``dynamic=True``, a second compilation for a second size

trained = Layer().eval()
print(program.module().load_state_dict(trained.state_dict()))
torch.testing.assert_close(model(x), trained(x))

# The backend "eager" needs no C++ compiler. Leave it out for a faster program.
compiled = torch.compile(program.module(), backend="eager", dynamic=True)

# %%
# Check
# +++++
#
# The references are the eager model in ``bfloat16``, and a model with the new weights,
# at sizes that were not traced. On ``meta``, devices and shapes can be compared.

reference = copy.deepcopy(model).to(torch.bfloat16)
reference.load_state_dict(half.state_dict)
for size in ((1, 1), (3, 9), (64, 64)):
    rows = torch.randn(*size, 8)
    low = rows.to(torch.bfloat16)
    assert half.module()(low).dtype == torch.bfloat16
    torch.testing.assert_close(half.module()(low), reference(low))
    torch.testing.assert_close(program.module()(rows), trained(rows))
    torch.testing.assert_close(compiled(rows), trained(rows))
    result = moved.module()(rows.to(device))
    assert result.device == device and result.shape == rows.shape
assert all(value.device == device for value in moved.state_dict.values())
assert model.linear.weight.device == torch.device("cpu")
assert model.linear.weight.dtype == torch.float32

# %%
# Moved is moved: an input on the former device fails, and so do too many rows.

for exported, rows in ((moved, x), (half, torch.ones(65, 5, 8).to(torch.bfloat16))):
    try:
        exported.module()(rows)
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# Limitations
# +++++++++++
#
# PyTorch 2.6 to 2.8 do not move the device of ``tensor.to(x.device)``. In these,
# register the tensor as a buffer, so that ``forward`` need not move it.
#
# Summary
# +++++++
#
# * A device: ``move_to_device_pass``. A dtype: export a converted copy of the model.
# * Parameters are shared between model, program and ``program.module()``: copy before
#   you convert.
#
# To write models that follow their inputs: :ref:`l-plot-exporter-effects-devices`. To put
# a program into a file: :ref:`l-plot-exporter-after-save-load`. To export without the
# weights: :ref:`l-plot-exporter-exporter-slow`.
