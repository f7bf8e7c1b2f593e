"""The quicker steps of a training's transform give timm's bytes and draw its random numbers."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torchvision.transforms import ColorJitter

from repghost.training.feeds.quick_steps import Jitter, quicker


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_colour_is_that_of_torchvision(mode: str) -> None:
    """Factors of 0, 1 and 2 are copies, and values beyond 255 are cut."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 41, 3), np.uint8)).convert(mode)
    dark, light = image.point(lambda value: value // 8), Image.new(mode, (5, 7), "white")
    for strength in (0.4, 1.0, (0.0, 0.0), (2.0, 2.0)):
        theirs = ColorJitter(strength, strength, strength)
        for seed, given in enumerate([image, dark, light] * 20):
            torch.manual_seed(seed)
            expected = theirs(given).tobytes()
            after = torch.rand(1)
            torch.manual_seed(seed)
            assert Jitter(theirs)(given).tobytes() == expected
            assert torch.equal(torch.rand(1), after)


@pytest.mark.parametrize("more", [{}, {"auto_augment": "3a"}, {"color_jitter": (0.1, 0.1, 0.1, 0.1)}])
def test_a_whole_transform_is_that_of_timm(more: dict[str, object]) -> None:
    values = {"color_jitter": 0.4, **more, "is_training": True, "use_prefetcher": True}
    theirs, ours = create_transform(32, **values), quicker(create_transform(32, **values))
    for mode in ("RGB", "L"):
        image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 60, 3), np.uint8)).convert(mode)
        for seed in range(10):
            made = []
            for transform in (theirs, ours):
                torch.manual_seed(seed)
                np.random.seed(seed)
                random.seed(seed)
                made.append(np.asarray(transform(image)))
            assert made[1].dtype == np.uint8 and np.array_equal(*made)
