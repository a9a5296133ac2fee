"""
.. _l-plot-exporter-inputs-from-calls:

Take the example inputs from real calls, with a forward hook
============================================================

.. answer::
   :cost: A copy of the inputs of a few calls.

   Inputs written by hand lack what the caller really passes: a cache, positions,
   flags. Run the application twice, with sizes that differ, record what ``forward``
   gets, and make each size that differs dynamic. Copy: ``generate`` changes the cache.

   .. code-block:: diff

      -args, kwargs = (), {"input_ids": ids, "attention_mask": mask}
      +hook = model.register_forward_pre_hook(record, with_kwargs=True)
      +generate(batch=2, length=5)
      +generate(batch=3, length=7)
      +hook.remove()
      +args, kwargs = calls[1]

   Not your case?

   * You have two examples already: :ref:`l-plot-exporter-shapes-infer`.
   * One program for prompt and steps: :ref:`l-plot-exporter-models-tiny-llm`.
   * The keywords are right, the structure is not: :ref:`l-plot-exporter-inputs-nested`.

.. meta::
   :keywords: capture inputs, record inputs, forward pre-hook, generate, example inputs,
      InputObserver, AdditionalInputs, ShapesCollection, past_key_values,
      kwarg keyword mismatch, decode step
"""

# %%
# The problem
# +++++++++++
#
# A small Llama with random weights. The program rejects the calls of ``generate``.

# sphinx_gallery_tags = ["whole models", "how to", "run fails", "export fails"]
# sphinx_gallery_wording = "how to find the inputs that transformers passes to forward"
# sphinx_gallery_wording = "capture the inputs of a model during generate for torch.export"
# sphinx_gallery_wording = "KeyError: 2 in make_constraints, dim = shape_spec[i] if shape_spec else None"

import contextlib
import copy
import inspect

import torch
import transformers
from torch.export import Dim
from torch.utils._pytree import tree_leaves
from transformers.integrations.executorch import (
    register_dynamic_cache_export_support,
)

register_dynamic_cache_export_support()
sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
config = transformers.LlamaConfig(vocab_size=64, num_hidden_layers=1, **sizes)
torch.manual_seed(0)
model = transformers.LlamaForCausalLM(config).eval().requires_grad_(False)


def generate(batch, length, tokens=3):
    ids = torch.randint(2, 64, (batch, length))
    mask = torch.ones_like(ids)
    options = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    return model.generate(ids, attention_mask=mask, max_new_tokens=tokens, **options)


ids = torch.randint(2, 64, (2, 5))
mask = torch.ones_like(ids)
args, kwargs = (), {"input_ids": ids, "attention_mask": mask}
by_hand = torch.export.export(model, args, kwargs, strict=False).module()


def call_program(module, args, kwargs):
    by_hand(*args, **kwargs)


hook = model.register_forward_pre_hook(call_program, with_kwargs=True)
try:
    generate(batch=2, length=5)
except ValueError as error:
    print(error)
hook.remove()

# %%
# The fix
# +++++++
#
# Record copies of the keywords of the signature, in its order. The first call of each
# run has the prompt, the others a token and a cache: ``calls[1]`` and ``calls[4]`` are
# steps of the two runs. ``ShapesCollection`` takes a specification for each tensor.

calls = []


def record(module, args, kwargs):
    names = inspect.signature(module.forward).parameters
    ordered = {name: kwargs[name] for name in names if name in kwargs}
    calls.append(copy.deepcopy((args, ordered)))


hook = model.register_forward_pre_hook(record, with_kwargs=True)
generate(batch=2, length=5)
generate(batch=3, length=7)
hook.remove()
args, kwargs = calls[1]
shapes = torch.export.ShapesCollection()
for tensor, other in zip(tree_leaves(calls[1]), tree_leaves(calls[4])):
    if isinstance(tensor, torch.Tensor):
        sizes = enumerate(zip(tensor.shape, other.shape))
        shapes[tensor] = {axis: Dim.DYNAMIC for axis, (a, b) in sizes if a != b}
program = torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)
for node in program.graph.nodes:
    if node.name in program.graph_signature.user_inputs:
        print(node.name, getattr(node.meta["val"], "shape", node.meta["val"]))

# %%
# Why it happens
# ++++++++++++++
#
# A pre-hook `gets the arguments
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/nn/modules/module.py#L1810>`_
# before ``forward`` does. ``generate`` passes one cache, which grows, to all calls:
# without a copy, the recorded prompt has a full cache, silently.

recorded = []
hook = model.register_forward_pre_hook(
    lambda module, args, kwargs: recorded.append(kwargs), with_kwargs=True
)
generate(batch=2, length=5)
hook.remove()
copied = [inputs for _, inputs in calls[:3]]
lengths = [call["past_key_values"].get_seq_length() for call in recorded + copied]
print(lengths)
assert lengths == [7, 7, 7, 0, 5, 6]

# %%
# ``generate`` has an order of its own, and passes ``return_dict``, which goes to
# ``**kwargs``. `The ranges
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_trace.py#L1527>`_ then
# meet other inputs: ``KeyError: 2`` up to PyTorch 2.7, and up to 2.13:

unordered = {name: kwargs.get(name, True) for name in recorded[0]}
print(list(unordered))
try:
    torch.export.export(model, args, unordered, dynamic_shapes=shapes, strict=False)
except (AssertionError, KeyError) as error:
    print(error)

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Instead
#      - Since
#      - Cost
#    * - ``AdditionalInputs``: compares the recorded calls for you
#      - PyTorch 2.8
#      - none; more in :ref:`l-plot-exporter-shapes-infer`
#    * - ``torch.onnx.InputObserver``: records and compares (`pull request 172838
#        <https://github.com/pytorch/pytorch/pull/172838>`_)
#      - PyTorch 2.11
#      - keeps three calls, unless ``store_n_calls`` says more
#    * - a hook on a submodule, to export this part alone
#      - all
#      - none; :ref:`l-plot-exporter-modules-piece-by-piece`

programs = [program]
with contextlib.suppress(AttributeError):
    examples = torch.export.AdditionalInputs()
    examples.add(*calls[4])
    options = {"dynamic_shapes": examples, "strict": False}
    programs.append(torch.export.export(model, args, kwargs, **options))

# %%
# The observer fails with transformers 5, where the cache of the prompt has no tensors.
# It works with the steps.

with contextlib.suppress(ImportError):
    from torch.onnx import InputObserver

    observer = InputObserver()
    with observer(model):
        generate(batch=2, length=5)
    try:
        observer.infer_dynamic_shapes()
    except RuntimeError as error:
        print(error)

    observer = InputObserver()
    with observer(model):
        for _, step in copy.deepcopy([calls[1], calls[4]]):
            model(**step)
    options = {"dynamic_shapes": observer.infer_dynamic_shapes(), "strict": False}
    inputs = observer.infer_arguments()
    observed = torch.export.export(model, (), inputs, **options)
    step = {name: calls[4][1][name] for name in inputs}
    expected = model(**copy.deepcopy(step)).logits
    torch.testing.assert_close(observed.module()(**step).logits, expected)

# %%
# Check
# +++++
#
# The references are the model and ``generate``, at sizes that were not recorded. The
# model reads the prompt, a program makes the steps.


def generate_with(program, ids, tokens):
    output = model(ids, use_cache=True)
    step = copy.deepcopy(kwargs)
    for _ in range(tokens):
        cache, new = output.past_key_values, output.logits[:, -1:].argmax(dim=-1)
        step["position_ids"] = torch.full_like(new, ids.shape[1])
        step |= {"input_ids": new, "past_key_values": cache}
        ids = torch.cat([ids, new], dim=1)
        expected = model(**copy.deepcopy(step))
        output = program.module()(**step)
        torch.testing.assert_close(output.logits, expected.logits)
    return ids


for batch, length in ((4, 2), (1, 6), (5, 9)):
    expected = generate(batch, length, tokens=8)
    for exported in programs:
        ids = generate_with(exported, expected[:, :length], tokens=8)
        assert torch.equal(ids, expected)
_, wrong = copy.deepcopy(calls[1])
wrong["input_ids"] = wrong["input_ids"][:1]
try:
    program.module()(**wrong)
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# What no recorded call had is not in the program. There was no padding, so ``generate``
# passed no mask; and the prompt is rejected:

try:
    program.module()(**copy.deepcopy(calls[0][1]))
except (AssertionError, RuntimeError, ValueError) as error:
    print(str(error).splitlines()[0])

# sphinx_gallery_start_ignore
for registry in (
    torch.utils._pytree.SUPPORTED_NODES,
    torch.utils._pytree.SUPPORTED_SERIALIZED_TYPES,
    torch.fx._pytree.SUPPORTED_NODES,
    torch.fx._pytree.SUPPORTED_NODES_EXACT_MATCH,
):
    registry.pop(transformers.DynamicCache, None)
# sphinx_gallery_end_ignore

# %%
# Summary
# +++++++
#
# * A pre-hook with ``with_kwargs=True``, a deep copy, the order of the signature.
# * Record calls that differ in all that varies; a batch of 2 or more comes first.
#
# Next: :ref:`l-plot-exporter-shapes-zero-one` for a size that was 1,
# :ref:`l-plot-exporter-inputs-args-kwargs` for the calls that a program accepts.
