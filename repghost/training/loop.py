"""The training loop: forward, backward, step. What surrounds an epoch is in `repghost.training.epoch`.

One loop for every kind of training: what learns, and how a step updates it, is a `Learner`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch

from repghost.distributed.ranks import Ranks
from repghost.errors import option
from repghost.training.feeds.base import Batches
from repghost.training.follow.hooks import Hooks, StepRecord, TrainingStoppedError
from repghost.training.meter import Meter
from repghost.training.options import Loss, Options
from repghost.training.state.state import Progress


class Learner(Protocol):
    """A network with its optimizer and schedule, in one process of perhaps several; each step updates it in place."""

    @property
    def ranks(self) -> Ranks:
        """This process among the others."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Of the optimizer."""
        ...

    @property
    def accumulate(self) -> int:
        """Batches whose gradients are summed before one step."""
        ...

    @property
    def channels_last(self) -> bool:
        """Whether images are brought to that memory layout."""
        ...

    @property
    def forward(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """The network, distributed and compiled where asked for."""
        ...

    @property
    def loss(self) -> Loss:
        """What is minimized."""
        ...

    @property
    def scaler(self) -> torch.amp.GradScaler:
        """Of the loss in float16."""
        ...

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of the forward pass."""
        ...

    def sync(self, last: bool) -> AbstractContextManager[Any]:
        """Return the context of a backward pass, the last of its step or not."""
        ...

    def set_rate(self, epoch: int, step: int) -> float:
        """Prepare a step (from 0 in its epoch) and return its learning rate."""
        ...

    def update(self, epoch: int, step: int) -> None:
        """Take one step of the optimizer with the gradients there are."""
        ...


L = TypeVar("L", bound=Learner)


@dataclass(frozen=True, eq=False)
class Loop(Generic[L]):
    """What every epoch needs and none changes by itself.

    Args:
        run: network, optimizer, schedule; changed in place.
        feed: where batches come from.
        hooks: follow and stop.
        options: intervals, and a loss of the caller's own.
        write: writes a state between two steps; every process calls it at the same step.
    """

    run: L
    feed: Batches
    hooks: Hooks
    options: Options
    write: Callable[[Progress], None]

    def train(self, epoch: int, progress: Progress) -> tuple[Progress, float]:
        """Run forward and backward over the rest of an epoch.

        Args:
            epoch: from 0.
            progress: of an interrupted epoch; an empty one begins at its first batch.

        Returns:
            The sums of the whole epoch and the last learning rate.

        Raises:
            TrainingStoppedError: when a hook said so; the state is written.
            RepGhostError: when the loss is no longer finite.
        """
        run = self.run
        total = run.steps_per_epoch * run.accumulate
        meter = Meter(progress, epoch, 1 if run.ranks.device.type == "cpu" else self.options.log_interval)
        loss_of = self.options.loss or run.loss
        rate, batches = 0.0, self.feed.batches(epoch, progress.batches)
        for number in range(progress.batches, total):
            if number % run.accumulate == 0:
                self._pause(epoch, number, progress.batches, meter)
                rate = run.set_rate(epoch, number // run.accumulate)
            inputs, labels, targets = next(batches)
            loss, logits = self.learn(inputs, targets, loss_of, epoch, number)
            meter.add(loss.detach(), (logits.detach().argmax(1) == labels).sum(), len(labels), number)
            self.hooks.step(StepRecord(epoch, len(labels) * run.ranks.count, meter.latest, rate, meter.top1))
        return meter.progress(total), rate

    def learn(
        self, inputs: torch.Tensor, targets: torch.Tensor, loss_of: Loss, epoch: int, number: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the gradients of one batch, and step when enough of them came together; return loss and logits."""
        run = self.run
        last_of_step = (number + 1) % run.accumulate == 0
        if run.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with run.sync(last_of_step):
            with run.autocast():
                logits = run.forward(inputs)
                loss = loss_of(inputs, logits, targets)
            run.scaler.scale(loss / run.accumulate if run.accumulate > 1 else loss).backward()
        if last_of_step:
            run.update(epoch, number // run.accumulate)
        return loss, logits

    def _pause(self, epoch: int, number: int, begun: int, meter: Meter) -> None:
        """Between two steps: stop when asked to, and write the state when its interval is over."""
        if self.run.ranks.any(self.hooks.should_stop()):
            self.write(meter.progress(number))
            raise TrainingStoppedError(
                f"stopped in epoch {epoch + 1}; give {option('resume', 'continue')} to go on from this step."
            )
        interval, accumulate = self.options.state_interval, self.run.accumulate
        if interval and number > begun and number // interval > (number - accumulate) // interval:
            self.write(meter.progress(number))
