"""The ends of an epoch: before its first step, and the evaluation of what came out, as one line of the log."""

from __future__ import annotations

import torch
from timm.utils import distribute_bn

from repghost.training.build import ClassifierRun
from repghost.training.core.progress import RIGHT, Progress
from repghost.training.epoch_accuracy import Evaluation, evaluate_epoch
from repghost.training.feeds.base import Feed
from repghost.training.recipe_parts import Weights
from repghost.training.state.state import EpochRecord
from repghost.training.transfer import train_mode


def begin_epoch(run: ClassifierRun, epoch: int) -> None:
    """Seed dropout, and put the network into training mode."""
    torch.manual_seed((run.recipe.seed << 16) + epoch + (run.ranks.rank << 40))
    train_mode(run.model, run.recipe.execution.freeze)


def evaluate_run(run: ClassifierRun, feed: Feed, epoch: int, progress: Progress, rate: float) -> EpochRecord:
    """Return the record of an epoch after evaluating its networks.

    Args:
        run: after the epoch.
        feed: its images.
        epoch: from 0.
        progress: of the whole epoch.
        rate: of its last step.
    """
    recipe, ranks = run.recipe, run.ranks
    share_statistics(run)
    found: dict[Weights, Evaluation] = {}
    for name, network in run.networks.items():
        ranks.share(network)
        found[name] = evaluate_epoch(network, feed, recipe.preprocess, ranks)
    kept = max(found, key=lambda name: found[name].rank(recipe.eval_metric))  # the average where the two are equal
    evaluated, both = found[kept], len(found) > 1
    batches = run.batches_per_epoch
    loss, right, broken = ranks.sums([progress.loss, progress.sums[RIGHT], len(feed.broken)])
    images = batches * recipe.batch * ranks.count
    return EpochRecord(
        epoch=epoch + 1,
        loss=loss / (batches * ranks.count),
        train_top1=right / images,
        learning_rate=rate,
        seconds=progress.seconds,
        pictures_per_second=images / progress.seconds,
        held_out_top1=evaluated.top1,
        held_out_top5=evaluated.top5,
        held_out_loss=evaluated.loss,
        held_out_pictures=evaluated.images,
        raw_top1=found["raw"].top1 if both else None,
        broken_pictures=int(broken),
        averaged_top1=found["averaged"].top1 if both else None,
        weights=kept,
    )


def share_statistics(run: ClassifierRun) -> None:
    """Bring the processes' batch-norm statistics together, where the recipe says how."""
    how, ranks = run.recipe.execution.dist_bn, run.ranks
    if how:
        distribute_bn(run.model, ranks.count, how == "reduce")
        if run.average is not None:
            distribute_bn(run.average.module, ranks.count, how == "reduce")
