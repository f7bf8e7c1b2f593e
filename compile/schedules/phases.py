"""How a row of NHWC pixels is cut into vectors, for kernels that treat each channel on its own."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

import numpy as np
from numpy.typing import NDArray

from compile.ir import tir
from compile.ir.memory_plan import TensorPlace
from compile.ir.tir import Expr

PIXELS_TOGETHER = 2  # with a stride: 5x5 taps do not fit the registers, so two pixels share each load of a tap
MORE_TOGETHER = 4  # where there are registers for it: their sums do not wait for each other
FEW_VECTORS = 4  # of a pixel: below, an overlap of the last vector repeats more than a fourth of the work
VECTOR_SHARE = 0.34  # cost of a vector besides its products, in products; counted on 3x3, 5x5 of 12 to 336 channels
MOST_TAPS = 512  # of one unit; 7 rows of 7x7 have 343
MOST_ROWS = 7  # output rows of one unit: (rows + kernel - 1) / rows input loads for each output row


@dataclass(frozen=True)
class Phases:
    """How the channels are spread over vectors: phase p covers `channels[p]`, and moves `step` elements at a time."""

    lanes: int
    channels: NDArray[np.int64]  # [phases, lanes], the channel of each lane
    starts: tuple[int, ...]  # elements from the first pixel of a row to the first vector of each phase
    step: int  # output elements between two vectors of one phase
    count: int  # vectors of one phase in a row; the last may overlap the one before
    last: int  # elements from the first vector of a phase to its last
    pixels: int = 1  # neighbouring output pixels computed together, which share the loads of the taps

    def along(self, column: Expr) -> Expr:
        """Return where vector number `column` of a phase is, counted from the phase's first."""
        place = column * self.step
        return tir.minimum(place, tir.const(self.last)) if self.last != (self.count - 1) * self.step else place


def row_tile(height: int, taps: int = 1) -> int:
    """Return how many output rows one unit computes: the largest divisor up to 7, or 4 with an overlap.

    Fewer where each has so many taps that LLVM would take minutes over their sum.
    """
    exact = max(rows for rows in range(1, MOST_ROWS + 1) if height % rows == 0)
    rows = exact if exact >= 4 or height < 4 else 4
    return min(rows, max(1, MOST_TAPS // taps))


def flat_phases(most_lanes: int, target: TensorPlace) -> Phases:
    """Spread a row as one run of bytes over vectors that are as wide as the row allows."""
    width, pixel = target.tensor.width, target.pixel
    lanes = next(lanes for lanes in lane_options(most_lanes) if lcm(lanes, pixel) <= width * pixel)
    period = lcm(lanes, pixel)
    starts = tuple(range(0, period, lanes))
    channels = (np.array(starts)[:, None] + np.arange(lanes)) % pixel
    return Phases(lanes, channels, starts, period, -(-width * pixel // period), width * pixel - period)


def pixel_phases(most_lanes: int, target: TensorPlace, product_lanes: int | None = None) -> Phases:
    """Spread the channels of one pixel over vectors; the last vector overlaps its neighbour if it has to.

    Args:
        most_lanes: elements of the widest vector.
        target: the output.
        product_lanes: elements that one multiplication takes; narrower vectors are used where they need fewer.
    """
    width, pixel = target.tensor.width, target.pixel
    options = [lanes for lanes in lane_options(most_lanes) if lanes <= pixel]
    vectors = {lanes: -(-pixel // lanes) for lanes in options}
    products = {lanes: -(-lanes // (product_lanes or most_lanes)) for lanes in options}
    lanes = min(options, key=lambda option: vectors[option] * (products[option] + VECTOR_SHARE))
    starts = tuple(min(start, pixel - lanes) for start in range(0, pixel, lanes))
    channels = np.array(starts)[:, None] + np.arange(lanes)
    together = min(PIXELS_TOGETHER, width)
    if product_lanes and -(-width // MORE_TOGETHER) * MORE_TOGETHER <= -(-width // together) * together:
        together = min(MORE_TOGETHER, width)
    count, last = -(-width // together), (width - together) * pixel
    return Phases(lanes, channels, starts, together * pixel, count, last, together)


def channel_phases(most_lanes: int, target: TensorPlace) -> Phases:
    """Spread a row for kernels that take one value per channel along: with many channels, no vector wraps around."""
    if target.pixel % most_lanes == 0 or target.pixel < FEW_VECTORS * most_lanes:
        return flat_phases(most_lanes, target)
    return pixel_phases(most_lanes, target)


def lane_options(most: int) -> list[int]:
    """Return vector widths from `most` down to four."""
    return [most >> shift for shift in range(most.bit_length()) if most >> shift >= 4]


def phase_runs(starts: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Return (first phase, step, count) so that phases at equal distances share one loop."""
    step = starts[1] - starts[0] if len(starts) > 1 else 0
    regular = next((i for i in range(1, len(starts)) if starts[i] - starts[i - 1] != step), len(starts))
    runs = [(0, step, regular)]
    if regular < len(starts):
        runs.append((regular, 0, 1))
    return runs
