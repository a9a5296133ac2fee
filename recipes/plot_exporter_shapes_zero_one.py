"""
.. _l-plot-exporter-shapes-zero-one:

Do not export with sizes 0 or 1
===============================

The example has one row, and the dimension becomes a constant: ``your code specialized
it to be a constant (1)``, ``export 0/1 specialized due to hint of 1``. Or the example
was larger, and the program refuses one row: ``Guard failed: frames.size()[0] // 5 !=
1``. Or it takes one row, and returns something else than the model.

This page shows why 0 and 1 are special, which sizes to use as examples, which lines of
a model fail or go wrong with a size of 1, and what the experimental option
``backed_size_oblivious`` costs.

.. meta::
   :description: Use example sizes of 2 or more that differ from each other and from the
      constants of the model, and test the program with a size of 1.
   :keywords: 0/1 specialization, batch size 1, specialized it to be a constant (1),
      hint of 1, backed_size_oblivious, example inputs, Guard failed != 1, past length,
      empty batch, squeeze
"""

# %%
# The model
# +++++++++
#
# Frames of clips, five per clip, one after the other. The model averages each clip and
# adds an offset of the clip.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "run fails", "turns static"]
# sphinx_gallery_wording = "wrong result with batch size 1 after torch.export"
# sphinx_gallery_wording = "because batch was inferred to be a constant (1)"
# sphinx_gallery_wording = "exported model only works with batch size 1"
# sphinx_gallery_wording = "AssertionError: Guard failed: x.size()[0] // 5 != 1"

import logging
import warnings

import torch

Dim = torch.export.Dim
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Clips(torch.nn.Module):
    def forward(self, frames, offsets):
        clips = frames.reshape(-1, 5, frames.shape[1])
        return clips.mean(dim=1) + offsets


def make_inputs(clips):
    return torch.randn(5 * clips, 3), torch.randn(clips, 3)


torch.manual_seed(0)
model = Clips()
print(model(*make_inputs(2)).shape)

# %%
# The symptom
# +++++++++++
#
# The example is one clip. With a name the export fails. (Some releases add a stack to
# the message, which is left out here.)

clip = Dim("clip", min=1, max=8)
named = ({0: 5 * clip}, {0: clip})
try:
    torch.export.export(model, make_inputs(1), dynamic_shapes=named, strict=False)
except torch._dynamo.exc.UserError as error:
    kept = ("Constraints", "  - ", "Suggested", "  clip =")
    lines = [line for line in error.msg.splitlines() if line.startswith(kept)]
else:
    lines = ["This release exports an example of one clip."]
print("\n".join(lines))
assert "constant (1)" in lines[-3] and lines[-1] == "  clip = 1", lines

# %%
# ``Dim.DYNAMIC`` fails as well since 2.8, with a message that tells more. Before, the
# dimension is a constant without a word.

dynamic = ({0: Dim.DYNAMIC}, {0: Dim.DYNAMIC})
try:
    program = torch.export.export(
        model, make_inputs(1), dynamic_shapes=dynamic, strict=False
    )
except ValueError as error:
    message = str(error)
else:
    offsets = [n for n in program.graph.nodes if n.op == "placeholder"][1]
    message = f"exported, with the constant {offsets.meta['val'].shape[0]}"
print(message)
assert ("export 0/1 specialized due to hint of 1" in message) == (RELEASE >= (2, 8))
assert ("exported, with the constant 1" in message) == (RELEASE < (2, 8))

# %%
# ``Dim.AUTO`` never fails. Since 2.8 torch writes a line to its log. It stands on
# stderr, among others.

records = []
handler = logging.Handler()
handler.emit = lambda record: records.append(record.getMessage())
logger = logging.getLogger("torch._export.non_strict_utils")
logger.addHandler(handler)
auto = ({0: Dim.AUTO}, {0: Dim.AUTO})
program = torch.export.export(model, make_inputs(1), dynamic_shapes=auto, strict=False)
logger.removeHandler(handler)
print(records)
try:
    program.module()(*make_inputs(3))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program with three clips."
print(message)
assert "size()[0] == 1" in message or "to be equal to 1" in message, message
assert any("0/1 specialized" in text for text in records) == (RELEASE >= (2, 8))

# %%
# The cause
# +++++++++
#
# The model plays no part: one that doubles its input has the same fate. Only the
# example changes from row to row. Both modes of the exporter agree.


class Double(torch.nn.Module):
    def forward(self, x):
        return x * 2


traced = {}
for size in (0, 1, 2, 3):
    for strict in (False, True):
        program = torch.export.export(
            Double(),
            (torch.randn(size, 3),),
            dynamic_shapes=({0: Dim.AUTO},),
            strict=strict,
        )
        (node,) = [n for n in program.graph.nodes if n.op == "placeholder"]
        traced[size, strict] = str(node.meta["val"].shape[0])
    print(f"example {size}: {traced[size, False]:4}", end="")
    print(*program.range_constraints.values())
for strict in (False, True):
    assert traced[0, strict] == "0" and traced[1, strict] == "1"
    assert not traced[2, strict].isdigit() and not traced[3, strict].isdigit()

# %%
# This is `by design
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L5629>`_.
# A size of 1 is broadcast, squeezed and laid out in memory in its own way, and an empty
# tensor has no elements to reduce. Each operator would have to ask *is this 1?*, and
# each answer would be a guard. So the exporter decides once: an example of 0 or 1 is a
# constant, and every other symbol is `at least 2
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L7855>`_.
#
# The fix: two clips
# ++++++++++++++++++
#
# Make the example larger. This works on all releases of this page, and costs nothing.
# (The model has other limits with one clip: next section.)

program = torch.export.export(model, make_inputs(2), dynamic_shapes=named, strict=False)
print(program.range_constraints)
exported = program.module()
for clips in (2, 3, 8):
    inputs = make_inputs(clips)
    torch.testing.assert_close(exported(*inputs), model(*inputs))

# %%
# A cache of length 1 or 0 is the same case: make the example cache two long. A
# dimension that is 1 in production, to be broadcast, should be a constant: give it no
# entry.
#
# The program refuses a size of 1
# +++++++++++++++++++++++++++++++
#
# The range says that one clip is allowed, and the model can do it. Since 2.9 the
# program refuses.

try:
    result = exported(*make_inputs(1))
except AssertionError as error:
    result, message = None, str(error)
else:
    message = "This release runs the program with one clip."
print(message)
assert (result is None) == (RELEASE >= (2, 9))
assert (result is None) == (message == "Guard failed: frames.size()[0] // 5 != 1")

# %%
# ``reshape(-1, ...)`` computes a size, ``frames // 5``. The exporter does not know that
# this is the number of clips, which is "at least 2" by decree. So the question *is this
# 1?* was answered by the example, and the answer is a guard (`issue 181097
# <https://github.com/pytorch/pytorch/issues/181097>`_; up to 2.8 programs do not verify
# such guards). Guards of this kind come from every size that is computed: a half, a
# stride, ``n - 1``.
#
# Take the size from an input instead of computing it, and no question is asked. This
# works on all releases of this page, in both modes. It needs an input that has the
# size.


class ClipsByOffsets(torch.nn.Module):
    def forward(self, frames, offsets):
        clips = frames.reshape(offsets.shape[0], 5, frames.shape[1])
        return clips.mean(dim=1) + offsets


fixed = {}
for strict in (False, True):
    fixed[strict] = torch.export.export(
        ClipsByOffsets(), make_inputs(2), dynamic_shapes=named, strict=strict
    ).module()
    for clips in (1, 3, 8):
        inputs = make_inputs(clips)
        torch.testing.assert_close(fixed[strict](*inputs), model(*inputs))
print("same results with one clip, three and eight")

# %%
# The program is wrong with a size of 1
# +++++++++++++++++++++++++++++++++++++
#
# The dimension of an input is "at least 2" by decree, so a test for 1 has a known
# answer, and no guard remembers it. The branch is lost. The program still takes one
# row, since 1 is never checked, and returns the other branch. Nothing fails, on any
# release, with any ``Dim``, in either mode.


class Centre(torch.nn.Module):
    def forward(self, rows):
        if rows.shape[0] == 1:
            return rows * 1
        return rows - rows.mean(dim=0)


rows, row = torch.randn(4, 3), torch.tensor([[1.0, 2.0, 3.0]])
for n, strict in [(Dim("n", min=1), False), (Dim("n", min=2), True)]:
    centre = torch.export.export(
        Centre(), (rows,), dynamic_shapes=({0: n},), strict=strict
    ).module()
    torch.testing.assert_close(centre(rows), Centre()(rows))
    print("eager", Centre()(row).tolist(), "program", centre(row).tolist())
    assert torch.equal(Centre()(row), row)
    assert torch.equal(centre(row), torch.zeros(1, 3))

# %%
# ``n < 2``, ``n > 1``, ``n == 0`` and what follows ``squeeze`` are lost in the same
# way: after ``rows.squeeze(0)`` the first dimension of one row is its length, 3 here,
# and the program goes on with 1.


class DivideBySize(torch.nn.Module):
    def forward(self, rows):
        rows = rows.squeeze(0)
        return rows / rows.shape[0]


squeezed = torch.export.export(
    DivideBySize(), (rows,), dynamic_shapes=({0: Dim("n", min=1)},), strict=False
).module()
torch.testing.assert_close(squeezed(rows), DivideBySize()(rows))
torch.testing.assert_close(DivideBySize()(row), row[0] / 3)
torch.testing.assert_close(squeezed(row), row[0])

# %%
# Three fixes. If one formula covers both cases, use it. If a size of 1 never happens,
# refuse it before you call the program: as above, a minimum of 2 in the ``Dim`` is not
# checked (see :ref:`l-plot-exporter-shapes-ranges`). If it happens, keep the branch in
# the program with ``torch.cond``: both branches are traced, and the size is compared at
# run time. This works on all releases of this page, for one more operator in the
# program (:ref:`l-plot-exporter-control-cond`). The warning that 2.10 gives, about its
# own way to trace a branch, can be ignored.


class CentreWithCond(torch.nn.Module):
    def forward(self, rows):
        alone = rows.shape[0] == 1
        return torch.cond(alone, lambda r: r * 1, lambda r: r - r.mean(dim=0), (rows,))


for strict in (False, True):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are calling torch.compile inside")
        centre = torch.export.export(
            CentreWithCond(),
            (rows,),
            dynamic_shapes=({0: Dim("n", min=1)},),
            strict=strict,
        ).module()
    for size in (1, 2, 7):
        new = torch.randn(size, 3)
        torch.testing.assert_close(centre(new), Centre()(new))

# %%
# Sizes that are equal to something
# +++++++++++++++++++++++++++++++++
#
# Any comparison is answered by the example. So a size is special as well if it is equal
# to a constant of the model. Three examples, and the sizes from 2 to 7 with which the
# program runs and agrees with eager:


class LastFour(torch.nn.Module):
    def forward(self, rows):
        return rows[-4:].sum(dim=0)


class IfFour(torch.nn.Module):
    def forward(self, rows):
        return rows * 2 if rows.shape[0] == 4 else rows


right = {}
for variant, example in [(v, n) for v in (LastFour(), IfFour()) for n in (3, 4, 5)]:
    right[type(variant), example] = sizes = []
    try:
        program = torch.export.export(
            variant,
            (torch.randn(example, 3),),
            dynamic_shapes=({0: Dim.DYNAMIC},),
            strict=False,
        )
    except torch._dynamo.exc.UserError:
        print(f"{type(variant).__name__:8} example {example}: the export fails")
        continue
    for size in range(2, 8):
        new = torch.randn(size, 3)
        try:
            result = program.module()(new)
        except (AssertionError, RuntimeError):
            continue
        if torch.allclose(result, variant(new)):
            sizes.append(size)
    print(f"{type(variant).__name__:8} example {example}: {sizes}")
assert right[LastFour, 3] == [2, 3] and right[LastFour, 5] == [4, 5, 6, 7]
assert right[IfFour, 4] == [] and right[IfFour, 5] == [2, 3, 5, 6, 7]

# %%
# The example chooses the branch: take one on the side of production. With 4 itself,
# ``LastFour`` works by luck and ``IfFour`` is a constant (with ``Dim.AUTO``, without an
# error). The missing sizes are refused since 2.9; up to 2.8 ``IfFour`` runs with them
# and is wrong.
#
# Two dimensions that happen to be equal do no harm by themselves: each has a symbol of
# its own. They become one when the model compares them.


class Join(torch.nn.Module):
    def forward(self, x, y):
        return torch.cat([x, y])


class Compare(torch.nn.Module):
    def forward(self, x, y):
        return (x * y).sum(dim=0) if x.shape == y.shape else x.sum(dim=0)


symbols = {}
for variant in (Join(), Compare()):
    for size in (4, 5):
        program = torch.export.export(
            variant,
            (torch.randn(4, 3), torch.randn(size, 3)),
            dynamic_shapes=dynamic,
            strict=False,
        )
        inputs = [node for node in program.graph.nodes if node.op == "placeholder"]
        symbols[type(variant), size] = [str(n.meta["val"].shape[0]) for n in inputs]
        print(type(variant).__name__, (4, size), symbols[type(variant), size])
assert len(set(symbols[Join, 4])) == 2
assert len(set(symbols[Compare, 4])) == 1 and len(set(symbols[Compare, 5])) == 2

# %%
# Whether that is right is for you to say: with equal sizes the program of ``Compare``
# refuses sizes that differ, and the other way round. Give a dimension the same ``Dim``
# name only if it must be equal, and different example sizes if it need not be.
#
# The option backed_size_oblivious
# ++++++++++++++++++++++++++++++++
#
# Since 2.7 there is a switch that turns the special treatment off. It is `experimental
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/_config.py#L97>`_.
# Sizes start at 0, an example of one clip is fine, and the first model takes one clip,
# without a change.

config = torch.fx.experimental._config
HAS_OPTION = hasattr(config, "backed_size_oblivious")
assert HAS_OPTION == (RELEASE >= (2, 7))
if HAS_OPTION:
    with config.patch(backed_size_oblivious=True):
        program = torch.export.export(
            model, make_inputs(1), dynamic_shapes=named, strict=False
        )
    for clips in (1, 3, 8):
        inputs = make_inputs(clips)
        torch.testing.assert_close(program.module()(*inputs), model(*inputs))
    print("same results with one clip, three and eight")
else:
    print("This release has no such option.")

# %%
# The price: operators choose the general case without a test. An example that is
# broadcast is no longer understood, for it is the special case. Since 2.9 the export
# fails; 2.7 and 2.8 tie the two sizes, and the program refuses its own example.


class Plus(torch.nn.Module):
    def forward(self, x, y):
        return x + y


message = "This release has no such option."
if HAS_OPTION:
    inputs = torch.randn(1, 3), torch.randn(4, 3)
    try:
        with config.patch(backed_size_oblivious=True):
            program = torch.export.export(
                Plus(), inputs, dynamic_shapes=dynamic, strict=False
            )
        program.module()(*inputs)
    except RuntimeError as error:
        message = str(error).splitlines()[0]
    else:
        message = "This release broadcasts the example."
    assert ("must match the size" in message) == (RELEASE >= (2, 9)), message
    assert ("to be equal to 1" in message) == (RELEASE < (2, 9)), message
print(message)

# %%
# A test in the model itself becomes a guard. So the switch finds the lost branch of
# ``Centre``: the export fails, and says which size is excluded. It does not find the
# ``squeeze``.

message = "This release has no such option."
if HAS_OPTION:
    shapes = ({0: Dim("n", min=1)},)
    with config.patch(backed_size_oblivious=True):
        squeezed = torch.export.export(
            DivideBySize(), (rows,), dynamic_shapes=shapes, strict=False
        ).module()
        try:
            torch.export.export(Centre(), (rows,), dynamic_shapes=shapes, strict=False)
        except torch._dynamo.exc.UserError as error:
            message = error.msg.strip()
        else:
            message = "This release exports the test for 1."
    assert not torch.allclose(squeezed(row), DivideBySize()(row))
print(message)
assert HAS_OPTION == ("size()[0] != 1" in message), message

# %%
# :ref:`l-plot-exporter-shapes-unbacked` has other ways to trace a size without a value.
#
# What to choose as an example
# ++++++++++++++++++++++++++++
#
# * No dynamic dimension is 0 or 1. That holds for what is computed from it too: an
#   example whose half is 1 is a bad one.
# * Dimensions that need not be equal are different: a batch of 2, a length of 7, a
#   cache of 5.
# * No size is equal to a constant of the model: a window, a number of heads, the length
#   of a table, a bound of the ``Dim``.
# * It takes the branches that production takes.
#
# The check
# +++++++++
#
# The repaired model against the first one, in both modes. One clip and the bound are
# among the sizes.

for strict in (False, True):
    for clips in (1, 2, 5, 8):
        inputs = make_inputs(clips)
        torch.testing.assert_close(fixed[strict](*inputs), model(*inputs))
print("same results with 1, 2, 5 and 8 clips")

# %%
# Nine clips are too many. Frames that do not fit the offsets are refused as well.

frames, offsets = make_inputs(9)
for inputs in [(frames, offsets), (frames[:11], offsets[:2])]:
    try:
        fixed[False](*inputs)
    except (AssertionError, RuntimeError) as error:
        message = str(error)
    else:
        message = "This release runs the program."
    print(message)
    assert "This release" not in message, message

# %%
# To remember
# +++++++++++
#
# * Example sizes are 2 or more, differ from each other, and are no constants of the
#   model.
# * Test the program with a size of 1 against eager: a branch for 1, or a ``squeeze``,
#   is wrong without an error.
# * ``Guard failed: ... != 1`` comes from a size that is computed. Take it from an
#   input, or exclude the size.
# * ``backed_size_oblivious`` removes the special treatment since 2.7; it does not know
#   broadcasting.
#
# Next: :ref:`l-plot-exporter-shapes-specialized` for constants other than 0 and 1,
# :ref:`l-plot-exporter-shapes-related` for sizes that must be equal or multiples, and
# :ref:`l-plot-exporter-shapes-pad-to-multiple` for divisions.
