"""Percentile: the rarest values are clipped, so that the usual ones get finer steps."""

from __future__ import annotations

from calib.observers import min_max
from calib.observers.base import Observer, TensorStatistics

SPARSE = 2.0**-12  # of the extreme; a range as narrow as that would keep none of a tensor's larger values


def find_range(statistics: TensorStatistics, percentile: float, symmetric: bool) -> tuple[float, float]:
    """Return the range that leaves out (100 - percentile) % of the values at each end, or of the magnitudes.

    A tensor that is 0 nearly everywhere keeps its extremes: the rare values are all it has to say.
    """
    fraction = percentile / 100.0
    if symmetric:
        extreme = statistics.magnitude_quantile(fraction)
        low, high = -extreme, extreme
    else:
        low, high = statistics.quantile(1.0 - fraction), statistics.quantile(fraction)
    if max(-low, high) <= SPARSE * statistics.limit:
        return min_max.find_range(statistics, percentile, symmetric)
    return low, high


PERCENTILE = Observer("percentile", "clips the rarest values so that the usual ones get finer steps", find_range)
