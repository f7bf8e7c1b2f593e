"""The interface of a feed of batches, and the order of images in an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Batch = tuple[Tensor, Tensor, Tensor]  # inputs float32 [N, 3, H, W]; labels int64 [N]; targets [N] or [N, classes]


class Batches(Protocol):
    """Training batches of one process."""

    def batches(self, epoch: int, done: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `done` on, the same ones whatever ran before."""
        ...


class Feed(Batches, Protocol):
    """Training batches and held-out images of one process."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches of this process in one epoch; the last incomplete one is left out."""
        ...

    @property
    def broken(self) -> tuple[str, ...]:
        """Messages about images that could not be decoded so far, in this process."""
        ...

    def evaluated(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """Yield this process's share of the images an epoch is evaluated on: uint8 [N, H, W, 3] and labels."""
        ...


TOGETHER = 16  # shards whose images are mixed: about 16,000 images, and they stay in the page cache meanwhile


def epoch_order(
    count: int,
    seed: int,
    epoch: int,
    batch: int,
    ranks: int,
    starts: NDArray[np.int64] | None = None,
    repeats: int = 1,
) -> NDArray[np.int64]:
    """Return the images of an epoch in the order they are trained on, the same for every number of processes.

    Args:
        count: images of the set.
        seed: of the recipe.
        epoch: from 0.
        batch: images per step and process.
        ranks: number of processes.
        starts: int64 [shards], the first image of each shard; the order then takes some shards at a time, so that a
            disk reads each of them once.
        repeats: how often an image is in the epoch, as many times in a row, which go to different processes in turn.

    Returns:
        int64 [steps, ranks, batch], numbers of images times `repeats`, plus which repetition it is; what does not fill
        a step is left out.
    """
    steps = count // (batch * ranks)
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(count) if starts is None else _shard_order(count, starts, random)
    if repeats == 1:
        return order[: steps * ranks * batch].reshape(steps, ranks, batch)
    order = (order[:, None] * repeats + np.arange(repeats)).ravel()
    return order[: steps * ranks * batch].reshape(steps, batch, ranks).swapaxes(1, 2)


def _shard_order(count: int, starts: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """Return every image once: shards in random order, and the images of TOGETHER shards mixed with each other."""
    ends = np.append(starts[1:], count)
    shards = random.permutation(len(starts))
    parts = []
    for place in range(0, len(shards), TOGETHER):
        taken = [np.arange(starts[shard], ends[shard]) for shard in shards[place : place + TOGETHER]]
        parts.append(random.permutation(np.concatenate(taken)))
    return np.concatenate(parts)
