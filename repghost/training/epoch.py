"""One epoch: every image once, then the evaluation of what came out, as one line of the log."""

from __future__ import annotations

import torch
from timm.utils import distribute_bn

from repghost.training.build import Run
from repghost.training.epoch_accuracy import Evaluation, evaluate_epoch
from repghost.training.feeds.base import Feed
from repghost.training.loop import Loop
from repghost.training.recipe import Weights
from repghost.training.state.state import EpochRecord, Progress
from repghost.training.transfer import train_mode


def run_epoch(
    loop: Loop[Run], feed: Feed, epoch: int, progress: Progress, random: tuple[torch.Tensor, ...]
) -> EpochRecord:
    """Train on the rest of an epoch and evaluate the result.

    Args:
        loop: the parts of the run.
        feed: where its batches come from.
        epoch: from 0.
        progress: of an interrupted epoch.
        random: each process's generator where it was interrupted; empty at the beginning of an epoch.
    """
    run, recipe, ranks = loop.run, loop.run.recipe, loop.run.ranks
    torch.manual_seed((recipe.seed << 16) + epoch + (ranks.rank << 40))  # dropout
    if random:
        torch.set_rng_state(random[ranks.rank % len(random)])
    train_mode(run.model, recipe.execution.freeze)
    progress, rate = loop.train(epoch, progress)
    share_statistics(run)
    found: dict[Weights, Evaluation] = {}
    for name, network in run.networks.items():
        ranks.share(network)
        found[name] = evaluate_epoch(network, feed, recipe.preprocess, ranks)
    kept = max(found, key=lambda name: found[name].rank(recipe.eval_metric))  # the average where the two are equal
    evaluated, both = found[kept], len(found) > 1
    batches = run.steps_per_epoch * recipe.execution.accumulate
    loss, right, broken = ranks.sums([progress.loss, progress.right, len(feed.broken)])
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


def share_statistics(run: Run) -> None:
    """Bring the processes' batch-norm statistics together, where the recipe says how."""
    how, ranks = run.recipe.execution.dist_bn, run.ranks
    if how:
        distribute_bn(run.model, ranks.count, how == "reduce")
        if run.average is not None:
            distribute_bn(run.average.module, ranks.count, how == "reduce")
