"""SSDLite on RepGhostNet: a detector for small devices (arXiv 1801.04381, section 6.2; 1905.02244, section 6.3).

The maps are those at strides 8 and 16 and extra ones at strides 32, 64 and 128; a head is a depthwise convolution and a
pointwise one, as in torchvision. Images are resized to the size of the network by `Preprocess`, both sides on their
own: in training, in evaluation and on a device. Boxes come from `repghost.detection.boxes`.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.detection.ssd import SSD

from repghost.data.images.known_transforms import IMAGENET_MEAN, IMAGENET_STD
from repghost.data.images.preprocess import Preprocess
from repghost.detection.boxes import Boxes, BoxRule, Level, find_boxes
from repghost.detection.pyramid import RepGhostFeatures, features_of, fuse_features
from repghost.network.model import RepGhostNet

STRIDES = (8, 16)  # of the backbone's maps
EXTRAS = ((256, 128), (128, 64), (128, 64))  # channels at 1.0x: of an extra map, and between its convolutions
SMALLEST, LARGEST = 0.1, 0.95  # sides of square anchors at the first and the last map, as shares of the image's
RATIOS = (2.0, 3.0)  # width to height of the other anchors, and the reverse
MOMENTUM, EPSILON = 0.03, 0.001  # of batch norms, as torchvision's SSDLite


def detector_preprocess(size: int) -> Preprocess:
    """Return how a detector's images are prepared: resized to a square, whatever their proportions were."""
    return Preprocess(size, size, "bilinear", IMAGENET_MEAN, IMAGENET_STD, squash=True)


class SSDLite(SSD):
    """torchvision's SSD with this backbone and head; maps images [3, H, W] in [0, 1] of any size to boxes.

    Args:
        model: the backbone, whose weights are shared; what follows stride 16 is left out.
        classes: kinds of objects.
        size: side of the network's input, pixels.
        options: further arguments of torchvision's SSD.
    """

    def __init__(self, model: RepGhostNet, classes: int, size: int, **options: Any) -> None:
        backbone = SSDBackbone(features_of(model, STRIDES))
        rule = box_rule(classes, size)
        head = SSDLiteHead(backbone.channels, [len(level.anchors) for level in rule.levels], classes + 1)
        super().__init__(backbone, Anchors(rule), (size, size), classes + 1, list(IMAGENET_MEAN), list(IMAGENET_STD),
                         head=head, **options)  # fmt: skip
        self.rule, self.preprocess = rule, detector_preprocess(size)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Return the losses in training; else boxes in pixels of each image, labels and scores."""
        if self.training:
            assert targets is not None
            fitted = [fit(image, target, self.preprocess) for image, target in zip(images, targets, strict=True)]
            return super().forward([image for image, _ in fitted], [target for _, target in fitted])
        found = [find_boxes(self.rule, self.numbers(image)) for image in images]
        return [as_tensors(boxes, image.shape[2], image.shape[1]) for boxes, image in zip(found, images, strict=True)]

    @property
    def fresh(self) -> tuple[nn.Module, ...]:
        """The parts that begin at random whatever the backbone begins with."""
        return self.backbone.extras, self.head

    @torch.no_grad()
    def numbers(self, image: Tensor) -> NDArray[np.float32]:
        """Return what the network gives for one image [3, H, W] in [0, 1], float32 [numbers]."""
        prepared = self.preprocess.normalize(prepare(image, self.preprocess)[None])
        maps = self.head(list(self.backbone(torch.from_numpy(prepared).to(image.device)).values()))
        flat = [maps[name].reshape(-1) for name in ("cls_logits", "bbox_regression")]
        result: NDArray[np.float32] = torch.cat(flat).float().cpu().numpy()
        return result


class SSDBackbone(nn.Module):
    """RepGhostNet's maps and the extra ones, the finest first."""

    def __init__(self, features: RepGhostFeatures) -> None:
        super().__init__()
        self.body = features
        widths = [(_scaled(out, features.width), _scaled(middle, features.width)) for out, middle in EXTRAS]
        before = features.channels[-1]
        self.extras = nn.ModuleList()
        for out, middle in widths:
            self.extras.append(
                nn.Sequential(_unit(before, middle, 1), _unit(middle, middle, 3, 2), _unit(middle, out, 1))
            )
            before = out
        self.channels = (*features.channels, *(out for out, _ in widths))

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Return the maps by number."""
        maps = list(self.body(x).values())
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return OrderedDict((str(number), value) for number, value in enumerate(maps))


class SSDLiteHead(nn.Module):
    """Scores and boxes of each map, from a depthwise convolution and a pointwise one each."""

    def __init__(self, channels: tuple[int, ...], anchors: list[int], scores: int) -> None:
        super().__init__()
        pairs = list(zip(channels, anchors, strict=True))
        self.scores = nn.ModuleList(_predictor(inputs, count * scores) for inputs, count in pairs)
        self.boxes = nn.ModuleList(_predictor(inputs, count * 4) for inputs, count in pairs)
        self.columns = scores

    def forward(self, maps: list[Tensor]) -> dict[str, Tensor]:
        """Return the numbers of each anchor by the names that torchvision's losses read: [N, anchors, ...]."""
        return {
            "cls_logits": _by_anchor(self.scores, maps, self.columns),
            "bbox_regression": _by_anchor(self.boxes, maps, 4),
        }


def _by_anchor(heads: nn.ModuleList, maps: list[Tensor], columns: int) -> Tensor:
    """Return [N, anchors of all maps, columns]: rows, columns and anchors of one map after those of another."""
    found = [head(value).permute(0, 2, 3, 1).flatten(1) for head, value in zip(heads, maps, strict=True)]
    return torch.cat([value.reshape(len(value), -1, columns) for value in found], 1)


class Anchors(nn.Module):
    """The anchors of a rule as torchvision's losses read them, in pixels of the network's input."""

    def __init__(self, rule: BoxRule) -> None:
        super().__init__()
        self.rule = rule

    def num_anchors_per_location(self) -> list[int]:
        """Return how many anchors a pixel of each map has."""
        return [len(level.anchors) for level in self.rule.levels]

    def forward(self, images: Any, maps: list[Tensor]) -> list[Tensor]:
        """Return left, top, right and bottom of each anchor, once for each image."""
        height, width = images.tensors.shape[2:]
        return [self.corners(height, width).to(maps[0].device)] * len(images.tensors)

    def corners(self, height: int, width: int) -> Tensor:
        """Return left, top, right and bottom of each anchor in an input of so many pixels, float32 [anchors, 4]."""
        grid = torch.from_numpy(self.rule.grid()) * torch.tensor([width, height] * 2)
        return torch.cat([grid[:, :2] - grid[:, 2:] / 2, grid[:, :2] + grid[:, 2:] / 2], 1).float()


def box_rule(classes: int, size: int) -> BoxRule:
    """Return the anchors of a detector for images of a size: six at each pixel of five maps, as in SSD."""
    sides, levels = _map_sides(size), len(STRIDES) + len(EXTRAS)
    scales = [SMALLEST + (LARGEST - SMALLEST) * number / (levels - 1) for number in range(levels)] + [1.0]
    found = []
    for side, scale, above in zip(sides, scales, scales[1:], strict=False):
        stretched = [(scale * ratio**0.5, scale / ratio**0.5) for ratio in RATIOS]
        pairs = [
            (scale, scale),
            ((scale * above) ** 0.5,) * 2,
            *(pair for wide in stretched for pair in (wide, wide[::-1])),
        ]
        found.append(Level(side, side, tuple((float(width), float(height)) for width, height in pairs)))
    return BoxRule(classes, tuple(found))


def _map_sides(size: int) -> list[int]:
    """Return the side of each map: every convolution of stride 2 rounds up."""
    sides = [size]
    while len(sides) < 3 + len(STRIDES) + len(EXTRAS):
        sides.append(-(-sides[-1] // 2))
    return sides[3:]


def _scaled(channels: int, width: float) -> int:
    return max(16, int(channels * width + 4) // 8 * 8)


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return convolution, batch norm and ReLU; of 3x3 the convolution is depthwise."""
    groups = inputs if kernel > 1 else 1
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, EPSILON, MOMENTUM), nn.ReLU())


def _predictor(inputs: int, outputs: int) -> nn.Sequential:
    predictor = nn.Sequential(_unit(inputs, inputs, 3), nn.Conv2d(inputs, outputs, 1))
    nn.init.normal_(predictor[1].weight, std=0.03)  # type: ignore[arg-type]
    nn.init.zeros_(predictor[1].bias)  # type: ignore[arg-type]
    return predictor


def prepare(image: Tensor, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Return an image [3, H, W] in [0, 1] as the bytes that the network is given."""
    content = (image.detach().cpu() * 255).round().clamp(0, 255).to(torch.uint8)
    return preprocess.apply(Image.fromarray(content.permute(1, 2, 0).contiguous().numpy()))


def fit(image: Tensor, target: Mapping[str, Any], preprocess: Preprocess) -> tuple[Tensor, dict[str, Any]]:
    """Return an image of the network's size, [3, height, width] in [0, 1], with its boxes; one that has it stays."""
    height, width = image.shape[1:]
    if (height, width) == (preprocess.height, preprocess.width):
        return image, dict(target)
    content = torch.from_numpy(prepare(image, preprocess).copy()).permute(2, 0, 1).float() / 255
    boxes = target["boxes"]
    scale = torch.tensor([preprocess.width / width, preprocess.height / height] * 2, device=boxes.device)
    return content.to(image.device), {**target, "boxes": boxes * scale}


def as_tensors(found: Boxes, width: int, height: int) -> dict[str, Tensor]:
    """Return boxes in pixels of an image as torchvision's detectors do."""
    return {
        "boxes": torch.from_numpy(found.on(width, height)).float(),
        "labels": torch.from_numpy(found.labels),
        "scores": torch.from_numpy(found.scores).float(),
    }


class NumberDetector:
    """Anything that gives a light detector's numbers, called as a detector is: images [3, H, W] in [0, 1] to boxes.

    Args:
        rule: of its boxes.
        preprocess: of its images.
        numbers: from uint8 [N, height, width, 3] to float32 [N, numbers].
    """

    def __init__(
        self, rule: BoxRule, preprocess: Preprocess, numbers: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    ) -> None:
        self.rule, self.preprocess, self.numbers = rule, preprocess, numbers

    def __call__(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        """Return boxes in pixels of each image, labels and scores."""
        prepared = np.stack([prepare(image, self.preprocess) for image in images])
        found = [find_boxes(self.rule, row) for row in self.numbers(prepared)]
        return [as_tensors(boxes, image.shape[2], image.shape[1]) for boxes, image in zip(found, images, strict=True)]


def fuse_ssdlite(model: SSDLite) -> SSDLite:
    """Return a deep copy without branches and batch norms that computes the same; it cannot be trained on.

    Raises:
        UsageError: when the detector is in training mode.
    """
    fused = copy.deepcopy(model)
    fused.backbone.body = fuse_features(fused.backbone.body)
    for module in list(fused.modules()):
        if isinstance(module, nn.Sequential) and len(module) == 3 and isinstance(norm := module[1], nn.BatchNorm2d):
            conv: Any = module[0]
            module[0], module[1] = fuse_conv_bn_eval(conv, norm), nn.Identity().eval()
    return fused
