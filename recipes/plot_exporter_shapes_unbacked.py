"""
.. _l-plot-exporter-shapes-unbacked:

Let size 1 work: sizes without guards
=====================================

The dimension was declared from 1 on, the export works, and the program refuses 1:
``Guard failed: crops.size()[0] // 5 != 1``. Or you told torch not to guard on a size
(``mark_unbacked``, ``backed_size_oblivious``, ``ShapeVar``), and the export stops with
``Could not guard on data-dependent expression u0 > 1``.

This page shows three ways to export a size that nobody may guard on, on which releases
each works, and what they cost: a model that tests the size is refused, or wrong.

.. meta::
   :description: For a size that may be 1, export with backed_size_oblivious (2.7), ShapesSpec (2.14) or mark_unbacked in strict mode; no test on the size.
   :keywords: mark_unbacked export, backed_size_oblivious, unbacked dynamic shapes, batch size 1 after export, Guard failed // 5 != 1, ShapesSpec ShapeVar, guard_or_false, guard_or_true, Could not guard on data-dependent expression u0, size oblivious, 0/1 specialization
"""

# %%
# The model
# +++++++++
#
# Each image of a batch is cut into five crops. The model scores the crops, takes the
# mean of the five, and adds a score of the whole image.

# sphinx_gallery_tags = ["dynamic shapes", "run fails", "export fails", "wrong without an error", "turns static"]
# sphinx_gallery_wording = "exported program works for every batch size except 1"
# sphinx_gallery_wording = "mark_unbacked has no effect in torch.export"
# sphinx_gallery_wording = "Dim.UNBACKED"

import torch
import torch.fx.experimental._config
from torch._dynamo.decorators import mark_unbacked

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class FiveCrops(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.crop_score = torch.nn.Linear(6, 3)
        self.image_score = torch.nn.Linear(6, 3)

    def forward(self, crops, images):
        scores = self.crop_score(crops).reshape(-1, 5, 3)
        return scores.mean(dim=1) + self.image_score(images)


def make_inputs(batch):
    return torch.randn(5 * batch, 6), torch.randn(batch, 6)


torch.manual_seed(0)
model = FiveCrops().eval()
print(tuple(model(*make_inputs(3)).shape), tuple(model(*make_inputs(1)).shape))

# %%
# The symptom
# +++++++++++
#
# The batch is declared from 1 to 8, and the program says so. Since 2.9 it refuses 1.
# The range is right, and one more condition was recorded, which the range does not
# show. Up to 2.8 such conditions are not verified.

batch = torch.export.Dim("batch", min=1, max=8)
named = {"dynamic_shapes": ({0: 5 * batch}, {0: batch}), "strict": False}
program = torch.export.export(model, make_inputs(3), **named)
print(sorted(str(interval) for interval in program.range_constraints.values()))
try:
    result = program.module()(*make_inputs(1))
except AssertionError as error:
    result, message = None, str(error)
else:
    message = "This release runs a batch of 1."
print(message)
assert (result is None) == (RELEASE >= (2, 9))

# %%
# An example with a batch of 1 does not help: the export is refused (see
# :ref:`l-plot-exporter-shapes-zero-one`). Only the first line is printed.

try:
    torch.export.export(model, make_inputs(1), **named)
except (torch._dynamo.exc.UserError, AttributeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release exports with a batch of 1."
print(message)
assert "Constraints violated" in message or "'One' object" in message, message

# %%
# The cause: the exporter knows the size
# ++++++++++++++++++++++++++++++++++++++
#
# The size of a dynamic dimension is a symbol, and torch remembers the number of the
# example with it, the *hint*: the size is *backed*. A size that depends on the data, as
# the number of rows that ``nonzero`` finds, has no hint: it is *unbacked*.


class Rows(torch.nn.Module):
    def forward(self, x):
        return x * 2, x.nonzero()


rows = torch.export.Dim("rows", min=1, max=8)
options = {"dynamic_shapes": ({0: rows},), "strict": False}
graph = torch.export.export(Rows(), (torch.randn(3, 6),), **options).graph
hints = {}
for node in graph.nodes:
    if node.name in ("mul", "nonzero"):
        size = node.meta["val"].shape[0]
        hints[node.name] = size.node.hint if size.node.has_hint() else None
        print(f"{node.name}: size {size}, hint {hints[node.name]}")
assert hints == {"mul": 3, "nonzero": None}

# %%
# Code of torch that asks whether a size is 1 (for broadcasting, for strides) gets the
# answer of the hint, and the answer becomes a guard. There were 3 images, so "not 1" is
# recorded. This is torch's design, and whether it should be so for a declared range is
# `discussed <https://github.com/pytorch/pytorch/issues/181097>`_.
#
# Of an unbacked size, such code assumes the general case (not 1, not broadcast), and
# no guard comes of it. The three ways below do this to a size of an input.
#
# Way 1: ``backed_size_oblivious``, since 2.7
# +++++++++++++++++++++++++++++++++++++++++++
#
# An option, for the time of one export, in both modes. The dimensions are declared as
# before, with their names and ranges, and the example may have size 1. Questions of
# torch itself get `the general answer
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L1549>`_.

if RELEASE >= (2, 7):
    for size, strict in ((3, False), (1, False), (1, True)):
        named["strict"] = strict
        with torch.fx.experimental._config.patch(backed_size_oblivious=True):
            program = torch.export.export(model, make_inputs(size), **named)
        exported = program.module()
        for new_size in (1, 2, 5, 8):
            inputs = make_inputs(new_size)
            torch.testing.assert_close(exported(*inputs), model(*inputs))
        print(f"example {size}, strict={strict}: same result for 1, 2, 5, 8")
else:
    print("This release has no such option.")

# %%
# The range is still verified. (On 2.6 this is the program of the symptom.)

try:
    program.module()(*make_inputs(9))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs a batch of 9."
print(message)
assert "<= 40" in message or "<= 8" in message, message

# %%
# The price: a private name, and it is an experiment of torch. :func:`torch.onnx.export`
# with ``dynamo=True`` uses it since 2.8. It costs nothing when the program runs.
#
# Way 2: ``ShapesSpec``, since 2.14
# +++++++++++++++++++++++++++++++++
#
# The newest way to write ``dynamic_shapes``: always unbacked, in both modes of the
# exporter. The symbols can be used in expressions. (2.13 has the classes, and
# ``torch.export.export`` does not take them.)

if RELEASE >= (2, 14):
    from torch.fx.experimental.dynamic_spec import ParamsSpec, ShapeVar, TensorSpec

    size = ShapeVar("batch", min=1, max=8)
    spec = ParamsSpec(
        {"crops": TensorSpec([5 * size, None]), "images": TensorSpec([size, None])}
    )
    for strict in (False, True):
        program = torch.export.export(
            model, make_inputs(1), dynamic_shapes=spec, strict=strict
        )
        exported = program.module()
        for new_size in (1, 2, 5, 8):
            inputs = make_inputs(new_size)
            torch.testing.assert_close(exported(*inputs), model(*inputs))
    print(program.range_constraints)
else:
    print("This release does not export with a ShapesSpec.")

# %%
# Way 3: ``mark_unbacked``, in strict mode
# ++++++++++++++++++++++++++++++++++++++++
#
# A mark on the example tensor. The function belongs to :func:`torch.compile`; no
# release has it under a public name, it is ``torch._dynamo.decorators.mark_unbacked``
# in all of them. ``dynamic_shapes`` is left out. Each size is an unknown of its own, and
# up to 2.9 the model above is too difficult. (Arguments ``min`` and ``max`` are there
# since 2.12.)

assert not hasattr(torch.compiler, "mark_unbacked")
assert not hasattr(torch._dynamo, "mark_unbacked")


def make_marked_inputs(batch):
    crops, images = make_inputs(batch)
    mark_unbacked(crops, 0)
    mark_unbacked(images, 0)
    return crops, images


try:
    program = torch.export.export(model, make_marked_inputs(3), strict=True)
except torch._dynamo.exc.InternalTorchDynamoError as error:
    program, message = None, str(error).splitlines()[0]
else:
    message = str(program.range_constraints)
    for new_size in (1, 2, 5, 8, 100):
        inputs = make_inputs(new_size)
        torch.testing.assert_close(program.module()(*inputs), model(*inputs))
print(message)
assert (program is None) == (RELEASE < (2, 10))

# %%
# Only strict mode reads the mark, and only if ``dynamic_shapes`` is not given. Otherwise
# the mark is ignored, and without an error the size is a constant.

for options in ({"strict": False}, {"strict": True, "dynamic_shapes": ({}, {})}):
    program = torch.export.export(model, make_marked_inputs(3), **options)
    try:
        program.module()(*make_inputs(2))
    except (AssertionError, RuntimeError) as error:
        message = str(error).split(". ")[0]
    else:
        message = "This release reads the mark."
    print(f"{options}: {message}")
    assert len(program.range_constraints) == 0
    assert "== 15" in message or "to be equal to 15" in message, message

# %%
# The price: a test on the size is refused
# ++++++++++++++++++++++++++++++++++++++++
#
# A model that tests the size itself asks a question that has no general answer. With an
# unbacked size this is an error. It names the line of the model, and says which symbol.


class Centre(torch.nn.Module):
    def forward(self, x):
        if x.shape[0] > 1:
            return x - x.mean(dim=0)
        return x


centre, x = Centre(), torch.randn(3, 6)
marked = torch.randn(3, 6)
mark_unbacked(marked, 0)
try:
    torch.export.export(centre, (marked,), strict=True)
except torch._dynamo.exc.UserError as error:
    message = str(error)
else:
    message = "This release exports both branches."
print(message.splitlines()[0])
assert "Could not guard on data-dependent expression u0 > 1" in message, message

# %%
# The option of way 1 is about questions of torch, and this is a question of the model.
# It is answered with the hint: "more than 1". Since 2.10 the export works, and the range
# promises 1 again, as in the symptom.

options = {"dynamic_shapes": ({0: rows},), "strict": False}
if RELEASE >= (2, 7):
    try:
        with torch.fx.experimental._config.patch(backed_size_oblivious=True):
            program = torch.export.export(centre, (x,), **options)
        print(program.range_constraints)
        program.module()(x[:1])
    except (torch._dynamo.exc.UserError, AssertionError) as error:
        message = str(error).splitlines()[-1 if RELEASE >= (2, 10) else 0]
    else:
        message = "This release runs 1 row."
    print(message)
    assert "Guard failed" in message or "Constraints violated" in message, message
else:
    print("This release has no such option.")

# %%
# The fix is a model without the test. A formula gives both branches here: the factor is
# 0 for one row, else 1. Where there is none, :func:`torch.cond` keeps both branches
# (:ref:`l-plot-exporter-control-cond`). For other ways, see
# :ref:`l-plot-exporter-data-guard`.


class CentreByFormula(torch.nn.Module):
    def forward(self, x):
        return x - x.mean(dim=0) * torch.sym_min(x.shape[0] - 1, 1)


formula = CentreByFormula()
if RELEASE >= (2, 8):
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        programs = [torch.export.export(formula, (x,), **options)]
    programs.append(torch.export.export(formula, (marked,), strict=True))
    for program in programs:
        for size in (1, 2, 3, 8):
            new = torch.randn(size, 6)
            torch.testing.assert_close(program.module()(new), centre(new))
    print("same result for 1, 2, 3, 8")
else:
    print("sym_min is decided by the example in this release.")

# %%
# ``guard_or_true`` and ``guard_or_false``
# ++++++++++++++++++++++++++++++++++++++++
#
# Since 2.9 the message recommends them. They mean: *take this answer when
# you cannot know, and record nothing*. They are right only if the branch is right for
# every size, and the other one is a shortcut. Here it is not, and **nothing fails**:
# one row becomes zeros.

if RELEASE >= (2, 8):
    from torch.fx.experimental.symbolic_shapes import guard_or_true

    class CentreOrTrue(torch.nn.Module):
        def forward(self, x):
            if guard_or_true(x.shape[0] > 1):
                return x - x.mean(dim=0)
            return x

    program = torch.export.export(CentreOrTrue(), (marked,), strict=True)
    one_row = torch.ones(1, 6)
    result = program.module()(one_row)
    print("program:", result[0, :3].tolist(), "eager:", one_row[0, :3].tolist())
    assert not result.any()
    torch.testing.assert_close(centre(one_row), one_row)
else:
    print("This release has no guard_or_true.")

# %%
# The other price: still a constant
# +++++++++++++++++++++++++++++++++
#
# "Not guarded on" is no promise that the size stays free. An operation that needs
# exactly 5 rows makes the size 5, without an error, also with ``ShapeVar``. Look at the
# range after every such export.


class NeedsFive(torch.nn.Module):
    def forward(self, x):
        return x + torch.ones(5, 6)


def mark_new_tensor(**options):
    tensor = torch.randn(5, 6)
    mark_unbacked(tensor, 0, **options)
    return tensor


programs = [torch.export.export(NeedsFive(), (mark_new_tensor(),), strict=True)]
if RELEASE >= (2, 14):
    spec = ParamsSpec({"x": TensorSpec([ShapeVar("rows"), None])})
    programs.append(
        torch.export.export(
            NeedsFive(), (torch.randn(5, 6),), dynamic_shapes=spec, strict=False
        )
    )
for program in programs:
    print(program.range_constraints)
    assert [str(r) for r in program.range_constraints.values()] == ["VR[5, 5]"]

# %%
# ``mark_unbacked(..., strict=True)``, since 2.7, makes it an error.

if RELEASE >= (2, 7):
    try:
        torch.export.export(NeedsFive(), (mark_new_tensor(strict=True),), strict=True)
    except torch._dynamo.exc.UserError as error:
        message = str(error)
    else:
        message = "This release exports it."
    print("\n".join(message.splitlines()[:2]))
    assert "constant (5)" in message, message
else:
    print("This release has no such argument.")

# %%
# When to use it
# ++++++++++++++
#
# * A backed size (``Dim``, ``Dim.DYNAMIC``) is the default, and the better tool as long
#   as 0 and 1 do not matter: the model may test its sizes, and what was assumed is
#   verified.
# * Sizes of 1 matter (a batch of 1 in production, one window, one image row), and the
#   program refuses them: way 1, or way 2 from 2.14 on.
# * ``mark_unbacked`` is for models that are in strict mode anyway.
# * Broadcasting is decided against 1: ``x + y`` with two such sizes means equal sizes.
#   See :ref:`l-plot-exporter-shapes-slices`.
#
# To remember
# +++++++++++
#
# * A declared minimum of 1 is not enough: run the program with 1.
# * Without guards, the model may not test the size. ``guard_or_true`` silences the
#   error, and the program is wrong if the branch is not right for all sizes.
# * In non-strict mode ``mark_unbacked`` does nothing.
#
# Next: :ref:`l-plot-exporter-data-guard` for the error that comes after this;
# :ref:`l-plot-exporter-shapes-zero-one` for examples of size 1;
# :ref:`l-plot-exporter-shapes-pad-to-multiple` for one window.
