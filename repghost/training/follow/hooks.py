"""Hooks by which a caller follows and stops a training run; the loop knows no progress bars, files or signals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from repghost.network.model import RepGhostNet
from repghost.training.core.hooks import StepHooks, StepRecord, TrainingStoppedError
from repghost.training.state.state import EpochRecord

__all__ = ["Hooks", "StepRecord", "TrainingStoppedError", "joined"]


@dataclass(frozen=True)
class Hooks(StepHooks):
    """Functions that a training run calls beside those of its loop; the defaults do nothing.

    Attributes:
        preparing: wraps the loop that decodes images once, where a recipe keeps them in memory.
        begin: gets the number of epochs and of images per epoch, all processes together.
        epoch: gets the record of each epoch, after its state was written.
        end: gets the network that is kept, in eval mode, and all records, once the last epoch is done or a finished run
            was resumed; every process calls it.
    """

    preparing: Callable[[Iterable[int]], Iterable[int]] = iter
    begin: Callable[[int, int], None] = lambda epochs, images_per_epoch: None
    epoch: Callable[[EpochRecord], None] = lambda record: None
    end: Callable[[RepGhostNet, Sequence[EpochRecord]], None] = lambda model, history: None


def joined(*every: Hooks) -> Hooks:
    """Return hooks that call all of these, in their order; any of them may stop the run."""

    def preparing(work: Iterable[int]) -> Iterable[int]:
        for hooks in every:
            work = hooks.preparing(work)
        return work

    def begin(epochs: int, images_per_epoch: int) -> None:
        for hooks in every:
            hooks.begin(epochs, images_per_epoch)

    def step(record: StepRecord) -> None:
        for hooks in every:
            hooks.step(record)

    def epoch(record: EpochRecord) -> None:
        for hooks in every:
            hooks.epoch(record)

    def end(model: RepGhostNet, history: Sequence[EpochRecord]) -> None:
        for hooks in every:
            hooks.end(model, history)

    def should_stop() -> bool:
        return any(hooks.should_stop() for hooks in every)

    return Hooks(preparing=preparing, begin=begin, step=step, epoch=epoch, end=end, should_stop=should_stop)
