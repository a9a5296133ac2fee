"""
.. _l-plot-exporter-shapes-related:

Name dimensions that depend on each other
=========================================

The export stops with ``Constraints violated``, and says that ``the values of weighted =
... and steps = ... must always be equal`` or ``must always be related`` to each other.
It ends with ``Suggested fixes``, one of which may be a constant.

This page shows how to write equal dimensions, multiples and sums, which relations
cannot be written, and, in a table that is computed here, which suggestions to follow
and which ones hide an accident of the example.

.. meta::
   :description: Use one Dim for equal dimensions and derive the others from it; follow
      a suggested fix only if the model itself needs the relation.
   :keywords: Constraints violated, must always be equal, must always be related to,
      Suggested fixes, derived Dim, dim + 1, multiple of, divisible by,
      refine_dynamic_shapes_from_suggested_fixes, sum of two dimensions
"""

# %%
# The model
# +++++++++
#
# Each frame predicts the next one. The targets have one step less than the frames, and
# each step has a weight.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "dx = dy suggested although the two sizes are independent"
# sphinx_gallery_wording = "a dimension must always be a multiple of 4"
# sphinx_gallery_wording = "sequence length is 4096 minus the length of the cache"

import torch

Dim = torch.export.Dim
REFUSED = (AssertionError, RuntimeError)
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Forecast(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)

    def forward(self, frames, targets, weights):
        errors = (self.linear(frames)[:, :-1] - targets).abs().mean(dim=-1)
        return errors * weights


def make_inputs(steps):
    frames, targets = torch.randn(2, steps + 1, 3), torch.randn(2, steps, 3)
    return frames, targets, torch.rand(2, steps)


torch.manual_seed(0)
model = Forecast()
inputs = make_inputs(6)
print([tuple(tensor.shape) for tensor in inputs])

# %%
# The symptom
# +++++++++++
#
# Three tensors, three names. Two names that differ are a promise: these two sizes
# have nothing to do with each other.

length, steps, weighted = Dim("length"), Dim("steps"), Dim("weighted")
three_names = ({1: length}, {1: steps}, {1: weighted})
try:
    torch.export.export(model, inputs, dynamic_shapes=three_names, strict=False)
except torch._dynamo.exc.UserError as error:
    message = error.msg.strip()
else:
    message = "This release exports three independent lengths."
print(message)
assert message.endswith("length = steps + 1\n  weighted = steps"), message

# %%
# The cause
# +++++++++
#
# The model keeps no such promise. ``Dim.DYNAMIC`` promises nothing, so the exporter
# writes down what it finds: one symbol, and the same symbol plus one.

loose = ({1: Dim.DYNAMIC}, {1: Dim.DYNAMIC}, {1: Dim.DYNAMIC})
program = torch.export.export(model, inputs, dynamic_shapes=loose, strict=False)


def input_sizes(program, dim=1):
    inputs = [node for node in program.graph.nodes if node.op == "placeholder"]
    values = [node.meta["val"] for node in inputs if node.name[:2] != "p_"]
    return [str(value.shape[dim]) for value in values]


sizes = input_sizes(program)
print(sizes)
assert sizes[0] == f"{sizes[1]} + 1" and sizes[1] == sizes[2]

# %%
# Without the line that subtracts, there is no relation, and two names are right.


class Independent(Forecast):
    def forward(self, frames, targets, weights):
        return self.linear(frames).abs().mean() - (targets.mean(dim=-1) * weights)


two_names = ({1: length}, {1: steps}, {1: steps})
program = torch.export.export(
    Independent(), inputs, dynamic_shapes=two_names, strict=False
)
print(input_sizes(program))
assert len(set(input_sizes(program))) == 2

# %%
# The fix: one Dim, and dimensions derived from it
# ++++++++++++++++++++++++++++++++++++++++++++++++
#
# Equal sizes get the same ``Dim``. The others are derived from it with ``+``, ``-`` and
# ``*``. This costs nothing at run time and works on all releases of this page. (The
# minimum is 2 because one step is special: see :ref:`l-plot-exporter-shapes-zero-one`.)

steps = Dim("steps", min=2, max=64)
related = ({1: steps + 1}, {1: steps}, {1: steps})
program = torch.export.export(model, inputs, dynamic_shapes=related, strict=False)
print(input_sizes(program), program.range_constraints)
assert sorted(map(str, program.range_constraints.values())) == [
    "VR[2, 64]",
    "VR[3, 65]",
]

# %%
# Derive the larger from the smaller. The other way round needs both bounds: without a
# minimum the smallest size would be -1, and without a maximum the exporter fails over
# its own message, with a ``KeyError``.

for low, high in ((None, None), (3, None), (3, 65)):
    length = Dim("length", min=low, max=high)
    backwards = ({1: length}, {1: length - 1}, {1: length - 1})
    try:
        torch.export.export(model, inputs, dynamic_shapes=backwards, strict=False)
    except (AssertionError, KeyError) as error:
        message = f"{type(error).__name__}: {error}"
    else:
        message = "exported"
    print(message)
    assert (message == "exported") == (high is not None), message

# %%
# A *multiple* is what patches, groups and heads ask for: here four rows become one. The
# list of guards is long; one of them has a ``%``, and the suggestion gives the factor.


class MergeFour(torch.nn.Module):
    def forward(self, rows):
        return rows.reshape(-1, 12)


class MergeFourAndProject(Forecast):
    def forward(self, rows):
        return self.linear(rows.reshape(-1, 4, 3).sum(dim=1))


rows, messages = torch.randn(16, 3), []
for merge in (MergeFour(), MergeFourAndProject()):
    try:
        torch.export.export(
            merge, (rows,), dynamic_shapes=({0: Dim("rows")},), strict=False
        )
    except (AssertionError, torch._dynamo.exc.UserError) as error:
        messages.append(str(error).partition("\n\nThe error above")[0].strip())
    else:
        messages.append("This release exports any number of rows.")
print(messages[0].partition("Suggested fixes:")[2].strip())
assert messages[0].endswith("rows = 4*_rows"), messages[0]

# %%
# With a layer after it, the same reshape gives no suggestion since 2.8: the message is
# a comparison with a fraction (see :ref:`l-plot-exporter-shapes-ranges`). The fix is
# the same.

print(messages[1].splitlines()[-1])
assert ("8/3 <= rows" in messages[1]) == (RELEASE >= (2, 8)), messages[1]

# %%
# ``max=oo`` is not Python: leave it out. And a new name says more than ``_rows``.

groups = Dim("groups", min=2, max=256)
program = torch.export.export(
    merge, (rows,), dynamic_shapes=({0: 4 * groups},), strict=False
)
exported = program.module()
for number in (2, 3, 256):
    new = torch.randn(4 * number, 3)
    torch.testing.assert_close(exported(new), merge(new))
print(program.range_constraints)

# %%
# The example has to obey the relation too. The first three messages are about an
# example with sizes that the specification excludes. The last one (an
# ``AttributeError`` up to 2.8) is about an example in which ``a`` is 1: four rows are
# one group, and 1 is a size that cannot be dynamic
# (:ref:`l-plot-exporter-shapes-zero-one`).


class Sums(torch.nn.Module):
    def forward(self, x, y):
        return x.sum() + y.sum()


a = Dim("a")
pair = torch.randn(4, 3), torch.randn(6, 3)
wrong = [({0: a}, {0: a}), ({0: a}, {0: a + 1}), (None, {0: 4 * a}), ({0: 4 * a}, None)]
for shapes in wrong:
    try:
        torch.export.export(Sums(), pair, dynamic_shapes=shapes, strict=False)
    except (AttributeError, torch._dynamo.exc.UserError) as error:
        message = str(error).partition("\n\nThe error above")[0].splitlines()[-1]
    else:
        message = "This release does not compare the example."
    print(message)
    assert "This release" not in message, message

# %%
# Relations that a Dim cannot express
# +++++++++++++++++++++++++++++++++++
#
# A derived ``Dim`` is one name times a positive number plus a number (see the `class in
# the source
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/dynamic_shapes.py#L283>`_).
# Two names, a decreasing relation and a division are refused at once.

b = Dim("b")
attempts = {
    "a + b": lambda: a + b,
    "a * b": lambda: a * b,
    "8 - a": lambda: 8 - a,
    "a // 2": lambda: a // 2,
}
for text, attempt in attempts.items():
    try:
        attempt()
    except (NotImplementedError, TypeError) as error:
        message = str(error).partition(". (Only")[0]
    else:
        message = "This release accepts the expression."
    print(f"{text:7}", message)
    assert message.startswith(("Attempted to", "unsupported operand")), message

# %%
# A *sum* of two dimensions needs a third name, and no expression: cached and new
# tokens, and a mask over all of them. The exporter finds that the third is the sum of
# the others and accepts it. A mask of another length is refused, by the operator up to
# 2.7 and by a check of the program later. (Ranges of three such names have to fit
# together too: leave them out.)


class WithCache(torch.nn.Module):
    def forward(self, cached, new, mask):
        return torch.cat([cached, new], dim=1) * mask.unsqueeze(-1)


past, fresh, total = (Dim(name) for name in ("past", "fresh", "total"))
example = torch.randn(2, 7, 3), torch.randn(2, 5, 3), torch.ones(2, 12)
program = torch.export.export(
    WithCache(),
    example,
    dynamic_shapes=({1: past}, {1: fresh}, {1: total}),
    strict=False,
)
sizes = input_sizes(program)
print(sizes)
assert sizes[2] in (f"{sizes[0]} + {sizes[1]}", f"{sizes[1]} + {sizes[0]}")
with_cache = program.module()
for old, new in ((0, 3), (9, 1), (40, 30)):
    tensors = torch.randn(2, old, 3), torch.randn(2, new, 3), torch.ones(2, old + new)
    torch.testing.assert_close(with_cache(*tensors), WithCache()(*tensors))
try:
    with_cache(example[0], example[1], torch.ones(2, 11))
except REFUSED as error:
    message = str(error).splitlines()[0]
else:
    message = "This release does not check the sum."
print(message)
assert "This release" not in message, message

# %%
# If the mask has a *fixed* length of 12, one length is 12 minus the other. The
# suggestion says so, and it cannot be written (an `issue
# <https://github.com/pytorch/pytorch/issues/172561>`_ of torch). Use ``Dim.DYNAMIC``.

try:
    torch.export.export(
        WithCache(), example, dynamic_shapes=({1: past}, {1: fresh}, None), strict=False
    )
except torch._dynamo.exc.UserError as error:
    message = error.msg.strip().splitlines()[-1].strip()
else:
    message = "This release needs no relation."
print(message)
assert "12 - " in message, message
program = torch.export.export(
    WithCache(),
    example,
    dynamic_shapes=({1: Dim.DYNAMIC}, {1: Dim.DYNAMIC}, None),
    strict=False,
)
print(input_sizes(program), program.range_constraints)
program.module()(torch.randn(2, 4, 3), torch.randn(2, 8, 3), torch.ones(2, 12))

# %%
# Apply the suggestions by a function
# +++++++++++++++++++++++++++++++++++
#
# :func:`~torch.export.dynamic_shapes.refine_dynamic_shapes_from_suggested_fixes` puts
# the suggestions into ``dynamic_shapes``. It is there on all releases of this page.
# Pass ``error.msg``: since 2.8, the text of the exception goes on after the
# suggestions, which the function cannot read.

refine = torch.export.dynamic_shapes.refine_dynamic_shapes_from_suggested_fixes
try:
    torch.export.export(model, inputs, dynamic_shapes=three_names, strict=False)
except torch._dynamo.exc.UserError as error:
    text, refined = str(error), refine(error.msg, three_names)
try:
    refine(text, three_names)
except ValueError as error:
    message = str(error)
else:
    message = "This release reads the text of the exception."
print(message)
assert message.startswith("not enough values") == (RELEASE >= (2, 8)), message
program = torch.export.export(model, inputs, dynamic_shapes=refined, strict=False)
print(input_sizes(program))
assert input_sizes(program)[0] == input_sizes(program)[1] + " + 1"

# %%
# Which suggestion to follow
# ++++++++++++++++++++++++++
#
# A suggestion describes the trace, and the trace followed one example. Here are seven
# small models of two tensors. The first four cannot do without the relation. The others
# can: they loop over a size, or branch on it.


class Apply(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, y):
        return self.function(x, y)


def double_short(x, y):
    return (x * 2 if x.shape[0] <= 8 else x).sum() + y


def add_if_equal(x, y):
    return x + y if x.shape[0] == y.shape[0] else x.sum() + y


weight = torch.randn(2, 8)
CASES = {
    "x + y": (lambda x, y: x + y, 6, 6),
    "x[1:] + y": (lambda x, y: x[1:] + y, 6, 5),
    "x in rows of 4": (lambda x, y: (x.reshape(-1, 12), y), 8, 5),
    "weight @ x": (lambda x, y: (weight @ x).sum() + y, 8, 5),
    "for row in x": (lambda x, y: sum(row.sum() for row in x) + y, 8, 5),
    "if x is short": (double_short, 6, 5),
    "if sizes equal": (add_if_equal, 6, 6),
}

# %%
# Each is exported with two names, then with what is suggested until it exports. The
# model and the program get all pairs of sizes from 5 to 10. What is counted are the
# pairs that the model takes, and those on which the program gives the same result.

SIZES = range(5, 11)
PAIRS = [(torch.randn(n, 3), torch.randn(m, 3)) for n in SIZES for m in SIZES]


def count(call, function):
    same = 0
    for pair in PAIRS:
        try:
            results = torch.utils._pytree.tree_leaves([call(*pair), function(*pair)])
        except REFUSED:
            continue
        first, second = results[: len(results) // 2], results[len(results) // 2 :]
        same += all(map(torch.equal, first, second))
    return same


def export_pair(function, n, m, shapes):
    pair = torch.randn(n, 3), torch.randn(m, 3)
    return torch.export.export(
        Apply(function), pair, dynamic_shapes=shapes, strict=False
    ).module()


table = {}
for name, (function, n, m) in CASES.items():
    shapes, suggestion, same = ({0: Dim("dx")}, {0: Dim("dy")}), "none", 0
    for _ in range(4):
        try:
            exported = export_pair(function, n, m, shapes)
        except torch._dynamo.exc.UserError as error:
            lines = error.msg.partition("Suggested fixes:")[2].split("\n")
            if len(lines) == 1:
                break
            suggestion, shapes = lines[-1].strip(), refine(error.msg, shapes)
        else:
            same = count(exported, function)
            break
    table[name] = count(function, function), same
    verdict = "follow it" if same == table[name][0] else "change the model"
    print(f"{name:14} {table[name][0]:5} {same:5}  {verdict:16}  {suggestion}")

# %%
# The first four programs do all that the model does: follow the suggestion, a constant
# too if a weight asks for it. The others do less, because their suggestion describes
# the example.

for name, (model_count, program_count) in table.items():
    needed = name in list(CASES)[:4]
    assert (model_count == program_count) == needed, name

# %%
# * A loop, or anything that makes a number of a size: write it with operators, see
#   :ref:`l-plot-exporter-shapes-specialized`.
# * A branch: :ref:`l-plot-exporter-control-cond`, or one program for each side.
# * Two sizes that were equal by accident: an example with sizes that differ. If the
#   model compares the two, as here, it is a branch again. Up to 2.8 the program then
#   takes the other side for all sizes, without an error.

independent = ({0: Dim("dx")}, {0: Dim("dy")})
exported = export_pair(add_if_equal, 6, 7, independent)
equal = torch.randn(6, 3), torch.randn(6, 3)
try:
    result = exported(*equal)
except AssertionError as error:
    result, message = None, str(error).splitlines()[0]
else:
    same = result.shape == add_if_equal(*equal).shape and torch.allclose(
        result, add_if_equal(*equal)
    )
    message = f"no error, the result of the model: {same}"
print(message)
assert ("Guard failed: x.size()[0] != y" in message) == (RELEASE >= (2, 9)), message
assert (message.endswith("False")) == (RELEASE < (2, 9)), message

# %%
# * A division: the suggestion is a multiple (on 2.10 there is none), but odd sizes are
#   fine as well. ``Dim.DYNAMIC`` takes all of them: it has no names to keep apart, and
#   accepts what cannot be written as a derived ``Dim``.


def half(x, y):
    return x[: x.shape[0] // 2].sum() + y


try:
    export_pair(half, 8, 5, independent)
except torch._dynamo.exc.UserError as error:
    message = error.msg.partition("Suggested fixes:")[2].strip()
else:
    message = "This release needs no multiple."
print(message.splitlines()[-1:])
assert message.endswith("dx = 2*_dx") or RELEASE == (2, 10), message
exported = export_pair(half, 8, 5, ({0: Dim.DYNAMIC}, {0: Dim.DYNAMIC}))
print(count(exported, half), "of", len(PAIRS))
assert count(exported, half) == len(PAIRS)

# %%
# What is checked when the program runs
# +++++++++++++++++++++++++++++++++++++
#
# A relation between two inputs is checked on each call. A multiple that the model does
# not need is not checked any more since 2.9: ``4 * a`` lets six rows pass.

for shapes in (({0: a}, {0: 4 * a}), ({0: 4 * a}, None)):
    pair = torch.randn(8, 3), torch.randn(32, 3)
    program = torch.export.export(Sums(), pair, dynamic_shapes=shapes, strict=False)
    try:
        program.module()(torch.randn(6, 3), pair[1])
    except REFUSED as error:
        message = str(error).splitlines()[0]
    else:
        message = "This release runs the program."
    print(message)
    checked = shapes[1] is not None or RELEASE < (2, 9)
    assert (message != "This release runs the program.") == checked, message

# %%
# The check
# +++++++++
#
# The forecast with one ``Dim``, in both modes, on the ends of the range and between.

for strict in (False, True):
    exported = torch.export.export(
        model, inputs, dynamic_shapes=related, strict=strict
    ).module()
    for number in (2, 3, 17, 64):
        new = make_inputs(number)
        torch.testing.assert_close(exported(*new), model(*new))
print("same results on 2, 3, 17 and 64 steps")

# %%
# Targets that are as long as the frames are refused.

frames, targets, weights = make_inputs(8)
try:
    exported(frames, frames, weights)
except REFUSED as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program."
print(message)
assert "Guard failed" in message or "to be equal to 8, but got 9" in message, message

# %%
# To remember
# +++++++++++
#
# * Equal sizes share one ``Dim``; the larger ones are derived from the smallest.
# * A sum gets a name of its own. For a difference or a division use ``Dim.DYNAMIC``.
# * Follow a suggestion if the model fails without it. Otherwise change the model or the
#   example.
#
# Next: :ref:`l-plot-exporter-shapes-ranges` if a guard on one dimension remains,
# :ref:`l-plot-exporter-shapes-specialized` for a suggested constant, and
# :ref:`l-plot-exporter-shapes-infer` to find the dynamic dimensions from two examples.
