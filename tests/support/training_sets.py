"""Small sets of images, in memory and on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from repghost.data.formats.arrays import ArraySet
from repghost.data.images.preprocess import Preprocess
from repghost.training.recipe import Recipe, get_recipe

CLASSES = ("red", "green", "blue")


def tiny_recipe(**changes: object) -> Recipe:
    small: dict[str, object] = {
        "width": 0.25, "epochs": 2, "batch": 8, "learning_rate": 0.05, "warmup_epochs": 1, "amp": "off",
        "preprocess": Preprocess(size=32, resize=32, interpolation="bilinear"), "ema_decay": 0.8,
    }  # fmt: skip
    return get_recipe("imagenet").changed(**(small | changes))


def made_set(count: int = 48) -> ArraySet:
    """Three classes told apart by the colour that is bright."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 3
    images = random.integers(0, 90, (count, 32, 32, 3), np.uint8)
    images[np.arange(count), ..., labels] += 140
    return ArraySet("made", CLASSES, images, labels)


def make_tree(root: Path, train: int = 48, val: int = 10) -> Path:
    for split, count in (("train", train), ("val", val)):
        made = made_set(count)
        for index in range(count):
            folder = root / split / CLASSES[made.labels[index]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(made.images[index]).save(folder / f"{index:03}.png")
    return root
