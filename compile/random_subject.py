"""A network that was never trained, for measuring size and speed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compile.subject import CARRIED_WIDTH, RANDOM, Pictures, Subject
from repghost.preprocess import Preprocess
from repghost.spec import parse_width

if TYPE_CHECKING:
    from repghost.model import RepGhostNet

RANDOM_CLASSES = 1000
RANDOM_PICTURES = 32
# Pixels; batch statistics of random weights hardly depend on the size, but need more than a pixel of the last stages.
STATISTICS_SIDES = (64, 128)


def random_subject(width: str | None, size: int, seed: int) -> Subject:
    """Return a network of random weights with the batch statistics its activations really have, and noise for pictures.

    Its answers mean nothing, so nothing can be judged; sizes, speed and the equality of all builds can.
    """
    import torch

    from repghost.model import RepGhostNet

    multiplier = parse_width(width or str(CARRIED_WIDTH), custom=True)
    torch.manual_seed(seed)
    model = RepGhostNet(width=multiplier, num_classes=RANDOM_CLASSES)
    preprocess = Preprocess(size=size, resize=size)
    _measure_statistics(model, preprocess, seed)
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    labels = tuple(f"class {index}" for index in range(RANDOM_CLASSES))
    noise = noise_pictures(RANDOM_PICTURES, size, seed)
    pictures = Pictures(noise, np.full(len(noise), -1), {"data": "noise", "split": "none", "seed": seed, "broken": []})
    origin = {"kind": RANDOM, "source": f"seed {seed}", "sha256": digest.hexdigest()}
    reason = "the weights are random"
    spec = model.spec
    return Subject(spec.name, spec, model, digest.hexdigest(), origin, preprocess, labels, pictures, None, reason)


def _measure_statistics(model: RepGhostNet, preprocess: Preprocess, seed: int) -> None:
    """Give every batch norm the mean and variance of what reaches it; leaves the model in evaluation mode."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # a plain mean over the batches
    small = noise_pictures(RANDOM_PICTURES, statistics_side(preprocess.size), seed + 1)
    model.train()
    with torch.no_grad():
        for start in range(0, len(small), 8):
            model(torch.from_numpy(preprocess.normalize(small[start : start + 8])))
    model.eval()


def statistics_side(size: int) -> int:
    """Return the pixels of the pictures that give batch statistics to a network for pictures of `size` pixels."""
    smallest, largest = STATISTICS_SIDES
    return min(max(size, smallest), largest)


def noise_pictures(count: int, size: int, seed: int) -> NDArray[np.uint8]:
    """Return uint8 [count, size, size, 3]: coloured patches of 8 pixels with fine noise on top."""
    generator = np.random.default_rng(seed)
    cells = -(-size // 8)
    patches = generator.integers(0, 256, (count, cells, cells, 3)).repeat(8, 1).repeat(8, 2)[:, :size, :size]
    return np.clip(patches + generator.normal(0, 20, patches.shape), 0, 255).astype(np.uint8)
