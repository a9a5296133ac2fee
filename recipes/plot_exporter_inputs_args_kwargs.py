"""
.. _l-plot-exporter-inputs-args-kwargs:

Call the program as it was exported: args and kwargs
====================================================

.. answer::
   :cost: Nothing at run time.

   The program keeps the split of the example into positional arguments and keywords,
   and rejects any other. Dynamic shapes with ``**kwargs`` in ``forward`` fail in most
   versions: give each input a name.

   .. code-block:: diff

       # for a call run(query, keys=keys)
      -program = torch.export.export(model, (query, keys), strict=False)
      +program = torch.export.export(model, (query,), {"keys": keys}, strict=False)
       # "Must provide a tree_name", "top-level keys": a wrapper
      -    def forward(self, x, *others, **gates):
      +    def forward(self, x, left, right, scale, shift):
      +        return self.model(x, left, right, scale=scale, shift=shift)

   Not your case?

   * ``Trying to flatten user inputs``: :ref:`l-plot-exporter-inputs-nested`.
   * The default is None: :ref:`l-plot-exporter-inputs-optional`.

.. meta::
   :keywords: kwarg keyword mismatch, Trying to flatten user inputs, torch.export
      kwargs, variable arguments, keyword order, positional arguments, default
      argument, Must provide a tree_name, name 'L' is not defined, TransformersKwargs,
      top-level keys must be the arg names, Expecting args to be a tuple
"""

# %%
# The problem
# +++++++++++
#
# The example has two positional arguments. The call gives one of them by name.

# sphinx_gallery_tags = ["inputs", "run fails", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "exported program does not accept keyword arguments"
# sphinx_gallery_wording = "output depends on the order of kwargs in eager, not after the export"
# sphinx_gallery_wording = "name 'L' is not defined"
# sphinx_gallery_wording = "Must provide a tree_name when there might be a mismatch"
# sphinx_gallery_wording = "forward() missing 1 required positional argument: 'batch'"
# sphinx_gallery_wording = "Expecting `args` to be a tuple of example positional inputs, got <class 'torch.Tensor'>"

import inspect

import torch


class Scores(torch.nn.Module):
    def forward(self, query, keys, temperature=1.0):
        return torch.softmax(query @ keys.T / temperature, dim=-1)


torch.manual_seed(0)
model = Scores()
query, keys = torch.randn(4, 3), torch.randn(6, 3)
program = torch.export.export(model, (query, keys), strict=False)
run = program.module()
try:
    run(query, keys=keys)
except ValueError as error:
    print(error)

# %%
# ``*others`` and ``**gates`` are one entry each in ``dynamic_shapes``, a tuple and a
# dictionary. Still, most versions fail during the export, or later in the program.


class Gated(torch.nn.Module):
    def forward(self, x, *others, **gates):
        for other in others:
            x = x + other
        return x * gates["scale"] + gates["shift"]


def tensors(count, rows=4):
    return [torch.randn(rows, 3) for _ in range(count)]


rows = {0: torch.export.Dim("rows", min=1, max=64)}
x, left, right, scale, shift = tensors(5)
gates = {"scale": scale, "shift": shift}
nested = {"x": rows, "others": (rows, rows), "gates": {"scale": rows, "shift": rows}}
flat = {"x": rows, "left": rows, "right": rows, "scale": rows, "shift": rows}
for shapes in (nested, flat):
    try:
        gated = torch.export.export(
            Gated(), (x, left, right), gates, dynamic_shapes=shapes, strict=False
        )
        gated.module()(x, left, right, **gates)
    except (AssertionError, NameError, torch._dynamo.exc.UserError) as error:
        print("-", error)

# %%
# The fix
# +++++++
#
# Export with the call that you will make. The wrapper fixes the number of arguments, as
# the program does anyway, and makes ``dynamic_shapes`` flat.

program = torch.export.export(model, (query,), {"keys": keys}, strict=False)
run = program.module()
run(query, keys=keys)


class Named(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, left, right, scale, shift):
        return self.model(x, left, right, scale=scale, shift=shift)


rows = {0: torch.export.Dim("rows", min=1, max=64)}
named = torch.export.export(
    Named(Gated()), (x, left, right), gates, dynamic_shapes=(rows,) * 5, strict=False
)

# %%
# Why it happens
# ++++++++++++++
#
# A call is compared with `the keywords
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_tree_utils.py#L28>`_
# and `the structure
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/export/_unlift.py#L70>`_ of the
# example. The signature does not show them; the example inputs do.

print(inspect.signature(run.forward))
args, kwargs = program.example_inputs
print(len(args), "positional, keywords", list(kwargs))
try:
    run(query, keys)
except ValueError as error:
    print(error)

# %%
# PyTorch 2.8 to 2.13 compare the entry of ``**gates`` with the flat keywords (`issue
# 150022 <https://github.com/pytorch/pytorch/issues/150022>`_; in models of
# transformers: ``TransformersKwargs``, `issue 164313
# <https://github.com/pytorch/pytorch/issues/164313>`_). Later versions export the
# model, and the program fails in a guard, except in strict mode. ``*others`` alone
# fails in 2.9.
#
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - If
#      - Do this
#      - Cost
#    * - callers write the call in several ways
#      - ``inspect.signature``, as below
#      - a Python function around the program
#    * - callers pass a default, such as ``temperature``
#      - pass it in the example, too
#      - it is a constant: :ref:`l-plot-exporter-inputs-python-scalars`
#    * - the export says ``Expecting args to be a tuple``
#      - ``(query,)`` instead of ``query``
#      - none
#    * - :func:`torch.onnx.export` says ``missing 1 required positional argument``: it
#        takes a dictionary at the end of ``args`` for the keywords
#      - ``(batch, {})`` instead of ``(batch,)``
#      - none
#
# ``bind`` brings each call into one form:

signature = inspect.signature(model.forward)


def in_one_form(*args, **kwargs):
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.args


number = {0: torch.export.Dim("number", min=2, max=99)}
flexible = torch.export.export(
    model, in_one_form(query, keys), dynamic_shapes=(rows, number, None), strict=False
).module()

# %%
# Check
# +++++
#
# The models are the reference.

torch.testing.assert_close(run(query, keys=keys), model(query, keys))
for size, count in [(1, 2), (3, 50), (64, 99)]:
    a, b = torch.randn(size, 3), torch.randn(count, 3)
    for inputs in (
        in_one_form(a, b),
        in_one_form(a, keys=b),
        in_one_form(keys=b, query=a),
        in_one_form(a, b, 1.0),
    ):
        torch.testing.assert_close(flexible(*inputs), model(a, b))
    a, b, c, d, e = tensors(5, rows=size)
    expected = Gated()(a, b, c, shift=e, scale=d)
    torch.testing.assert_close(named.module()(a, b, c, shift=e, scale=d), expected)
assert named.graph_signature.user_inputs == ("x", "left", "right", "scale", "shift")

# %%
# 65 rows must be rejected.

a, b, c, d, e = tensors(5, rows=65)
try:
    named.module()(a, b, c, scale=d, shift=e)
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# Eager sees ``**features`` in the order of the call, the program silently in the order
# of the example. A model that depends on their order, as this one, needs names.


class Join(torch.nn.Module):
    def forward(self, x, **features):
        return torch.cat([x, *features.values()])


zero, one, two = torch.tensor([[0.0], [1.0], [2.0]])
joined = torch.export.export(Join(), (zero,), {"a": one, "b": two}, strict=False)
print("model:  ", Join()(zero, b=two, a=one))
print("program:", joined.module()(zero, b=two, a=one))

# %%
# In the example, write keywords in the order of ``forward``: otherwise PyTorch 2.6 and
# 2.7 swap the ranges of their dimensions (`pull request 149528
# <https://github.com/pytorch/pytorch/pull/149528>`_).
#
# Summary
# +++++++
#
# * Positional stays positional, a keyword stays a keyword, and a default that is not in
#   the example cannot be passed.
# * Replace ``*args`` and ``**kwargs`` by names before you ask for dynamic shapes.
#
# Next: :ref:`l-plot-exporter-inputs-from-calls` for the arguments of real calls,
# :ref:`l-plot-exporter-inputs-optional` for a default that is None,
# :ref:`l-plot-exporter-inputs-structure-mismatch` for other ``dynamic_shapes``.
