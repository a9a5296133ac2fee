"""
.. _l-plot-exporter-inputs-python-scalars:

A number or a string as an input is a constant
==============================================

An input of the model is an int, a float, a bool or a str. The program takes the value
of the export and no other: ``Guard failed: top == 3``, or ``Expected input at 'top' to
be equal to 3, but got 4``. Or it takes an equal value of another type, and the result
has the wrong type, without an error.

This page shows what is frozen, what the check lets through, and what to do instead: one
program for each value, a dynamic int, or a tensor with one element.

.. meta::
   :description: Pass a tensor for a float or a bool, Dim.DYNAMIC for an int, and export one program for each string.
   :keywords: int input, float input, bool flag, string argument, scalar input, constant argument, Guard failed, Dim.DYNAMIC int, named Dims integers, 0-d tensor, torch.export specializes
"""

# %%
# The model
# +++++++++
#
# It takes the best scores of each row, and has one scalar of each type.

# sphinx_gallery_tags = ["inputs", "run fails", "turns static", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "int argument is hard-coded in the exported graph"
# sphinx_gallery_wording = "exported program always uses the same temperature"
# sphinx_gallery_wording = "bool argument of forward cannot be changed after torch.export"

import contextlib
import io

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
Dim = torch.export.Dim
UserError = torch._dynamo.exc.UserError


class Sampler(torch.nn.Module):
    def forward(self, scores, top, temperature, normalise, reduce):
        best = scores.topk(top, dim=-1).values / temperature
        if normalise:
            best = torch.softmax(best, dim=-1)
        return best.mean(dim=0) if reduce == "mean" else best.sum(dim=0)


torch.manual_seed(0)
model = Sampler()
scores = torch.randn(4, 10)
scalars = {"top": 3, "temperature": 2.0, "normalise": True, "reduce": "mean"}
print(model(scores, **scalars))

# %%
# The symptom
# +++++++++++
#
# The export works. One scalar after the other gets another value, and the program
# refuses each of them. This is so on every release, in both modes. Up to 2.8 it is a
# ``RuntimeError``, later an ``AssertionError``.

others = {"top": 4, "temperature": 0.5, "normalise": False, "reduce": "sum"}
for strict in (False, True):
    run = torch.export.export(model, (scores,), scalars, strict=strict).module()
    torch.testing.assert_close(run(scores, **scalars), model(scores, **scalars))
    print(f"strict={strict}")
    for name, other in others.items():
        try:
            run(scores, **{**scalars, name: other})
        except (AssertionError, RuntimeError) as error:
            message = str(error)
        else:
            message = f"This release accepts another value of {name}."
        print("   ", message)
        assert f"{name} ==" in message or f"'{name}' to be equal to" in message, message

# %%
# The cause
# +++++++++
#
# Only tensors are traced. `A scalar reaches forward as it is
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/non_strict_utils.py#L178>`_,
# and Python computes with its value. This is torch's design. In the graph the input
# exists, but nothing reads it. Its value is written where it was used: ``topk`` has 3.

program = torch.export.export(model, (scores,), scalars, strict=False)
for spec, node in zip(program.graph_signature.input_specs, program.graph.nodes):
    constant = getattr(spec.arg, "value", "a tensor")
    print(f"{node.name}: {constant}, read by {len(node.users)} operators")
    assert (len(node.users) == 0) == (node.name in scalars)


def size_of_topk(program):
    for node in program.graph.nodes:
        if node.target == torch.ops.aten.topk.default:
            return node.args[1]


four = torch.export.export(model, (scores,), {**scalars, "top": 4}, strict=False)
print("topk:", size_of_topk(program), "and exported with 4:", size_of_topk(four))
assert size_of_topk(program) == 3
assert size_of_topk(four) == 4

# %%
# What the check lets through
# +++++++++++++++++++++++++++
#
# Up to 2.8 the check compares type and value. Since 2.9 it is a guard, `written as text
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_unlift.py#L679>`_:
# ``gain == 2``. In Python ``2.0 == 2`` holds. So the program takes 2.0 and returns what
# it returns for 2, integers, where the model returns floats.


class Gain(torch.nn.Module):
    def forward(self, x, gain):
        return x * gain


counts = torch.arange(4)
gains = torch.export.export(Gain(), (counts, 2), strict=False).module()
try:
    result = gains(counts, 2.0)
except RuntimeError as error:
    result = None
    print(error)
else:
    print("the model returns", Gain()(counts, 2.0).dtype, "the program", result.dtype)
    assert result.dtype == torch.int64
assert Gain()(counts, 2.0).dtype == torch.float32
assert (result is None) == (RELEASE < (2, 9))

# %%
# Convert before the call (``int(gain)``), or refuse the wrong type yourself. The text
# has another weakness. A string with a quote in it makes a guard that is no Python, so
# ``module()`` fails. A NaN is refused up to 2.8, since it is not equal to itself; its
# guard cannot be run on 2.9 to 2.12.


class Ignore(torch.nn.Module):
    def forward(self, x, value):
        return x + 1


failed = {}
for value in ("it's", float("nan")):
    program = torch.export.export(Ignore(), (counts, value), strict=False)
    try:
        program.module()(counts, value)
    except (SyntaxError, NameError, RuntimeError) as error:
        failed[repr(value)] = True
        print(f"{value}: {type(error).__name__}: {error}")
    else:
        failed[repr(value)] = False
        print(f"{value}: this release runs the program.")
assert failed == {'"it\'s"': RELEASE >= (2, 9), "nan": RELEASE < (2, 13)}

# %%
# Fix 1: one program for each value
# +++++++++++++++++++++++++++++++++
#
# This is the fix for a str, and for a bool that changes much of the model. The price is
# one export and one file for each combination. Bind the scalars in a wrapper, and the
# programs have no scalar inputs left. It works on all releases of this page.


class Bound(torch.nn.Module):
    def __init__(self, model, **scalars):
        super().__init__()
        self.model, self.scalars = model, scalars

    def forward(self, scores):
        return self.model(scores, **self.scalars)


rows = {0: Dim("rows", min=1, max=64)}
programs = {}
for reduce in ("mean", "sum"):
    bound = Bound(model, **{**scalars, "reduce": reduce})
    programs[reduce] = torch.export.export(
        bound, (scores,), dynamic_shapes=(rows,), strict=False
    ).module()
for size in (1, 2, 64):
    x = torch.randn(size, 10)
    for reduce, run in programs.items():
        expected = model(x, **{**scalars, "reduce": reduce})
        torch.testing.assert_close(run(x), expected)
        print(f"{reduce}, {size} rows: same result")

# %%
# Fix 2: a dynamic int
# ++++++++++++++++++++
#
# Since 2.8 an int can be a symbol (`pull request 152677
# <https://github.com/pytorch/pytorch/pull/152677>`_). Its entry in ``dynamic_shapes``
# is ``Dim.DYNAMIC`` or ``Dim.AUTO``. A named ``Dim`` is refused on every release.

fixed = {"temperature": None, "normalise": None, "reduce": None}
try:
    torch.export.export(
        model,
        (scores,),
        scalars,
        dynamic_shapes={"scores": rows, "top": Dim("top"), **fixed},
        strict=False,
    )
except (UserError, ValueError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release accepts a named Dim for an int."
print(message.split(" specified at")[0])
assert "named Dims" in message or message.startswith("Cannot associate"), message

# %%
# ``Dim.DYNAMIC`` is the stronger of the two: the export fails if the int cannot stay a
# symbol. The range says what the model allows: at most 10 scores in a row.

program = None
try:
    program = torch.export.export(
        model,
        (scores,),
        scalars,
        dynamic_shapes={"scores": rows, "top": Dim.DYNAMIC, **fixed},
        strict=False,
    )
except UserError as error:
    message = str(error).splitlines()[0]
    print(message.split(" specified at ")[-1])
    assert "to non-tensor type <class 'int'>" in message, message
else:
    print([str(limits) for limits in program.range_constraints.values()])
    print("topk:", size_of_topk(program))
assert (program is None) == (RELEASE < (2, 8))

# %%
# The check. Up to 2.7 there is no program, and the next three cells print nothing.

if program is not None:
    run = program.module()
    for size, top in [(1, 2), (7, 5), (64, 10)]:
        x, changed = torch.randn(size, 10), {**scalars, "top": top}
        torch.testing.assert_close(run(x, **changed), model(x, **changed))
        print(f"{size} rows, top {top}: same result")

# %%
# The price is what torch asks about the number, as for a dimension. The output has
# ``top`` columns, and to know its memory layout torch asks `whether there is only one
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_prims_common/__init__.py#L285>`_.
# Since 2.9 the answer is a guard, and 1 is refused
# (:ref:`l-plot-exporter-shapes-zero-one`). 11 must be refused: there are 10 scores.

for top in (1, 11) if program is not None else ():
    try:
        run(scores, **{**scalars, "top": top})
    except (AssertionError, RuntimeError) as error:
        message = str(error)
    else:
        message = "accepted"
    print(f"top {top}: {message}")
    assert ("<= 10" in message) == (top == 11), message
    assert (message == "accepted") == (top == 1 and RELEASE < (2, 9)), message

# %%
# In strict mode the export gives the same program. On 2.9 it does not run: its guards
# use names that are not translated. Export with ``strict=False`` there.

if program is not None:
    shapes = {"scores": rows, "top": Dim.DYNAMIC, **fixed}
    strict_program = torch.export.export(
        model, (scores,), scalars, dynamic_shapes=shapes, strict=True
    )
    try:
        result = strict_program.module()(scores, **scalars)
    except NameError as error:
        result = None
        print(error)
    else:
        torch.testing.assert_close(result, model(scores, **scalars))
        print("This release runs the program of strict mode.")
    assert (result is None) == (RELEASE == (2, 9))

# %%
# A loop needs the number itself. ``Dim.DYNAMIC`` says so. ``Dim.AUTO`` makes the int a
# constant again, without an error. (2.6 and 2.7 refuse both for an int.)


class Refine(torch.nn.Module):
    def forward(self, x, steps):
        for _ in range(steps):
            x = torch.tanh(x)
        return x


def value_of(program, name):
    nodes = {node.name: node for node in program.graph.nodes}
    return nodes[name].meta["val"]


for hint in (Dim.DYNAMIC, Dim.AUTO):
    try:
        program = torch.export.export(
            Refine(), (scores, 2), dynamic_shapes=(None, hint), strict=False
        )
    except UserError as error:
        message = "\n".join(str(error).splitlines()[:2])
    else:
        message = f"steps is the constant {value_of(program, 'steps')}"
    print(message)
    assert ("constant" in message) == (RELEASE >= (2, 8)), message

# %%
# A comparison keeps the branch of the example, and the range shrinks to it: 3 or more.
# Strict mode has a trap of its own: an int that is compared, and that no operator
# reads, becomes a constant, even with ``Dim.DYNAMIC`` and without an error. With
# ``* level`` it stays a symbol. So look at the value after the export.


class Threshold(torch.nn.Module):
    def forward(self, x, level):
        return torch.relu(x) if level > 2 else -x


class ThresholdTimesLevel(Threshold):
    def forward(self, x, level):
        return super().forward(x, level) * level


for cls in (Threshold, ThresholdTimesLevel):
    for strict in (False, True) if RELEASE >= (2, 8) else ():
        program = torch.export.export(
            cls(), (scores, 3), dynamic_shapes=(None, Dim.DYNAMIC), strict=strict
        )
        level = value_of(program, "level")
        limits = [str(limits) for limits in program.range_constraints.values()]
        print(f"{cls.__name__}, strict={strict}: {level}, range {limits}")
        frozen = strict and cls is Threshold
        assert isinstance(level, torch.SymInt) != frozen
        assert limits == ([] if frozen else ["VR[3, int_oo]"])

# %%
# Fix 3: a tensor with one element
# ++++++++++++++++++++++++++++++++
#
# A tensor without dimensions is an input like any other, and its value is free. For a
# float, nothing else changes. For a bool, replace ``if`` by :func:`torch.where`, which
# computes both sides, or by :ref:`torch.cond <l-plot-exporter-control-cond>`. An int
# that is a size has to be read with ``item()``.


class TensorSampler(torch.nn.Module):
    def forward(self, scores, top, temperature, normalise):
        top = top.item()
        torch._check(top >= 1)
        torch._check(top <= scores.shape[-1])
        best = scores.topk(top, dim=-1).values / temperature
        best = torch.where(normalise, torch.softmax(best, dim=-1), best)
        return best.mean(dim=0)


def as_tensors(top, temperature, normalise):
    return torch.tensor(top), torch.tensor(temperature), torch.tensor(normalise)


example = (scores, *as_tensors(3, 2.0, True))
program = torch.export.export(
    TensorSampler(), example, dynamic_shapes=(rows, None, None, None), strict=False
)
run = program.module()
for size, *values in [(1, 1, 0.5, True), (7, 5, 3.0, False), (64, 10, 1.0, True)]:
    x = torch.randn(size, 10)
    torch.testing.assert_close(run(x, *as_tensors(*values)), model(x, *values, "mean"))
    print(f"{size} rows, {values}: same result")

# %%
# It works on all releases of this page, and 1 is allowed. What the two ``_check`` say
# is checked when the program runs:

try:
    run(scores, *as_tensors(11, 2.0, True))
except RuntimeError as error:
    message = str(error)
else:
    message = "This release runs the program with 11 of 10 scores."
print(message)
assert "<= 10" in message, message

# %%
# The price of ``item()``: the exporter knows nothing about the number but what the two
# checks say. Python cannot loop over it, and other operators may ask for more
# (:ref:`l-plot-exporter-data-item`).


class RefineByTensor(Refine):
    def forward(self, x, steps):
        return super().forward(x, steps.item())


try:
    with contextlib.redirect_stderr(io.StringIO()):  # torch prints the graph there
        torch.export.export(RefineByTensor(), (scores, torch.tensor(2)), strict=False)
except torch.fx.experimental.symbolic_shapes.GuardOnDataDependentSymNode as error:
    message = str(error).splitlines()[0]
else:
    message = "This release loops over a number that it does not know."
print(message)
assert "Could not extract specialized integer" in message, message

# %%
# The price of a tensor in arithmetic is its dtype. A Python float never widens the
# result. Among integers, a tensor does, so make it with the dtype that you want.

for gain in (2.5, torch.tensor(2.5), torch.tensor(2.5, dtype=torch.float64)):
    print((counts * gain).dtype)
assert (counts * 2.5).dtype == (counts * torch.tensor(2.5)).dtype == torch.float32
assert (counts * torch.tensor(2.5, dtype=torch.float64)).dtype == torch.float64

# %%
# To remember
# +++++++++++
#
# * A scalar input is a constant of the program, and another value is refused.
# * Since 2.9 an equal value of another type is accepted, with the result of the first.
# * float and bool: a tensor without dimensions. int: ``Dim.DYNAMIC`` from 2.8 on, or a
#   tensor. str: one program for each value.
# * After the export, look whether a dynamic int is still a ``SymInt``.
#
# Next: :ref:`l-plot-exporter-data-item` for errors after ``item()``,
# :ref:`l-plot-exporter-control-cond` for a branch on a flag,
# :ref:`l-plot-exporter-inputs-optional` for an input that may be ``None``.
