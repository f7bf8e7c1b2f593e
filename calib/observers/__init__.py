"""Observers: the range of a tensor that 256 steps cover, from one pass of statistics; nothing here reads images."""

from __future__ import annotations

from calib.observers.base import Observer, TensorStatistics
from calib.observers.entropy import Entropy
from calib.observers.mean_square import MeanSquare
from calib.observers.min_max import MinMax
from calib.observers.moving_average import MovingAverage
from calib.observers.percentile import Percentile
from repghost.errors import unknown_value

OBSERVERS: dict[str, type[Observer]] = {
    observer.name: observer for observer in (MinMax, MovingAverage, Percentile, Entropy, MeanSquare)
}


def find_observer(name: str) -> type[Observer]:
    """Return the class of the observer of that name.

    Raises:
        UsageError: when there is none; the message suggests the nearest.
    """
    if not isinstance(name, str) or name not in OBSERVERS:
        raise unknown_value("observer", name, OBSERVERS)
    return OBSERVERS[name]


def make_observer(name: str, percentile: float) -> Observer:
    """Return the observer that a config asks for.

    Args:
        name: a key of `OBSERVERS`.
        percentile: in (50, 100], of the percentile observer; the others have none.

    Raises:
        UsageError: see `find_observer`.
    """
    observer = find_observer(name)
    return Percentile(percentile) if observer is Percentile else observer()


__all__ = ["OBSERVERS", "Observer", "TensorStatistics", "find_observer", "make_observer"]
