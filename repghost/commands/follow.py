"""How a training run is followed in a terminal or a log, and stopped by a signal without losing an epoch."""

from __future__ import annotations

import contextlib
import datetime
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from repghost.recipe import Recipe
    from repghost.runstate import EpochRecord
    from repghost.train import Hooks

LOG_INTERVAL = 60.0  # seconds between two lines where the output is no terminal


@contextlib.contextmanager
def follow(recipe: Recipe, pictures: int) -> Iterator[Hooks]:
    """Give hooks that show progress, pictures per second and the time left, and stop on SIGINT or SIGTERM.

    A second signal of the same kind acts at once.

    Args:
        recipe: of the run.
        pictures: in the training split, held-out ones included.
    """
    from repghost.train import Hooks, TrainingStoppedError

    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, old[signal.Signals(number)])

    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    progress = _Progress(recipe, (pictures - recipe.held_out) // recipe.batch * recipe.batch)
    for number in old:
        signal.signal(number, note)
    try:
        yield Hooks(progress.prepare, progress.step, progress.epoch, lambda: bool(received))
    except TrainingStoppedError as error:
        error.exit_code = 128 + received[0]  # as a shell reports a signal
        raise
    finally:
        progress.close()
        for number, handler in old.items():
            signal.signal(number, handler)


class _Progress:
    """A bar in a terminal; plain lines anywhere else."""

    def __init__(self, recipe: Recipe, per_epoch: int) -> None:
        self.recipe, self.per_epoch = recipe, per_epoch
        self.bar: Any = None
        self.done = self.first = 0
        self.started = self.printed = time.monotonic()

    def prepare(self, indices: Iterable[int]) -> Iterable[int]:
        """Wrap the loop that decodes the pictures."""
        from tqdm import tqdm

        return tqdm(indices, desc="prepare", unit="picture", unit_scale=True, disable=None)

    def step(self, epoch: int, count: int, loss: float, rate: float) -> None:
        """Show one step."""
        if self.bar is None:
            self._start(epoch)
        self.done += count
        text = f"epoch {epoch + 1}/{self.recipe.epochs} loss {loss:.3f} rate {rate:.4f}"
        self.bar.set_description(text, refresh=False)
        self.bar.update(count)
        now = time.monotonic()
        if self.bar.disable and now - self.printed > LOG_INTERVAL:
            self.printed = now
            speed = (self.done - self.first) / (now - self.started)
            left = datetime.timedelta(seconds=round((self.recipe.epochs * self.per_epoch - self.done) / speed))
            click.echo(f"{text}, {speed:.0f} pictures/s, {left} left", err=True)

    def _start(self, epoch: int) -> None:
        """Begin to count at the first step; a resumed run does not begin at zero."""
        from tqdm import tqdm

        self.done = self.first = epoch * self.per_epoch
        self.started = self.printed = time.monotonic()
        total = self.recipe.epochs * self.per_epoch
        self.bar = tqdm(total=total, initial=self.first, unit="picture", unit_scale=True, disable=None)

    def epoch(self, record: EpochRecord) -> None:
        """Print what an epoch achieved."""
        line = (
            f"epoch {record.epoch}/{self.recipe.epochs}: loss {record.loss:.4f}, held-out top-1 "
            f"{record.held_out_top1:.2%} of {record.held_out_pictures}, {record.pictures_per_second:.0f} pictures/s"
        )
        if self.bar is None or self.bar.disable:
            click.echo(line, err=True)
        else:
            self.bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Leave the terminal in order."""
        if self.bar is not None:
            self.bar.close()
