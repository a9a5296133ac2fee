"""
.. _l-plot-exporter-data-detection:

A detection head: threshold, top k, suppression
===============================================

A detector fails in its post-processing with ``Could not guard on data-dependent
expression 4*Min(300, u0) + 4*Min(300, u1) + ... > 4000``, or with ``u0 > 0`` in the
loop of a non-maximum suppression.

This page shows which of the steps the exporter can trace, and replaces the others: a
fixed number of boxes with a mask, a suppression without a loop over boxes, or a program
that ends before it.

.. meta::
   :description: Take a fixed number of boxes with topk, mark the valid ones, suppress
      with a matrix in rounds or a while_loop, or suppress outside.
   :keywords: object detection, non-maximum suppression, NMS, batched_nms, torchvision,
      SSD, YOLO, score threshold, topk, Min(300, u0)
"""

# %%
# The model
# +++++++++
#
# This is what comes after the network of a detector. Each class has a threshold for the
# scores and at most 300 boxes. If there are too many in all, the best 500 stay. Then a
# box is dropped if it overlaps a better one of its class. For this, the classes are
# moved apart by 100, more than any coordinate here.

# sphinx_gallery_tags = ["data-dependent values", "export fails", "run fails"]
# sphinx_gallery_wording = "failed during evaluate_expr(4*Min(300, u0) + 4*Min(300, u1)"
# sphinx_gallery_wording = "export fails in torchvision batched_nms"

import torch
from torch._higher_order_ops.while_loop import while_loop
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

RELEASE = tuple(int(number) for number in torch.__version__.split(".")[:2])


def overlap(a, b):
    start = torch.maximum(a[..., :2], b[:, :2])
    end = torch.minimum(a[..., 2:], b[:, 2:])
    common = (end - start).clamp(min=0).prod(dim=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(dim=-1) for boxes in (a, b)]
    return common / (areas[0] + areas[1] - common)


def greedy(boxes, scores):
    order, kept = scores.argsort(descending=True), []
    while order.numel() > 0:
        best, rest = order[:1], order[1:]
        kept.append(best)
        order = rest[overlap(boxes[best], boxes[rest]) <= 0.5]
    return torch.cat(kept) if kept else order


class Detector(torch.nn.Module):
    def __init__(self, most=300, suppress=True):
        super().__init__()
        self.most, self.suppress = most, suppress

    def forward(self, boxes, scores):
        parts = []
        for label in range(scores.shape[1]):
            keep = scores[:, label] > 0.5
            found = scores[keep, label]
            best, index = found.topk(min(self.most, found.shape[0]))
            parts.append((boxes[keep][index], best, torch.full_like(index, label)))
        boxes, scores, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        if boxes.numel() > 2000:
            scores, index = scores.topk(500)
            boxes, labels = boxes[index], labels[index]
        if self.suppress:
            index = greedy(boxes + 100.0 * labels[:, None], scores)
            boxes, scores, labels = boxes[index], scores[index], labels[index]
        return boxes, scores, labels


def make_inputs(count, highest=0.6):
    corner = 10 * torch.rand(count, 2)
    sizes = 1 + 3 * torch.rand(count, 2)
    return torch.cat([corner, corner + sizes], dim=1), highest * torch.rand(count, 2)


# %%
# The symptom
# +++++++++++
#
# ``Min(300, u0)`` is the number of boxes of the first class. Older releases stop at
# ``min`` in non-strict mode; ``torch.sym_min`` helps there.

REFUSED = (GuardOnDataDependentSymNode, torch._dynamo.exc.UserError)
torch.manual_seed(0)
example = make_inputs(50)
anchors = torch.export.Dim("anchors", max=8192)
dynamic = ({0: anchors}, {0: anchors})


def export(model, strict):
    return torch.export.export(model, example, dynamic_shapes=dynamic, strict=strict)


for strict in (False, True):
    try:
        export(Detector(), strict)
    except REFUSED as error:
        message = str(error).strip().splitlines()[0].split(" (unhinted")[0]
    else:
        message = "This release exports it."
    print(f"strict={strict}: {message}")
    early = not strict and RELEASE < (2, 8)
    assert ("u0 < 300" if early else "4*Min(300, u0) + 4*Min(300, u1)") in message

# %%
# The cause
# +++++++++
#
# Mask, ``topk`` and ``cat`` are traced: they only make sizes. What fails is an ``if``
# on a size: the trace has to pick a side, and the number of boxes is known when the
# program runs. (``batched_nms`` of torchvision has such a line, see `this issue
# <https://github.com/google-ai-edge/litert-torch/issues/408>`_.) Change one thing: with
# at most 250 boxes for each of two classes, there cannot be more than ``4 * 2 * 250 =
# 2000`` numbers, so the exporter answers by itself.
#
# Then the suppression fails. The number of rounds of its loop depends on the boxes,
# and a trace has to write down each round.

for suppress in (False, True):
    try:
        program = export(Detector(most=250, suppress=suppress), strict=True)
    except REFUSED as error:
        message = str(error).strip().splitlines()[0].split(" (unhinted")[0]
    else:
        node = next(iter(program.graph.find_nodes(op="output")))
        message = str(tuple(node.args[0][0].meta["val"].shape))
    print(f"suppress={suppress}: {message}")
    assert message.endswith("> 0") if suppress else "Min(250, u0)" in message

# %%
# k from a tensor, and min(300, n)
# ++++++++++++++++++++++++++++++++
#
# ``topk`` takes a number that comes from a tensor since 2.7. The result has a size that
# only the data knows, and a k that is too large is refused when the program runs.
#
# ``min(300, n)`` with a dynamic n is no better. Up to 2.7 the exporter picks a side,
# and since 2.9 it makes a guard ``min(300, n) <= n``, which is always true but not
# proven. So it refuses the range of the dimension.


class Best(torch.nn.Module):
    def forward(self, scores, k=None):
        return scores.topk(min(300, scores.shape[0]) if k is None else k).values


messages = []
for k in (torch.tensor(5), None):
    inputs, dims = (torch.rand(50), k), (dynamic[0], None)
    try:
        program = torch.export.export(Best(), inputs, dynamic_shapes=dims, strict=False)
        program.module()(torch.rand(7), k and k + 3)
    except (*REFUSED, RuntimeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        messages.append(lines[k is None].split(" (unhinted")[0])
    else:
        messages.append("This release runs it.")
    print(messages[-1])
assert messages[0].startswith("Could not guard") == (RELEASE < (2, 7))
assert messages[1].startswith("This release") == (RELEASE == (2, 8))

# %%
# Fix 1: a fixed number of boxes, and a mask
# ++++++++++++++++++++++++++++++++++++++++++
#
# All pairs of a box and a class compete, padding makes sure that there are enough of
# them, and ``topk`` has a constant k. ``valid`` stands for the threshold. The
# suppression is a matrix: ``over[i, j]`` says that box i is better than box j and
# overlaps it. A box is dropped if a box that is kept does this. Each round repairs the
# answer of the one before.


class FixedDetector(torch.nn.Module):
    def __init__(self, size=100, rounds=10):
        super().__init__()
        self.size, self.rounds = size, rounds

    def forward(self, boxes, scores):
        classes = scores.shape[1]
        boxes = torch.nn.functional.pad(boxes, (0, 0, 0, self.size))
        scores = torch.nn.functional.pad(scores.flatten(), (0, self.size))
        best, index = scores.topk(self.size)
        boxes, labels = boxes[index // classes], index % classes
        shifted = boxes + 100.0 * labels[:, None]
        over = torch.triu(overlap(shifted[:, None], shifted) > 0.5, diagonal=1)
        return boxes, best, labels, self.suppress(best > 0.5, over)

    def suppress(self, valid, over):
        keep = valid
        for _ in range(self.rounds):
            keep = valid & ~(over & keep[:, None]).any(dim=0)
        return keep


program = export(FixedDetector(), strict=False)
exported = program.module()

# %%
# Works on all releases of this page. The prices: the caller applies the mask, the
# matrix has ``size * size`` entries in each round, and boxes beyond ``size`` are lost
# before the suppression. If there are more, the result is the first part of that of the
# model.


def select(boxes, scores, labels, keep):
    return boxes[keep], scores[keep], labels[keep]


torch.manual_seed(1)
inputs = make_inputs(200, highest=1.0)
got, expected = select(*exported(*inputs)), Detector()(*inputs)
print(f"{len(got[0])} boxes of {len(expected[0])}")
assert len(got[0]) < len(expected[0])
torch.testing.assert_close(got, tuple(part[: len(got[0])] for part in expected))

# %%
# How many rounds? One is a known approximation that drops too much. In a row of boxes
# where each overlaps the next, the first drops the second, which frees the third, and
# so on. A row of 12 boxes needs 11 rounds, and ``size`` rounds are always enough.

left = 0.8 * torch.arange(12.0)
row = torch.stack([left, left * 0, left + 3, left * 0 + 1], dim=1)
row_scores = torch.linspace(0.9, 0.6, 12)[:, None]
counts = {}
for rounds in (1, 2, 10, 11, 100):
    counts[rounds] = int(FixedDetector(rounds=rounds)(row, row_scores)[-1].sum())
    print(f"{rounds:3} rounds keep {counts[rounds]} boxes")
assert counts[11] == counts[100] == len(greedy(row, row_scores[:, 0])) == 6
assert counts[1] == 1 and counts[10] > 6

# %%
# Fix 2: rounds until nothing changes
# +++++++++++++++++++++++++++++++++++
#
# ``while_loop`` stops when a round changes nothing, so the result is exact and the
# graph small. The price is an operator that not every runtime has. With 2.6 it takes
# strict mode.


class ExactDetector(FixedDetector):
    def suppress(self, valid, over):
        def step(keep, changed):
            new = valid & ~(over & keep[:, None]).any(dim=0)
            return new, new ^ keep

        start = valid.clone(), torch.ones_like(valid)
        return while_loop(lambda keep, changed: changed.any(), step, start)[0]


exact = export(ExactDetector(), strict=RELEASE < (2, 7))
print([len(part.graph.nodes) for part in (program, exact)], "nodes")
assert len(exact.graph.nodes) < len(program.graph.nodes)

# %%
# Fix 3: suppress outside of the program
# ++++++++++++++++++++++++++++++++++++++
#
# The program ends with candidates of a fixed size, and the loop stays as it is. The
# prices: a function that has to be delivered with the program, in the language of the
# caller, and candidates that are copied from the device.

cut = export(FixedDetector(rounds=0), strict=False)


def detect(boxes, scores):
    boxes, scores, labels = select(*cut.module()(boxes, scores))
    index = greedy(boxes + 100.0 * labels[:, None], scores)
    return boxes[index], scores[index], labels[index]


# %%
# The check
# +++++++++
#
# One anchor, no box above the threshold, and many overlaps: the three fixes give what
# the model gives.

torch.manual_seed(2)
for count, highest in [(1, 1.0), (40, 0.5), (40, 1.0), (120, 0.6)]:
    inputs = make_inputs(count, highest)
    expected = Detector()(*inputs)
    torch.testing.assert_close(select(*exported(*inputs)), expected)
    torch.testing.assert_close(select(*exact.module()(*inputs)), expected)
    torch.testing.assert_close(detect(*inputs), expected)
    print(f"{count:3} anchors: {len(expected[0])} boxes, same result")

# %%
# Boxes and scores that do not belong together are refused.

try:
    exported(make_inputs(5)[0], make_inputs(6)[1])
except (AssertionError, RuntimeError) as error:
    message = str(error).splitlines()[0]
else:
    message = "This release runs it."
print(message)
assert not message.startswith("This release")

# %%
# To remember
# +++++++++++
#
# * A threshold and ``topk`` are traced. An ``if`` on the number of boxes, and a loop
#   until no box is left, are not.
# * A fixed size and a mask remove the data-dependent sizes, and all that follows from
#   them.
# * ``Min(300, u0)`` is no error: look for the comparison behind it.
#
# Next: :ref:`l-plot-exporter-data-mask` for masks, :ref:`l-plot-exporter-data-guard` to
# choose a fix, :ref:`l-plot-exporter-control-while` for the rules of ``while_loop``,
# :ref:`l-plot-exporter-data-item` for a k from a tensor.
