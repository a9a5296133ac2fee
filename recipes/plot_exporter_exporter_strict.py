"""
.. _l-plot-exporter-exporter-strict:

Choose between strict and non-strict export
===========================================

``strict=True`` stops at Python that it cannot follow: ``Unsupported: Attempted to call
function marked as skipped...``, ``Data-dependent branching...``. ``strict=False``
exports the same model, or stops somewhere else: ``.numpy() is not supported for tensor
subclasses``. Or nothing stops, and the program changed since torch was upgraded to 2.8.

This page shows what each mode sees of a model, which errors exist in only one of them,
what goes wrong without an error, and how to choose.

.. meta::
   :description: Export with strict=False, read its silent traps, and use strict=True as a second opinion on the same model.
   :keywords: strict=True, strict=False, non-strict export, torch._dynamo Unsupported, graph break, generic_jump, Data-dependent branching, default changed torch 2.8, torch.export strict mode
"""

# %%
# The default changed in 2.8
# ++++++++++++++++++++++++++
#
# The same call, ``torch.export.export(model, args)``, is a strict export up to 2.7 and
# a non-strict one since 2.8 (`pull request 148790
# <https://github.com/pytorch/pytorch/pull/148790>`_). The release that made this page
# says:

# sphinx_gallery_tags = ["start here", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "torch._dynamo.exc.Unsupported: generic_jump TensorVariable()"
# sphinx_gallery_wording = "AssertionError: whole graph export entails exactly one guard export"
# sphinx_gallery_wording = "Unsupported: 'skip function PyCapsule.fwd in file Builtin fwd'"
# sphinx_gallery_wording = "export works with torch 2.8 and failed with torch 2.7"
# sphinx_gallery_wording = "exported program gives another result since torch 2.8"

import collections
import contextlib
import inspect
import io
import json
import random
import threading
import time
import traceback
import warnings
import zlib

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
default = inspect.signature(torch.export.export).parameters["strict"].default
print(f"torch {RELEASE[0]}.{RELEASE[1]}: strict={default}")
assert default == (RELEASE < (2, 8))

# %%
# A script that has to work on both sides of 2.8 names the mode in each call, as all
# recipes of this site do.
#
# What each mode sees
# +++++++++++++++++++
#
# *Non-strict*: Python runs ``forward`` as always, with fake tensors (a shape and a
# type, no data) in place of the inputs. What torch is asked for is written down, what
# Python does by itself is not. *Strict*: Python does not run ``forward``.
# ``torch._dynamo`` reads its bytecode and interprets each instruction
# (`documentation
# <https://docs.pytorch.org/docs/2.13/user_guide/torch_compiler/export/programming_model.html>`_).
#
# A model that asks for the type of its input shows the difference. A plain tensor is
# raw, an instance of a subclass is taken to be normalised already.


class Centre(torch.nn.Module):
    def forward(self, x):
        print("forward runs with a", type(x).__name__)
        if type(x) is torch.Tensor:
            x = x - x.mean(dim=-1, keepdim=True)
        return torch.relu(x)


torch.manual_seed(0)
x = torch.randn(4, 3)
expected = Centre()(x)
programs = {}
for strict in (True, False):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        programs[strict] = torch.export.export(Centre(), (x,), strict=strict)
    print(f"strict={strict}: {printed.getvalue()!r}")
    assert ("FakeTensor" in printed.getvalue()) != strict

# %%
# Under strict mode nothing was printed, since Python did not run the line. Under
# non-strict mode the input was a ``FakeTensor``, which is a subclass. So Python took
# the other branch, and the program is wrong without an error.

for strict, program in programs.items():
    names = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    same = torch.allclose(program.module()(x), expected)
    print(f"strict={strict}: {names}, {'same' if same else 'differs'}")
    assert same == strict

# %%
# The fix is to ask with :func:`isinstance`, or not at all: a fake tensor is an
# instance of :class:`torch.Tensor`.


class CentreAlways(torch.nn.Module):
    def forward(self, x):
        if isinstance(x, torch.Tensor):
            x = x - x.mean(dim=-1, keepdim=True)
        return torch.relu(x)


for strict in (True, False):
    program = torch.export.export(CentreAlways(), (x,), strict=strict)
    torch.testing.assert_close(program.module()(x), expected)

# %%
# Errors of strict mode only
# ++++++++++++++++++++++++++
#
# This model adds the embedding of its domain. The row comes from a checksum, which is
# a function written in C: bytecode leads to its call, and no further.


class DomainBias(torch.nn.Module):
    def __init__(self, domain):
        super().__init__()
        self.domain = domain
        self.table = torch.nn.Embedding(8, 3)

    def forward(self, x):
        row = zlib.crc32(self.domain.encode()) % 8
        return x + self.table.weight[row]


model = DomainBias("news").eval()
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the text of the error, once more
        torch.export.export(model, (x,), strict=True)
except torch._dynamo.exc.Unsupported as error:
    message = str(error)
else:
    message = "This release follows zlib.crc32 in strict mode."
print("\n".join(message.splitlines()[:2]).rstrip())
assert "zlib.crc32" in message, message

# %%
# The message ends with ``from user code`` and the line of the model: look there first.

_, _, user_code = message.partition("from user code:")
assert user_code, message
print("\n".join(line.strip() for line in user_code.splitlines() if "crc32" in line))

# %%
# The hints speak of a *graph break*. They are written for :func:`torch.compile`, which
# may leave its graph, let Python do the call, and go on with a second graph. It
# does so here. An exported program is one graph, so each break is an error.

torch._dynamo.reset()
compiled = torch.compile(model, backend="eager")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # as above
    torch.testing.assert_close(compiled(x), model(x))
torch._dynamo.reset()
print("torch.compile runs the model")

# %%
# Non-strict mode lets Python call the function. Its result is a constant of the
# program, and that is right here: the domain does not change.

program = torch.export.export(model, (x,), strict=False)
torch.testing.assert_close(program.module()(x), model(x))
print([str(n.args[2]) for n in program.graph.nodes if "select" in str(n.target)])

# %%
# The fix for both modes, and all releases of this page: compute once in ``__init__``
# what does not depend on the inputs. If the C function computes on tensors, make it an
# operator with :func:`torch.library.custom_op`.


class DomainBiasOnce(DomainBias):
    def __init__(self, domain):
        super().__init__(domain)
        self.row = zlib.crc32(domain.encode()) % 8

    def forward(self, x):
        return x + self.table.weight[self.row]


fixed = DomainBiasOnce("news").eval()
fixed.load_state_dict(model.state_dict())
for strict in (True, False):
    program = torch.export.export(fixed, (x,), strict=strict)
    torch.testing.assert_close(program.module()(x), model(x))

# %%
# Other things that stop strict mode and not the other one: parsing a text, a clock, a
# lock. The list gets shorter with the releases: a ``Counter`` is followed since 2.9.
# Each line is the beginning of what this release says.


class Wrapped(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def parse(x):
    return x * json.loads('{"scale": 2.0}')["scale"]


def clock(x):
    start = time.perf_counter()
    return x * 2.0, time.perf_counter() - start


def lock(x):
    with threading.Lock():
        return x * 2.0


def count(x):
    return x * collections.Counter("export")["e"]


refused = []
for function in (parse, clock, lock, count):
    torch.export.export(Wrapped(function), (x,), strict=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as above
            torch.export.export(Wrapped(function), (x,), strict=True)
    except torch._dynamo.exc.Unsupported as error:
        refused.append(function.__name__)
        message = str(error).splitlines()[0]
    else:
        message = "This release follows it in strict mode."
    print(f"{function.__name__}: {message[:70]}")
assert refused == ["parse", "clock", "lock", "count"][: 4 if RELEASE < (2, 9) else 3]

# %%
# Errors of non-strict mode only
# ++++++++++++++++++++++++++++++
#
# A fake tensor has no data, and Python code that wants data fails. Strict mode never
# runs that code: it knows these calls, numpy's too, and puts operators in their place.


def through_numpy(x):
    return torch.from_numpy(x.numpy().cumsum(axis=-1))


def list_of_tensors(x):
    return torch.tensor([x.mean(), x.max()])


for function in (through_numpy, list_of_tensors):
    program = torch.export.export(Wrapped(function), (x,), strict=True)
    torch.testing.assert_close(program.module()(x), function(x))
    try:
        torch.export.export(Wrapped(function), (x,), strict=False)
    except RuntimeError as error:
        message = str(error).splitlines()[0]
    else:
        message = "This release exports it in non-strict mode."
    print(f"{function.__name__}: {message}")
    assert "not supported" in message or "not allocated" in message, message

# %%
# The fix is to stay in torch: ``x.cumsum(dim=-1)``, and :func:`torch.stack` for the
# list. Both modes take that, on all releases of this page.


def stacked(x):
    return torch.stack([x.mean(), x.max()])


for strict in (True, False):
    program = torch.export.export(Wrapped(stacked), (x,), strict=strict)
    torch.testing.assert_close(program.module()(x), list_of_tensors(x))

# %%
# One failure, two messages
# +++++++++++++++++++++++++
#
# A test on the value of a tensor fails in both modes, in other words and at another
# place. The non-strict error went through ``forward``, so a debugger stops
# there. The strict error did not: the line is only in its text.


class Gate(torch.nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x


places = {}
for strict in (True, False):
    try:
        torch.export.export(Gate(), (x,), strict=strict)
    except (
        torch._dynamo.exc.Unsupported,
        torch.fx.experimental.symbolic_shapes.GuardOnDataDependentSymNode,
    ) as error:
        message = str(error).strip()
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        codes = [frame.f_code for frame in frames]
        places[strict] = Gate.forward.__code__ in codes
    else:
        message = "This release exports a test on a value."
    first = message.splitlines()[0].split(". ")[0]
    print(f"strict={strict}: {first}")
    print(f"   forward is in the traceback: {places.get(strict)}")
assert places == {True: False, False: True}

# %%
# The fix is the same as well: :func:`torch.where`, or :func:`torch.cond`; see
# :ref:`l-plot-exporter-control-cond`.


class GateWhere(torch.nn.Module):
    def forward(self, x):
        return torch.where(x.sum() > 0, x, -x)


# %%
# What no error tells
# +++++++++++++++++++
#
# Non-strict mode keeps the values that Python had while it ran ``forward``. Here
# Python drops layers at random (*layer drop*), and the model is in train mode by
# mistake. The program drops the same layers for ever.


class LayerDrop(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(3, 3) for _ in range(6)])

    def forward(self, x):
        for layer in self.layers:
            if self.training and random.random() < 0.5:
                continue
            x = x + layer(x)
        return x


model = LayerDrop()
random.seed(0)
program = torch.export.export(model, (x,), strict=False)
kept = [n for n in program.graph.nodes if str(n.target) == "aten.linear.default"]
print(f"{len(kept)} of 6 layers are in the program")
assert 0 < len(kept) < 6
results = [program.module()(x) for _ in range(5)]
assert all(torch.equal(result, results[0]) for result in results)

# %%
# Strict mode cannot follow the random number, and refuses. Here its error is a
# service. Since 2.14 the type of the exception is another one.

random.seed(0)
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        torch.export.export(model, (x,), strict=True)
except (torch._dynamo.exc.Unsupported, AssertionError) as error:
    message = str(error).splitlines()[0].split(": ")[0].split(". ")[0]
    kind = type(error)
else:
    message = "This release exports a random number in strict mode."
print(message)
assert message.startswith(("Attempted", "Graph break", "Dynamo attempts")), message
assert (kind is AssertionError) == (RELEASE >= (2, 14))

# %%
# The fix: ``model.eval()`` before the export. All six layers, both modes.

model.eval()
for strict in (True, False):
    program = torch.export.export(model, (x,), strict=strict)
    kept = [n for n in program.graph.nodes if str(n.target) == "aten.linear.default"]
    assert len(kept) == 6
    torch.testing.assert_close(program.module()(x), model(x))

# %%
# Strict mode is no proof. A global number is a constant of both programs
# (more of these: :ref:`l-plot-exporter-wrong-constants`).

SCALE = 2.0


def scaled(x):
    return x * SCALE


programs = [torch.export.export(Wrapped(scaled), (x,), strict=s) for s in (True, False)]
SCALE = 3.0
for program in programs:
    torch.testing.assert_close(program.module()(x), x * 2.0)
    assert not torch.allclose(program.module()(x), scaled(x))
print("both programs multiply by 2, the model by 3")

# %%
# How to choose
# +++++++++++++
#
# Start with ``strict=False``: more models pass, a debugger works, and it is the
# default from 2.8 on. Then export the same model with ``strict=True``:
#
# * It works: compare the two programs and the model on new inputs.
# * It stops: read the line that it names. If that line gives the same value in each
#   call (a setting, a checksum), the non-strict program is right. If not (random
#   numbers, clocks), it is wrong, and this is your warning.
#
# If only ``strict=True`` works, the model takes data out of tensors: rewrite that line
# in torch, or keep strict mode and name it in the call. The mode has no price at run
# time: where both follow the model, they write down the same operators.
#
# The check
# +++++++++
#
# The fixed parts together, exported in both modes. Each program is compared with
# the model on shapes that were not traced, the smallest included.

model = torch.nn.Sequential(CentreAlways(), fixed, GateWhere(), model).eval()
shapes = ({0: torch.export.Dim("batch", max=64)},)
exported, operators = {}, {}
for strict in (True, False):
    program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=strict)
    exported[strict] = program.module()
    for size in (1, 2, 7, 64):
        new_x = torch.randn(size, 3)
        torch.testing.assert_close(exported[strict](new_x), model(new_x))
    nodes = [n for n in program.graph.nodes if n.op == "call_function"]
    operators[strict] = [str(node.target) for node in nodes]
    print(f"strict={strict}: same results, {len(nodes)} operators")
assert operators[True] == operators[False]

# %%
# Both programs refuse a batch above the range, and a row of five.

messages = []
for strict in (True, False):
    for shape in ((65, 3), (4, 5)):
        try:
            exported[strict](torch.randn(shape))
        except (AssertionError, RuntimeError) as error:
            messages.append(str(error))
        else:
            messages.append("This release runs the program with this shape.")
        print(f"strict={strict} {shape}: {messages[-1]}")
assert all("<= 64" in message for message in messages[::2]), messages
assert all("] == 3" in m or "equal to 3" in m for m in messages[1::2]), messages

# %%
# To remember
# +++++++++++
#
# * Write ``strict=`` in each call: the default differs between 2.7 and 2.8.
# * Non-strict runs your Python with fake tensors: few errors, and what Python computed
#   is a constant without a word.
# * Strict reads bytecode: it stops at what it cannot follow, which is often harmless
#   and sometimes the warning that you need.
#
# Next: :ref:`l-plot-exporter-exporter-draft` lists every problem of a model at once,
# :ref:`l-plot-exporter-wrong-checklist` compares a program with its model,
# :ref:`l-plot-exporter-effects-print-hooks` is about ``print`` and loggers in
# ``forward``.
