"""The numerics contract: how real numbers become int8 or int16, and accumulators int8 or int16 again.

Every other implementation (fake-quant in PyTorch, the ONNX file, each compiled kernel) has to give exactly the
integers of these functions. They are written for clarity in numpy and never import TVM.

A tensor is int8, or int16 where it is *wide*: symmetric, and limited to magnitudes with which no accumulator of a layer
that reads it can leave int32 (`QParams.reach`). Weights are int8 always.

Notation: q integer value, s scale (float32), z zero point, real = s * (q - z). "ties even" is IEEE rint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from repghost.errors import UsageError

INT8_MIN, INT8_MAX = -128, 127
WEIGHT_MAX = 127  # weights are symmetric, so -128 is never used
INT16_MIN, INT16_MAX = -(1 << 15), (1 << 15) - 1
INT32_MAX = (1 << 31) - 1
WIDEST = 1 << 15  # the largest magnitude of a wide tensor

LINEAR_SHIFT = 11  # fractional bits of the weights of a linear interpolation, along each axis
ADD_SHIFT = 12  # fractional bits of the residual sum in `requantize_add`
WIDE_ADD_SHIFT = 4  # fractional bits of a sum with wide tensors in it, in `requantize_wide_add`
Q15_SHIFT = 15  # the multiplier of `requantize_q15` is M / 2**15
Q15_ADD_SHIFT = 5  # fractional bits of the residual sum in `requantize_q15_add`
RESIDUAL_SHIFT = 7  # the residual enters `requantize_q15_add` as r << 7, the most int16 can hold

Real = TypeVar("Real", bound=Any)  # a number, an array or a PyTorch tensor


@dataclass(frozen=True)
class QParams:
    """Scale and zero point of one activation tensor: real = scale * (q - zero_point).

    Attributes:
        scale: float32.
        zero_point: of int8; 0 of int16.
        reach: None for int8. For int16 the largest magnitude of q, up to 2**15: q lies in [-reach, reach], and below
            2**15 at the upper end.
    """

    scale: float
    zero_point: int = 0
    reach: int | None = None

    def __post_init__(self) -> None:
        """Refuse a scale that is zero, negative, subnormal or not finite, and a zero point outside int8."""
        smallest = float(np.finfo(np.float32).tiny)
        if not (np.isfinite(self.scale) and self.scale >= smallest):
            raise UsageError(
                f"a scale must be a finite normal float32 above 0, not {self.scale!r}; the tensor it belongs to is "
                "probably constant or not finite. Check the calibration pictures and the checkpoint."
            )
        if float(np.float32(self.scale)) != self.scale:
            object.__setattr__(self, "scale", float(np.float32(self.scale)))
        if not INT8_MIN <= self.zero_point <= INT8_MAX:
            raise UsageError(f"a zero point must be in [{INT8_MIN}, {INT8_MAX}], not {self.zero_point}.")
        if self.reach is not None and (self.zero_point or not 1 <= self.reach <= WIDEST):
            raise UsageError(
                f"a tensor of 16 bits has zero point 0 and magnitudes up to 1 to {WIDEST}, not {self.zero_point} and "
                f"{self.reach}."
            )

    @property
    def is_wide(self) -> bool:
        """Whether the tensor is int16."""
        return self.reach is not None

    @property
    def element(self) -> str:
        """The type of its integers."""
        return "int8" if self.reach is None else "int16"

    @property
    def low(self) -> int:
        """The smallest integer it holds."""
        return INT8_MIN if self.reach is None else -self.reach

    @property
    def high(self) -> int:
        """The largest integer it holds."""
        return INT8_MAX if self.reach is None else min(self.reach, INT16_MAX)

    @property
    def farthest(self) -> int:
        """The most that an integer is away from the zero point: 255 for int8, whatever the zero point is."""
        return INT8_MAX - INT8_MIN if self.reach is None else self.reach


def quantize(real: NDArray[np.floating], params: QParams) -> NDArray[Any]:
    """Return clamp(rint(real / scale) + zero_point), ties even, computed in float32 as ONNX QuantizeLinear does.

    The clamp is to the integers that the tensor holds, whose type the result has.
    """
    scaled = np.rint(np.asarray(real, np.float32) / np.float32(params.scale))
    return np.clip(scaled + params.zero_point, params.low, params.high).astype(params.element)


def dequantize(q: NDArray[np.integer], params: QParams) -> NDArray[np.float32]:
    """Return scale * (q - zero_point) in float32, as ONNX DequantizeLinear does."""
    return (q.astype(np.int32) - params.zero_point).astype(np.float32) * np.float32(params.scale)


def quantize_weights(real: NDArray[np.floating], scales: NDArray[np.floating]) -> NDArray[np.int8]:
    """Return symmetric int8 weights in [-127, 127]; `scales` has one entry per output channel (axis 0 of `real`)."""
    column = np.asarray(scales, np.float32).reshape((-1,) + (1,) * (real.ndim - 1))
    return np.clip(np.rint(np.asarray(real, np.float32) / column), -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)


def requantize_multiplier(scale_x: float, scales_w: NDArray[np.floating], scale_y: float) -> NDArray[np.float32]:
    """Return m[c] = float32(float64(s_x) * s_w[c] / s_y)."""
    product = np.float64(np.float32(scale_x)) * np.asarray(scales_w, np.float32).astype(np.float64)
    return (product / np.float64(np.float32(scale_y))).astype(np.float32)


def q15_multiplier(
    scale_x: float, scales_w: NDArray[np.floating], scale_y: float, residual: bool
) -> NDArray[np.float64]:
    """Return M[c] = 2**15 * s_x * s_w[c] / s_y, with 2**20 in place of 2**15 before a residual add.

    It is whole, up to the rounding of the float32 scales, where the scales were chosen by `q15_unit`.
    """
    product = np.float64(np.float32(scale_x)) * np.asarray(scales_w, np.float32).astype(np.float64)
    return product * 2.0 ** _q15_fraction_bits(residual) / np.float64(np.float32(scale_y))


def q15_unit(ratio: Real, residual: bool) -> Real:
    """Return the weight scale that M = 1 stands for: s_w = M * s_y / (2**15 * s_x), or 2**20 before a residual add.

    Args:
        ratio: s_y / s_x; the result has its type. Scaling by a power of two does not round.
        residual: whether a residual add is the epilogue.
    """
    return ratio * 2.0 ** -_q15_fraction_bits(residual)


def _q15_fraction_bits(residual: bool) -> int:
    return Q15_SHIFT + (Q15_ADD_SHIFT if residual else 0)


def integer_bias(
    bias: NDArray[np.floating],
    scale_x: float,
    zero_point_x: int,
    scales_w: NDArray[np.floating],
    weight: NDArray[np.int8],
) -> NDArray[np.int64]:
    """Return b'[c] = rint(bias / (s_x * s_w[c])) - z_x * sum(w[c]); int64 so that the caller can prove its range.

    Args:
        bias: float [C].
        scales_w: float32 [C].
        weight: int8 with the output channel on axis 0.
    """
    unit = np.float64(np.float32(scale_x)) * np.asarray(scales_w, np.float32).astype(np.float64)
    total = weight.reshape(weight.shape[0], -1).astype(np.int64).sum(axis=1)
    return np.rint(np.asarray(bias, np.float64) / unit).astype(np.int64) - zero_point_x * total


def accumulator_range(
    weight: NDArray[np.int8], start: NDArray[np.integer], low: int = INT8_MIN, high: int = INT8_MAX
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the exact smallest and largest start[c] + sum(w[c] * x) over every x in [low, high].

    Args:
        weight: int8 with the output channel on axis 0.
        start: integer [C], the value the accumulator starts from.
        low: the smallest integer that is read, at most 0.
        high: the largest, at least 0.
    """
    flat = weight.reshape(weight.shape[0], -1).astype(np.int64)
    positive, negative = np.maximum(flat, 0).sum(axis=1), np.minimum(flat, 0).sum(axis=1)
    start = np.asarray(start, np.int64)
    return start + low * positive + high * negative, start + high * positive + low * negative


def requantize(
    acc: NDArray[np.int32], multiplier: NDArray[np.float32], zero_point: int, low: int, high: int, element: str = "int8"
) -> NDArray[Any]:
    """Return clamp(rint(float32(acc) * m[c]) + z, low, high), ties even; the channel is the last axis of `acc`."""
    scaled = np.rint(acc.astype(np.float32) * multiplier)
    return np.clip(scaled.astype(np.int64) + zero_point, low, high).astype(element)


# The two add formulas keep an argument for each symbol: an implementation is read against them line by line.
def requantize_add(
    acc: NDArray[np.int32],
    multiplier: NDArray[np.float32],
    residual: NDArray[np.integer],
    residual_zero_point: int,
    residual_factor: int,
    zero_point: int,
    low: int,
    high: int,
) -> NDArray[np.int8]:
    """Return clamp(((t + 2048) >> 12) + z) with t = rint(float32(acc) * M[c]) + (r - z_r) * R.

    Args:
        multiplier: float32 [C], M[c] = m[c] * 4096.
        residual_factor: R = rint(4096 * s_r / s_y).
    """
    scaled = np.rint(acc.astype(np.float32) * multiplier).astype(np.int64)
    total = scaled + (residual.astype(np.int64) - residual_zero_point) * residual_factor
    rounded = (total + (1 << (ADD_SHIFT - 1))) >> ADD_SHIFT
    return np.clip(rounded + zero_point, low, high).astype(np.int8)


def requantize_wide_add(
    acc: NDArray[np.integer],
    multiplier: NDArray[np.float32],
    other: NDArray[np.integer],
    other_factor: float,
    zero_point: int,
    low: int,
    high: int,
    element: str,
) -> NDArray[Any]:
    """Return clamp(((t + 8) >> 4) + z) with t = rint(float32(acc) * M[c]) + rint(float32(r) * R), for int16 in a sum.

    A whole number as the factor of r, as in `requantize_add`, would be off by more steps than int8 has: both factors
    are float32. Each product is rounded before the sum, ties even.

    Args:
        acc: int32, of a layer, or q - z of an operand.
        multiplier: float32 [C] or [1], M[c] = m[c] * 16.
        other: the other operand r = q - z.
        other_factor: R = float32(16 * s_r / s_y).
        element: of the result.
    """
    total = np.rint(acc.astype(np.float32) * multiplier).astype(np.int64)
    total += np.rint(other.astype(np.float32) * np.float32(other_factor)).astype(np.int64)
    rounded = (total + (1 << (WIDE_ADD_SHIFT - 1))) >> WIDE_ADD_SHIFT
    return np.clip(rounded + zero_point, low, high).astype(element)


def multiply_q15(value: NDArray[np.integer], factor: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return (value * factor + 2**14) >> 15, ties up: `sqrdmulh` and `vpmulhrsw` for factor in [0, 32767]."""
    product = value.astype(np.int64) * np.asarray(factor, np.int64)
    return (product + (1 << (Q15_SHIFT - 1))) >> Q15_SHIFT


def saturate_int16(value: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the value limited to int16, as `sqadd` and `vpaddsw` leave it."""
    return np.clip(value, INT16_MIN, INT16_MAX)


def requantize_q15(
    acc: NDArray[np.integer], multiplier: NDArray[np.int16], offset: NDArray[np.int16], low: int, high: int
) -> NDArray[np.int8]:
    """Return clamp(((acc16 * M[c] + 2**14) >> 15) + o[c], low, high); `acc` fits int16 for every possible input."""
    return np.clip(saturate_int16(multiply_q15(acc, multiplier) + offset), low, high).astype(np.int8)


def requantize_q15_add(
    acc: NDArray[np.integer],
    multiplier: NDArray[np.int16],
    residual: NDArray[np.integer],
    residual_factor: int,
    offset: NDArray[np.int16],
    low: int,
    high: int,
) -> NDArray[np.int8]:
    """Return clamp((t + 16) >> 5, low, high) with t = sat(sat(q15(acc16, M[c]) + q15(r << 7, R)) + o[c]).

    The sum is kept with five fractional bits; both additions saturate to int16, so their order is part of the contract.

    Args:
        residual_factor: R = rint(2**13 * s_r / s_y), in [0, 32767].
        offset: int16 [C]; holds 32 * z_y, the residual's zero point and what was moved out of the accumulator.
    """
    shifted = residual.astype(np.int64) << RESIDUAL_SHIFT
    total = saturate_int16(multiply_q15(acc, multiplier) + multiply_q15(shifted, np.asarray([residual_factor])))
    total = saturate_int16(total + offset)
    rounded = (total + (1 << (Q15_ADD_SHIFT - 1))) >> Q15_ADD_SHIFT
    return np.clip(rounded, low, high).astype(np.int8)


def linear_taps(places: NDArray[np.float64], size: int) -> NDArray[np.int32]:
    """Return what a linear interpolation reads along one axis, [n, 3]: two neighbouring pixels, the second's weight.

    A place p is limited to [0, size - 1]; the pixels are floor(p) and the next one, or the last one twice, and the
    second weighs w = rint((p - floor(p)) * 2**11), ties even, in 2048ths. The first weighs 2048 - w.

    Args:
        places: where each pixel of the result lies among the pixels of the map.
        size: pixels of the map.
    """
    inside = np.clip(places, 0, size - 1)
    first = np.floor(inside)
    weight = np.rint((inside - first) * (1 << LINEAR_SHIFT))
    return np.stack([first, np.minimum(first + 1, size - 1), weight], axis=1).astype(np.int32)


def interpolate(x: NDArray[np.int8], rows: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the sum of four neighbours times their weights, exactly: acc = sum over i and j of v[i] * w[j] * x[i, j].

    The weights of rows and those of columns add up to 2**11 each, so |acc| <= 128 * 2**22 = 2**29; with the start
    value -z * 2**22 it is at most 255 * 2**22, below 2**30. Whoever sums along the columns first has at most 2**18.

    Args:
        x: int8 [N, H, W, C].
        rows: from `linear_taps`, for each row of the result.
        columns: the same for its columns.
    """
    one = np.int64(1) << LINEAR_SHIFT
    left, right = (x[:, :, columns[:, at]].astype(np.int64) for at in (0, 1))
    across = left * (one - columns[:, 2])[:, None] + right * columns[:, 2].astype(np.int64)[:, None]
    weight = rows[:, 2].astype(np.int64)[:, None, None]
    return (across[:, rows[:, 0]] * (one - weight) + across[:, rows[:, 1]] * weight).astype(np.int32)


def logits(acc: NDArray[np.int32], multiplier: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32(acc) * m[c] with m[c] = s_x * s_w[c]: scores stay float so that classes do not tie in int8."""
    return acc.astype(np.float32) * multiplier
