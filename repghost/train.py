"""Training: pictures prepared once, augmented per batch; SGD, cosine, averaged weights; a state file after each epoch.

A run that is stopped and resumed takes the same random choices as one that was not: every epoch starts from
(seed, epoch) alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn

from repghost.augment import cutout, random_crop, random_flip
from repghost.data import PictureSet, Prepared, prepare
from repghost.data.subset import choose_balanced
from repghost.errors import RepGhostError, UsageError
from repghost.evaluate import accuracy, predict
from repghost.model import RepGhostNet
from repghost.recipe import Recipe
from repghost.runstate import EpochRecord, RunState, read_state, write_log, write_state

STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"


class TrainingStoppedError(RepGhostError):
    """Training was asked to stop; everything up to the last whole epoch is in the state file."""


@dataclass(frozen=True)
class TrainResult:
    """What training leaves: the averaged network in eval mode and one record per epoch."""

    model: RepGhostNet
    history: tuple[EpochRecord, ...]
    broken: tuple[str, ...]  # pictures that could not be decoded


@dataclass(frozen=True)
class Hooks:
    """How the caller follows and stops a run; the defaults do nothing."""

    preparing: Callable[[Iterable[int]], Iterable[int]] = iter
    step: Callable[[int, int, float, float], None] = lambda epoch, pictures, loss, rate: None
    epoch: Callable[[EpochRecord], None] = lambda record: None
    should_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True, eq=False)
class _Run:
    """The parts that change while training; each epoch updates them in place."""

    recipe: Recipe
    model: RepGhostNet
    average: ModelEmaV3
    optimizer: torch.optim.Optimizer
    schedule: CosineLRScheduler
    steps_per_epoch: int


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


def train(
    recipe: Recipe, dataset: PictureSet, folder: Path, resume: bool = False, hooks: Hooks | None = None
) -> TrainResult:
    """Train a RepGhostNet from random weights.

    Args:
        recipe: how.
        dataset: the training split; part of it is held out, no test picture is ever needed here.
        folder: where the state and the log go, after each epoch.
        resume: go on from the state in `folder`.
        hooks: follows and stops the run.

    Raises:
        UsageError: when the folder holds another run, or there is nothing to resume, or too few pictures.
        TrainingStoppedError: when `hooks.should_stop` said so.
        RepGhostError: when the loss is no longer finite.
    """
    hooks = hooks or Hooks()
    state = _starting_state(recipe, folder, resume)
    held = held_out_indices(dataset.labels, recipe)
    rest = np.setdiff1d(np.arange(len(dataset)), held)
    everything = prepare(dataset, recipe.preprocess, np.concatenate([rest, held]), hooks.preparing)
    training, judging = _split(everything, int(np.isin(everything.indices, rest).sum()))

    run = _start(recipe, len(dataset.classes), len(training.labels) // recipe.batch)
    history: list[EpochRecord] = []
    if state is not None:
        _restore(run, state)
        history.extend(state.history)
    for epoch in range(len(history), recipe.epochs):
        record = _epoch(run, epoch, training, hooks)
        logits = predict(run.average.module, judging.pictures, recipe.preprocess)
        judged = accuracy(logits.argmax(1), judging.labels)
        record = replace(record, held_out_top1=judged.top1, held_out_pictures=judged.pictures)
        history.append(record)
        write_state(folder / STATE_FILE, _snapshot(run, history))
        write_log(folder / LOG_FILE, history)
        hooks.epoch(record)
    return TrainResult(run.average.module.eval(), tuple(history), everything.broken)


def _starting_state(recipe: Recipe, folder: Path, resume: bool) -> RunState | None:
    """Return the state to go on from, or None for a fresh run."""
    path = folder / STATE_FILE
    if not resume:
        if path.exists():
            raise UsageError(f"{path} exists; give --resume to go on with that run, or another --output folder.")
        return None
    state = read_state(path)
    if state.recipe != recipe:
        changed = sorted(key for key, value in recipe.to_dict().items() if state.recipe.to_dict()[key] != value)
        raise UsageError(
            f"{path} was written with other values of {', '.join(changed)}; resume with the same ones or choose "
            "another --output folder."
        )
    return state


def _split(prepared: Prepared, count: int) -> tuple[Prepared, Prepared]:
    """Return the first `count` pictures and the rest, as views."""
    if not 0 < count < len(prepared.labels):
        raise UsageError("every training or every held-out picture is broken; look at the set's files.")
    first, second = (
        Prepared(prepared.pictures[part], prepared.labels[part], prepared.indices[part], prepared.broken)
        for part in (slice(None, count), slice(count, None))
    )
    return first, second


def _start(recipe: Recipe, classes: int, steps_per_epoch: int) -> _Run:
    """Build the network, its average, the optimizer and the schedule from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    model = RepGhostNet(width=recipe.width, num_classes=classes, dropout=recipe.dropout)
    model.to(memory_format=torch.channels_last)
    # timm's "sgd" is Nesterov's; it leaves weights with one dimension without decay.
    optimizer = create_optimizer_v2(
        model, opt="sgd", lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=recipe.epochs * steps_per_epoch,
        lr_min=recipe.min_learning_rate,
        warmup_t=warmup,
        warmup_lr_init=recipe.learning_rate / max(warmup, 1),
        t_in_epochs=False,
    )
    # With power 1 the average starts as a plain mean of all steps so far.
    average = ModelEmaV3(model, decay=recipe.ema_decay, use_warmup=True, warmup_power=1.0)
    return _Run(recipe, model, average, optimizer, schedule, steps_per_epoch)


def _epoch(run: _Run, epoch: int, training: Prepared, hooks: Hooks) -> EpochRecord:
    """Train on every picture once, in an order that (seed, epoch) decides; the last incomplete batch is left out."""
    recipe, started = run.recipe, time.monotonic()
    random = np.random.default_rng([recipe.seed, epoch])
    torch.manual_seed((recipe.seed << 16) + epoch)  # dropout
    order = random.permutation(len(training.labels))
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    run.model.train()
    total, right, rate = 0.0, 0, 0.0
    for step in range(run.steps_per_epoch):
        if hooks.should_stop():
            raise TrainingStoppedError(
                f"stopped in epoch {epoch + 1}; give --resume to go on from the last whole epoch."
            )
        chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
        inputs = _inputs(recipe, training.pictures[chosen], random)
        targets = torch.from_numpy(training.labels[chosen])
        done = epoch * run.steps_per_epoch + step
        run.schedule.step_update(done)
        rate = run.optimizer.param_groups[0]["lr"]
        logits = run.model(inputs)
        loss = criterion(logits, targets)
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        run.optimizer.step()
        run.average.update(run.model, done + 1)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise RepGhostError(f"the loss became {value} in epoch {epoch + 1}; lower --learning-rate.")
        total += value
        right += int((logits.detach().argmax(1) == targets).sum())
        hooks.step(epoch, len(chosen), value, rate)
    seconds, pictures = time.monotonic() - started, run.steps_per_epoch * recipe.batch
    return EpochRecord(epoch + 1, total / run.steps_per_epoch, right / pictures, rate, seconds, pictures / seconds)


def _inputs(recipe: Recipe, pictures: NDArray[np.uint8], random: np.random.Generator) -> torch.Tensor:
    """Augment and normalize one batch; float32 [N, 3, size, size], channels last."""
    pictures = random_crop(pictures, recipe.crop_padding, random)
    if recipe.flip:
        pictures = random_flip(pictures, random)
    grey = np.rint(np.asarray(recipe.preprocess.mean) * 255).clip(0, 255).astype(np.uint8)
    pictures = cutout(pictures, recipe.cutout, grey, random)
    inputs = torch.from_numpy(recipe.preprocess.normalize(pictures))
    return inputs.contiguous(memory_format=torch.channels_last)


def _snapshot(run: _Run, history: list[EpochRecord]) -> RunState:
    """Return everything a resumed run needs."""
    return RunState(
        recipe=run.recipe,
        history=tuple(history),
        model=run.model.state_dict(),
        average=run.average.module.state_dict(),
        optimizer=run.optimizer.state_dict(),
    )


def _restore(run: _Run, state: RunState) -> None:
    """Put a state back into a freshly started run.

    Raises:
        UsageError: when the weights do not fit, e.g. because the set of pictures has other classes now.
    """
    try:
        run.model.load_state_dict(state.model)
        run.average.module.load_state_dict(state.average)
        run.optimizer.load_state_dict(state.optimizer)
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise UsageError(
            f"the state to resume from belongs to another network or set of pictures ({error})."
        ) from error
