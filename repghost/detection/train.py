"""The training loop of detectors: forward, backward, step; a state after every epoch and when it is asked to stop."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from repghost.checkpoints.state_file import load_optimizer
from repghost.detection.checkpoint import Category, Detector, empty_detector, write_detector
from repghost.detection.coco import CocoImages
from repghost.detection.evaluate import evaluate
from repghost.detection.feed import DetectionFeed
from repghost.detection.recipe import DetectionRecipe
from repghost.detection.ssdlite import SSDLite
from repghost.detection.state import DetectionEpoch, DetectionState, read_state, write_state
from repghost.distributed.ranks import Ranks
from repghost.errors import RepGhostError, UsageError, option
from repghost.files import write_text_atomically
from repghost.locks import locked
from repghost.training.feeds.seeding import seeded
from repghost.training.transfer import Start, train_mode

STATE_FILE, MODEL_FILE, LOG_FILE = "state.pt", "detector.safetensors", "log.jsonl"


@dataclass(frozen=True)
class DetectionHooks:
    """How the caller follows and stops a run; the defaults do nothing."""

    step: Callable[[int, int, int, float, float], None] = lambda epoch, step, steps, loss, rate: None
    epoch: Callable[[DetectionEpoch], None] = lambda record: None
    should_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class DetectionOptions:
    """What the caller of a run decides beside its recipe.

    Attributes:
        resume: "new" refuses a folder with a state, "continue" needs one, "auto" goes on if there is one.
        weights: of the backbone to begin with, instead of random ones.
        ranks: this process among those of torchrun.
        workers: processes that decode.
        broken_limit: images that may be broken before the run stops.
    """

    resume: str = "new"
    weights: Start | None = None
    ranks: Ranks = field(default_factory=Ranks)
    workers: int = 0
    broken_limit: int = 50


class DetectionStoppedError(RepGhostError):
    """Training was asked to stop; everything up to the last step is in the state file."""


def build(recipe: DetectionRecipe, classes: int, weights: Start | None = None) -> nn.Module:
    """Return a detector to train: random heads, the backbone random or from a checkpoint, frozen as the recipe says."""
    with seeded(recipe.seed):
        model: Any = empty_detector(recipe, classes)
    body = model.backbone.body
    if weights is not None:
        names = body.state_dict().keys()
        body.load_state_dict({name: tensor for name, tensor in weights.tensors.items() if name in names})
    if recipe.freeze != "none":
        body.freeze(recipe.freeze)
    detector: nn.Module = model
    return detector


def train(
    recipe: DetectionRecipe,
    dataset: CocoImages,
    folder: Path,
    hooks: DetectionHooks = DetectionHooks(),
    validation: CocoImages | None = None,
    options: DetectionOptions = DetectionOptions(),
) -> tuple[Detector, tuple[DetectionEpoch, ...]]:
    """Train a detector and write `detector.safetensors`, `state.pt` and `log.jsonl` into a folder.

    Another process that trains into the same folder is waited for.

    Args:
        recipe: how.
        dataset: the training split.
        folder: where files go.
        hooks: follows and stops the run.
        validation: the split whose average precision is measured after each epoch.
        options: what does not decide the result.

    Raises:
        UsageError: when the folder holds another run, there is nothing to resume, or too few images.
        DetectionStoppedError: when `hooks.should_stop` said so.
        RepGhostError: when the loss is no longer finite, or too many images are broken.
    """
    ranks = options.ranks
    validation = None if validation is None else validation.matched(dataset.categories)
    names = tuple(category.name for category in dataset.categories)
    _starting_state(recipe, names, folder / STATE_FILE, options.resume)  # what is refused is refused at once
    with locked(folder) if ranks.first else nullcontext():
        ranks.wait()
        return _train(recipe, dataset, folder, hooks, validation, options)


def _train(
    recipe: DetectionRecipe,
    dataset: CocoImages,
    folder: Path,
    hooks: DetectionHooks,
    validation: CocoImages | None,
    options: DetectionOptions,
) -> tuple[Detector, tuple[DetectionEpoch, ...]]:
    """Train in a folder that no other process writes: from the state that lies in it now, or from the beginning."""
    ranks = options.ranks
    names = tuple(category.name for category in dataset.categories)
    state = _starting_state(recipe, names, folder / STATE_FILE, options.resume)
    if state and state.step and state.processes != ranks.count:
        raise UsageError(
            f"{folder / STATE_FILE}: stopped within an epoch of {state.processes} processes; go on with as many, not "
            f"{ranks.count}."
        )
    feed = DetectionFeed(recipe, dataset, ranks, options.workers, options.broken_limit)
    run = _start(recipe, len(names), options.weights, ranks, state)
    saved = _Saved(run, folder, dataset.categories, list(state.history) if state else [])
    for epoch in range(len(saved.history), recipe.epochs):
        begun = state if state and epoch == len(state.history) else None
        record = _epoch(saved, feed, epoch, begun, hooks)
        if validation is not None:
            scores = evaluate(run.model.eval(), validation, ranks)
            record = dataclasses.replace(record, boxes=scores.boxes, masks=scores.masks)
        saved.finish_epoch(record)
        hooks.epoch(record)
        ranks.wait()
    return saved.detector(), tuple(saved.history)


@dataclass(frozen=True, eq=False)
class _Run:
    """The parts that change while training."""

    recipe: DetectionRecipe
    ranks: Ranks
    model: nn.Module
    forward: nn.Module  # the model, distributed where there are several processes
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True, eq=False)
class _Saved:
    """What of a run is on disk; the first process writes, each file whole or not at all."""

    run: _Run
    folder: Path
    categories: tuple[Category, ...]
    history: list[DetectionEpoch]

    def write(self, step: int, sums: dict[str, float], seconds: float) -> None:
        """Write the state between two steps."""
        run, names = self.run, tuple(category.name for category in self.categories)
        model, optimizer = run.model.state_dict(), run.optimizer.state_dict()
        place = (step, run.ranks.count, sums, seconds)
        state = DetectionState(run.recipe, names, tuple(self.history), *place, model, optimizer)
        write_state(self.folder / STATE_FILE, state)

    def finish_epoch(self, record: DetectionEpoch) -> None:
        """Write the detector, the state and the log."""
        self.history.append(record)
        if not self.run.ranks.first:
            return
        write_detector(self.folder / MODEL_FILE, self.detector())
        self.write(0, {}, 0.0)
        lines = [json.dumps(dataclasses.asdict(row)) for row in self.history]
        write_text_atomically(self.folder / LOG_FILE, "".join(line + "\n" for line in lines))

    def detector(self) -> Detector:
        """Return the detector after the last epoch."""
        last = self.history[-1]
        metadata = {"epoch": last.epoch, "ap": None if last.boxes is None else last.boxes.ap}
        return Detector(self.run.model.eval(), self.run.recipe, self.categories, "train", metadata)


def _starting_state(
    recipe: DetectionRecipe, categories: tuple[str, ...], path: Path, resume: str
) -> DetectionState | None:
    """Return the state to go on from, None for a new run."""
    if resume == "continue" and not path.is_file():
        raise UsageError(f"{path}: no training state to resume from; leave {option('resume')} out to start a run.")
    if resume == "new" and path.exists():
        raise UsageError(
            f"{path}: a run is here already; give {option('resume', 'continue')} to go on, or another "
            f"{option('output')}."
        )
    if resume == "new" or not path.is_file():
        return None
    state = read_state(path)
    if state.recipe != recipe:
        mine, theirs = recipe.to_dict(), state.recipe.to_dict()
        changed = ", ".join(f"{name} {theirs[name]} -> {mine[name]}" for name in mine if mine[name] != theirs[name])
        raise UsageError(f"{path}: belongs to a run with other settings ({changed}); give the same, or another folder.")
    if state.categories != categories:
        raise UsageError(f"{path}: belongs to a run on other categories; give the same data, or another folder.")
    return state


def _start(
    recipe: DetectionRecipe, classes: int, weights: Start | None, ranks: Ranks, state: DetectionState | None
) -> _Run:
    model = build(recipe, classes, weights)
    if state is not None:
        try:
            model.load_state_dict(dict(state.model))
        except RuntimeError as error:
            raise UsageError(f"the state's weights are of another detector ({str(error)[:200]}).") from error
    model.to(ranks.device)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, 0.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    if state is not None:
        try:
            load_optimizer(optimizer, state.optimizer)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UsageError(f"the state's optimizer is of another detector ({error}).") from error
    forward: nn.Module = model
    if ranks.count > 1:
        forward = ranks.distributed(model)
    return _Run(recipe, ranks, model, forward, optimizer)


def _epoch(
    saved: _Saved, feed: DetectionFeed, epoch: int, begun: DetectionState | None, hooks: DetectionHooks
) -> DetectionEpoch:
    """Train on every image with objects once."""
    run, steps = saved.run, feed.steps_per_epoch
    recipe, ranks = run.recipe, run.ranks
    done, sums, before = (begun.step, dict(begun.sums), begun.seconds) if begun else (0, {}, 0.0)
    train_mode(run.model, "none" if recipe.train_norm else "bn")
    for part in run.model.fresh if isinstance(run.model, SSDLite) else ():  # no statistics that could be kept
        part.train()
    started, rate, per_step = time.monotonic(), 0.0, recipe.batch * ranks.count
    for step, (images, targets) in enumerate(feed.batches(epoch, done), done):
        if ranks.any(hooks.should_stop()):
            if ranks.first:
                saved.write(step, sums, before + time.monotonic() - started)
            raise DetectionStoppedError(
                f"stopped in epoch {epoch + 1}; give {option('resume', 'continue')} to go on from this step."
            )
        rate = recipe.rate(epoch, step, steps, per_step)
        with seeded(recipe.seed, epoch, step, ranks.rank):  # the samplers of anchors and proposals
            losses = run.forward(images, targets)
        loss = _step(run, losses, rate, epoch)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        hooks.step(epoch, step, steps, loss, rate)
    seconds = before + time.monotonic() - started
    names = sorted(sums)
    means = [value / (steps * ranks.count) for value in ranks.sums([sums[name] for name in names])]
    parts = dict(zip(names, means, strict=True))
    return DetectionEpoch(epoch + 1, sum(means), parts, rate, seconds, steps * per_step / seconds)


def _step(run: _Run, losses: dict[str, torch.Tensor], rate: float, epoch: int) -> float:
    """Take one step of the optimizer and return the loss.

    Raises:
        RepGhostError: when the loss is not finite.
    """
    total = torch.stack(list(losses.values())).sum()
    value = float(total.detach())
    if not math.isfinite(value):
        raise RepGhostError(
            f"the loss became {value} in epoch {epoch + 1}; lower {option('learning_rate')} or give "
            f"{option('clip_grad')}."
        )
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()
    if run.recipe.clip_grad is not None:
        learning = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
        nn.utils.clip_grad_norm_(learning, run.recipe.clip_grad)
    run.optimizer.step()
    return value
