"""Random images for networks that bring none of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compile.subject.subject import Images
from repghost.sizes import Size, sides

RANDOM_CLASSES = 1000
RANDOM_IMAGES = 32
# Pixels; batch statistics of random weights hardly depend on the size, but need more than a pixel of the last stages.
STATISTICS_SIDES = (64, 128)


def statistics_size(size: Size) -> Size:
    """Return the size of the images that give batch statistics to a network for images of `size` pixels."""
    smallest, largest = STATISTICS_SIDES
    height, width = (min(max(side, smallest), largest) for side in sides(size))
    return height, width


def noise_images(count: int, size: Size, seed: int, channels: int = 3) -> NDArray[np.uint8]:
    """Return uint8 [count, height, width, channels]: coloured patches of 8 pixels with fine noise on top."""
    generator = np.random.default_rng(seed)
    height, width = sides(size)
    cells = -(-height // 8), -(-width // 8)
    patches = generator.integers(0, 256, (count, *cells, channels)).repeat(8, 1).repeat(8, 2)[:, :height, :width]
    return np.clip(patches + generator.normal(0, 20, patches.shape), 0, 255).astype(np.uint8)


def unlabelled_noise(size: Size, seed: int, channels: int = 3) -> Images:
    """Return `RANDOM_IMAGES` noise images of `size` pixels, without labels."""
    noise = noise_images(RANDOM_IMAGES, size, seed, channels)
    return Images(noise, np.full(len(noise), -1), {"data": "noise", "split": "none", "seed": seed, "broken": []})
