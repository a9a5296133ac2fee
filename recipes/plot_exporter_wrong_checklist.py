"""
.. _l-plot-exporter-wrong-checklist:

Check an exported program before you trust it
=============================================

The export ended without an error, and the program returns the same as the model for the
example inputs. That says little: a program that ignores an input, repeats one random
number or forgets its cache passes the same test.

This page gives a procedure, in plain torch. Eight faulty models pass the usual test,
and each is found by one step of the procedure.

.. meta::
   :description: Compare program and model on other shapes, values and dtypes, twice in
      a row, in eval mode, and look at the model afterwards.
   :keywords: verify exported program, validate export, output mismatch, wrong result,
      no error, differs from eager, silent error
"""

# %%
# Eight models that export without a word
# +++++++++++++++++++++++++++++++++++++++
#
# Each of these models does something in Python that an exported program cannot do. Read
# them as a list of what to look for in a model of your own. The first four depend on
# something that is neither an input nor a parameter.

# sphinx_gallery_tags = ["wrong results", "wrong without an error", "turns static"]
# sphinx_gallery_wording = "exported model gives different results"
# sphinx_gallery_wording = "output mismatch between eager and exported program"
# sphinx_gallery_wording = "exported program returns wrong values without any error"

import copy
import random

import torch

SETTINGS = {"scale": 1.0}


class Mode(torch.nn.Module):
    """Exported in train mode: the usual ``eval()`` is missing."""

    def forward(self, x, mask):
        return torch.nn.functional.dropout(x, 0.5, self.training)


class Noise(torch.nn.Module):
    """A random number that does not come from torch."""

    def forward(self, x, mask):
        return x * random.random()


class Setting(torch.nn.Module):
    """A global value that changes after the export."""

    def forward(self, x, mask):
        return x * SETTINGS["scale"]


class Counter(torch.nn.Module):
    """A number that Python counts up."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x, mask):
        self.calls += 1
        return x * self.calls


# %%
# The other four: an object that keeps a tensor, an input that is not there at the
# export, a loop over a dimension, and a dtype that is read from an input.


class Positions:
    table = None


class Memory(torch.nn.Module):
    """A table that is computed on the first call and kept."""

    def __init__(self):
        super().__init__()
        self.kept = Positions()

    def forward(self, x, mask):
        if self.kept.table is None:
            self.kept.table = torch.arange(x.shape[1]).cos()
        return x + self.kept.table


class Mask(torch.nn.Module):
    """An optional input, which was None at the export."""

    def forward(self, x, mask):
        return x if mask is None else x * mask


class Rows(torch.nn.Module):
    """A loop over the rows."""

    def forward(self, x, mask):
        return torch.stack([row.sin() for row in x])


class Cast(torch.nn.Module):
    """A result in the dtype of the input."""

    def forward(self, x, mask):
        return torch.ones(3).to(x.dtype) / 3 * x.sum().float()


FAULTY = [Mode, Noise, Setting, Counter, Memory, Mask, Rows, Cast]

# %%
# The usual test
# ++++++++++++++
#
# Export, then compare program and model on the example inputs. Seeds are set before
# each call, as tests do. Every model passes.


def seeded(call, inputs, seed=0):
    random.seed(seed)
    torch.manual_seed(seed)
    return call(*inputs)


def export(model, example, shapes):
    random.seed(0)
    return torch.export.export(model, example, dynamic_shapes=shapes, strict=False)


torch.manual_seed(0)
example = (torch.rand(4, 3), None)
shapes = {"x": {0: torch.export.Dim.AUTO}, "mask": None}
for faulty in FAULTY:
    exported = export(faulty(), example, shapes).module()
    torch.testing.assert_close(seeded(exported, example), seeded(faulty(), example))
    print(f"{faulty.__name__:8} same result as the model")

# %%
# The procedure
# +++++++++++++
#
# ``compare`` gives program and model copies of the same inputs. It compares the
# results, and what became of the inputs. ``assert_close`` looks at values, shape,
# dtype, device and structure. The message begins with the name of the step.


def compare(step, exported, model, inputs, seed=0):
    given, kept = copy.deepcopy(inputs), copy.deepcopy(inputs)
    got, expected = seeded(exported, given, seed), seeded(model, kept, seed)
    assert type(got) is type(expected), f"{step}: a {type(got).__name__}"
    torch.testing.assert_close(
        (got, given), (expected, kept), msg=lambda why: f"{step}: {why}"
    )
    assert got.requires_grad == expected.requires_grad, f"{step}: requires_grad"


# %%
# ``check`` does one step after the other. The reference is a copy of the model that is
# never exported. ``others`` are inputs that differ from the example in one respect
# each. ``change`` is a function that changes what the model reads besides its inputs;
# ``dict`` stands for one that changes nothing. Before the model is run again it gets
# its buffers back: the program shares them, and its calls have changed them.


def check(model, example, shapes, others, change=dict):
    untouched, reference = copy.deepcopy(model), copy.deepcopy(model)
    exported = export(model, example, shapes).module()
    compare("the example", exported, reference, example)
    compare("the example again", exported, reference, example)
    compare("another seed", exported, reference, example, seed=1)
    for name, inputs in others.items():
        compare(name, exported, reference, inputs)
    compare("eval mode", exported, reference.eval(), example)
    change()
    compare("a changed setting", exported, reference, example)
    model.load_state_dict(untouched.state_dict())
    compare("the model afterwards", model, untouched, example)


# %%
# What ``others`` has depends on the model: at least one other size of each dynamic
# dimension, other values, another dtype, and each optional input both absent and there.


def make_others():
    torch.manual_seed(1)
    return {
        "other values": (torch.rand(4, 3) - 5, None),
        "one row": (torch.rand(1, 3), None),
        "more rows": (torch.rand(7, 3), None),
        "another dtype": (torch.rand(4, 3, dtype=torch.float64), None),
        "with a mask": (torch.rand(4, 3), torch.tensor([1.0, 0.0, 1.0])),
    }


def double():
    SETTINGS["scale"] = 2.0


# %%
# The procedure finds all eight, each in another step. A program that refuses an input
# is a finding, too: an ``AssertionError`` since 2.9, a ``RuntimeError`` before. The
# first line of each message is enough to know where to look.

found = {}
for faulty in FAULTY:
    try:
        check(faulty(), example, shapes, make_others(), double)
    except (AssertionError, RuntimeError) as error:
        found[faulty.__name__] = str(error).strip().splitlines()[0]
    SETTINGS["scale"] = 1.0
    print(f"{faulty.__name__:8} {found.get(faulty.__name__)}")
assert list(found) == [faulty.__name__ for faulty in FAULTY]

# %%
# Four things to know when you read such a list:
#
# * ``Rows`` was exported with ``Dim.AUTO``, which lets a dimension turn static without
#   a word: :ref:`l-plot-exporter-shapes-auto-dynamic-static`.
# * ``Cast`` is refused by the program since 2.8. With 2.6 and 2.7 it returns the dtype
#   of the example.
# * ``Memory`` is a right program, and a broken model: the trace left a fake tensor in
#   it, see :ref:`l-plot-exporter-wrong-leaked`.
# * ``Noise`` passes as long as the seed is the one of the export.

assert found["Memory"] == "the model afterwards: a FakeTensor"
assert found["Mode"].startswith("eval mode")
assert found["Noise"].startswith("another seed")
assert found["Setting"].startswith("a changed setting")
assert found["Counter"].startswith("the example again")
assert found["Mask"].startswith("with a mask")

# %%
# The fix: give the program what it needs
# +++++++++++++++++++++++++++++++++++++++
#
# The model below does what the eight wanted. What changes from call to call is an input
# or a buffer, randomness comes from torch, the loop is an operator, and the mask is
# always there.


class Sound(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = torch.nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x, mask, scale):
        self.calls.add_(1)
        noise = torch.rand_like(x)
        return self.dropout(x).sin() * mask * scale * self.calls + noise


# %%
# The check
# +++++++++
#
# It passes every step, on sizes that were not traced, among them the smallest. The
# price is in the signature: mask and scale have to be given on each call. The dimension
# has a name, so that a specialisation would have been an error.

batch = torch.export.Dim("batch")
shapes = {"x": {0: batch}, "mask": None, "scale": None}
example = (torch.rand(4, 3), torch.ones(3), torch.tensor(1.0))
others = {
    "other values": (torch.rand(4, 3) - 5, torch.ones(3), torch.tensor(1.0)),
    "one row": (torch.rand(1, 3), torch.ones(3), torch.tensor(1.0)),
    "more rows": (torch.rand(7, 3), torch.ones(3), torch.tensor(1.0)),
    "many rows": (torch.rand(500, 3), torch.ones(3), torch.tensor(1.0)),
    "another mask": (torch.rand(4, 3), torch.zeros(3), torch.tensor(1.0)),
    "another scale": (torch.rand(4, 3), torch.ones(3), torch.tensor(2.0)),
}
model = Sound().eval()
check(model, example, shapes, others)
print("passed:", ", ".join(others))

# %%
# What was not asked for is refused: the second dimension stayed as it was in the
# example.

exported = export(model, example, shapes).module()
try:
    exported(torch.rand(4, 5), torch.ones(5), torch.tensor(1.0))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program with five columns."
print(message)
assert "size()[1] == 3" in message or "to be equal to 3" in message, message

# %%
# What the procedure does not see
# +++++++++++++++++++++++++++++++
#
# A value that the model reads from outside and that nobody changes between two calls
# stays unseen: the time of day, an environment variable, a file. Read ``forward`` for
# these. An input that no node uses can be listed without a call, and so can tensors
# that became constants of the program.


class Frozen(torch.nn.Module):
    def forward(self, x, mask):
        return x + OFFSET


OFFSET = torch.ones(3)


def unused(program):
    names = program.graph_signature.user_inputs
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    return [node.name for node in nodes if node.name in names and not node.users]


program = export(Frozen(), (torch.rand(4, 3), torch.ones(3)), None)
print("unused inputs:", unused(program), "constants:", len(program.constants))
assert unused(program) == ["mask"] and len(program.constants) == 1
program = export(Sound().eval(), example, shapes)
print("unused inputs:", unused(program), "constants:", len(program.constants))
assert unused(program) == [] and not program.constants

# %%
# To remember
# +++++++++++
#
# * Compare with a copy of the model that was never exported, on inputs that differ from
#   the example in one respect each.
# * Call twice, change the seed, switch to eval mode, change what is read from outside.
# * Run the model again after the export: it may be the model that is broken.
# * Put ``check`` into the test of your project, next to the export.
#
# Next, by what you found: :ref:`l-plot-exporter-wrong-train-eval`,
# :ref:`l-plot-exporter-wrong-constants`, :ref:`l-plot-exporter-wrong-state`,
# :ref:`l-plot-exporter-wrong-inputs`, :ref:`l-plot-exporter-wrong-leaked`,
# :ref:`l-plot-exporter-wrong-gradients`.
