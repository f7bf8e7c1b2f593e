"""What a training loop asks of its pictures, and where each process's share of an epoch comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Batch = tuple[Tensor, Tensor, Tensor]  # inputs float32 [N, 3, H, W]; labels int64 [N]; targets [N] or [N, classes]


class Feed(Protocol):
    """Training batches and held-out pictures of one process."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches of this process in one epoch; the last incomplete one is left out."""
        ...

    @property
    def broken(self) -> tuple[str, ...]:
        """Messages about pictures that could not be decoded so far, in this process."""
        ...

    def batches(self, epoch: int, done: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `done` on, the same ones whatever ran before."""
        ...

    def judged(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """Yield this process's share of the pictures that judge an epoch: uint8 [N, H, W, 3] and labels."""
        ...


def epoch_order(count: int, seed: int, epoch: int, batch: int, ranks: int) -> NDArray[np.int64]:
    """Return the pictures of an epoch in the order they are trained on, the same for every number of processes.

    Args:
        count: pictures of the set.
        seed: of the recipe.
        epoch: from 0.
        batch: pictures per step and process.
        ranks: number of processes.

    Returns:
        int64 [steps, ranks, batch]; what does not fill a step is left out.
    """
    steps = count // (batch * ranks)
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return order[: steps * ranks * batch].reshape(steps, ranks, batch)
