"""How a run is followed and stopped from outside; the loop knows nothing of bars, files or signals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from repghost.errors import RepGhostError
from repghost.runstate import EpochRecord


class TrainingStoppedError(RepGhostError):
    """Training was asked to stop; everything up to the last step is in the state file."""


@dataclass(frozen=True)
class StepRecord:
    """What one batch did, over all processes where it says so."""

    epoch: int  # from 0
    pictures: int  # of all processes
    loss: float  # of this process
    rate: float
    top1: float  # of the epoch so far, of this process


@dataclass(frozen=True)
class Hooks:
    """How the caller follows and stops a run; the defaults do nothing.

    Attributes:
        preparing: wraps the loop that decodes pictures once, where a recipe keeps them in memory.
        begin: gets the number of epochs and of pictures per epoch, all processes together.
        step: gets the record of each batch.
        epoch: gets the record of each epoch, after its state was written.
        should_stop: is asked before each step of the optimizer; true ends the run with a state to go on from.
    """

    preparing: Callable[[Iterable[int]], Iterable[int]] = iter
    begin: Callable[[int, int], None] = lambda epochs, pictures_per_epoch: None
    step: Callable[[StepRecord], None] = lambda record: None
    epoch: Callable[[EpochRecord], None] = lambda record: None
    should_stop: Callable[[], bool] = lambda: False
