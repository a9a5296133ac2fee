"""
.. _l-plot-exporter-exporter-strict:

Use strict=False when the export raises Unsupported
===================================================

.. answer::
   :cost: Nothing at run time; Python values, random ones too, become constants.

   ``strict=True``, the default before PyTorch 2.8, reads the bytecode of the model and
   fails at Python that it does not know: C functions, locks, clocks. With
   ``strict=False`` Python runs the model, on tensors without data.

   .. code-block:: diff

      -    torch.export.export(model, (x,), strict=True)
      +    program = torch.export.export(model, (x,), strict=False)

   Not your case?

   * ``Data-dependent branching``, in both modes: :ref:`l-plot-exporter-control-cond`.
   * ``.numpy() is not supported``: :ref:`l-plot-exporter-effects-devices`.
   * ``Logger not supported``, ``print``: :ref:`l-plot-exporter-effects-print-hooks`.

.. meta::
   :keywords: strict=True, strict=False, non-strict export, torch._dynamo Unsupported,
      graph break, generic_jump, Data-dependent branching, default changed torch 2.8,
      torch.export strict mode, Attempted to call function marked as skipped
"""

# %%
# The problem
# +++++++++++
#
# The model picks a row of a table by a checksum, which is a function written in C.

# sphinx_gallery_tags = ["start here", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "torch._dynamo.exc.Unsupported: generic_jump TensorVariable()"
# sphinx_gallery_wording = "AssertionError: whole graph export entails exactly one guard export"
# sphinx_gallery_wording = "Unsupported: 'skip function PyCapsule.fwd in file Builtin fwd'"
# sphinx_gallery_wording = "export works with torch 2.8 and failed with torch 2.7"
# sphinx_gallery_wording = "exported program gives another result since torch 2.8"

import random
import warnings
import zlib

import torch

warnings.simplefilter("ignore")  # torch warns of what it raises next


class DomainBias(torch.nn.Module):
    def __init__(self, domain):
        super().__init__()
        self.domain = domain
        self.table = torch.nn.Embedding(8, 3)

    def forward(self, x):
        row = zlib.crc32(self.domain.encode()) % 8
        return x + self.table.weight[row]


torch.manual_seed(0)
model = DomainBias("news")
x = torch.randn(4, 3)
try:
    torch.export.export(model, (x,), strict=True)
except torch._dynamo.exc.Unsupported as error:
    print(error)

# %%
# The line to change is under ``from user code``. The hints are for
# :func:`torch.compile`, which continues in Python after a *graph break*.
#
# The fix
# +++++++

program = torch.export.export(model, (x,), strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# In strict mode Python does not run ``forward``: ``torch._dynamo`` interprets its
# bytecode (`documentation
# <https://docs.pytorch.org/docs/2.13/user_guide/torch_compiler/export/programming_model.html>`_).
# In non-strict mode Python runs it `on fake tensors
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_trace.py#L2186>`_, which
# have a shape and no data. Only the second mode prints here:


class Center(torch.nn.Module):
    def forward(self, x):
        print("forward runs with a", type(x).__name__)
        if type(x) is torch.Tensor:
            x = x - x.mean(dim=-1, keepdim=True)
        return torch.relu(x)


strict = torch.export.export(Center(), (x,), strict=True).module()
non_strict = torch.export.export(Center(), (x,), strict=False).module()
expected = torch.relu(x - x.mean(dim=-1, keepdim=True))
torch.testing.assert_close(strict(x), expected)
assert not torch.allclose(non_strict(x), expected)

# %%
# The non-strict program is silently wrong: a ``FakeTensor`` is a subclass. Likewise,
# what Python computes is a constant. That is right for the checksum and wrong for
# layers that are dropped at random:


class LayerDrop(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(6))

    def forward(self, x):
        for layer in self.layers:
            if not self.training or random.random() < 0.5:
                x = x + layer(x)
        return x


random.seed(0)
dropping = LayerDrop()
dropped = torch.export.export(dropping, (x,), strict=False)
names = [str(node.target) for node in dropped.graph.nodes]
print("layers in the program:", names.count("aten.linear.default"))
assert names.count("aten.linear.default") < 6

# %%
# So try strict mode as well. Where it fails, the non-strict program is right if the
# line gives the same value in each call.

try:
    torch.export.export(dropping, (x,), strict=True)
except (torch._dynamo.exc.Unsupported, AssertionError) as error:
    print(str(error).splitlines()[0])

# %%
# Other fixes
# +++++++++++
#
# Rewrite the line, and both modes export the model:
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your line
#      - ``strict=True``
#      - ``strict=False``
#      - Write instead
#    * - checksum, ``json``, ``lru_cache``, an import
#      - fails
#      - a constant
#      - compute it in ``__init__``
#    * - a lock, a clock
#      - fails
#      - happens at the export only
#      - leave it out
#    * - ``random.random()``
#      - fails
#      - wrong, silently
#      - ``model.eval()``, or ``torch.rand``
#    * - ``type(x) is torch.Tensor``
#      - works
#      - wrong, silently
#      - ``isinstance(x, torch.Tensor)``
#    * - ``x.numpy().cumsum(axis=-1)``
#      - works
#      - fails
#      - ``x.cumsum(dim=-1)``
#    * - ``torch.tensor([x.mean(), x.max()])``
#      - works
#      - fails
#      - ``torch.stack([x.mean(), x.max()])``
#    * - ``x * len(x)``, the size has a name
#      - works
#      - fails, ``constant``
#      - ``x * x.shape[0]``
#    * - ``if x.sum() > 0:``
#      - fails
#      - fails
#      - ``torch.where``
#
# The three that fail in non-strict mode only, and the rewritten lines in both modes:


class NumPy(torch.nn.Module):
    def forward(self, x):
        return torch.from_numpy(x.numpy().cumsum(axis=-1))


class Pair(torch.nn.Module):
    def forward(self, x):
        return torch.tensor([x.mean(), x.max()])


class Length(torch.nn.Module):
    def forward(self, x):
        return x * len(x)


class Rewritten(torch.nn.Module):
    def forward(self, x):
        return x.cumsum(dim=-1), torch.stack([x.mean(), x.max()]), x * x.shape[0]


class DomainBiasOnce(DomainBias):
    def __init__(self, domain):
        super().__init__(domain)
        self.row = zlib.crc32(domain.encode()) % 8

    def forward(self, x):
        return x + self.table.weight[self.row]


shapes = ({0: torch.export.Dim("batch", max=64)},)
for module in (NumPy(), Pair(), Length()):
    torch.export.export(module, (x,), dynamic_shapes=shapes, strict=True)
    try:
        torch.export.export(module, (x,), dynamic_shapes=shapes, strict=False)
    except (RuntimeError, torch._dynamo.exc.UserError) as error:
        print("\n".join(str(error).splitlines()[:2]))

once = DomainBiasOnce("news")
once.load_state_dict(model.state_dict())
biased, rewritten = [
    [
        torch.export.export(module, (x,), dynamic_shapes=shapes, strict=strict).module()
        for strict in (True, False)
    ]
    for module in (once, Rewritten())
]

# %%
# Check
# +++++
#
# The reference is the original models, at sizes that were not traced.

program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
exported = program.module()
for size in (1, 2, 7, 64):
    rows = torch.randn(size, 3)
    for call in (exported, *biased):
        torch.testing.assert_close(call(rows), model(rows))
    for call in rewritten:
        expected = NumPy()(rows), Pair()(rows), Length()(rows)
        torch.testing.assert_close(call(rows), expected)
try:
    exported(torch.randn(65, 3))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * ``strict=False`` exports more models. ``strict=True`` is a second opinion.
# * Write ``strict=`` if a script has to run before and after 2.8.
#
# Next: :ref:`l-plot-exporter-wrong-constants` for what both modes freeze silently,
# :ref:`l-plot-exporter-shapes-python-int` for ``len``, and
# :ref:`l-plot-exporter-exporter-draft` to list all problems of a model.
