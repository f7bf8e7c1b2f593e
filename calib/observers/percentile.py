"""Percentile: the rarest values are clipped, so that the usual ones get finer steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calib.observers.base import TensorStatistics
from calib.observers.min_max import MinMax

SPARSE = 2.0**-12  # of the extreme; a range as narrow as that would keep none of a tensor's larger values


@dataclass(frozen=True)
class Percentile:
    """The range without (100 - percentile) % of the values at each end, or of the magnitudes.

    Attributes:
        percentile: in (50, 100].
    """

    name: ClassVar[str] = "percentile"
    percentile: float

    def find_range(self, statistics: TensorStatistics, symmetric: bool) -> tuple[float, float]:
        """Return the range without the rarest values.

        A tensor that is 0 nearly everywhere keeps its extremes: the rare values are its whole content.
        """
        fraction = self.percentile / 100.0
        if symmetric:
            extreme = statistics.magnitude_quantile(fraction)
            low, high = -extreme, extreme
        else:
            low, high = statistics.quantile(1.0 - fraction), statistics.quantile(fraction)
        if max(-low, high) <= SPARSE * statistics.limit:
            return MinMax().find_range(statistics, symmetric)
        return low, high
