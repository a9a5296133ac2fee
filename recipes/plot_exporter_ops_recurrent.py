"""
.. _l-plot-exporter-ops-recurrent:

Export an LSTM or GRU with a dynamic length
===========================================

.. answer::
   :cost: The operator has to be defined where the program runs.

   To learn the shapes, the exporter runs the layer as a Python loop over the steps, so
   the length is a constant. An operator of your own has no loop. PyTorch 2.11 and later
   can replace the loop: *Other fixes* below.

   .. code-block:: diff

      -        return self.head(self.layer(x)[0])
      +        state = x.new_zeros(1, x.shape[0], 8)
      +        weights = list(self.layer.parameters())
      +        return self.head(lstm(x, state, state, weights))

   Not your case?

   * Only the batch is constant: :ref:`l-plot-exporter-shapes-specialized`.
   * A loop over time that you wrote: :ref:`l-plot-exporter-control-scan`.
   * An operator fails at run time or in a converter: :ref:`l-plot-exporter-ops-custom`.

.. meta::
   :keywords: torch.nn.LSTM, torch.nn.GRU, recurrent network, dynamic sequence length,
      pack_padded_sequence, hidden state, unrolled loop, while_loop decomposition,
      _flat_weights, register_lstm_while_loop_decomposition
"""

# %%
# The problem
# +++++++++++
#
# One recurrent layer, and a head that labels each step.

# sphinx_gallery_tags = ["operators", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "LSTM is unrolled, the graph is huge"
# sphinx_gallery_wording = "time axis specialized"
# sphinx_gallery_wording = "Exception: _ViewSpec is incompatible with its base on creation. It has shape_dynamism=0, but its base has shape_dynamism=1."

import torch
from torch.export import Dim


class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.LSTM(4, 8, batch_first=True)
        self.head = torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.layer(x)[0])


torch.manual_seed(0)
model, x = Tagger().eval(), torch.randn(2, 3, 4)
batch, length = Dim("batch", max=64), Dim("length", max=512)
both = ({0: batch, 1: length},)
try:
    torch.export.export(model, (x,), dynamic_shapes=both, strict=False)
except torch._dynamo.exc.UserError as error:
    print(error)

# %%
# The fix
# +++++++
#
# The operator calls the same kernel, and tells the exporter the shape of the result.


@torch.library.custom_op(
    "recurrent_cookbook::lstm",
    mutates_args=(),
    schema="(Tensor x, Tensor h, Tensor c, Tensor[] weights) -> Tensor",
)
def lstm(x, h, c, weights):
    result = torch.lstm(x, (h, c), weights, True, 1, 0.0, False, False, True)
    return result[0].contiguous()


@lstm.register_fake
def shape(x, h, c, weights):
    return x.new_empty(x.shape[0], x.shape[1], h.shape[2])


class OperatorTagger(Tagger):
    def forward(self, x):
        state = x.new_zeros(1, x.shape[0], 8)
        weights = list(self.layer.parameters())
        return self.head(lstm(x, state, state, weights))


fixed = OperatorTagger().eval()
fixed.load_state_dict(model.state_dict())
program = torch.export.export(fixed, (x,), dynamic_shapes=both, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# With a static length the program has one node for the layer. The `loop in Python
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_decomp/decompositions.py#L4162>`_
# is its decomposition (`issue 115092
# <https://github.com/pytorch/pytorch/issues/115092>`_): two ``tanh`` per step.

static = torch.export.export(model, (x,), dynamic_shapes=({0: batch},), strict=False)
unrolled = static.run_decompositions()
for part in (static, unrolled):
    names = [str(node.target) for node in part.graph.nodes]
    print(names.count("aten.lstm.input"), names.count("aten.tanh.default"))
assert names.count("aten.tanh.default") == 2 * 3

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Fix
#      - Works with
#      - Cost
#    * - a context manager of torch: a ``while_loop``, below
#      - PyTorch 2.11 and later; ``torch.onnx.export`` uses it from 2.13 on
#      - private API; no training
#    * - one step per call, with the state, below
#      - all
#      - one call per step
#    * - the cell written out, in a :ref:`scan <l-plot-exporter-control-scan>`
#      - PyTorch 2.8 and later
#      - slow in eager mode
#    * - ``pack_padded_sequence``: a mask, below
#      - all
#      - work on the padding
#
# ``register_gru_while_loop_decomposition`` is that for GRU. To decompose the program,
# enter the context again (PyTorch 2.14 and later).

programs = [program]
try:
    from torch.export._patches import register_lstm_while_loop_decomposition

    with register_lstm_while_loop_decomposition():
        programs.append(
            torch.export.export(model, (x,), dynamic_shapes=both, strict=False)
        )
except ImportError as error:
    print(error)

# %%
# One step per call. The batch is dimension 1 of the state, even with ``batch_first``,
# and has to be dynamic there, too.


class Step(Tagger):
    def forward(self, x, h, c):
        result, (h, c) = self.layer(x, (h, c))
        return self.head(result), h, c


stepper, state = Step().eval(), torch.zeros(1, 2, 8)
stepper.load_state_dict(model.state_dict())
inputs = (x[:, :1], state, state.clone())
one = torch.export.export(
    stepper, inputs, dynamic_shapes=({0: batch}, {1: batch}, {1: batch}), strict=False
)

# %%
# ``pack_padded_sequence`` makes a size from data, and fails
# (`issue 112044 <https://github.com/pytorch/pytorch/issues/112044>`_). Run over the
# padding instead: a layer that runs forward meets it at the end.


class Packed(Tagger):
    def forward(self, x, lengths):
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        packed, (h, _) = self.layer(packed)
        padded, _ = torch.nn.utils.rnn.pad_packed_sequence(
            packed, batch_first=True, total_length=x.shape[1]
        )
        return padded, h[0]


class Padded(Tagger):
    def forward(self, x, lengths):
        result, _ = self.layer(x)
        valid = torch.arange(x.shape[1]) < lengths[:, None]
        last = (lengths - 1)[:, None, None].expand(-1, 1, 8)
        return result * valid[:, :, None], result.gather(1, last)[:, 0]


packed, padded, lengths = Packed().eval(), Padded().eval(), torch.tensor([3, 1])
padded.load_state_dict(packed.state_dict())
try:
    torch.export.export(packed, (x, lengths), strict=False)
except (RuntimeError, TypeError) as error:
    print(str(error).splitlines()[0])
masked = torch.export.export(
    padded, (x, lengths), dynamic_shapes=({0: batch}, {0: batch}), strict=False
)

# %%
# Check
# +++++
#
# Against the original models, for lengths that were not traced.

for rows, steps in ((1, 1), (3, 2), (5, 40)):
    long = torch.randn(rows, steps, 4)
    for exported in programs:
        torch.testing.assert_close(exported.module()(long), model(long))
    results, h, c = [], torch.zeros(1, rows, 8), torch.zeros(1, rows, 8)
    for step in long.split(1, dim=1):
        result, h, c = one.module()(step, h, c)
        results.append(result)
    torch.testing.assert_close(torch.cat(results, dim=1), model(long))
for some in ([3], [1, 2, 3], [2, 3, 1, 2]):
    args = torch.randn(len(some), 3, 4), torch.tensor(some)
    torch.testing.assert_close(masked.module()(*args), packed(*args))
try:
    program.module()(torch.randn(2, 6, 5))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# In PyTorch 2.12 and earlier, a decomposed LSTM silently returns its state with one
# dimension too many. Keep the operator: take it out of the table.

table = torch.export.default_decompositions()
table.pop(torch.ops.aten.lstm.input, None)
kept = one.run_decompositions(table)
print(one.run_decompositions().module()(*inputs)[1].shape)
torch.testing.assert_close(kept.module()(*inputs), stepper(*inputs))

# sphinx_gallery_start_ignore
lstm._lib._destroy()
# sphinx_gallery_end_ignore

# %%
# A bidirectional layer with padding needs two layers, the second over a sequence that
# was reversed up to its length. The warning that ``_flat_weights`` was assigned is
# harmless: no parameter is lost.
#
# Summary
# +++++++
#
# * The batch can be dynamic; the length needs a loop that is not Python's.
# * A converter that decomposes meets the same loop. ExecuTorch, ``_ViewSpec is
#   incompatible`` (`issue 20008 <https://github.com/pytorch/executorch/issues/20008>`_):
#   export one step with a static batch.
# * Next: :ref:`l-plot-exporter-ops-decompositions`; other lengths that are data,
#   :ref:`l-plot-exporter-data-lengths`.
