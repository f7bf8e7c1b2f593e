"""Moving average: the extremes of single images, averaged, so that one odd image does not set the range."""

from __future__ import annotations

from calib.observers.base import Observer, TensorStatistics


def find_range(statistics: TensorStatistics, percentile: float, symmetric: bool) -> tuple[float, float]:
    """Return the averaged extremes, which depend on the images' order; `percentile` is not used."""
    del percentile
    low, high = statistics.average_minimum, statistics.average_maximum
    if symmetric:
        extreme = max(-low, high)
        return -extreme, extreme
    return low, high


MOVING_AVERAGE = Observer("moving_average", "the extremes of each picture, averaged", find_range)
