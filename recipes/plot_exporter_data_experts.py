"""
.. _l-plot-exporter-data-experts:

Export a mixture of experts: loop over all experts
==================================================

.. answer::
   :cost: The operators of all experts run, for unused experts on zero rows.

   Which experts are used is known only at run time, so a loop over them, or an ``if``
   that skips the others, cannot be traced. An expert without tokens adds nothing: loop
   over all, and skip none.

   .. code-block:: diff

      -        hit = torch.nn.functional.one_hot(chosen, 8).sum(dim=(0, 1)).nonzero()
      -        for number in hit[:, 0]:
      +        for number in range(8):

   Not your case?

   * Tokens are sorted, and split by ``tolist``: :ref:`l-plot-exporter-data-lengths`.
   * ``x[mask]`` or ``nonzero`` outside of a mixture: :ref:`l-plot-exporter-data-mask`.
   * An expert must not run at all: :ref:`l-plot-exporter-control-cond`.

.. meta::
   :keywords: mixture of experts, MoE, Mixtral, router, expert_hit, index_add_, empty
      expert, torch.where, nonzero, top-k routing, u0 >= 1
"""

# %%
# The problem
# +++++++++++
#
# Each token goes to two of eight experts. The loop runs over the experts with a token.

# sphinx_gallery_tags = ["data-dependent values", "export fails", "run fails"]
# sphinx_gallery_wording = "GuardOnDataDependentSymNode in a mixture of experts, expert_hit nonzero"
# sphinx_gallery_wording = "MoE model cannot be exported"

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils.flop_counter import FlopCounterMode


class Mixture(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.router = torch.nn.Linear(4, 8, bias=False)
        self.up = torch.nn.Parameter(torch.randn(8, 4, 16))
        self.down = torch.nn.Parameter(torch.randn(8, 16, 4))

    def forward(self, x):
        weights, chosen = self.router(x).softmax(dim=-1).topk(2)
        result = torch.zeros_like(x)
        hit = torch.nn.functional.one_hot(chosen, 8).sum(dim=(0, 1)).nonzero()
        for number in hit[:, 0]:
            token, slot = torch.where(chosen == number)
            part = torch.relu(x[token] @ self.up[number]) @ self.down[number]
            result.index_add_(0, token, part * weights[token, slot, None])
        return result


torch.manual_seed(0)
model = Mixture()
x = torch.randn(12, 4)
tokens = ({0: torch.export.Dim("tokens", max=1024)},)
try:
    torch.export.export(model, (x,), dynamic_shapes=tokens, strict=False)
except GuardOnDataDependentSymNode as error:
    print(error)

# %%
# The fix
# +++++++


class AllNumbers(Mixture):
    def forward(self, x):
        weights, chosen = self.router(x).softmax(dim=-1).topk(2)
        result = torch.zeros_like(x)
        for number in range(8):
            token, slot = torch.where(chosen == number)
            part = torch.relu(x[token] @ self.up[number]) @ self.down[number]
            result.index_add_(0, token, part * weights[token, slot, None])
        return result


fixed = AllNumbers()
fixed.load_state_dict(model.state_dict())
program = torch.export.export(fixed, (x,), dynamic_shapes=tokens, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# ``nonzero`` has a `size that only the data knows
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_subclasses/fake_impls.py#L1278>`_,
# and the loop needs it. Put back an ``if`` that skips the empty experts, and the same
# question is asked about the number of tokens.


class Skip(Mixture):
    def known(self, token):
        pass

    def forward(self, x):
        weights, chosen = self.router(x).softmax(dim=-1).topk(2)
        result = torch.zeros_like(x)
        for number in range(8):
            token, slot = torch.where(chosen == number)
            self.known(token)
            if token.numel() == 0:
                continue
            part = torch.relu(x[token] @ self.up[number]) @ self.down[number]
            result.index_add_(0, token, part * weights[token, slot, None])
        return result


try:
    torch.export.export(Skip(), (x,), dynamic_shapes=tokens, strict=False)
except GuardOnDataDependentSymNode as error:
    print(str(error).splitlines()[0])

# %%
# The test saves nothing but time: no rows give no rows.

nothing = torch.zeros(0, dtype=torch.int64)
assert (x[nothing] @ model.up[0]).shape == (0, 16)

# %%
# Do not answer it with ``torch._check``: the program checks it, too, and one token
# cannot go to all experts.


class Promise(Skip):
    def known(self, token):
        torch._check(token.shape[0] >= 1)


promise = torch.export.export(Promise(), (x,), dynamic_shapes=tokens, strict=False)
try:
    promise.module()(x[:1])
except RuntimeError as error:
    print(error)

# %%
# Other fixes
# +++++++++++
#
# In the program above each expert has a size that only the data knows, so a runtime
# cannot plan its memory. Two programs without such sizes:
#
# .. list-table::
#    :header-rows: 1
#
#    * - Write
#      - Cost
#      - Good for
#    * - all experts on all tokens, ``AllTokens``
#      - four times the operations here (8 experts, 2 chosen)
#      - small experts, accelerators
#    * - the weights of the chosen experts for each token, ``Gathered``
#      - a copy of these weights for each token
#      - one token at a time


class AllTokens(Mixture):
    def forward(self, x):
        weights, chosen = self.router(x).softmax(dim=-1).topk(2)
        gate = torch.zeros(x.shape[0], 8).scatter(1, chosen, weights)
        result = torch.zeros_like(x)
        for number in range(8):
            part = torch.relu(x @ self.up[number]) @ self.down[number]
            share = gate[:, number, None]
            result = result + torch.where(share > 0, share * part, 0.0)
        return result


class Gathered(Mixture):
    def forward(self, x):
        weights, chosen = self.router(x).softmax(dim=-1).topk(2)
        hidden = torch.einsum("td,tkdh->tkh", x, self.up[chosen]).relu()
        parts = torch.einsum("tkh,tkhd->tkd", hidden, self.down[chosen])
        return (weights[..., None] * parts).sum(dim=1)


programs = [program]
for other in (AllTokens(), Gathered()):
    other.load_state_dict(model.state_dict())
    programs.append(
        torch.export.export(other, (x,), dynamic_shapes=tokens, strict=False)
    )

# %%
# The operations of the matrix products for 256 tokens, after those of the router:

many, counts = torch.randn(256, 4), []
for exported in programs:
    with FlopCounterMode(display=False) as flops:
        exported.module()(many)
    counts.append(flops.get_total_flops() - 2 * 256 * 4 * 8)
print(counts)
assert counts == [counts[0], 4 * counts[0], counts[0]]

# %%
# Check
# +++++
#
# Against the original model. One token leaves six experts empty.

for exported in programs:
    for count in (1, 2, 7, 300):
        some = torch.randn(count, 4)
        torch.testing.assert_close(exported.module()(some), model(some))

# %%
# More tokens than the dimension allows raise.

try:
    program.module()(torch.randn(1025, 4))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * Loop over ``range(experts)``, and do not skip the empty ones.
# * Fixed sizes cost operations (all tokens) or memory (gathered weights).
# * Trace with two tokens or more: :ref:`l-plot-exporter-shapes-zero-one`. More about
#   questions on ``u0``: :ref:`l-plot-exporter-data-guard`.
