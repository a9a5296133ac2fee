"""
.. _l-plot-exporter-wrong-gradients-inside:

Export a model whose forward computes gradients
===============================================

.. answer::
   :cost: A second trace, and no guards on sizes from it.

   The exporter loses gradients that ``forward`` computes: forces, scores, Jacobians.
   Without parameters ``torch.func.grad`` fails silently: the program returns a
   ``FakeTensor``. Trace the model with ``make_fx``, and export the trace.

   .. code-block:: diff

      +class Traced(torch.nn.Module):
      +    def __init__(self, model, *inputs):
      +        def call(state, *inputs):
      +            return functional_call(model, state, inputs)
      +        trace = make_fx(call, tracing_mode="symbolic")
      +        self.trace = trace(self.state(), *inputs)
      +model = Traced(model, x)
       program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)

   Not your case?

   * You train the program: :ref:`l-plot-exporter-wrong-gradients`.
   * ``forward`` computes no gradient: :ref:`l-plot-exporter-wrong-leaked`.

.. meta::
   :keywords: torch.func.grad, torch.autograd.grad in forward, jacrev, vjp, jvp,
      hessian, forces, energy model, score function, physics-informed, PINN,
      FakeTensor returned by the exported program, lifted_tensor_0, make_fx,
      functional_call
"""

# %%
# The problem
# +++++++++++
#
# A force is minus the gradient of an energy. This energy has no parameters: it exports,
# and the program returns a tensor without values. (PyTorch 2.9 raises an
# ``AssertionError`` without text.)

# sphinx_gallery_tags = ["wrong results", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "exported program returns a FakeTensor"
# sphinx_gallery_wording = "torch.autograd.grad in forward does not export"
# sphinx_gallery_wording = "in _free_unbacked_symbols_with_path assert isinstance(a, FakeTensor) AssertionError"
# sphinx_gallery_wording = "'Tensor' object has no attribute 'constant'"

import io
import re

import torch
from torch.func import functional_call, grad, jacrev
from torch.fx.experimental.proxy_tensor import make_fx


class Wave(torch.nn.Module):
    def forward(self, x):
        return (x.sin() * x).sum()


class Force(torch.nn.Module):
    def __init__(self, energy):
        super().__init__()
        self.energy = energy

    def forward(self, x):
        return -grad(self.energy)(x)


torch.manual_seed(0)
x = torch.randn(3, 4)
dynamic = ({0: torch.export.Dim("batch")},)
model = Force(Wave())
try:
    program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
    print(type(program.module()(x)))
    torch.export.save(program, io.BytesIO())
except (AssertionError, NotImplementedError, RuntimeError) as error:
    print(f"{type(error).__name__}: {error}")

# %%
# With a network as energy, the export fails, with ``torch.autograd.grad`` in a
# different way.


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(4, 8), torch.nn.Linear(8, 1)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x))).sum()


class AutogradForce(Force):
    def forward(self, x):
        x = x.detach().requires_grad_()
        return -torch.autograd.grad(self.energy(x), x, create_graph=True)[0]


network = Network()
for model in (Force(network), AutogradForce(network)):
    try:
        program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)
        print(type(program.module()(x)))
    except (AssertionError, RuntimeError) as error:
        text = str(error).split("Developer debug context")[0].rstrip()
        print(f"{type(error).__name__}:", re.sub(r"\(\d+\)|0x\w+", "...", text))

# %%
# The fix
# +++++++
#
# ``Traced`` works for tensors as inputs; give ``forward`` their names.
# Parameters and buffers are inputs of the trace, and stay what they are in the program.


class Traced(torch.nn.Module):
    def __init__(self, model, *inputs):
        super().__init__()
        self.model = model

        def call(state, *inputs):
            return functional_call(model, state, inputs)

        trace = make_fx(call, tracing_mode="symbolic")
        self.trace = trace(self.state(), *inputs)

    def state(self):
        parameters, buffers = self.model.named_parameters(), self.model.named_buffers()
        return {**dict(parameters), **dict(buffers)}

    def forward(self, x):
        return self.trace(self.state(), x)


model = Force(network)
model = Traced(model, x)
program = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# The exporter records operators `before autograd takes them apart
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_trace.py#L1919>`_. The
# tensors inside ``grad``, and those that autograd has saved, are new objects there: the
# tracer takes them for constants, and during an export their values are fake (`issue
# 146719 <https://github.com/pytorch/pytorch/issues/146719>`_). ``make_fx`` records
# after autograd, unless it is told to do as the exporter does:

model = Force(Wave())
for pre_dispatch in (True, False):
    trace = make_fx(model, tracing_mode="symbolic", pre_dispatch=pre_dispatch)(x)
    constants = [node.name for node in trace.graph.nodes if node.op == "get_attr"]
    assert bool(constants) is pre_dispatch

# %%
# ``torch.autograd.grad`` is right where the derivative uses inputs only, as that of
# ``x.square()``, and wrong where it uses a result, as that of ``tanh``.
#
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your case
#      - Write
#      - Cost
#    * - the derivative is a short formula
#      - the formula: ``-(x.cos() * x + x.sin())``
#      - two places to change
#    * - ``torch.func.vjp``, ``jacrev``, ``vmap(grad(...))``, ``backward()``
#      - ``Traced``, as above
#      - the same
#    * - ``torch.func.hessian``, ``jacfwd``: ``constant (3)``
#      - ``jacrev(grad(energy))``, and ``Traced``
#      - slower for many inputs
#    * - ``torch.func.jvp``
#      - nothing; static sizes only
#      - none
#    * - strict mode, with ``trace_autograd_ops=True``
#      - do not: the result is a ``FakeTensor``
#      - \


class Curvature(Force):
    def forward(self, x):
        return jacrev(grad(self.energy))(x)


others = [Force(Wave()), AutogradForce(network), Curvature(Wave())]
others = [
    torch.export.export(Traced(other, x), (x,), dynamic_shapes=dynamic, strict=False)
    for other in others
]

# %%
# Check
# +++++
#
# The references are derivatives written by hand, at other sizes. Then ONNX, and new
# weights.


def network_force(x):
    first, last = network.first, network.last
    slope = 1 - torch.tanh(x @ first.weight.T + first.bias) ** 2
    return -(slope * last.weight) @ first.weight


def curvature(x):
    diagonal = 2 * x.cos() - x * x.sin()
    return torch.diag(diagonal.flatten()).reshape(*x.shape, *x.shape)


file = io.BytesIO()
torch.export.save(program, file)
file.seek(0)
loaded = torch.export.load(file).module()
force, by_autograd, second = [other.module() for other in others]
decomposed = program.run_decompositions().module()
for size in (1, 2, 3, 9):
    rows = torch.randn(size, 4)
    for exported in (program.module(), loaded, decomposed, by_autograd):
        torch.testing.assert_close(exported(rows), network_force(rows))
    torch.testing.assert_close(force(rows), -(rows.cos() * rows + rows.sin()))
    torch.testing.assert_close(second(rows), curvature(rows))
try:
    program.module()(torch.randn(3, 5))
except (AssertionError, RuntimeError) as error:
    print(error)

onnx_program = torch.onnx.export(program, dynamo=True, verbose=False)
torch.testing.assert_close(onnx_program(rows)[0], network_force(rows))
with torch.no_grad():
    network.first.weight.mul_(2)
torch.testing.assert_close(program.module()(rows), network_force(rows))

# %%
# Limitations
# +++++++++++
#
# ``make_fx`` is experimental. It decides an ``if`` on a size with the example, and
# leaves no guard: the program is silently wrong for other sizes.
#
# To train with a loss on the forces, use ``torch.func.grad``. With
# ``torch.autograd.grad``, the gradients of the program are wrong in many releases.


class Branch(torch.nn.Module):
    def forward(self, x):
        return grad(lambda x: x.square().sum() if x.shape[0] < 6 else x.sum())(x)


traced = Traced(Branch(), x)
branch = torch.export.export(traced, (x,), dynamic_shapes=dynamic, strict=False)
assert not torch.equal(branch.module()(rows), Branch()(rows))


def gradient(force):
    weight = network.first.weight
    return torch.autograd.grad(force(rows).square().sum(), weight)[0]


expected = gradient(network_force)
torch.testing.assert_close(gradient(Force(network)), expected)
torch.testing.assert_close(gradient(program.module()), expected)
print("torch.autograd.grad:", torch.allclose(gradient(by_autograd), expected))

# %%
# Summary
# +++++++
#
# * Trace a model that computes gradients with ``make_fx``, and export the trace.
# * Compare values, not shapes, at other sizes: :ref:`l-plot-exporter-wrong-checklist`.
#
# Next: :ref:`l-plot-exporter-wrong-gradients`, :ref:`l-plot-exporter-after-save-load`.
