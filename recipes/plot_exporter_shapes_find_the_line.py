"""
.. _l-plot-exporter-shapes-find-the-line:

Find the line that fixed a dimension
====================================

The export says ``Constraints violated (length)! ... your code specialized it to be a
constant (5)`` and not where. Or the dimension turned static without an error. The model
has thousands of lines, and most of them are in a library.

This page finds the line in five ways: the message of strict mode, the report of
``draft_export``, the log, the size after each module, and each module exported alone.

.. meta::
   :description: Export once with strict=True and read "User stack", or run with
      TORCH_LOGS="dynamic" and look for "Eq(s77, 5) [guard added]".
   :keywords: which line specialized, TORCH_LOGS dynamic, guard added, Eq(s0, 4), User
      stack, TORCHDYNAMO_EXTENDED_DEBUG_GUARD_ADDED, range_refined_to_singleton,
      where was the dimension fixed, dimension turned static
"""

# %%
# The model
# +++++++++
#
# It stands for a library that you did not write. Two of its lines have a fault: a table
# of positions has the length of the example, and ``Scale`` turns a size into a number
# of Python.

# sphinx_gallery_tags = ["dynamic shapes", "export fails", "turns static", "how to"]
# sphinx_gallery_wording = "For more information, run with TORCH_LOGS=\"+dynamic\""
# sphinx_gallery_wording = "which line of my model makes the batch size static"

import contextlib
import logging
import math
import os
import re
import sys
import tempfile
import unittest.mock

import torch

Dim = torch.export.Dim
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Positions(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.rand(5, 6))

    def forward(self, x):
        return x + self.table


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
        self.positions = Positions()
        self.block = Block()

    def forward(self, tokens):
        return self.block(self.positions(self.embed(tokens)))


# %%
# The symptom
# +++++++++++
#
# The message has the dimension and the size. It names no file. (2.8 adds a stack of the
# exporter itself, which is cut off here.)

torch.manual_seed(0)
model = Model().eval()
inputs = (torch.rand(5, 3),)
named = {"tokens": {0: Dim("length", max=1024)}}
try:
    torch.export.export(model, inputs, dynamic_shapes=named, strict=False)
except torch._dynamo.exc.UserError as error:
    message = str(error).split("\n\n")[0]
else:
    message = "This release exports it."
print(message)
assert "constant (5)" in message and ".py" not in message

# %%
# 1. Strict mode says it
# ++++++++++++++++++++++
#
# Since 2.8 the message of strict mode ends with ``User stack:``. Strict mode reads the
# code of the model and `knows the line that it is at
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L7667>`_;
# non-strict mode runs it and does not. So export once with ``strict=True`` for the
# sake of the message, whichever mode you need. ``lines_of_model`` keeps what is not
# torch's own.

TORCH = os.path.dirname(torch.__file__)


def lines_of_model(stack):
    frames = re.findall(r'File "([^"]+)", line (\d+), in forward\n +(.+)', stack)
    return [(int(n), code) for file, n, code in frames if not file.startswith(TORCH)]


try:
    torch.export.export(model, inputs, dynamic_shapes=named, strict=True)
except torch._dynamo.exc.UserError as error:
    stack = str(error).partition("User stack:")[2]
else:
    stack = "This release exports it."
for number, code in lines_of_model(stack):
    print(f"line {number}: {code}")
if RELEASE >= (2, 8):
    assert lines_of_model(stack)[-1][1] == "return x + self.table"
else:
    print("This release adds no stack to the message.")
    assert stack == ""

# %%
# Read it from below: the last line is the one that fixed the dimension, those above
# called it.
#
# Strict mode has no answer where only non-strict mode loses the dimension, and the
# other way round. Python's ``float`` of a size is such a case
# (:ref:`l-plot-exporter-exporter-strict`): ``Scale`` alone keeps its dimension here.

alone = ({0: Dim("length", max=1024)},)
program = torch.export.export(
    Scale(), (torch.rand(5, 6),), dynamic_shapes=alone, strict=True
)
print(program.range_constraints)
assert len(program.range_constraints) == 1

# %%
# 2. The report of draft_export
# +++++++++++++++++++++++++++++
#
# ``draft_export`` notes each guard, with the line and the local variables of the
# function. (:ref:`l-plot-exporter-exporter-draft` explains the call, its log folder,
# and where it is before 2.8. 2.6 has no ``frame_locals``, only the line number in the
# printed report.) Under Python 3.13 and later the line is missing: torch `takes a number
# from the bytecode
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/fx/experimental/symbolic_shapes.py#L7983-L7987>`_,
# ``starts_line``, and that `is a Boolean there
# <https://docs.python.org/3/library/dis.html#dis.Instruction.starts_line>`_.

if RELEASE >= (2, 8):
    draft_export = torch.export.draft_export
else:
    from torch.export._draft_export import draft_export


def guards(shapes):
    with tempfile.TemporaryDirectory() as folder:
        with unittest.mock.patch.dict(os.environ, TORCH_DTRACE=folder):
            result = draft_export(model, inputs, dynamic_shapes=shapes, strict=False)
    report = result[1] if isinstance(result, tuple) else result._report
    return [failure.data for failure in report.failures]


for data in guards(named):
    where = (data.get("frame_locals") or {}).get("loc") or "no line here"
    print(f"{data['expr']}: {where}")
    assert data["expr"].endswith(", 5)")
    told = RELEASE >= (2, 7) and sys.version_info < (3, 13)
    assert where == ("return x + self.table" if told else "no line here")

# %%
# It needs a name in ``dynamic_shapes``. With ``Dim.AUTO`` a constant is no problem for
# the exporter, so the report is empty.

auto = {"tokens": {0: Dim.AUTO}}
found = guards(auto)
print("with AUTO:", found)
assert found == []

# %%
# 3. The log
# ++++++++++
#
# The log has no such condition. Run your script with ``TORCH_LOGS="dynamic"`` in the
# environment; in Python, ``torch._logging.set_logs`` does the same. A handler takes the
# place of torch's own here, so that the records can be shown without folders, times and
# the end of each line.

LOGGER = logging.getLogger("torch.fx.experimental.symbolic_shapes")


@contextlib.contextmanager
def log_of_shapes():
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    torch._logging.set_logs(dynamic=logging.INFO)
    LOGGER.handlers[:] = [handler]
    try:
        yield records
    finally:
        torch._logging.set_logs()


with log_of_shapes() as records:
    program = torch.export.export(model, inputs, dynamic_shapes=auto, strict=False)
assert not program.range_constraints
lines = [record.getMessage().split(", for more info")[0] for record in records]
lines = [re.sub(r":\d+ in ", " in ", re.sub(r"\(\S*/", "(", line)) for line in lines]
lines = [line for line in lines if re.match("create_symbol|set_repl|.*guard ad", line)]
print("\n".join(lines))
assert any("= 5 (range_refined_to_singleton)" in line for line in lines)

# %%
# Nothing failed, and the log has it all the same:
#
# * ``create_symbol``: which symbol stands for which dimension of which input.
# * ``Eq(s.., 5) [guard added]``: a question that was answered. This equation fixes the
#   dimension. It starts with ``eval``, or with ``runtime_assert`` where an operator
#   asks, up to 2.8. The equation can be less plain: ``reshape(5, 2, 3)`` gives
#   ``Eq(6*s.., 30)``.
# * ``set_replacement s.. = 5 (range_refined_to_singleton)``: from here on the symbol is
#   the number.
#
# The place in parentheses is the model's own line if Python asked, such as ``float``
# or ``if``. Here an operator asked, and the place is in torch. Strict mode gives the
# line of the model as well. In non-strict mode, run again with the equation of the log
# in the variable ``TORCHDYNAMO_EXTENDED_DEBUG_GUARD_ADDED``: the log then prints the
# whole stack. The variable sets a value of a private configuration, which can be
# patched for one export.

(found,) = [record for record in records if "[guard added]" in record.getMessage()]
equation = re.search(r"Eq\(.*?\)", found.getMessage())[0]
config = torch.fx.experimental._config
with log_of_shapes() as records, config.patch(extended_debug_guard_added=equation):
    torch.export.export(model, inputs, dynamic_shapes=auto, strict=False)
(found,) = [record for record in records if "[guard added]" in record.getMessage()]
for number, code in lines_of_model(found.stack_info):
    print(f"line {number}: {code}")
assert [code for _, code in lines_of_model(found.stack_info)] == [
    "return self.block(self.positions(self.embed(tokens)))",
    "return x + self.table",
]

# %%
# 4. The size after each module
# +++++++++++++++++++++++++++++
#
# Without any log: non-strict mode runs the forward hooks of the modules, and their
# arguments have symbols for sizes. The symbol is gone after the module that fixed it.
# Turn the size into text at once, because the symbol becomes the number later.

seen, handles = [], []
for name, part in model.named_modules():
    handles.append(
        part.register_forward_hook(
            lambda part, args, output, name=name: seen.append((name, str(output.shape)))
        )
    )
torch.export.export(model, inputs, dynamic_shapes=auto, strict=False)
for handle in handles:
    handle.remove()
for name, shape in seen:
    print(f"{name or 'the model':18} {shape}")
assert [name for name, shape in seen if "[5, 6]" not in shape] == ["embed"]
assert seen[1][0] == "positions"

# %%
# The graph cannot show this: in a finished program the symbol is replaced everywhere,
# also in the input. But it keeps numbers that were computed from the size, here the
# square root of 5, and each node knows its line.

tokens = next(node for node in program.graph.nodes if node.name == "tokens")
print("tokens:", tuple(tokens.meta["val"].shape))
for node in program.graph.nodes:
    if any(isinstance(argument, float) for argument in node.args):
        module = list(node.meta["nn_module_stack"].values())[-1][0]
        line = node.meta["stack_trace"].strip().splitlines()[-1].strip()
        print(node.name, node.args[1], module, "|", line)
        assert line == "return x / math.sqrt(length)"

# %%
# 5. Each module alone
# ++++++++++++++++++++
#
# All of these find the first line only. After it the symbol is a number, and the
# second fault is not asked. To find every one, catch the inputs of each module in an
# eager call and export it alone. The price is one export for each module, and it takes
# modules whose inputs are tensors.

caught, handles = {}, []
for name, part in model.named_modules():
    handles.append(
        part.register_forward_pre_hook(
            lambda part, args, name=name: caught.setdefault(name, args)
        )
    )
model(*inputs)
for handle in handles:
    handle.remove()
culprits = []
for name, args in caught.items():
    part, shapes = model.get_submodule(name), tuple({0: Dim.AUTO} for _ in args)
    program = torch.export.export(part, args, dynamic_shapes=shapes, strict=False)
    if not program.range_constraints and not list(part.children()):
        culprits.append(name)
print(culprits)
assert culprits == ["positions", "block.scale"]

# %%
# The fix, and the check
# ++++++++++++++++++++++
#
# Now it is one line for each. The table needs more rows and is cut to the size; the
# number stays a size. If a class is not yours, put one of your own in its place before
# the export. Nothing of this costs anything at run time, except memory for the table,
# and it works on all releases of this page. What else can be at fault is in
# :ref:`l-plot-exporter-shapes-specialized`.


class LongPositions(torch.nn.Module):
    def __init__(self, table, length):
        super().__init__()
        rest = torch.rand(length - table.shape[0], table.shape[1])
        self.table = torch.nn.Parameter(torch.cat([table.detach(), rest]))

    def forward(self, x):
        return x + self.table[: x.shape[0]]


class SizeScale(torch.nn.Module):
    def forward(self, x):
        return x / x.shape[0] ** 0.5


reference = model(*inputs)
model.positions = LongPositions(model.positions.table, 1024)
model.block.scale = SizeScale()
torch.testing.assert_close(model(*inputs), reference)

# %%
# The log has no equation any more, and the program takes other lengths.

with log_of_shapes() as records:
    program = torch.export.export(model, inputs, dynamic_shapes=named, strict=False)
assert not any("singleton" in record.getMessage() for record in records)
exported = program.module()
for length in (1, 2, 7, 1024):
    tokens = torch.rand(length, 3)
    torch.testing.assert_close(exported(tokens), model(tokens))
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
# * Since 2.8, ``strict=True`` puts the line into the message. ``draft_export`` gives it
#   for named dimensions.
# * With ``Dim.AUTO`` there is no message: set ``TORCH_LOGS="dynamic"`` and look for
#   ``[guard added]``. If the place is in torch, ask for the stack.
# * One export shows one fault. Modules that are exported alone show all of them.
#
# Next: :ref:`l-plot-exporter-shapes-specialized` and
# :ref:`l-plot-exporter-shapes-python-int` for what to write instead, and
# :ref:`l-plot-exporter-lost_dynamic_dimension` if the input is dynamic and a number is
# wrong.
