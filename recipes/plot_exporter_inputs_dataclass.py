"""
.. _l-plot-exporter-inputs-dataclass:

Register a dataclass that the model takes or returns
====================================================

.. answer::
   :cost: Nothing at run time. PyTorch 2.6 needs one more line, see *Limitations*.

   The exporter takes inputs and outputs apart to find the tensors, and does not know
   your dataclass. Register it. In ``dynamic_shapes`` it is a list: one entry for each
   field that is not None, in the order of the fields.

   .. code-block:: diff

      +torch.export.register_dataclass(Batch)
      +torch.export.register_dataclass(Prediction)
      -shapes = ({"features": rows, "mask": rows, "temperature": None},)
      +shapes = ([rows, rows, None],)

   Not your case?

   * The class is no dataclass: :ref:`l-plot-torch-export-with-dynamic-cache-201`.
   * The program rejects a field that is None: :ref:`l-plot-exporter-inputs-optional`.
   * It rejects a number: :ref:`l-plot-exporter-inputs-python-scalars`.
   * An operator takes the object: :ref:`l-plot-exporter-inputs-custom-objects`.

.. meta::
   :keywords: dataclass, register_dataclass, frozen dataclass, register_constant,
      ModelOutput, BatchEncoding, subclass of dict, Unsupported input type,
      not a known type, unrecognized type, unhashable type, Node type mismatch
"""

# %%
# The problem
# +++++++++++
#
# The input is a dataclass with a tensor, an optional tensor and a number.

# sphinx_gallery_tags = ["inputs", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "a field of the dataclass is ignored by the exported program"
# sphinx_gallery_wording = "how to export a model that returns a ModelOutput"
# sphinx_gallery_wording = "call_function args: UserDefinedObjectVariable(EasyDict)"
# sphinx_gallery_wording = "It looks like one of the inputs with type `<class 'Batch'>` is not supported or pytree-flattenable."
# sphinx_gallery_wording = "Encountered unrecognized type UserDefinedObjectVariable(Prediction) at output 0"
# sphinx_gallery_wording = "Node arity mismatch; expected 2, but got 3."
import collections
import dataclasses
from typing import Optional

import torch


@dataclasses.dataclass
class Batch:
    features: torch.Tensor
    mask: Optional[torch.Tensor] = None
    temperature: float = 1.0


@dataclasses.dataclass(frozen=True)
class Prediction:
    scores: torch.Tensor
    loss: Optional[torch.Tensor] = None


class Classifier(torch.nn.Module):
    def forward(self, batch):
        features = batch.features
        if batch.mask is not None:
            features = features * batch.mask
        return Prediction(torch.softmax(features / batch.temperature, dim=-1))


torch.manual_seed(0)
model = Classifier()
batch = Batch(torch.randn(3, 5), torch.rand(3, 5))
rows = {0: torch.export.Dim("rows", min=1, max=64)}
shapes = ({"features": rows, "mask": rows, "temperature": None},)
for dynamic_shapes in (None, shapes):
    try:
        torch.export.export(
            model, (batch,), dynamic_shapes=dynamic_shapes, strict=False
        )
    except (ValueError, torch._dynamo.exc.UserError) as error:
        print(error, end="\n\n")

# %%
# A dataclass that is returned fails in other words, which depend on the version.


class Returns(torch.nn.Module):
    def forward(self, features):
        return Prediction(torch.softmax(features, dim=-1))


try:
    torch.export.export(Returns(), (batch.features,), strict=False)
except (RuntimeError, TypeError) as error:
    print(error)

# %%
# The fix
# +++++++
#
# A dataclass may be frozen. One that is made and used inside ``forward`` needs nothing.

torch.export.register_dataclass(Batch)
torch.export.register_dataclass(Prediction)

rows = {0: torch.export.Dim("rows", min=1, max=64)}
shapes = ([rows, rows, None],)
program = torch.export.export(model, (batch,), dynamic_shapes=shapes, strict=False)
print(program.graph_signature.user_inputs)

# %%
# .. list-table::
#    :header-rows: 1
#
#    * - A field that is
#      - has in ``dynamic_shapes``
#      - and in later calls
#    * - a tensor
#      - its dimensions
#      - any values
#    * - a list or a dictionary
#      - a list or a dictionary
#      - the same length, the same keys: :ref:`l-plot-exporter-inputs-nested`
#    * - None
#      - no entry
#      - must be None: :ref:`l-plot-exporter-inputs-optional`
#    * - a number, a string
#      - None
#      - the same value: :ref:`l-plot-exporter-inputs-python-scalars`
#    * - ``field(init=False)``
#      - no entry
#      - is ignored silently, see *Limitations*
#
# Why it happens
# ++++++++++++++
#
# A class that is not registered stays in one piece. A registered dataclass is a `list
# of the fields that are not None
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/utils/_pytree.py#L369>`_; a
# dictionary, or a list of a different length, does not fit to it.

pytree = torch.utils._pytree
print([type(leaf).__name__ for leaf in pytree.tree_leaves(batch)])
for spec in ({"features": rows, "mask": rows, "temperature": None}, [rows, rows]):
    try:
        torch.export.export(model, (batch,), dynamic_shapes=(spec,), strict=False)
    except ValueError as error:
        print(error)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If the class
#      - Do this
#      - Cost
#    * - derives from ``dict``: ``ModelOutput``, ``EasyDict``, ``BatchEncoding``
#      - pass and return ``dict(value)``, or ``register_pytree_node`` as below
#      - private API
#    * - has no tensors, as a configuration
#      - ``torch.utils._pytree.register_constant``, or keep it in the model
#      - private API; a program for each value
#    * - must not be registered
#      - pass the tensors, make the dataclass in ``forward``
#      - a different signature
#
# The exporter knows ``dict`` and ``OrderedDict``, and no class that derives from them:


class ModelOutput(collections.OrderedDict):
    def __getattr__(self, name):
        return self[name]


class Layer(torch.nn.Module):
    def forward(self, state):
        return ModelOutput(last=state.last * 2, first=state.first + 1)


pytree.register_pytree_node(
    ModelOutput,
    lambda output: (list(output.values()), list(output)),
    lambda values, names: ModelOutput(zip(names, values)),
    serialized_type_name="mine.ModelOutput",  # the name in a saved file
    flatten_with_keys_fn=lambda output: (
        [(pytree.MappingKey(name), value) for name, value in output.items()],
        list(output),
    ),
)
torch.fx._pytree.register_pytree_flatten_spec(  # PyTorch 2.6 only
    ModelOutput, lambda output, spec: [output[name] for name in spec.context]
)

state = ModelOutput(last=torch.rand(3, 4), first=torch.rand(3, 4))
layer = torch.export.export(
    Layer(), (state,), dynamic_shapes=([rows, rows],), strict=False
)

# %%
# ``register_constant`` makes the instance a part of the program, and one that is not
# equal is rejected. The class needs ``==`` and ``hash``, as a frozen dataclass has; in
# ``dynamic_shapes`` it is an empty list. PyTorch 2.6 does not have it.


@dataclasses.dataclass(frozen=True)
class Config:
    scale: float


class Scale(torch.nn.Module):
    def forward(self, x, config):
        return x * config.scale


try:
    pytree.register_constant(Config)
    scale = torch.export.export(
        Scale(), (torch.ones(3), Config(2.0)), dynamic_shapes=(rows, []), strict=False
    ).module()
    print(scale(torch.ones(1), Config(2.0)))
    scale(torch.ones(1), Config(3.0))
except (AttributeError, ValueError) as error:
    print(error)

# %%
# Check
# +++++
#
# The model itself is the reference: the registration does not change it.

# sphinx_gallery_start_ignore
for cls in (Batch, Prediction):  # PyTorch 2.6
    torch.fx._pytree.register_pytree_flatten_spec(
        cls, lambda value, spec: [getattr(value, name) for name in spec.context[0]]
    )
# sphinx_gallery_end_ignore
strict = torch.export.export(model, (batch,), dynamic_shapes=shapes, strict=True)
for size in (1, 2, 9, 64):
    new = Batch(torch.randn(size, 5), torch.rand(size, 5))
    for exported in (program.module(), strict.module()):
        result = exported(new)
        assert type(result) is Prediction and result.loss is None
        torch.testing.assert_close(result.scores, model(new).scores)
    state = ModelOutput(last=torch.rand(size, 4), first=torch.rand(size, 4))
    result, expected = layer.module()(state), Layer()(state)
    assert type(result) is ModelOutput
    torch.testing.assert_close(dict(result), dict(expected))

# %%
# A different number must be rejected, since it is a constant.

try:
    program.module()(dataclasses.replace(batch, temperature=2.0))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# ``register_dataclass`` takes the `fields of the constructor
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/utils/_pytree.py#L345>`_. A
# field with ``init=False`` is not an input: it keeps what ``__post_init__`` gives it.


@dataclasses.dataclass
class Signal:
    samples: torch.Tensor
    gain: torch.Tensor = dataclasses.field(init=False)

    def __post_init__(self):
        self.gain = torch.ones(())


class Amplifier(torch.nn.Module):
    def forward(self, signal):
        return signal.samples * signal.gain


torch.export.register_dataclass(Signal)
# sphinx_gallery_start_ignore
torch.fx._pytree.register_pytree_flatten_spec(  # PyTorch 2.6
    Signal, lambda signal, spec: [signal.samples]
)
# sphinx_gallery_end_ignore
signal = Signal(torch.ones(3))
signal.gain = torch.tensor(5.0)
try:
    amplifier = torch.export.export(Amplifier(), (signal,), strict=False)
    print("program:", amplifier.module()(signal))
except TypeError as error:
    print(error)
print("model:  ", Amplifier()(signal))

# %%
# Give the field a default instead, like ``mask``. PyTorch 2.6 runs a program only after
# ``register_pytree_flatten_spec``, as for ``ModelOutput``. To save it, use
# ``register_dataclass(Batch, serialized_type_name="...")``.
#
# Summary
# +++++++
#
# * Register each dataclass that goes in or comes out, once.
# * Its ``dynamic_shapes`` are a list. None, numbers and strings are constants.
#
# Next: :ref:`l-plot-exporter-inputs-structure-mismatch` when ``dynamic_shapes`` still
# fails, :ref:`l-plot-exporter-after-save-load` for a program in a file.
