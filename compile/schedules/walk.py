"""The order in which register tiles cover the pixels of an output: along each row, or across rows.

Along a row the pixels of a tile are equally far apart; where the tile does not divide the row, its last tile overlaps
the one before and some pixels are computed twice. Across rows that is so only at the end of the map: a 7x7 map takes
tiles of six pixels, where along rows only seven or one divide it. Every pixel of such a tile needs its own address, in
a general-purpose register each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from calib.integer.operation import Windowed
from compile.ir import tir
from compile.ir.memory_plan import AnyTensor, TensorPlace
from compile.ir.tir import Expr, Kernel

CHANNEL_UNITS = 4  # of a map of one pixel, whose channels are shared instead of its rows
FEW_ROWS = 8  # of a map: threads would have rows of very different number, so they share its pixels
SHARED_MACS = 1 << 17  # below this a map of one pixel is done before another thread has begun
CHANNEL_PARTS, MANY_CHANNELS = 8, 64  # of a depthwise layer, whose channels are shared where its rows are one unit
Bounds: TypeAlias = tuple[Expr, Expr]


@dataclass(frozen=True)
class Position:
    """An output pixel."""

    row: Expr
    column: Expr
    index: Expr | None = None  # row * width + column, where tiles walk across rows
    width: int = 0  # of the output

    def at(self, place: TensorPlace, strides: tuple[int, int] = (1, 1)) -> Expr:
        """Return how many elements lie from the first pixel of a tensor to the one at `strides` times this place."""
        if self.index is not None and strides == (1, 1) and place.tensor.width == self.width:
            beside = place.halo * place.pixel  # of each row
            return self.index * place.pixel + (self.row * beside if beside else 0)
        return self.row * (strides[0] * place.pitch) + self.column * (strides[1] * place.pixel)

    def tap(self, place: TensorPlace, operator: Windowed[Any]) -> Expr:
        """Return how many elements lie between the start of a tensor and the first tap of an operator that reads it."""
        above, left = operator.pads
        return self.at(place, operator.strides) + (place.origin - above * place.pitch - left * place.pixel)


ONLY = Position(tir.const(0), tir.const(0))  # of a map of one pixel


@dataclass(frozen=True)
class Walk:
    """The tiles of an output of `height` by `width` pixels."""

    height: int
    width: int
    pixels: int  # of a tile
    across: bool = False

    @property
    def crosses_rows(self) -> bool:
        """Whether tiles go on in the next row, because no whole number of them fits one."""
        return self.across and self.width % self.pixels != 0

    @property
    def most_of_two(self) -> float:
        """Which share of the tiles, or of the rows of tiles, the busier of two threads has."""
        return most_of_two(-(-self.height * self.width // self.pixels) if self.crosses_rows else self.height)

    @contextmanager
    def tiles(self, kernel: Kernel, bounds: Bounds) -> Iterator[list[Position]]:
        """Open the loops over the tiles of the rows from `bounds[0]` to `bounds[1]`; yields the pixels of a tile."""
        if self.crosses_rows:
            with self._across(kernel, bounds) as positions:
                yield positions
            return
        begin, end = shared(self.height, bounds, map_units(self.height, self.width))
        count = -(-self.width // self.pixels)
        with kernel.loop(end - begin, begin, "row") as row, kernel.loop(count, name="tile") as tile:
            first = tile * self.pixels
            if self.width % self.pixels:  # the last tile overlaps its neighbour and computes some pixels twice
                first = tir.minimum(first, tir.const(self.width - self.pixels))
            yield [Position(row, first + pixel) for pixel in range(self.pixels)]

    @contextmanager
    def _across(self, kernel: Kernel, bounds: Bounds) -> Iterator[list[Position]]:
        total = self.height * self.width
        begin, end = shared(-(-total // self.pixels), bounds, map_units(self.height, self.width))
        with kernel.loop(end - begin, begin, "tile") as tile:
            first = tile * self.pixels
            if total % self.pixels:
                first = tir.minimum(first, tir.const(total - self.pixels))
            first = kernel.bind(first, "first")
            row = kernel.bind(tir.floordiv(first, self.width), "row")
            column = kernel.bind(first - row * self.width, "column")
            positions = [Position(row, column, first, self.width)]
            for pixel in range(1, self.pixels):  # no division: a pixel is at most so many rows further
                down = tir.const(0)
                for passed in range(1, (self.width - 1 + pixel) // self.width + 1):
                    down = down + tir.cast(column >= tir.const(passed * self.width - pixel), tir.INDEX)
                here = kernel.bind(row + down, "row")
                positions.append(Position(here, first + pixel - here * self.width, first + pixel, self.width))
            yield positions


def shared(count: int, bounds: Bounds, units: int) -> Bounds:
    """Return which of `count` things belong to the units from `bounds[0]` to `bounds[1]` of `units`, to the nearest."""
    if count == units:
        return bounds
    return tuple(tir.floordiv(bound * count + units // 2, units) for bound in bounds)


def most_of_two(count: int) -> float:
    """Return which share of equal things the busier of two threads has."""
    return -(-count // 2) / count


def map_units(height: int, width: int) -> int:
    """Return how many units a map of several pixels has."""
    return height if height > FEW_ROWS else height * width


def depthwise_units(output: AnyTensor, rows: int) -> int:
    """Return how many units a depthwise convolution has: so many rows each, or parts of the channels of a low map.

    Args:
        output: of the convolution.
        rows: of a unit.
    """
    count = -(-output.height // rows)
    return CHANNEL_PARTS if count == 1 and output.channels >= MANY_CHANNELS else count


def units_of(output: AnyTensor, macs: int) -> int:
    """Return how many units a dense convolution has, on every instruction set alike, whatever they stand for.

    They are rows, the pixels of a small map, or parts of the channels where there is one pixel.
    """
    if output.height * output.width > 1:
        return map_units(output.height, output.width)
    return CHANNEL_UNITS if macs >= SHARED_MACS else 1
