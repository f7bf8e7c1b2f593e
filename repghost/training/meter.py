"""Sums of loss and right predictions over an epoch, read from the device once per interval."""

from __future__ import annotations

import math
import time

import torch

from repghost.errors import RepGhostError, option
from repghost.training.state.state import Progress


class Meter:
    """Loss and right predictions so far.

    Numbers are read from the device once per interval, because each read waits for it.

    Args:
        progress: what the epoch had before an interruption.
        epoch: from 0, for messages.
        interval: batches between two reads.
    """

    def __init__(self, progress: Progress, epoch: int, interval: int) -> None:
        self.loss, self.right, self.seconds = progress.loss, progress.right, progress.seconds
        self.interval, self.pending = interval, list[tuple[torch.Tensor, torch.Tensor]]()
        self.started, self.images, self.latest, self.top1, self.epoch = time.monotonic(), 0, 0.0, 0.0, epoch
        self.seen_before = progress.right

    def add(self, loss: torch.Tensor, right: torch.Tensor, images: int, number: int) -> None:
        """Note one batch.

        Args:
            loss: scalar on the device, detached.
            right: scalar on the device.
            images: of the batch.
            number: of the batch, from 0 in its epoch.

        Raises:
            RepGhostError: when a loss is not finite.
        """
        self.pending.append((loss, right))
        self.images += images
        if (number + 1) % self.interval == 0:
            self._fetch()

    def _fetch(self) -> None:
        """Fetch what is pending."""
        for loss, right in self.pending:
            self.latest = float(loss)
            if not math.isfinite(self.latest):
                raise RepGhostError(
                    f"the loss became {self.latest} in epoch {self.epoch + 1}; the last state is kept as it was. Lower "
                    f"{option('learning_rate')}, or set {option('clip_grad', 1.0)}, in a run of its own."
                )
            self.loss += self.latest
            self.right += int(right)
        self.pending.clear()
        self.top1 = (self.right - self.seen_before) / max(self.images, 1)

    def progress(self, batches: int) -> Progress:
        """Return the sums so far."""
        self._fetch()
        return Progress(batches, self.loss, self.right, self.seconds + time.monotonic() - self.started)
