"""Accuracy after an epoch: exact counts over all processes, each of which evaluates its share of the images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from repghost.data.images.preprocess import Preprocess
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError
from repghost.evaluation.accuracy import predict
from repghost.network.model import RepGhostNet
from repghost.training.feeds.base import Feed
from repghost.training.recipe import rank


@dataclass(frozen=True)
class Evaluation:
    """Shares over all images of all processes."""

    top1: float
    top5: float
    loss: float
    images: int

    def rank(self, metric: str) -> tuple[float, float]:
        """Return what is larger for the better network by a metric of `Recipe.eval_metric`."""
        return rank(metric, self.top1, self.top5, self.loss)


def evaluate_epoch(model: RepGhostNet, feed: Feed, preprocess: Preprocess, ranks: Ranks) -> Evaluation:
    """Return how often a network is right on the images an epoch is evaluated on.

    Raises:
        UsageError: when not one of them can be read.
    """
    sums = [0.0, 0.0, 0.0, 0.0]
    for images, labels in feed.evaluated():
        logits = torch.from_numpy(predict(model, images, preprocess, len(labels)))
        targets = torch.from_numpy(labels)
        ranked = logits.topk(min(5, logits.shape[1])).indices == targets[:, None]
        loss = F.cross_entropy(logits, targets, reduction="sum")
        found = (int(ranked[:, 0].sum()), int(ranked.sum()), float(loss), len(labels))
        for place, value in enumerate(found):
            sums[place] += value
    top1, top5, loss_sum, count = ranks.sums(sums)
    if not count:
        raise UsageError(
            "not one of the pictures that epochs are evaluated on can be read; look at the files of that split."
        )
    return Evaluation(top1 / count, top5 / count, loss_sum / count, int(count))
