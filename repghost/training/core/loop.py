"""The training loop: forward, backward, step. What surrounds an epoch is in `repghost.training.core.epochs`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from repghost.errors import option
from repghost.training.core.hooks import StepHooks, StepRecord, TrainingStoppedError
from repghost.training.core.meter import Meter
from repghost.training.core.progress import RIGHT, Progress
from repghost.training.core.task import B, BatchLoss, Objective


@dataclass(frozen=True)
class Intervals:
    """How often a loop does what takes time.

    Attributes:
        state: batches between two states within an epoch; 0: after each epoch only.
        log: batches between two looks at the loss on a GPU, each of which waits for it.
    """

    state: int = 0
    log: int = 50


@dataclass(frozen=True, eq=False)
class Loop(Generic[B]):
    """What every epoch needs and none changes by itself.

    Args:
        objective: network, batches and loss; the network is changed in place.
        hooks: follow and stop.
        intervals: of states and of looks at the loss.
        write: writes a state between two steps; every process calls it at the same step.
    """

    objective: Objective[B]
    hooks: StepHooks = StepHooks()  # noqa: RUF009 - immutable
    intervals: Intervals = Intervals()
    write: Callable[[Progress], None] = lambda progress: None

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
        run = self.objective.run
        total, count = run.batches_per_epoch, run.ranks.count
        meter = Meter(progress, epoch, 1 if run.ranks.device.type == "cpu" else self.intervals.log)
        rate, batches = 0.0, self.objective.batches(epoch, progress.batches)
        for number in range(progress.batches, total):
            if number % run.accumulate == 0:
                self._pause(epoch, number, progress.batches, meter)
                rate = run.set_rate(epoch, number // run.accumulate)
            found = self.learn(next(batches), epoch, number)
            meter.add(found, number)
            images = found.images * count
            self.hooks.step(StepRecord(epoch, images, meter.latest, rate, meter.share(RIGHT), number, total))
        return meter.progress(total), rate

    def learn(self, batch: B, epoch: int, number: int) -> BatchLoss:
        """Add the gradients of one batch, and step when enough of them came together."""
        run = self.objective.run
        last_of_step = (number + 1) % run.accumulate == 0
        with run.sync(last_of_step):
            with run.autocast():
                found = self.objective.loss(batch, epoch, number)
            run.scaler.scale(found.loss / run.accumulate if run.accumulate > 1 else found.loss).backward()
        if last_of_step:
            run.update(epoch, number // run.accumulate)
        return found

    def _pause(self, epoch: int, number: int, begun: int, meter: Meter) -> None:
        """Between two steps: stop when asked to, and write the state when its interval is over."""
        run, interval = self.objective.run, self.intervals.state
        if run.ranks.any(self.hooks.should_stop()):
            self.write(meter.progress(number))
            raise TrainingStoppedError(
                f"stopped in epoch {epoch + 1}; give {option('resume', 'continue')} to go on from this step."
            )
        if interval and number > begun and number // interval > (number - run.accumulate) // interval:
            self.write(meter.progress(number))
