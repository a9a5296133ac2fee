"""
.. _l-plot-exporter-exporter-draft:

List every problem of a model at once with draft_export
=======================================================

.. answer::
   :cost: A few times as long as an export.

   ``export`` stops at the first problem. ``draft_export`` takes the same arguments,
   continues with the values of the example, and reports all problems. Do not use the
   program that it returns: fix the model, then export it.

   .. code-block:: diff

      -torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
      +draft = torch.export.draft_export(model, (x,), dynamic_shapes=shapes)
      +print(draft._report)

   Not your case?

   * Which line made a dimension a constant?
     :ref:`l-plot-exporter-shapes-find-the-line`.
   * Which submodule fails? :ref:`l-plot-exporter-modules-piece-by-piece`.

.. meta::
   :keywords: draft_export, draft export report, _report, missing fake kernel,
      issue(s) found during export, not able to soundly produce a graph, tlparse,
      Data dependent error, Guard Added, Mismatched fake kernel
"""

# %%
# The problem
# +++++++++++
#
# The model has three problems: an ``if`` on a value, a batch size in ``expand``, and a
# custom operator without a fake implementation. The export raises the first one.

# sphinx_gallery_tags = ["start here", "how to", "export fails"]
# sphinx_gallery_needs_torch = "2.8"
# sphinx_gallery_wording = "fix one export error after another"
# sphinx_gallery_wording = "draft-exported program gives wrong results"
# sphinx_gallery_wording = "AttributeError: module 'torch.export' has no attribute 'draft_export'"
# sphinx_gallery_wording = "AttributeError: 'int' object has no attribute 'node'"
# sphinx_gallery_wording = "torch.onnx.export in a container: KeyError: 'getpwuid(): uid not found: 501'"

# sphinx_gallery_start_ignore
import builtins
import os
import re
import tempfile

# sphinx_gallery_end_ignore
import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

# sphinx_gallery_start_ignore
folder = tempfile.TemporaryDirectory()
os.environ["TORCH_DTRACE"] = folder.name  # where draft_export writes its log


def print(*values):  # noqa: A001 - a page has no colors
    builtins.print(*(re.sub("\x1b.*?m", "", str(value)) for value in values))


# sphinx_gallery_end_ignore


@torch.library.custom_op("cookbook_draft::soft_clip", mutates_args=())
def soft_clip(x: torch.Tensor, limit: float) -> torch.Tensor:
    return limit * torch.tanh(x / limit)


class Amplifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.offset = torch.nn.Parameter(torch.full((8,), 0.1))

    def forward(self, x):
        peak = x.abs().max()
        if peak > 1.0:
            x = x / peak
        x = x + self.offset.expand(4, 8)
        return soft_clip(x, 2.0)


torch.manual_seed(0)
model = Amplifier()
x = torch.randn(4, 8)
shapes = ({0: torch.export.Dim("batch", max=64)},)
try:
    torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
except GuardOnDataDependentSymNode as error:
    print(error)

# %%
# The fix
# +++++++
#
# Call ``draft_export`` in a new process, and read the report.

# sphinx_gallery_start_ignore
torch._logging.structured.INTERN_TABLE.clear()  # as in a new process
# sphinx_gallery_end_ignore
draft = torch.export.draft_export(model, (x,), dynamic_shapes=shapes)
print(draft._report)

# %%
# .. list-table::
#    :header-rows: 1
#
#    * - Item
#      - What it means
#      - What to do
#    * - ``Data dependent error``, ``Eq(u0, 1)``
#      - an ``if`` needs a value of a tensor
#      - :ref:`l-plot-exporter-data-guard`; ``torch._check`` if the answer never changes
#    * - ``Guard Added``, ``Eq(u0, 1)``
#      - the same ``if`` again
#      - nothing
#    * - ``Guard Added``, ``Eq(s77, 4)``
#      - the line made a size, ``s77``, a constant
#      - :ref:`l-plot-exporter-shapes-specialized`; ``Dim.AUTO`` only hides it
#    * - ``Missing fake kernel``
#      - the operator has no fake implementation
#      - ``register_fake``: :ref:`l-plot-exporter-ops-custom`
#    * - ``Mismatched fake kernel``
#      - it has, with a wrong shape or dtype
#      - :ref:`l-plot-exporter-ops-custom`
#
# Fix them all, then export:


@soft_clip.register_fake
def soft_clip_fake(x, limit):
    return torch.empty_like(x)


class Repaired(Amplifier):
    def forward(self, x):
        x = x / x.abs().max().clamp(min=1.0)
        return soft_clip(x + self.offset, 2.0)


repaired = Repaired()
repaired.load_state_dict(model.state_dict())
report = torch.export.draft_export(repaired, (x,), dynamic_shapes=shapes)._report
assert report.successful()
program = torch.export.export(repaired, (x,), dynamic_shapes=shapes, strict=False)
print(program.range_constraints)

# %%
# Why it happens
# ++++++++++++++
#
# A draft export carries `the example's values along
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_draft_export.py#L387>`_
# and answers with them. So the draft program is right only for inputs like the example.
# Five rows raise, and so does a quiet input, which takes the other side of the ``if``.
# Before PyTorch 2.12 its result is silently wrong.

drafted = draft.module()
torch.testing.assert_close(drafted(x), model(x))
quiet = 0.1 * x
for other in (torch.randn(5, 8), quiet):
    try:
        difference = (drafted(other) - model(other)).abs().max().item()
        print(f"no error, but the difference is {difference:.1f}")
    except (AssertionError, RuntimeError) as error:
        print(error)

# %%
# Check
# +++++
#
# The reference is the original model, which takes four rows. Larger batches repeat
# them. Loud and quiet inputs take both sides of the ``if``.

exported = program.module()
for loudness in (0.01, 3.0):
    four = loudness * torch.randn(4, 8)
    torch.testing.assert_close(exported(four), model(four))
    for times in (2, 7, 16):
        rows = four.repeat(times, 1)
        torch.testing.assert_close(exported(rows), model(four).repeat(times, 1))
    row = four[:1]
    torch.testing.assert_close(exported(row), model(row.expand(4, 8))[:1])
try:
    exported(torch.randn(65, 8))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# * Some errors still end the call, such as that of ``torch.equal``:


class IsPositive(torch.nn.Module):
    def forward(self, x):
        return x + 1.0 if torch.equal(x, x.abs()) else x - 1.0


try:
    torch.export.draft_export(IsPositive(), (x,))
except torch._subclasses.fake_tensor.DataDependentOutputException as error:
    print(type(error).__name__, error)

# sphinx_gallery_start_ignore
del os.environ["TORCH_DTRACE"], print
folder.cleanup()
# sphinx_gallery_end_ignore

# %%
# * File names may be missing: torch `writes each one once per process
#   <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_logging/structured.py#L20>`_.
#   Under Python 3.13 and later the code of the line is missing, too.
# * ``tlparse 3 --export``, PyTorch 2.13 and later, names no file. The log is the newest
#   file in the folder ``export_<user>`` of the temporary folder.
# * ``KeyError: 'getpwuid(): uid not found: 1000'``, in a container whose user has no
#   name: set the environment variable ``USER``.
# * Compilers fail on a draft program: ``'int' object has no attribute 'node'`` (`issue
#   140625 <https://github.com/pytorch/pytorch/issues/140625>`_).

# %%
# Summary
# +++++++
#
# * Read the report, fix the model, export again. Never ship the draft program.
# * The advice in the report silences an item. Decide what the model should do.
#
# Next: :ref:`l-plot-exporter-wrong-checklist` for what no report finds.
