"""Operators without weights: average pools, sums and products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.integer.lower.dense import wide_factor
from calib.integer.qparams import ADD_SHIFT, INT8_MAX, INT8_MIN, INT32_MAX, LINEAR_SHIFT, WIDE_ADD_SHIFT, QParams
from calib.integer.values import Requantize


def lower_pool(
    taps: int,
    x: QParams,
    y: QParams,
    low: int | None = None,
    high: int | None = None,
    counts: NDArray[np.integer] | None = None,
) -> tuple[int, Requantize]:
    """Return the bias -taps * z_x of an average pool and its epilogue with m = s_x / (s_y * count).

    Args:
        taps: pixels of a window; those beyond the map hold the zero point.
        low: smallest integer after clamping; the least that y holds where it is not given.
        high: largest integer after clamping.
        counts: of how many pixels each result is the mean [H, W], for windows that do not all lie on the map.
    """
    pixels = np.asarray([taps]) if counts is None else counts[..., None]
    pixels = pixels.reshape(-1)[:1] if pixels.min() == pixels.max() else pixels
    multiplier = (np.float64(x.scale) / (np.float64(y.scale) * pixels)).astype(np.float32)
    bounds = y.low if low is None else low, y.high if high is None else high
    return -taps * x.zero_point, Requantize(multiplier, y.zero_point, *bounds)


def lower_linear(x: QParams, y: QParams, low: int = INT8_MIN, high: int = INT8_MAX) -> tuple[int, Requantize]:
    """Return the bias -2**22 * z_x of a linear interpolation and its epilogue with m = s_x / (s_y * 2**22)."""
    return lower_pool(1 << 2 * LINEAR_SHIFT, x, y, low, high)


def lower_multiply(x: QParams, gate: QParams, y: QParams, low: int = INT8_MIN, high: int = INT8_MAX) -> Requantize:
    """Return the epilogue of the gate multiply, m = s_x * s_g / s_y."""
    multiplier = np.float32(np.float64(x.scale) * np.float64(gate.scale) / np.float64(y.scale))
    return Requantize(np.asarray([multiplier]), y.zero_point, low, high)


def lower_slopes(
    slopes: NDArray[np.floating], x: QParams, y: QParams, low: int = INT8_MIN, high: int = INT8_MAX
) -> tuple[NDArray[np.float32], Requantize]:
    """Return slope[c] * s_x / s_y, for integers below the zero point, and the epilogue of the others, m = s_x / s_y.

    A product that is not a normal float32 moves no integer by half a step, so it becomes 0.

    Args:
        slopes: real numbers [C].
    """
    ratio = np.float64(x.scale) / np.float64(y.scale)
    products = np.asarray(slopes, np.float64) * ratio
    below = np.where(np.abs(products) < np.finfo(np.float32).tiny, 0, products)
    return below.astype(np.float32), Requantize(np.asarray([ratio], np.float32), y.zero_point, low, high)


LARGEST_RATIO = INT32_MAX // 255 >> ADD_SHIFT  # of an input's scale to that of a sum


def lower_add(a: QParams, b: QParams, y: QParams) -> tuple[int, int] | None:
    """Return rint(4096 * s_a / s_y) and rint(4096 * s_b / s_y), the factors of a sum; None if it could leave int32."""
    # In the double precision of Python's floats; `round` rounds ties to even.
    first, second = (round((1 << ADD_SHIFT) * params.scale / y.scale) for params in (a, b))
    return None if 255 * (first + second) + (1 << ADD_SHIFT) > INT32_MAX else (first, second)


def lower_wide_add(a: QParams, b: QParams, y: QParams) -> tuple[float, float] | None:
    """Return float32(16 * s_a / s_y) and float32(16 * s_b / s_y), for int16 in a sum; None if it could leave int32."""
    first, second = wide_factor(a, y), wide_factor(b, y)
    reach = (a.farthest * first + b.farthest * second) * (1 + 2.0**-22) + (1 << WIDE_ADD_SHIFT)
    return (first, second) if reach < INT32_MAX else None


def lower_rescale(x: QParams, y: QParams) -> Requantize:
    """Return the epilogue that brings a tensor to another scale, m = s_x / s_y."""
    multiplier = np.float32(np.float64(x.scale) / np.float64(y.scale))
    return Requantize(np.asarray([multiplier]), y.zero_point, y.low, y.high)
