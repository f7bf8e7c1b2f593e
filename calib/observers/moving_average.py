"""Moving average: the extremes of single images, averaged, so that one odd image does not set the range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calib.observers.base import TensorStatistics


@dataclass(frozen=True)
class MovingAverage:
    """The range between the average smallest and largest value of an image."""

    name: ClassVar[str] = "moving_average"

    def find_range(self, statistics: TensorStatistics, symmetric: bool) -> tuple[float, float]:
        """Return the averaged extremes, which depend on the order of the images."""
        low, high = statistics.average_minimum, statistics.average_maximum
        if symmetric:
            extreme = max(-low, high)
            return -extreme, extreme
        return low, high
