"""Mean square error: the range whose int8 values are nearest to the real ones on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import INT8_MAX, INT8_MIN
from calib.observers.base import TensorStatistics
from calib.observers.search import search_range


@dataclass(frozen=True)
class MeanSquare:
    """The range with the least mean square error between real and int8 values."""

    name: ClassVar[str] = "mse"

    def find_range(self, statistics: TensorStatistics, symmetric: bool) -> tuple[float, float]:
        """Return the range with the least mean square error."""
        levels = (-INT8_MAX, INT8_MAX) if symmetric else (INT8_MIN, INT8_MAX)
        steps = levels[1] - levels[0]

        def cost(centres: NDArray[np.float64], counts: NDArray[np.float64], low: float, high: float) -> float:
            step = max((high - low) / steps, float(np.finfo(np.float32).tiny))
            zero_point = 0.0 if symmetric else np.rint(levels[0] - low / step)
            level = np.clip(np.rint(centres / step) + zero_point, *levels)
            return float((counts * np.square((level - zero_point) * step - centres)).sum())

        return search_range(statistics, symmetric, cost)
