"""
.. _l-plot-exporter-shapes-auto-dynamic-static:

Dim.AUTO turns static without a word
====================================

The dimension is marked ``Dim.AUTO``, the export succeeds, and the program accepts only
the size of the example: ``Guard failed: tokens.size()[1] == 6``, or ``Expected input at
*args[0].shape[1] to be equal to 6, but got 9``.

This page shows what ``Dim("name")``, ``Dim.DYNAMIC``, ``Dim.AUTO``, ``Dim.STATIC``,
``None`` and a number promise, which lines of Python turn ``Dim.AUTO`` into a constant,
and a short function that tells, right after the export, what is really dynamic.

.. meta::
   :description: Mark what must be dynamic with Dim.DYNAMIC or a name, and list the
      dynamic dimensions of the program in the export script.
   :keywords: Dim.AUTO, Dim.DYNAMIC, Dim.STATIC, dynamic shapes, specialized to a
      constant, range_constraints empty, Expected input to be equal to, Guard failed,
      silent specialization, maybe_mark_dynamic
"""

# %%
# The model
# +++++++++
#
# Attention whose scores are scaled with the logarithm of the length, as some models do
# for long inputs. The input has a batch, a length and four features.

# sphinx_gallery_tags = ["dynamic shapes", "turns static", "run fails"]
# sphinx_gallery_wording = "Dim.AUTO is ignored, the dimension is not dynamic"
# sphinx_gallery_wording = "range_constraints is empty in spite of dynamic_shapes"
# sphinx_gallery_wording = "exported model only accepts the length of the example"

import itertools
import math
import warnings

import numpy as np
import torch

Dim = torch.export.Dim
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class LogScaled(torch.nn.Module):
    def forward(self, tokens):
        scale = math.log(tokens.shape[1]) / math.log(512)
        scores = tokens @ tokens.transpose(1, 2) * scale
        return torch.softmax(scores, dim=-1) @ tokens


torch.manual_seed(0)
model = LogScaled()
tokens = torch.randn(2, 6, 4)
print(model(tokens).shape)

# %%
# The symptom
# +++++++++++
#
# Batch and length are ``Dim.AUTO``. The export says nothing. The program takes another
# batch, and refuses another length.

shapes = ({0: Dim.AUTO, 1: Dim.AUTO},)
program = torch.export.export(model, (tokens,), dynamic_shapes=shapes, strict=False)
exported = program.module()
print(exported(torch.randn(5, 6, 4)).shape)
try:
    exported(torch.randn(2, 9, 4))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program with nine tokens."
print(message)
assert "size()[1] == 6" in message or "to be equal to 6" in message, message

# %%
# The cause
# +++++++++
#
# ``Dim.AUTO`` is a question: *is this dimension dynamic?* The trace answers it, and
# "no" is an answer, not an error. That is `how it was designed
# <https://github.com/pytorch/pytorch/pull/133620>`_, and what the `source of torch says
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/dynamic_shapes.py#L51>`_.
# The answer is in the program, in the shapes of its inputs:

(node,) = [node for node in program.graph.nodes if node.op == "placeholder"]
batch, length, features = node.meta["val"].shape
for size in (batch, length, features):
    print(type(size).__name__, size)
print(program.range_constraints)
assert not str(batch).isdigit()
assert isinstance(length, torch.SymInt) and str(length) == "6"

# %%
# The batch is a symbol with a range. The length was a symbol when the trace began, and
# became the number 6 on the way. Its type is still ``SymInt``, so
# ``isinstance(size, int)`` does not notice; its text does.
#
# The line that asked for the number is the one with ``math.log``: it needs a float of
# Python. Leave it out, and the length stays dynamic.


class Unscaled(torch.nn.Module):
    def forward(self, tokens):
        scores = tokens @ tokens.transpose(1, 2)
        return torch.softmax(scores, dim=-1) @ tokens


unscaled = torch.export.export(
    Unscaled(), (tokens,), dynamic_shapes=shapes, strict=False
)
print(unscaled.range_constraints)
assert len(unscaled.range_constraints) == 2 and len(program.range_constraints) == 1

# %%
# Notice it at once
# +++++++++++++++++
#
# This function lists the dimensions that are dynamic in a program. Put it into the
# script that exports, with an ``assert`` on the result. (For the outputs, look at the
# last node of the graph in the same way.)


def dynamic_dimensions(program):
    found = {}
    for node in program.graph.nodes:
        if node.name in program.graph_signature.user_inputs:
            for axis, size in enumerate(getattr(node.meta["val"], "shape", ())):
                if not str(size).isdigit():
                    found[f"{node.name}.shape[{axis}]"] = str(size)
    return found


print("with the logarithm   ", dynamic_dimensions(program))
print("without the logarithm", dynamic_dimensions(unscaled))
assert set(dynamic_dimensions(program)) == {"tokens.shape[0]"}
assert set(dynamic_dimensions(unscaled)) == {"tokens.shape[0]", "tokens.shape[1]"}

# %%
# What each form promises
# +++++++++++++++++++++++
#
# Three models: one that leaves the length alone, one with a table of sixteen positions,
# and the one of this page. Each row writes the length in another way.


class Double(torch.nn.Module):
    def forward(self, tokens):
        return tokens * 2


class Table(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(16, 4))

    def forward(self, tokens):
        return tokens + self.table[: tokens.shape[1]]


forms = {
    'Dim("n")': {1: Dim("n")},
    "Dim.DYNAMIC": {1: Dim.DYNAMIC},
    "Dim.AUTO": {1: Dim.AUTO},
    "Dim.STATIC": {1: Dim.STATIC},
    "None": {1: None},
    "left out": {},
    "6": {1: 6},
    "7": {1: 7},
}

# %%
# ``error`` means that the export fails.

REFUSED = (
    torch._dynamo.exc.UserError,
    torch.fx.experimental.symbolic_shapes.ConstraintViolationError,
)
promises = {}
print(f"{'':12}{'Double':>12}{'Table':>12}{'LogScaled':>12}")
for form, shape in forms.items():
    row = promises[form] = []
    for variant in (Double(), Table(), model):
        try:
            p = torch.export.export(
                variant, (tokens,), dynamic_shapes=(shape,), strict=False
            )
        except REFUSED:
            row.append("error")
        else:
            ranges = [f"{r.lower}..{r.upper}" for r in p.range_constraints.values()]
            row.append(ranges[0] if dynamic_dimensions(p) else "static")
    print(f"{form:12}" + "".join(f"{word:>12}" for word in row))

# %%
# * A **name** promises that the model works for the whole range of the ``Dim``, which
#   is every size if you gave none. A range that turns out smaller is an error, a
#   constant is an error, and two names that must be equal are an error.
# * ``Dim.DYNAMIC`` promises more than one size. The exporter finds the range, and ties
#   the dimension to others where the model needs it. Only a constant is an error.
# * ``Dim.AUTO`` promises nothing.
# * ``Dim.STATIC``, ``None`` and a missing entry are the same: a constant. A number is a
#   constant too, and the export fails if the example has another one.

assert promises['Dim("n")'] == ["0..int_oo", "error", "error"]
assert promises["Dim.DYNAMIC"] == ["2..int_oo", "2..16", "error"]
assert promises["Dim.AUTO"] == ["2..int_oo", "2..16", "static"]
for form in ("Dim.STATIC", "None", "left out", "6"):
    assert promises[form] == ["static"] * 3
assert promises["7"] == ["error"] * 3

# %%
# An input that was forgotten
# +++++++++++++++++++++++++++
#
# The model may be right, and ``dynamic_shapes`` incomplete. Here the mask has no entry,
# so its length is a constant. The tokens are multiplied by it, so their length is that
# constant too.


class Masked(torch.nn.Module):
    def forward(self, tokens, mask):
        return tokens * mask


example = (tokens, torch.ones(2, 6, 1))
listed = {}
for mask_entry, mask_shape in [("None", None), ("Dim.AUTO", {1: Dim.AUTO})]:
    masked = torch.export.export(
        Masked(), example, dynamic_shapes=({1: Dim.AUTO}, mask_shape), strict=False
    )
    listed[mask_entry] = dynamic_dimensions(masked)
    print(f"mask {mask_entry}:", listed[mask_entry])
assert listed["None"] == {}
assert len(listed["Dim.AUTO"]) == 2 and len(set(listed["Dim.AUTO"].values())) == 1

# %%
# In the second list both lengths are one symbol: the program insists that they are
# equal. ``Dim.AUTO`` and ``Dim.DYNAMIC`` tie dimensions in silence, so read the
# symbols, and not only the keys (see :ref:`l-plot-exporter-shapes-related`).
#
# What turns Dim.AUTO static
# ++++++++++++++++++++++++++
#
# One line of Python per row, the length is ``n`` and 6 in the example. Each model is
# exported in both modes with ``Dim.AUTO``.

WEIGHTS = [i / 10 for i in range(20)]
LINES = {
    "len(x)": lambda x, n: x * len(x),
    "int(n)": lambda x, n: x * int(n),
    "float(n)": lambda x, n: x * float(n),
    "math.sqrt(n)": lambda x, n: x * math.sqrt(n),
    "math.log(n)": lambda x, n: x * math.log(n),
    "range(n)": lambda x, n: sum(x * i for i in range(n)),
    "for row in x": lambda x, n: torch.stack([row for row in x]),
    "x.unbind()": lambda x, n: torch.stack(x.unbind()),
    "WEIGHTS[n]": lambda x, n: x * WEIGHTS[n],
    "n in (6, 12)": lambda x, n: x if n in (6, 12) else -x,
    "n in (3, 9)": lambda x, n: x if n in (3, 9) else -x,
    "x.new_tensor(n)": lambda x, n: x * x.new_tensor(n),
    "torch.as_tensor(n)": lambda x, n: x * torch.as_tensor(n),
    "torch.linspace(n)": lambda x, n: x * torch.linspace(0, 1, n)[:, None],
    "np.prod(x.shape)": lambda x, n: x * int(np.prod(x.shape)),
    "int(n / 2)": lambda x, n: x * int(n / 2),
    'len(f"{n}")': lambda x, n: x * len(f"{n}"),
    "n // 2": lambda x, n: x * (n // 2),
    "n ** 0.5": lambda x, n: x * n**0.5,
    "torch.arange(n)": lambda x, n: x * torch.arange(n)[:, None],
}


class OneLine(torch.nn.Module):
    def __init__(self, line):
        super().__init__()
        self.line = line

    def forward(self, x):
        return self.line(x, x.shape[0])


# %%
# ``static`` means that the list of the new function is empty. A dimension that is in
# the list is tried with nine rows, against eager: ``refused`` means that the program
# raises, ``wrong`` that it returns something else than the model. (Python deprecates
# what ``int`` does with a symbol up to 2.7, hence the filter.)

found = {name: [] for name in LINES}
length = {"dynamic_shapes": ({0: Dim.AUTO},)}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    for name, strict in itertools.product(LINES, (False, True)):
        variant, new = OneLine(LINES[name]), torch.ones(9, 4)
        p = torch.export.export(variant, (torch.ones(6, 4),), **length, strict=strict)
        try:
            result = p.module()(new)
        except (AssertionError, RuntimeError):
            verdict = "refused"
        else:
            same = torch.allclose(result, variant(new))
            verdict = "dynamic" if same else "wrong"
        found[name].append(verdict if dynamic_dimensions(p) else "static")
print(f"{'':20}{'strict=False':14}strict=True")
for name, verdicts in found.items():
    print(f"{name:20}{verdicts[0]:14}{verdicts[1]}")

# %%
# Whatever must be a number of Python, or has one result per row, is a constant. Strict
# mode reads the bytecode of the model and keeps some of the conversions symbolic;
# non-strict mode runs the line, and Python insists on a real number.
# :ref:`l-plot-exporter-shapes-python-int` has what to write instead of each.

UNCHECKED = "refused" if RELEASE >= (2, 9) else "wrong"
for name in ("len(x)", "int(n)", "float(n)", "math.sqrt(n)"):
    assert found[name] == ["static", "dynamic"], name
for name in ("math.log(n)", "range(n)", "x.unbind()", "WEIGHTS[n]", "np.prod(x.shape)"):
    assert found[name] == ["static", "static"], name
for name in ("n // 2", "n ** 0.5", "torch.arange(n)"):
    assert found[name] == ["dynamic", "dynamic"], name
assert found["x.new_tensor(n)"][1] == ("dynamic" if RELEASE >= (2, 12) else "static")

# %%
# Three rows are worse than a constant. A test such as ``n in (3, 9)`` is answered for
# the example: the dimension is dynamic, but not for these two sizes. ``int(n / 2)``
# keeps the symbol, with a guard that holds for 6 and 7 only. Since 2.9 the program
# verifies such guards and refuses; up to 2.8 it returns a wrong result. And an f-string
# holds the name of the symbol, without a guard, on every release.

assert found["n in (3, 9)"] == [UNCHECKED, UNCHECKED]
assert found["int(n / 2)"] == [UNCHECKED, "dynamic"]
assert found['len(f"{n}")'] == ["wrong", "static"]

# %%
# So the list is the first test, and a run with another size is the second. Neither
# replaces the other.
#
# The fix: ask for an error
# +++++++++++++++++++++++++
#
# Give ``Dim.DYNAMIC`` to each dimension that must not be a constant. The export of the
# first model fails, in both modes. This works on all releases of this page. The price:
# none at run time; dimensions for which a constant is fine must be sorted out by you.

shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},)
for strict in (False, True):
    try:
        torch.export.export(model, (tokens,), dynamic_shapes=shapes, strict=strict)
    except torch._dynamo.exc.UserError as error:
        message = "\n".join(str(error).splitlines()[:2])
    else:
        message = "This release exports the model."
    print(message)
    assert "Constraints violated (L['" in message and ".size()[1])" in message, message

# %%
# The message of newer releases ends with the advice to use ``Dim.STATIC`` or
# ``Dim.AUTO`` instead. That removes the error and keeps the constant: it is how this
# page began. A name gives the same error, and a range that you choose as well.
#
# Then rewrite the line. Here a tensor takes the logarithm, and a tensor may depend on
# the size. The price is a small operator in each call.


class TensorScaled(torch.nn.Module):
    def forward(self, tokens):
        length = tokens.new_full((), tokens.shape[1])
        scores = tokens @ tokens.transpose(1, 2) * (length.log() / math.log(512))
        return torch.softmax(scores, dim=-1) @ tokens


fixed = TensorScaled()
program = torch.export.export(fixed, (tokens,), dynamic_shapes=shapes, strict=False)
print(dynamic_dimensions(program))
assert set(dynamic_dimensions(program)) == {"tokens.shape[0]", "tokens.shape[1]"}

# %%
# ``Dim.AUTO`` has its use in a first export of a model that you do not know: mark
# everything, read the list, and write what you read down as ``Dim.DYNAMIC`` or a name.
#
# The check
# +++++++++
#
# The program against the model as it was, on shapes that were not traced, in both
# modes.

for strict in (False, True):
    program = torch.export.export(
        fixed, (tokens,), dynamic_shapes=shapes, strict=strict
    )
    assert set(dynamic_dimensions(program)) == {"tokens.shape[0]", "tokens.shape[1]"}
    exported = program.module()
    for batch, length in [(1, 1), (3, 2), (5, 9), (2, 600)]:
        new = torch.randn(batch, length, 4)
        torch.testing.assert_close(exported(new), model(new))
print("same results for lengths 1, 2, 9 and 600")

# %%
# The features had no entry in ``dynamic_shapes``. They are a constant, and this is
# checked.

try:
    exported(torch.randn(2, 6, 5))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program with five features."
print(message)
assert "size()[2] == 4" in message or "to be equal to 4" in message, message

# %%
# To remember
# +++++++++++
#
# * ``Dim.AUTO`` is a question, ``Dim.DYNAMIC`` and a name are demands. Use a demand for
#   what production varies.
# * List the dynamic dimensions in the script that exports, assert on the list, and run
#   the program with one other size.
# * One input without an entry makes the dimensions of the others constant.
# * Advice to replace ``Dim.DYNAMIC`` by ``Dim.AUTO`` hides the constant.
#
# Next: :ref:`l-plot-exporter-shapes-specialized` for the error that ``Dim.DYNAMIC``
# gives, :ref:`l-plot-exporter-shapes-find-the-line` for the line behind it, and
# :ref:`l-plot-exporter-shapes-zero-one` if the example has a size of 1.
