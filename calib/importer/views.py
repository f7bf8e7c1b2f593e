"""How a tensor of an ONNX file lies over a map [C, H, W]: what Reshape and Transpose change without moving a number.

Each axis of a tensor is a row of digits, the outermost first, as in a number whose digits have different bases. A digit
counts along one dimension of the map. So [1, C, H, W] as [1, 2, C / 2, H, W] splits the digit of the channels in two,
channels last is another order of the axes, and a channel shuffle is two digits of one dimension that changed places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from repghost.graph.shapes import Shape

CHANNELS, ROWS, COLUMNS = range(3)


@dataclass(frozen=True)
class Digit:
    """A digit of an index along one dimension of a map.

    Attributes:
        dimension: CHANNELS, ROWS or COLUMNS.
        size: how many values it has, at least 2.
        step: how far along the dimension the next value is.
    """

    dimension: int
    size: int
    step: int


Axis: TypeAlias = tuple[Digit, ...]  # () for one of size 1
View: TypeAlias = tuple[Axis, ...]


def whole(dimension: int, size: int) -> Axis:
    """Return the axis that is a whole dimension of a map."""
    return (Digit(dimension, size, 1),) if size > 1 else ()


def channels_first(shape: Shape) -> View:
    """Return the view of a map as [1, C, H, W]."""
    return ((), *(whole(dimension, size) for dimension, size in enumerate(shape)))


def sizes(view: View) -> tuple[int, ...]:
    """Return the shape of the tensor."""
    return tuple(math.prod(digit.size for digit in axis) for axis in view)


def reshaped(view: View, shape: tuple[int, ...]) -> View | None:
    """Return the view of the same numbers, in the same order, in another shape; None where digits do not divide so."""
    left = [digit for axis in reversed(view) for digit in reversed(axis)]
    axes: list[Axis] = []
    for size in shape:
        axis: list[Digit] = []
        while size > 1:
            if not left:
                return None
            digit = left.pop()
            if size % digit.size == 0:
                size //= digit.size
            elif digit.size % size == 0:
                rest = digit.size // size
                left.append(Digit(digit.dimension, rest, digit.step))
                digit = Digit(digit.dimension, size, digit.step * rest)
                size = 1
            else:
                return None
            axis.append(digit)
        axes.append(_joined(axis))
    return None if left else tuple(axes)


def _joined(axis: list[Digit]) -> Axis:
    """Return an axis with neighbouring digits of one dimension as one where they follow each other."""
    joined: list[Digit] = []
    for digit in axis:
        last = joined[-1] if joined else None
        if last is not None and last.dimension == digit.dimension and last.step == digit.step * digit.size:
            joined[-1] = Digit(digit.dimension, last.size * digit.size, digit.step)
        else:
            joined.append(digit)
    return tuple(joined)


def dimensions(*axes: Axis) -> set[int]:
    """Return the dimensions along which the axes count."""
    return {digit.dimension for axis in axes for digit in axis}


def cover(axes: View, dimension: int, size: int) -> bool:
    """Return whether all digits of a dimension of a map are among those of the axes."""
    return math.prod(digit.size for axis in axes for digit in axis if digit.dimension == dimension) == size


def positions(axes: View, shape: Shape) -> NDArray[np.int64]:
    """Return where each element along some axes lies among the dimensions they count along, in the map's own order.

    Args:
        axes: some axes of a view, the outermost first.
        shape: of the map.

    Returns:
        One whole number for each element, e.g. its channel where the axes count along channels alone.
    """
    counted = dimensions(*axes)
    result = np.zeros((), np.int64)
    for digit in (digit for axis in axes for digit in axis):
        inner = math.prod(shape[d] for d in counted if d > digit.dimension)
        result = np.add.outer(result, np.arange(digit.size) * digit.step * inner)
    return result.reshape(-1)
