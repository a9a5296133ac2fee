"""
.. _l-plot-exporter-control-cond-rules:

Write branches that torch.cond accepts
======================================

``Cond doesn't work unless it is captured completely with torch.compile. Scroll up to
find out what causes the graph break``, or since 2.11 ``This higher order operator
doesn't work unless it is captured completely ...``. Both are wrappers: they say that
a branch broke a rule, and not which one.

This page finds the rule in the error, goes through all of them with what each release
refuses, and ends with the form of a branch that all releases accept. One trap has no
error at the export: a program that refuses a batch of one.

.. meta::
   :description: Find the inner cause, then return new tensors with the same metadata,
      change nothing, and pass tensors only.
   :keywords: torch.cond, UncapturedHigherOrderOpError, captured completely with
      torch.compile, higher order ops do not support aliasing, input mutation, unsafe
      side effect, expected same dtype, expect operands to be a tuple, u0 >= 2, clone
"""

# %%
# The model
# +++++++++
#
# A signal that is too loud is clipped, any other is kept. In Python this is an ``if``;
# :ref:`l-plot-exporter-control-cond` explains why that is not exported and
# :func:`torch.cond` is. The model gets its two branches from outside, so that this
# page can change them. ``plain`` is what they mean in Python.

# sphinx_gallery_tags = ["control flow", "export fails", "run fails"]
# sphinx_gallery_wording = "torch.cond: Expected branch to return a single tensor"
# sphinx_gallery_wording = "torch.cond works in eager mode and fails with export"
# sphinx_gallery_wording = "exported torch.cond model fails with batch size 1"
# sphinx_gallery_wording = "pair[0] differ in 'shape: torch.Size([2, s1]) vs [2, s2]'"

import re

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


def loud(x):
    return x.abs().amax() > 1


class Model(torch.nn.Module):
    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second
        self.linear = torch.nn.Linear(8, 8)
        self.register_buffer("peak", torch.zeros(()))
        self.seen, self.gain = [], 2

    def forward(self, x):
        def first(x):
            return self.first(self, x)

        def second(x):
            return self.second(self, x)

        return torch.cond(loud(x), first, second, (x,))

    def plain(self, x):
        return (self.first if loud(x) else self.second)(self, x)


def clip(model, x):
    return x.clamp(-1, 1)


def keep(model, x):
    return x


torch.manual_seed(0)
x = torch.randn(5, 8)
dynamic_shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
options = {"dynamic_shapes": dynamic_shapes, "strict": False}
limiter = Model(clip, keep)

# %%
# The symptom
# +++++++++++
#
# Since 2.8 this is refused. The message begins with the wrapper.

try:
    torch.export.export(limiter, (x,), **options)
except torch._dynamo.exc.UncapturedHigherOrderOpError as error:
    caught, message = error, str(error)
else:
    caught, message = None, "This release exports a branch that returns its input."
print(message.splitlines()[0])
assert (caught is None) == (RELEASE < (2, 8))

# %%
# The cause: look behind the wrapper
# ++++++++++++++++++++++++++++++++++
#
# Where the reason is depends on the release. Up to 2.8 it is another exception,
# ``error.__cause__``; a traceback prints it *above* the wrapper, hence "scroll up".
# Since 2.9 it follows in the same message, and a line that begins with ``Developer
# debug context`` says what exactly. This function collects both.


def reason(error):
    text = str(error.__cause__ or error)
    inner = re.search(r"got \w+\((['\"])(.*)\1\)", text)
    if inner:
        return inner[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0].split("torch.compile. Got ")[-1]
    if first == "graph break/error:":
        first = lines[1]
    start = "Developer debug context: "
    detail = [line.removeprefix(start) for line in lines if line.startswith(start)]
    return " | ".join([first, *detail[:1]]).split(", where lhs")[0]


if caught is not None:
    print(reason(caught))
    assert "Encountered aliasing" in reason(caught), str(caught)
    assert "Input-to-output aliasing detected" in reason(caught), str(caught)
separate = caught is not None and caught.__cause__ is not None
print("the reason is another exception:", separate)
assert separate == (RELEASE == (2, 8))

# %%
# So the second branch is to blame: its output *is* its input. With a copy in its
# place, the model exports.

copying = Model(clip, lambda m, x: x.clone())
program = torch.export.export(copying, (x,), **options)
for batch in (x, 0.1 * x):
    torch.testing.assert_close(program.module()(batch), limiter.plain(batch))

# %%
# The rules come from the way a branch is captured: ``torch.cond`` hands the branches
# to ``torch.compile``, also in `eager mode
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_higher_order_ops/cond.py#L247>`_
# and also without strict mode, and every operand, result and effect must fit into a
# graph. The `check for aliases
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_dynamo/variables/higher_order_ops.py#L1463>`_
# is there by design, since 2.8 (`issue 153832
# <https://github.com/pytorch/pytorch/issues/153832>`_). Hence ``model(x)`` raises the
# same error: find the branch there, without the exporter.

try:
    limiter(x)
except torch._dynamo.exc.UncapturedHigherOrderOpError as error:
    message = reason(error).split(" | ")[0]
else:
    message = "This release runs it in eager mode."
print(message)
assert ("Encountered aliasing" in message) == (RELEASE >= (2, 8)), message

# %%
# Outputs that differ
# +++++++++++++++++++
#
# Both branches return tensors: as many, with the same dtype, device, number of
# dimensions and order of strides; dictionaries have the same keys in the same order.
# The last entry of each row says whether this release exports the model.

REFUSED = (
    torch._dynamo.exc.UncapturedHigherOrderOpError,
    torch._dynamo.exc.TorchRuntimeError,
    torch._dynamo.exc.UserError,
)


def double(model, x):
    return x * 2


def transposed(model, x):
    return x.transpose(0, 1).contiguous().transpose(0, 1)


OUTPUTS = {
    "another dtype": (lambda m, x: x.half(), double, False),
    "transposed": (transposed, double, False),
    "one tensor more": (lambda m, x: (x * 2, x + 1), lambda m, x: (x * 2,), False),
    "None": (lambda m, x: (x * 2, x + 1), lambda m, x: (x * 3, None), False),
    "a float": (lambda m, x: (x * 2, 0.5), lambda m, x: (x * 3, 1.5), False),
    "an int": (lambda m, x: (x * 2, 1), lambda m, x: (x * 3, 2), RELEASE >= (2, 8)),
}
for name, (first, second, exported) in OUTPUTS.items():
    try:
        torch.export.export(Model(first, second), (x,), **options)
    except REFUSED as error:
        result = reason(error)
    else:
        result = "exported"
    print(f"{name}:\n    {result}")
    assert (result == "exported") == exported, result

# %%
# The fix is to bring both to one form: ``to(x.dtype)``, ``expand``, ``contiguous()``,
# a tensor of zeros in the place of ``None``, and numbers as tensors. (In a branch,
# ``torch.tensor(0.5)`` is refused by 2.6 and 2.7; ``torch.full`` is not.) The last
# sections write it out and check it.

# %%
# Aliases of an input
# +++++++++++++++++++
#
# A branch returns *new* tensors: not its input, not a view of it, not a parameter, not
# the same tensor twice. Operators that may return their input count as well:
# ``contiguous()``, ``float()``, and since 2.14 ``dropout`` in eval mode. ``x.T`` is a
# case of its own: up to 2.13 it is read before the branch begins and becomes a second
# input, which is a view of the first.


def twice(model, x):
    y = x * 2
    return y, y


def no_dropout(model, x):
    return torch.nn.functional.dropout(x, 0.5, training=False)


def gram(model, x):
    return x.transpose(0, 1) @ x


OLD = RELEASE < (2, 8)
ALIASES = {
    "a view": (lambda m, x: x.view(-1, 8), double, OLD),
    "one tensor twice": (twice, lambda m, x: (x + 1, x - 1), OLD),
    "dropout": (no_dropout, double, RELEASE < (2, 14)),
    "x.T": (lambda m, x: x.T @ x, gram, OLD or RELEASE >= (2, 14)),
}
for name, (first, second, exported) in ALIASES.items():
    try:
        torch.export.export(Model(first, second), (x,), **options)
    except REFUSED as error:
        result = reason(error).split(" | ")[-1].removesuffix(" in")
    else:
        result = "exported"
    print(f"{name}:\n    {result}")
    assert (result == "exported") == exported, result

# %%
# ``clone()`` mends each of them, at the price of one copy; for ``x.T`` write
# ``x.transpose(0, 1)``.
#
# Two ways past the rule do not lead far. 2.6 and 2.7 export aliases, and since 2.12 a
# branch is not checked when gradients are off (`pull request 172836
# <https://github.com/pytorch/pytorch/pull/172836>`_). In both cases the next step,
# ``run_decompositions``, refuses the program, and the converter to ONNX takes that
# step.

try:
    with torch.no_grad():
        program = torch.export.export(limiter, (x,), **options)
        stage = "run_decompositions"
        program.run_decompositions({})
except torch._dynamo.exc.UncapturedHigherOrderOpError as error:
    stage, message = "export", reason(error)
except RuntimeError as error:
    message = str(error)
else:
    stage, message = "nowhere", "This release goes all the way with an alias."
print(f"refused by {stage}:", message.splitlines()[0].split(" | ")[0])
assert (stage == "export") == ((2, 8) <= RELEASE < (2, 12)), message
assert "alias" in message, message

# %%
# Changes of an input, and other side effects
# +++++++++++++++++++++++++++++++++++++++++++
#
# A branch changes nothing that was there before: no operand, buffer, attribute, list
# or global. Since 2.8 a change of a tensor is refused, all releases refuse the rest.
# A tensor that the branch has made itself may be changed.


def add_in_place(model, x):
    return x.add_(1)


def change_buffer(model, x):
    model.peak.copy_(x.amax())
    return x * 3


def append(model, x):
    model.seen.append("loud")
    return x * 3


def set_attribute(model, x):
    model.gain = 3
    return x * model.gain


EFFECTS = {
    "x.add_(1)": (add_in_place, double, OLD),
    "buffer.copy_()": (change_buffer, double, OLD),
    "list.append()": (append, double, False),
    "attribute": (set_attribute, double, False),
}
for name, (first, second, exported) in EFFECTS.items():
    try:
        torch.export.export(Model(first, second), (x,), **options)
    except REFUSED as error:
        result = reason(error).split(" | ")[0]
    else:
        result = "exported"
    print(f"{name}:\n    {result}")
    assert (result == "exported") == exported, result

# %%
# The fix: the branch *returns* the new value, and ``forward`` stores it, after the
# call. Both branches return one, so the other returns a copy of the old value. (With
# gradients off, 2.12 and later export a change of a tensor as well, and refuse it in
# ``run_decompositions``, as above.)


class Peak(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("peak", torch.zeros(()))

    def forward(self, x):
        y, peak = torch.cond(
            loud(x),
            lambda x, peak: (x.clamp(-1, 1), x.amax()),
            lambda x, peak: (x.clone(), peak.clone()),
            (x, self.peak),
        )
        self.peak.copy_(peak)
        return y


exported = torch.export.export(Peak(), (x,), **options).module()
assert float(exported(3 * torch.ones(2, 8)).amax()) == 1
assert float(exported(0.1 * torch.ones(2, 8)).amax()) < 0.2
print("peak after a loud and a quiet batch:", float(exported.peak))
assert float(exported.peak) == 3

# %%
# Operands and closures
# +++++++++++++++++++++
#
# Operands are tensors, in tuples, lists or dictionaries. Numbers, ``None`` and sizes
# are refused. (Strict mode lets some through; then ``model(x)`` raises the same error
# in eager mode.)


class Operand(torch.nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        branches = (lambda x, k: x.clamp(-1, 1), lambda x, k: x * 2)
        return torch.cond(loud(x), *branches, (x, self.make(x)))


OPERANDS = {
    "int": lambda x: 2,
    "None": lambda x: None,
    "size": lambda x: x.shape[0],
    "list": lambda x: [x + 1, x + 2],
}
for name, make in OPERANDS.items():
    try:
        torch.export.export(Operand(make), (x,), **options)
    except RuntimeError as error:
        result = str(error).split(", but got")[0]
    else:
        result = "exported"
    print(f"{name}: {result}")
    assert (result == "exported") == (name == "list"), result

# %%
# What is not an operand may be read from outside: numbers and flags, which become
# constants; tensors, parameters and modules, which become operands of their own (the
# check below prints them).
#
# One thing is not taken without strict mode: a number out of ``item()``. Pass the
# tensor itself.


class Item(torch.nn.Module):
    def forward(self, x):
        peak = x.amax().item()
        return torch.cond(loud(x), lambda x: x / peak, lambda x: x * 2, (x,))


try:
    torch.export.export(Item(), (x,), **options)
except torch._dynamo.exc.UncapturedHigherOrderOpError as error:
    result = reason(error)
else:
    result = "exported"
print(result)
assert "SymFloat" in result, result

# %%
# Sizes that differ
# +++++++++++++++++
#
# Since 2.7 two branches may return other sizes. The size of the result is then a
# symbol of its own, ``u0``, which depends on data: what comes next must not decide
# anything with it (:ref:`l-plot-exporter-data-guard`). Two sizes that are computed from
# one named dimension, such as all rows and half of the rows, are refused: which one is
# the larger would have to be the same for every size of the range. Results that are
# padded to one size have neither problem.


def half(model, x):
    return x[: x.shape[0] // 2] * 2


SIZES = {
    "four columns": (lambda m, x: x[:, :4] * 2, RELEASE >= (2, 7)),
    "half of the rows": (half, False),
}
for name, (first, exported) in SIZES.items():
    try:
        program = torch.export.export(Model(first, double), (x,), **options)
    except REFUSED as error:
        result = reason(error)
    else:
        (output,) = program.graph.output_node().args[0]
        result = f"exported, the output is {output.meta['val'].shape}"
    print(f"{name}:\n    {result}")
    assert result.startswith("exported") == exported, result

# %%
# Two operands with one batch: a batch of one is refused
# ++++++++++++++++++++++++++++++++++++++++++++++++++++++
#
# This one exports without an error. Each branch takes the batch of another operand.


class Residual(torch.nn.Module):
    def forward(self, x):
        y = torch.tanh(x)
        return torch.cond(loud(x), self.first, self.second, (x, y))

    def first(self, x, y):
        return y * 2

    def second(self, x, y):
        return x + 1


program = torch.export.export(Residual(), (x,), **options)
try:
    result = program.module()(torch.ones(1, 8))
except RuntimeError as error:
    result, message = None, str(error).splitlines()[0]
else:
    message = "This release runs a batch of one."
print(message)
assert (result is None) == (RELEASE >= (2, 8)), message

# %%
# The range of the batch was 1 to 64. Without strict mode, the capture of the branches
# starts anew with the operands, and the size of each is a new symbol, from 2 up. For
# all it knows, the branches return other sizes, so the result gets a ``u0``, as in the
# section before, and what is known of ``u0`` becomes a check in the program: it is at
# least 2. The rest of the export finds out that the sizes are equal, and the check
# remains.

checks = [n.args[1] for n in program.graph.nodes if "_assert_scalar" in str(n.target)]
print(checks)
assert bool(checks) == (RELEASE >= (2, 8))

# %%
# The fix: say in a branch that the sizes are equal. It costs nothing. Strict mode
# needs no fix, nor do branches whose operands have that dimension only once.


class Tied(Residual):
    def first(self, x, y):
        torch._check(x.shape[0] == y.shape[0])
        return y * 2


for model, strict in [(Tied(), False), (Residual(), True)]:
    program = torch.export.export(
        model, (x,), dynamic_shapes=dynamic_shapes, strict=strict
    )
    for size in [1, 2, 64]:
        batch = torch.ones(size, 8)
        torch.testing.assert_close(program.module()(batch), batch + 1)

# %%
# The form that all releases accept
# +++++++++++++++++++++++++++++++++
#
# Every fault of this page, repaired: new tensors, the same metadata in both branches,
# nothing changed that was there before.


def first(model, x):
    return {
        "dtype": x.half().to(x.dtype),
        "dimensions": x.sum(1, keepdim=True).expand_as(x).clone(),
        "strides": transposed(model, x).contiguous(),
        "none": x + 1,
        "number": torch.full((), 0.5),
        "alias": x.view(-1, 8).clone(),
        "size": torch.nn.functional.pad(x[:, :4], (0, 4)),
        "gram": gram(model, x),
        "own": (x * 3).add_(1),
        "closure": model.linear(x) * model.gain,
    }


def second(model, x):
    return {
        "dtype": x * 2,
        "dimensions": x * 3,
        "strides": x * 4,
        "none": torch.zeros_like(x),
        "number": torch.full((), 1.5),
        "alias": x.clone(),
        "size": x * 5,
        "gram": gram(model, x) * 2,
        "own": x * 6,
        "closure": model.linear(x) + model.peak,
    }


# %%
# The check
# +++++++++
#
# Four batch sizes that were not traced, inputs for both branches. The reference is what
# the branches mean in Python.

model = Model(first, second)
program = torch.export.export(model, (x,), **options)
exported = program.module()
for size in [1, 2, 9, 64]:
    for scale in [0.1, 10.0]:
        batch = scale * torch.ones(size, 8)
        with torch.inference_mode():
            torch.testing.assert_close(exported(batch), model.plain(batch))
    print(f"batch {size}: same results")

# %%
# The node shows all that the branches depend on: the operand, and what they read from
# outside.

(node,) = [n for n in program.graph.nodes if n.target is torch.ops.higher_order.cond]
operands = {str(operand) for operand in node.args[3]}
print(sorted(operands))
assert operands == {"x", "p_linear_weight", "p_linear_bias", "b_peak"}

# %%
# Nine features instead of eight are refused.

try:
    exported(torch.randn(5, 9))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program with nine features."
print(message)
assert "size()[1] == 8" in message or "to be equal to 8" in message, message

# %%
# To remember
# +++++++++++
#
# * "Captured completely" is a wrapper. Read ``error.__cause__`` up to 2.8, and the
#   lines that follow it since 2.9; or call ``model(x)``, which breaks the same rules.
# * A branch takes tensors, changes nothing, and returns new tensors: same number,
#   dtype, dimensions and strides in both branches.
# * Two operands with the same dynamic dimension: ``torch._check`` that it is the same,
#   and test a batch of one.
#
# Next: :ref:`l-plot-exporter-control-scan` and :ref:`l-plot-exporter-control-while`,
# whose functions obey the same rules; :ref:`l-plot-exporter-data-guard` when the
# condition is the trouble.
