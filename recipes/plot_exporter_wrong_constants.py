"""
.. _l-plot-exporter-wrong-constants:

Values that Python computes are frozen
======================================

The exported program returns the same "random" number on each call, a time that stands
still, or the result for a setting that has changed since. There was no error and no
warning at the export.

This page shows which values become constants of the program, which mode of the exporter
says so, how to see them in the graph, and what to write instead.

.. meta::
   :description: Take random numbers from torch, and pass settings, times and NumPy values
      as tensor inputs; whatever Python computes is a constant.
   :keywords: random number frozen, same random value every call, time.time, global
      variable, numpy random, os.environ, torch.manual_seed, constant folded
"""

# %%
# The model
# +++++++++
#
# One function for each source of a value. The model adds the value to its input.

# sphinx_gallery_tags = ["wrong results", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "exported program returns the same random number every time"
# sphinx_gallery_wording = "changing a global variable has no effect on the program"

import random
import time
import warnings

import numpy as np
import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
SCALE = 1.0
SETTINGS = {"scale": 1.0}
OFFSET = torch.ones(1)


class Add(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return x + self.value(x)


def seeded(x):
    torch.manual_seed(0)
    return torch.rand(1)


# %%
# Each of these has another value on the second call, in eager: time goes on, generators
# move, and ``change`` changes the globals.

SOURCES = {
    "random.random()": lambda x: random.random(),
    "np.random.rand()": lambda x: np.random.rand(),
    "np.random.rand(1)": lambda x: torch.from_numpy(np.random.rand(1)),
    "time.time()": lambda x: time.time(),
    "a global number": lambda x: SCALE,
    "a global dictionary": lambda x: SETTINGS["scale"],
    "a global tensor": lambda x: OFFSET,
    "torch.manual_seed(0)": seeded,
    "torch.rand(1)": lambda x: torch.rand(1),
    "torch.rand_like(x)": lambda x: torch.rand_like(x),
}


def change(number):
    global SCALE
    SCALE = SETTINGS["scale"] = float(number)
    OFFSET.fill_(number)
    time.sleep(0.001)


# %%
# The symptom
# +++++++++++
#
# Each model is exported in both modes. The program is called before and after
# ``change``, and so is the model. The input is 0 and has the dtype ``float64``, so that
# even two times of day differ. An asterisk marks a program that does not move although
# the model does.

x = torch.zeros(1, dtype=torch.float64)


def moves(call):
    results = []
    for number in (1, 2):
        change(number)
        torch.rand(number)
        results.append(call(x).clone())
    return not torch.equal(*results)


def behaviour(model, strict):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (x,), strict=strict)
    program_moves, model_moves = moves(program.module()), moves(model)
    word = "moves" if program_moves else "frozen"
    return word if program_moves == model_moves else f"{word} *"


REFUSED = (torch._dynamo.exc.TorchDynamoException, RuntimeError, AssertionError)
table, messages = {}, {}
for name, value in SOURCES.items():
    for strict in (False, True):
        change(1)
        try:
            table[name, strict] = behaviour(Add(value), strict)
        except REFUSED as error:
            table[name, strict] = "refused"
            messages[name] = str(error).strip().splitlines()[0]
    print(f"{name:22} non-strict: {table[name, False]:9} strict: {table[name, True]}")

# %%
# Non-strict mode refuses nothing. Strict mode refuses what it cannot read, and this is
# the reason to try it once on a model that you do not know. Globals are frozen by both.

for name in ("time.time()", "random.random()"):
    message = messages[name].split(": value")[0].split(". This function")[0]
    print(f"{name}: {message}")
for name in list(SOURCES)[:6]:
    assert table[name, False] == "frozen *", name
for name in ("random.random()", "np.random.rand()", "time.time()"):
    assert table[name, True] == "refused", name
assert table["a global number", True] == "frozen *"

# %%
# ``torch.manual_seed`` in the model is the opposite case: the model repeats itself, and
# the program, which has no such call, does not.

assert table["torch.manual_seed(0)", False] == "moves *"

# %%
# The cause
# +++++++++
#
# A trace writes down operators on tensors. A number that Python computed arrives at an
# operator as a number, and nobody can tell where it came from.


def calls(program):
    for node in program.graph.nodes:
        if node.op == "call_function":
            yield f"{node.target}{node.args}"


SCALE = 1.5
program = torch.export.export(Add(lambda x: SCALE), (x,), strict=False)
print(*calls(program))
assert list(calls(program)) == ["aten.add.Tensor(x, 1.5)"]

# %%
# A random number of torch comes from an operator. It is in the graph, it is drawn on
# each call, and ``torch.manual_seed`` before the call repeats it.

program = torch.export.export(Add(lambda x: torch.rand(1)), (x,), strict=False)
print(*calls(program))
exported = program.module()
torch.manual_seed(7)
first = exported(x)
torch.manual_seed(7)
torch.testing.assert_close(exported(x), first)
assert "aten.rand.default" in "".join(calls(program))

# %%
# A tensor that is not an input is kept as a constant. As long as the process lives it
# shares its memory with the global, and changes in place are seen. A new tensor under
# the same name is not seen, and neither is anything after saving and loading.

program = torch.export.export(Add(lambda x: OFFSET), (x,), strict=False)
exported = program.module()
OFFSET.fill_(5)
print("changed in place:", exported(x).item())
assert exported(x).item() == 5
OFFSET = torch.full((1,), 9.0)
print("new tensor:      ", exported(x).item(), "- constants:", len(program.constants))
assert exported(x).item() == 5 and len(program.constants) == 1

# %%
# The fix
# +++++++
#
# What changes from call to call is an input. Make it a tensor: a number as an input
# would be a constant again, see :ref:`l-plot-exporter-inputs-python-scalars`. Random
# numbers come from torch. The price is a longer signature, and a caller that has to
# know it.


class Sampler(torch.nn.Module):
    def forward(self, x, scale, now):
        noise = torch.rand_like(x)
        return (x + noise) * scale + torch.sin(now)


# %%
# A setting that changes seldom can be a buffer. It is part of the state of the program,
# and :meth:`torch.nn.Module.load_state_dict` sets it. The price is that a call cannot
# override it.


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor(1.0))

    def forward(self, x):
        return x * self.scale


exported = torch.export.export(Scaled(), (x,), strict=False).module()
exported.load_state_dict({"scale": torch.tensor(3.0)})
torch.testing.assert_close(exported(x + 1), 3 * (x + 1))

# %%
# The check
# +++++++++
#
# With the same seed, program and model draw the same numbers, for batches, scales and
# times that were not traced. Both fixes work on all releases of this page.

batch = torch.export.Dim("batch")
model = Sampler()
example = (torch.rand(4, 3), torch.tensor(1.0), torch.tensor(0.0))
program = torch.export.export(
    model, example, dynamic_shapes=({0: batch}, None, None), strict=False
)
exported = program.module()
for size, scale in [(1, 0.5), (2, 2.0), (30, -1.0)]:
    inputs = (torch.rand(size, 3), torch.tensor(scale), torch.tensor(float(size)))
    torch.manual_seed(size)
    expected = model(*inputs)
    torch.manual_seed(size)
    torch.testing.assert_close(exported(*inputs), expected)
    assert not torch.equal(exported(*inputs), exported(*inputs))
    print(f"batch {size}, scale {scale}: same result")

# %%
# Another number of columns is refused.

try:
    exported(torch.rand(4, 5), torch.tensor(1.0), torch.tensor(0.0))
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs the program with five columns."
print(message)
assert "size()[1] == 3" in message or "to be equal to 3" in message, message

# %%
# To remember
# +++++++++++
#
# * Numbers, times, settings and random values of Python are constants of the program.
# * What changes is an input, as a tensor, or a buffer; random numbers come from torch.
# * One export in strict mode tells you what a model reads from outside, except globals.
#
# Next: :ref:`l-plot-exporter-wrong-state` for what the model remembers between two
# calls, :ref:`l-plot-exporter-effects-devices` for tensors that it makes, and
# :ref:`l-plot-exporter-wrong-checklist` to find such values without reading the model.
