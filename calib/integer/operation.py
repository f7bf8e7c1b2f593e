"""What every operator of a program says of itself, whether it computes in integers or in floats.

An operator is a frozen dataclass. What follows from its fields (which activations it reads, which arrays are its
weights) is derived from them here, so that a new operator states its fields and what is special about it, nothing else.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Activation:
    """A map of shape (height, width, channels) that one operator writes and others read."""

    name: str
    height: int
    width: int
    channels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """The sizes (height, width, channels)."""
        return self.height, self.width, self.channels


T = TypeVar("T", bound=Activation)


class Epilogue(Generic[T]):
    """What follows an accumulator: a frozen dataclass of its own in a field of the operator."""

    arithmetic: str  # how the accumulator is kept, and what is added to it

    @property
    def inputs(self) -> tuple[T, ...]:
        """The activations an epilogue reads, in the order of its fields."""
        return tuple(_activations(self, skip=()))


class Operation(Generic[T]):
    """The base of every operator: name and output are fields of each, the rest follows from them or is overridden."""

    name: str
    output: T

    @property
    def inputs(self) -> tuple[T, ...]:
        """The activations the operator reads, in the order of its fields; the residual of an epilogue is the last."""
        return tuple(_activations(self, skip=("output",)))

    @property
    def weights(self) -> tuple[NDArray[Any], ...]:
        """The constant arrays of the operator itself; the factors of an epilogue are not among them."""
        return tuple(value for _, value in field_values(self) if isinstance(value, np.ndarray))

    @property
    def border(self) -> int:
        """Pixels of padding that have to lie around the first input in memory, because the kernel reads them."""
        return 0

    @property
    def macs(self) -> int:
        """Multiply-adds for one image; only convolutions and linear layers count."""
        return 0


class Windowed(Operation[T]):
    """The base of what reads a window around each pixel, where the border of the map holds its padding.

    Every pair is of rows, then of columns.
    """

    input: T
    strides: tuple[int, int]
    pads: tuple[int, int]  # rows above and columns on the left
    dilations: tuple[int, int]  # pixels from one tap to the next

    @property
    @abstractmethod
    def kernel(self) -> tuple[int, int]:
        """How many taps the window has, down and across."""

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of what the taps cover, in pixels."""
        (height, width), (down, across) = self.kernel, self.dilations
        return dilated(height, down), dilated(width, across)

    @property
    def trailing_pads(self) -> tuple[int, int]:
        """The rows below and the columns right of the input that are read: the size of the output says so.

        Both equal `pads` where stride and size fit; TensorFlow's "same" padding has nothing above and one row below.
        """
        (x, y), (below, right) = (self.input, self.output), self.window
        rows = (y.height - 1) * self.strides[0] + below - self.pads[0] - x.height
        columns = (y.width - 1) * self.strides[1] + right - self.pads[1] - x.width
        return max(0, rows), max(0, columns)

    @property
    def border(self) -> int:
        """The largest padding of the four sides, in pixels."""
        return max(*self.pads, *self.trailing_pads)


class Pooling(Windowed[T]):
    """The base of what sums up a window without weights."""

    size: tuple[int, int]

    @property
    def kernel(self) -> tuple[int, int]:
        """How many taps the window has, down and across."""
        return self.size


class Convolution(Windowed[T]):
    """The base of what sums a kernel of weights over a map."""

    weight: NDArray[Any]  # [outputs, kernel height, kernel width], and [inputs] where an output sums over all of them

    @property
    def kernel(self) -> tuple[int, int]:
        """How many taps the kernel has, down and across."""
        height, width = self.weight.shape[1:3]
        return height, width

    @property
    def macs(self) -> int:
        """One multiply-add for each weight and each output pixel."""
        return self.output.height * self.output.width * int(self.weight.size)


def dilated(side: int, dilation: int) -> int:
    """Return how many pixels a kernel of `side` taps covers."""
    return (side - 1) * dilation + 1


def field_values(instance: Any) -> list[tuple[str, Any]]:
    """Return name and value of each field of a dataclass, in order."""
    return [(field.name, getattr(instance, field.name)) for field in fields(instance)]


def _activations(instance: Any, skip: tuple[str, ...]) -> Iterator[Any]:
    for name, value in field_values(instance):
        if name in skip:
            continue
        if isinstance(value, Activation):
            yield value
        elif isinstance(value, tuple):
            yield from (item for item in value if isinstance(item, Activation))
        elif isinstance(value, Epilogue):
            yield from value.inputs
