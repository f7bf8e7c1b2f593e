"""Sums of the loss and of what a task counts over an epoch, read from the device once per interval."""

from __future__ import annotations

import math
import time

from repghost.errors import RepGhostError, option
from repghost.training.core.progress import Progress
from repghost.training.core.task import BatchLoss


class Meter:
    """Loss and counts so far.

    Numbers are read from the device once per interval, because each read waits for it.

    Args:
        progress: what the epoch had before an interruption.
        epoch: from 0, for messages.
        interval: batches between two reads.
    """

    def __init__(self, progress: Progress, epoch: int, interval: int) -> None:
        self.loss, self.sums, self.before = progress.loss, dict(progress.sums), progress
        self.interval, self.pending = interval, list[BatchLoss]()
        self.started, self.images, self.latest, self.epoch = time.monotonic(), 0, 0.0, epoch

    def add(self, found: BatchLoss, number: int) -> None:
        """Note one batch.

        Args:
            found: of the batch.
            number: of the batch, from 0 in its epoch.

        Raises:
            RepGhostError: when a loss is not finite.
        """
        # without what the backward pass kept
        self.pending.append(BatchLoss(found.loss.detach(), found.images, found.counted))
        if (number + 1) % self.interval == 0:
            self._fetch()

    def share(self, name: str) -> float:
        """Return a count of this process since it began or went on, per image."""
        return (self.sums.get(name, 0.0) - self.before.sums.get(name, 0.0)) / max(self.images, 1)

    def _fetch(self) -> None:
        """Fetch what is pending."""
        for found in self.pending:
            self.latest = float(found.loss)
            if not math.isfinite(self.latest):
                raise RepGhostError(
                    f"the loss became {self.latest} in epoch {self.epoch + 1}; the last state is kept as it was. Lower "
                    f"{option('learning_rate')}, or set {option('clip_grad', 1.0)}, in a run of its own."
                )
            self.loss += self.latest
            self.images += found.images
            for name, value in found.counted.items():
                self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.pending.clear()

    def progress(self, batches: int) -> Progress:
        """Return the sums so far."""
        self._fetch()
        seconds = self.before.seconds + time.monotonic() - self.started
        return Progress(batches, self.loss, seconds, dict(self.sums))
