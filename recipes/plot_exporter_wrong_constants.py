"""
.. _l-plot-exporter-wrong-constants:

Random numbers, times and settings are frozen by the export
===========================================================

.. answer::
   :cost: A longer signature. Nothing at run time.

   A number that Python computes in ``forward`` reaches an operator as a number, and stays
   what it was during the export. Random numbers of torch are operators, and are drawn at
   each call. Whatever else changes has to be an input: a tensor.

   .. code-block:: diff

      -    def forward(self, x):
      -        noise = random.random()
      -        return (x + noise) * SETTINGS["scale"]
      +    def forward(self, x, scale):
      +        noise = torch.rand(())
      +        return (x + noise) * scale

   Not your case?

   * The input is there, as a number: :ref:`l-plot-exporter-inputs-python-scalars`.
   * The model counts or remembers: :ref:`l-plot-exporter-wrong-state`.
   * Dropout, or ``self.training``: :ref:`l-plot-exporter-wrong-train-eval`.

.. meta::
   :keywords: random number frozen, same random value every call, time.time, global
      variable, numpy random, os.environ, torch.manual_seed, constant folded,
      Attempted to call function marked as skipped
"""

# %%
# The problem
# +++++++++++
#
# Random noise, and a scale that is changed between two calls. The program follows
# neither.

# sphinx_gallery_tags = ["wrong results", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "exported program returns the same random number every time"
# sphinx_gallery_wording = "changing a global variable has no effect on the program"
# sphinx_gallery_wording = "assume_constant_result returns the value of the example input"
# sphinx_gallery_wording = "attribute set on an input tensor is ignored by the exported program"

import random

import torch

SETTINGS = {"scale": 1.0}


class Frozen(torch.nn.Module):
    def forward(self, x):
        noise = random.random()
        return (x + noise) * SETTINGS["scale"]


x = torch.ones(1, 3)
random.seed(0)
frozen = torch.export.export(Frozen(), (x,), strict=False)
exported = frozen.module()
first = exported(x)
for scale in (1.0, 10.0):
    SETTINGS["scale"] = scale
    print("eager:  ", Frozen()(x))
    print("program:", exported(x))
    assert torch.equal(exported(x), first)

# %%
# Strict mode raises for a random number, and for a clock. It freezes the scale, too.

random.seed(0)
try:
    torch.export.export(Frozen(), (x,), strict=True)
except (AssertionError, torch._dynamo.exc.Unsupported) as error:
    print(error)

# %%
# The fix
# +++++++


class Sampler(torch.nn.Module):
    def forward(self, x, scale):
        noise = torch.rand(())
        return (x + noise) * scale


shapes = ({0: torch.export.Dim("batch")}, None)
program = torch.export.export(
    Sampler(),
    (torch.ones(4, 3), torch.tensor(1.0)),
    dynamic_shapes=shapes,
    strict=False,
)

# %%
# Why it happens
# ++++++++++++++
#
# A trace records operators on tensors and their arguments. Where a number came from is
# not recorded. ``rand`` is an operator:

for some in (frozen, program):
    for node in some.graph.nodes:
        if node.op == "call_function":
            print(node.target, node.args)
    print()
targets = [node.target for node in program.graph.nodes]
assert torch.ops.aten.rand.default in targets

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - In ``forward``
#      - In the program
#      - Write instead
#    * - ``random.random()``, ``np.random.rand()``
#      - frozen; strict mode raises
#      - ``torch.rand(())``
#    * - ``np.random.rand(n)``
#      - frozen; drawn again in strict mode
#      - ``torch.rand(n)``
#    * - ``time.time()``
#      - frozen; strict mode raises
#      - an input: ``torch.tensor(time.time(), dtype=torch.float64)``
#    * - ``torch.manual_seed(0)``
#      - dropped: the program draws different numbers; strict mode raises
#      - call it before the program
#    * - ``SETTINGS["scale"]``, ``os.environ``, a number of the module
#      - frozen
#      - an input, or a buffer
#    * - a global tensor
#      - shared until the program is saved; a new tensor of that name is not seen
#      - an input, or a buffer
#    * - ``x.scale``, an attribute of a tensor
#      - lost, also for the example; frozen in strict mode
#      - an input
#    * - ``@torch._dynamo.assume_constant_result``
#      - frozen in strict mode; traced otherwise
#      - an input
#    * - ``type(self.rule).apply(x)``
#      - the class of the export
#      - one program for each class
#
# The last three in one model; eager mode gives 210.


class Add1:
    @classmethod
    def apply(cls, x):
        return x + 1


class Add10(Add1):
    @classmethod
    def apply(cls, x):
        return x + 10


class Reads(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rule = Add1()

    @torch._dynamo.assume_constant_result
    def factor(self, n):
        return n.item()

    def forward(self, x, n):
        scale = getattr(x, "scale", 1.0)
        return type(self.rule).apply(x) * scale * self.factor(n)


model, example, later = Reads(), torch.zeros(1), torch.zeros(1)
example.scale, later.scale = 5.0, 7.0
reads = [
    torch.export.export(model, (example, torch.tensor(2)), strict=strict).module()
    for strict in (False, True)
]
model.rule = Add10()
assert model(later, torch.tensor(3)).item() == 10 * 7 * 3
for strict, call in zip((False, True), reads):
    print(f"strict={strict}: {call(later, torch.tensor(3)).item():g}")

# %%
# A buffer suits a setting that changes seldom. No call can override it.


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor(1.0))

    def forward(self, x):
        return x * self.scale


scaled = torch.export.export(Scaled(), (x,), strict=False).module()
scaled.load_state_dict({"scale": torch.tensor(3.0)})

# %%
# Check
# +++++
#
# The reference is written out, with the same seed. Two calls give two results.

torch.testing.assert_close(scaled(x), 3.0 * x)
exported = program.module()
for size, scale in [(1, 0.5), (2, 2.0), (30, -1.0)]:
    rows = torch.randn(size, 3)
    torch.manual_seed(size)
    expected = (rows + torch.rand(())) * scale
    torch.manual_seed(size)
    torch.testing.assert_close(exported(rows, torch.tensor(scale)), expected)
    again = exported(rows, torch.tensor(scale))
    assert not torch.equal(again, expected)
try:
    exported(torch.rand(4, 5), torch.tensor(1.0))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * What Python computes is a constant. What changes is a tensor input or a buffer;
#   random numbers come from torch.
# * Export once in strict mode to find what a model reads from outside, except globals.
# * To find such values without reading the model:
#   :ref:`l-plot-exporter-wrong-checklist`. Tensors that are made on a fixed device:
#   :ref:`l-plot-exporter-effects-devices`.
