"""The statistics of one tensor, collected in one pass, from which every observer takes its range."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from repghost.errors import UsageError

AVERAGE_SHARE = 0.01  # of a new image in the moving average, as PyTorch's observer has it for a batch
BINS = 1 << 16  # over [-limit, limit]: a hundredth of a one-sided range still has 160 to 330 bins; half a MB a tensor
CHUNK = 1 << 16  # values at a time: a MB of their bins' numbers and half a MB of bins stay near the core


@dataclass
class TensorStatistics:
    """Extremes and histogram of the values of one tensor so far.

    The histogram covers [-limit, limit]. `limit` is a power of two and grows by doubling, where two old bins become
    exactly one new bin, so the result depends neither on the order of the images nor on the first batch.
    """

    name: str
    minimum: float = np.inf
    maximum: float = -np.inf
    limit: float = 0.0
    count: int = 0
    zeros: int = 0
    average_minimum: float = 0.0  # over the images, the latest ones weigh most
    average_maximum: float = 0.0
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def update(self, values: NDArray[np.float32]) -> None:
        """Add a batch of values of any shape; the first axis is the image.

        Raises:
            UsageError: when a value is NaN or infinite.
        """
        if values.size == 0:
            return
        flat, lows, highs = _extremes(values)
        low, high = float(lows.min()), float(highs.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise UsageError(
                f"tensor {self.name!r} holds NaN or infinite values on the calibration pictures; only finite values "
                "can be quantized. Check the checkpoint with `repghost validate` before quantizing it."
            )
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self._average(lows, highs)
        self._grow(max(-low, high))
        self.count += values.size
        if self.limit == 0.0:
            self.zeros += int(np.count_nonzero(flat == 0))
            self.histogram[BINS // 2] += values.size
            return
        self.zeros += self._count(flat, low, high)

    def _count(self, flat: NDArray[np.float32], low: float, high: float) -> int:
        """Add values between two extremes to the histogram and return how many of them are 0."""
        scale = np.float32(BINS / 2 / self.limit)
        first, last = (int(np.floor(np.float32(extreme) * scale)) for extreme in (low, high))
        first = min(first, BINS // 2 - 1)
        counts, zeros = np.zeros(last - first + 1, np.int64), 0  # of the bins that any value falls into
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK]
            zeros += int(np.count_nonzero(part == 0))
            places = part * scale
            np.floor(places, out=places)
            places -= first  # exact: whole numbers up to 2**16
            counts += np.bincount(places.astype(np.int64), minlength=counts.size)
        inside = counts[: BINS // 2 - first]
        inside[-1] += counts[inside.size :].sum()  # the limit itself
        self.histogram[BINS // 2 + first :][: inside.size] += inside
        return zeros

    def _average(self, lows: NDArray[np.float32], highs: NDArray[np.float32]) -> None:
        """Move the averages towards each image's extremes; the first image sets them."""
        for index, (low, high) in enumerate(zip(lows.tolist(), highs.tolist(), strict=True)):
            share = 1.0 if index == 0 and self.count == 0 else AVERAGE_SHARE
            self.average_minimum += share * (low - self.average_minimum)
            self.average_maximum += share * (high - self.average_maximum)

    def _grow(self, extreme: float) -> None:
        """Double the histogram's range until it covers `extreme`."""
        # Below 2**-100 a tensor counts as constant zero, and the scale of the bins would leave float32.
        if extreme <= 2.0**-100:
            return
        if self.limit == 0.0:
            mantissa, exponent = math.frexp(extreme)
            self.limit = math.ldexp(1.0, exponent - (mantissa == 0.5))
        while self.limit < extreme:
            # A value exactly on an edge stays on one: the edges of the wider bins are edges of the narrower ones.
            merged = self.histogram.reshape(-1, 2).sum(axis=1)
            self.histogram = np.zeros(BINS, np.int64)
            self.histogram[BINS // 4 : BINS // 4 + BINS // 2] = merged
            self.limit *= 2.0

    def quantile(self, fraction: float) -> float:
        """Return the value below which `fraction` of all values lie, to the width of a bin."""
        width = self.limit * 2.0 / BINS
        whole, part = _reached(self.histogram, fraction)
        return min(max(whole * width - self.limit + part * width, self.minimum), self.maximum)

    def magnitude_quantile(self, fraction: float) -> float:
        """Return the magnitude below which `fraction` of all magnitudes lie, to the width of a bin."""
        folded = self.histogram[BINS // 2 :] + self.histogram[: BINS // 2][::-1]
        width = self.limit * 2.0 / BINS
        whole, part = _reached(folded, fraction)
        return min(whole * width + part * width, max(-self.minimum, self.maximum))


def _extremes(
    values: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return all values in the order of memory, and the smallest and the largest of each image."""
    by_position = np.moveaxis(values, 0, -1) if values.ndim else values.reshape(1, 1)
    if by_position.ndim > 1 and by_position.flags.c_contiguous:  # the images innermost, as in `canonical`
        folded, images = by_position.reshape(len(by_position), -1), by_position.shape[-1]
        ends = (end(folded, axis=0).reshape(-1, images) for end in (np.min, np.max))
        lows, highs = (end(found, axis=0) for end, found in zip((np.min, np.max), ends, strict=True))
        return by_position.reshape(-1), lows, highs
    rows = np.ascontiguousarray(values).reshape(len(values), -1)
    return rows.reshape(-1), rows.min(axis=1), rows.max(axis=1)


def _reached(histogram: NDArray[np.int64], fraction: float) -> tuple[int, float]:
    """Return after how many whole bins, and what part of one more, the values reach a share of all."""
    cumulative = np.cumsum(histogram)
    wanted = fraction * cumulative[-1]
    if wanted <= 0:  # reached before the first value: the edge of the first bin in use
        return int(np.argmax(histogram > 0)), 0.0
    place = int(np.searchsorted(cumulative, wanted, side="left"))
    before = cumulative[place] - histogram[place]
    return place, float((wanted - before) / histogram[place])


class Observer(Protocol):
    """A rule that turns statistics into a range; a frozen dataclass of what the rule needs besides."""

    name: ClassVar[str]  # as configs have it

    def find_range(self, statistics: TensorStatistics, symmetric: bool) -> tuple[float, float]:
        """Return (low, high), or (-high, high) for a symmetric range."""
        ...
