"""
.. _l-plot-exporter-shapes-find-the-line:

Find the line that fixed a dimension
====================================

The export says ``your code specialized it to be a constant (4)`` and not where. Or the
dimension turned static without an error. The model has thousands of lines, and most of
them are in a library.

This page finds the line in three ways: by the log of the exporter, by a stack at the
moment when it happens, and by exporting the parts of the model one by one.

.. meta::
   :description: Run with TORCH_LOGS="dynamic" and look for "eval Eq(s77, 4) [guard added]",
      which names file, line and function.
   :keywords: which line specialized, TORCH_LOGS dynamic, guard added, Eq(s0, 4), debug
      constraint violation, where was the dimension fixed, user stack
"""

# %%
# The model
# +++++++++
#
# Three layers deep, one of them turns the number of tokens into a number of Python. It
# stands for a library that you did not write.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "turns static", "how to"]
# sphinx_gallery_wording = "For more information, run with TORCH_LOGS=\"+dynamic\""

import contextlib
import logging
import math
import re
import traceback

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Scale(torch.nn.Module):
    def forward(self, x):
        length = float(len(x))
        return x / math.sqrt(length)


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(6, 6)
        self.scale = Scale()

    def forward(self, x):
        return self.scale(self.linear(x).relu())


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Linear(3, 6)
        self.blocks = torch.nn.Sequential(Block(), Block())

    def forward(self, tokens):
        return self.blocks(self.embed(tokens))


# %%
# The symptom
# +++++++++++

torch.manual_seed(0)
model = Model().eval()
tokens = torch.rand(4, 3)
named = {"tokens": {0: torch.export.Dim("length", max=1024)}}
try:
    torch.export.export(model, (tokens,), dynamic_shapes=named, strict=False)
except torch._dynamo.exc.UserError as error:
    message = str(error).split("\n\n")[0]
else:
    message = "This release exports it."
print(message)
assert "constant (4)" in message and ".py" not in message

# %%
# 1. The log
# ++++++++++
#
# Run your script with ``TORCH_LOGS="dynamic"`` in the environment. In Python,
# ``torch._logging.set_logs`` does the same. A handler catches the lines here, so that
# they can be shown. (The page has no folders, so file names are cut to their last
# part.)


@contextlib.contextmanager
def log_of_shapes():
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    propagate, logger.propagate = logger.propagate, False
    torch._logging.set_logs(dynamic=logging.INFO)
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        torch._logging.set_logs()
        logger.propagate = propagate


def short(line):
    return re.sub(r"\(\S*/", "(", line.split(", for more info")[0])


with log_of_shapes() as lines:
    try:
        torch.export.export(model, (tokens,), dynamic_shapes=named, strict=False)
    except torch._dynamo.exc.UserError:
        print("the export failed, as before")
for line in lines:
    if line.startswith(("create_symbol", "eval")):
        print(short(line))
(found,) = [line for line in lines if line.startswith("eval Eq(")]

# %%
# Two kinds of lines matter. ``create_symbol`` says which symbol stands for which
# dimension of which input. ``eval ... [guard added]`` is a question that was answered,
# with file, line and function. An equation such as ``Eq(s77, 4)`` fixes the dimension.
# Here is that line:

number = int(re.search(r":(\d+) in forward", found)[1])
with open(Scale.forward.__code__.co_filename, encoding="utf-8") as file:
    code = file.read().splitlines()[number - 1].strip()
print(number, code)
assert code == "length = float(len(x))"

# %%
# The same with ``Dim.AUTO``, where nothing fails. This is how to find a dimension that
# turned static without a word.

auto = {"tokens": {0: torch.export.Dim.AUTO}}
with log_of_shapes() as lines:
    program = torch.export.export(model, (tokens,), dynamic_shapes=auto, strict=False)
assert not program.range_constraints
print([short(line) for line in lines if line.startswith("eval Eq(")])
assert any(line.startswith("eval Eq(") for line in lines)

# %%
# The log costs nothing to try, and works on all releases of this page and in both
# modes. It is long for a large model: look for the first ``eval Eq(`` with your symbol.
#
# 2. The stack
# ++++++++++++
#
# The log names the innermost line that is not part of torch. If that line is in a
# library, the question is who called it. ``TORCHDYNAMO_EXTENDED_DEBUG_GUARD_ADDED``
# with the expression of the log as its value prints the whole stack. Or take it
# yourself: in non-strict mode Python runs the model, so a handler of the log is called
# on top of it.

stack = []


class Stack(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("eval Eq(") and not stack:
            stack.extend(traceback.extract_stack())


with log_of_shapes():
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    logger.addHandler(Stack())
    torch.export.export(model, (tokens,), dynamic_shapes=auto, strict=False)
    logger.handlers[:] = [h for h in logger.handlers if not isinstance(h, Stack)]
here = Scale.forward.__code__.co_filename
ours = [frame for frame in stack if frame.filename == here and frame.name == "forward"]
for frame in ours:
    print(frame.lineno, frame.line)
assert [frame.line for frame in ours] == [
    "return self.blocks(self.embed(tokens))",
    "return self.scale(self.linear(x).relu())",
    "length = float(len(x))",
]

# %%
# 3. The parts, one by one
# ++++++++++++++++++++++++
#
# Without any log: catch the inputs of each submodule in an eager call, export each
# alone, and see which one fixes its dimension. It finds every culprit and not the first
# one only. The price is one export for each submodule, and it takes submodules whose
# inputs are tensors.


def inputs_of_parts(model, *args):
    caught, hooks = {}, []
    for name, part in model.named_modules():
        hook = lambda part, args, name=name: caught.setdefault(name, args)  # noqa: E731
        hooks.append(part.register_forward_pre_hook(hook))
    model(*args)
    for hook in hooks:
        hook.remove()
    return caught


culprits = []
for name, args in inputs_of_parts(model, tokens).items():
    part = model.get_submodule(name)
    shapes = tuple({0: torch.export.Dim.AUTO} for _ in args)
    program = torch.export.export(part, args, dynamic_shapes=shapes, strict=False)
    fixed = not program.range_constraints
    has_parts = any(part.children())
    if fixed and not has_parts:
        culprits.append(name)
    print(f"{name or 'the model':20} {'STATIC' if fixed else 'dynamic'}")
print("culprits:", culprits)
assert culprits == ["blocks.0.scale", "blocks.1.scale"]

# %%
# The fix, and the check
# ++++++++++++++++++++++
#
# Now it is one line: the size stays a size, and the square root is one of torch. If the
# class is not yours, put your own in its place before the export.


class SymbolicScale(torch.nn.Module):
    def forward(self, x):
        return x / torch.full((), x.shape[0], dtype=x.dtype).sqrt()


reference = model(tokens)
for block in model.blocks:
    block.scale = SymbolicScale()
torch.testing.assert_close(model(tokens), reference)
with log_of_shapes() as lines:
    program = torch.export.export(model, (tokens,), dynamic_shapes=named, strict=False)
assert not any(line.startswith("eval Eq(") for line in lines)
exported = program.module()
for length in (1, 2, 7, 1000):
    inputs = torch.rand(length, 3)
    torch.testing.assert_close(exported(inputs), model(inputs))
    print(f"length {length}: same result")
try:
    exported(torch.rand(1025, 3))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with 1025 tokens."
print(message)
assert "1024" in message, message

# %%
# To remember
# +++++++++++
#
# * ``TORCH_LOGS="dynamic"`` and the first ``eval Eq(`` with your symbol: that is the
#   line.
# * With ``Dim.AUTO`` the same log finds what turned static.
# * Exporting the parts alone finds all culprits.
#
# Next: :ref:`l-plot-exporter-shapes-specialized` and
# :ref:`l-plot-exporter-shapes-python-int` for what to write in its place, and
# :ref:`l-plot-exporter-exporter-draft`, whose report names the lines as well.
