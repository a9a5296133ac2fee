"""
.. _l-plot-exporter-ops-decompositions:

"is not Aten Canonical": decompose into operators a backend has
===============================================================

.. answer::
   :cost: More nodes: an operator that is decomposed no longer runs as one kernel.

   The backend takes *core ATen*, a small set of operators; an exported program has
   those that the model calls. Decompose it, and take out of the table what the backend
   has a kernel for.

   .. code-block:: diff

      -convert(program)
      +table = torch.export.default_decompositions()
      +table.pop(torch.ops.aten.silu.default)
      +core = program.run_decompositions(table)

   Not your case?

   * ``bernoulli``, ``native_dropout``: :ref:`l-plot-exporter-wrong-train-eval`.
   * ``_fft_r2c``, complex numbers: :ref:`l-plot-exporter-ops-complex`.
   * "No ONNX function found": :ref:`l-plot-exporter-onnx-missing-op`.

.. meta::
   :keywords: run_decompositions, default_decompositions, core ATen, decomposition
      table, SpecViolationError, not in Core ATen opset, Missing out variants, MATH,
      scaled_dot_product_flash_attention_for_cpu, Provided Dialect TRAINING, bucketize,
      operation is not supported by converter, kernel not found
"""

# %%
# The problem
# +++++++++++
#
# ``convert`` plays a backend that has core ATen, and a kernel for ``silu``.

# sphinx_gallery_tags = ["operators", "conversion fails", "turns static"]
# sphinx_gallery_wording = "export llama runtime error: Missing out variants: {'aten::_scaled_dot_product_flash_attention_for_cpu'}"
# sphinx_gallery_wording = "operator is not in core ATen"
# sphinx_gallery_wording = "Operator torch._ops.aten.uniform.default is not in Core ATen opset"
# sphinx_gallery_wording = "Conversion for models with only ATEN or EDGE dialect is supported/tested. Provided Dialect: TRAINING. Run '.run_decompositions({})'"
# sphinx_gallery_wording = "run_decompositions: assert isinstance(compiled_fn, torch.fx.GraphModule) AssertionError in aot_stage2_export"
# sphinx_gallery_wording = "unsupported operator aten.silu when converting an ExportedProgram"

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

aten = torch.ops.aten


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, x):
        y = torch.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)
        return torch.nn.functional.silu(self.linear(y))


def operators(program):
    targets = [node.target for node in program.graph.nodes]
    return [some for some in targets if isinstance(some, torch._ops.OpOverload)]


def convert(program):
    for operator in operators(program):
        if torch.Tag.core not in operator.tags and operator != aten.silu.default:
            raise NotImplementedError(f"Operator {operator} is not Aten Canonical.")


torch.manual_seed(0)
model, x = Block().eval(), torch.randn(2, 3, 11, 8)
batch = torch.export.Dim("batch", max=64)
length = torch.export.Dim("length", min=4, max=512)
shapes = ({0: batch, 2: length},)
program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
try:
    convert(program)
except NotImplementedError as error:
    print(error)

# %%
# The fix
# +++++++
#
# Keys are overloads, ``silu.default`` and not ``silu``. An operator that is not in the
# table stays.

table = torch.export.default_decompositions()
table.pop(torch.ops.aten.silu.default)
core = program.run_decompositions(table)
convert(core)

# %%
# Why it happens
# ++++++++++++++
#
# The export records what the model calls. `run_decompositions
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/exported_program.py#L1501>`_
# traces that program again and replaces each operator that is in the table.

for some in (program, program.run_decompositions({}), core):
    names = sorted({str(operator) for operator in operators(some)})
    print(len(some.graph.nodes), "nodes:", ", ".join(names[:4]), "...")
assert aten.silu.default in operators(core)
assert aten.linear.default not in operators(core)

# %%
# .. list-table::
#    :header-rows: 1
#
#    * - Call
#      - Result
#    * - ``run_decompositions()``
#      - core ATen, as far as there are decompositions
#    * - ``run_decompositions({})``
#      - almost the same operators, none of which writes into its argument; the dialect
#        changes from ``TRAINING`` to ``ATEN``, which Core ML asks for
#
# Other fixes
# +++++++++++
#
# Some operators are neither in core ATen nor decomposed:
#
# .. list-table::
#    :header-rows: 1
#
#    * - Operator
#      - What to do
#      - Cost
#    * - ``bernoulli.p``, ``uniform``
#      - export after ``model.eval()``
#      - none
#    * - ``bucketize``, ``searchsorted``
#      - a decomposition of your own
#      - more memory
#    * - ``_linalg_eigh``, ``_unique2``, ``histc``
#      - move it out of the model, or add a kernel to the backend
#      - two programs, or a kernel
#    * - ``_scaled_dot_product_flash_attention_for_cpu``
#      - begin with ``default_decompositions()``, which has it
#      - none
#    * - ``quantized_decomposed.*``
#      - the backend for which the model was quantized; ``torch.onnx`` translates
#        ``quantize_per_tensor`` and ``dequantize_per_tensor``
#      - none
#
# A decomposition is a function with the arguments of the operator. It is not compared
# with the operator: ``>=`` instead of ``>`` is wrong, silently, where ``x`` is an edge.


class Bins(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("edges", torch.tensor([-0.5, 0.0, 0.5]))

    def forward(self, x):
        return torch.bucketize(x, self.edges)


def bucketize(x, edges, out_int32=False, right=False):
    assert not out_int32 and not right
    return (x.unsqueeze(-1) > edges).sum(dim=-1)


bins = torch.export.export(Bins(), (x,), dynamic_shapes=shapes, strict=False)
try:
    convert(bins.run_decompositions())
except NotImplementedError as error:
    print(error)
table = torch.export.default_decompositions()
table[aten.bucketize.Tensor] = bucketize
core_bins = bins.run_decompositions(table)
convert(core_bins)

# %%
# Without the entry of the attention kernel, select ``MATH`` around
# ``run_decompositions``, which chooses the kernel. Around the export is too early.

partial = torch.export.default_decompositions()
partial.pop(aten._scaled_dot_product_flash_attention_for_cpu.default)
partial.pop(aten.silu.default)
try:
    convert(program.run_decompositions(partial))
except NotImplementedError as error:
    print(error)
with sdpa_kernel([SDPBackend.MATH]):
    math = program.run_decompositions(partial)
convert(math)

# %%
# Check
# +++++
#
# Against eager at sizes that were not traced; for the bins, values on the edges, too.

for size, steps in [(1, 4), (5, 7), (64, 40)]:
    x = torch.randn(size, 3, steps, 8)
    for some in (core, math):
        torch.testing.assert_close(some.module()(x), model(x))
    x[0, 0, :3, 0] = torch.tensor([-0.5, 0.0, 0.5])
    torch.testing.assert_close(core_bins.module()(x), Bins()(x))
try:
    core.module()(torch.randn(2, 3, 3, 8))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# Dynamic dimensions are not checked a second time. A decomposition that tests a size
# makes it static, silently, and in the first program, too.


def silu(x):
    return x * torch.sigmoid(x) if x.shape[0] == 2 else x


def rows(program):
    x = next(node for node in program.graph.nodes if node.name == "x")
    return x.meta["val"].shape[0]


pair = (torch.randn(2, 3, 11, 8),)
first = torch.export.export(model, pair, dynamic_shapes=shapes, strict=False)
assert isinstance(rows(first), torch.SymInt)
static = first.run_decompositions({aten.silu.default: silu})
print("batch:", rows(static), "and", rows(first))
assert isinstance(rows(core), torch.SymInt) and rows(static) == 2

# %%
# If a buffer has two names, and the model writes one and reads the other, the
# decomposition fails in ``aot_stage2_export`` (`issue 166572
# <https://github.com/pytorch/pytorch/issues/166572>`_) or, in PyTorch 2.6, gives a wrong
# result. Register the buffer once, or export with ``strict=True``.


class Counter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(4))
        self.alias = self.seen

    def forward(self, x):
        self.seen.add_(x.sum(0))
        return x + self.alias


y = torch.randn(3, 4)
twice = torch.export.export(Counter(), (y,), strict=False)
try:
    twice.run_decompositions({})
except (RuntimeError, AssertionError) as error:
    print(type(error).__name__, str(error).strip().partition("\n")[0])
once = torch.export.export(Counter(), (y,), strict=True).run_decompositions({})
torch.testing.assert_close(once.module()(y), y + y.sum(0))

# %%
# Summary
# +++++++
#
# * ``run_decompositions()`` gives core ATen; pop from the table what the backend has.
# * Compare results and ``range_constraints`` afterwards: nothing else does.
# * Next: :ref:`l-plot-exporter-after-lower` for Core ML and ExecuTorch;
#   :ref:`l-plot-exporter-ops-attention`; gradients are not kept:
#   :ref:`l-plot-exporter-wrong-gradients`; find the node that differs:
#   :ref:`l-plot-exporter-after-compare`.
