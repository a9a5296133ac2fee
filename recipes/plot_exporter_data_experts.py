"""
.. _l-plot-exporter-data-experts:

A mixture of experts: tokens in different layers
================================================

The loop over the experts fails with ``Could not guard on data-dependent expression
Eq(u0, 0)``, where it skips an expert without tokens, or with ``Could not extract
specialized integer``, where it goes over the experts that were chosen. Or the program
refuses a single token: ``Runtime assertion failed for expression u0 >= 1``.

This page exports such a layer in three ways, and compares their operations and memory.

.. meta::
   :description: Loop over all experts and do not skip the empty ones; for fixed sizes,
      run all experts on all tokens or gather the weights.
   :keywords: mixture of experts, MoE, Mixtral, router, expert_hit, index_add_, empty
      expert, torch.where, nonzero, top-k routing
"""

# %%
# The model
# +++++++++
#
# Each token goes to the two experts which the router prefers, out of eight. For each
# expert, ``torch.where`` finds its tokens and ``index_add_`` puts the results back. An
# expert without tokens is skipped. The second class loops over the experts that were
# chosen, as some models of language do.

# sphinx_gallery_tags = ["data-dependent values", "export fails", "run fails"]
# sphinx_gallery_wording = "GuardOnDataDependentSymNode in a mixture of experts, expert_hit nonzero"
# sphinx_gallery_wording = "MoE model cannot be exported"

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

EXPERTS, CHOSEN, WIDTH, HIDDEN = 8, 2, 4, 16


class Mixture(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.router = torch.nn.Linear(WIDTH, EXPERTS, bias=False)
        self.up = torch.nn.Parameter(torch.randn(EXPERTS, HIDDEN, WIDTH))
        self.down = torch.nn.Parameter(torch.randn(EXPERTS, WIDTH, HIDDEN))

    def forward(self, x):
        weights, chosen = torch.softmax(self.router(x), dim=-1).topk(CHOSEN)
        return self.mix(x, weights, chosen)

    def expert(self, number, x):
        return torch.nn.functional.silu(x @ self.up[number].T) @ self.down[number].T

    def skips(self, token):
        return token.numel() == 0

    def mix(self, x, weights, chosen):
        result = torch.zeros_like(x)
        for number in range(EXPERTS):
            token, slot = torch.where(chosen == number)
            if self.skips(token):
                continue
            part = self.expert(number, x[token]) * weights[token, slot, None]
            result.index_add_(0, token, part)
        return result


class OnlyHit(Mixture):
    def mix(self, x, weights, chosen):
        result = torch.zeros_like(x)
        mask = torch.nn.functional.one_hot(chosen, EXPERTS)
        for number in mask.sum(dim=(0, 1)).nonzero():
            token, slot = torch.where(chosen == number)
            part = self.expert(number[0], x[token]) * weights[token, slot, None]
            result.index_add_(0, token, part)
        return result


torch.manual_seed(0)
model = Mixture()


def variant(kind):
    other = kind()
    other.load_state_dict(model.state_dict())
    return other


# %%
# The symptom
# +++++++++++

REFUSED = (GuardOnDataDependentSymNode, torch._dynamo.exc.UserError)
x = torch.randn(12, WIDTH)
tokens = ({0: torch.export.Dim("tokens", max=1024)},)
torch.testing.assert_close(variant(OnlyHit)(x), model(x))


def export(kind, strict=False):
    model = variant(kind)
    return torch.export.export(model, (x,), dynamic_shapes=tokens, strict=strict)


for kind in (Mixture, OnlyHit):
    for strict in (False, True):
        try:
            export(kind, strict)
        except REFUSED as error:
            message = str(error).strip().splitlines()[0].split(" (unhinted")[0]
        else:
            message = "This release exports it."
        print(f"{kind.__name__}, strict={strict}: {message}")
        assert "data-dependent expression" in message

# %%
# The cause
# +++++++++
#
# In the first class, ``u0`` is the number of tokens of an expert, and the ``if`` asks
# whether it is 0. In the second, it is the number of experts that were chosen, and the
# loop needs it. Both save work in Python, and a trace has no tokens to count. The
# question is also superfluous: an expert on no rows gives no rows, and ``index_add_``
# adds nothing.

nothing = torch.zeros(0, dtype=torch.int64)
part = model.expert(0, x[nothing])
assert part.shape == (0, WIDTH)
torch.testing.assert_close(x.clone().index_add_(0, nothing, part), x)

# %%
# Fix 1: loop over all experts, and ask nothing
# +++++++++++++++++++++++++++++++++++++++++++++
#
# Remove the ``if``, here by an answer that is always no. Nothing else stands in the
# way, on all releases of this page. The second class becomes the same if it loops over
# ``range(EXPERTS)``, which is what was proposed for `Mixtral
# <https://github.com/huggingface/transformers/issues/38518>`_.


class NoQuestion(Mixture):
    def skips(self, token):
        return False


def sizes_from_data(program):
    values = [node.meta.get("val") for node in program.graph.nodes]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    sizes = [str(size) for tensor in tensors for size in tensor.shape]
    return sorted({size for size in sizes if size.startswith("u")})


programs = {"NoQuestion": export(NoQuestion)}
sizes = sizes_from_data(programs["NoQuestion"])
print("numbers of tokens:", sizes)
assert len(sizes) == EXPERTS

# %%
# The price: each expert has a size that only the data knows, so a runtime cannot plan
# its memory, and the operators of all experts run, even for one token.
#
# A ``torch._check`` that no expert is empty also silences the exporter. Do not: the
# check is part of the program, and one token cannot go to all experts.


class Promise(Mixture):
    def skips(self, token):
        torch._check(token.shape[0] >= 1)
        return token.numel() == 0


promise = export(Promise)
try:
    promise.module()(x[:1])
except RuntimeError as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print(message)
assert ">= 1" in message

# %%
# Fix 2: all experts on all tokens
# ++++++++++++++++++++++++++++++++
#
# The weight of an expert that was not chosen is zero. All sizes follow from the number
# of tokens. ``torch.where`` instead of a product: zero times an expert that overflows
# would be ``nan``. The price is the work of all experts for each token.


class AllExperts(Mixture):
    def mix(self, x, weights, chosen):
        zeros = torch.zeros(x.shape[0], EXPERTS, dtype=x.dtype, device=x.device)
        gate = zeros.scatter(1, chosen, weights)
        result = torch.zeros_like(x)
        for number in range(EXPERTS):
            share = gate[:, number, None]
            part = share * self.expert(number, x)
            result = result + torch.where(share > 0, part, 0.0)
        return result


assert (0 * torch.tensor(float("inf"))).isnan()

# %%
# Fix 3: each token takes its weights along
# +++++++++++++++++++++++++++++++++++++++++
#
# ``self.up[chosen]`` has the weights of two experts for each token, and a product of
# batches uses them. No work is wasted, and there is no loop. The price is the memory: a
# copy of the weights of two experts for each token. Good for one token at a time, bad
# for a long prompt.


class GatheredWeights(Mixture):
    def mix(self, x, weights, chosen):
        up, down = self.up[chosen], self.down[chosen]
        hidden = torch.nn.functional.silu(torch.einsum("td,tkhd->tkh", x, up))
        parts = torch.einsum("tkh,tkdh->tkd", hidden, down)
        return (weights[..., None] * parts).sum(dim=1)


for kind in (AllExperts, GatheredWeights):
    programs[kind.__name__] = program = export(kind)
    print(kind.__name__, "has sizes from data:", bool(sizes_from_data(program)))
    assert not sizes_from_data(program)

# %%
# What they cost
# ++++++++++++++
#
# ``torch.utils.flop_counter.FlopCounterMode`` counts the operations of the products.
# The largest tensor that is made is measured with a mode of our own.


class Largest(TorchDispatchMode):
    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not func.is_view:
            self.numbers = max(self.numbers, result.numel())
        return result


costs = {}
for count in (1, 256):
    inputs = torch.randn(count, WIDTH)
    for name, call in {"Mixture": model, **programs}.items():
        call = call if name == "Mixture" else call.module()
        with FlopCounterMode(display=False) as flops, Largest() as largest:
            call(inputs)
        costs[name, count] = flops.get_total_flops(), largest.numbers
        print(f"{count:3} tokens {name:16}", *map("{:8}".format, costs[name, count]))

# %%
# The first number is operations, the second is the size of the largest tensor. For the
# first and the third fix, the operations are those of the model. To run all experts
# costs ``EXPERTS / CHOSEN`` times as much, without the router. The gathered weights are
# ``CHOSEN * WIDTH`` times as large as what one expert makes for all tokens, and WIDTH
# is thousands in a real model.

routing = 2 * 256 * WIDTH * EXPERTS
useful = costs["Mixture", 256][0] - routing
assert costs["NoQuestion", 256][0] == costs["Mixture", 256][0]
assert costs["GatheredWeights", 256][0] == costs["Mixture", 256][0]
assert costs["AllExperts", 256][0] - routing == useful * EXPERTS // CHOSEN
assert costs["AllExperts", 256][1] == 256 * HIDDEN
assert costs["GatheredWeights", 256][1] == 256 * HIDDEN * CHOSEN * WIDTH

# %%
# The check
# +++++++++
#
# One token leaves six experts empty, and none of these numbers of tokens was traced.

for name, program in programs.items():
    exported = program.module()
    for count in (1, 2, 7, 300):
        inputs = torch.randn(count, WIDTH)
        torch.testing.assert_close(exported(inputs), model(inputs))
    print(f"{name}: same result")

# %%
# More tokens than the dimension allows are refused. Trace with two tokens or more, see
# :ref:`l-plot-exporter-shapes-zero-one`.

for program in programs.values():
    try:
        program.module()(torch.randn(1025, WIDTH))
    except (AssertionError, RuntimeError) as error:
        message = str(error).splitlines()[0]
    else:
        message = "This release runs it."
    print(message)
    assert "1024" in message

# %%
# To remember
# +++++++++++
#
# * Loop over all experts with ``range``, and do not skip the empty ones.
# * ``torch._check`` that an expert has tokens is a promise which short inputs break.
# * Fixed sizes cost operations (all experts) or memory (gathered weights).
#
# Next: :ref:`l-plot-exporter-data-lengths` if tokens are sorted and split by
# ``tolist``, :ref:`l-plot-exporter-data-mask` for ``nonzero``,
# :ref:`l-plot-exporter-control-cond` to skip an expert when the program runs.
