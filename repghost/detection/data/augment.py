"""Augmentation that a light detector needs: parts of images, images made smaller, other brightness and contrast.

Everything is drawn from PyTorch's generator, which the feed seeds for each image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repghost.detection.data.coco import MIN_SIDE, Sample

SMALLEST_PART = 0.3  # of an image's area
RATIOS = (0.5, 2.0)  # of a part's width to its height, as share of the image's
LARGEST_CANVAS = 2.0  # sides of the canvas that an image is laid on
GREY = 0.5


def augmented(sample: Sample, crop: float, colour: float) -> Sample:
    """Return an image with its boxes: a part of it, or itself on a larger canvas, in other colours; it has no masks.

    Args:
        sample: image and boxes.
        crop: probability of a part or a canvas.
        colour: by how much brightness and contrast change, as a share.
    """
    if _uniform(0, 1) < crop:
        sample = _part(sample) if _uniform(0, 1) < 0.5 else _on_canvas(sample)
    if not colour:
        return sample
    brightness, contrast = _uniform(1 - colour, 1 + colour), _uniform(1 - colour, 1 + colour)
    mean = sample.image.mean()
    image = (((sample.image - mean) * contrast + mean) * brightness).clamp(0, 1)
    return Sample(image, sample.target)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _part(sample: Sample) -> Sample:
    """Return a part; boxes whose centre lies in it are cut at its border. The image itself where none would be left."""
    height, width = sample.image.shape[1:]
    area, ratio = _uniform(SMALLEST_PART, 1), _uniform(*RATIOS)
    part_width = min(width, max(1, round(width * (area * ratio) ** 0.5)))
    part_height = min(height, max(1, round(height * (area / ratio) ** 0.5)))
    left, top = (int(_uniform(0, room + 1)) for room in (width - part_width, height - part_height))
    boxes: Tensor = sample.target["boxes"]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - torch.tensor([left, top])
    cut = boxes - torch.tensor([left, top, left, top])
    cut[:, 0::2], cut[:, 1::2] = cut[:, 0::2].clamp(0, part_width), cut[:, 1::2].clamp(0, part_height)
    inside = ((centres > 0) & (centres < torch.tensor([part_width, part_height]))).all(1)
    kept = inside & (cut[:, 2:] - cut[:, :2] >= MIN_SIDE).all(1)
    if not kept.any():
        return sample
    target = {**sample.target, "boxes": cut[kept], "labels": sample.target["labels"][kept]}
    return Sample(sample.image[:, top : top + part_height, left : left + part_width], target)


def _on_canvas(sample: Sample) -> Sample:
    """Return the image somewhere on a larger grey canvas, so that its objects are smaller."""
    height, width = sample.image.shape[1:]
    factor = _uniform(1, LARGEST_CANVAS)
    canvas = torch.full((3, int(height * factor), int(width * factor)), GREY)
    left, top = (int(_uniform(0, room + 1)) for room in (canvas.shape[2] - width, canvas.shape[1] - height))
    canvas[:, top : top + height, left : left + width] = sample.image
    boxes = sample.target["boxes"] + torch.tensor([left, top, left, top])
    return Sample(canvas, {**sample.target, "boxes": boxes})
