"""Images that are decoded once and stay in memory; each batch is shifted, mirrored and covered at random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from repghost.data import Prepared
from repghost.data.images.augment import cutout, random_crop, random_flip
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError
from repghost.evaluation.accuracy import BATCH
from repghost.training.feeds.base import Batch
from repghost.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class MemoryFeed:
    """Batches of prepared images.

    Args:
        recipe: batch, seed and augmentation.
        training: the images trained on.
        validation: the held-out ones.
        ranks: this process among the others.
    """

    recipe: Recipe
    training: Prepared
    validation: Prepared
    ranks: Ranks

    @property
    def batches_per_epoch(self) -> int:
        """Batches of this process in one epoch."""
        return len(self.training.labels) // (self.recipe.batch * self.ranks.count)

    @property
    def broken(self) -> tuple[str, ...]:
        """Messages about images that could not be decoded."""
        return self.training.broken

    def batches(self, epoch: int, done: int) -> Iterator[Batch]:
        """Yield the batches of an epoch; the random choices of those already done are drawn again and dropped."""
        recipe, ranks = self.recipe, self.ranks
        random = np.random.default_rng([recipe.seed, epoch])
        order = random.permutation(len(self.training.labels))
        if ranks.count > 1:  # one process alone goes on with the generator of the order
            random = np.random.default_rng([recipe.seed, epoch, ranks.rank])
        for step in range(self.batches_per_epoch):
            start = (step * ranks.count + ranks.rank) * recipe.batch
            chosen = order[start : start + recipe.batch]
            images = self._augmented(self.training.images[chosen], random)
            if step < done:
                continue
            inputs = torch.from_numpy(recipe.preprocess.normalize(images)).to(ranks.device)
            labels = torch.from_numpy(self.training.labels[chosen]).to(ranks.device)
            yield inputs, labels, labels

    def evaluated(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """Yield this process's share of the held-out images."""
        own = slice(self.ranks.rank, None, self.ranks.count)
        images, labels = self.validation.images[own], self.validation.labels[own]
        for start in range(0, len(labels), BATCH):
            yield images[start : start + BATCH], labels[start : start + BATCH]

    def _augmented(self, images: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        """Return a changed copy of a batch, uint8 [N, size, size, channels]."""
        recipe = self.recipe
        images = random_crop(images, recipe.crop_padding, random)
        if recipe.flip:
            images = random_flip(images, random)
        grey = np.rint(np.asarray(recipe.preprocess.mean) * 255).clip(0, 255).astype(np.uint8)
        return cutout(images, recipe.cutout, grey, random)


def split_prepared(prepared: Prepared, count: int) -> tuple[Prepared, Prepared]:
    """Return the first `count` images and the rest, as views.

    Raises:
        UsageError: when one of the two is empty.
    """
    if not 0 < count < len(prepared.labels):
        raise UsageError("every training or every held-out picture is broken; look at the set's files.")
    first, second = (
        Prepared(prepared.images[part], prepared.labels[part], prepared.indices[part], prepared.broken)
        for part in (slice(None, count), slice(count, None))
    )
    return first, second
