"""From the scales of a QDQ graph to the integers of the program: biases, multipliers, offsets, tables.

The passes in `compile` and the exact fake-quant in `calib.fakequant` call the same functions, so they cannot disagree.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.program import Requantize, RequantizeAdd, RequantizeQ15, RequantizeQ15Add, Tensor, ToLogits
from calib.qparams import (
    ADD_SHIFT,
    INT8_MAX,
    INT8_MIN,
    INT16_MAX,
    INT16_MIN,
    INT32_MAX,
    Q15_ADD_SHIFT,
    Q15_SHIFT,
    RESIDUAL_SHIFT,
    QParams,
    accumulator_range,
    dequantize,
    integer_bias,
    multiply_q15,
    quantize,
    requantize_multiplier,
)
from repghost.errors import UsageError

M_TOLERANCE = 1e-6  # relative; float32 scales carry an integer M to 6e-8


def lower_q15(
    weight: NDArray[np.int8],
    bias: NDArray[np.floating],
    scale_x: float,
    zero_point_x: int,
    scales_w: NDArray[np.floating],
    scale_y: float,
    zero_point_y: int,
    low: int,
    high: int,
    residual: Tensor | None = None,
) -> tuple[RequantizeQ15 | RequantizeQ15Add, NDArray[np.int32]] | None:
    """Return the int16 epilogue of a depthwise convolution and its start values, or None when int16 cannot hold it.

    Args:
        weight: int8 [C, kh, kw].
        bias: float [C].
        scales_w: float32 [C], planned by `calib.q15.plan_scales`.
        scale_y: scale of the output; of the residual add's output when there is a residual.
        residual: the tensor added after the convolution.

    Returns:
        The epilogue and int32 start [C] with |start + sum w x| inside int16 for every x; None when the scales are not
        of the form s_w = M * s_y / (2**15 * s_x), or 2**20 with a residual, or when a range does not fit.
    """
    unit = _accumulator_step(scale_x, scales_w)
    fraction_bits = 0 if residual is None else Q15_ADD_SHIFT
    multiplier = _whole_multiplier(unit * 2.0 ** (Q15_SHIFT + fraction_bits) / np.float64(np.float32(scale_y)))
    factor = 0 if residual is None else _residual_factor_q15(residual, scale_y)
    if multiplier is None or factor > INT16_MAX:
        return None
    target = zero_point_y * (1 << fraction_bits)
    if residual is not None:
        target -= int(np.rint(residual.qparams.zero_point * 2.0**RESIDUAL_SHIFT * factor / 2.0**Q15_SHIFT))
    real_bias = np.asarray(bias, np.float64) / unit - zero_point_x * _weight_sum(weight)
    if not np.all(np.isfinite(real_bias)):
        return None
    start, offset = _centre(weight, real_bias, multiplier.astype(np.float64), target)
    least, most = accumulator_range(weight, start)
    if least.min() < INT16_MIN or most.max() > INT16_MAX:
        return None
    offset16, start32 = offset.astype(np.int16), start.astype(np.int32)
    if residual is None:
        return RequantizeQ15(multiplier, offset16, low, high), start32
    if not _saturation_is_harmless(least, most, multiplier, factor, offset16):
        return None
    return RequantizeQ15Add(multiplier, offset16, low, high, residual, factor), start32


def _accumulator_step(scale_x: float, scales_w: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return what one unit of each channel's accumulator is worth, s_x * s_w[c]."""
    return np.float64(np.float32(scale_x)) * np.asarray(scales_w, np.float32).astype(np.float64)


def _whole_multiplier(ratio: NDArray[np.float64]) -> NDArray[np.int16] | None:
    """Return the multipliers as integers, None when one is not whole or not in [1, 32767]."""
    multiplier = np.rint(ratio)
    if np.any(np.abs(ratio - multiplier) > M_TOLERANCE * ratio) or multiplier.min() < 1 or multiplier.max() > INT16_MAX:
        return None
    return multiplier.astype(np.int16)


def _residual_factor_q15(residual: Tensor, scale_y: float) -> int:
    """Return R = rint(2**13 * s_r / s_y)."""
    return int(np.rint(2.0 ** (Q15_SHIFT + Q15_ADD_SHIFT - RESIDUAL_SHIFT) * residual.qparams.scale / scale_y))


def _weight_sum(weight: NDArray[np.int8]) -> NDArray[np.int64]:
    return weight.reshape(weight.shape[0], -1).astype(np.int64).sum(axis=1)


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


def lower_dense(
    layer: str,
    weight: NDArray[np.int8],
    bias: NDArray[np.floating],
    scale_x: float,
    zero_point_x: int,
    scales_w: NDArray[np.floating],
    scale_y: float,
    zero_point_y: int,
    low: int,
    high: int,
    residual: Tensor | None = None,
) -> tuple[Requantize | RequantizeAdd, NDArray[np.int32]]:
    """Return the epilogue of an int32 accumulator and its bias b'; for any convolution, depthwise ones included.

    Args:
        layer: its name, for messages.
        weight: int8 with the output channel on axis 0.
        bias: float [O].
        scales_w: float32 [O].
        scale_y: scale of the output; of the residual add's output when there is a residual.
        residual: the tensor added after the convolution.

    Raises:
        UsageError: when the accumulator could leave int32, or its requantized value the range of a conversion.
    """
    bias32 = _checked_bias(layer, weight, bias, scale_x, zero_point_x, scales_w)
    multiplier = requantize_multiplier(scale_x, scales_w, scale_y)
    _check_multiplier(layer, multiplier)
    margin = -INT8_MIN  # the zero point is added in int32
    factor = 0
    if residual is not None:
        # Scaling by a power of two is exact in float32.
        with np.errstate(over="ignore"):
            multiplier = (multiplier * np.float32(1 << ADD_SHIFT)).astype(np.float32)
        _check_multiplier(layer, multiplier)  # again: 0 times infinity would pass the check of the reach below
        factor = int(np.rint((1 << ADD_SHIFT) * residual.qparams.scale / scale_y))
        margin = 255 * factor + (1 << (ADD_SHIFT - 1))
    largest = np.abs(np.stack(accumulator_range(weight, bias32))).max(axis=0)
    # One more part in 2**23 covers the two float32 roundings.
    reach = largest * multiplier.astype(np.float64) * (1 + 2.0**-23) + margin
    if reach.max() >= INT32_MAX:
        raise UsageError(
            f"layer {layer!r}: channel {int(reach.argmax())} could reach {reach.max():.3g} steps of its output before "
            f"clamping; {INT32_MAX} is the limit. Its bias or weights are far larger than its calibrated range; "
            "check the checkpoint or calibrate with pictures like those the network will see."
        )
    if residual is None:
        return Requantize(multiplier, zero_point_y, low, high), bias32
    return RequantizeAdd(multiplier, zero_point_y, low, high, residual, factor), bias32


def lower_depthwise(
    layer: str,
    weight: NDArray[np.int8],
    bias: NDArray[np.floating],
    scale_x: float,
    zero_point_x: int,
    scales_w: NDArray[np.floating],
    scale_y: float,
    zero_point_y: int,
    low: int,
    high: int,
    residual: Tensor | None = None,
) -> tuple[Requantize | RequantizeAdd | RequantizeQ15 | RequantizeQ15Add, NDArray[np.int32]]:
    """Return the epilogue and start values of a depthwise convolution: int16 where it is possible, otherwise int32.

    Arguments and errors are those of `lower_q15` and `lower_dense`.
    """
    shared = (weight, bias, scale_x, zero_point_x, scales_w, scale_y, zero_point_y, low, high, residual)
    lowered = lower_q15(*shared)
    return lower_dense(layer, *shared) if lowered is None else lowered


def lower_logits(
    layer: str,
    weight: NDArray[np.int8],
    bias: NDArray[np.floating],
    scale_x: float,
    zero_point_x: int,
    scales_w: NDArray[np.floating],
) -> tuple[ToLogits, NDArray[np.int32]]:
    """Return the epilogue of the classifier, m[c] = float32(s_x * s_w[c]), and its bias b' (see `lower_dense`)."""
    bias32 = _checked_bias(layer, weight, bias, scale_x, zero_point_x, scales_w)
    multiplier = requantize_multiplier(scale_x, scales_w, 1.0)
    _check_multiplier(layer, multiplier)
    return ToLogits(multiplier), bias32


def _checked_bias(
    layer: str,
    weight: NDArray[np.int8],
    bias: NDArray[np.floating],
    scale_x: float,
    zero_point_x: int,
    scales_w: NDArray[np.floating],
) -> NDArray[np.int32]:
    """Return b' as int32, proven to keep the accumulator inside int32 for every input."""
    unit = _accumulator_step(scale_x, scales_w)
    bias_steps = np.abs(np.asarray(bias, np.float64)) / unit
    channel = int(bias_steps.argmax())
    if bias_steps[channel] < 2.0**31:
        start = integer_bias(bias, scale_x, zero_point_x, scales_w, weight)
        least, most = accumulator_range(weight, start)
        reach = np.maximum(-least, most)
        channel = int(reach.argmax())
        # Every partial sum lies within this range too: each product can be 0 or of either sign.
        if reach[channel] <= INT32_MAX:
            return start.astype(np.int32)
    value = float(np.asarray(bias)[channel])
    raise UsageError(
        f"layer {layer!r}: the accumulator of channel {channel} could leave int32; its bias is {value:.3g} and one "
        f"step of the accumulator {unit[channel]:.3g}. A weight scale of {abs(value) / (scale_x * 2.0**28):.3g} "
        "or more would fit; quantize the checkpoint again with this version, which plans such scales."
    )


def _check_multiplier(layer: str, multiplier: NDArray[np.float32]) -> None:
    smallest = float(np.finfo(np.float32).tiny)
    if not (np.all(np.isfinite(multiplier)) and multiplier.min() >= smallest):
        wrong = float(
            multiplier[~np.isfinite(multiplier)][0] if not np.all(np.isfinite(multiplier)) else multiplier.min()
        )
        raise UsageError(
            f"layer {layer!r}: a requantization factor is {wrong:.3g}; a normal float32 is at least {smallest:.3g} and "
            "finite. Its weight scales and the scale of its output do not fit; quantize the checkpoint again."
        )


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
