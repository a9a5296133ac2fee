"""
.. _l-plot-exporter-exporter-torchscript:

Move a model from TorchScript to torch.export
=============================================

.. answer::
   :cost: Example inputs, and another form for each ``if`` and loop on a tensor.

   TorchScript compiles the source of a model, with its branches and methods. An export
   keeps the operators of one run. Delete ``torch.jit`` from the model, export the plain
   module, and compare with the old file.

   .. code-block:: diff

      -scripted = torch.jit.script(model)
      -torch.jit.save(scripted, old_file)
      -old = torch.jit.load(old_file)
      +program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
      +torch.export.save(program, new_file)
      +new = torch.export.load(new_file).module()

   Not your case?

   * Only the TorchScript file is left: :ref:`l-plot-exporter-modules-wrapped`.
   * ``Could not guard on``: an ``if`` on a tensor, :ref:`l-plot-exporter-data-guard`.
   * It has to run without Python: :ref:`l-plot-exporter-after-aotinductor`.

.. meta::
   :keywords: TorchScript deprecated, torch.jit.script, torch.jit.trace,
      torch.jit.freeze, torch.jit.load, torch.jit.save, torch.jit.export,
      torch.jit.ignore, torch.jit.unused, is_scripting, scripted submodule,
      ScriptModule, libtorch, optimize_for_inference, migration
"""

# %%
# The problem
# +++++++++++
#
# A model with a branch and two methods. PyTorch 2.10 and later warn.

# sphinx_gallery_tags = ["start here", "how to", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "DeprecationWarning: `torch.jit.script` is deprecated. Please switch to `torch.compile` or `torch.export`."
# sphinx_gallery_wording = "`torch.jit.script` is not supported in Python 3.14+ and may break."
# sphinx_gallery_wording = "TorchScript is deprecated, please use torch.export instead."
# sphinx_gallery_wording = "replacement for torch.jit.script, torch.jit.trace and torch.jit.freeze"
# sphinx_gallery_wording = "exported model differs from the scripted model"

import os
import tempfile
import warnings

import torch


class Scorer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x):
        peak = x.abs().amax()
        if peak > 1:
            x = x / peak
        return self.linear(x)

    @torch.jit.export
    def probabilities(self, x):
        return self.forward(x).softmax(dim=-1)


torch.manual_seed(0)
model = Scorer().eval()
x = torch.rand(3, 4)
folder = tempfile.TemporaryDirectory()
old_file = os.path.join(folder.name, "scorer.pt")
new_file = os.path.join(folder.name, "scorer.pt2")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    scripted = torch.jit.script(model)
    torch.jit.save(scripted, old_file)
    old = torch.jit.load(old_file)
for warning in caught:
    print(warning.message)

# %%
# The scripted module cannot be exported, nor a model that contains it. (Non-strict mode
# says ``forward() takes 2 positional arguments but 3 were given``.)

try:
    torch.export.export(scripted, (x,))
except ValueError as error:
    print(error)
try:
    torch.export.export(torch.nn.Sequential(scripted), (x,), strict=True)
except torch._dynamo.exc.Unsupported as error:
    print(*str(error).splitlines()[:2], sep="\n")

# %%
# One difference is silent: during an export, ``is_scripting()`` and ``is_tracing()``
# are False.


class Clamp(torch.nn.Module):
    def forward(self, x):
        if torch.jit.is_scripting():
            return x.clamp(0, 1)
        return x


clamp = torch.export.export(Clamp(), (x,), strict=False).module()
rows = torch.randn(3, 4)
print("equal:", torch.equal(clamp(rows), torch.jit.script(Clamp())(rows)))

# sphinx_gallery_start_ignore
assert not torch.equal(clamp(rows), torch.jit.script(Clamp())(rows))
# sphinx_gallery_end_ignore

# %%
# The fix
# +++++++
#
# The branch becomes ``torch.where``, and the weights come from the old file.


class NewScorer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x):
        peak = x.abs().amax()
        x = torch.where(peak > 1, x / peak, x)
        return self.linear(x)


model = NewScorer().eval()
model.load_state_dict(old.state_dict())
shapes = ({0: torch.export.Dim("batch", max=1024)},)
program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
torch.export.save(program, new_file)
new = torch.export.load(new_file).module()

# %%
# Why it happens
# ++++++++++++++
#
# A script runs in C++, and an export follows Python: `it does not take a script
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/__init__.py#L163>`_. With
# a Python module as its part, the outer model exports:

print(old.code)
outer = torch.nn.Sequential(model)
torch.export.export(outer, (x,), dynamic_shapes=shapes, strict=False)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#    :widths: 38 62
#
#    * - TorchScript
#      - Instead
#    * - ``torch.jit.trace(model, (x,))``
#      - the same call of ``export``, with ``dynamic_shapes``
#    * - ``@torch.jit.export``, ``trace_module``
#      - a program for each method, as below
#    * - ``@torch.jit.script`` on a function, ``script_if_tracing``
#      - delete it, or ``torch.compile``
#    * - ``@torch.jit.ignore``, ``@torch.jit.unused``
#      - delete it; to run the code at each call: :ref:`l-plot-exporter-ops-custom`
#    * - ``is_scripting()``, ``is_tracing()``
#      - the branch of the script, without the test
#    * - ``freeze``, ``optimize_for_inference``
#      - nothing; ``torch.compile``, AOTInductor
#    * - ``map_location``, ``_extra_files``
#      - :ref:`l-plot-exporter-after-move`, ``extra_files``
#    * - ``torch::jit::load`` in C++
#      - `an AOTInductor package
#        <https://docs.pytorch.org/docs/stable/user_guide/torch_compiler/torch.compiler_aot_inductor.html>`_; on
#        devices, `ExecuTorch <https://docs.pytorch.org/executorch/stable/index.html>`_
#    * - ``if``, ``while``, ``for`` on a tensor or a size
#      - :ref:`l-plot-exporter-data-guard`, :ref:`l-plot-exporter-control-while`,
#        :ref:`l-plot-exporter-control-scan`
#    * - ``old.train()``, ``old.eval()``
#      - a program for each mode: :ref:`l-plot-exporter-wrong-train-eval`
#    * - numbers, strings, ``Optional`` as arguments
#      - constants: :ref:`l-plot-exporter-inputs-python-scalars`,
#        :ref:`l-plot-exporter-inputs-optional`
#    * - ``self.count += 1``
#      - a buffer: :ref:`l-plot-exporter-wrong-state`
#    * - ``fork``, ``interface``, script classes
#      - no counterpart
#
# A method is the ``forward`` of a module with the model in it:


class Probabilities(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x).softmax(dim=-1)


method = torch.export.export(
    Probabilities(model), (x,), dynamic_shapes=shapes, strict=False
).module()

# %%
# A part whose class is lost is converted, by a private class.

from torch._export.converter import TS2EPConverter  # noqa: E402

part = TS2EPConverter(old, (x,), {}).convert().module()
around = torch.export.export(
    torch.nn.Sequential(part), (x,), dynamic_shapes=shapes, strict=True
).module()

# %%
# Check
# +++++
#
# The old file is the reference, on both sides of the branch.

for size in (2, 7, 1024):
    for scale in (0.1, 10.0):
        rows = scale * torch.rand(size, 4)
        for exported in (new, around):
            torch.testing.assert_close(exported(rows), old(rows))
        torch.testing.assert_close(method(rows), old.probabilities(rows))
try:
    new(torch.rand(1025, 4))
except (AssertionError, RuntimeError) as error:
    print(error)

# sphinx_gallery_start_ignore
folder.cleanup()
# sphinx_gallery_end_ignore

# %%
# Summary
# +++++++
#
# * Export the Python module, without ``torch.jit`` (asked in `issue 144965
#   <https://github.com/pytorch/pytorch/issues/144965>`_).
# * Keep the old file until the new program agrees with it.
#
# Next: :ref:`l-plot-exporter-exporter-first-export`,
# :ref:`l-plot-exporter-modules-method`, :ref:`l-plot-exporter-after-save-load`,
# :ref:`l-plot-exporter-wrong-checklist`.
