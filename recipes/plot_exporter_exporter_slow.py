"""
.. _l-plot-exporter-exporter-slow:

Export a model that takes minutes or does not fit into memory
=============================================================

.. answer::
   :cost: The loop becomes one operation; the weights are filled in afterwards.

   A Python loop adds its operators once per step, and each takes time. The memory is
   that of the weights, whose values the exporter does not need. Fill them in before you
   save: fake weights load as 0, silently.

   .. code-block:: diff

      -        for step in range(x.shape[1]):
      -            level = 0.9 * level + x[:, step]
      -        return level
      +        return torch.einsum("bsd,s->bd", x, 0.9**age)
      +with FakeTensorMode():
      +    model = Sum()
      +fill(program, weights)

   Not your case?

   * Each step needs the result of the one before: :ref:`l-plot-exporter-control-scan`.
   * Compiling or running is slow: :ref:`l-plot-exporter-after-aotinductor`.

.. meta::
   :keywords: torch.export slow, export hangs, export takes hours, export never finishes,
      unrolled loop, large graph, many nodes, strict mode slow, run_decompositions slow,
      compile time, out of memory export, OOM, killed, meta device, FakeTensorMode,
      fake weights, init_empty_weights, load weights after export, mmap
"""

# %%
# The problem
# +++++++++++
#
# A moving sum. Twice as many steps are twice as many nodes.

# sphinx_gallery_tags = ["start here", "how to", "turns static", "wrong without an error"]
# sphinx_gallery_wording = "torch.export.export is very slow"
# sphinx_gallery_wording = "torch.export hangs and never finishes"
# sphinx_gallery_wording = "torch.onnx.export takes too long"
# sphinx_gallery_wording = "torch.export takes a long time for a model with many repeated layers"
# sphinx_gallery_wording = "torch.export out of memory"
# sphinx_gallery_wording = "torch.export.export killed, the model does not fit into RAM"
# sphinx_gallery_wording = "load real weights into a program exported with FakeTensorMode"
# sphinx_gallery_wording = "all weights are zero after torch.export.load"
# sphinx_gallery_wording = "WeightsUnpickler error: Unsupported global: GLOBAL torch._export.serde.serialize._reconstruct_fake_tensor was not an allowed global by default"

import cProfile
import io
import pstats
from collections import Counter

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode


class Loop(torch.nn.Module):
    def __init__(self, size=8):
        super().__init__()
        self.linear = torch.nn.Linear(size, size)
        self.register_buffer("scale", torch.arange(float(size)), persistent=False)

    def forward(self, x):
        x = self.linear(x) * self.scale
        level = torch.zeros_like(x[:, 0])
        for step in range(x.shape[1]):
            level = 0.9 * level + x[:, step]
        return level


torch.manual_seed(0)
trained = Loop()
for steps in (10, 20, 40):
    x = torch.rand(4, steps, 8)
    unrolled = torch.export.export(trained, (x,), strict=False)
    print(f"{steps} steps: {len(unrolled.graph.nodes)} nodes")

# %%
# Count the nodes of each line for a short example. In a running export,
# ``faulthandler.dump_traceback_later(60)`` prints the line after a minute.


def lines(program):
    for node in program.graph.nodes:
        trace = (node.stack_trace or "").splitlines()
        code = [line.strip() for line in trace if set(line) - set(" ~^")]
        yield code[-1] if code else "no line"


for line, count in Counter(lines(unrolled)).most_common(1):
    print(f"{count} nodes: {line}")

# %%
# A model made under ``FakeTensorMode`` needs no memory for its weights. Saved as it is,
# the program is silently wrong: all weights are 0 (PyTorch 2.6 and 2.7: fake).

with FakeTensorMode():
    fake = Loop()
file = io.BytesIO()
torch.export.save(torch.export.export(fake, (x,), strict=False), file)
file.seek(0)
for name, tensor in torch.export.load(file).state_dict.items():
    if not isinstance(tensor, FakeTensor):
        print(name, "is 0:", not tensor.any())

# %%
# The fix
# +++++++
#
# The number of steps may be dynamic now. ``fill`` takes the checkpoint, and what is not
# in it, such as ``scale``.


class Sum(Loop):
    def forward(self, x):
        x = self.linear(x) * self.scale
        age = torch.arange(x.shape[1], device=x.device).flip(0)
        return torch.einsum("bsd,s->bd", x, 0.9**age)


def fill(program, weights):
    for tensors in (program.state_dict, program.constants):
        for name, fake in tensors.items():
            if isinstance(fake, FakeTensor):
                real = weights[name]
                assert (real.shape, real.dtype) == (fake.shape, fake.dtype), name
                if isinstance(fake, torch.nn.Parameter):
                    real = torch.nn.Parameter(real, fake.requires_grad)
                tensors[name] = real


with FakeTensorMode():
    model = Sum()
batch, steps = torch.export.Dim("batch"), torch.export.Dim("steps", min=2)
# sphinx_gallery_picture = "The same nodes for any number of steps."
program = torch.export.export(
    model, (x,), dynamic_shapes=({0: batch, 1: steps},), strict=False
)
weights = {**trained.state_dict(), "scale": torch.arange(8.0)}
fill(program, weights)
print(len(program.graph.nodes), "nodes")

# %%
# Why it happens
# ++++++++++++++
#
# Each operator runs once, in Python, on `tensors without values
# <https://docs.pytorch.org/docs/2.13/torch.compiler_fake_tensor.html>`_. Four million
# rows make no difference. Counted in calls of Python functions:


def calls(model, x, strict=False):
    profile = cProfile.Profile()
    profile.runcall(torch.export.export, model, (x,), strict=strict)
    return pstats.Stats(profile).total_calls


with torch.device("meta"):
    rows, meta = torch.empty(4_000_000, 10, 8), Loop()
calls(meta, rows)  # the first export also fills caches
few, many = calls(trained, torch.rand(4, 10, 8)), calls(trained, x)
assert many > 2 * few
assert many > 2 * calls(meta, rows)
assert calls(trained, x, strict=True) > 1.2 * many

# %%
# Fake weights take no memory:

with FakeTensorMode():
    large = Sum(200_000)
large = torch.export.export(large, (torch.rand(1, 3, 200_000),), strict=False)
print(sum(tensor.nbytes for tensor in large.state_dict.values()) // 10**9, "GB")

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - What takes time or memory
#      - Do this instead
#      - Cost
#    * - ``strict=True``, which takes longer
#      - ``strict=False``
#      - other errors: :ref:`l-plot-exporter-exporter-strict`
#    * - a loop over steps, rows or experts
#      - :ref:`l-plot-exporter-control-scan`, :ref:`l-plot-exporter-control-map`,
#        :ref:`l-plot-exporter-data-experts`
#      - rules for the body
#    * - many equal layers (`issue 160199
#        <https://github.com/pytorch/pytorch/issues/160199>`_)
#      - export one, call it with the weights of each, as below
#      - the loop is in the application
#    * - ``torch.onnx.export(model, ...)``, which tries again after a failure
#      - ``torch.export.export`` first, then ``torch.onnx.export(program)``
#      - none
#    * - a large checkpoint
#      - ``torch.load(path, mmap=True)``
#      - slower reading
#    * - a model on the device ``meta``, which gets into the program
#      - ``FakeTensorMode``
#      - none

layers = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(12))
one = torch.export.export(
    layers[0], (torch.rand(4, 3),), dynamic_shapes=({0: batch},), strict=False
).module()


def stack(x):
    for layer in layers:
        x = torch.func.functional_call(one, dict(layer.named_parameters()), (x,))
    return x


# %%
# Check
# +++++
#
# The references are the loops with the trained weights, at other sizes.

file = io.BytesIO()
torch.export.save(program, file)
file.seek(0)
for run in (program.module(), torch.export.load(file).module()):
    for rows, steps in ((1, 2), (5, 7), (3, 300)):
        x = torch.randn(rows, steps, 8)
        torch.testing.assert_close(run(x), trained(x))
for rows in (1, 2, 9):
    x = expected = torch.randn(rows, 3)
    for layer in layers:
        expected = layer(expected)
    torch.testing.assert_close(stack(x), expected)

# %%
# The unrolled program accepts 40 steps only. A checkpoint has no buffers with
# ``persistent=False``, and ``fill`` must say so.

try:
    unrolled.module()(torch.rand(4, 41, 8))
except (AssertionError, RuntimeError) as error:
    print(error)
program = torch.export.export(model, (torch.rand(4, 3, 8),), strict=False)
try:
    fill(program, trained.state_dict())
except KeyError as error:
    print("missing:", error)

# %%
# Summary
# +++++++
#
# * Slow: count the nodes by line, and look for loops (`one took days
#   <https://github.com/pytorch/pytorch/issues/96619>`_).
# * Too large: fake weights, filled in before the program is called or saved.
#
# Next: :ref:`l-plot-exporter-after-move` for devices and other weights,
# :ref:`l-plot-exporter-after-several-programs` for programs that share weights.
