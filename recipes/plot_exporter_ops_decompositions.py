"""
.. _l-plot-exporter-ops-decompositions:

Decompose the program into operators a backend has
==================================================

A backend refuses an operator of the exported program: it has no kernel, no lowering or
``Missing out variants: {'aten::_scaled_dot_product_flash_attention_for_cpu'}``. The
operator may not even be one that your model calls.

This page replaces operators with
:meth:`torch.export.ExportedProgram.run_decompositions`, with the default table and with
a table of your own. It shows what can go wrong in that step: the choice of an attention
kernel, a dimension that turns static, a buffer with two names.

.. meta::
   :description: Call run_decompositions() with the default table, and take out of the
      table what the backend keeps.
   :keywords: run_decompositions, default_decompositions, core ATen, decomposition
      table, scaled_dot_product_flash_attention_for_cpu, missing out variants, MATH
"""

# %%
# The model
# +++++++++
#
# One attention block. The backend has the operators of *core ATen*, a small part of
# ATen that is meant for backends. An operator of this set carries a tag. The function
# ``convert`` plays the backend.

# sphinx_gallery_tags = ["operators", "conversion fails", "turns static"]
# sphinx_gallery_wording = "export llama runtime error: Missing out variants: {'aten::_scaled_dot_product_flash_attention_for_cpu'}"
# sphinx_gallery_wording = "operator is not in core ATen"
# sphinx_gallery_wording = "run_decompositions: assert isinstance(compiled_fn, torch.fx.GraphModule) AssertionError in aot_stage2_export"
# sphinx_gallery_wording = "unsupported operator aten.silu when converting an ExportedProgram"

import warnings

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])
aten = torch.ops.aten


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, x):
        y = torch.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)
        y = torch.nn.functional.silu(self.linear(y))
        return torch.nn.functional.hardswish(y, inplace=True)


def convert(program, also=()):
    for node in program.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload):
            if torch.Tag.core not in node.target.tags and node.target not in also:
                raise NotImplementedError(f"the backend has no {node.target}")
    return f"converted, {len(program.graph.nodes)} nodes"


torch.manual_seed(0)
model = Block().eval()
x = torch.randn(2, 3, 11, 8)
batch = torch.export.Dim("batch", min=1, max=64)
length = torch.export.Dim("length", min=4, max=512)
shapes = ({0: batch, 2: length},)
program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)


def targets(program):
    return [str(n.target) for n in program.graph.nodes if "aten" in str(n.target)]


# %%
# The symptom
# +++++++++++

try:
    convert(program)
except NotImplementedError as error:
    message = str(error)
else:
    message = "This release exports core ATen."
print(message)
print(targets(program))
assert "scaled_dot_product_attention" in message, message

# %%
# The cause
# +++++++++
#
# Export keeps the operators that the model calls, whether a backend has them or not:
# the graph above reads like the model. Replacing them by simpler ones is a step of its
# own, *decomposition*. It gives a new program.
#
# Fix 1: the default table
# ++++++++++++++++++++++++
#
# Without an argument, ``run_decompositions`` decomposes into core ATen.

core = program.run_decompositions()
print(convert(core))
print(sorted(set(targets(core)))[:6], "...")
assert len(core.graph.nodes) > 3 * len(program.graph.nodes)
torch.testing.assert_close(core.module()(x), model(x))

# %%
# The price is in the count of nodes. Attention is now matrix products and a softmax of
# the full matrix of scores, and no backend can see that this was attention.
#
# Fix 2: keep what the backend has
# ++++++++++++++++++++++++++++++++
#
# A table is a dictionary from operators to functions. An operator that is not in it is
# kept. :func:`~torch.export.exported_program.default_decompositions` returns a new
# table each time; take out of it what the backend has a kernel for.

table = torch.export.default_decompositions()
kept = [aten.scaled_dot_product_attention.default, aten.silu.default]
for operator in kept:
    table.pop(operator)
whole = program.run_decompositions(table)
print(targets(whole))
print(convert(whole, also=kept))
assert all(str(operator) in targets(whole) for operator in kept)
torch.testing.assert_close(whole.module()(x), model(x))

# %%
# This is the better fix when there is a kernel: fewer nodes, and the kernel is used. It
# needs a backend that accepts the name.
#
# An operator that the model does not call
# ++++++++++++++++++++++++++++++++++++++++
#
# Here the table has no entry for one operator, the attention kernel for CPU, as happens
# with tables put together by hand. Its name appears in the graph, although the export
# was made under a setting that forbids this kernel.

flash = aten._scaled_dot_product_flash_attention_for_cpu.default
partial = torch.export.default_decompositions()
entry = partial.pop(flash)
with sdpa_kernel([SDPBackend.MATH]):
    early = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
try:
    convert(early.run_decompositions(partial))
except NotImplementedError as error:
    message = str(error)
else:
    message = "This release does not choose that kernel."
print(message)
assert "_scaled_dot_product_flash_attention_for_cpu" in message, message

# %%
# ``scaled_dot_product_attention`` itself is a function that chooses one of several
# kernels, by device, dtype, mask, and the settings of the moment. Decomposing it makes
# that choice, here for a CPU. Around the export the setting comes too early: no choice
# is made there. Around ``run_decompositions`` it is in time.

with sdpa_kernel([SDPBackend.MATH]):
    late = program.run_decompositions(partial)
print(convert(late))
assert str(flash) not in targets(late)
torch.testing.assert_close(late.module()(x), model(x))

# %%
# The other way is the entry itself: put it back, or begin with the default table, which
# has it on all releases of this page.

partial[flash] = entry
assert flash in torch.export.default_decompositions()

# %%
# Fix 3: a decomposition of your own
# ++++++++++++++++++++++++++++++++++
#
# The function gets the arguments of the operator and computes the same with other
# operators. With a table of one entry, all else is kept, as long as it is functional.


def hardswish(x):
    return x * torch.clamp(x + 3, 0, 6) / 6


own = program.run_decompositions({aten.hardswish.default: hardswish})
print(targets(own))
assert "aten.hardswish.default" not in targets(own)
assert "aten.silu.default" in targets(own)
torch.testing.assert_close(own.module()(x), model(x))

# %%
# Two keys have no effect, and nothing is said: ``aten.hardswish`` without its overload,
# and ``hardswish_``, the operator in the exported graph. The program is made functional
# first, and in-place operators are gone when the table is asked. The third entry has an
# effect and is not ``silu``: the function is believed, and the only sign is the result.

bad_table = {
    aten.hardswish: hardswish,
    aten.hardswish_.default: hardswish,
    aten.silu.default: torch.sigmoid,
}
bad = program.run_decompositions(bad_table)
difference = (bad.module()(x) - model(x)).abs().max().item()
print("exported:  ", targets(program)[-2:])
print("decomposed:", targets(bad)[-2:], f"difference {difference:.2f}")
assert targets(bad)[-2:] == ["aten.sigmoid.default", "aten.hardswish.default"]
assert difference > 0.01

# %%
# A dimension that turns static
# +++++++++++++++++++++++++++++
#
# The decomposition traces the program again. The dynamic dimensions were checked by the
# export, and are not checked a second time. A function that asks for a size in Python
# makes the dimension static, without an error.


def hardswish_by_size(x):
    return hardswish(x) if x.shape[0] == 2 else torch.relu(x)


def input_shape(program):
    node = next(node for node in program.graph.nodes if node.name == "x")
    return tuple(node.meta["val"].shape)


victim = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False)
print("before:    ", input_shape(victim))
static = victim.run_decompositions({aten.hardswish.default: hardswish_by_size})
print("decomposed:", input_shape(static), list(static.range_constraints.values()))
assert input_shape(static)[0] == 2 and len(static.range_constraints) == 1

# %%
# The program that results takes two examples, and refuses five.

other = torch.randn(5, 3, 11, 8)
try:
    static.module()(other)
except (AssertionError, RuntimeError) as error:
    message = str(error).split(". ")[0]
else:
    message = "This release runs the program."
print(message)
assert "size()[0] == 2" in message or "to be equal to 2" in message, message

# %%
# The first program shares its symbols with the second, and its input reads as static
# too. Export again after such a table, and print ``range_constraints`` after each
# decomposition.

print("afterwards:", input_shape(victim))
assert input_shape(victim)[0] == 2
assert len(core.range_constraints) == len(whole.range_constraints) == 2

# %%
# When run_decompositions fails: a buffer with two names
# ++++++++++++++++++++++++++++++++++++++++++++++++++++++
#
# This step has errors of its own. Here a buffer is registered under two names, and the
# model writes to one and reads the other. With ``strict=False`` they are two inputs of
# the program. When they are decomposed, 2.6 treats them as two tensors, and the result
# is wrong; 2.7 to 2.9 refuse; later releases fail an `assertion
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_functorch/_aot_autograd/graph_compile.py#L309>`_
# in ``aot_stage2_export``, on 2.10 one without a text. (`Issue 166572
# <https://github.com/pytorch/pytorch/issues/166572>`_ has the message of 2.8 for a
# language model with a cache.)


class Counter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(4))
        self.alias = self.seen

    def forward(self, x):
        self.seen.add_(x.sum(0))
        return x + self.alias


y = torch.randn(3, 4)
expected = Counter()(y)
twice = torch.export.export(Counter(), (y,), strict=False)
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 2.6 and 2.7 warn of a missing attribute
        result = twice.run_decompositions({}).module()(y)
except (RuntimeError, AssertionError) as error:
    result = None
    first = str(error).strip().split("\n")[0]
    print(f"{type(error).__name__}: {first}")
else:
    print("right:", torch.allclose(result, expected))
assert (result is None) == (RELEASE >= (2, 7))
assert result is None or not torch.allclose(result, expected)

# %%
# Strict mode sees one buffer, and works on all releases. For ``strict=False``, register
# the buffer once, and make the second name a property.

strict = torch.export.export(Counter(), (y,), strict=True).run_decompositions({})
torch.testing.assert_close(strict.module()(y), expected)
single = Counter()
del single.alias
Counter.alias = property(lambda self: self.seen)
program_single = torch.export.export(single, (y,), strict=False)
decomposed = program_single.run_decompositions({})
torch.testing.assert_close(decomposed.module()(y), expected)
print(dict(decomposed.graph_signature.buffers_to_mutate))

# %%
# The check
# +++++++++
#
# Each decomposed program is compared with the model on shapes that were not traced.

exported = [some.module() for some in (core, whole, late)]
for shape in [(1, 3, 4, 8), (5, 3, 7, 8), (9, 3, 40, 8)]:
    new = torch.randn(shape)
    for module in exported:
        torch.testing.assert_close(module(new), model(new))
    print(f"{shape}: same result")

# %%
# A sequence of length 3 is out of the range, as it was before the decomposition.

try:
    exported[0](torch.randn(2, 3, 3, 8))
except (AssertionError, RuntimeError) as error:
    message = str(error).split("\n")[0]
else:
    message = "This release runs the program on length 3."
print(message)
assert ">= 4" in message, message

# %%
# To remember
# +++++++++++
#
# * ``run_decompositions()`` gives core ATen; pop from ``default_decompositions()`` what
#   the backend has. ``run_decompositions({})`` still makes the program functional.
# * Keys are overloads, ``aten.silu.default``, of functional operators.
# * Choose the attention kernel around the decomposition, not around the export.
# * Compare results and ``range_constraints`` after it: nothing else is checked.
#
# All of this works on all releases of this page, except where one is named.
#
# Next: :ref:`l-plot-exporter-ops-attention` for attention and masks,
# :ref:`l-plot-exporter-wrong-gradients` for the gradients, which a decomposition does
# not keep, :ref:`l-plot-exporter-effects-mutation` for writes that become outputs,
# :ref:`l-plot-exporter-after-compare` to find the node that differs.
