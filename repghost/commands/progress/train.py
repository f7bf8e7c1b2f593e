"""The progress of `repghost train`: a bar in a terminal, lines in a log."""

from __future__ import annotations

import datetime
import sys
import time
from typing import TYPE_CHECKING, Any

from repghost import terminal
from repghost.terminal import say_progress

if TYPE_CHECKING:
    from repghost.training.follow.hooks import StepRecord
    from repghost.training.state.state import EpochRecord

LOG_INTERVAL = 60.0  # seconds between two lines where the output is no terminal


class TrainProgress:
    """A bar in a terminal; plain lines anywhere else."""

    def __init__(self) -> None:
        self.epochs = self.per_epoch = self.done = self.first = 0
        self.bar: Any = None
        self.decoding: Any = None
        self.started = self.printed = time.monotonic()

    def prepare(self, stage: str, done: int, total: int | None) -> None:
        """Show how many images are decoded, where they are kept in memory."""
        from tqdm import tqdm

        if stage != "prepare":
            return
        if self.decoding is None:
            self.decoding = tqdm(total=total, desc=stage, unit="picture", unit_scale=True, disable=terminal.bars_off())
        self.decoding.update(done - self.decoding.n)
        if done == total:
            self.decoding.close()

    def begin(self, epochs: int, images_per_epoch: int) -> None:
        """Take the length of the run."""
        self.epochs, self.per_epoch = epochs, images_per_epoch

    def step(self, record: StepRecord) -> None:
        """Show one step."""
        if self.bar is None:
            self._start(record.epoch)
        self.done += record.images
        text = (
            f"epoch {record.epoch + 1}/{self.epochs} loss {record.loss:.3f} top-1 {record.top1:.1%} "
            f"rate {record.rate:.4f}"
        )
        self.bar.set_description(text, refresh=False)
        self.bar.update(record.images)
        now = time.monotonic()
        if self.bar.disable and now - self.printed > LOG_INTERVAL:
            self.printed = now
            speed = (self.done - self.first) / (now - self.started)
            left = datetime.timedelta(seconds=round((self.epochs * self.per_epoch - self.done) / speed))
            say_progress(f"{text}, {speed:.0f} pictures/s, {left} left", err=True)

    def _start(self, epoch: int) -> None:
        """Begin to count at the first step; a resumed run does not begin at zero."""
        from tqdm import tqdm

        self.done = self.first = epoch * self.per_epoch
        self.started = self.printed = time.monotonic()
        total = self.epochs * self.per_epoch
        self.bar = tqdm(total=total, initial=self.first, unit="picture", unit_scale=True, disable=terminal.bars_off())

    def epoch(self, record: EpochRecord) -> None:
        """Print what an epoch achieved."""
        of = f" with {record.weights} weights" if record.averaged_top1 is not None else ""
        line = (
            f"epoch {record.epoch}/{self.epochs}: loss {record.loss:.4f}, held-out top-1 {record.held_out_top1:.2%} "
            f"of {record.held_out_pictures}{of}, {record.pictures_per_second:.0f} pictures/s"
        )
        if self.bar is None or self.bar.disable:
            say_progress(line, err=True)
        else:
            self.bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Close the bars."""
        for bar in (self.decoding, self.bar):
            if bar is not None:
                bar.close()
