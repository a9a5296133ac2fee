"""
.. _l-plot-exporter-inputs-dataclass:

Use a dataclass as an input or an output
========================================

The model takes or returns a dataclass, or a dictionary with attributes, and the export
ends with ``Unsupported input type <class '...'>``, or ``Found <class '...'> in output,
which is not a known type``.

This page registers the class. It shows what ``dynamic_shapes`` looks like then, what
becomes of fields that are None or no tensors, which fields a registration loses without
an error, and how to register a class like ``ModelOutput``.

.. meta::
   :description: Register the dataclass with torch.export.register_dataclass; its
      dynamic_shapes is a list, one entry for each field that is not None.
   :keywords: dataclass, register_dataclass, ModelOutput, Unsupported input type, not a
      known type, unrecognized type, unhashable type, pytree, dynamic_shapes
"""

# %%
# The model
# +++++++++
#
# A classifier of sequences. Its input is a dataclass with a tensor, an optional tensor
# and a number. Its output is another dataclass.

# sphinx_gallery_tags = ["inputs", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "a field of the dataclass is ignored by the exported program"
# sphinx_gallery_wording = "how to export a model that returns a ModelOutput"
import collections
import dataclasses
import warnings
from typing import Optional

import torch

pytree = torch.utils._pytree
RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


@dataclasses.dataclass
class Batch:
    tokens: torch.Tensor
    mask: Optional[torch.Tensor] = None
    temperature: float = 1.0


@dataclasses.dataclass
class Prediction:
    logits: torch.Tensor
    loss: Optional[torch.Tensor] = None


# %%
# The mask is used if there is one; the number divides the result.


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 8)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, batch):
        hidden = self.embedding(batch.tokens)
        if batch.mask is not None:
            hidden = hidden * batch.mask.unsqueeze(-1)
        return Prediction(self.head(hidden.mean(dim=1)) / batch.temperature)


def make_batch(size, length):
    mask = torch.ones(size, length)
    mask[:, -1] = 0
    return Batch(torch.randint(0, 20, (size, length)), mask)


torch.manual_seed(0)
model = Classifier().eval()
batch = make_batch(3, 5)
print(model(batch).logits.shape)

# %%
# The symptom
# +++++++++++
#
# Both modes refuse the input, each in its own words. Since 2.7, non-strict mode names
# the function that helps. Strict mode goes on with a long list of types, so only the
# first line of each message is printed.

for strict in (False, True):
    try:
        torch.export.export(model, (batch,), strict=strict)
    except (ValueError, torch._dynamo.exc.UserError) as error:
        message = str(error).splitlines()[0].strip()
    else:
        message = "This release takes a dataclass as it is."
    print(message)
    words = "supported or pytree-flattenable" if strict else "Unsupported input type"
    assert words in message, message

# %%
# With an entry for it in ``dynamic_shapes``, that entry is refused first.

try:
    torch.export.export(model, (batch,), dynamic_shapes=({},), strict=False)
except torch._dynamo.exc.UserError as error:
    message = str(error).splitlines()[0].partition("For more information")[0]
else:
    message = "This release takes a dataclass as it is."
print(message)
assert message.startswith("Cannot associate shape {}"), message

# %%
# The cause
# +++++++++
#
# The exporter takes the inputs apart with ``torch.utils._pytree`` until it holds
# tensors and numbers. That module knows tuples, lists, dictionaries and named tuples.
# A dataclass is none of these: it stays in one piece.

leaves, structure = pytree.tree_flatten((batch,))
print([type(leaf).__name__ for leaf in leaves], structure)
assert [type(leaf) for leaf in leaves] == [Batch]

# %%
# Only the border of the model matters. A dataclass that is made and used inside is no
# obstacle. Here the same model gets tensors and gives a tensor, and it is exported
# without a registration, in both modes and on all releases of this page. This is also
# the fix if you must not touch any registry; the price is another signature.


class TensorsAtTheBorder(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens, mask):
        return self.model(Batch(tokens, mask)).logits


for strict in (False, True):
    program = torch.export.export(
        TensorsAtTheBorder(model), (batch.tokens, batch.mask), strict=strict
    )
    got = program.module()(batch.tokens, batch.mask)
    torch.testing.assert_close(got, model(batch).logits)
    print("strict" if strict else "non-strict", program.graph_signature.user_inputs)

# %%
# The fix: register the class of the input
# ++++++++++++++++++++++++++++++++++++++++
#
# :func:`torch.export.register_dataclass` takes the class and a *serialised name*, which
# stands for the class in a saved file and must not change afterwards. That is all since
# 2.7. The second call is for 2.6, which exports the model without it and cannot run the
# program; ``spec.context`` starts with the names of the fields that are not None. (2.6
# and 2.7 warn of a deprecated function of their own, hence the filter.)


def register(cls):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.export.register_dataclass(
            cls, serialized_type_name=f"cookbook.{cls.__name__}"
        )
    torch.fx._pytree.register_pytree_flatten_spec(
        cls, lambda value, spec: [getattr(value, name) for name in spec.context[0]]
    )


register(Batch)
paths, structure = pytree.tree_flatten_with_path(batch)
print([(pytree.keystr(path), type(leaf).__name__) for path, leaf in paths])
assert [type(leaf) for _, leaf in paths] == [torch.Tensor, torch.Tensor, float]

# %%
# The next error: the output
# ++++++++++++++++++++++++++
#
# The input passes. Now the output is refused, for the same reason. The messages are
# further from the cause and depend on the release. In non-strict mode, 2.11 says that
# the class is not hashable. In strict mode it is a ``UserError`` up to 2.9, a
# ``ValueError`` on 2.10 that names neither the class nor the output, and an
# ``AssertionError`` since 2.11.

REFUSED = (RuntimeError, TypeError, ValueError, AssertionError)
for strict in (False, True):
    try:
        torch.export.export(model, (batch,), strict=strict)
    except (*REFUSED, torch._dynamo.exc.UserError) as error:
        kind, message = type(error).__name__, str(error).splitlines()[0].strip()
    else:
        kind, message = "", "This release returns a dataclass as it is."
    print(f"{kind}: {message}")
    if strict:
        late = "ValueError" if RELEASE == (2, 10) else "AssertionError"
        assert kind == ("UserError" if RELEASE < (2, 10) else late), message
    else:
        assert kind == ("TypeError" if RELEASE == (2, 11) else "RuntimeError"), message

# %%
# Register that class as well. The program takes the one and returns the other.

register(Prediction)
program = torch.export.export(model, (batch,), strict=False)
result = program.module()(batch)
torch.testing.assert_close(result.logits, model(batch).logits)
print(type(result).__name__, result.loss)
assert type(result) is Prediction and result.loss is None

# %%
# Dynamic shapes
# ++++++++++++++
#
# ``dynamic_shapes`` does not follow the names of the fields. For a registered class it
# is the list that flattening gives: one entry for each field that is not None, in the
# order of the fields. A dictionary is refused, and so is an instance of the dataclass.

size = torch.export.Dim("size", min=1, max=64)
length = torch.export.Dim("length", min=2, max=32)
both = {0: size, 1: length}
by_name = {"tokens": both, "mask": both, "temperature": None}
for spec in (by_name, Batch(both, both, None)):
    try:
        torch.export.export(model, (batch,), dynamic_shapes=(spec,), strict=False)
    except ValueError as error:
        message = str(error)
    else:
        message = "This release takes the names of the fields."
    print(message)
    assert message.startswith("Node type mismatch; expected <class 'list'>"), message

# %%
# The third entry, None, is for ``temperature``: every field that is not a tensor needs
# one. A ``ShapesCollection`` writes the same list without counting:
# :ref:`l-plot-exporter-inputs-nested` explains it.

by_position = [both, both, None]
program = torch.export.export(
    model, (batch,), dynamic_shapes=(by_position,), strict=False
)
for node in program.graph.nodes:
    if node.op == "placeholder" and node.name.startswith("batch"):
        print(node.name, getattr(node.meta["val"], "shape", node.meta["val"]))
assert len(program.range_constraints) == 2

collection = torch.export.ShapesCollection()
collection[batch.tokens] = collection[batch.mask] = both
assert collection.dynamic_shapes(model, (batch,)) == {"batch": by_position}

# %%
# The check
# +++++++++
#
# Both modes, four shapes that were not traced, the smallest included. The program
# takes the dataclass and gives the dataclass.

for strict in (False, True):
    exported = torch.export.export(
        model, (batch,), dynamic_shapes=(by_position,), strict=strict
    ).module()
    for shape in [(7, 9), (2, 3), (64, 32), (1, 2)]:
        new = make_batch(*shape)
        torch.testing.assert_close(exported(new).logits, model(new).logits)
print("same results on (7, 9), (2, 3), (64, 32), (1, 2)")

# %%
# A mask of another length is refused.

exported = program.module()
try:
    exported(Batch(batch.tokens, torch.ones(3, 4)))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program with the wrong mask."
print(message)
assert "size()[1]" in message or "shape[1]" in message, message

# %%
# Fields that are None
# ++++++++++++++++++++
#
# A field that is None is left out of the list and noted in the structure. So the
# program that was exported with a mask refuses a batch without one, and the entry of
# the mask must not be in ``dynamic_shapes`` when the example has none.
# :ref:`l-plot-exporter-inputs-optional` says what to do if you need both.

try:
    exported(Batch(batch.tokens))
except ValueError as error:
    message = str(error)
else:
    message = "This release runs the program without the mask."
print("\n".join(line for line in message.splitlines() if "Batch" in line))
assert message.startswith("Trying to flatten user inputs"), message

# %%
# The same example without a mask: the specification has two entries now.

no_mask = (Batch(batch.tokens),)
try:
    torch.export.export(model, no_mask, dynamic_shapes=(by_position,), strict=False)
except ValueError as error:
    message = str(error)
else:
    message = "This release takes an entry for a field that is None."
print(message)
assert message == "Node arity mismatch; expected 2, but got 3.", message
torch.export.export(model, no_mask, dynamic_shapes=([both, None],), strict=False)

# %%
# Fields that are not tensors
# +++++++++++++++++++++++++++
#
# A number or a string is a constant of the program, and another value is refused. A
# tensor without dimensions in the same field remains an input:
# :ref:`l-plot-exporter-inputs-python-scalars` has this and other ways.

try:
    exported(dataclasses.replace(batch, temperature=2.0))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release runs the program with another temperature."
print(message)
assert "temperature" in message, message

# %%
# Fields that get lost without an error
# +++++++++++++++++++++++++++++++++++++
#
# The exporter calls the constructor to put the class together again, so a registration
# `holds the fields of the constructor
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/utils/_pytree.py#L345>`_.
# A field with ``init=False`` is not among them. The traced instance has what
# ``__post_init__`` gave it, and the program computes with that: no error, another
# result. 2.6 and 2.7 do pass the field to the constructor, which refuses it.


@dataclasses.dataclass
class Signal:
    samples: torch.Tensor
    gain: torch.Tensor = dataclasses.field(init=False)

    def __post_init__(self):
        self.gain = torch.ones(())


class Amplifier(torch.nn.Module):
    def forward(self, signal):
        return signal.samples * signal.gain


register(Signal)
amplifier = Amplifier()
signal = Signal(torch.arange(1.0, 4.0))
signal.gain = torch.tensor(5.0)
try:
    program = torch.export.export(amplifier, (signal,), strict=False)
except TypeError as error:
    program = None
    print(error)
else:
    print("inputs ", program.graph_signature.user_inputs)
    print("model  ", amplifier(signal).tolist())
    print("program", program.module()(signal).tolist())
    assert program.module()(signal).tolist() == [1.0, 2.0, 3.0]
assert amplifier(signal).tolist() == [5.0, 10.0, 15.0]
assert (program is None) == (RELEASE < (2, 8))

# %%
# The fix is a field of the constructor with a default. The gain is an input now.


@dataclasses.dataclass
class SafeSignal:
    samples: torch.Tensor
    gain: Optional[torch.Tensor] = None

    def __post_init__(self):
        if self.gain is None:
            self.gain = torch.ones(())


register(SafeSignal)
signal = SafeSignal(torch.arange(1.0, 4.0), torch.tensor(5.0))
program = torch.export.export(amplifier, (signal,), strict=False)
print(program.graph_signature.user_inputs)
torch.testing.assert_close(program.module()(signal), amplifier(signal))
assert program.graph_signature.user_inputs == ("signal_samples", "signal_gain")

# %%
# A class like ModelOutput
# ++++++++++++++++++++++++
#
# The outputs of many libraries are ordered dictionaries whose items are attributes
# too. pytree knows ``OrderedDict``, but it asks for the exact class: a class that
# derives from it is as unknown as a dataclass.


class ModelOutput(collections.OrderedDict):
    def __getattr__(self, name):
        if name not in self:
            raise AttributeError(name)
        return self[name]


class Layer(torch.nn.Module):
    def forward(self, state):
        hidden = torch.relu(state.last - 0.5)
        return ModelOutput(last=hidden, layers=(*state.layers, hidden))


state = ModelOutput(last=torch.rand(3, 4), layers=(torch.rand(3, 4),))
try:
    torch.export.export(Layer(), (state,), strict=False)
except ValueError as error:
    message = str(error).split(". ")[0]
else:
    message = "This release takes the class as it is."
print(message)
assert message.startswith("Unsupported input type"), message

# %%
# Three functions register it: flatten, unflatten, and flatten with keys. If a library
# has registered its class without the third one, an input of that class gives ``Did not
# find a flatten_with_keys_fn for type``.
# :ref:`l-plot-torch-export-with-dynamic-cache-201` explains the three of them.


def flatten(output):
    return list(output.values()), list(output.keys())


def flatten_with_keys(output):
    return [(pytree.MappingKey(k), v) for k, v in output.items()], list(output.keys())


def unflatten(values, names):
    return ModelOutput(zip(names, values))


pytree.register_pytree_node(
    ModelOutput,
    flatten,
    unflatten,
    serialized_type_name="cookbook.ModelOutput",
    flatten_with_keys_fn=flatten_with_keys,
)
torch.fx._pytree.register_pytree_flatten_spec(
    ModelOutput, lambda output, spec: [output[name] for name in spec.context]
)

# %%
# The check of this class: it goes in and comes out, with dynamic shapes. The list of
# ``dynamic_shapes`` has an entry for each item, in the order of the items.

rows = {0: size}
exported = torch.export.export(
    Layer(), (state,), dynamic_shapes=([rows, (rows,)],), strict=False
).module()
for number in (1, 2, 9, 64):
    state = ModelOutput(last=torch.rand(number, 4), layers=(torch.rand(number, 4),))
    got, expected = exported(state), Layer()(state)
    assert type(got) is ModelOutput and list(got) == ["last", "layers"]
    torch.testing.assert_close(got.last, expected.last)
    torch.testing.assert_close(got["layers"], expected["layers"])

# %%
# Clean up
# ++++++++
#
# A registration lives as long as the process. In a notebook, do this before you run
# the cells again; no public function does it.

for cls in (Batch, Prediction, Signal, SafeSignal, ModelOutput):
    named = pytree.SUPPORTED_SERIALIZED_TYPES.pop(cls).serialized_type_name
    pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE.pop(named, None)
    pytree.SUPPORTED_NODES.pop(cls)
    torch.fx._pytree.SUPPORTED_NODES.pop(cls, None)
    torch.fx._pytree.SUPPORTED_NODES_EXACT_MATCH.pop(cls, None)
assert not [n for n in pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE if "cookbook" in n]

# %%
# To remember
# +++++++++++
#
# * Register each dataclass that the model takes or returns, with a serialised name;
#   what stays inside the model needs nothing.
# * ``dynamic_shapes`` is a list with one entry for each field that is not None.
# * None and numbers are constants: another choice is refused when the program runs.
# * A field with ``init=False`` is dropped without an error.
#
# Next: :ref:`l-plot-exporter-inputs-optional` for fields that are None sometimes, and
# :ref:`l-plot-exporter-inputs-structure-mismatch` when ``dynamic_shapes`` is refused.
