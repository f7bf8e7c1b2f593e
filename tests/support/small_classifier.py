"""A classifier of four layers and a set of images for it: what the library's functions are tried on."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from repghost.data.images.preprocess import Preprocess

CLASSES = ("bright", "dark", "red")
SIZE = 16
PREPROCESS = Preprocess(size=SIZE, resize=SIZE, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
COLOURS = {"bright": (220, 220, 220), "dark": (30, 30, 30), "red": (210, 40, 40)}


def small_classifier(labels: tuple[str, ...] | None = CLASSES) -> nn.Sequential:
    """Return a network in evaluation mode that tells the three colours apart, with its preprocessing."""
    net = copy.deepcopy(_trained())
    net.__dict__["preprocess"], net.__dict__["labels"] = PREPROCESS, labels
    return net


@cache
@torch.enable_grad()
def _trained() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    images = torch.from_numpy(
        PREPROCESS.normalize(np.stack([image(name, seed) for seed in range(8) for name in CLASSES]))
    )
    targets = torch.arange(3).repeat(8)
    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), targets).backward()
        optimizer.step()
    return net.eval()


def image(name: str, seed: int, side: int = SIZE) -> np.ndarray:
    """Return an image of a class, uint8 [side, side, 3]."""
    noise = np.random.default_rng(seed).normal(0, 25, (side, side, 3))
    return np.clip(np.asarray(COLOURS[name]) + noise, 0, 255).astype(np.uint8)


def write_set(folder: Path, splits: tuple[str, ...] = ("train", "test"), each: int = 4, side: int = 20) -> Path:
    """Write a set of images as split/class/number.png."""
    for number, split in enumerate(splits):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for index in range(each):
                pixels = image(name, 100 * number + index, side)
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")
    return folder
