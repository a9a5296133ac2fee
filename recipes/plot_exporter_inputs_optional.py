"""
.. _l-plot-exporter-inputs-optional:

Do not export an optional input as None
=======================================

.. answer::
   :cost: The work of a mask that does nothing, where there is none.

   ``if mask is not None`` is decided during the export. A program exported with None
   silently ignores every mask, and one exported with a mask fails with None. Export
   with a tensor, and pass a neutral one later.

   .. code-block:: diff

      -inputs = (x, None)
      +inputs = (x, mask)
       program = torch.export.export(model, inputs, strict=False)
       # later, where there is no mask
      +mask = torch.ones(x.shape[:2], dtype=torch.bool)

   Not your case?

   * No tensor is neutral, or the mask is slow: see *Other fixes*.
   * The ignored input was no None: :ref:`l-plot-exporter-wrong-inputs`.
   * It is a number or a flag: :ref:`l-plot-exporter-inputs-python-scalars`.

.. meta::
   :keywords: optional input, mask=None, None input ignored,
      attention mask has no effect,
      NoneType object has no attribute size, default argument None,
      non-tensor type NoneType, two programs
"""

# %%
# The problem
# +++++++++++
#
# Attention with an optional mask: ``True`` is a position to attend to. The program was
# exported without a mask. It accepts one, and does not use it.

# sphinx_gallery_tags = ["inputs", "wrong without an error", "run fails", "export fails"]
# sphinx_gallery_wording = "exported program ignores the attention mask"
# sphinx_gallery_wording = "same output with and without mask after torch.export"
# sphinx_gallery_wording = "optional argument has no effect in the exported program"
# sphinx_gallery_wording = "Expected input at *args[1] to be a tensor, but got <class 'NoneType'>"

import torch


class Attention(torch.nn.Module):
    def forward(self, x, mask=None):
        scores = x @ x.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], float("-inf"))
        return scores.softmax(dim=-1) @ x


def make_inputs(batch, length):
    lengths = torch.arange(batch)[:, None] % length + 1
    return torch.randn(batch, length, 8), torch.arange(length)[None] < lengths


torch.manual_seed(0)
model = Attention()
x, mask = make_inputs(2, 4)
inputs = (x, None)
program = torch.export.export(model, inputs, strict=False)
result = program.module()(x, mask)
print("as the model with mask:", torch.allclose(result, model(x, mask)))
print("as the model without:  ", torch.allclose(result, model(x)))

# sphinx_gallery_start_ignore
assert not torch.allclose(result, model(x, mask))
# sphinx_gallery_end_ignore

# %%
# The reverse, exported with a mask and called with None, raises an error.

masked = torch.export.export(model, (x, mask), strict=False)
try:
    masked.module()(x, None)
except (AttributeError, RuntimeError) as error:
    print(error)

# %%
# The fix
# +++++++
#
# The neutral value depends on the input: ``True`` for this mask, zeros for a bias that
# is added, ones for a factor.

batch = torch.export.Dim("batch", min=1, max=16)
length = torch.export.Dim("length", min=2, max=64)
shapes = {"x": {0: batch, 1: length}, "mask": {0: batch, 1: length}}
inputs = (x, mask)
program = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
run = program.module()


def call(x, mask=None):
    if mask is None:
        mask = torch.ones(x.shape[:2], dtype=torch.bool)
    return run(x, mask)


# %%
# Why it happens
# ++++++++++++++
#
# The trace follows one branch of the ``if`` (`issue 112095
# <https://github.com/pytorch/pytorch/issues/112095>`_). The structure of the inputs is
# the same with None and with a tensor, and `the guards
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_unlift.py#L679>`_
# compare tensors, numbers and strings only. Whatever comes in the place of None is
# accepted:

print(torch.export.export(model, (x, None), strict=False).module()(x, "no mask").shape)

# %%
# This tells whether a program that you have was exported with None:

for exported in (torch.export.export(model, (x, None), strict=False), masked):
    for spec in exported.graph_signature.input_specs:
        print(spec.arg.name, getattr(spec.arg, "value", "a tensor"))

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
#    * - nobody passes a mask
#      - leave it out: ``export(model, (x,))``
#      - a call with a mask raises ``Trying to flatten user inputs``
#    * - needless work is too slow
#      - two programs, and Python chooses
#      - an export and a file for each combination of inputs
#    * - no value is neutral
#      - a flag, which is a tensor, and ``torch.where``
#      - one more input; both sides are computed
#
# Two programs share the weights in memory. What the example leaves out has no entry in
# ``dynamic_shapes``.

only_x = {"x": shapes["x"]}
without = torch.export.export(model, (x,), dynamic_shapes=only_x, strict=False).module()


def choose(x, mask=None):
    return without(x) if mask is None else run(x, mask)


# %%
# Here None stands for a learned default, and no tensor means the same. With ``False``
# the values of ``speaker`` play no part.


class Voice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.default = torch.nn.Parameter(torch.randn(8))

    def forward(self, x, speaker=None):
        return x * torch.tanh(self.default if speaker is None else speaker)


class VoiceWithFlag(torch.nn.Module):
    def __init__(self, voice):
        super().__init__()
        self.voice = voice

    def forward(self, x, speaker, has_speaker):
        return self.voice(x, torch.where(has_speaker, speaker, self.voice.default))


voice = Voice()
flagged = torch.export.export(
    VoiceWithFlag(voice),
    (torch.randn(6, 8), torch.randn(8), torch.tensor(True)),
    dynamic_shapes=({0: batch}, None, None),
    strict=False,
).module()

# %%
# Check
# +++++
#
# The reference is the model of the beginning, called with and without the input.

for size in [(1, 2), (5, 3), (16, 64)]:
    x, mask = make_inputs(*size)
    for exported in (call, choose):
        torch.testing.assert_close(exported(x, mask), model(x, mask))
        torch.testing.assert_close(exported(x), model(x))
    frames, speaker = torch.randn(size[0], 8), torch.randn(8)
    yes, no = torch.tensor(True), torch.tensor(False)
    torch.testing.assert_close(flagged(frames, speaker, yes), voice(frames, speaker))
    torch.testing.assert_close(flagged(frames, speaker, no), voice(frames))

# %%
# A mask of a different length must be rejected, and a mask where the example had none.

for exported, wrong in ((run, mask[:, :2]), (without, mask)):
    try:
        exported(x, wrong)
    except (AssertionError, RuntimeError, ValueError) as error:
        print(str(error).splitlines()[0])

# %%
# Limitations
# +++++++++++
#
# If you have to export with None, its entry in ``dynamic_shapes`` is None: not ``{}``,
# and no entry for an input that is left out.

x, mask = make_inputs(2, 4)
for inputs, entry in (((x, None), {}), ((x,), None)):
    try:
        torch.export.export(
            model, inputs, dynamic_shapes={**only_x, "mask": entry}, strict=False
        )
    except torch._dynamo.exc.UserError as error:
        print(str(error).splitlines()[0])

# %%
# Summary
# +++++++
#
# * Export with a tensor and pass a neutral one; or leave the input out.
# * An input that is None in the example accepts anything and ignores it.
#
# Next: :ref:`l-plot-exporter-wrong-inputs` for inputs ignored for other reasons,
# :ref:`l-plot-exporter-inputs-args-kwargs` for the calls that a program accepts,
# :ref:`l-plot-exporter-wrong-checklist` to check a program.
