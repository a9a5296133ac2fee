"""
.. _l-plot-exporter-exporter-draft:

List every problem of a model with draft_export
===============================================

:func:`torch.export.export` stops at its first problem. You fix it, and it stops at the
next one. The message ends with ``you can replace your `export()` call with
`draft_export()```. That call prints ``WARNING: 4 issue(s) found during export, and it
was not able to soundly produce a graph``.

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

import os
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
# It logs a warning, and from 2.7 on it writes a log for the program ``tlparse``
# (which makes a page of it) into the folder ``export_<user>`` of the temporary files.
# The variable ``TORCH_DTRACE`` gives another folder.

if RELEASE >= (2, 8):
    draft_export = torch.export.draft_export
else:
    from torch.export._draft_export import draft_export

folder = tempfile.TemporaryDirectory()
os.environ["TORCH_DTRACE"] = folder.name


def draft(model, strict=False):
    result = draft_export(model, (x,), dynamic_shapes=shapes, strict=strict)
    return result if isinstance(result, tuple) else (result, result._report)


program, report = draft(model)
text = str(report)
for line in text.splitlines():
    if line.startswith("WARNING") or line[:3] in ("1. ", "2. ", "3. ", "4. "):
        print(line)
print("log written:", len(os.listdir(folder.name)) > 0)
assert not report.successful()
assert bool(os.listdir(folder.name)) == (RELEASE >= (2, 7))

# %%
# ``print(program._report)`` gives the whole text: for each item the line of the model,
# the local variables, and torch's own stack. The same is in ``report.failures`` as
# data, which is easier to read. 2.6 has no ``loc``, the line of code.


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
assert {"if peak > 1.0:", "x = x + self.offset.expand(4, 8)"} <= {
    place for _, _, place in items(report)
} or RELEASE < (2, 7)

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
# * ``MISMATCHED_FAKE_KERNEL`` (not in this model): the fake implementation gives
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
# the unresolved sizes too, and fail there with messages of their own.
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
# price. The report advises ``Dim.AUTO``. That silences the item, and the dimension stays
# constant (:ref:`l-plot-exporter-shapes-auto-dynamic-static`).


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
# type. It is never run with data. The price: torch believes it, so a wrong one gives a
# wrong program (see :func:`torch.library.register_fake`).


@soft_clip.register_fake
def fake_soft_clip(x, limit):
    return torch.empty_like(x)


repaired = AnyBatch()
repaired.load_state_dict(model.state_dict())
program, report = draft(repaired)
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
# Another is strict mode, which cannot go on after a test on a value. Use
# ``draft_export`` with ``strict=False``, its default
# (:ref:`l-plot-exporter-exporter-strict`).

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
# Since 2.7 the second report of a process has the lines of code, and no more the files
# and functions that they are in. torch `sends each file name once per process
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_logging/structured.py#L20>`_,
# and the report is made of what it received. Start a new process for each report, or
# empty the table, which is private.

again = str(draft(model)[1])
print("the first report names forward: ", "in forward" in text)
print("the second report names forward:", "in forward" in again)
assert "in forward" in text
assert ("in forward" in again) == (RELEASE < (2, 7))

torch._logging.structured.INTERN_TABLE.clear()
assert "in forward" in str(draft(model)[1])

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
# The log is removed, and the variable as well.

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
