"""Random changes to a batch of training images, all on uint8 arrays of one size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def random_crop(images: NDArray[np.uint8], padding: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Shift each image by up to `padding` pixels; what enters is the reflection of what is there.

    Args:
        images: uint8 [N, H, W, 3].
        padding: pixels.
        random: where the shifts come from.
    """
    if padding == 0:
        return images
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="reflect")
    tops, lefts = random.integers(0, 2 * padding + 1, (2, count))
    result = np.empty_like(images)
    for place, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True)):
        result[place] = padded[place, top : top + height, left : left + width]
    return result


def random_flip(images: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Mirror each image, left to right, with probability one half."""
    mirrored = random.random(len(images)) < 0.5
    return np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def cutout(
    images: NDArray[np.uint8], side: int, fill: NDArray[np.uint8], random: np.random.Generator
) -> NDArray[np.uint8]:
    """Cover a square of each image; its centre lies anywhere in the image, so part of it may fall outside.

    Args:
        images: uint8 [N, H, W, 3].
        side: of the square, in pixels; 0 returns the images as they are.
        fill: uint8 [3], the colour of the square.
        random: where the places come from.
    """
    if side == 0:
        return images
    count, height, width, _ = images.shape
    result = images.copy()
    corners = np.stack([random.integers(0, height, count), random.integers(0, width, count)], axis=1) - side // 2
    for place, (top, left) in enumerate(corners.tolist()):
        result[place, max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = fill
    return result
