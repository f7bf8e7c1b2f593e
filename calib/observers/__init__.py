"""Observers: what range of a tensor its 256 steps should cover, decided from one pass of statistics."""

from __future__ import annotations

from calib.observers.base import Observer, TensorStatistics
from calib.observers.entropy import ENTROPY
from calib.observers.mean_square import MEAN_SQUARE
from calib.observers.min_max import MIN_MAX
from calib.observers.moving_average import MOVING_AVERAGE
from calib.observers.percentile import PERCENTILE
from repghost.errors import unknown_value

OBSERVERS: dict[str, Observer] = {
    observer.name: observer for observer in (MIN_MAX, MOVING_AVERAGE, PERCENTILE, ENTROPY, MEAN_SQUARE)
}


def find_observer(name: str) -> Observer:
    """Return the observer of that name.

    Raises:
        UsageError: when there is none; the message suggests the nearest.
    """
    if not isinstance(name, str) or name not in OBSERVERS:
        raise unknown_value("observer", name, OBSERVERS)
    return OBSERVERS[name]


__all__ = ["OBSERVERS", "Observer", "TensorStatistics", "find_observer"]
