"""What a loop tells its caller of each step, and how the caller stops it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from repghost.errors import RepGhostError


class TrainingStoppedError(RepGhostError):
    """Training was asked to stop; everything up to the last step is in the state file."""


@dataclass(frozen=True)
class StepRecord:
    """The result of one batch."""

    epoch: int  # from 0
    images: int  # of all processes
    loss: float  # of this process
    rate: float
    top1: float = 0.0  # of the epoch so far, of this process; of classifiers
    batch: int = 0  # in the epoch, from 0
    batches: int = 0  # of the epoch


@dataclass(frozen=True)
class StepHooks:
    """How a caller follows and stops a loop; the defaults do nothing.

    Attributes:
        step: gets the record of each batch.
        should_stop: is asked before each step of the optimizer; true ends the run with a state to go on from.
    """

    step: Callable[[StepRecord], None] = lambda record: None
    should_stop: Callable[[], bool] = lambda: False
