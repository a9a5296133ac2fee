"""
.. _l-plot-exporter-effects-context-managers:

Inference tensors: replace inference_mode before the export
===========================================================

.. answer::
   :cost: A copy of the weights.

   The export forgets an ``inference_mode`` in ``forward``, silently: the program trains
   what the model does not. And it fails on weights, buffers or cached tensors that were
   made in ``inference_mode``: a deep copy turns them into ordinary tensors.

   .. code-block:: diff

      -        with torch.inference_mode():
      +        with torch.no_grad():
                   features = self.backbone(x)
      +plain = copy.deepcopy(model)
       program = torch.export.export(plain, ...)

   Not your case?

   * ``torch.autocast``: :ref:`l-plot-exporter-wrong-autocast`.
   * Gradients are missing, or come back after ``run_decompositions``:
     :ref:`l-plot-exporter-wrong-gradients`.
   * Another ``with``, or ``Unsupported context manager``: see *Other fixes*.

.. meta::
   :keywords: inference mode, no_grad, enable_grad, set_grad_enabled, context manager,
      contextlib, nullcontext, ExitStack, is_inference, null_context_manager,
      Inference tensors do not track version counter
"""

# %%
# The problem
# +++++++++++
#
# The backbone is frozen by ``inference_mode``. The program has its gradients:

# sphinx_gallery_tags = ["side effects", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "torch.export inside torch.inference_mode"
# sphinx_gallery_wording = "RuntimeError: Cannot set version_counter for inference tensor"
# sphinx_gallery_wording = "exported program ignores inference_mode, frozen layers get gradients"
# sphinx_gallery_wording = "context manager in forward has no effect in the exported program"

import contextlib
import copy
import io

import torch


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Linear(8, 8)
        self.head = torch.nn.Linear(8, 2)
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 2))

    def forward(self, x):
        with torch.inference_mode():
            features = self.backbone(x)
        return self.head(features.clone()) * self.scale


def trained(run, parameters):
    run(x).square().sum().backward()
    return [name for name, p in parameters if p.grad is not None]


torch.manual_seed(0)
x = torch.randn(4, 8)
dims = ({0: torch.export.Dim("batch", max=64)},)
model = Classifier()
print("model:  ", trained(model, model.named_parameters()))

model = Classifier()
silent = torch.export.export(model, (x,), dynamic_shapes=dims, strict=False).module()
names = trained(silent, silent.named_parameters())
print("program:", names)
assert "backbone.weight" in names

# %%
# The messages come from a model that was built in ``inference_mode``. ``no_grad``,
# which the first one proposes, leads to the second if it is around the export:

with torch.inference_mode():
    built = Classifier()
for context in (contextlib.nullcontext(), torch.no_grad()):
    try:
        with context:
            torch.export.export(built, (x,), dynamic_shapes=dims, strict=False)
    except RuntimeError as error:
        print(error)

# %%
# If only a table was made there, in a first call for example, it leads to a program
# that fails when it is called:

with torch.inference_mode():
    model.scale = torch.linspace(0.5, 1.5, 2)
with torch.no_grad():
    late = torch.export.export(model, (x,), dynamic_shapes=dims, strict=False)
try:
    late.module()(x)
except RuntimeError as error:
    print(error)

# %%
# The fix
# +++++++


class Fixed(Classifier):
    def forward(self, x):
        with torch.no_grad():
            features = self.backbone(x)
        return self.head(features) * self.scale


with torch.inference_mode():
    model = Fixed()
plain = copy.deepcopy(model)
program = torch.export.export(plain, (x,), dynamic_shapes=dims, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# A tensor made in ``inference_mode`` remains `an inference tensor
# <https://docs.pytorch.org/docs/stable/notes/autograd.html#inference-mode>`_, which
# autograd cannot use (`issue 161191
# <https://github.com/pytorch/pytorch/issues/161191>`_, with ``torch.compile``). An
# ordinary model may be exported in ``inference_mode``:

print(built.scale.is_inference(), copy.deepcopy(built).scale.is_inference())
ordinary = Fixed()
with torch.inference_mode():
    torch.export.export(ordinary, (x,), dynamic_shapes=dims, strict=False)

# %%
# In ``forward``, the export records `the gradient mode and autocast
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/proxy_tensor.py#L1861>`_,
# and not ``inference_mode``:

for run in (silent, program):
    print([n.target.__name__ for n in run.graph.nodes if n.op == "call_function"])

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If
#      - Do this
#      - Cost
#    * - you build the model
#      - ``with torch.no_grad():`` there, too
#      - none
#    * - you load a program
#      - outside of ``inference_mode``: its decomposition fails otherwise
#      - none
#    * - strict mode says ``Unsupported context manager`` or ``marked as skipped``: a
#        lock, ``ExitStack``, ``torch.device``, ``save_on_cpu``
#      - ``strict=False``
#      - the ``with`` acts during the export only

with torch.inference_mode():
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file)
try:
    loaded.run_decompositions()
except RuntimeError as error:
    print(error)
file.seek(0)
decomposed = torch.export.load(file).run_decompositions()

# %%
# **A context manager of your own** acts during the export. What it sets then holds in
# all calls; what it sets around a call is ignored, silently. ``nullcontext`` leaves
# nothing in the program, rightly. Make the value an input:


@contextlib.contextmanager
def doubled(model):
    model.factor = 2.0
    yield
    model.factor = 1.0


class Scaled(torch.nn.Module):
    factor = 1.0

    def forward(self, x):
        with contextlib.nullcontext():
            return self.factor * x


class ScaledByInput(torch.nn.Module):
    def forward(self, x, factor):
        return factor * x


scaled, factor = Scaled(), torch.tensor(2.0)
ignores = torch.export.export(scaled, (x,), strict=False).module()
with doubled(scaled):
    keeps = torch.export.export(scaled, (x,), strict=False).module()
    assert torch.equal(scaled(x), 2 * x)
    assert torch.equal(ignores(x), x)
assert torch.equal(keeps(x), 2 * x)
by_input = torch.export.export(ScaledByInput(), (x, factor), strict=False).module()
assert torch.equal(by_input(x, torch.tensor(3.0)), 3 * x)

# %%
# Check
# +++++
#
# Results against the formula, gradients against those of a head alone, at other sizes.

exported = program.module()
for size in (1, 2, 9, 64):
    rows = torch.randn(size, 8)
    backbone, head = copy.deepcopy(model.backbone), copy.deepcopy(model.head)
    features = (rows @ backbone.weight.T + backbone.bias).detach()
    expected = (features @ head.weight.T + head.bias) * torch.tensor([0.5, 1.5])
    torch.testing.assert_close(exported(rows), expected)
    torch.testing.assert_close(decomposed.module()(rows), expected)
    expected.square().sum().backward()
    exported.zero_grad()
    exported(rows).square().sum().backward()
    assert exported.backbone.weight.grad is None
    torch.testing.assert_close(exported.head.weight.grad, head.weight.grad)
try:
    exported(torch.randn(65, 8))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * ``no_grad`` in ``forward`` and around the constructor; a deep copy of what exists.
# * ``run_decompositions`` drops ``no_grad``: :ref:`l-plot-exporter-wrong-gradients`.
# * State that a ``with`` sets is a constant: :ref:`l-plot-exporter-wrong-constants`.
