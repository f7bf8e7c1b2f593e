"""Min-max: the range covers every value seen; nothing is clipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calib.observers.base import TensorStatistics


@dataclass(frozen=True)
class MinMax:
    """The range from the smallest to the largest value."""

    name: ClassVar[str] = "min_max"

    def find_range(self, statistics: TensorStatistics, symmetric: bool) -> tuple[float, float]:
        """Return the smallest and largest value."""
        if symmetric:
            extreme = max(-statistics.minimum, statistics.maximum)
            return -extreme, extreme
        return statistics.minimum, statistics.maximum
