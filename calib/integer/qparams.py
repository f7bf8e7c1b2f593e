"""The numerics contract: how real numbers become int8, and accumulators int8 again.

Every other implementation (fake-quant in PyTorch, the ONNX file, each compiled kernel) has to give exactly the
integers of these functions. They are written for clarity in numpy and never import TVM.

Notation: q int8 value, s scale (float32), z zero point, real = s * (q - z). "ties even" is IEEE rint.
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

LINEAR_SHIFT = 11  # fractional bits of the weights of a linear interpolation, along each axis
ADD_SHIFT = 12  # fractional bits of the residual sum in `requantize_add`
Q15_SHIFT = 15  # the multiplier of `requantize_q15` is M / 2**15
Q15_ADD_SHIFT = 5  # fractional bits of the residual sum in `requantize_q15_add`
RESIDUAL_SHIFT = 7  # the residual enters `requantize_q15_add` as r << 7, the most int16 can hold

Real = TypeVar("Real", bound=Any)  # a number, an array or a PyTorch tensor


@dataclass(frozen=True)
class QParams:
    """Scale and zero point of one int8 activation tensor: real = scale * (q - zero_point)."""

    scale: float
    zero_point: int = 0

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


def quantize(real: NDArray[np.floating], params: QParams) -> NDArray[np.int8]:
    """Return clamp(rint(real / scale) + zero_point), ties even, computed in float32 as ONNX QuantizeLinear does."""
    scaled = np.rint(np.asarray(real, np.float32) / np.float32(params.scale))
    return np.clip(scaled + params.zero_point, INT8_MIN, INT8_MAX).astype(np.int8)


def dequantize(q: NDArray[np.int8], params: QParams) -> NDArray[np.float32]:
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
    weight: NDArray[np.int8], start: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the exact smallest and largest start[c] + sum(w[c] * x) over every x in [-128, 127].

    Args:
        weight: int8 with the output channel on axis 0.
        start: integer [C], the value the accumulator starts from.
    """
    flat = weight.reshape(weight.shape[0], -1).astype(np.int64)
    positive, negative = np.maximum(flat, 0).sum(axis=1), np.minimum(flat, 0).sum(axis=1)
    start = np.asarray(start, np.int64)
    return start + INT8_MIN * positive + INT8_MAX * negative, start + INT8_MAX * positive + INT8_MIN * negative


def requantize(
    acc: NDArray[np.int32], multiplier: NDArray[np.float32], zero_point: int, low: int, high: int
) -> NDArray[np.int8]:
    """Return clamp(rint(float32(acc) * m[c]) + z, low, high), ties even; the channel is the last axis of `acc`."""
    scaled = np.rint(acc.astype(np.float32) * multiplier)
    return np.clip(scaled.astype(np.int64) + zero_point, low, high).astype(np.int8)


# The two add formulas keep an argument for each symbol: an implementation is read against them line by line.
def requantize_add(
    acc: NDArray[np.int32],
    multiplier: NDArray[np.float32],
    residual: NDArray[np.int8],
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
    residual: NDArray[np.int8],
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
