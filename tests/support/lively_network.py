"""A small network with random weights that behaves like a trained one."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from repghost.network.model import RepGhostNet

SIZE = 32


CLASSES = 5


def lively_model(seed: int = 0, **options: object) -> RepGhostNet:
    """Return an unfused 0.5x with random weights whose batch norms know their inputs' statistics, as after training."""
    torch.manual_seed(seed)
    model = RepGhostNet(0.5, num_classes=CLASSES, **options)  # type: ignore[arg-type]
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            if "ghost2" in name:  # what a block adds is small beside what it passes on; noise would grow otherwise
                module.weight.data *= 0.3
            torch.nn.init.normal_(module.bias, 0.0, 0.3)
            module.momentum = None  # the plain average
    images = torch.from_numpy(random_images(32, seed))[:, : model.spec.in_chans]
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def random_images(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Return normalized images, float32 [count, 3, SIZE, SIZE], with some structure between pixels."""
    generator = np.random.default_rng(seed)
    coarse = generator.normal(size=(count, 3, SIZE // 4, SIZE // 4))
    fine = 0.3 * generator.normal(size=(count, 3, SIZE, SIZE))
    return (coarse.repeat(4, axis=2).repeat(4, axis=3) + fine).astype(np.float32)
