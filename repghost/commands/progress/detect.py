"""The progress of `repghost detect-train`: one line every few seconds and one for each epoch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from repghost.terminal import say_progress

if TYPE_CHECKING:
    from repghost.detection.state import DetectionEpoch

LOG_INTERVAL = 10.0  # seconds between two lines


class DetectProgress:
    """One line every few seconds and one per epoch."""

    def __init__(self) -> None:
        self.epochs, self.printed = 0, 0.0

    def begin(self, epochs: int) -> None:
        """Take the length of the run."""
        self.epochs = epochs

    def step(self, epoch: int, step: int, steps: int, loss: float, rate: float) -> None:
        """Show one step."""
        if time.monotonic() - self.printed > LOG_INTERVAL:
            self.printed = time.monotonic()
            say_progress(
                f"epoch {epoch + 1}/{self.epochs} step {step + 1}/{steps} loss {loss:.3f} rate {rate:.2g}", err=True
            )

    def epoch(self, record: DetectionEpoch) -> None:
        """Show what an epoch achieved."""
        from repghost.api.training.detectors import percent

        evaluated = "" if record.boxes is None else f", AP of boxes {percent(record.boxes.ap)}"
        if record.masks is not None:
            evaluated += f", of masks {percent(record.masks.ap)}"
        if record.averaged_ap is not None:
            evaluated += f" with {record.weights} weights"
        speed = f"{record.pictures_per_second:.2f} pictures/s"
        say_progress(f"epoch {record.epoch}/{self.epochs}: loss {record.loss:.4f}{evaluated}, {speed}", err=True)
