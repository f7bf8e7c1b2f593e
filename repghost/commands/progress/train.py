"""The progress of `repghost train`: a bar in a terminal, lines in a log."""

from __future__ import annotations

import contextlib
import datetime
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from repghost.terminal import say
from repghost.training.follow.signals import stop_on_signals

if TYPE_CHECKING:
    from repghost.training.recipe import Recipe
    from repghost.training.state.state import EpochRecord
    from repghost.training.train import Hooks, StepRecord

LOG_INTERVAL = 60.0  # seconds between two lines where the output is no terminal


@contextlib.contextmanager
def follow(recipe: Recipe, quiet: bool = False) -> Iterator[Hooks]:
    """Yield hooks that show progress, images per second and the time left, and stop on SIGINT or SIGTERM.

    Args:
        recipe: of the run.
        quiet: show nothing, for all processes of a run but one.
    """
    from repghost.training.train import Hooks, TrainingStoppedError

    progress = _Progress(recipe)
    with stop_on_signals(TrainingStoppedError) as should_stop, contextlib.closing(progress):
        if quiet:
            yield Hooks(should_stop=should_stop)
        else:
            yield Hooks(
                preparing=progress.prepare,
                begin=progress.begin,
                step=progress.step,
                epoch=progress.epoch,
                should_stop=should_stop,
            )


class _Progress:
    """A bar in a terminal; plain lines anywhere else."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.epochs, self.per_epoch = recipe, recipe.epochs, 0
        self.bar: Any = None
        self.done = self.first = 0
        self.started = self.printed = time.monotonic()

    def prepare(self, indices: Iterable[int]) -> Iterable[int]:
        """Wrap the loop that decodes the images."""
        from tqdm import tqdm

        return tqdm(indices, desc="prepare", unit="picture", unit_scale=True, disable=None)

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
            say(f"{text}, {speed:.0f} pictures/s, {left} left", err=True)

    def _start(self, epoch: int) -> None:
        """Begin to count at the first step; a resumed run does not begin at zero."""
        from tqdm import tqdm

        self.done = self.first = epoch * self.per_epoch
        self.started = self.printed = time.monotonic()
        total = self.epochs * self.per_epoch
        self.bar = tqdm(total=total, initial=self.first, unit="picture", unit_scale=True, disable=None)

    def epoch(self, record: EpochRecord) -> None:
        """Print what an epoch achieved."""
        of = f" with {record.weights} weights" if record.averaged_top1 is not None else ""
        line = (
            f"epoch {record.epoch}/{self.epochs}: loss {record.loss:.4f}, held-out top-1 {record.held_out_top1:.2%} "
            f"of {record.held_out_pictures}{of}, {record.pictures_per_second:.0f} pictures/s"
        )
        if self.bar is None or self.bar.disable:
            say(line, err=True)
        else:
            self.bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()
