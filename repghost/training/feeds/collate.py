"""From the pictures of a batch to its arrays, in a worker of the loader."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def collate_training(samples: list[Any]) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    """Return uint8 [N, channels, H, W], int64 [N] and the messages of a batch."""
    images = np.empty((len(samples), *samples[0][0].shape), np.uint8)
    for place, sample in enumerate(samples):
        images[place] = sample[0]
    labels = np.asarray([sample[1] for sample in samples], np.int64)
    messages = tuple(message for sample in samples for message in sample[2])
    return torch.from_numpy(images), torch.from_numpy(labels), messages


def collate_prepared(samples: list[Any]) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """Return uint8 [N, H, W, 3], int64 [N] and the messages of a batch; N is 0 when every image is broken."""
    good = [sample for sample in samples if sample[0] is not None]
    images = np.stack([sample[0] for sample in good]) if good else np.empty((0, 1, 1, 3), np.uint8)
    labels = np.asarray([sample[1] for sample in good], np.int64)
    return images, labels, tuple(message for sample in samples for message in sample[2])
