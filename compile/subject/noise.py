"""Random images for networks that bring none of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compile.subject.subject import Images

RANDOM_CLASSES = 1000
RANDOM_IMAGES = 32
# Pixels; batch statistics of random weights hardly depend on the size, but need more than a pixel of the last stages.
STATISTICS_SIDES = (64, 128)


def statistics_side(size: int) -> int:
    """Return the pixels of the images that give batch statistics to a network for images of `size` pixels."""
    smallest, largest = STATISTICS_SIDES
    return min(max(size, smallest), largest)


def noise_images(count: int, size: int, seed: int) -> NDArray[np.uint8]:
    """Return uint8 [count, size, size, 3]: coloured patches of 8 pixels with fine noise on top."""
    generator = np.random.default_rng(seed)
    cells = -(-size // 8)
    patches = generator.integers(0, 256, (count, cells, cells, 3)).repeat(8, 1).repeat(8, 2)[:, :size, :size]
    return np.clip(patches + generator.normal(0, 20, patches.shape), 0, 255).astype(np.uint8)


def unlabelled_noise(size: int, seed: int) -> Images:
    """Return `RANDOM_IMAGES` noise images of `size` pixels, without labels."""
    noise = noise_images(RANDOM_IMAGES, size, seed)
    return Images(noise, np.full(len(noise), -1), {"data": "noise", "split": "none", "seed": seed, "broken": []})
