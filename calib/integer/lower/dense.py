"""int32 accumulators: bias and epilogue of any convolution and of the classifier, proven not to overflow."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from calib.integer.lower.layer import IntegerLayer, LayerOutput
from calib.integer.qparams import (
    ADD_SHIFT,
    INT8_MIN,
    INT32_MAX,
    WIDE_ADD_SHIFT,
    QParams,
    accumulator_range,
    integer_bias,
    requantize_multiplier,
)
from calib.integer.values import Requantize, RequantizeAdd, RequantizeWideAdd, ToLogits
from repghost.errors import UsageError


def lower_dense(
    layer: IntegerLayer, output: LayerOutput
) -> tuple[Requantize | RequantizeAdd | RequantizeWideAdd, NDArray[np.int32]]:
    """Return the epilogue of an int32 accumulator and its bias b'; for any convolution, depthwise ones included.

    Raises:
        UsageError: when the accumulator could leave int32, or its requantized value the range of a conversion.
    """
    bias, y, residual = _integer_bias(layer), output.qparams, output.residual
    multiplier = _multiplier(layer, y.scale)
    if residual is None:
        _check_reach(layer, bias, multiplier, added=-INT8_MIN)  # the zero point is added in int32
        return Requantize(multiplier, y.zero_point, output.low, output.high), bias
    # Scaling by a power of two is exact in float32.
    shift = WIDE_ADD_SHIFT if output.adds_wide else ADD_SHIFT
    with np.errstate(over="ignore"):
        multiplier = (multiplier * np.float32(1 << shift)).astype(np.float32)
    _check_multiplier(layer, multiplier)  # again: 0 times infinity would pass the check of the reach below
    if output.adds_wide:
        ratio = wide_factor(residual.qparams, y)
        _check_reach(layer, bias, multiplier, added=math.ceil(residual.qparams.farthest * ratio) + (1 << (shift - 1)))
        return RequantizeWideAdd(multiplier, y.zero_point, output.low, output.high, residual, ratio), bias
    factor = int(np.rint((1 << ADD_SHIFT) * residual.qparams.scale / y.scale))
    _check_reach(layer, bias, multiplier, added=255 * factor + (1 << (ADD_SHIFT - 1)))
    return RequantizeAdd(multiplier, y.zero_point, output.low, output.high, residual, factor), bias


def lower_logits(layer: IntegerLayer) -> tuple[ToLogits, NDArray[np.int32]]:
    """Return the epilogue of the classifier, m[c] = float32(s_x * s_w[c]), and its bias b'.

    Raises:
        UsageError: when the accumulator could leave int32.
    """
    bias = _integer_bias(layer)
    return ToLogits(_multiplier(layer, 1.0)), bias


def wide_factor(operand: QParams, y: QParams) -> float:
    """Return float32(16 * s / s_y), the factor of an operand of a sum with int16 in it (`requantize_wide_add`)."""
    return float(np.float32((1 << WIDE_ADD_SHIFT) * operand.scale / y.scale))


def _integer_bias(layer: IntegerLayer) -> NDArray[np.int32]:
    """Return b' as int32, proven to keep the accumulator inside int32 for every input."""
    step = layer.step
    bias_steps = np.abs(np.asarray(layer.bias, np.float64)) / step
    channel = int(bias_steps.argmax())
    if bias_steps[channel] < 2.0**31:
        start = integer_bias(layer.bias, layer.input.scale, layer.input.zero_point, layer.scales, layer.weight)
        least, most = accumulator_range(layer.weight, start, layer.input.low, layer.input.high)
        reach = np.maximum(-least, most)
        channel = int(reach.argmax())
        # Every partial sum lies within this range too: each product can be 0 or of either sign.
        if reach[channel] <= INT32_MAX:
            return start.astype(np.int32)
    value = float(np.asarray(layer.bias)[channel])
    raise UsageError(
        f"layer {layer.name!r}: the accumulator of channel {channel} could leave int32; its bias is {value:.3g} and "
        f"one step of the accumulator {step[channel]:.3g}. A weight scale of "
        f"{abs(value) / (layer.input.scale * 2.0**28):.3g} or more would fit. Quantize the network again with such a "
        "scale, or remove a channel whose weights are near 0; 'repghost quantize' plans scales that fit."
    )


def _multiplier(layer: IntegerLayer, scale_y: float) -> NDArray[np.float32]:
    multiplier = requantize_multiplier(layer.input.scale, layer.scales, scale_y)
    _check_multiplier(layer, multiplier)
    return multiplier


def _check_multiplier(layer: IntegerLayer, multiplier: NDArray[np.float32]) -> None:
    """Refuse a multiplier that is infinite, not a number, or too small for a normal float32."""
    smallest, finite = float(np.finfo(np.float32).tiny), np.isfinite(multiplier)
    if finite.all() and multiplier.min() >= smallest:
        return
    wrong = float(multiplier.min() if finite.all() else multiplier[~finite][0])
    raise UsageError(
        f"layer {layer.name!r}: a requantization factor is {wrong:.3g}; a normal float32 is at least {smallest:.3g} "
        "and finite. Its weight scales and the scale of its output do not fit; quantize it again, with pictures like "
        "those it will see."
    )


def _check_reach(layer: IntegerLayer, bias: NDArray[np.int32], multiplier: NDArray[np.float32], added: int) -> None:
    """Refuse a layer whose requantized value, with what is added to it, could leave int32 before the clamp.

    Args:
        added: the most that the zero point, or the residual and its rounding, adds to the product.
    """
    bounds = layer.input.low, layer.input.high
    largest = np.abs(np.stack(accumulator_range(layer.weight, bias, *bounds))).max(axis=0)
    # One more part in 2**23 covers the two float32 roundings.
    reach = largest * multiplier.astype(np.float64) * (1 + 2.0**-23) + added
    if reach.max() >= INT32_MAX:
        raise UsageError(
            f"layer {layer.name!r}: channel {int(reach.argmax())} could reach {reach.max():.3g} steps of its output "
            f"before clamping; {INT32_MAX} is the limit. Its bias or weights are far larger than its calibrated range; "
            "check the weights or calibrate with pictures like those the network will see."
        )
