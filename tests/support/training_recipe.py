"""A recipe and a set of images that train in seconds."""

from __future__ import annotations

import numpy as np

from repghost.data.formats.arrays import ArraySet
from repghost.data.images.preprocess import Preprocess
from repghost.training.recipe import Recipe

RECIPE = Recipe(
    name="tiny",
    width=0.25,
    preprocess=Preprocess(size=32, resize=32, interpolation="bilinear"),
    seed=3,
    epochs=2,
    batch=32,
    learning_rate=0.05,
    ema_decay=0.8,
    crop_padding=2,
    cutout=4,
    held_out=24,
)


def made_set(count: int = 120) -> ArraySet:
    """Three classes told apart by the colour that is bright."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 3
    images = random.integers(0, 90, (count, 32, 32, 3), np.uint8)
    images[np.arange(count), ..., labels] += 140
    return ArraySet("made", ("red", "green", "blue"), images, labels)
