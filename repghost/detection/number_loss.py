"""The losses of a light detector for the numbers that it gives, whatever computed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from repghost.detection.boxes import BoxRule
from repghost.detection.ssdlite import Anchors


class NumberLoss:
    """torchvision's losses of SSD: smooth L1 of boxes, and cross-entropy with three hard negatives to each positive.

    Args:
        rule: how the numbers are ordered.
        size: side of the network's input, pixels.
    """

    def __init__(self, rule: BoxRule, size: int) -> None:
        self.rule = rule
        nothing = nn.Identity()  # neither backbone nor head: the numbers are there
        self._ssd = SSD(nothing, Anchors(rule), (size, size), rule.classes + 1, head=nothing)
        self._anchors = Anchors(rule).corners(size, size)

    def __call__(self, numbers: Tensor, targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return the losses by name, each a mean over the anchors that are objects.

        Args:
            numbers: float32 [N, numbers], those of all scores before those of all boxes.
            targets: boxes, in pixels of the network's input, and labels of each image.
        """
        count, columns = self.rule.anchors, self.rule.classes + 1
        scores, boxes = numbers.split([count * columns, count * 4], 1)
        anchors = self._anchors.to(numbers.device)
        shape = (-1, count)
        # contiguous, since torchvision views them
        found = {
            "cls_logits": scores.reshape(*shape, columns).contiguous(),
            "bbox_regression": boxes.reshape(*shape, 4).contiguous(),
        }
        matched = [self._matched(anchors, target["boxes"]) for target in targets]
        losses: dict[str, Tensor] = self._ssd.compute_loss(
            [dict(target) for target in targets], found, [anchors] * len(matched), matched
        )
        return losses

    def _matched(self, anchors: Tensor, boxes: Tensor) -> Tensor:
        """Return the object of each anchor, -1 where it is background, as `SSD.forward` does."""
        if not len(boxes):
            return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
        found: Tensor = self._ssd.proposal_matcher(box_iou(boxes, anchors))
        return found
