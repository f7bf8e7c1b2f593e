"""RetinaNet, Mask R-CNN and SSD of torchvision with a RepGhostNet as their backbone."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from torchvision.models.detection import MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from repghost.data.images.known_transforms import IMAGENET_MEAN, IMAGENET_STD
from repghost.detection.boxes import MOST_CLASSES
from repghost.detection.pyramid import PYRAMID_CHANNELS, PyramidBackbone, features_of, fuse_features
from repghost.detection.ssdlite import SSDLite, fuse_ssdlite
from repghost.errors import UsageError, unknown_value
from repghost.network.model import RepGhostNet

MAX_CLASSES = 10_000


def build_detector(
    kind: str, model: RepGhostNet, classes: int, min_size: int = 800, max_size: int = 1333, **options: Any
) -> nn.Module:
    """Return a detector with random heads; in training it maps (images, targets) to losses, else to detections.

    Args:
        kind: "retinanet", strides 8 to 128, "maskrcnn", strides 4 to 64, or "ssdlite", strides 8 to 128.
        model: the backbone, whose weights are shared; its tail and classifier are left out.
        classes: kinds of objects; labels are 1 to `classes`, 0 is background in both detectors.
        min_size: short side of the images as the network sees them, in pixels; both sides of ssdlite.
        max_size: limit of their long side; ssdlite has none.
        options: further arguments of torchvision's detector.

    Raises:
        UsageError: for an unknown kind, no classes, or a network that does not read RGB.
    """
    if not 1 <= classes <= MAX_CLASSES:
        raise UsageError(f"a detector has 1 to {MAX_CLASSES} classes, not {classes}.")
    if kind == "ssdlite":
        if classes > MOST_CLASSES:
            raise UsageError(f"ssdlite has at most {MOST_CLASSES} classes, not {classes}.")
        return SSDLite(model, classes, min_size, **options)
    sizes: dict[str, Any] = {
        "min_size": min_size,
        "max_size": max_size,
        "image_mean": list(IMAGENET_MEAN),
        "image_std": list(IMAGENET_STD),
        **options,
    }
    if kind == "retinanet":
        top = LastLevelP6P7(PYRAMID_CHANNELS, PYRAMID_CHANNELS)
        backbone = PyramidBackbone(features_of(model, (8, 16, 32)), extra=top)
        # Three sizes within an octave at each stride, as in the RetinaNet paper.
        scales = tuple(tuple(int(base * 2 ** (part / 3)) for part in range(3)) for base in (32, 64, 128, 256, 512))
        anchors = AnchorGenerator(scales, ((0.5, 1.0, 2.0),) * len(scales))
        return RetinaNet(backbone, classes + 1, anchor_generator=anchors, **sizes)
    if kind == "maskrcnn":
        backbone = PyramidBackbone(features_of(model), extra=LastLevelMaxPool())
        anchors = AnchorGenerator(tuple((base,) for base in (32, 64, 128, 256, 512)), ((0.5, 1.0, 2.0),) * 5)
        pooled = {"box_roi_pool": _roi_align(7), "mask_roi_pool": _roi_align(14)}
        return MaskRCNN(backbone, classes + 1, rpn_anchor_generator=anchors, **{**pooled, **sizes})
    raise unknown_value("detector", kind, ("retinanet", "maskrcnn", "ssdlite"))


def _roi_align(size: int) -> nn.Module:
    """Return the pooling of one object from the pyramid; the coarsest map only proposes."""
    from torchvision.ops import MultiScaleRoIAlign

    return MultiScaleRoIAlign(featmap_names=["4", "8", "16", "32"], output_size=size, sampling_ratio=2)


def fuse_detector(detector: nn.Module) -> nn.Module:
    """Return a deep copy whose backbone has neither branches nor batch norms and computes the same.

    Raises:
        UsageError: when the detector is in training mode.
    """
    if isinstance(detector, SSDLite):
        return fuse_ssdlite(detector)
    fused = copy.deepcopy(detector)
    backbone: Any = fused.backbone
    backbone.body = fuse_features(backbone.body)
    return fused
