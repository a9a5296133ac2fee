"""
.. _l-plot-exporter-ops-recurrent:

Export an LSTM or GRU with a dynamic length
===========================================

``Constraints violated (length)! ... specialized it to be a constant (3)``, as soon as
the time dimension of a recurrent layer is dynamic. ``pack_padded_sequence`` cannot be
exported at all, and a decomposed LSTM may return a state of another shape without an
error.

This page shows where the length is lost, four ways to keep it, and what to write
instead of packed sequences.

.. meta::
   :description: Put the LSTM into a custom operator, a scan or one step per call; mask
      instead of packing.
   :keywords: torch.nn.LSTM, torch.nn.GRU, recurrent network, dynamic sequence length,
      pack_padded_sequence, hidden state, unrolled loop, while_loop decomposition
"""

# %%
# The model
# +++++++++
#
# One recurrent layer and a head that labels each step.

# sphinx_gallery_tags = ["operators", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "LSTM is unrolled, the graph is huge"
# sphinx_gallery_wording = "time axis specialized"
# sphinx_gallery_wording = "Exception: _ViewSpec is incompatible with its base on creation. It has shape_dynamism=0, but its base has shape_dynamism=1."

import warnings

import torch
import torch._dynamo
from torch._higher_order_ops.scan import scan

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


class Tagger(torch.nn.Module):
    def __init__(self, layer=torch.nn.LSTM):
        super().__init__()
        self.layer = layer(4, 8, batch_first=True)
        self.head = torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.layer(x)[0])


torch.manual_seed(0)
model, x = Tagger().eval(), torch.randn(2, 3, 4)
batch, length = torch.export.Dim("batch", max=64), torch.export.Dim("length", max=512)
both = ({0: batch, 1: length},)

# %%
# The symptom
# +++++++++++

for layer, strict in [("LSTM", False), ("GRU", True)]:
    tagger = Tagger(getattr(torch.nn, layer))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # see below
            torch.export.export(tagger, (x,), dynamic_shapes=both, strict=strict)
    except torch._dynamo.exc.UserError as error:
        message = str(error).split("\n\n")[0].split(". If")[0]
    else:
        message = "This release exports it."
    print(f"{layer}, strict={strict}:", message)
    assert "constant (3)" in message, message

# %%
# With a dynamic batch there is no error, and the program is right. Non-strict mode may
# warn that ``_flat_weights`` was assigned during the export. This is the list in which
# the layer keeps its parameters, and none of them is lost.


def export(model, inputs, shapes=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about _flat_weights
        return torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)


program = export(model, (x,), ({0: batch},))
assert set(program.state_dict) == set(model.state_dict())
for size in (1, 3, 50):
    new_x = torch.randn(size, 3, 4)
    torch.testing.assert_close(program.module()(new_x), model(new_x))
print([str(n.target) for n in program.graph.nodes if "lstm" in str(n.target)])

# %%
# The cause
# +++++++++
#
# The program has one node for the layer, and nothing in that node needs the length.
# What needs it is how the exporter learns the shape of the result: it runs the
# decomposition of the operator, which is a `loop in Python
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_decomp/decompositions.py#L4162>`_
# over the steps. It is known as `issue 115092
# <https://github.com/pytorch/pytorch/issues/115092>`_. Decompose the program, and the
# loop is there, unrolled: two ``tanh`` for each step.


def count(program, name):
    return sum(str(node.target).startswith(name) for node in program.graph.nodes)


unrolled = program.run_decompositions()
print("steps: 3, tanh:", count(unrolled, "aten.tanh"))
assert count(unrolled, "aten.tanh") == 2 * 3

# %%
# Fix 1: the other decomposition of torch
# +++++++++++++++++++++++++++++++++++++++
#
# Since 2.11 torch has a decomposition with ``while_loop`` instead of the Python loop,
# for LSTM and GRU. A context manager for each puts it in place. The exporter to ONNX
# uses them since 2.13. The model and the graph stay as they are, only the length is
# dynamic. The price: the module is private, and a program that is decomposed with it
# cannot be trained.

kept_loop = None
if RELEASE >= (2, 11):
    from torch.export._patches import register_lstm_while_loop_decomposition

    with register_lstm_while_loop_decomposition():
        kept_loop = export(model, (x,), both)
print("Exported." if kept_loop else "This release has no such decomposition.")

# %%
# Fix 2: an operator of your own
# ++++++++++++++++++++++++++++++
#
# A custom operator is a black box with a shape function. It calls the same kernel as
# the model, and it works on all releases of this page. The price: the operator must be
# defined wherever the program runs, and converters do not know it. The result is made
# contiguous, so that its strides are those of ``new_empty``: more in
# :ref:`l-plot-exporter-ops-custom`.


NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def run_lstm(x, h, c, weights):
    result = torch.lstm(x, (h, c), weights, True, 1, 0.0, False, False, True)
    return result[0].contiguous()


operator = torch.library.custom_op(
    "recurrent_cookbook::lstm",
    run_lstm,
    mutates_args=(),
    schema="(Tensor x, Tensor h, Tensor c, Tensor[] weights) -> Tensor",
)
operator.register_fake(
    lambda x, h, c, weights: x.new_empty(x.shape[0], x.shape[1], h.shape[2])
)


class WithOperator(Tagger):
    def forward(self, x):
        state = x.new_zeros(1, x.shape[0], self.layer.hidden_size)
        weights = [getattr(self.layer, name) for name in NAMES]
        return self.head(operator(x, state, state, weights))


# %%
# Fix 3: ``scan`` over a cell
# +++++++++++++++++++++++++++
#
# ``scan`` is a loop that the graph can hold. The cell is written out, the weights
# are those of the layer. It works since 2.8, and the program needs nothing else where
# it runs. The price: eager PyTorch runs the steps in Python. The rules of ``scan`` are
# in :ref:`l-plot-exporter-control-scan`.


class WithScan(Tagger):
    def forward(self, x):
        linear = torch.nn.functional.linear
        w_x, w_h, b_x, b_h = (getattr(self.layer, name) for name in NAMES)

        def step(carry, gates):
            h, c = carry
            i, f, g, o = (gates + linear(h, w_h, b_h)).chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            return (h, c), h.clone()

        zeros = x.new_zeros(x.shape[0], self.layer.hidden_size)
        gates = linear(x, w_x, b_x).transpose(0, 1)
        _, steps = scan(step, (zeros, zeros.clone()), gates, dim=0)
        return self.head(steps.transpose(0, 1))


# %%
# The check
# +++++++++
#
# Both load the weights of the original model. Each program is compared with it for
# lengths that were not traced, one step included.

programs = {"while_loop": kept_loop and kept_loop.module()}
for cls in (WithOperator, WithScan):
    rewritten = cls().eval()
    rewritten.load_state_dict(model.state_dict())
    try:
        program = export(rewritten, (x,), both)
    except (AttributeError, IndexError, RuntimeError, torch._dynamo.exc.UserError):
        programs[cls.__name__] = None
    else:
        programs[cls.__name__] = program.module()

for name, exported in programs.items():
    for size in [(1, 1), (3, 2), (5, 40)] if exported else []:
        new_x = torch.randn(*size, 4)
        torch.testing.assert_close(exported(new_x), model(new_x))
    print(f"{name:12}", "same results" if exported else "not with this release")
assert programs["WithOperator"] is not None
assert (programs["WithScan"] is None) == (RELEASE < (2, 8))

# %%
# The number of features is constant, and checked.

try:
    programs["WithOperator"](torch.randn(2, 6, 5))
except (AssertionError, RuntimeError) as error:
    message = str(error)
else:
    message = "This release accepts five features."
print(message)
assert "size()[2] == 4" in message or "to be equal to 4" in message, message

# %%
# Fix 4: one step per call, with the hidden state
# +++++++++++++++++++++++++++++++++++++++++++++++
#
# Give the program the state and take the new one back. The length is 1, so it need not
# be dynamic, and the loop is outside of the program. It works on all releases. The
# price: one call for each step. The batch is the *second* dimension of a state, even
# with ``batch_first=True``, and must be dynamic there too,
# or it is a constant everywhere.


class Step(Tagger):
    def forward(self, x, h, c):
        result, (h, c) = self.layer(x, (h, c))
        return self.head(result), h, c


stepper, state = Step().eval(), torch.zeros(1, 2, 8)
stepper.load_state_dict(model.state_dict())
inputs = (x[:, :1], state, state.clone())
shapes = ({0: batch}, {1: batch}, {1: batch})
program = export(stepper, inputs, shapes)
exported = program.module()

# %%
# The steps of a sequence, one after the other, against the whole sequence in one call.

for size in [(1, 1), (3, 2), (5, 40)]:
    new_x, results = torch.randn(*size, 4), []
    h = c = torch.zeros(1, size[0], 8)
    for step in range(size[1]):
        result, h, c = exported(new_x[:, step : step + 1], h, c)
        results.append(result)
    torch.testing.assert_close(torch.cat(results, dim=1), model(new_x))
    print("batch and steps", size, "same result")

# %%
# Packed sequences
# ++++++++++++++++
#
# ``pack_padded_sequence`` makes a tensor whose size is the sum of the lengths, and the
# lengths are data. Both modes refuse it
# (`issue 112044 <https://github.com/pytorch/pytorch/issues/112044>`_).


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


tagger, lengths = Packed().eval(), torch.tensor([3, 1])
for strict in (False, True):
    try:
        torch.export.export(tagger, (x, lengths), strict=strict)
    except (AssertionError, RuntimeError, TypeError) as error:
        message = str(error).split("\n")[0].split(" in file")[0]
    else:
        message = "This release exports packed sequences."
    print(message)
    assert not message.startswith("This release")

# %%
# A layer that runs forward in time does not look at the padding before it gets there.
# So run it over the padded sequence, set what comes after the end to zero, and take the
# state of the last valid step. The price: the padding is computed too. A bidirectional
# layer needs two layers, the second over a sequence that was reversed up to its length.


class Padded(Tagger):
    def forward(self, x, lengths):
        result, _ = self.layer(x)
        valid = torch.arange(x.shape[1]) < lengths[:, None]
        last = (lengths - 1)[:, None, None].expand(-1, 1, result.shape[2])
        return result * valid[:, :, None], result.gather(1, last)[:, 0]


padded = Padded().eval()
padded.load_state_dict(tagger.state_dict())
exported = export(padded, (x, lengths), ({0: batch}, {0: batch})).module()
for new_lengths in ([3], [1, 2, 3], [2, 3, 1, 2]):
    new_x = torch.randn(len(new_lengths), 3, 4)
    args = (new_x, torch.tensor(new_lengths))
    torch.testing.assert_close(exported(*args), tagger(*args))
print("same results as packed sequences")

# %%
# After a decomposition
# +++++++++++++++++++++
#
# Up to 2.12, the unrolled loop (of one step here) returns the last state with one
# dimension too many. There is no error.

unrolled = program.run_decompositions()
assert count(unrolled, "aten.tanh") == 2 * 1
h = unrolled.module()(*inputs)[1]
print("model:", tuple(stepper(*inputs)[1].shape), "decomposed:", tuple(h.shape))
assert (h.shape == (1, 2, 8)) == (RELEASE >= (2, 13))

# %%
# Take the operator out of the table, and it stays as it is: right on all releases, and
# a converter that knows LSTMs sees one. See :ref:`l-plot-exporter-ops-decompositions`.

table = torch.export.default_decompositions()
table.pop(torch.ops.aten.lstm.input, None)
kept = program.run_decompositions(table)
assert count(kept, "aten.lstm") == 1 and count(kept, "aten.tanh") == 0
torch.testing.assert_close(kept.module()(*inputs), stepper(*inputs))

# %%
# The program of fix 1 must be decomposed inside the context manager too, which works
# since 2.14. Outside of it the Python loop is back, and the length is a constant.

if kept_loop is not None:
    unrolled = kept_loop.run_decompositions()
    print("steps: 3, tanh:", count(unrolled, "aten.tanh"))
    assert count(unrolled, "aten.tanh") == 6
else:
    print("This release has no such program.")

# %%
# A converter that decomposes meets the same loop. If it cannot follow the dynamic batch
# through the unrolled views (ExecuTorch: ``_ViewSpec is incompatible with its base``,
# `issue 20008 <https://github.com/pytorch/executorch/issues/20008>`_), export one step
# with a constant batch. The last line frees the operator's name, for a second run.

operator._lib._destroy()

# %%
# To remember
# +++++++++++
#
# * The batch of a recurrent layer can be dynamic, its length cannot.
# * A length that varies needs another loop: the one of torch (since 2.11), an operator,
#   ``scan`` (since 2.8), or the caller's.
# * The batch of the hidden state is dimension 1.
# * Mask instead of packing, and compare the states after a decomposition.
#
# Next: :ref:`l-plot-exporter-control-scan`, :ref:`l-plot-exporter-data-lengths` for
# lengths that are data, and :ref:`l-plot-exporter-ops-decompositions`.
