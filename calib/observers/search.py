"""Searches the range with the least cost on the histogram; candidates are shares of the extremes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from calib.observers.base import BINS, TensorStatistics

SMALLEST = 2.0**-10  # of the extreme: a lone value may be a thousand times as large as the useful ones
# First steps by a factor, because the useful range can be of any size, then even ones around the best.
ROOTS = (1.0, math.sqrt(math.sqrt(2.0)), math.sqrt(2.0), math.sqrt(math.sqrt(8.0)))  # machines agree on roots only
COARSE = np.asarray([math.ldexp(ROOTS[n % 4], n // 4 - 10) for n in range(41)])  # 2**(n / 4 - 10)
FINE = 17  # within two coarse steps: 2 % each, finer than the cost can tell apart
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

    def evaluate(low: float, high: float) -> float:
        return cost(centres, counts, low, high)

    least, most = low, high
    if symmetric:
        high = most * best_share(lambda share: evaluate(-most * share, most * share))
        return -high, high
    for _ in range(ROUNDS if low < 0.0 < high else 1):
        if most > 0.0:
            high = most * best_share(partial(lambda low, share: evaluate(low, most * share), low))
        if least < 0.0:
            low = least * best_share(partial(lambda high, share: evaluate(least * share, high), high))
    return low, high


def best_share(cost: Callable[[float], float]) -> float:
    """Return the share in [SMALLEST, 1] with the least cost, the largest of equals."""
    coarse = _cheapest(COARSE, cost)
    below, above = COARSE[max(coarse - 1, 0)], COARSE[min(coarse + 1, len(COARSE) - 1)]
    fine = np.append(np.linspace(below, above, FINE), COARSE[coarse])
    return float(fine[_cheapest(fine, cost)])


def _cheapest(shares: NDArray[np.float64], cost: Callable[[float], float]) -> int:
    costs = [(cost(float(share)), -share) for share in shares]
    return min(range(len(costs)), key=costs.__getitem__)


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
