"""The progress of `repghost detect-train`: one line every few seconds and one for each epoch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from repghost.terminal import say
from repghost.training.follow.signals import stop_on_signals

if TYPE_CHECKING:
    from repghost.detection.recipe import DetectionRecipe
    from repghost.detection.state import DetectionEpoch
    from repghost.detection.train import DetectionHooks

LOG_INTERVAL = 10.0  # seconds between two lines


@contextlib.contextmanager
def follow(recipe: DetectionRecipe, quiet: bool) -> Iterator[DetectionHooks]:
    """Yield hooks that print, and that stop on SIGINT or SIGTERM.

    Args:
        recipe: of the run.
        quiet: print nothing, for all processes of a run but one.
    """
    from repghost.detection.train import DetectionHooks, DetectionStoppedError

    lines = _Lines(recipe.epochs)
    with stop_on_signals(DetectionStoppedError) as should_stop:
        if quiet:
            yield DetectionHooks(should_stop=should_stop)
        else:
            yield DetectionHooks(lines.step, lines.epoch, should_stop)


def percent(value: float | None) -> str:
    """Return a share in percent; None where there is nothing to measure it on."""
    return "none there" if value is None else f"{value:.2%}"


class _Lines:
    """One line every few seconds and one per epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.printed = epochs, 0.0

    def step(self, epoch: int, step: int, steps: int, loss: float, rate: float) -> None:
        """Show one step."""
        if time.monotonic() - self.printed > LOG_INTERVAL:
            self.printed = time.monotonic()
            say(f"epoch {epoch + 1}/{self.epochs} step {step + 1}/{steps} loss {loss:.3f} rate {rate:.2g}", err=True)

    def epoch(self, record: DetectionEpoch) -> None:
        """Show what an epoch achieved."""
        evaluated = "" if record.boxes is None else f", AP of boxes {percent(record.boxes.ap)}"
        if record.masks is not None:
            evaluated += f", of masks {percent(record.masks.ap)}"
        speed = f"{record.pictures_per_second:.2f} pictures/s"
        say(f"epoch {record.epoch}/{self.epochs}: loss {record.loss:.4f}{evaluated}, {speed}", err=True)
