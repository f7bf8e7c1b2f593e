"""Operators without weights: the average pool, the gate's product, functions as tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import INT8_MAX, INT8_MIN, QParams, dequantize, quantize
from calib.integer.values import Requantize


def lower_pool(count: int, x: QParams, y: QParams, low: int = INT8_MIN, high: int = INT8_MAX) -> tuple[int, Requantize]:
    """Return the bias -count * z_x of a global average pool and its epilogue with m = s_x / (s_y * count)."""
    multiplier = np.float32(np.float64(x.scale) / (np.float64(y.scale) * count))
    return -count * x.zero_point, Requantize(np.asarray([multiplier]), y.zero_point, low, high)


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


def hard_sigmoid_table(x: QParams, y: QParams, alpha: float = 1 / 6, beta: float = 0.5) -> NDArray[np.int8]:
    """Return int8 [256], table[q + 128] = quantize(clip(alpha * dequantize(q) + beta, 0, 1)), in float32 like ONNX."""
    real = dequantize(np.arange(INT8_MIN, INT8_MAX + 1).astype(np.int8), x)
    gate = np.clip(np.float32(alpha) * real + np.float32(beta), np.float32(0), np.float32(1))
    return quantize(gate.astype(np.float32), y)
