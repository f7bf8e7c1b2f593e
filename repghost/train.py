"""The training loop: forward, backward, step, average; every epoch is judged and every state can be gone on from.

A run that is stopped and resumed takes the same random choices as one that was not: pictures and augmentation depend on
(seed, epoch, place) alone, and the generator that dropout uses is in the state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from timm.loss import SoftTargetCrossEntropy
from timm.utils import distribute_bn
from torch import nn

from repghost.checkpoint import load_model, write_checkpoint
from repghost.data import PictureSet, prepare
from repghost.data.subset import choose_balanced
from repghost.errors import RepGhostError, UsageError
from repghost.model import RepGhostNet
from repghost.recipe import Recipe
from repghost.runstate import EpochRecord, Progress, best_epoch, write_state
from repghost.training.build import Run, start
from repghost.training.feed import Feed
from repghost.training.judging import judge_epoch
from repghost.training.loader_feed import LoaderFeed, Loading
from repghost.training.memory_feed import MemoryFeed, split_prepared
from repghost.training.ranks import Ranks
from repghost.training.records import write_records
from repghost.training.resuming import restore, snapshot, starting_state
from repghost.training.transfer import Start, train_mode

STATE_FILE = "state.pt"
BEST_FILE = "best.safetensors"

Resume = Literal["new", "continue", "auto"]


class TrainingStoppedError(RepGhostError):
    """Training was asked to stop; everything up to the last step is in the state file."""


@dataclass(frozen=True)
class TrainResult:
    """What training leaves: the network that is kept, in eval mode, and one record per epoch."""

    model: RepGhostNet
    history: tuple[EpochRecord, ...]
    broken: tuple[str, ...]  # pictures that could not be decoded
    kept: EpochRecord  # of the epoch whose weights `model` has


@dataclass(frozen=True)
class StepRecord:
    """What one step did, over all processes where it says so."""

    epoch: int  # from 0
    pictures: int  # of all processes
    loss: float  # of this process
    rate: float
    top1: float  # of the epoch so far, of this process


@dataclass(frozen=True)
class Hooks:
    """How the caller follows and stops a run; the defaults do nothing."""

    preparing: Callable[[Iterable[int]], Iterable[int]] = iter
    begin: Callable[[int, int], None] = lambda epochs, pictures_per_epoch: None
    step: Callable[[StepRecord], None] = lambda record: None
    epoch: Callable[[EpochRecord], None] = lambda record: None
    should_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Options:
    """What does not decide the result: where pictures are read and how often the state is written.

    Args:
        loading: workers and limits; only where pictures are decoded in every epoch.
        state_interval: batches between two states within an epoch; 0: after each epoch only.
        log_interval: batches between two looks at the loss on a GPU, each of which waits for it.
        num_classes: of the network, when it shall have more than the pictures.
        weights: to begin with instead of random ones.
    """

    loading: Loading = field(default_factory=Loading)
    state_interval: int = 0
    log_interval: int = 50
    num_classes: int | None = None
    weights: Start | None = None


def held_out_indices(labels: NDArray[np.int64], recipe: Recipe) -> NDArray[np.int64]:
    """Return the training pictures that judge each epoch and are never trained on, balanced over the classes.

    Raises:
        UsageError: when fewer than two batches would be left to train on.
    """
    if len(labels) - recipe.held_out < 2 * recipe.batch:
        raise UsageError(
            f"{len(labels)} pictures are too few to hold out {recipe.held_out} and train with batches of "
            f"{recipe.batch}; lower --held-out or --batch."
        )
    return choose_balanced(labels, recipe.held_out, recipe.seed)


def class_names(dataset: PictureSet, num_classes: int | None = None) -> tuple[str, ...]:
    """Return one name per class of the network.

    Raises:
        UsageError: when a class has no picture, or `num_classes` is less than the set has.
    """
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    if len(counts) > len(dataset.classes):
        raise UsageError(f"label {len(counts) - 1} is outside the {len(dataset.classes)} classes of the set.")
    if not counts.all():
        names = ", ".join(repr(dataset.classes[place]) for place in np.flatnonzero(counts == 0)[:3])
        raise UsageError(f"no training picture of {names}; put pictures into that folder or remove it.")
    if num_classes is None:
        return dataset.classes
    if num_classes < len(dataset.classes):
        raise UsageError(
            f"--num-classes {num_classes} is less than the {len(dataset.classes)} classes of the pictures; leave it "
            "out, or give at least so many."
        )
    return dataset.classes + tuple(f"unused {place}" for place in range(len(dataset.classes), num_classes))


def train(
    recipe: Recipe,
    dataset: PictureSet,
    folder: Path,
    resume: Resume = "new",
    hooks: Hooks | None = None,
    judging: PictureSet | None = None,
    options: Options | None = None,
    ranks: Ranks | None = None,
) -> TrainResult:
    """Train a RepGhostNet.

    Args:
        recipe: how.
        dataset: the training split.
        folder: where state, best weights and log go.
        resume: "new" refuses a folder with a state, "continue" needs one, "auto" goes on if there is one.
        hooks: follows and stops the run.
        judging: judges each epoch, where the recipe holds no training pictures out.
        options: what does not decide the result.
        ranks: this process among those of torchrun.

    Raises:
        UsageError: when the folder holds another run, there is nothing to resume, or too few pictures.
        TrainingStoppedError: when `hooks.should_stop` said so.
        RepGhostError: when the loss is no longer finite, or too many pictures are broken.
    """
    hooks, options, ranks = hooks or Hooks(), options or Options(), ranks or Ranks()
    classes = class_names(dataset, options.num_classes)
    state = starting_state(recipe, classes, folder / STATE_FILE, resume)
    feed = _feed(recipe, dataset, judging, len(classes), hooks, options, ranks)
    steps = feed.batches_per_epoch // recipe.execution.accumulate
    if not steps:
        raise UsageError(
            f"{len(dataset)} training pictures do not fill one step of {recipe.batch} x {ranks.count} processes x "
            f"{recipe.execution.accumulate}; lower --batch."
        )
    run = start(recipe, len(classes), steps, ranks, options.weights)
    history: list[EpochRecord] = []
    progress = Progress()
    if state is not None:
        restore(run, state)
        history.extend(state.history)
        progress = state.progress
    hooks.begin(run.epochs, steps * recipe.execution.accumulate * recipe.batch * ranks.count)
    for epoch in range(len(history), run.epochs):
        random = state.random if state is not None and progress.batches else ()
        record = _epoch(_Epoch(run, feed, hooks, options, folder, classes, tuple(history)), epoch, progress, random)
        progress = Progress()
        _keep(run, record, history, folder, classes)
        history.append(record)
        if ranks.first:
            write_state(folder / STATE_FILE, snapshot(run, classes, history, Progress(), ()))
            write_records(folder, history)
        hooks.epoch(record)
        ranks.wait()
    return _result(run, history, feed, folder)


@dataclass(frozen=True, eq=False)
class _Epoch:
    """What an epoch needs and does not change by itself."""

    run: Run
    feed: Feed
    hooks: Hooks
    options: Options
    folder: Path
    classes: tuple[str, ...]
    history: tuple[EpochRecord, ...]

    def write(self, progress: Progress) -> None:
        """Write the state between two steps; every process takes part."""
        random = tuple(self.run.ranks.gather(torch.get_rng_state()))
        if self.run.ranks.first:
            write_state(self.folder / STATE_FILE, snapshot(self.run, self.classes, self.history, progress, random))


def _feed(
    recipe: Recipe,
    dataset: PictureSet,
    judging: PictureSet | None,
    classes: int,
    hooks: Hooks,
    options: Options,
    ranks: Ranks,
) -> Feed:
    """Return where the recipe's batches come from."""
    if recipe.augmentation is None:
        held = held_out_indices(dataset.labels, recipe)
        rest = np.setdiff1d(np.arange(len(dataset)), held)
        everything = prepare(dataset, recipe.preprocess, np.concatenate([rest, held]), hooks.preparing)
        return MemoryFeed(recipe, *split_prepared(everything, int(np.isin(everything.indices, rest).sum())), ranks)
    if judging is None:
        raise UsageError(f"recipe {recipe.name!r} judges each epoch on a split of its own; the set has none.")
    if judging.classes != dataset.classes:
        raise UsageError("the classes of the training pictures and of those that judge an epoch differ.")
    return LoaderFeed(recipe, dataset, judging, classes, options.loading, ranks)


def _epoch(parts: _Epoch, epoch: int, progress: Progress, random: tuple[torch.Tensor, ...]) -> EpochRecord:
    """Train on every picture once and judge the result."""
    run, recipe, ranks = parts.run, parts.run.recipe, parts.run.ranks
    torch.manual_seed((recipe.seed << 16) + epoch + (ranks.rank << 40))  # dropout
    if random:
        torch.set_rng_state(random[ranks.rank % len(random)])
    train_mode(run.model, recipe.execution.freeze)
    progress, rate = _batches(parts, epoch, progress)
    if recipe.execution.dist_bn:
        distribute_bn(run.model, ranks.count, recipe.execution.dist_bn == "reduce")
        if run.average is not None:
            distribute_bn(run.average.module, ranks.count, recipe.execution.dist_bn == "reduce")
    ranks.share(run.judged)
    judged = judge_epoch(run.judged, parts.feed, recipe.preprocess, ranks)
    raw = None
    if run.average is not None and recipe.augmentation is not None:
        raw = judge_epoch(run.model, parts.feed, recipe.preprocess, ranks).top1
    steps = run.steps_per_epoch * recipe.execution.accumulate
    loss, right, broken = ranks.sums([progress.loss, progress.right, len(parts.feed.broken)])
    pictures = steps * recipe.batch * ranks.count
    return EpochRecord(
        epoch=epoch + 1,
        loss=loss / (steps * ranks.count),
        train_top1=right / pictures,
        learning_rate=rate,
        seconds=progress.seconds,
        pictures_per_second=pictures / progress.seconds,
        held_out_top1=judged.top1,
        held_out_top5=judged.top5,
        held_out_loss=judged.loss,
        held_out_pictures=judged.pictures,
        raw_top1=raw,
        broken_pictures=int(broken),
    )


def _batches(parts: _Epoch, epoch: int, progress: Progress) -> tuple[Progress, float]:
    """Run forward and backward over the rest of an epoch; return the sums and the last learning rate."""
    run, recipe = parts.run, parts.run.recipe
    accumulate, ranks = recipe.execution.accumulate, run.ranks
    total = run.steps_per_epoch * accumulate
    meter = _Meter(progress, 1 if ranks.device.type == "cpu" else parts.options.log_interval)
    criterion = _criterion(recipe)
    rate, batches = 0.0, parts.feed.batches(epoch, progress.batches)
    for number in range(progress.batches, total):
        last_of_step = (number + 1) % accumulate == 0
        if number % accumulate == 0:
            if ranks.any(parts.hooks.should_stop()):
                parts.write(meter.progress(number))
                raise TrainingStoppedError(f"stopped in epoch {epoch + 1}; give --resume to go on from this step.")
            interval = parts.options.state_interval
            if interval and number > progress.batches and number // interval > (number - accumulate) // interval:
                parts.write(meter.progress(number))
            rate = run.set_rate(epoch, number // accumulate)
        inputs, labels, targets = next(batches)
        if recipe.execution.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with run.sync(last_of_step):
            with run.autocast():
                logits = run.forward(inputs)
                loss = criterion(logits, targets)
            run.scaler.scale(loss / accumulate if accumulate > 1 else loss).backward()
        if last_of_step:
            run.update(epoch, number // accumulate)
        meter.add(loss.detach(), (logits.detach().argmax(1) == labels).sum(), epoch, len(labels), number)
        pictures = len(labels) * ranks.count
        parts.hooks.step(StepRecord(epoch, pictures, meter.latest, rate, meter.top1))
    return meter.progress(total), rate


class _Meter:
    """Sums of an epoch; the device is asked for numbers once per interval, because each question waits for it."""

    def __init__(self, progress: Progress, interval: int) -> None:
        self.loss, self.right, self.seconds = progress.loss, progress.right, progress.seconds
        self.interval, self.pending = interval, list[tuple[torch.Tensor, torch.Tensor]]()
        self.started, self.pictures, self.latest, self.top1, self.epoch = time.monotonic(), 0, 0.0, 0.0, 0
        self.seen_before = progress.right

    def add(self, loss: torch.Tensor, right: torch.Tensor, epoch: int, pictures: int, number: int) -> None:
        """Note one batch."""
        self.pending.append((loss, right))
        self.pictures, self.epoch = self.pictures + pictures, epoch
        if (number + 1) % self.interval == 0:
            self.flush()

    def flush(self) -> None:
        """Fetch what is pending.

        Raises:
            RepGhostError: when a loss is not finite.
        """
        for loss, right in self.pending:
            self.latest = float(loss)
            if not math.isfinite(self.latest):
                raise RepGhostError(f"the loss became {self.latest} in epoch {self.epoch + 1}; lower --learning-rate.")
            self.loss += self.latest
            self.right += int(right)
        self.pending.clear()
        self.top1 = (self.right - self.seen_before) / max(self.pictures, 1)

    def progress(self, batches: int) -> Progress:
        """Return the sums so far."""
        self.flush()
        return Progress(batches, self.loss, self.right, self.seconds + time.monotonic() - self.started)


def _criterion(recipe: Recipe) -> nn.Module:
    """Return the loss; mixed targets carry the smoothing themselves."""
    if recipe.augmentation is not None and recipe.augmentation.mixes:
        return SoftTargetCrossEntropy()
    return nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)


def _keep(run: Run, record: EpochRecord, history: list[EpochRecord], folder: Path, classes: tuple[str, ...]) -> None:
    """Write the weights of the best epoch so far, before the state says that the epoch is done."""
    if run.ranks.first and record.better_than(best_epoch(history, run.recipe.eval_metric), run.recipe.eval_metric):
        metadata = {"epoch": record.epoch, "held_out_top1": record.held_out_top1}
        write_checkpoint(folder / BEST_FILE, run.judged, run.recipe.preprocess.to_dict(), classes, metadata)


def _result(run: Run, history: list[EpochRecord], feed: Feed, folder: Path) -> TrainResult:
    """Return the last or the best network."""
    kept, model = history[-1], run.judged
    best = best_epoch(history, run.recipe.eval_metric)
    if run.recipe.keep == "best" and best is not None and best.epoch != kept.epoch:
        kept, model = best, load_model(folder / BEST_FILE, width=run.recipe.width)
    broken = tuple(message for part in run.ranks.gather(feed.broken) for message in part)
    return TrainResult(model.eval(), tuple(history), tuple(dict.fromkeys(broken)), kept)
