"""The training of a classifier, as a task of `repghost.training.core`.

A run that is stopped and resumed takes the same random choices as one that was not: images and augmentation depend on
(seed, epoch, place) alone, and the generator that dropout uses is in the state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repghost.checkpoints.checkpoint import load_model, write_checkpoint
from repghost.data import ImageSet
from repghost.errors import UsageError, option
from repghost.network.model import RepGhostNet
from repghost.training.build import ClassifierRun, start
from repghost.training.classify import Classes
from repghost.training.core.epochs import alone_in, run_epochs
from repghost.training.core.hooks import StepRecord, TrainingStoppedError
from repghost.training.core.loop import Intervals
from repghost.training.core.progress import Progress
from repghost.training.core.snapshot import Snapshot
from repghost.training.core.task import BatchLoss
from repghost.training.epoch import begin_epoch, evaluate_run
from repghost.training.feeds.base import Batch, Feed
from repghost.training.feeds.choose import class_names, held_out_indices, open_feed
from repghost.training.follow.hooks import Hooks
from repghost.training.options import Options, Resume
from repghost.training.recipe import Recipe
from repghost.training.state.epoch_log import write_log
from repghost.training.state.resuming import check_weights, starting_state
from repghost.training.state.state import CLASSIFIER, EpochRecord, RunState, best_epoch, write_state

__all__ = [
    "BEST_FILE",
    "STATE_FILE",
    "Hooks",
    "Options",
    "Resume",
    "StepRecord",
    "TrainResult",
    "TrainingStoppedError",
    "class_names",
    "held_out_indices",
    "train",
]

STATE_FILE = "state.pt"
BEST_FILE = "best.safetensors"


@dataclass(frozen=True)
class TrainResult:
    """The result of training: the network that is kept, in eval mode, and one record per epoch."""

    model: RepGhostNet
    history: tuple[EpochRecord, ...]
    broken: tuple[str, ...]  # images that could not be decoded
    kept: EpochRecord  # of the epoch whose weights `model` has


def train(
    recipe: Recipe,
    dataset: ImageSet,
    folder: Path,
    hooks: Hooks | None = None,
    validation: ImageSet | None = None,
    options: Options | None = None,
) -> TrainResult:
    """Train a RepGhostNet; wait for another process that trains into the same folder.

    Args:
        recipe: how.
        dataset: the training split.
        folder: where state, best weights and log go.
        hooks: follows and stops the run.
        validation: what each epoch is evaluated on, where the recipe holds no training images out.
        options: what does not decide the result.

    Raises:
        UsageError: when the folder holds another run, there is nothing to resume, or too few images.
        TrainingStoppedError: when `hooks.should_stop` said so.
        RepGhostError: when the loss is no longer finite, or too many images are broken.
    """
    hooks, options = hooks or Hooks(), options or Options()
    ranks = options.ranks
    classes = class_names(dataset, options.num_classes)
    starting_state(recipe, classes, folder / STATE_FILE, options.resume, CLASSIFIER)  # refused at once
    feed = open_feed(recipe, dataset, validation, len(classes), hooks, options)
    steps = feed.batches_per_epoch // recipe.execution.accumulate
    if not steps:
        raise UsageError(
            f"{len(dataset)} training pictures do not fill one step of {recipe.batch} x {ranks.count} processes x "
            f"{recipe.execution.accumulate}; lower {option('batch')}.{_unread(feed.broken)}"
        )
    weights = None if options.weights is None else options.weights.ordered(classes)
    with alone_in(folder, ranks):
        run = start(recipe, len(classes), steps, ranks, weights)
        objective = Classes(run, feed, options.loss or run.loss, recipe.execution.channels_last)
        task = _Training(objective, classes, feed, folder, hooks, options.resume, [])
        run_epochs(task, hooks, Intervals(options.state_interval, options.log_interval))
        result = _result(run, task.history, feed, folder)
        hooks.end(result.model, result.history)
        return result


def _unread(broken: tuple[str, ...]) -> str:
    """Return a sentence on the pictures that are missing because nobody can read them, "" where there are none."""
    return f" {len(broken)} of them cannot be read, the first: {broken[0]}" if broken else ""


@dataclass(frozen=True, eq=False)
class _Training:
    """The `Task`; the first process writes, each file whole or not at all."""

    objective: Classes
    classes: tuple[str, ...]
    feed: Feed
    folder: Path
    hooks: Hooks
    resume: Resume
    history: list[EpochRecord]
    draws = True

    @property
    def run(self) -> ClassifierRun:
        """What learns."""
        run = self.objective.run
        assert isinstance(run, ClassifierRun)
        return run

    @property
    def done(self) -> int:
        """Epochs in the history."""
        return len(self.history)

    def batches(self, epoch: int, done: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        return self.objective.batches(epoch, done)

    def loss(self, batch: Batch, epoch: int, number: int) -> BatchLoss:
        """Return the loss of a batch."""
        return self.objective.loss(batch, epoch, number)

    def resumed(self) -> RunState[Recipe, EpochRecord] | None:
        """Return the state that lies in the folder now."""
        state = starting_state(self.run.recipe, self.classes, self.folder / STATE_FILE, self.resume, CLASSIFIER)
        if state is not None:
            check_weights((record.weights for record in state.history), self.run)
            self.history.extend(state.history)
        return state

    def begin(self, progress: Progress) -> None:
        """Say how long the run is."""
        run = self.run
        self.hooks.begin(run.epochs, run.batches_per_epoch * run.recipe.batch * run.ranks.count)

    def begin_epoch(self, epoch: int) -> None:
        """Seed dropout, and put the network into training mode."""
        begin_epoch(self.run, epoch)

    def evaluate(self, epoch: int, progress: Progress, rate: float) -> EpochRecord:
        """Return the record of an epoch."""
        return evaluate_run(self.run, self.feed, epoch, progress, rate)

    def keep(self, record: EpochRecord) -> None:
        """Write the best weights before the state that says the epoch is done."""
        recipe = self.run.recipe
        best = record.better_than(best_epoch(self.history, recipe.eval_metric), recipe.eval_metric)
        self.history.append(record)
        if best and self.run.ranks.first:
            metadata = {"epoch": record.epoch, "held_out_top1": record.held_out_top1, "weights": record.weights}
            network = self.run.networks[record.weights]
            write_checkpoint(self.folder / BEST_FILE, network, recipe.preprocess.to_dict(), self.classes, metadata)

    def write(self, snapshot: Snapshot) -> None:
        """Write the state."""
        history = tuple(self.history)
        state = RunState(recipe=self.run.recipe, classes=self.classes, history=history, **snapshot.parts())
        write_state(self.folder / STATE_FILE, state)

    def tell(self, record: EpochRecord) -> None:
        """Write the log."""
        if self.run.ranks.first:
            write_log(self.folder, self.history)
        self.hooks.epoch(record)

    def advice(self) -> str:
        """Name the best weights so far."""
        return f" ({option('pretrained', self.folder / BEST_FILE)} begins with the best weights so far)"


def _result(run: ClassifierRun, history: list[EpochRecord], feed: Feed, folder: Path) -> TrainResult:
    """Return the last or the best network, with the better weights of its epoch."""
    kept, model = history[-1], run.networks[history[-1].weights]
    best = best_epoch(history, run.recipe.eval_metric)
    if run.recipe.keep == "best" and best is not None and best.epoch != kept.epoch:
        kept, model = best, load_model(folder / BEST_FILE, width=run.recipe.width)
    broken = tuple(message for part in run.ranks.gather(feed.broken) for message in part)
    return TrainResult(model.eval(), tuple(history), tuple(dict.fromkeys(broken)), kept)
