"""
.. _l-plot-exporter-wrong-state:

Keep state in a buffer, and change it in place
==============================================

The model counts, keeps a cache or a running mean. The second call of the exported
program gives the same result as the first, or a wrong one. Or the export fails with
``Mutating module attribute cache during export``, or warns that ``The tensor attribute
self.cache was assigned during export``.

This page compares the ways in which a model may keep something between two calls, shows
where the state of a program lives, and builds a cache that works.

.. meta::
   :description: Use register_buffer and change the buffer in place with copy_, add_ or
      index_copy_; what Python keeps is lost or refused.
   :keywords: KV cache, counter, stateful model, Mutating module attribute, was assigned
      during export, register_buffer, attribute mutation, running mean
"""

# %%
# The model
# +++++++++
#
# Each class adds up its inputs, and keeps the sum in another way.

# sphinx_gallery_tags = ["wrong results", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "second call gives the same result as the first"
# sphinx_gallery_wording = "cache is not updated by the exported program"
# sphinx_gallery_wording = "AssertionError: Mutating module attribute cache_k during export."
# sphinx_gallery_wording = "UserWarning: Node total target total of  does not reference an nn.Module, nn.Parameter, or buffer, which is what 'get_attr' Nodes typically target"

import copy
import io
import warnings

import torch

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Number(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x + self.calls


class Attribute(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.total = torch.zeros(3)

    def forward(self, x):
        self.total = self.total + x
        return self.total + 0


class AttributeInPlace(Attribute):
    def forward(self, x):
        self.total.add_(x)
        return self.total + 0


class ListItem(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.total = [torch.zeros(3)]

    def forward(self, x):
        self.total.append(self.total[-1] + x)
        return self.total[-1] + 0


class Buffer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x):
        self.total = self.total + x
        return self.total + 0


class BufferInPlace(Buffer):
    def forward(self, x):
        self.total.add_(x)
        return self.total + 0


KINDS = [Number, Attribute, AttributeInPlace, ListItem, Buffer, BufferInPlace]

# %%
# The symptom
# +++++++++++
#
# Program and model are called three times. ``kept`` means that all three results agree,
# ``lost`` that they do not. The exporter may warn, and it may refuse.

x = torch.ones(3)
REFUSED = (torch._dynamo.exc.TorchDynamoException, AssertionError, ValueError)


def three_calls(call):
    return torch.stack([call(x).clone() for _ in range(3)])


def keeps(model, strict):
    reference = copy.deepcopy(model)
    program = torch.export.export(model, (x,), strict=strict)
    same = torch.equal(three_calls(program.module()), three_calls(reference))
    return "kept" if same else "lost"


table, messages = {}, {}
for strict in (False, True):
    for kind in KINDS:
        key = kind.__name__, strict
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                table[key] = keeps(kind(), strict)
            except REFUSED as error:
                table[key] = "refused"
                messages[key] = str(error).strip().splitlines()[0]
        warned = ", warns" if caught else ""
        if caught:
            messages[key] = str(caught[-1].message)
        print(f"strict={strict!s:5} {kind.__name__:17} {table[key]}{warned}")

# %%
# Two lines are the same in both modes and under every release: a number of Python is
# lost without a warning in non-strict mode, and a tensor that is changed in place is
# kept.

for strict in (False, True):
    assert table["Number", strict] == "lost"
    assert table["AttributeInPlace", strict] == "kept"
    assert table["BufferInPlace", strict] == "kept"
assert table["Buffer", False] == "kept"
assert ("Number", False) not in messages

# %%
# An attribute that is assigned is refused up to 2.9. Since 2.10 there is a warning, and
# the result is lost. Strict mode treats an assigned buffer in the same way.

for key in [("Attribute", False), ("Buffer", True)]:
    print(messages[key].splitlines()[0].split(". ")[0])
    assert table[key] == ("lost" if RELEASE >= (2, 10) else "refused")

# %%
# The cause
# +++++++++
#
# An assignment is done by Python, an operator is done by torch. The graph of
# ``Attribute`` has one addition that reads a constant, and nothing that writes it.
# (Some releases warn that the node of such a constant ``does not reference an
# nn.Module, nn.Parameter, or buffer``. As a buffer it would.) The graph of
# ``BufferInPlace`` has the operator that writes. After ``run_decompositions`` it is an
# output, and the signature says to which buffer it goes.


def operators(program):
    nodes = program.graph.nodes
    return [str(node.target) for node in nodes if node.op == "call_function"]


if RELEASE >= (2, 10):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the warning above
        lost = torch.export.export(Attribute(), (x,), strict=False)
    print("Attribute:    ", operators(lost))
    assert "aten.add_.Tensor" not in operators(lost)
kept = torch.export.export(BufferInPlace(), (x,), strict=False)
print("BufferInPlace:", operators(kept))
print("decomposed:   ", kept.run_decompositions().graph_signature.buffers_to_mutate)
assert operators(kept)[0] == "aten.add_.Tensor"
assert list(kept.run_decompositions().graph_signature.buffers_to_mutate.values()) == [
    "total"
]

# %%
# Where the state lives
# +++++++++++++++++++++
#
# It is in the buffer of the model, which the program and everything made by
# ``module()`` share. So two callers of one program see each other, and a test that
# calls the program changes the model. Saving takes the value of the moment along.

model = BufferInPlace()
program = torch.export.export(model, (x,), strict=False)
one, two = program.module(), program.module()
one(x)
print("after one call:", model.total.tolist(), two.total.tolist())
assert torch.equal(two.total, x) and torch.equal(model.total, x)

file = io.BytesIO()
torch.export.save(program, file)
file.seek(0)
loaded = torch.export.load(file).module()
torch.testing.assert_close(loaded(x), 2 * x)

# %%
# Copy a module that must have a state of its own, and set the state with
# :meth:`torch.nn.Module.load_state_dict`, or in place.

own = copy.deepcopy(two)
own.load_state_dict({"total": torch.zeros(3)})
torch.testing.assert_close(own(x), x)
assert torch.equal(two.total, x)

# %%
# Fix 1: a buffer that is changed in place
# ++++++++++++++++++++++++++++++++++++++++
#
# This is a cache of keys and values with a fixed length. New entries are written at the
# positions that are given, and a query sees all positions up to its own. The price is
# the fixed length: memory for it, and attention over all of it.


class CachedAttention(torch.nn.Module):
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


def make_inputs(start, count):
    return *torch.rand(3, count, 4), torch.arange(start, start + count)


# %%
# The check
# +++++++++
#
# A prompt of three tokens, then some alone and some together: the program agrees with a
# copy of the model at each step, and none of these lengths was traced.

torch.manual_seed(0)
model = CachedAttention()
reference = copy.deepcopy(model)
new = torch.export.Dim("new", max=16)
program = torch.export.export(
    model, make_inputs(0, 5), dynamic_shapes=({0: new},) * 4, strict=False
)
exported = program.module()
start = 0
for count in (3, 1, 1, 7, 2):
    inputs = make_inputs(start, count)
    torch.testing.assert_close(exported(*inputs), reference(*inputs))
    start += count
    print(f"{count} new, {start} in the cache: same result")

# %%
# More than the cache can hold is refused: by the program if too many come at once, by
# the operator if a position is too large.

for inputs in (make_inputs(0, 17), make_inputs(start, 3)):
    try:
        exported(*inputs)
    except (AssertionError, RuntimeError, IndexError) as error:
        message = str(error).splitlines()[0]
    else:
        message = "This release runs it."
    print(message)
    assert "16" in message

# %%
# Fix 2: the state is an input and an output
# ++++++++++++++++++++++++++++++++++++++++++
#
# The program has no state. The caller keeps it, so two callers cannot disturb each
# other, and the length can grow. The price: the caller carries the state, and each step
# copies it. Runtimes that know no buffers, such as those for ONNX, need this form. The
# example has to be two tensors: with the same one twice, the program would use the
# first for both, see :ref:`l-plot-exporter-wrong-inputs`.


class Functional(torch.nn.Module):
    def forward(self, x, total):
        total = total + x
        return total * 2, total


example = (torch.ones(3), torch.zeros(3))
exported = torch.export.export(Functional(), example, strict=False).module()
total = expected = torch.zeros(3)
for number in (1.0, 2.0, 5.0):
    result, total = exported(x * number, total)
    expected = expected + x * number
    torch.testing.assert_close((result, total), (2 * expected, expected))
print("total:", total.tolist())

# %%
# To remember
# +++++++++++
#
# * Python keeps nothing for a program. A buffer that is changed in place is kept, on
#   all releases and in both modes.
# * Do not overlook the warning ``was assigned during export``: it means *lost*.
# * Model, program and modules share one state.
#
# Next: :ref:`l-plot-exporter-effects-mutation` for inputs that are changed in place,
# :ref:`l-plot-exporter-wrong-leaked` if the model fails after the export,
# :ref:`l-plot-torch-export-with-dynamic-cache-201` for a cache as an input, and
# :ref:`l-plot-exporter-data-item` for a position that is a number.
