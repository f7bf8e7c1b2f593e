"""The training loop: forward, backward, step, average. What surrounds an epoch is in `repghost.training.epoch`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from timm.loss import SoftTargetCrossEntropy
from torch import nn

from repghost.training.build import Run
from repghost.training.feeds.base import Feed
from repghost.training.follow.hooks import Hooks, StepRecord, TrainingStoppedError
from repghost.training.meter import Meter
from repghost.training.options import Loss, Options
from repghost.training.recipe import Recipe
from repghost.training.state.state import Progress


@dataclass(frozen=True, eq=False)
class Loop:
    """What every epoch needs and none changes by itself.

    Args:
        run: network, optimizer, schedule; changed in place.
        feed: where batches come from.
        hooks: follow and stop.
        options: intervals, and a loss of the caller's own.
        write: writes a state between two steps; every process calls it at the same step.
    """

    run: Run
    feed: Feed
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
        run, recipe = self.run, self.run.recipe
        total = run.steps_per_epoch * recipe.execution.accumulate
        meter = Meter(progress, epoch, 1 if run.ranks.device.type == "cpu" else self.options.log_interval)
        loss_of = self.options.loss or recipe_loss(recipe)
        rate, batches = 0.0, self.feed.batches(epoch, progress.batches)
        for number in range(progress.batches, total):
            if number % recipe.execution.accumulate == 0:
                self._pause(epoch, number, progress.batches, meter)
                rate = run.set_rate(epoch, number // recipe.execution.accumulate)
            inputs, labels, targets = next(batches)
            loss, logits = self.learn(inputs, targets, loss_of, epoch, number)
            meter.add(loss.detach(), (logits.detach().argmax(1) == labels).sum(), len(labels), number)
            self.hooks.step(StepRecord(epoch, len(labels) * run.ranks.count, meter.latest, rate, meter.top1))
        return meter.progress(total), rate

    def learn(
        self, inputs: torch.Tensor, targets: torch.Tensor, loss_of: Loss, epoch: int, number: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the gradients of one batch, and step when enough of them came together; return loss and logits."""
        run, execution = self.run, self.run.recipe.execution
        last_of_step = (number + 1) % execution.accumulate == 0
        if execution.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with run.sync(last_of_step):
            with run.autocast():
                logits = run.forward(inputs)
                loss = loss_of(inputs, logits, targets)
            run.scaler.scale(loss / execution.accumulate if execution.accumulate > 1 else loss).backward()
        if last_of_step:
            run.update(epoch, number // execution.accumulate)
        return loss, logits

    def _pause(self, epoch: int, number: int, begun: int, meter: Meter) -> None:
        """Between two steps: stop when asked to, and write the state when its interval is over."""
        if self.run.ranks.any(self.hooks.should_stop()):
            self.write(meter.progress(number))
            raise TrainingStoppedError(f"stopped in epoch {epoch + 1}; give --resume to go on from this step.")
        interval, accumulate = self.options.state_interval, self.run.recipe.execution.accumulate
        if interval and number > begun and number // interval > (number - accumulate) // interval:
            self.write(meter.progress(number))


def recipe_loss(recipe: Recipe) -> Loss:
    """Return the recipe's cross-entropy; mixed targets carry the smoothing themselves."""
    mixes = recipe.augmentation is not None and recipe.augmentation.mixes
    criterion = SoftTargetCrossEntropy() if mixes else nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    return lambda inputs, logits, targets: criterion(logits, targets)
