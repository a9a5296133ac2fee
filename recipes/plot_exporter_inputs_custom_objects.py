"""
.. _l-plot-exporter-inputs-custom-objects:

Pass an object of your own to a custom operator
===============================================

.. answer::
   :cost: Whoever runs the program must store the object under its name first.

   An operator takes tensors, numbers, strings and lists of them, no other objects. Keep
   the object in a dictionary and pass its name: the operator looks it up at each call.

   .. code-block:: diff

      -def fee(weights: torch.Tensor, tariff: Tariff) -> torch.Tensor:
      -    return tariff.fee(weights)
      +def fee(weights: torch.Tensor, tariff: str) -> torch.Tensor:
      +    return TARIFFS[tariff].fee(weights)

   Not your case?

   * The object only holds tensors and numbers: :ref:`l-plot-exporter-inputs-dataclass`.
   * ``forward`` changes the object: :ref:`l-plot-exporter-wrong-state`.
   * A quantized or scripted module: :ref:`l-plot-exporter-modules-wrapped`.

.. meta::
   :keywords: custom class, Python object, Unsupported input type, infer_schema,
      unsupported type, __origin__, ScriptObject, TorchBind, register_fake_class,
      register_opaque_type, register_custom_class, opaque object, handle, tokenizer
"""

# %%
# The problem
# +++++++++++
#
# The model asks an object for fees. The export traces the method, and the object's
# tensors become constants: the program never sees new fees.

# sphinx_gallery_tags = ["inputs", "wrong without an error", "export fails"]
# sphinx_gallery_wording = "changes of a Python object are ignored by the exported program"
# sphinx_gallery_wording = "how to pass a custom class instance to torch.library.custom_op"
# sphinx_gallery_wording = "ValueError: infer_schema(func): Parameter meta has unsupported type typing.Dict[str, typing.Any]"
# sphinx_gallery_wording = "AttributeError: type object 'Config' has no attribute '__origin__'"
# sphinx_gallery_wording = "torch.export with a TorchBind class as attribute"

import bisect
import io

import torch


class Tariff:
    def __init__(self, limits, fees):
        self.limits, self.fees = torch.tensor(limits), torch.tensor(fees)

    def fee(self, weights):
        return self.fees[torch.bucketize(weights, self.limits)]


class Traced(torch.nn.Module):
    def __init__(self, tariff):
        super().__init__()
        self.tariff = tariff

    def forward(self, weights):
        return self.tariff.fee(weights) * 1.2


torch.manual_seed(0)
parcel = Tariff([1.0, 5.0], [4.0, 7.0, 15.0])
weights = torch.tensor([0.5, 3.0, 8.0])
traced = torch.export.export(Traced(parcel), (weights,), strict=False).module()
parcel.fees = torch.tensor([5.0, 9.0, 20.0])
print("model:  ", Traced(parcel)(weights))
print("program:", traced(weights))

# sphinx_gallery_start_ignore
assert not torch.allclose(Traced(parcel)(weights), traced(weights))
# sphinx_gallery_end_ignore

# %%
# A custom operator is not traced, but the object cannot be its argument (before PyTorch
# 2.10: ``no attribute '__origin__'``), nor an input of the program.

try:

    @torch.library.custom_op("cookbook_objects::no", mutates_args=())
    def fee(weights: torch.Tensor, tariff: Tariff) -> torch.Tensor:
        return tariff.fee(weights)

except (AttributeError, ValueError) as error:
    print(str(error).partition(" The valid types")[0])


class AsInput(torch.nn.Module):
    def forward(self, weights, tariff):
        return tariff.fee(weights) * 1.2


try:
    torch.export.export(AsInput(), (weights, parcel), strict=False)
except ValueError as error:
    print(error)

# %%
# The fix
# +++++++

TARIFFS = {"parcel": parcel}


@torch.library.custom_op("cookbook_objects::fee", mutates_args=())
def fee(weights: torch.Tensor, tariff: str) -> torch.Tensor:
    return TARIFFS[tariff].fee(weights)


@fee.register_fake
def fee_fake(weights, tariff):
    return torch.empty_like(weights)


class Shipping(torch.nn.Module):
    def forward(self, weights):
        return fee(weights, "parcel") * 1.2


count = torch.export.Dim("count", max=64)
program = torch.export.export(
    Shipping(), (weights,), dynamic_shapes=({0: count},), strict=False
)

# %%
# Why it happens
# ++++++++++++++
#
# The arguments of an operator have `one of these types
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_library/infer_schema.py#L443>`_,
# and inputs have `others
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_export/non_strict_utils.py#L209>`_.
# The name is a constant of the program, the object is not:

print(program.graph_module.code.strip())

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If
#      - Do this
#      - Cost
#    * - the object never changes, and its methods are operators of torch
#      - nothing: it may be an attribute, as in ``Traced``
#      - later changes are ignored silently
#    * - each call has another object
#      - pass its number in a tensor, as below
#      - one more input
#    * - it is a C++ object (TorchBind)
#      - the fix, as below
#      - its weights are not saved with the program
#    * - ``haven't registered a fake class``
#      - the fix, or ``torch._library.register_fake_class`` and, in C++,
#        ``__obj_flatten__`` (`issue 138344
#        <https://github.com/pytorch/pytorch/issues/138344>`_)
#      - private API; each method is written twice
#    * - you have PyTorch 2.13 or later
#      - ``register_opaque_type`` of ``torch._library.opaque_object`` (2.14:
#        ``register_custom_class``), object as an attribute
#      - private API; pickled into the file; an input raises ``Unfamiliar meta val``
#
# A number in a tensor is read at run time:


@torch.library.custom_op("cookbook_objects::fee_of", mutates_args=())
def fee_of(weights: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    return list(TARIFFS.values())[number.item()].fee(weights)


fee_of.register_fake(lambda weights, number: torch.empty_like(weights))


class Choice(torch.nn.Module):
    def forward(self, weights, number):
        return fee_of(weights, number) * 1.2


first = torch.tensor(0)
choice = torch.export.export(
    Choice(), (weights, first), dynamic_shapes=({0: count}, None), strict=False
).module()

# %%
# Packed weights, as in quantized layers, are a C++ object:

PACKED = {}


@torch.library.custom_op("cookbook_objects::packed_linear", mutates_args=())
def packed_linear(x: torch.Tensor, layer: str, size: int) -> torch.Tensor:
    return torch.ops.quantized.linear_dynamic_fp16(x, PACKED[layer])


@packed_linear.register_fake
def packed_linear_fake(x, layer, size):
    return x.new_empty(x.shape[0], size)


class Packed(torch.nn.Module):
    def forward(self, x):
        return packed_linear(x, "first", 3).relu()


matrix = torch.randn(3, 8)
PACKED["first"] = torch.ops.quantized.linear_prepack_fp16(matrix, None)
packed = torch.export.export(
    Packed(), (torch.rand(4, 8),), dynamic_shapes=({0: count},), strict=False
).module()

# %%
# Check
# +++++
#
# The reference is a search in Python lists. The fees change after the export.


def search(weights, limits, fees):
    return torch.tensor([fees[bisect.bisect_left(limits, w)] * 1.2 for w in weights])


file = io.BytesIO()
torch.export.save(program, file)
file.seek(0)
loaded = torch.export.load(file).module()
for table in ([1.0, 5.0], [4.0, 7.0, 15.0]), ([2.0], [3.0, 30.0]):
    TARIFFS["parcel"], TARIFFS["letter"] = Tariff(*table), Tariff([0.1], [1.0, 2.0])
    for size in (1, 2, 9, 64):
        new = 10 * torch.rand(size)
        for exported in (program.module(), loaded):
            torch.testing.assert_close(exported(new), search(new, *table))
        torch.library.opcheck(fee, (new, "parcel"))
        torch.testing.assert_close(choice(new, first), search(new, *table))
        letters = search(new, [0.1], [1.0, 2.0])
        torch.testing.assert_close(choice(new, first + 1), letters)
        x = torch.rand(size, 8)
        expected = (x @ matrix.T).relu()
        torch.testing.assert_close(packed(x), expected, atol=0.01, rtol=0.01)

# %%
# A program without its object must fail.

del TARIFFS["parcel"]
try:
    loaded(weights)
except KeyError as error:
    print("KeyError:", error)

# %%
# Limitations
# +++++++++++
#
# For an object that counts or logs: ``run_decompositions`` silently drops a call whose
# result is not used.


class Unused(torch.nn.Module):
    def forward(self, weights):
        fee(weights, "parcel")
        return weights + 1


unused = torch.export.export(Unused(), (weights,), strict=False)
assert "cookbook_objects.fee" in str(unused.graph)
assert "cookbook_objects.fee" not in str(unused.run_decompositions({}).graph)

# %%
# Summary
# +++++++
#
# * Pass the name, and look the object up in the operator. It may be a dictionary
#   (`issue 143466 <https://github.com/pytorch/pytorch/issues/143466>`_).
# * Each process that loads the program defines the operator and stores the object:
#   :ref:`l-plot-exporter-after-save-load`.
#
# Next: :ref:`l-plot-exporter-ops-custom` for the fake implementation,
# :ref:`l-plot-exporter-wrong-gradients` if gradients pass through the operator.
