"""
.. _l-plot-exporter-modules-adapted:

Export a model with DTensor, FSDP or LoRA weights: make it plain
================================================================

.. answer::
   :cost: One process holds all weights, unsharded, while it exports.

   A program needs plain tensors, and a sharded parameter is a ``DTensor``. Gather each
   with ``full_tensor()`` and load them into a copy of the model that was never
   parallelized. Merge LoRA adapters into the weights first.

   .. code-block:: diff

      -torch.export.export(sharded, (x,), dynamic_shapes=shapes, strict=False)
      +plain = Block()
      +full = {name: gather(t) for name, t in sharded.state_dict().items()}
      +plain.load_state_dict(full)
      +program = torch.export.export(plain, (x,), dynamic_shapes=shapes, strict=False)

   Not your case?

   * Quantized weights: :ref:`l-plot-exporter-modules-quantized`.
   * ``DataParallel``, compiled models: :ref:`l-plot-exporter-modules-wrapped`.

.. meta::
   :keywords: DTensor, FSDP, fully_shard, tensor parallel, parallelize_module,
      full_tensor, LoRA, peft, merge_and_unload, adapter, DTensorSpec
"""

# %%
# The problem
# +++++++++++
#
# Two linear layers, sharded for tensor parallelism. One process is enough to show it.

# sphinx_gallery_tags = ["modules", "export fails", "how to"]
# sphinx_gallery_wording = "aten.copy_.default: got mixed torch.Tensor and DTensor, need to convert all torch.Tensor to DTensor before calling distributed operators!"
# sphinx_gallery_wording = "RuntimeError: Unable to cast NotImplemented to Tensor"
# sphinx_gallery_wording = "export a model that was trained with FSDP or LoRA"

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up = torch.nn.Linear(4, 8)
        self.down = torch.nn.Linear(8, 4)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)))


dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
torch.manual_seed(0)
sharded = Block()
weights = {name: tensor.clone() for name, tensor in sharded.state_dict().items()}
mesh = init_device_mesh("cpu", (1,))
plan = {"up": ColwiseParallel(), "down": RowwiseParallel()}
parallelize_module(sharded, mesh, plan)

x = torch.rand(3, 4)
shapes = ({0: torch.export.Dim("batch", max=64)},)
try:
    torch.export.export(sharded, (x,), dynamic_shapes=shapes, strict=False)
except RuntimeError as error:
    print(error)

# %%
# The fix
# +++++++
#
# ``full_tensor()`` is a collective operation: every rank has to call it, and any rank
# can export. ``Block()`` has seen no ``parallelize_module`` and no ``fully_shard``.


def gather(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


plain = Block()
full = {name: gather(t) for name, t in sharded.state_dict().items()}
plain.load_state_dict(full)
program = torch.export.export(plain, (x,), dynamic_shapes=shapes, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# An operation on a ``DTensor`` carries its layout, a ``DTensorSpec``, and `a graph
# holds known types only
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_higher_order_ops/flat_apply.py#L44>`_
# (`issue 175467 <https://github.com/pytorch/pytorch/issues/175467>`_; PyTorch 2.6 says
# ``Unable to cast NotImplemented to Tensor``). Strict mode fails with the same text.
#
# To load the sharded tensors into a plain model does not help: it raises, and with
# ``assign=True`` the model gets the ``DTensor`` parameters.

try:
    Block().load_state_dict(sharded.state_dict())
except RuntimeError as error:
    print(error)
other = Block()
other.load_state_dict(sharded.state_dict(), assign=True)
print(type(other.up.weight.data).__name__, type(plain.up.weight.data).__name__)
dist.destroy_process_group()

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
#    * - a distributed checkpoint on disk
#      - ``torch.distributed.checkpoint.format_utils.dcp_to_torch_save``, then load the
#        file into a plain model
#      - a file of the full size
#    * - an adapter of peft
#      - ``model.merge_and_unload()``
#      - the adapter cannot be changed later
#    * - adapters that are changed later
#      - export without merging
#      - two more products per layer
#
# An adapter exports as it is. Merged, it costs nothing: ``scale * up @ down`` is added
# to the weight, and a plain linear layer takes its place.


class LoRA(torch.nn.Module):
    def __init__(self, linear, rank=2, alpha=8):
        super().__init__()
        self.linear, self.scale = linear, alpha / rank
        self.lora_a = torch.nn.Parameter(torch.randn(rank, linear.in_features))
        self.lora_b = torch.nn.Parameter(torch.randn(linear.out_features, rank))

    def forward(self, x):
        return self.linear(x) + self.scale * (x @ self.lora_a.T @ self.lora_b.T)


@torch.no_grad()
def merge(model):
    for name, child in list(model.named_children()):
        if isinstance(child, LoRA):
            linear = child.linear
            merged = torch.nn.Linear(linear.in_features, linear.out_features)
            merged.weight.copy_(
                linear.weight + child.scale * child.lora_b @ child.lora_a
            )
            merged.bias.copy_(linear.bias)
            setattr(model, name, merged)
        else:
            merge(child)
    return model


adapted = Block()
adapted.load_state_dict(weights)
adapted.up = LoRA(adapted.up)
unmerged = torch.export.export(adapted, (x,), dynamic_shapes=shapes, strict=False)
trained = {name: tensor.clone() for name, tensor in adapted.state_dict().items()}
merged = torch.export.export(merge(adapted), (x,), dynamic_shapes=shapes, strict=False)
for exported in (unmerged, merged):
    print(sorted(exported.state_dict))

# %%
# Check
# +++++
#
# The reference is the formula with the weights from before, at other batch sizes.

for batch in (1, 5, 64):
    rows = torch.randn(batch, 4)
    hidden = rows @ weights["up.weight"].T + weights["up.bias"]
    last = weights["down.weight"].T, weights["down.bias"]
    expected = hidden.relu() @ last[0] + last[1]
    torch.testing.assert_close(program.module()(rows), expected)
    hidden = hidden + 4 * (rows @ trained["up.lora_a"].T) @ trained["up.lora_b"].T
    expected = hidden.relu() @ last[0] + last[1]
    for exported in (unmerged, merged):
        torch.testing.assert_close(exported.module()(rows), expected)
assert not any(isinstance(tensor, DTensor) for tensor in program.state_dict.values())
try:
    program.module()(torch.rand(65, 4))
except (AssertionError, RuntimeError) as error:
    print(str(error).splitlines()[0])

# %%
# Limitations
# +++++++++++
#
# The program runs on one device. Models that do not fit into one process are exported
# in parts: :ref:`l-plot-exporter-modules-piece-by-piece`.
#
# Summary
# +++++++
#
# * Plain copy, ``full_tensor()`` for each parameter, then export. Merge adapters first.
# * Next: :ref:`l-plot-exporter-wrong-train-eval` for dropout in adapters,
#   :ref:`l-plot-exporter-after-save-load` to save the program.
