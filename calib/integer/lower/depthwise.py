"""Depthwise convolutions: int16 accumulators where the scales were planned for them, otherwise int32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.integer.lower.dense import lower_dense
from calib.integer.lower.layer import IntegerLayer, LayerOutput
from calib.integer.qparams import (
    INT8_MAX,
    INT8_MIN,
    INT16_MAX,
    INT16_MIN,
    Q15_ADD_SHIFT,
    Q15_SHIFT,
    RESIDUAL_SHIFT,
    accumulator_range,
    multiply_q15,
    q15_multiplier,
)
from calib.integer.values import (
    Requantize,
    RequantizeAdd,
    RequantizeQ15,
    RequantizeQ15Add,
    RequantizeWideAdd,
    Tensor,
)

M_TOLERANCE = 1e-6  # relative; float32 scales carry an integer M to 6e-8


def lower_depthwise(
    layer: IntegerLayer, output: LayerOutput
) -> tuple[Requantize | RequantizeAdd | RequantizeWideAdd | RequantizeQ15 | RequantizeQ15Add, NDArray[np.int32]]:
    """Return the epilogue and start values of a depthwise convolution: int16 where it is possible, otherwise int32.

    Raises:
        UsageError: when even an int32 accumulator could overflow (see `lower_dense`).
    """
    return lower_q15(layer, output) or lower_dense(layer, output)


def lower_q15(
    layer: IntegerLayer, output: LayerOutput
) -> tuple[RequantizeQ15 | RequantizeQ15Add, NDArray[np.int32]] | None:
    """Return the int16 epilogue of a depthwise convolution and its start values, or None when int16 cannot hold it.

    Args:
        layer: its scales planned by `calib.weight_scales.planning.plan_scales`.
        output: of the convolution, or of the residual add behind it.

    Returns:
        The epilogue and int32 start [C] with |start + sum w x| inside int16 for every x; None when the scales are not
        of the form s_w = M * s_y / (2**15 * s_x), or 2**20 with a residual, when a range does not fit, or when one of
        its tensors is int16.
    """
    y, residual = output.qparams, output.residual
    if layer.input.is_wide or y.is_wide or output.adds_wide:
        return None
    multiplier = _whole_multiplier(q15_multiplier(layer.input.scale, layer.scales, y.scale, residual is not None))
    factor = 0 if residual is None else _residual_factor(residual, y.scale)
    if multiplier is None or factor > INT16_MAX:
        return None
    target = y.zero_point * (1 << (0 if residual is None else Q15_ADD_SHIFT))
    if residual is not None:
        target -= int(np.rint(residual.qparams.zero_point * 2.0**RESIDUAL_SHIFT * factor / 2.0**Q15_SHIFT))
    real_bias = np.asarray(layer.bias, np.float64) / layer.step - layer.input.zero_point * layer.weight_sum
    if not np.all(np.isfinite(real_bias)):
        return None
    start, offset = _centre(layer.weight, real_bias, multiplier.astype(np.float64), target)
    least, most = accumulator_range(layer.weight, start)
    if least.min() < INT16_MIN or most.max() > INT16_MAX:
        return None
    offset16, start32 = offset.astype(np.int16), start.astype(np.int32)
    if residual is None:
        return RequantizeQ15(multiplier, offset16, output.low, output.high), start32
    if not _saturation_is_harmless(least, most, multiplier, factor, offset16):
        return None
    return RequantizeQ15Add(multiplier, offset16, output.low, output.high, residual, factor), start32


def _whole_multiplier(ratio: NDArray[np.float64]) -> NDArray[np.int16] | None:
    """Return the multipliers as integers, None when one is not whole or not in [1, 32767]."""
    multiplier = np.rint(ratio)
    if np.any(np.abs(ratio - multiplier) > M_TOLERANCE * ratio) or multiplier.min() < 1 or multiplier.max() > INT16_MAX:
        return None
    return multiplier.astype(np.int16)


def _residual_factor(residual: Tensor, scale_y: float) -> int:
    """Return R = rint(2**13 * s_r / s_y)."""
    return int(np.rint(2.0 ** (Q15_SHIFT + Q15_ADD_SHIFT - RESIDUAL_SHIFT) * residual.qparams.scale / scale_y))


def _centre(
    weight: NDArray[np.int8], real_bias: NDArray[np.float64], multiplier: NDArray[np.float64], target: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return start values that centre each accumulator's range in int16, and the offsets that undo the shift.

    The wanted value is (sum w x + b') * M / 2**15 + target = (sum w x + start) * M / 2**15 + offset. The offset is an
    integer, so the start takes what its rounding leaves.
    """
    step = multiplier / 2.0**Q15_SHIFT
    least, most = accumulator_range(weight, np.zeros(weight.shape[0], np.int64))
    centred = -(least + most) / 2.0 - 0.5  # int16 reaches one further down than up
    offset = np.clip(np.rint(target + (real_bias - centred) * step), INT16_MIN + 1, INT16_MAX)
    # A bias beyond every int16 is caught by the caller; the clip only keeps the conversion to an integer defined.
    start = np.clip(np.rint(real_bias + (target - offset) / step), -(2.0**40), 2.0**40)
    return start.astype(np.int64), offset.astype(np.int64)


def _saturation_is_harmless(
    least: NDArray[np.int64],
    most: NDArray[np.int64],
    multiplier: NDArray[np.int16],
    residual_factor: int,
    offset: NDArray[np.int16],
) -> bool:
    """Return whether the first saturating add can only saturate where the output is clamped to int8 anyway."""
    factor = np.asarray([residual_factor])
    top = multiply_q15(most, multiplier) + multiply_q15(np.asarray([INT8_MAX << RESIDUAL_SHIFT]), factor)
    bottom = multiply_q15(least, multiplier) + multiply_q15(np.asarray([INT8_MIN << RESIDUAL_SHIFT]), factor)
    one = 1 << Q15_ADD_SHIFT
    clamped_above = offset.astype(np.int64) + INT16_MAX >= INT8_MAX * one + one // 2
    clamped_below = offset.astype(np.int64) + INT16_MIN < INT8_MIN * one + one // 2
    return bool(np.all((top <= INT16_MAX) | clamped_above) and np.all((bottom >= INT16_MIN) | clamped_below))
