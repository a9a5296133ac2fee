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
# :func:`torch.cond` is.

# sphinx_gallery_tags = ["control flow", "export fails", "run fails"]
# sphinx_gallery_wording = "torch.cond: Expected branch to return a single tensor"
# sphinx_gallery_wording = "torch.cond works in eager mode and fails with export"
# sphinx_gallery_wording = "exported torch.cond model fails with batch size 1"

import re
import warnings

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


def loud(x):
    return x.abs().amax() > 1


class Limiter(torch.nn.Module):
    def forward(self, x):
        return torch.cond(
            loud(x), lambda x: x.clamp(-1, 1), lambda x: x, operands=(x,)
        )


torch.manual_seed(0)
x = torch.randn(5, 8)
dynamic_shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
options = {"dynamic_shapes": dynamic_shapes, "strict": False}

# %%
# The symptom
# +++++++++++
#
# Since 2.8 this is refused. The message begins with the wrapper.

try:
    torch.export.export(Limiter(), (x,), **options)
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
print("the reason is another exception:", getattr(caught, "__cause__", None) is not None)

# %%
# So the second branch is to blame: its output *is* its input. With a copy in its
# place, the model exports.


def keep(x):
    return x.clone()


class Copying(torch.nn.Module):
    def forward(self, x):
        return torch.cond(loud(x), lambda x: x.clamp(-1, 1), keep, operands=(x,))


program = torch.export.export(Copying(), (x,), **options)
for batch in (x, 0.1 * x):
    torch.testing.assert_close(program.module()(batch), batch.clamp(-1, 1))

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
    Limiter()(x)
except torch._dynamo.exc.UncapturedHigherOrderOpError as error:
    message = reason(error).split(" | ")[0]
else:
    message = "This release runs it in eager mode."
print(message)
assert ("Encountered aliasing" in message) == (RELEASE >= (2, 8)), message

# %%
# The rules, one by one
# +++++++++++++++++++++
#
# Each model of the next sections is one call of ``torch.cond`` with one fault. Its
# number is the first release that exports it (0: all releases of this page; 9: none).


class Model(torch.nn.Module):
    def __init__(self, choose):
        super().__init__()
        self.choose = choose
        self.scale = torch.nn.Parameter(torch.ones(8))
        self.register_buffer("peaks", torch.zeros(8))
        self.linear = torch.nn.Linear(8, 8)
        self.calls = 0
        self.seen = []

    def forward(self, x):
        return self.choose(self, x)


def cond(true_fn, false_fn, operands=None):
    """A model from two branches; each gets the model and x."""

    def choose(model, x):
        def first(x):
            return true_fn(model, x)

        def second(x):
            return false_fn(model, x)

        return torch.cond(loud(x), first, second, operands or (x,))

    return Model(choose)


def double(model, x):
    return x * 2


# %%
# Outputs that differ
# +++++++++++++++++++
