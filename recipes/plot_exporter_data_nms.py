"""
.. _l-plot-exporter-data-nms:

Runtime assertion failed, u0 >= 2: nms keeps zero or one box
============================================================

.. answer::
   :cost: Nothing at run time; a process that loads the program defines the operator.

   The fake kernel of ``torchvision.ops.nms`` promises two boxes or more, so the program
   fails for zero or one. Wrap it in an operator of your own that promises nothing.

   .. code-block:: diff

       # vision_nms is torchvision.ops.nms
      +@torch.library.custom_op("cookbook_boxes::nms", mutates_args=())
      +def nms(boxes: torch.Tensor, scores: torch.Tensor, iou: float) -> torch.Tensor:
      +    return vision_nms(boxes, scores, iou)
      +@nms.register_fake
      +def nms_fake(boxes, scores, iou):
      +    count = torch.library.get_ctx().new_dynamic_size()
      +    return boxes.new_empty(count, dtype=torch.int64)

   Not your case?

   * The runtime has no ``nms``: :ref:`l-plot-exporter-data-detection`.
   * ``u0 >= 2`` after ``torch.cond``: :ref:`l-plot-exporter-control-cond-rules`.
   * ``4*u1 > 4000`` in ``batched_nms``: *Other fixes*, below.

.. meta::
   :keywords: torchvision.ops.nms, batched_nms, 4*u1 > 4000, u0 >= 2, no detections,
      empty result, one box, RetinaNet, Faster R-CNN, Mask R-CNN, SSD, backbone and head,
      create_unbacked_symint
"""

# %%
# The problem
# +++++++++++
#
# No build of torchvision fits the CPU build of torch that this page runs with, so
# ``vision_nms`` is a stand-in of ours, in Python. Its fake kernel promises what
# torchvision's does.

# sphinx_gallery_tags = ["data-dependent values", "run fails", "export fails", "wrong without an error"]
# sphinx_gallery_wording = "RuntimeError: Runtime assertion failed for expression u0 >= 2 on node 'ge'"
# sphinx_gallery_wording = "Could not guard on data-dependent expression 4*u1 > 4000 (unhinted: 4*u1 > 4000).  (Size-like symbols: u1)"
# sphinx_gallery_wording = "Caused by: (torchvision/ops/boxes.py:86 in batched_nms)"
# sphinx_gallery_wording = "maskrcnn_resnet50_fpn cannot be exported"
# sphinx_gallery_wording = "exported detector fails when there is no detection"

import torch
from torch.export import Dim, export
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

library = torch.library.Library("cookbook_vision", "FRAGMENT")
library.define("nms(Tensor boxes, Tensor scores, float iou) -> Tensor")
vision_nms = torch.ops.cookbook_vision.nms


def suppress(boxes, scores, iou):
    order, kept = scores.argsort(descending=True), []
    while len(order) > 0:
        best, rest = order[0], order[1:]
        kept.append(best)
        start = torch.maximum(boxes[best, :2], boxes[rest, :2])
        end = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = (end - start).clamp(min=0).prod(dim=1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        order = rest[common <= iou * (areas[best] + areas[rest] - common)]
    return torch.stack(kept) if kept else order


library.impl("nms", suppress, "CPU")


@torch.library.register_fake("cookbook_vision::nms")
def vision_nms_fake(boxes, scores, iou):
    count = torch.library.get_ctx().new_dynamic_size(min=2)
    return boxes.new_empty(count, dtype=torch.int64)


class Detect(torch.nn.Module):
    def forward(self, boxes, scores):
        return boxes[vision_nms(boxes, scores, 0.5)]


def make_boxes(count):
    corner, size = 50 * torch.rand(count, 2), 10 + 20 * torch.rand(count, 2)
    return torch.cat([corner, corner + size], dim=1), torch.rand(count)


torch.manual_seed(0)
example = make_boxes(60)
count = Dim("count", max=4096)
dynamic = ({0: count}, {0: count})
program = export(Detect(), example, dynamic_shapes=dynamic, strict=False)
try:
    program.module()(*make_boxes(1))
except RuntimeError as error:
    print(error)

# %%
# The fix
# +++++++
#
# Write ``torchvision.ops.nms`` where ``vision_nms`` stands.


@torch.library.custom_op("cookbook_boxes::nms", mutates_args=())
def nms(boxes: torch.Tensor, scores: torch.Tensor, iou: float) -> torch.Tensor:
    return vision_nms(boxes, scores, iou)


@nms.register_fake
def nms_fake(boxes, scores, iou):
    count = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty(count, dtype=torch.int64)


class DetectAny(torch.nn.Module):
    def forward(self, boxes, scores):
        return boxes[nms(boxes, scores, 0.5)]


fixed = export(DetectAny(), example, dynamic_shapes=dynamic, strict=False)

# %%
# Why it happens
# ++++++++++++++
#
# torchvision (0.29 and earlier) makes the size with ``create_unbacked_symint()``, `whose
# minimum is 2
# <https://github.com/pytorch/pytorch/blob/v2.13.0/torch/_library/fake_impl.py#L160>`_;
# the minimum of ``new_dynamic_size()`` is 0. `Pull request 9395
# <https://github.com/pytorch/vision/pull/9395>`_ proposes to change it.
#
# The exporter believes the promise. It also answers questions with it, silently: the
# branch for an image without boxes is not in the program.


class Largest(torch.nn.Module):
    def __init__(self, nms):
        super().__init__()
        self.nms = nms

    def forward(self, boxes, scores):
        kept = boxes[self.nms(boxes, scores, 0.5)]
        if kept.shape[0] == 0:
            return boxes.new_zeros(4)
        return kept.amax(dim=0)


promised = export(Largest(vision_nms), example, dynamic_shapes=dynamic, strict=False)
assert not any("zeros" in str(node.target) for node in promised.graph.nodes)
try:
    export(Largest(nms), example, dynamic_shapes=dynamic, strict=False)
except GuardOnDataDependentSymNode as error:
    print(str(error).splitlines()[0])

# %%
# With the fix the question is asked. What to write: :ref:`l-plot-exporter-data-mask`.
#
# Other fixes
# +++++++++++
#
# .. list-table::
#    :header-rows: 1
#
#    * - Your model has
#      - Write this instead
#      - Cost
#    * - ``batched_nms``: ``4*u1 > 4000`` (`issue 9321
#        <https://github.com/pytorch/vision/issues/9321>`_)
#      - one ``nms`` of boxes that are shifted by class, below
#      - all coordinates below a number that you know
#    * - a whole detector of torchvision
#      - export backbone and head, choose the boxes outside, below
#      - the application has that code
#    * - ``nms`` in code that you cannot change
#      - a different fake kernel for torchvision's operator, below
#      - newer releases of torch only
#
# ``batched_nms`` `branches on the number of boxes
# <https://github.com/pytorch/vision/blob/main/torchvision/ops/boxes.py>`_. The two
# branches have one result. Here no coordinate is above 100:


class DetectClasses(torch.nn.Module):
    def forward(self, boxes, scores, labels):
        return nms(boxes + 101.0 * labels[:, None], scores, 0.5)


inputs = (*example, torch.arange(60) % 3)
shapes = (*dynamic, {0: count})
classes = export(DetectClasses(), inputs, dynamic_shapes=shapes, strict=False)

# %%
# Detectors of torchvision take a list of images and choose boxes in Python loops. A small
# one of that kind, and the part to export:


class Detector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Conv2d(3, 8, 4, stride=4)
        self.head = torch.nn.Conv2d(8, 5, 1)

    def choose(self, outputs):
        for boxes, scores in zip(outputs[..., :4], outputs[..., 4].sigmoid()):
            boxes = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:].exp()], 1)
            yield Detect()(boxes, scores)

    def forward(self, images):
        outputs = self.head(self.backbone(torch.stack(images)).relu())
        return list(self.choose(outputs.flatten(2).mT))


class Network(torch.nn.Module):
    def __init__(self, detector):
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, images):
        return self.head(self.backbone(images).relu()).flatten(2).mT


detector = Detector().eval().requires_grad_(False)
h, w = Dim("h", min=2, max=256), Dim("w", min=2, max=256)
images = {0: Dim("batch", max=64), 2: 4 * h, 3: 4 * w}
x = torch.rand(2, 3, 32, 24)
network = export(Network(detector), (x,), dynamic_shapes=(images,), strict=False)

# %%
# The fake kernel of an operator can be replaced. Older releases of torch raise:

try:
    torch.library.register_fake("cookbook_vision::nms", nms_fake)
except RuntimeError as error:
    print(str(error).rpartition(" registered at ")[0])
replaced = export(Detect(), example, dynamic_shapes=dynamic, strict=False)
print([str(values) for values in replaced.range_constraints.values()])

# %%
# Check
# +++++
#
# The references are the models in eager mode, and for the classes a loop over them: no
# box, one, and sizes that were not traced.

for inputs in map(make_boxes, (0, 1, 2, 300)):
    expected = Detect()(*inputs)
    torch.testing.assert_close(fixed.module()(*inputs), expected)
    labels = torch.randint(0, 3, (len(inputs[0]),))
    kept = [torch.arange(0)]
    for label in range(3):
        index = (labels == label).nonzero()[:, 0]
        kept.append(index[vision_nms(inputs[0][index], inputs[1][index], 0.5)])
    result = classes.module()(*inputs, labels)
    torch.testing.assert_close(result.sort().values, torch.cat(kept).sort().values)
    assert (inputs[1][result].diff() <= 0).all()
    print(f"{len(expected)} boxes, {len(result)} in classes")

for batch, height, width in [(1, 64, 16), (3, 8, 128)]:
    x = torch.rand(batch, 3, height, width)
    chosen = list(detector.choose(network.module()(x)))
    torch.testing.assert_close(chosen, detector(list(x)))
try:
    fixed.module()(*make_boxes(4097))
except (AssertionError, RuntimeError) as error:
    print(error)

# %%
# Summary
# +++++++
#
# * A size that depends on values is ``new_dynamic_size()``, with no minimum that the
#   operator does not keep.
# * Test an exported detector with an image without objects, and with one.
# * Next: :ref:`l-plot-exporter-ops-custom` tests the operator,
#   :ref:`l-plot-exporter-onnx-missing-op` converts it.
