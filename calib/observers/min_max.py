"""Min-max: the range covers every value seen."""

from __future__ import annotations

from calib.observers.base import Observer, TensorStatistics


def find_range(statistics: TensorStatistics, percentile: float, symmetric: bool) -> tuple[float, float]:
    """Return the smallest and largest value; `percentile` is not used."""
    del percentile
    if symmetric:
        extreme = max(-statistics.minimum, statistics.maximum)
        return -extreme, extreme
    return statistics.minimum, statistics.maximum


MIN_MAX = Observer("min_max", "covers every value seen; nothing is clipped", find_range)
