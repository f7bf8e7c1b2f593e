"""What a network of classes learns from a batch: of `repghost.training` and of training under quantization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from repghost.training.core.progress import RIGHT
from repghost.training.core.run import Run
from repghost.training.core.task import BatchLoss
from repghost.training.feeds.base import Batch, Batches
from repghost.training.options import Loss


@dataclass(frozen=True, eq=False)
class Classes:
    """Images with their classes, and the loss of a network's logits.

    Attributes:
        run: the network; changed in place.
        feed: where batches come from.
        minimized: of inputs, logits and targets.
        channels_last: whether images are brought to that memory layout.
    """

    run: Run[Any]
    feed: Batches
    minimized: Loss
    channels_last: bool = True

    def batches(self, epoch: int, done: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `done` on."""
        return self.feed.batches(epoch, done)

    def loss(self, batch: Batch, epoch: int, number: int) -> BatchLoss:
        """Return the loss of one batch, with its right predictions."""
        inputs, labels, targets = batch
        if self.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        logits = self.run.forward(inputs)
        loss = self.minimized(inputs, logits, targets)
        return BatchLoss(loss, len(labels), {RIGHT: (logits.detach().argmax(1) == labels).sum()})
