"""
.. _l-plot-exporter-shapes-python-int:

int(), len() and math turn a size into a constant
=================================================

A dimension that should be dynamic is a constant: ``You marked batch as dynamic but your
code specialized it to be a constant (2)``. Or only a few sizes are accepted: ``Guard
failed: math.trunc(1.5 * torch.sym_float(...)) == 9``. Or the output has the size of the
example, without an error. The model computes with ``x.shape`` in plain Python.

This page shows which conversions make a number of a size, in which mode, which ones keep
the symbol, and what to write instead of each.

.. meta::
   :description: Keep sizes as they are and compute with //, **, torch.sym_int and
      torch.sym_float instead of int, float, len, math and NumPy.
   :keywords: int(x.shape[0]), len(tensor), float, math.sqrt, math.log, round, SymInt,
      torch.sym_int, torch.sym_float, math.trunc, numpy, range, specialized it to be a
      constant
"""

# %%
# The model
# +++++++++
#
# It stretches signals by one half, and averages them over the batch. The size is a
# product with 1.5, so the code makes an integer of it. The average divides by the
# ``len`` of the batch.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "turns static", "run fails"]
# sphinx_gallery_wording = "worked with torch 2.7, fails with torch 2.8"
# sphinx_gallery_wording = "output shape does not change with the input shape"
# sphinx_gallery_wording = "int(x.shape[0]) makes the dimension static"

import itertools
import math
import warnings

import numpy as np
import torch

Dim = torch.export.Dim
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Stretch(torch.nn.Module):
    def forward(self, signals):
        size = int(signals.shape[2] * 1.5)
        longer = torch.nn.functional.interpolate(signals, size=size)
        return longer.sum(dim=0) / len(signals)


torch.manual_seed(0)
model = Stretch()
signals = torch.randn(2, 3, 6)
print(model(signals).shape)

# %%
# The symptom
# +++++++++++
#
# Both dimensions have a name. Non-strict mode refuses, for two reasons: ``batch`` became
# a constant, and of all the values of ``frames`` a few are left. (Only these lines of the
# message are printed. Python deprecates what ``int`` does with a symbol up to torch 2.7,
# hence the filter.)


def export(model, inputs, shapes, strict):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.export.export(model, inputs, dynamic_shapes=shapes, strict=strict)


named = ({0: Dim("batch"), 2: Dim("frames")},)
try:
    export(model, (signals,), named, strict=False)
except torch._dynamo.exc.UserError as error:
    lines = [line for line in error.msg.splitlines() if line.startswith("  - ")]
else:
    lines = ["This release exports the model."]
print("\n".join(lines))
assert any("constant (2)" in line for line in lines), lines
assert any(line.endswith("== 9.") for line in lines), lines

# %%
# Strict mode exports the same model, and the program is right. So a script may stop
# working when torch is upgraded to 2.8, where the default mode changed (see
# :ref:`l-plot-exporter-exporter-strict`).

exported = export(model, (signals,), named, strict=True).module()
for shape in [(1, 3, 4), (5, 3, 7), (3, 3, 20)]:
    new = torch.randn(shape)
    torch.testing.assert_close(exported(new), model(new))
print("strict mode: same results")

# %%
# With ``Dim.AUTO`` non-strict mode exports the model as well, and the program is not
# right. Another batch is refused. Another length is refused since 2.9. Up to 2.8 the
# result has nine values, as for the example: `issue 138853
# <https://github.com/pytorch/pytorch/issues/138853>`_.

auto = ({0: Dim.AUTO, 2: Dim.AUTO},)
exported = export(model, (signals,), auto, strict=False).module()
for shape in [(5, 3, 6), (2, 3, 8)]:
    new = torch.randn(shape)
    try:
        result = exported(new)
    except (AssertionError, RuntimeError) as error:
        message = str(error)
    else:
        message = f"program {tuple(result.shape)}, eager {tuple(model(new).shape)}"
    print(message)
assert ("Guard failed: math.trunc(" in message) == (RELEASE >= (2, 9)), message
assert ("program (3, 9), eager (3, 12)" in message) == (RELEASE < (2, 9)), message

# %%
# The cause
# +++++++++
#
# While the model is traced, a size is a ``SymInt``: a symbol that knows the value of the
# example. Operators of Python make symbols of symbols. But Python does not let ``int()``,
# ``float()``, ``len()`` or the C code of ``math`` return anything that is not a real
# number. So torch `takes the value of the example
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/sym_node.py#L553>`_
# and writes down a guard that the value is this one. That is design, not a bug. The types
# of some expressions, in non-strict mode:

KEPT = ["n", "n / 2", "n // 2", "n % 4", "n ** 0.5", "abs(n - 9)", "math.ceil(n / 2)"]
KEPT += ["math.prod(x.shape)", "torch.sym_float(n)", "torch.sym_int(n * 1.5)"]
FROZEN = ["int(n)", "int(n * 1.5)", "len(x)", "float(n)", "math.sqrt(n)", "math.log(n)"]


def line(text):
    return eval(f"lambda x, n: {text}")


class Types(torch.nn.Module):
    def forward(self, x):
        for text in KEPT + FROZEN:
            found[text] = type(line(text)(x, x.shape[0])).__name__
        return x * 2


found = {}
export(Types(), (torch.ones(6, 3),), ({0: Dim.AUTO},), strict=False)
for text, name in found.items():
    print(f"{text:24}{name}")
assert {found[text] for text in KEPT} == {"SymInt", "SymFloat"}
assert {found[text] for text in FROZEN} == {"int", "float"}

# %%
# Change one thing: ``torch.sym_int`` in the place of ``int``, and the size in the place of
# ``len``. Non-strict mode exports the model, with names.


class StretchSymbolic(torch.nn.Module):
    def forward(self, signals):
        size = torch.sym_int(signals.shape[2] * 1.5)
        longer = torch.nn.functional.interpolate(signals, size=size)
        return longer.sum(dim=0) / signals.shape[0]


program = export(StretchSymbolic(), (signals,), named, strict=False)
print(program.range_constraints)
assert len(program.range_constraints) == 2

# %%
# What to write instead
# +++++++++++++++++++++
#
# On the left a line as it is often written, on the right one that keeps the symbol. The
# size of ``x`` is ``n``.

REWRITE = {
    "len(x)": "n",
    "int(n)": "n",
    "int(n * 0.75)": "n * 3 // 4",
    "float(n)": "torch.sym_float(n)",
    "math.sqrt(n)": "n ** 0.5",
    "math.log(n)": "x.new_full((), n).log()",
    "math.isqrt(n)": "torch.sym_int(n ** 0.5)",
    "np.sqrt(n)": "n ** 0.5",
    "np.prod(x.shape)": "math.prod(x.shape)",
    "divmod(n, 4)[1]": "n % 4",
    "sum(range(n))": "n * (n - 1) // 2",
    "x.shape.numel()": "x.numel()",
    "x.new_tensor(n)": "x.new_full((), n)",
    "torch.linspace(0, 1, n).sum()": "(torch.arange(n) / (n - 1)).sum()",
    "round(n, -1)": "(n + 5) // 10 * 10",
    "1 if isinstance(n, int) else 2": "1 if isinstance(n, (int, torch.SymInt)) else 2",
    "len(str(n))": "",
}

# %%
# Each line of the left is exported with ``Dim.AUTO``, in both modes, with an example of
# six rows. ``static`` and ``fails`` speak for themselves. What remains is run with three
# and with nine rows: ``refused`` stands for a program that raises, ``wrong`` for one that
# returns something else than eager.


class Times(torch.nn.Module):
    def __init__(self, *texts):
        super().__init__()
        self.lines = [line(text) for text in texts]

    def forward(self, x):
        return [x * function(x, x.shape[0]) for function in self.lines]


UNSUPPORTED = (TypeError, torch._dynamo.exc.Unsupported)
table = {text: [] for text in REWRITE}
for text, strict in itertools.product(REWRITE, (False, True)):
    try:
        program = export(Times(text), (torch.ones(6, 3),), ({0: Dim.AUTO},), strict)
        verdict = "static"
    except UNSUPPORTED:
        verdict = "fails"
    if verdict == "static" and program.range_constraints:
        verdict = "dynamic"
        for new in (torch.ones(3, 3), torch.ones(9, 3)):
            try:
                results = program.module()(new)
            except AssertionError:
                verdict = "refused"
            else:
                if not torch.allclose(results[0], Times(text)(new)[0]):
                    verdict = "wrong"
    table[text].append(verdict)
print(f"{'':32}{'strict=False':14}strict=True")
for text, verdicts in table.items():
    print(f"{text:32}{verdicts[0]:14}{verdicts[1]}")
