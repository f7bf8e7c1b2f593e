"""Entropy: the range that loses least information, by the Kullback-Leibler divergence of the histograms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from calib.observers.base import TensorStatistics
from calib.observers.search import search_range
from repghost.graph.elementary import log

LEVELS = 256


def divergence(centres: NDArray[np.float64], counts: NDArray[np.float64], low: float, high: float) -> float:
    """Return the divergence in nats between the values clipped to [low, high] and what 256 levels keep of them.

    Clipped values are added to the outermost bins of the first distribution and left out of the second, so clipping
    many costs much. Within a level the second distribution is even over the bins that hold any value.

    Args:
        centres: float64 [B], ascending.
        counts: float64 [B].
        low: where the range begins.
        high: where it ends.
    """
    first, last = np.searchsorted(centres, [low, high])
    inside = counts[first:last]
    if not inside.any():
        return np.inf
    reference = inside.copy()
    reference[0] += counts[:first].sum()
    reference[-1] += counts[last:].sum()
    level = np.clip(np.floor((centres[first:last] - low) / (high - low) * LEVELS), 0, LEVELS - 1).astype(np.int64)
    used = inside > 0
    total = np.bincount(level, weights=inside, minlength=LEVELS)
    number = np.bincount(level, weights=used, minlength=LEVELS)
    kept = np.where(used, total[level] / np.maximum(number[level], 1.0), 0.0)
    p, q = reference / reference.sum(), kept / kept.sum()
    # Clipped values can lie where the second distribution is 0; the usual small number keeps the divergence finite.
    smallest = 1e-6 / len(q)
    present = p > 0
    return float((p[present] * log(p[present] / np.maximum(q[present], smallest))).sum())


@dataclass(frozen=True)
class Entropy:
    """The range that loses least information, by the Kullback-Leibler divergence."""

    name: ClassVar[str] = "entropy"

    def find_range(self, statistics: TensorStatistics, symmetric: bool) -> tuple[float, float]:
        """Return the range with the least divergence."""
        return search_range(statistics, symmetric, _cost)


def _cost(centres: NDArray[np.float64], counts: NDArray[np.float64], low: float, high: float) -> float:
    """Return the divergence; a range with fewer bins than levels would lose nothing, whatever it leaves out."""
    first, last = np.searchsorted(centres, [low, high])
    return divergence(centres, counts, low, high) if last - first >= LEVELS else np.inf
