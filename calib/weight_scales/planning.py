"""Weight scales planned for the kernels: int16 accumulators for depthwise convolutions, int32 for the others.

For int16 the integer multiplier M comes first and the scale follows from it (`calib.integer.qparams.q15_unit`), so the
QDQ file, which only has scales, says exactly what the integer kernel does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import (
    ADD_SHIFT,
    INT16_MAX,
    INT32_MAX,
    Q15_SHIFT,
    WEIGHT_MAX,
    WIDEST,
    q15_unit,
    quantize_weights,
)

INT16_WIDTH = (1 << 16) - 1
INPUT_WIDTH = 255  # x lies in [-128, 127], so sum(w * x) spreads over 255 * sum(|w|)
# Multipliers tried per channel, around the smallest that should fit. Below 1 the largest weight is clipped to 127;
# above, rounding upwards has made the sum of the weights too large for the smaller ones.
TRIED = np.linspace(0.94, 1.3, 37)
# (v * r + m**2) / (v * (1 - r)) of `weight_error`: about 3 for v = m**2, as behind a ReLU, and r = 0.5. Measured on
# trained networks, 3 brings int16 accumulators level with int32 ones; 0 costs 0.5 to 1 dB.
SUM_SHARE = 3.0
# Of the weights' own `weight_error`. A channel whose input is always 0 in training ends up with enormous weights: its
# batch norm divides by a variance near 0. M would leave int16, and at the largest M they are clipped by so much.
LARGEST_ERROR = 0.02
CLIPPED = np.linspace(1.0, 0.5, 51)  # shares of the scale that clips no weight
BIAS_LIMIT = 2.0**28  # of an int32 accumulator, the share a bias may take
REACH = 2.0**29  # steps of its output that an int32 accumulator may reach, besides its bias; an add counts fractions
SMALLEST_MULTIPLIER = 2.0**-32  # a finer weight scale cannot move the output by one of its steps


def plan_scales(
    weight: NDArray[np.float32], scale_x: float, scale_y: float, residual: bool
) -> NDArray[np.float32] | None:
    """Return per-channel weight scales that `calib.integer.lower.lower_q15` can use, or None when a channel has none.

    Among the multipliers whose int8 weights keep the accumulator inside int16 for every input, each channel gets the
    one with the smallest error by `weight_error`.

    Args:
        weight: float32 [C, kh, kw].
        scale_x: scale of the input.
        scale_y: scale of the output; of the add's output with a residual.
        residual: whether a residual add is the epilogue.

    Returns:
        float32 [C].
    """
    unit = q15_unit(np.float64(np.float32(scale_y)) / np.float64(np.float32(scale_x)), residual)
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    multipliers = _candidates(flat, unit)
    allowed = LARGEST_ERROR * weight_error(flat) + np.finfo(np.float64).tiny
    best_error = np.full(len(flat), np.inf)
    best_scale = np.zeros(len(flat), np.float32)
    for column in multipliers.T:
        scales = (column * unit).astype(np.float32)
        if not np.all(np.isfinite(scales) & (scales >= np.finfo(np.float32).tiny)):
            continue
        quantized = quantize_weights(weight, scales).reshape(flat.shape).astype(np.float64)
        error = weight_error(quantized * scales[:, None].astype(np.float64) - flat)
        width = INPUT_WIDTH * np.abs(quantized).sum(axis=1) + _offset_step(column)
        better = (width <= INT16_WIDTH) & (error < best_error) & (error <= allowed)
        best_error = np.where(better, error, best_error)
        best_scale = np.where(better, scales, best_scale)
    return best_scale if np.all(np.isfinite(best_error)) else None


def weight_error(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance, without unit, that weight errors `difference` [C, K] cause in the output, float64 [C].

    For inputs of mean m and variance v whose neighbours correlate by r, the output is off by
    v * (1 - r) * sum(d**2) + (v * r + m**2) * sum(d)**2 on average.
    """
    return np.square(difference).sum(axis=1) + SUM_SHARE * np.square(difference.sum(axis=1))


def _offset_step(multiplier: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far the accumulator's start can be from the wanted one, because the offset is an integer."""
    return np.ceil(2.0**Q15_SHIFT / multiplier)


def largest_sums(multiplier: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the most that each channel's int8 magnitudes may sum to, so that its accumulator stays inside int16.

    Args:
        multiplier: whole numbers M, float64 [C].

    Returns:
        float32 [C], whole numbers.
    """
    return np.floor((INT16_WIDTH - _offset_step(multiplier)) / INPUT_WIDTH).astype(np.float32)


def _candidates(flat: NDArray[np.float64], unit: float) -> NDArray[np.float64]:
    """Return the multipliers to try, [C, K], whole numbers from 1 to just above the smallest that should fit."""
    largest, total = np.abs(flat).max(axis=1), np.abs(flat).sum(axis=1)
    smallest = np.maximum(largest / WEIGHT_MAX, total * INPUT_WIDTH / INT16_WIDTH) / unit
    # A small M makes the offset coarse and leaves less of int16 to the weights.
    room = INT16_WIDTH - _offset_step(np.maximum(np.ceil(smallest), 1.0))
    smallest = np.maximum(smallest, total * INPUT_WIDTH / np.maximum(room, 1.0) / unit)
    near = np.ceil(smallest[:, None] * TRIED[None, :])
    small = np.floor(smallest)[:, None] + np.arange(5)[None, :]
    return np.clip(np.concatenate([near, small], axis=1), 1.0, INT16_MAX)


def plan_dense_scales(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    scale_x: float,
    scale_y: float,
    weight_range: str = "min_max",
    residual: bool = False,
    width: int = INPUT_WIDTH,
    add_shift: int = ADD_SHIFT,
) -> NDArray[np.float32]:
    """Return per-channel weight scales for int32 accumulators.

    A channel with tiny weights gets a coarser scale, so that its bias fits int32 and its multiplier stays a normal
    float32; a dead channel then simply has weights 0. Weights so large that the accumulator's value could leave int32,
    as behind a channel that is always 0, are clipped: they saturate the output still.

    Args:
        weight: float32, output channel on axis 0.
        bias: float32 [O].
        scale_x: scale of the input.
        scale_y: scale of the output; 1 for logits.
        weight_range: min_max makes the largest weight 127, mse takes the scale with the least square error.
        residual: whether a residual add is the epilogue.
        width: how far an integer that is read can be from its zero point (`QParams.farthest`).
        add_shift: fractional bits of that add.

    Returns:
        float32 [O].
    """
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    wanted = natural_scales(weight, weight_range)
    reach = REACH / (1 << add_shift if residual else 1) * scale_y / scale_x / width
    wanted = np.where(np.abs(flat).sum(axis=1) > reach, np.minimum(wanted, reach / flat.shape[1] / WEIGHT_MAX), wanted)
    for_bias = np.abs(bias.astype(np.float64)) / (scale_x * BIAS_LIMIT)
    smallest = max(SMALLEST_MULTIPLIER * scale_y / scale_x, float(np.finfo(np.float32).tiny))
    return np.maximum(np.maximum(wanted, for_bias), smallest).astype(np.float32)


def natural_scales(weight: NDArray[np.float32], weight_range: str) -> NDArray[np.float64]:
    """Return the weight scales, float64 [O], that nothing but the weights decides (see `plan_dense_scales`)."""
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    largest = np.abs(flat).max(axis=1) / WEIGHT_MAX
    return least_square_scales(flat, largest) if weight_range == "mse" else largest


def plan_reach(weight: NDArray[np.float32], weight_range: str, clipped: bool = False) -> int:
    """Return how far int16 activations may reach before a layer of int32 accumulators (`QParams.reach`).

    No sum leaves int32 whatever is read: |sum(w * x) + b| <= reach * sum(|w|) + 2**28. A layer whose magnitudes sum to
    more than 2**31 * 7 / 8 / 2**15 = 57344 in a channel costs the first bit, one of 2048 * 57344 would leave 4.

    Args:
        weight: float32, output channel on axis 0.
        weight_range: see `plan_dense_scales`.
        clipped: whether the scales are finer than those that the weights ask for, so that any weight may be 127.
    """
    if clipped:
        largest = WEIGHT_MAX * weight[0].size
    else:
        scales = np.maximum(natural_scales(weight, weight_range), np.finfo(np.float32).tiny)
        steps = quantize_weights(weight, scales.astype(np.float32)).reshape(len(weight), -1)
        largest = int(np.abs(steps.astype(np.int64)).sum(axis=1).max())
    return int(max(1, min(WIDEST, (INT32_MAX - BIAS_LIMIT) // max(largest, 1))))


def least_square_scales(flat: NDArray[np.float64], largest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scales, shares of those that clip nothing, with the least square error of the int8 weights.

    Args:
        flat: float64 [O, K].
        largest: float64 [O], the scales at which the largest weight is 127.
    """
    best_error = np.full(len(flat), np.inf)
    best = largest.copy()
    for share in CLIPPED:
        scales = np.maximum(share * largest, float(np.finfo(np.float32).tiny))
        column = scales[:, None]
        steps = np.clip(np.rint(flat / column), -WEIGHT_MAX, WEIGHT_MAX)
        error = np.square(steps * column - flat).sum(axis=1)
        best = np.where(error < best_error, scales, best)
        best_error = np.minimum(error, best_error)
    return best
