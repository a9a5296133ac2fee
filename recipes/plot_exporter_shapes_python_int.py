"""
.. _l-plot-exporter-shapes-python-int:

int(), len() and math turn a size into a constant
=================================================

A dimension that should be dynamic is a constant: ``You marked batch as dynamic but your
code specialized it to be a constant (2)``. Or only a few sizes are accepted: ``Guard
failed: math.trunc(1.5 * torch.sym_float(...)) == 9``. Or the output has the size of the
example, without an error. The model computes with ``x.shape`` in plain Python.

This page shows which conversions make a number of a size, in which mode, which ones
keep the symbol, and what to write instead of each.

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
# Both dimensions have a name. Non-strict mode refuses, for two reasons: ``batch``
# became a constant, and ``frames`` must satisfy an equation. (Only these lines of the
# message are printed. Python deprecates what ``int`` does with a symbol up to torch
# 2.7, hence the filter.)


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
# While the model is traced, a size is a ``SymInt``: a symbol that knows the value of
# the example. Operators of Python make symbols of symbols, and so do ``math.ceil`` and
# ``math.floor``, which call a method of their argument. But Python does not let
# ``int()``, ``float()`` and ``len()`` return anything but a plain number, and
# ``math.sqrt`` and ``math.log`` begin with ``float()``. So torch `takes the value of
# the example
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/sym_node.py#L553>`_,
# and writes down a guard that the value is this one. That is design, not a bug. The
# types of some expressions, in non-strict mode:

KEPT = ["n", "n / 2", "n // 2", "n % 4", "n ** 0.5", "abs(n - 9)", "math.ceil(n / 2)"]
KEPT += ["math.prod(x.shape)", "torch.sym_float(n)", "torch.sym_int(n * 1.5)"]
FROZEN = ["int(n)", "int(n * 1.5)", "len(x)", "float(n)", "math.sqrt(n)", "math.log(n)"]


NAMES = {"math": math, "np": np, "torch": torch}


def line(text):
    return eval(f"lambda x, n: {text}", NAMES)


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
# Change one thing: ``torch.sym_int`` in the place of ``int``, and the size in the place
# of ``len``. Non-strict mode exports the model, with names.


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
    "int(np.prod(x.shape))": "math.prod(x.shape)",
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
# six rows. ``static`` and ``fails`` speak for themselves. What remains is run with
# three and with nine rows: ``refused`` stands for a program that raises, ``wrong`` for
# one that returns something else than eager.


class Times(torch.nn.Module):
    def __init__(self, *texts):
        super().__init__()
        self.lines = [line(text) for text in texts]

    def forward(self, x):
        return [x * function(x, x.shape[0]) for function in self.lines]


def is_static(program):
    (name,) = program.graph_signature.user_inputs
    (node,) = [node for node in program.graph.nodes if node.name == name]
    return str(node.meta["val"].shape[0]).isdigit()


table = {text: [] for text in REWRITE}
for text, strict in itertools.product(REWRITE, (False, True)):
    variant = Times(text)
    try:
        program = export(variant, (torch.ones(6, 3),), ({0: Dim.AUTO},), strict)
    except (TypeError, torch._dynamo.exc.Unsupported):
        verdict = "fails"
    else:
        verdict = "static" if is_static(program) else "dynamic"
    for size in (3, 9) if verdict == "dynamic" else ():
        new = torch.ones(size, 3)
        try:
            (result,) = program.module()(new)
        except AssertionError:
            verdict = "refused"
        else:
            verdict = verdict if torch.allclose(result, variant(new)[0]) else "wrong"
    table[text].append(verdict)
print(f"{'':32}{'strict=False':14}strict=True")
for text, verdicts in table.items():
    print(f"{text:32}{verdicts[0]:14}{verdicts[1]}")

# %%
# Strict mode follows ``int``, ``len``, ``float`` and ``math.sqrt``. Other functions of
# ``math``, NumPy and loops are frozen there too, or fail. ``int(n * 0.75)`` is the row
# to remember: in non-strict mode the dimension is listed as dynamic, and other sizes
# are refused, or wrong up to 2.8.

for text in ("len(x)", "int(n)", "float(n)", "math.sqrt(n)", "x.shape.numel()"):
    assert table[text] == ["static", "dynamic"], text
for text in ("math.log(n)", "sum(range(n))", "int(np.prod(x.shape))"):
    assert table[text] == ["static", "static"], text
pinned = "refused" if RELEASE >= (2, 9) else "wrong"
assert table["int(n * 0.75)"] == [pinned, "dynamic"]
assert table["divmod(n, 4)[1]"] == ["fails", "fails"]

# %%
# The last three rows are wrong without an error and without a guard, on every release
# of this page:
#
# * A symbol is not an ``int``, so ``isinstance`` takes the other branch.
# * The text of a symbol is its name, ``s77`` for example. A dictionary whose keys are
#   texts is looked up with that.
# * ``round`` with negative digits returns the symbol as it is (`issue 198064
#   <https://github.com/pytorch/pytorch/issues/198064>`_).

assert table["round(n, -1)"] == ["wrong", "wrong"]
assert table["1 if isinstance(n, int) else 2"] == ["wrong", "dynamic"]
assert table["len(str(n))"] == ["wrong", "fails"]

# %%
# The right column, all in one program, with a name: every line against the *left* one
# in eager. The right one of ``linspace`` needs two rows or more, and the one of
# ``round`` rounds 25 up, where Python goes to the even number. The maximum in the
# ``Dim`` is for ``torch.arange`` up to 2.7 (see :ref:`l-plot-exporter-shapes-ranges`).

left = [text for text, instead in REWRITE.items() if instead]
instead = Times(*[REWRITE[text] for text in left])
n = Dim("n", min=2, max=4096)
for strict in (False, True):
    exported = export(instead, (torch.ones(6, 3),), ({0: n},), strict).module()
    for size in (2, 3, 7, 9, 100):
        new = torch.randn(size, 3)
        torch.testing.assert_close(exported(new), Times(*left)(new))
print(len(left), "lines, five sizes, two modes: same results")

# %%
# What needs no other form
# ++++++++++++++++++++++++
#
# Arithmetic, ``abs``, ``math.ceil``, ``math.floor``, ``math.trunc``, ``math.prod``,
# ``round`` without digits and the functions ``torch.sym_int`` and ``torch.sym_float``
# work in both modes, on all releases. ``max`` and ``min`` do since 2.8. Before, the
# example decides which argument is returned, and the range shrinks to where that is
# true; ``torch.sym_max`` and ``torch.sym_min`` are no better there.

KEPT += ["math.floor(n / 2)", "math.trunc(n / 2)", "round(n / 4)", "n * 1.5", "-n"]
for strict in (False, True):
    exported = export(Times(*KEPT), (torch.ones(6, 3),), ({0: n},), strict).module()
    for size in (2, 3, 7, 9):
        new = torch.randn(size, 3)
        torch.testing.assert_close(exported(new), Times(*KEPT)(new))

for text, strict in itertools.product(("max(n, 8)", "min(n, 8)"), (False, True)):
    program = export(Times(text), (torch.ones(6, 3),), ({0: Dim.AUTO},), strict)
    (bounds,) = program.range_constraints.values()
    print(f"{text} strict={strict!s:6} {bounds}")
    assert bounds.lower == 2 and (bounds.upper < 9) == (RELEASE < (2, 8)), text

# %%
# A symbol that is the *size of a new tensor* raises one more question, *is it 0 or 1?*
# (:ref:`l-plot-exporter-shapes-zero-one`). And a branch on a symbol, ``if n > 8``, is
# decided by the example (:ref:`l-plot-exporter-control-cond`).
#
# The fix
# +++++++
#
# For the model of this page there are two. ``torch.sym_int``, as above, is the smallest
# change: it returns what ``int`` returns, in eager as well, and the program computes
# with floats. With a factor such as 3/2, integers give the same result and a simpler
# program. With 0.29 they do not, because a float is close to 0.29 and no more. Both
# fixes work on all releases of this page.


class StretchIntegers(torch.nn.Module):
    def forward(self, signals):
        size = signals.shape[2] * 3 // 2
        longer = torch.nn.functional.interpolate(signals, size=size)
        return longer.sum(dim=0) / signals.shape[0]


print(int(100 * 0.29), torch.sym_int(100 * 0.29), 100 * 29 // 100)
assert (int(100 * 0.29), torch.sym_int(100 * 0.29), 100 * 29 // 100) == (28, 28, 29)

# %%
# Constants of the model, as in ``int(self.ratio * 8)``, are no symbols and need no
# change.
#
# The check
# +++++++++
#
# Both repaired models against the first one, in both modes, from one frame on.

for fixed in (StretchSymbolic(), StretchIntegers()):
    for strict in (False, True):
        exported = export(fixed, (signals,), named, strict).module()
        for shape in [(1, 3, 1), (5, 3, 2), (3, 3, 7), (4, 3, 200)]:
            new = torch.randn(shape)
            torch.testing.assert_close(exported(new), model(new))
print("same results")

# %%
# Four channels are refused: this dimension has no entry.

try:
    exported(torch.randn(2, 4, 6))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program with four channels."
print(message)
assert "size()[1] == 3" in message or "to be equal to 3" in message, message

# %%
# To remember
# +++++++++++
#
# * A size is a symbol. ``int``, ``float``, ``len``, ``math`` and NumPy ask for its
#   value, and the value is the one of the example.
# * Use the size itself, ``//``, ``**``, ``torch.sym_int`` and ``torch.sym_float``; for
#   a logarithm, a tensor made with ``new_full``.
# * ``isinstance(n, int)``, ``str(n)`` and ``round(n, -1)`` are wrong without an error.
# * A dimension that is listed as dynamic may still have one right size: run another.
#
# Next: :ref:`l-plot-exporter-shapes-find-the-line` if you do not know which line it is,
# :ref:`l-plot-exporter-shapes-auto-dynamic-static` for a function that lists what is
# dynamic, and :ref:`l-plot-exporter-lost_dynamic_dimension` for a size that gets lost
# inside an operator.
