"""Searching a range: candidates between nothing and the extremes, judged by a cost on the histogram."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calib.observers.base import BINS, TensorStatistics

CANDIDATES = 64  # per end: steps of 1.5 % of the extreme, finer than the cost can tell apart
SMALLEST = 0.05  # of the extreme; a range 20 times too small is never best
ROUNDS = 2  # in turn over both ends; a third changes nothing on trained networks

Cost = Callable[[NDArray[np.float64], NDArray[np.float64], float, float], float]


def search_range(statistics: TensorStatistics, symmetric: bool, cost: Cost) -> tuple[float, float]:
    """Return the cheapest range (low, high) with low <= 0 <= high inside the extremes.

    A range with two ends is searched one end at a time. Zeros are left out of the histogram: every range has an exact
    zero, so they say nothing about which is better, and there are so many behind a ReLU that they would drown the rest.

    Args:
        statistics: of the tensor.
        symmetric: search (-high, high).
        cost: of (centres of the bins, float64 counts, low, high); smaller is better.
    """
    low, high = min(statistics.minimum, 0.0), max(statistics.maximum, 0.0)
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    centres, counts = _bins_in_use(statistics)
    if not len(centres):
        return low, high
    fractions = np.linspace(SMALLEST, 1.0, CANDIDATES)
    if symmetric:
        best = min(fractions, key=lambda share: (cost(centres, counts, low * share, high * share), -share))
        return float(low * best), float(high * best)
    least, most = low, high
    for _ in range(ROUNDS if low < 0.0 < high else 1):
        if most > 0.0:
            high = float(min(most * fractions, key=lambda end: (cost(centres, counts, low, end), -end)))
        if least < 0.0:
            low = float(min(least * fractions, key=lambda end: (cost(centres, counts, end, high), end)))
    return low, high


def _bins_in_use(statistics: TensorStatistics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centres of the bins from the first to the last that holds more than zeros, and their counts."""
    histogram = statistics.histogram.astype(np.float64)
    histogram[BINS // 2] -= statistics.zeros
    used = np.flatnonzero(histogram)
    if statistics.limit == 0.0 or not len(used):
        return np.empty(0), np.empty(0)
    width = 2.0 * statistics.limit / BINS
    part = np.arange(used[0], used[-1] + 1)
    return (part - BINS // 2 + 0.5) * width, histogram[part]
