"""Percentile: the rarest values are clipped, so that the usual ones get finer steps."""

from __future__ import annotations

from calib.observers.base import Observer, TensorStatistics


def find_range(statistics: TensorStatistics, percentile: float, symmetric: bool) -> tuple[float, float]:
    """Return the range that leaves out (100 - percentile) % of the values at each end, or of the magnitudes."""
    fraction = percentile / 100.0
    if symmetric:
        extreme = statistics.magnitude_quantile(fraction)
        return -extreme, extreme
    return statistics.quantile(1.0 - fraction), statistics.quantile(fraction)


PERCENTILE = Observer("percentile", "clips the rarest values so that the usual ones get finer steps", find_range)
