"""
.. _l-plot-exporter-data-detection:

Export a detector: a fixed number of boxes and a mask
=====================================================

.. answer::
   :cost: Boxes beyond the fixed number are lost; the caller applies the mask.

   How many boxes pass the threshold is known only at run time: an ``if`` on their
   number fails, and so does the loop of a suppression. Take the best 50, and mark those
   to keep.

   .. code-block:: diff

      -        boxes, scores = boxes[keep], scores[keep]
      -        index = nms(boxes, scores)
      +        scores, index = scores.topk(50)
      +        boxes, keep = boxes[index], scores > 0.5
      +        over = (overlap(boxes[:, None], boxes) > 0.5).triu(diagonal=1)
      +        for i in range(50):
      +            keep = keep & ~(over[i] & keep[i])
      +        return boxes, scores, keep

   Not your case?

   * A mask without boxes, ``nonzero``: :ref:`l-plot-exporter-data-mask`.
   * Image size or resize: :ref:`l-plot-exporter-models-vision`.
   * A different ``if``: :ref:`l-plot-exporter-data-guard`.

.. meta::
   :keywords: object detection, non-maximum suppression, NMS, batched_nms, torchvision,
      Faster R-CNN, RetinaNet, SSD, YOLO, score threshold, topk, Min(300, u0),
      4*u1 > 4000
"""

# %%
# The problem
# +++++++++++
#
# After the network of a detector: a threshold, a largest number of boxes, and a
# suppression that drops what overlaps a better box.

# sphinx_gallery_tags = ["data-dependent values", "export fails", "run fails"]
# sphinx_gallery_wording = "failed during evaluate_expr(4*Min(300, u0) + 4*Min(300, u1)"
# sphinx_gallery_wording = "export fails in torchvision batched_nms"

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode


def overlap(a, b):
    start, end = (
        torch.maximum(a[..., :2], b[:, :2]),
        torch.minimum(a[..., 2:], b[:, 2:]),
    )
    common = (end - start).clamp(min=0).prod(dim=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(dim=-1) for boxes in (a, b)]
    return common / (areas[0] + areas[1] - common)


def nms(boxes, scores):
    order, kept = scores.argsort(descending=True), [scores.argsort()[:0]]
    while order.numel() > 0:
        best, rest = order[:1], order[1:]
        kept.append(best)
        order = rest[overlap(boxes[best], boxes[rest]) <= 0.5]
    return torch.cat(kept)


class Detector(torch.nn.Module):
    def forward(self, boxes, scores):
        keep = scores > 0.5
        boxes, scores = boxes[keep], scores[keep]
        if boxes.numel() > 4000:
            scores, index = scores.topk(1000)
            boxes = boxes[index]
        index = nms(boxes, scores)
        return boxes[index], scores[index]


def make_inputs(count, highest=1.0):
    corner, size = 10 * torch.rand(count, 2), 1 + 3 * torch.rand(count, 2)
    return torch.cat([corner, corner + size], dim=1), highest * torch.rand(count)


torch.manual_seed(0)
example = make_inputs(60)
anchors = torch.export.Dim("anchors", min=50, max=8192)
dynamic = ({0: anchors}, {0: anchors})
try:
    torch.export.export(Detector(), example, dynamic_shapes=dynamic, strict=False)
except GuardOnDataDependentSymNode as error:
    print(error)

# %%
# The fix
# +++++++
#
# ``over[i, j]``: box ``i`` is better than box ``j`` and overlaps it.


class FixedDetector(torch.nn.Module):
    def forward(self, boxes, scores):
        scores, index = scores.topk(50)
        boxes, keep = boxes[index], scores > 0.5
        over = (overlap(boxes[:, None], boxes) > 0.5).triu(diagonal=1)
        for i in range(50):
            keep = keep & ~(over[i] & keep[i])
        return boxes, scores, keep


program = torch.export.export(
    FixedDetector(), example, dynamic_shapes=dynamic, strict=False
)

# %%
# Why it happens
# ++++++++++++++
#
# Mask and ``topk`` make sizes, such as ``u0`` or ``Min(2000, u0)``. An ``if`` needs
# an answer (torchvision's ``batched_nms`` `has one
# <https://github.com/google-ai-edge/litert-torch/issues/408>`_). With at most 1000 boxes
# there are at most 4000 numbers: the exporter answers by itself, and meets the next
# question, whether a box is left for the loop.


class AtMost(torch.nn.Module):
    def __init__(self, most):
        super().__init__()
        self.most = most

    def forward(self, boxes, scores):
        found = boxes[scores > 0.5]
        found = found[torch.arange(torch.sym_min(self.most, found.shape[0]))]
        if found.numel() > 4000:
            found = found[torch.arange(1000)]
        return found[nms(found, found[:, 0])]


for model in (AtMost(2000), AtMost(1000)):
    try:
        torch.export.export(model, example, dynamic_shapes=dynamic, strict=False)
    except GuardOnDataDependentSymNode as error:
        print(str(error).splitlines()[0])

# %%
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your model has
#      - Write this instead
#      - Cost
#    * - a suppression that the application can do
#      - the best 50 candidates, below
#      - the loop is not in the program
#    * - a detector of torchvision
#      - export backbone and head only
#      - the same
#    * - several classes
#      - ``topk`` of all scores; ``overlap`` of ``boxes + 100 * labels[:, None]``
#      - no coordinate above 100
#    * - thousands of boxes
#      - ten rounds of ``keep = valid & ~(over & keep[:, None]).any(dim=0)``, or a
#        :ref:`while_loop <l-plot-exporter-control-while>` until nothing changes
#      - inexact in long chains; not in every runtime
#    * - ``topk(min(300, n))``, where ``n`` is dynamic
#      - ``Dim("n", min=300)`` and ``topk(300)``
#      - none
#
# Suppression outside:


class Candidates(torch.nn.Module):
    def forward(self, boxes, scores):
        scores, index = scores.topk(50)
        return boxes[index], scores


candidates = torch.export.export(
    Candidates(), example, dynamic_shapes=dynamic, strict=False
).module()


def detect(boxes, scores):
    boxes, scores = candidates(boxes, scores)
    boxes, scores = boxes[scores > 0.5], scores[scores > 0.5]
    index = nms(boxes, scores)
    return boxes[index], scores[index]


# %%
# Check
# +++++
#
# Against the original model: no box above the threshold, some, and a row of boxes where
# each overlaps the next.

fixed = program.module()
left = 0.8 * torch.arange(60.0)
row = torch.stack([left, 0 * left, left + 3, 0 * left + 1], dim=1)
chain = (row, torch.linspace(0.9, 0.1, 60))
for inputs in (
    make_inputs(60, 0.5),
    make_inputs(50, 0.9),
    make_inputs(200, 0.6),
    chain,
):
    boxes, scores, keep = fixed(*inputs)
    expected = Detector()(*inputs)
    torch.testing.assert_close((boxes[keep], scores[keep]), expected)
    torch.testing.assert_close(detect(*inputs), expected)
    print(f"{len(expected[0])} boxes")
try:
    fixed(*make_inputs(49))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Limitations
# +++++++++++
#
# If more than 50 boxes pass the threshold, the result is the first part of the original
# one.

more = make_inputs(300)
boxes, scores, keep = fixed(*more)
expected = Detector()(*more)
print(f"{int(keep.sum())} boxes of {len(expected[0])}")
assert keep.sum() < len(expected[0])
torch.testing.assert_close(boxes[keep], expected[0][: int(keep.sum())])

# %%
# ``Runtime assertion failed for expression u0 >= 2`` comes from ``nms`` of torchvision
# 0.29 or earlier, which promises two boxes or more. Wrap it:
# :ref:`l-plot-exporter-ops-custom`.
#
# Summary
# +++++++
#
# * Fixed size and mask in the program; what depends on the number of boxes, outside.
# * ``Min(300, u0)`` is no error: look for the comparison behind it.
# * Next: a program that keeps ``nms``, :ref:`l-plot-exporter-data-nms`; other
#   selections, :ref:`l-plot-exporter-data-mask`.
