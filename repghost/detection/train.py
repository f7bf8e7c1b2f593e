"""The training of a detector, as a task of `repghost.training.core`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from repghost.detection.checkpoint import Category, Detector, empty_detector, write_detector
from repghost.detection.data.coco import CocoImages
from repghost.detection.data.feed import DetectionBatch, DetectionFeed
from repghost.detection.evaluate import Scores, evaluate
from repghost.detection.recipe import DetectionRecipe
from repghost.detection.ssdlite import SSDLite
from repghost.detection.state import FORM, DetectionEpoch
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError, option
from repghost.files import write_text_atomically
from repghost.training.core.epochs import alone_in, run_epochs
from repghost.training.core.hooks import StepHooks
from repghost.training.core.loop import Intervals
from repghost.training.core.progress import Progress
from repghost.training.core.run import Run, Updating
from repghost.training.core.snapshot import Snapshot
from repghost.training.core.task import BatchLoss
from repghost.training.feeds.seeding import seeded
from repghost.training.options import Loading, Options
from repghost.training.recipe_parts import Weights
from repghost.training.state.resuming import check_weights, starting_state
from repghost.training.state.state import RunState
from repghost.training.transfer import Start, train_mode

STATE_FILE, MODEL_FILE, LOG_FILE = "state.pt", "detector.safetensors", "log.jsonl"


@dataclass(frozen=True)
class DetectionHooks(StepHooks):
    """How the caller follows and stops a run; the defaults do nothing."""

    epoch: Callable[[DetectionEpoch], None] = lambda record: None


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
    hooks: DetectionHooks | None = None,
    validation: CocoImages | None = None,
    options: Options | None = None,
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
        TrainingStoppedError: when `hooks.should_stop` said so.
        RepGhostError: when the loss is no longer finite, or too many images are broken.
    """
    hooks, options = hooks or DetectionHooks(), options or Options(Loading(workers=0))
    ranks, loading = options.ranks, options.loading
    validation = None if validation is None else validation.matched(dataset.categories)
    names = tuple(category.name for category in dataset.categories)
    # what is refused is refused at once
    starting_state(recipe, names, folder / STATE_FILE, options.resume, FORM)
    feed = DetectionFeed(recipe, dataset, ranks, loading.workers, loading.broken_limit)
    with alone_in(folder, ranks):
        run = start(recipe, len(names), feed.batches_per_epoch // recipe.accumulate, ranks, options.weights)
        task = _Training(run, feed, dataset.categories, validation, folder, hooks, options.resume)
        run_epochs(task, hooks, Intervals(options.state_interval, options.log_interval))
        return task.detector(), tuple(task.history)


@dataclass(eq=False, kw_only=True)
class DetectorRun(Run[nn.Module]):
    """A detector, SGD and the rates of its recipe."""

    recipe: DetectionRecipe

    def set_rate(self, epoch: int, step: int) -> float:
        """Set the learning rate of a step (from 0 in its epoch) and return it."""
        images = self.recipe.batch * self.ranks.count * self.accumulate
        rate = self.recipe.rate(epoch, step, self.steps_per_epoch, images)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate


def start(
    recipe: DetectionRecipe, classes: int, steps_per_epoch: int, ranks: Ranks, weights: Start | None = None
) -> DetectorRun:
    """Build everything from the recipe's seed; see `build`.

    Raises:
        UsageError: when a batch norm would see one number per channel.
    """
    model = build(recipe, classes, weights).to(ranks.device)
    if isinstance(model, SSDLite) and recipe.batch == 1 and model.rule.levels[-1].rows == 1:
        raise UsageError(
            f"with pictures of {recipe.min_size} pixels the coarsest map has one, and batch norm needs more numbers; "
            f"give {option('batch', 2)} or more."
        )
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, 0.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    average = recipe.ema_decay if recipe.ema else None
    updating = Updating(recipe.amp, recipe.accumulate, recipe.clip_grad, "norm", average, recipe.ema_warmup)
    return DetectorRun(
        model=model, optimizer=optimizer, epochs=recipe.epochs, steps_per_epoch=steps_per_epoch, updating=updating,
        ranks=ranks, recipe=recipe,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Training:
    """The `Task`; the first process writes, each file whole or not at all."""

    run: DetectorRun
    feed: DetectionFeed
    categories: tuple[Category, ...]
    validation: CocoImages | None
    folder: Path
    hooks: DetectionHooks
    resume: str
    history: list[DetectionEpoch] = field(default_factory=list)
    draws = False

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return tuple(category.name for category in self.categories)

    @property
    def done(self) -> int:
        """Epochs in the history."""
        return len(self.history)

    def batches(self, epoch: int, done: int) -> Iterator[DetectionBatch]:
        """Yield the batches of an epoch."""
        return self.feed.batches(epoch, done)

    def loss(self, batch: DetectionBatch, epoch: int, number: int) -> BatchLoss:
        """Return the sum of the detector's losses, and each of them."""
        images, targets = batch
        with seeded(self.run.recipe.seed, epoch, number, self.run.ranks.rank):  # the samplers of anchors and proposals
            losses = self.run.forward(images, targets)
        parts = {name: value.detach() for name, value in losses.items()}
        return BatchLoss(torch.stack(list(losses.values())).sum(), len(images), parts)

    def resumed(self) -> RunState[DetectionRecipe, DetectionEpoch] | None:
        """Return the state that lies in the folder now."""
        state = starting_state(self.run.recipe, self.names, self.folder / STATE_FILE, self.resume, FORM)
        if state is not None:
            check_weights((record.weights for record in state.history), self.run)
            self.history.extend(state.history)
        return state

    def begin(self, progress: Progress) -> None:
        """Do nothing: the recipe has said it."""

    def begin_epoch(self, epoch: int) -> None:
        """Put the detector into training mode, but for batch norms that keep their statistics."""
        model = self.run.model
        train_mode(model, "none" if self.run.recipe.train_norm else "bn")
        for part in model.fresh if isinstance(model, SSDLite) else ():  # no statistics that could be kept
            part.train()

    def evaluate(self, epoch: int, progress: Progress, rate: float) -> DetectionEpoch:
        """Return the record of an epoch, whose better weights are kept."""
        run, ranks = self.run, self.run.ranks
        scores: dict[Weights, Scores] = {}
        for kind, network in run.networks.items():
            ranks.share(network)  # the first process's statistics
            if self.validation is not None:
                scores[kind] = evaluate(network.eval(), self.validation, ranks)
        found = {kind: one.boxes.ap for kind, one in scores.items()}
        # the average where both are equal, or nothing was evaluated
        kept = max(run.networks, key=lambda kind: -1.0 if found.get(kind) is None else found[kind])  # type: ignore[arg-type,return-value]
        names, batches = sorted(progress.sums), run.batches_per_epoch * ranks.count
        given = (progress.loss, len(self.feed.broken), *(progress.sums[name] for name in names))
        loss, broken, *sums = ranks.sums(given)
        both = len(found) > 1
        return DetectionEpoch(
            epoch=epoch + 1,
            loss=loss / batches,
            parts={name: value / batches for name, value in zip(names, sums, strict=True)},
            learning_rate=rate,
            seconds=progress.seconds,
            pictures_per_second=batches * run.recipe.batch / progress.seconds,
            boxes=scores[kept].boxes if scores else None,
            masks=scores[kept].masks if scores else None,
            weights=kept,
            raw_ap=found["raw"] if both else None,
            averaged_ap=found["averaged"] if both else None,
            broken_pictures=int(broken),
        )

    def keep(self, record: DetectionEpoch) -> None:
        """Write the detector before the state that says the epoch is done."""
        self.history.append(record)
        if self.run.ranks.first:
            write_detector(self.folder / MODEL_FILE, self.detector())

    def write(self, snapshot: Snapshot) -> None:
        """Write the state."""
        state = RunState(recipe=self.run.recipe, classes=self.names, history=tuple(self.history), **snapshot.parts())
        FORM.write(self.folder / STATE_FILE, state)

    def tell(self, record: DetectionEpoch) -> None:
        """Write the log."""
        if self.run.ranks.first:
            lines = [json.dumps(dataclasses.asdict(row)) for row in self.history]
            write_text_atomically(self.folder / LOG_FILE, "".join(line + "\n" for line in lines))
        self.hooks.epoch(record)

    def advice(self) -> str:
        """Name the detector after the last whole epoch."""
        return f" ({self.folder / MODEL_FILE} is that of the last whole epoch)" if self.history else ""

    def detector(self) -> Detector:
        """Return the detector after the last epoch."""
        last = self.history[-1]
        metadata = {"epoch": last.epoch, "ap": None if last.boxes is None else last.boxes.ap}
        return Detector(self.run.networks[last.weights].eval(), self.run.recipe, self.categories, "train", metadata)
