"""
.. _l-plot-exporter-exporter-draft:

List every problem of a model with draft_export
===============================================

:func:`torch.export.export` stops at its first problem. You fix it, and it stops at the
next one. The message ends with ``... you can replace your `export()` call ...``; the
other call says ``WARNING: 4 issue(s) found during export, and it was not able to
soundly produce a graph``.

This page gets the report for a model with three problems, reads each item, shows why
the draft program must not be used, and repairs the model for a real export.

.. meta::
   :description: Run draft_export, read each item of its report, repair the model, and export again: a draft program is not sound.
   :keywords: draft_export, draft export report, _report, issue(s) found during export, not able to soundly produce a graph, missing fake kernel, Data dependent error, Guard Added, tlparse
"""

# %%
# The model
# +++++++++
#
# An amplifier: loud batches are scaled down to a peak of 1, an offset is added, and an
# operator of its own clips the result. It has three faults: a test on a value, the
# batch size of the example in ``expand``, and a custom operator without a fake
# implementation, the function that tells the exporter the shape of the result.

# sphinx_gallery_tags = ["start here", "how to", "export fails"]
# sphinx_gallery_wording = "fix one export error after another"
# sphinx_gallery_wording = "draft-exported program gives wrong results"
# sphinx_gallery_wording = "AttributeError: module 'torch.export' has no attribute 'draft_export'"
# sphinx_gallery_wording = "AttributeError: 'int' object has no attribute 'node'"

import logging
import os
import sys
import tempfile

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


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
assert x.abs().max() > 1.0
shapes = ({0: torch.export.Dim("batch", max=64)},)

# %%
# The symptom
# +++++++++++
#
# The export names one of the three faults. Only the first line of the message is
# printed; since 2.8 its end recommends ``draft_export``.

try:
    torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
except torch.fx.experimental.symbolic_shapes.GuardOnDataDependentSymNode as error:
    message = str(error)
else:
    message = "This release exports a test on a value."
print(message.splitlines()[0])
assert message.startswith("Could not guard on data-dependent expression"), message
assert ("draft_export" in message) == (RELEASE >= (2, 8))

# %%
# The report
# ++++++++++
#
# ``draft_export`` takes the same arguments. It runs the model with the real tensors
# beside the fake ones. Where the exporter lacks an answer it takes the one that the
# example gives, notes it, and goes on. The function is public since 2.8. Before, it is
# in a private module, and in 2.6 it returns the report as a second result.
#
# The function writes a log into the folder ``export_<user>`` of the temporary files
# (2.6 does not); the variable ``TORCH_DTRACE`` gives another folder. It also logs a
# warning, which is kept here.

if RELEASE >= (2, 8):
    draft_export = torch.export.draft_export
else:
    from torch.export._draft_export import draft_export

folder = tempfile.TemporaryDirectory()
os.environ["TORCH_DTRACE"] = folder.name
warned = []
handler = logging.Handler()
handler.emit = lambda record: warned.append(record.getMessage())


def draft(model, strict=False):
    result = draft_export(model, (x,), dynamic_shapes=shapes, strict=strict)
    return result if isinstance(result, tuple) else (result, result._report)


logger = logging.getLogger("torch.export._draft_export")
logger.addHandler(handler)
program, report = draft(model)
logger.removeHandler(handler)
text = str(report)
for line in text.splitlines():
    if line.startswith("WARNING") or line[:3] in ("1. ", "2. ", "3. ", "4. "):
        print(line)
assert not report.successful()

# %%
# ``print(program._report)`` gives the whole text: for each item the line of the model,
# the local variables, and torch's own stack. The same is in ``report.failures`` as
# data, which is easier to read. 2.6 has no ``loc``, the line of code, and under Python
# 3.13 and later it is empty: :ref:`l-plot-exporter-shapes-find-the-line` says why.


def items(report):
    for failure in report.failures:
        data = failure.data
        place = (data.get("frame_locals") or {}).get("loc") or ""
        yield failure.failure_type.name, data.get("expr") or data["op"], place


for kind, what, place in items(report):
    print(f"{kind}: {what}\n    {place}".rstrip())

violation = "GUARD_ADDED" if RELEASE >= (2, 8) else "CONSTRAINT_VIOLATION_ERROR"
expected = {"DATA_DEPENDENT_ERROR", violation, "MISSING_FAKE_KERNEL"}
assert {kind for kind, _, _ in items(report)} == expected
assert (
    {"if peak > 1.0:", "x = x + self.offset.expand(4, 8)"}
    <= {place for _, _, place in items(report)}
    or RELEASE < (2, 7)
    or sys.version_info >= (3, 13)
)

# %%
# How to read the items:
#
# * ``DATA_DEPENDENT_ERROR``: Python asked for a value. ``u0`` is unknown until the
#   program runs; ``Eq(u0, 1)`` is how the exporter writes that a test is true. The
#   example said yes, and the other branch is gone.
# * ``GUARD_ADDED`` (up to 2.7 ``CONSTRAINT_VIOLATION_ERROR``): ``Eq(s77, 4)`` means
#   that this line made a dimension of an input constant. The number of the symbol
#   varies. Since 2.12 the test on the value is listed here a second time; its symbol
#   starts with ``u``, so it is no dimension of an input.
# * ``MISSING_FAKE_KERNEL``: the exporter knows the rank of the result, and not its
#   shape.
# * ``MISMATCHED_FAKE_KERNEL`` (not in this model yet): the fake implementation gives
#   another shape or type than the operator.
#
# The draft program is not sound
# ++++++++++++++++++++++++++++++
#
# The program is right for the example, and for inputs that take the same path. The
# dimension that was declared is the constant 4.

drafted = program.module()
torch.testing.assert_close(drafted(x), model(x))
torch.testing.assert_close(drafted(3.0 * x), model(3.0 * x))
shape = next(n for n in program.graph.nodes if n.name == "x").meta["val"].shape
print("shape of x:", tuple(shape))
assert tuple(shape) == (4, 8)

# %%
# A quiet input takes the other branch. torch's documentation says that the program
# `then stops at an assertion
# <https://docs.pytorch.org/docs/2.13/user_guide/torch_compiler/export/draft_export.html>`_.
# This holds since 2.12. Up to 2.11 the assertion is missing for a test on a tensor,
# and the result is wrong without an error.

quiet = 0.1 * x
try:
    result = drafted(quiet)
except RuntimeError as error:
    result = None
    print(str(error))
else:
    difference = (result - model(quiet)).abs().max()
    print(f"no error, and the result is wrong: {difference > 0.1}")
    assert difference > 0.1
assert (result is None) == (RELEASE >= (2, 12))

# %%
# Another batch size is refused, although ``dynamic_shapes`` asked for it.

try:
    drafted(torch.randn(5, 8))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs another batch size."
print(message)
assert "x.size()[0] == 4" in message or "to be equal to 4" in message, message

# %%
# So keep the report and throw the program away. Tools that come after the export meet
# what is unresolved too, and fail there with messages of their own (an example is
# `issue 140625 <https://github.com/pytorch/pytorch/issues/140625>`_: ``'int' object has
# no attribute 'node'``).
#
# The fixes
# +++++++++
#
# *The test on a value.* Write what holds for both cases. Here a division by
# ``max(peak, 1)`` leaves quiet batches as they are; in general it is
# :func:`torch.where` or :func:`torch.cond` (:ref:`l-plot-exporter-control-cond`). The
# price: both cases are computed, except with ``cond``. The report advises
# ``torch._check(...)``. That is right when the test always has the same answer, and the
# program then refuses the other one (:ref:`l-plot-exporter-data-guard`).


class NoTest(Amplifier):
    def forward(self, x):
        x = x / x.abs().max().clamp(min=1.0)
        x = x + self.offset.expand(4, 8)
        return soft_clip(x, 2.0)


# %%
# *The dimension.* Take the size from the input, or leave it to broadcasting, at no
# price. The report advises ``Dim.AUTO``. That silences the item, and the dimension
# stays constant (:ref:`l-plot-exporter-shapes-auto-dynamic-static`).


class AnyBatch(Amplifier):
    def forward(self, x):
        x = x / x.abs().max().clamp(min=1.0)
        return soft_clip(x + self.offset, 2.0)


# %%
# Each fix takes its item off the report. The plain export shows how slow it is to go
# on without one: now it stops at the operator, and the dimension is not mentioned.

left = []
for repaired in (NoTest(), AnyBatch()):
    try:
        torch.export.export(repaired, (x,), dynamic_shapes=shapes, strict=False)
    except RuntimeError as error:
        message = str(error).splitlines()[0].split(". ")[0]
    else:
        message = "This release exports the model."
    left.append([kind for kind, _, _ in items(draft(repaired)[1])])
    print(f"{type(repaired).__name__}\n  export: {message}\n  report: {left[-1]}")
    assert message.startswith("There was no fake impl registered"), message
assert left == [[violation, "MISSING_FAKE_KERNEL"], ["MISSING_FAKE_KERNEL"]]

# %%
# *The operator.* Its fake implementation returns an empty tensor of the right shape and
# type (:func:`torch.library.register_fake`). The price: the exporter believes it. This
# one is wrong, and the program says ``float64`` where the result is ``float32``. The
# export is content, the report is not: it knows the real result.


@soft_clip.register_fake
def wrong_soft_clip(x, limit):
    return torch.empty_like(x, dtype=torch.float64)


repaired = AnyBatch()
repaired.load_state_dict(model.state_dict())
program = torch.export.export(repaired, (x,), dynamic_shapes=shapes, strict=False)
output = next(n for n in program.graph.nodes if "soft_clip" in str(n.target))
print("in the program:", output.meta["val"].dtype)
print("returned:      ", program.module()(x).dtype)
report = draft(repaired)[1]
print("in the report: ", [kind for kind, _, _ in items(report)])
assert output.meta["val"].dtype != program.module()(x).dtype
assert [kind for kind, _, _ in items(report)] == ["MISMATCHED_FAKE_KERNEL"]

# %%
# The right one takes its place.


@soft_clip.register_fake
def fake_soft_clip(x, limit):
    return torch.empty_like(x)


report = draft(repaired)[1]
for line in str(report).splitlines():
    if "No issues" in line or "change back" in line:
        print(line)
assert report.successful()

# %%
# The report is empty: go back to :func:`torch.export.export`. These fixes work on all
# releases of this page.

program = torch.export.export(repaired, (x,), dynamic_shapes=shapes, strict=False)
shape = next(n for n in program.graph.nodes if n.name == "x").meta["val"].shape
print("shape of x:", tuple(shape), program.range_constraints)
assert isinstance(shape[0], torch.SymInt)

# %%
# What the report does not collect
# ++++++++++++++++++++++++++++++++
#
# Some errors still end the call. One is an operator that returns a Python value, like
# :func:`torch.equal`; the type of the exception names it.


class IsPositive(torch.nn.Module):
    def forward(self, x):
        return x + 1.0 if torch.equal(x, x.abs()) else x - 1.0


try:
    draft(IsPositive())
except torch._subclasses.fake_tensor.DataDependentOutputException as error:
    message = f"{type(error).__name__}: {error}".splitlines()[0]
else:
    message = "This release collects it."
print(message)
assert message == "DataDependentOutputException: aten.equal.default", message

# %%
# A graph break of strict mode ends the call too. Use ``strict=False``, the default of
# ``draft_export`` (:ref:`l-plot-exporter-exporter-strict`).

try:
    draft(model, strict=True)
except torch._dynamo.exc.Unsupported as error:
    message = str(error).splitlines()[0]
else:
    message = None
print(message or "This release collects it.")
assert message is not None

# %%
# A report without file names
# +++++++++++++++++++++++++++
#
# From 2.7 on a report often has the lines of code, but not the files and functions that
# they are in. torch `sends each file name once per process
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_logging/structured.py#L20>`_,
# and the report is made of what it received. An earlier report uses the names up, and
# the first export of a process can do so too. Start a new process for each report and
# call nothing but ``draft_export`` in it, or empty the table, which is private.

torch._logging.structured.INTERN_TABLE.clear()
first, second = (str(draft(model)[1]) for _ in range(2))
print("the table is empty, forward is named:", "in forward" in first)
print("second report, forward is named:     ", "in forward" in second)
assert "in forward" in first
assert ("in forward" in second) == (RELEASE < (2, 7))

# %%
# The warning gives a command that makes a web page of the log, ``tlparse <file>
# --export`` (``tlparse`` is a program of its own). Since 2.13 it has a `number in place
# of the file
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_draft_export.py#L502>`_:
# take the newest file of the folder instead.

words = warned[0].replace("`", " ").split()
path = words[words.index("tlparse") + 1] if "tlparse" in words else None
print("the warning names a file:", path is not None and os.path.exists(path))
print("logs in the folder:", len(os.listdir(folder.name)) > 0)
assert (path is not None and path.isdigit()) == (RELEASE >= (2, 13))
assert (len(os.listdir(folder.name)) > 0) == (RELEASE >= (2, 7))

# %%
# The check
# +++++++++
#
# The real program against the first model, for batches that were not traced, and for
# quiet and loud inputs. (``expand(4, 8)`` ties the first model to a batch of 4, so its
# offset is expanded to the batch here.)


class Reference(Amplifier):
    def forward(self, x):
        if x.abs().max() > 1.0:
            x = x / x.abs().max()
        return soft_clip(x + self.offset.expand(x.shape[0], 8), 2.0)


exported, reference = program.module(), Reference()
torch.testing.assert_close(reference(x), model(x))
for size in (1, 2, 4, 7, 64):
    for loudness in (0.01, 3.0):
        new_x = loudness * torch.randn(size, 8)
        torch.testing.assert_close(exported(new_x), reference(new_x))
    print(f"batch {size}: same result, quiet and loud")

# %%
# A batch above the range is refused.

try:
    exported(torch.randn(65, 8))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs a batch of 65."
print(message)
assert "<= 64" in message, message

# %%
# The logs are removed, and the variable as well.

del os.environ["TORCH_DTRACE"]
folder.cleanup()

# %%
# To remember
# +++++++++++
#
# * ``draft_export`` lists what one export after another would tell: read
#   ``program._report``.
# * The draft program is right for inputs that behave like the example. Do not ship it.
# * The advice in the report silences an item. Decide for each one what the model should
#   do, change it, and export for real.
#
# Next: :ref:`l-plot-exporter-data-guard` for tests on values,
# :ref:`l-plot-exporter-shapes-specialized` for dimensions that turned constant,
# :ref:`l-plot-exporter-wrong-checklist` for what no report finds.
