"""Small sets of images on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repghost.data.formats.fashion_mnist import write_idx


def make_set(folder: Path, count: int = 120) -> Path:
    random = np.random.default_rng(0)
    for split, images in (("train", count), ("t10k", 20)):
        labels = (np.arange(images) % 10).astype(np.uint8)
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", random.integers(0, 256, (images, 28, 28), np.uint8))
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", labels)
    return folder
