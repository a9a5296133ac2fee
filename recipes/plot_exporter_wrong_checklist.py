"""
.. _l-plot-exporter-wrong-checklist:

Check an exported program before you trust it
=============================================

.. answer::
   :cost: A dozen calls of model and program, in a test.

   A program that ignores an input, forgets its state, or repeats one random number still
   returns the right result for the example. Compare it with an untouched copy of the
   model on inputs that differ from the example in one respect each.

   .. code-block:: diff

      -    torch.testing.assert_close(exported(*args, **kwargs), model(*args, **kwargs))
      +reference = copy.deepcopy(model)
       program = torch.export.export(model, *example, dynamic_shapes=shapes)
      +check(program, model, reference, example, others)

   Not your case?

   * They differ, and you look for the layer: :ref:`l-plot-exporter-after-compare`.
   * The program will be trained: :ref:`l-plot-exporter-wrong-gradients`.

.. meta::
   :keywords: verify exported program, validate export, output mismatch, wrong result,
      no error, differs from eager, silent error, compare exported program with eager
"""

# %%
# The problem
# +++++++++++
#
# Eight models, each with one fault that the export does not report. What they keep
# between two calls is in ``Base``.

# sphinx_gallery_tags = ["wrong results", "wrong without an error", "turns static"]
# sphinx_gallery_wording = "exported model gives different results"
# sphinx_gallery_wording = "output mismatch between eager and exported program"
# sphinx_gallery_wording = "exported program returns wrong values without any error"

import copy
import random
import types

import torch
from torch.utils import _pytree as pytree

SETTINGS = {"dtype": torch.float32}


class Base(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0
        self.cache = types.SimpleNamespace(table=None)
        self.register_buffer("seen", torch.zeros(()))


class Rows(Base):
    def forward(self, x, mask, kept):
        return torch.stack([row.sin() for row in x])


class Mask(Base):
    def forward(self, x, mask, kept):
        return (x + 1,) if mask is None else (x + 1, x * mask)


class Fills(Base):
    def forward(self, x, mask, kept):
        kept["last"] = 2 * x
        return x + 1


class Counter(Base):
    def forward(self, x, mask, kept):
        self.calls += 1
        return x + 1, self.calls


class Noise(Base):
    def forward(self, x, mask, kept):
        return x * random.random()


class Statistics(Base):
    def forward(self, x, mask, kept):
        if self.training:
            self.seen.add_(x.shape[0])
        return x + 1


class Setting(Base):
    def forward(self, x, mask, kept):
        return (x + 1).to(SETTINGS["dtype"])


class Table(Base):
    def forward(self, x, mask, kept):
        if self.cache.table is None:
            self.cache.table = torch.arange(3).cos()
        return x + self.cache.table


# %%
# The usual test compares program and model on the example. All of them pass.

FAULTY = [Rows, Mask, Fills, Counter, Noise, Statistics, Setting, Table]
AUTO = {"x": {0: torch.export.Dim.AUTO}, "mask": None, "kept": {"last": None}}


def make_example(rows, mask=None):
    return (torch.rand(rows, 3),), {"mask": mask, "kept": {"last": torch.zeros(3)}}


def export(model):
    random.seed(0)
    args, kwargs = make_example(4)
    return torch.export.export(model, args, kwargs, dynamic_shapes=AUTO, strict=False)


for faulty in FAULTY:
    exported, model = export(faulty()).module(), faulty()
    args, kwargs = make_example(4)
    random.seed(0)
    torch.testing.assert_close(exported(*args, **kwargs), model(*args, **kwargs))
    print(f"{faulty.__name__}: same result")

# %%
# The fix
# +++++++
#
# ``check`` compares outputs, inputs after the call, and buffers. Each step changes one
# thing; ``change`` is a function that changes what the model reads from outside.


def run(call, args, kwargs, seed):
    args, kwargs = copy.deepcopy((args, kwargs))
    random.seed(seed)
    torch.manual_seed(seed)
    tree = {"output": call(*args, **kwargs), "input": (args, kwargs)}
    tree["buffer"] = dict(call.named_buffers())
    leaves, _ = pytree.tree_flatten_with_path(tree)
    return {pytree.keystr(path): leaf for path, leaf in leaves}


def compare(step, exported, model, inputs, seed=0):
    expected = run(model, *inputs, seed)
    try:
        found = run(exported, *inputs, seed)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise AssertionError(f"{step}: {error}") from error
    extra = sorted(found.keys() ^ expected.keys())
    assert not extra, f"{step}: only program or only model has {extra}"
    for name, value in expected.items():
        got, where = found[name], f"{step}: {name} is "
        assert type(got) is type(value), where + type(got).__name__
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(got, value, msg=(where + "different: {}").format)
        else:
            assert got == value, where + f"{got}, expected {value}"


def check(program, model, reference, example, others, change=None):
    exported = program.module()
    compare("example", exported, reference, example)
    compare("second call", exported, reference, example)
    compare("another seed", exported, reference, example, seed=1)
    for name, inputs in others.items():
        compare(name, exported, reference, inputs)
    compare("eval mode", exported, reference.eval(), example)
    if change is not None:
        change()
        compare("changed setting", exported, reference, example)
    compare("model afterwards", model, reference, example)


class Sound(Base):
    def forward(self, x, limits):
        self.seen.add_(x.shape[0])
        x.add_(torch.rand_like(x))
        return x.clamp(*limits), {"rows": self.seen.clone()}


def make_inputs(rows, high=0.5):
    limits = torch.tensor(-0.5), torch.tensor(high)
    return (torch.randn(rows, 3),), {"limits": limits}


example = make_inputs(4)
others = {"one": make_inputs(1), "many": make_inputs(500), "limit": make_inputs(4, 0.0)}
shapes = {"x": {0: torch.export.Dim("batch")}, "limits": (None, None)}
model = Sound().eval()
reference = copy.deepcopy(model)
program = torch.export.export(model, *example, dynamic_shapes=shapes, strict=False)
check(program, model, reference, example, others)

# %%
# Why it happens
# ++++++++++++++
#
# A trace records operators on tensors. What Python does between them happens once, at
# the export. A different step finds each of the eight:
#
# .. list-table::
#    :header-rows: 1
#
#    * - Model
#      - What the export fixes
#      - What to do
#    * - ``Rows``
#      - the length of a loop, because ``Dim.AUTO`` permits it
#      - :ref:`l-plot-exporter-shapes-auto-dynamic-static`
#    * - ``Mask``
#      - that there is no mask
#      - :ref:`l-plot-exporter-inputs-optional`
#    * - ``Fills``
#      - nothing is written to the caller's dictionary
#      - :ref:`l-plot-exporter-wrong-inputs`
#    * - ``Counter``
#      - a number that Python counts
#      - :ref:`l-plot-exporter-wrong-state`
#    * - ``Noise``, ``Setting``
#      - a random number from Python, a global
#      - :ref:`l-plot-exporter-wrong-constants`
#    * - ``Statistics``
#      - train mode
#      - :ref:`l-plot-exporter-wrong-train-eval`
#    * - ``Table``
#      - nothing: the program is right, and the trace broke the model
#      - :ref:`l-plot-exporter-wrong-leaked`


def change():
    SETTINGS["dtype"] = torch.float64


faults = {"more rows": make_example(7), "mask": make_example(4, torch.ones(3))}
found = {}
for faulty in FAULTY:
    model, reference, SETTINGS["dtype"] = faulty(), faulty(), torch.float32
    exported = export(model)
    try:
        check(exported, model, reference, make_example(4), faults, change)
    except AssertionError as error:
        found[faulty] = str(error)
        print(f"{faulty.__name__}: {str(error).splitlines()[0]}")
steps = ["more rows", "mask", "example", "second call", "another seed"]
steps += ["eval mode", "changed setting", "model afterwards"]
assert [message.split(":")[0] for message in found.values()] == steps

# %%
# Check
# +++++
#
# The program of ``Sound`` has passed all steps. Here its result is written out, and the
# dimension that is not dynamic is tried.

exported = program.module()
for size in (1, 2, 7, 500):
    (x,), limits = make_inputs(size, 0.2)
    rows = exported.seen + size
    torch.manual_seed(size)
    expected = (x + torch.rand(size, 3)).clamp(-0.5, 0.2)
    torch.manual_seed(size)
    torch.testing.assert_close(exported(x, **limits), (expected, {"rows": rows}))
try:
    exported(torch.rand(4, 5), **limits)
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# * ``check`` tries what you give it: at least two sizes of each dynamic dimension, other
#   values, and each optional input both absent and present.
# * A value from outside that nobody changes, such as a file or the time of day, stays
#   unnoticed. Strict mode reports some: :ref:`l-plot-exporter-wrong-constants`.
# * For a program that is exported in train mode, leave out *eval mode*.
#
# Summary
# +++++++
#
# * Compare with a copy that was never exported: twice, with another seed, at other
#   sizes, in eval mode.
# * Call the model again after the export: it may be the model that is broken.
# * If a step fails and the cause is not in the table, find the first node that differs:
#   :ref:`l-plot-exporter-after-compare`.
