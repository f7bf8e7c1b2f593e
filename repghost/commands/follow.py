"""How a training run is followed in a terminal or a log, and stopped by a signal without losing an epoch."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from repghost.recipe import Recipe
    from repghost.runstate import EpochRecord
    from repghost.train import Hooks


@contextlib.contextmanager
def follow(recipe: Recipe, pictures: int) -> Iterator[Hooks]:
    """Give hooks that show a bar with pictures per second and the time left, and stop on SIGINT or SIGTERM.

    Args:
        recipe: of the run.
        pictures: in the training split, held-out ones included.
    """
    from tqdm import tqdm

    from repghost.train import Hooks

    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    per_epoch = (pictures - recipe.held_out) // recipe.batch * recipe.batch
    interval = 0.5 if sys.stderr.isatty() else 30.0
    bar = tqdm(total=recipe.epochs * per_epoch, unit="picture", unit_scale=True, mininterval=interval, disable=None
               if sys.stderr.isatty() else False)  # fmt: skip

    def prepare_progress(indices: Iterable[int]) -> Iterable[int]:
        return tqdm(indices, desc="prepare", unit="picture", unit_scale=True, mininterval=interval, leave=False)

    def show_step(epoch: int, count: int, loss: float, rate: float) -> None:
        if bar.n < epoch * per_epoch:  # a resumed run starts here
            bar.initial = bar.n = epoch * per_epoch
        bar.set_description(f"epoch {epoch + 1}/{recipe.epochs} loss {loss:.3f} rate {rate:.4f}", refresh=False)
        bar.update(count)

    def show_epoch(record: EpochRecord) -> None:
        line = (
            f"epoch {record.epoch}/{recipe.epochs}: loss {record.loss:.4f}, held-out top-1 {record.held_out_top1:.2%} "
            f"of {record.held_out_pictures}, {record.pictures_per_second:.0f} pictures/s"
        )
        bar.write(line, file=sys.stderr)

    old = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield Hooks(prepare_progress, show_step, show_epoch, lambda: bool(received))
    finally:
        bar.close()
        for number, handler in old.items():
            signal.signal(number, handler)
        if received:
            click.echo("stopped by a signal", err=True)
