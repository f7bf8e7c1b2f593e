"""Operators without weights on the integers of tensors, and what follows an accumulator, in PyTorch.

Values are int32 [N, C, H, W]. The constants come from `calib.integer.lower`, as those of the compiled kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from calib.integer import lower
from calib.integer.functions import requantization, table_of
from calib.integer.qparams import (
    ADD_SHIFT,
    INT8_MIN,
    INT16_MAX,
    INT16_MIN,
    LINEAR_SHIFT,
    Q15_ADD_SHIFT,
    Q15_SHIFT,
    RESIDUAL_SHIFT,
    WIDE_ADD_SHIFT,
    QParams,
    linear_taps,
)
from calib.integer.values import (
    Epilogue,
    Requantize,
    RequantizeAdd,
    RequantizeQ15,
    RequantizeQ15Add,
    RequantizeWideAdd,
    ToLogits,
)
from repghost.errors import UsageError
from repghost.graph.operators import (
    Add,
    AveragePool,
    ChannelSlopes,
    Concat,
    Function,
    GlobalAveragePool,
    MaxPool,
    Multiply,
    Narrow,
    Operator,
    Pad,
    Resize,
    ShuffleChannels,
    Slice,
    Subtract,
)
from repghost.graph.places import nearest_places, source_places
from repghost.graph.run import MOVES, Kernels


def integer_kernels(qparams: Mapping[str, QParams]) -> Kernels[torch.Tensor]:
    """Return the kernels of the operators without weights.

    Args:
        qparams: scale and zero point of each tensor.
    """
    return {kind: partial(compute, qparams) for kind, compute in KERNELS.items()}


def _centred(qparams: Mapping[str, QParams], name: str, x: torch.Tensor) -> torch.Tensor:
    return x - qparams[name].zero_point


def _sum(qparams: Mapping[str, QParams], op: Add | Subtract, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    y, sign = qparams[op.name], -1 if isinstance(op, Subtract) else 1
    centred = _centred(qparams, op.input, x), _centred(qparams, op.other, other)
    bounds = lower.integer_bounds(op.clamp, y)
    if any(params.is_wide for params in (qparams[op.input], qparams[op.other], y)):
        wide = lower.lower_wide_add(qparams[op.input], qparams[op.other], y)
        if wide is None:
            raise UsageError(
                f"{op.name}: an input's scale is too many times the output's; calibrate with other pictures."
            )
        return torch.clamp(_add_wide(*centred, torch.tensor(wide[0]), sign * wide[1]) + y.zero_point, *bounds)
    factors = lower.lower_add(qparams[op.input], qparams[op.other], y)
    if factors is None:
        raise UsageError(
            f"{op.name}: an input's scale is more than {lower.LARGEST_RATIO} times the output's; calibrate with other "
            "pictures."
        )
    total = centred[0] * factors[0] + centred[1] * (sign * factors[1])
    rounded = ((total + (1 << (ADD_SHIFT - 1))) >> ADD_SHIFT) + y.zero_point
    return torch.clamp(rounded, *bounds)


def _add_wide(acc: torch.Tensor, other: torch.Tensor, multiplier: torch.Tensor, factor: float) -> torch.Tensor:
    """Return (rint(float32(acc) * M) + rint(float32(r) * R) + 8) >> 4, see `qparams.requantize_wide_add`."""
    total = torch.round(acc.to(torch.float32) * multiplier).to(torch.int32)
    total += torch.round(other.to(torch.float32) * torch.tensor(factor)).to(torch.int32)
    return (total + (1 << (WIDE_ADD_SHIFT - 1))) >> WIDE_ADD_SHIFT


def rescaled(x: QParams, y: QParams, values: torch.Tensor) -> torch.Tensor:
    """Return integers at another scale: by a table between int8 tensors, as the program does."""
    if x.is_wide or y.is_wide:
        return finish(lower.lower_rescale(x, y), values - x.zero_point)
    return looked_up(requantization(x, y), values)


def _narrow(qparams: Mapping[str, QParams], op: Narrow, x: torch.Tensor) -> torch.Tensor:
    return rescaled(qparams[op.input], qparams[op.name], x)


def _product(qparams: Mapping[str, QParams], op: Multiply, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    product = _centred(qparams, op.input, x) * _centred(qparams, op.other, other)
    y = qparams[op.name]
    bounds = lower.integer_bounds(op.clamp, y)
    return finish(lower.lower_multiply(qparams[op.input], qparams[op.other], y, *bounds), product)


def _function(qparams: Mapping[str, QParams], op: Function, x: torch.Tensor) -> torch.Tensor:
    return looked_up(table_of(op.steps, qparams[op.input], qparams[op.name]), x)


def looked_up(table: NDArray[np.int8], x: torch.Tensor) -> torch.Tensor:
    """Return table[q + 128] for each integer, int32."""
    return torch.from_numpy(table.astype(np.int32))[(x - INT8_MIN).long()]


def _slopes(qparams: Mapping[str, QParams], op: ChannelSlopes, x: torch.Tensor) -> torch.Tensor:
    below, epilogue = lower.lower_slopes(op.slopes, qparams[op.input], qparams[op.name])
    acc = _centred(qparams, op.input, x)
    factor = torch.where(acc < 0, torch.from_numpy(below)[:, None, None], torch.from_numpy(epilogue.multiplier))
    scaled = torch.round(acc.to(torch.float32) * factor).to(torch.int32) + epilogue.zero_point
    return torch.clamp(scaled, epilogue.low, epilogue.high)


def _global_pool(qparams: Mapping[str, QParams], op: GlobalAveragePool, x: torch.Tensor) -> torch.Tensor:
    bias, epilogue = lower.lower_pool(x.shape[2] * x.shape[3], qparams[op.input], qparams[op.name])
    return finish(epilogue, x.sum((2, 3), keepdim=True, dtype=torch.int32) + bias)


def _average_pool(qparams: Mapping[str, QParams], op: AveragePool, x: torch.Tensor) -> torch.Tensor:
    """Return the mean of each window; where padding does not count, the multiplier is one of fewer pixels."""
    top, left, bottom, right = op.pads
    pads, size = (left, right, top, bottom), op.size
    acc = F.avg_pool2d(F.pad(_centred(qparams, op.input, x).double(), pads), size, op.strides, divisor_override=1)
    counted = F.pad(torch.ones(1, 1, *x.shape[2:]).double(), pads, value=float(op.padding_counts))
    counts, place = F.avg_pool2d(counted, size, op.strides, divisor_override=1).unique(return_inverse=True)
    y = qparams[op.name]
    lowered = [lower.lower_pool(int(count), qparams[op.input], y)[1].multiplier for count in counts]
    factors = torch.from_numpy(np.concatenate(lowered))[place]
    scaled = torch.round(acc.to(torch.float32) * factors).to(torch.int32) + y.zero_point
    return torch.clamp(scaled, y.low, y.high)


def _pad(qparams: Mapping[str, QParams], op: Pad, x: torch.Tensor) -> torch.Tensor:
    top, left, bottom, right = op.pads
    return F.pad(x, (left, right, top, bottom), value=qparams[op.input].zero_point)


def _max_pool(qparams: Mapping[str, QParams], op: MaxPool, x: torch.Tensor) -> torch.Tensor:
    return MOVES[MaxPool](op, x.to(torch.float32)).to(torch.int32)


def _concat(qparams: Mapping[str, QParams], op: Concat, *parts: torch.Tensor) -> torch.Tensor:
    y = qparams[op.name]
    given = zip(op.inputs, parts, strict=True)
    return torch.cat([x if qparams[name] == y else rescaled(qparams[name], y, x) for name, x in given], 1)


def _resize(qparams: Mapping[str, QParams], op: Resize, x: torch.Tensor) -> torch.Tensor:
    rows, columns = (
        source_places(side, x.shape[axis], op.coordinates) for axis, side in ((2, op.size[0]), (3, op.size[1]))
    )
    if op.mode == "nearest":
        for axis, places in ((2, rows), (3, columns)):
            x = x.index_select(axis, torch.from_numpy(nearest_places(places, x.shape[axis], op.rounding)))
        return x
    bias, epilogue = lower.lower_linear(qparams[op.input], qparams[op.name])
    return finish(epilogue, _interpolate(_interpolate(x, 3, columns), 2, rows) + bias)


def _interpolate(x: torch.Tensor, axis: int, places: NDArray[np.float64]) -> torch.Tensor:
    """Return sums of two neighbours along an axis times their weights in 2048ths, see `qparams.interpolate`."""
    taps = torch.from_numpy(linear_taps(places, x.shape[axis]))
    second = taps[:, 2] if axis == 3 else taps[:, 2:]
    left, right = (x.index_select(axis, taps[:, at]) for at in (0, 1))
    return left * ((1 << LINEAR_SHIFT) - second) + right * second


KERNELS: Mapping[type[Operator], Callable[..., torch.Tensor]] = {
    Add: _sum,
    Subtract: _sum,
    Multiply: _product,
    Function: _function,
    ChannelSlopes: _slopes,
    GlobalAveragePool: _global_pool,
    AveragePool: _average_pool,
    MaxPool: _max_pool,
    Concat: _concat,
    Slice: lambda qparams, op, x: MOVES[Slice](op, x),
    ShuffleChannels: lambda qparams, op, x: MOVES[ShuffleChannels](op, x),
    Pad: _pad,
    Resize: _resize,
    Narrow: _narrow,
}


def finish(epilogue: Epilogue, acc: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
    """Return the epilogue of `calib.integer.qparams` for int32 accumulators [N, C, H, W]."""
    multiplier = torch.from_numpy(epilogue.multiplier)[:, None, None]
    match epilogue:
        case ToLogits():
            return acc.to(torch.float32) * multiplier
        case Requantize():
            total = torch.round(acc.to(torch.float32) * multiplier).to(torch.int32) + epilogue.zero_point
        case RequantizeAdd():
            assert residual is not None
            total = torch.round(acc.to(torch.float32) * multiplier).to(torch.int32)
            total += (residual - epilogue.residual.qparams.zero_point) * epilogue.residual_factor
            total = ((total + (1 << (ADD_SHIFT - 1))) >> ADD_SHIFT) + epilogue.zero_point
        case RequantizeWideAdd():
            assert residual is not None
            other = residual - epilogue.residual.qparams.zero_point
            total = _add_wide(acc, other, multiplier, epilogue.residual_factor) + epilogue.zero_point
        case RequantizeQ15():
            offset = torch.from_numpy(epilogue.offset.astype(np.int32))[:, None, None]
            total = _saturate(_multiply_q15(acc, multiplier) + offset)
        case RequantizeQ15Add():
            assert residual is not None
            offset = torch.from_numpy(epilogue.offset.astype(np.int32))[:, None, None]
            factor = torch.tensor(epilogue.residual_factor, dtype=torch.int32)
            total = _saturate(_multiply_q15(acc, multiplier) + _multiply_q15(residual << RESIDUAL_SHIFT, factor))
            total = (_saturate(total + offset) + (1 << (Q15_ADD_SHIFT - 1))) >> Q15_ADD_SHIFT
    return torch.clamp(total, epilogue.low, epilogue.high)


def _multiply_q15(value: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return (value * factor + 2**14) >> 15; both fit int16, so int32 holds the product."""
    return (value * factor.to(torch.int32) + (1 << (Q15_SHIFT - 1))) >> Q15_SHIFT


def _saturate(value: torch.Tensor) -> torch.Tensor:
    return torch.clamp(value, INT16_MIN, INT16_MAX)
