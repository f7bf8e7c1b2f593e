"""Training from the first epoch to the last: every epoch is evaluated, and training can continue from every state.

A run that is stopped and resumed takes the same random choices as one that was not: images and augmentation depend on
(seed, epoch, place) alone, and the generator that dropout uses is in the state. The loop itself is in
`repghost.training.loop`.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from repghost.checkpoints.checkpoint import load_model, write_checkpoint
from repghost.data import ImageSet
from repghost.errors import RepGhostError, UsageError, option
from repghost.locks import locked
from repghost.network.model import RepGhostNet
from repghost.training.build import Run, start
from repghost.training.epoch import run_epoch
from repghost.training.feeds.base import Feed
from repghost.training.feeds.choose import class_names, held_out_indices, open_feed
from repghost.training.follow.hooks import Hooks, StepRecord, TrainingStoppedError
from repghost.training.loop import Loop
from repghost.training.options import Options, Resume
from repghost.training.recipe import Recipe
from repghost.training.state.epoch_log import write_log
from repghost.training.state.resuming import restore, snapshot, starting_state
from repghost.training.state.state import EpochRecord, Progress, best_epoch, write_state

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
    starting_state(recipe, classes, folder / STATE_FILE, options.resume)  # what is refused is refused at once
    feed = open_feed(recipe, dataset, validation, len(classes), hooks, options)
    steps = feed.batches_per_epoch // recipe.execution.accumulate
    if not steps:
        raise UsageError(
            f"{len(dataset)} training pictures do not fill one step of {recipe.batch} x {ranks.count} processes x "
            f"{recipe.execution.accumulate}; lower {option('batch')}."
        )
    weights = None if options.weights is None else options.weights.ordered(classes)
    with locked(folder) if ranks.first else nullcontext():
        ranks.wait()
        run = start(recipe, len(classes), steps, ranks, weights)
        return _train(run, classes, feed, folder, hooks, options)


def _train(run: Run, classes: tuple[str, ...], feed: Feed, folder: Path, hooks: Hooks, options: Options) -> TrainResult:
    """Train in a folder that no other process writes: from the state that lies in it now, or from the beginning."""
    recipe, ranks = run.recipe, run.ranks
    state = starting_state(recipe, classes, folder / STATE_FILE, options.resume)
    saved = _Saved(run, folder, classes, [])
    progress, random = Progress(), tuple[torch.Tensor, ...]()
    if state is not None:
        restore(run, state)
        if not 0 <= state.progress.batches <= feed.batches_per_epoch:
            raise UsageError(
                f"the state was written after {state.progress.batches} batches of an epoch, which has "
                f"{feed.batches_per_epoch} here; give the set of pictures that the run began with."
            )
        saved.history.extend(state.history)
        progress, random = state.progress, state.random if state.progress.batches else ()
    steps = feed.batches_per_epoch // recipe.execution.accumulate
    hooks.begin(run.epochs, steps * recipe.execution.accumulate * recipe.batch * ranks.count)
    loop = Loop(run, feed, hooks, options, saved.write)
    for epoch in range(len(saved.history), run.epochs):
        record = run_epoch(loop, feed, epoch, progress, random)
        progress, random = Progress(), ()
        saved.finish_epoch(record)
        hooks.epoch(record)
        ranks.wait()
    result = _result(run, saved.history, feed, folder)
    hooks.end(result.model, result.history)
    return result


@dataclass(frozen=True, eq=False)
class _Saved:
    """What of a run is on disk; the first process writes, each file whole or not at all."""

    run: Run
    folder: Path
    classes: tuple[str, ...]
    history: list[EpochRecord]

    def write(self, progress: Progress) -> None:
        """Write the state between two steps; every process takes part."""
        self._refuse_broken_weights(len(self.history) + 1)
        random = tuple(self.run.ranks.gather(torch.get_rng_state()))
        if self.run.ranks.first:
            write_state(self.folder / STATE_FILE, snapshot(self.run, self.classes, self.history, progress, random))

    def finish_epoch(self, record: EpochRecord) -> None:
        """Write the best weights before the state that says the epoch is done, and the log after it."""
        self._refuse_broken_weights(record.epoch)
        metric = self.run.recipe.eval_metric
        best = record.better_than(best_epoch(self.history, metric), metric)
        self.history.append(record)
        if not self.run.ranks.first:
            return
        if best:
            metadata = {"epoch": record.epoch, "held_out_top1": record.held_out_top1, "weights": record.weights}
            preprocess = self.run.recipe.preprocess.to_dict()
            network = self.run.networks[record.weights]
            write_checkpoint(self.folder / BEST_FILE, network, preprocess, self.classes, metadata)
        write_state(self.folder / STATE_FILE, snapshot(self.run, self.classes, self.history, Progress(), ()))
        write_log(self.folder, self.history)

    def _refuse_broken_weights(self, epoch: int) -> None:
        """Raise before a state is overwritten by weights that are no numbers; every process has the same ones."""
        norms = torch._foreach_norm([weights.detach() for weights in self.run.model.parameters()], torch.inf)
        if not torch.isfinite(torch.stack(norms)).all():
            raise RepGhostError(
                f"the weights are no longer numbers in epoch {epoch}; the last state in {self.folder} is kept as it "
                f"was. Lower {option('learning_rate')}, or set {option('clip_grad', 1.0)}, in a run of its own "
                f"({option('pretrained', self.folder / BEST_FILE)} begins with the best weights so far)."
            )


def _result(run: Run, history: list[EpochRecord], feed: Feed, folder: Path) -> TrainResult:
    """Return the last or the best network, with the better weights of its epoch."""
    kept, model = history[-1], run.networks[history[-1].weights]
    best = best_epoch(history, run.recipe.eval_metric)
    if run.recipe.keep == "best" and best is not None and best.epoch != kept.epoch:
        kept, model = best, load_model(folder / BEST_FILE, width=run.recipe.width)
    broken = tuple(message for part in run.ranks.gather(feed.broken) for message in part)
    return TrainResult(model.eval(), tuple(history), tuple(dict.fromkeys(broken)), kept)
