"""Choosing images by a seed, equally many of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from repghost.errors import UsageError


def choose_balanced(
    labels: NDArray[np.int64], count: int, seed: int, exclude: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return the indices of `count` images, ascending; classes differ by at most one image where they can.

    Args:
        labels: int64 [N].
        count: how many images.
        seed: equal seeds choose equal images.
        exclude: indices that must not be chosen.

    Raises:
        UsageError: when fewer than `count` images may be chosen.
    """
    allowed = np.setdiff1d(np.arange(len(labels)), np.empty(0, np.int64) if exclude is None else exclude)
    if not 0 < count <= len(allowed):
        raise UsageError(f"{count} pictures were asked for; 1 to {len(allowed)} can be chosen from this set.")
    shuffled = np.random.default_rng(seed).permutation(allowed)
    # The n-th image of its class comes before every (n+1)-th one, so that a prefix is balanced.
    order = np.empty(len(shuffled), np.int64)
    for label in np.unique(labels[shuffled]):
        places = np.flatnonzero(labels[shuffled] == label)
        order[places] = np.arange(len(places))
    return np.sort(shuffled[np.argsort(order, kind="stable")[:count]])
