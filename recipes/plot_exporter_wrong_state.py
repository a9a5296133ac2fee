"""
.. _l-plot-exporter-wrong-state:

Keep state in a buffer, and change it in place
==============================================

.. answer::
   :cost: Nothing at run time. The buffer is saved with the weights.

   Python assigns ``self.total`` once, during the trace: the program only has operators,
   and a tensor that is not a buffer is a constant. ``add_``, ``copy_`` and
   ``index_copy_`` on a buffer are operators that change state.

   .. code-block:: diff

      -        self.total = torch.zeros(3)
      +        self.register_buffer("total", torch.zeros(3))
      -        self.total = self.total + x
      +        self.total.copy_(self.total + x)

   Not your case?

   * The model returns a ``FakeTensor`` afterwards: :ref:`l-plot-exporter-wrong-leaked`.
   * An input is changed in place: :ref:`l-plot-exporter-effects-mutation`.
   * The cache is an input: :ref:`l-plot-torch-export-with-dynamic-cache-201`.

.. meta::
   :keywords: KV cache, counter, stateful model, Mutating module attribute, was assigned
      during export, is mutated in the forward method, register_buffer, attribute
      mutation, running mean, static cache
"""

# %%
# The problem
# +++++++++++
#
# The model adds up its inputs. The program returns its first result at each call.

# sphinx_gallery_tags = ["wrong results", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "second call gives the same result as the first"
# sphinx_gallery_wording = "cache is not updated by the exported program"
# sphinx_gallery_wording = "AssertionError: Mutating module attribute cache_k during export."
# sphinx_gallery_wording = "ValueError: Node arity mismatch; expected 1, but got 2."
# sphinx_gallery_wording = "UserWarning: Node total target total of  does not reference an nn.Module, nn.Parameter, or buffer, which is what 'get_attr' Nodes typically target"

import copy
import warnings

import torch


class Assigned(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.total = torch.zeros(3)

    def forward(self, x):
        self.total = self.total + x
        return 2 * self.total


def three_calls(call):
    return [call(x).tolist() for _ in range(3)]


x = torch.ones(3)
print("eager:", three_calls(Assigned()))
for strict in (False, True):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            lost = torch.export.export(Assigned(), (x,), strict=strict)
            print(f"strict={strict}:", three_calls(lost.module()))
        except (AssertionError, ValueError) as error:
            print(error)
    for entry in caught:
        print(entry.message)

# %%
# A plain attribute that is changed in place seems to work, until the program is
# decomposed, as most backends do, and :func:`torch.onnx.export`.


class InPlace(Assigned):
    def forward(self, x):
        self.total.add_(x)
        return 2 * self.total


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    constant = torch.export.export(InPlace(), (x,), strict=False)
    print(three_calls(constant.module()))
try:
    constant.run_decompositions()
except RuntimeError as error:
    print(error)

# %%
# The fix
# +++++++


class Total(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x):
        self.total.copy_(self.total + x)
        return 2 * self.total


program = torch.export.export(Total(), (x,), strict=False)
decomposed = program.run_decompositions()
print(three_calls(program.module()))

# %%
# Why it happens
# ++++++++++++++
#
# ``add_`` and ``copy_`` are operators, an assignment is not. But ``InPlace`` has a
# constant, `which may not change
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/utils.py#L138>`_. In the
# decomposed program, the last one, the new value is an output for the buffer.

for some in (constant, program, decomposed):
    signature = some.graph_signature
    nodes = [node for node in some.graph.nodes if node.op == "call_function"]
    print("buffers", signature.buffers, "constants", signature.lifted_tensor_constants)
    print("   ", [str(node.target) for node in nodes], signature.buffers_to_mutate)

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
#    * - ``self.calls += 1``, a number
#      - frozen, without a warning
#      - a buffer, ``torch.zeros((), dtype=torch.int64)``
#    * - ``self.total = ...``, a buffer
#      - lost in strict mode
#      - ``self.total.copy_(...)``
#    * - ``total.add_(x)``, an attribute or a global
#      - kept until ``run_decompositions()``
#      - a buffer; ``persistent=False`` keeps it out of checkpoints
#    * - ``self.seen.append(x)``
#      - lost; ``Node arity mismatch`` up to PyTorch 2.9
#      - return the tensor
#
# Most states are caches of keys and values. This site has three designs:
#
# .. list-table::
#    :header-rows: 1
#
#    * - Cache
#      - Use it for
#      - Cost
#    * - a buffer of fixed length (below)
#      - one sequence at a time; the caller passes positions only
#      - memory and attention over the full length, at each step
#    * - an input and an output: :ref:`l-plot-torch-export-with-dynamic-cache-201`, or
#        a Module: :ref:`l-plot-exporter-nn_modules_inputs`
#      - several sequences, any length; ONNX
#      - the caller carries the cache, each step copies it
#    * - the class of transformers: :ref:`l-plot-exporter-models-tiny-llm`
#      - a model of theirs, unchanged
#      - a registration that follows their versions


class Cached(torch.nn.Module):
    def __init__(self, longest=16, width=4):
        super().__init__()
        self.register_buffer("keys", torch.zeros(longest, width))
        self.register_buffer("values", torch.zeros(longest, width))

    def forward(self, query, key, value, position):
        self.keys.index_copy_(0, position, key)
        self.values.index_copy_(0, position, value)
        seen = torch.arange(self.keys.shape[0]) <= position[:, None]
        scores = (query @ self.keys.T).masked_fill(~seen, float("-inf"))
        return torch.softmax(scores, dim=-1) @ self.values


new = torch.export.Dim("new", max=16)
inputs = (*torch.rand(3, 5, 4), torch.arange(5))
cached = torch.export.export(
    Cached(), inputs, dynamic_shapes=({0: new},) * 4, strict=False
)

# %%
# Check
# +++++
#
# The references have no state: a running sum, and attention over the whole sequence at
# once. The cache is filled by pieces of sizes that were not traced.

torch.manual_seed(0)
steps = torch.randn(6, 3)
for some in (program, decomposed):
    exported = some.module()
    exported.load_state_dict({"total": torch.zeros(3)})
    results = torch.stack([exported(step) for step in steps])
    torch.testing.assert_close(results, 2 * steps.cumsum(dim=0))

attention = torch.nn.functional.scaled_dot_product_attention
for some in (cached, cached.run_decompositions()):
    tokens = torch.randn(3, 14, 4)
    whole = attention(*tokens[:, None], is_causal=True, scale=1.0)[0]
    exported, start = some.module(), 0
    for count in (3, 1, 1, 7, 2):
        position = torch.arange(start, start + count)
        result = exported(*tokens[:, position], position)
        torch.testing.assert_close(result, whole[position])
        start += count

# %%
# Too many tokens are rejected by the program, a position outside by the operator.

for position in (torch.arange(17), torch.tensor([15, 16])):
    try:
        exported(*torch.rand(3, len(position), 4), position)
    except (AssertionError, RuntimeError, IndexError) as error:
        print(error)

# %%
# Limitations
# +++++++++++
#
# The state lives in the model's own buffer, and the model and all modules made by
# ``module()`` share it. Copy a module that needs a state of its own, and set the start
# with ``load_state_dict``. A saved program has the state of that moment.

model = Total()
program = torch.export.export(model, (x,), strict=False)
first, second = program.module(), program.module()
own = copy.deepcopy(second)
first(x)
print(model.total.tolist(), second.total.tolist(), own.total.tolist())
assert torch.equal(model.total, x) and torch.equal(second.total, x)
assert torch.equal(own.total, torch.zeros(3))

# %%
# Summary
# +++++++
#
# * State is a buffer that is changed in place. Only that works in both modes, and after
#   ``run_decompositions()``.
# * The warning ``was assigned during export`` means that the state is lost.
# * Next: a position that is a number is a constant,
#   :ref:`l-plot-exporter-inputs-python-scalars`, and :ref:`l-plot-exporter-data-item`
#   if it comes out of a tensor.
