"""Operators without weights: the average pool, the gate's product, functions as tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.integer.program import Requantize
from calib.integer.qparams import INT8_MAX, INT8_MIN, QParams, dequantize, quantize


def lower_pool(count: int, x: QParams, y: QParams, low: int = INT8_MIN, high: int = INT8_MAX) -> tuple[int, Requantize]:
    """Return the bias -count * z_x of a global average pool and its epilogue with m = s_x / (s_y * count)."""
    multiplier = np.float32(np.float64(x.scale) / (np.float64(y.scale) * count))
    return -count * x.zero_point, Requantize(np.asarray([multiplier]), y.zero_point, low, high)


def lower_multiply(x: QParams, gate: QParams, y: QParams, low: int = INT8_MIN, high: int = INT8_MAX) -> Requantize:
    """Return the epilogue of the gate multiply, m = s_x * s_g / s_y."""
    multiplier = np.float32(np.float64(x.scale) * np.float64(gate.scale) / np.float64(y.scale))
    return Requantize(np.asarray([multiplier]), y.zero_point, low, high)


def hard_sigmoid_table(x: QParams, y: QParams, alpha: float = 1 / 6, beta: float = 0.5) -> NDArray[np.int8]:
    """Return int8 [256], table[q + 128] = quantize(clip(alpha * dequantize(q) + beta, 0, 1)), in float32 like ONNX."""
    real = dequantize(np.arange(INT8_MIN, INT8_MAX + 1).astype(np.int8), x)
    gate = np.clip(np.float32(alpha) * real + np.float32(beta), np.float32(0), np.float32(1))
    return quantize(gate.astype(np.float32), y)
