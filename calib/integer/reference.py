"""The numpy reference of an integer program: every other implementation has to give exactly its integers and logits.

Epilogues call the functions of `calib.integer.qparams` as they stand. Accumulators are summed in floating point, which
is exact here: a layer uses float32 only where no partial sum can reach 2**24, and float64 (exact below 2**53)
elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from calib.integer import qparams
from calib.integer.operation import Windowed
from calib.integer.program import (
    Add,
    AveragePool,
    ChannelSlopes,
    Concat,
    Conv2d,
    Crop,
    DepthwiseConv2d,
    Dequantize,
    GlobalAveragePool,
    InputTable,
    LinearResize,
    Lookup,
    MaxPool,
    Multiply,
    NearestUpsample,
    Operator,
    Pad,
    Program,
    Rescale,
    SelectPixels,
    ShuffleChannels,
    WideAdd,
)
from calib.integer.values import (
    Epilogue,
    Requantize,
    RequantizeAdd,
    RequantizeQ15,
    RequantizeQ15Add,
    RequantizeWideAdd,
    Tensor,
    ToLogits,
)
from repghost.errors import UsageError

FLOAT32_EXACT = 1 << 24  # float32 holds every integer up to here
CHUNK_ELEMENTS = 1 << 18  # of the largest activation: its float32 form stays in a level-2 cache of 1 MB

Activations = dict[str, NDArray[Any]]  # int8 or int16 [N, H, W, C] by tensor name


def run(
    program: Program, images: NDArray[np.uint8], trace: dict[str, NDArray[Any]] | None = None
) -> NDArray[np.float32]:
    """Return the logits of images, exactly as every build of the program gives them.

    Args:
        program: the integer program.
        images: uint8 [N, height, width, channels], as `Preprocess.apply` leaves them.
        trace: a dictionary to fill with every tensor by name, each [N, H, W, C]; None keeps memory small.

    Returns:
        float32 [N, classes]; of several results the numbers of each, [height, width, channels], in their order.

    Raises:
        UsageError: if the images do not have the program's size.
    """
    expected = (program.height, program.width, program.channels)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected:
        raise UsageError(
            f"the program reads uint8 pictures of shape (N, {', '.join(map(str, expected))}), not "
            f"{images.dtype} {images.shape}. Crop them with the Preprocess of this program."
        )
    scores = np.empty((len(images), program.classes), np.float32)
    kept: dict[str, list[NDArray[Any]]] = {}
    for part in _chunks(program, len(images)):
        tensors = _run_chunk(program, images[part], keep_all=trace is not None)
        results = [tensors.pop(name) for name in program.results]
        scores[part] = np.concatenate([result.reshape(len(result), -1) for result in results], axis=1)
        for name, value in tensors.items():
            kept.setdefault(name, []).append(value)
    if trace is not None:
        trace.update({name: np.concatenate(parts) for name, parts in kept.items()})
    return scores


def execute(operator: Operator, tensors: Activations, images: NDArray[np.uint8] | None = None) -> NDArray[Any]:
    """Return the output of one operator: [N, H, W, C] of its element, or float32 [N, 1, 1, classes] for scores.

    Args:
        operator: any operator of `calib.integer.program`.
        tensors: its inputs by name, each [N, H, W, C].
        images: uint8 [N, H, W, channels], read by `InputTable` alone.
    """
    match operator:
        case InputTable():
            if images is None:
                raise ValueError("InputTable reads pictures, and none were given")
            return np.stack([table[images[..., c]] for c, table in enumerate(operator.tables)], axis=-1)
        case Conv2d():
            return _finish(operator, _dense_sums(operator, tensors[operator.input.name]), tensors)
        case DepthwiseConv2d():
            return _finish(operator, _depthwise_sums(operator, tensors[operator.input.name]), tensors)
        case GlobalAveragePool():
            sums = tensors[operator.input.name].sum(axis=(1, 2), keepdims=True, dtype=np.int32) + operator.bias
            return _requantize(operator, operator.epilogue, sums)
        case AveragePool():
            sums = _window_sums(operator, tensors[operator.input.name]) + operator.bias
            return _requantize(operator, operator.epilogue, sums)
        case Lookup():
            return operator.table[tensors[operator.input.name].astype(np.int16) + 128]
        case ChannelSlopes(epilogue=epilogue):
            acc = _centred(operator.input, tensors)
            multiplier = np.where(acc < 0, operator.slopes, epilogue.multiplier)
            return qparams.requantize(acc, multiplier, epilogue.zero_point, epilogue.low, epilogue.high)
        case Multiply():
            value = _centred(operator.input, tensors) * _centred(operator.gate, tensors)
            return _requantize(operator, operator.epilogue, value)
        case Add():
            return _add(operator, tensors)
        case WideAdd():
            return _wide_add(operator, tensors)
        case Rescale():
            return _requantize(operator, operator.epilogue, _centred(operator.input, tensors))
        case MaxPool():
            x = tensors[operator.input.name]
            padded = _padded(operator, x, np.iinfo(x.dtype).min, x.dtype)
            return _windows(operator, padded).max(axis=(4, 5))
        case Concat():
            return np.concatenate([tensors[tensor.name] for tensor in operator.parts], axis=3)
        case Crop():
            return _crop(operator, tensors[operator.input.name])
        case NearestUpsample():
            return tensors[operator.input.name].repeat(operator.rows, axis=1).repeat(operator.columns, axis=2)
        case SelectPixels():
            return tensors[operator.input.name][:, operator.rows][:, :, operator.columns]
        case Pad():
            return _pad(operator, tensors[operator.input.name])
        case LinearResize():
            sums = qparams.interpolate(tensors[operator.input.name], operator.rows, operator.columns)
            return _requantize(operator, operator.epilogue, sums + np.int32(operator.bias))
        case ShuffleChannels():
            x = tensors[operator.input.name]
            return x.reshape(*x.shape[:3], operator.groups, -1).swapaxes(3, 4).reshape(x.shape)
        case Dequantize():
            return qparams.dequantize(tensors[operator.input.name], operator.input.qparams)


def _chunks(program: Program, count: int) -> Iterator[slice]:
    """Yield slices of the images, each so small that its largest activation fits the cache."""
    largest = max(op.output.height * op.output.width * op.output.channels for op in program.operators)
    size = max(1, CHUNK_ELEMENTS // largest)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _run_chunk(program: Program, images: NDArray[np.uint8], keep_all: bool) -> Activations:
    """Return the logits by name, and with `keep_all` every tensor before them."""
    readers = Counter(tensor.name for operator in program.operators for tensor in operator.inputs)
    tensors: Activations = {}
    for operator in program.operators:
        tensors[operator.output.name] = execute(operator, tensors, images)
        for tensor in operator.inputs:
            readers[tensor.name] -= 1
            if not readers[tensor.name] and not keep_all:
                tensors.pop(tensor.name, None)
    return tensors


def _window_sums(operator: AveragePool, x: NDArray[np.integer]) -> NDArray[np.int32]:
    """Return the sum of each window, int32 [N, H, W, C]."""
    padded = _padded(operator, x, operator.input.qparams.zero_point, np.int32)
    return _windows(operator, padded).sum(axis=(4, 5), dtype=np.int32)


def _padded(operator: Windowed[Tensor], x: NDArray[np.integer], value: int, dtype: Any) -> NDArray[Any]:
    """Return the input with a value around it; the zero point stands for the real number 0."""
    (above, left), (below, right) = operator.pads, operator.trailing_pads
    if not (above or left or below or right):
        return x.astype(dtype)
    batch, height, width, channels = x.shape
    padded = np.full((batch, above + height + below, left + width + right, channels), value, dtype)
    padded[:, above : above + height, left : left + width] = x
    return padded


def _windows(operator: Windowed[Tensor], padded: NDArray[Any]) -> NDArray[Any]:
    """Return the taps of each window, [N, H, W, C, kernel height, kernel width], as a view."""
    y, (down, across), (row, column) = operator.output, operator.strides, operator.dilations
    windows = sliding_window_view(padded, operator.window, axis=(1, 2))[:, ::down, ::across]
    return windows[:, : y.height, : y.width, :, ::row, ::column]


def _exact_float(weight: NDArray[np.int8], x: Tensor) -> type:
    """Return the float type in which every partial sum of w * x is exact, whatever the order of the additions."""
    bounds = x.qparams.low, x.qparams.high
    low, high = qparams.accumulator_range(weight, np.zeros(len(weight), np.int64), *bounds)
    return np.float32 if max(-low.min(), high.max()) < FLOAT32_EXACT else np.float64


def _dense_sums(operator: Conv2d, x: NDArray[np.integer]) -> NDArray[Any]:
    """Return sum(w * x) as integral floats [N, H, W, O]."""
    weight = operator.weight
    out_channels, in_channels = len(weight), weight.shape[3]
    dtype = _exact_float(weight, operator.input)
    padded = _padded(operator, x, operator.input.qparams.zero_point, dtype)
    if operator.kernel == operator.strides == (1, 1):
        return padded @ weight.reshape(out_channels, in_channels).T.astype(dtype)
    windows = _windows(operator, padded)
    columns = windows.reshape(*windows.shape[:3], -1)  # channel, then row, then column of the kernel
    return columns @ weight.transpose(3, 1, 2, 0).reshape(-1, out_channels).astype(dtype)


def _depthwise_sums(operator: DepthwiseConv2d, x: NDArray[np.integer]) -> NDArray[Any]:
    """Return sum(w * x) as integral floats [N, H, W, C], one shifted multiply-add per weight of the kernel."""
    channels, kernel_h, kernel_w = operator.weight.shape
    out, (down, across) = operator.output, operator.strides
    dtype = _exact_float(operator.weight, operator.input)
    padded = _padded(operator, x, operator.input.qparams.zero_point, dtype)
    sums = np.zeros((len(x), out.height, out.width * channels), dtype)
    product = np.empty_like(sums)
    for i in range(kernel_h):
        for j in range(kernel_w):
            row, column = i * operator.dilations[0], j * operator.dilations[1]
            rows = slice(row, row + down * (out.height - 1) + 1, down)
            columns = slice(column, column + across * (out.width - 1) + 1, across)
            shifted = np.ascontiguousarray(padded[:, rows, columns]).reshape(sums.shape)
            # One row of weights per image row keeps the inner loop long where there are few channels.
            np.multiply(shifted, np.tile(operator.weight[:, i, j].astype(dtype), out.width), out=product)
            sums += product
    return sums.reshape(len(x), out.height, out.width, channels)


def _finish(operator: Conv2d | DepthwiseConv2d, sums: NDArray[Any], tensors: Activations) -> NDArray[Any]:
    """Return the operator's output from its sums: the start value, then the epilogue, one long row at a time."""
    batch, height, width, channels = sums.shape
    row = (batch, height, width * channels)
    acc = sums.reshape(row).astype(np.int32) + np.tile(operator.bias, width)
    residual = getattr(operator.epilogue, "residual", None)
    value = tensors[residual.name].reshape(row) if residual is not None else None
    return _epilogue(operator.epilogue, acc, value, width, operator.output.element).reshape(sums.shape)


def _epilogue(
    epilogue: Epilogue, acc: NDArray[np.int32], residual: NDArray[np.integer] | None, repeat: int, element: str
) -> NDArray[Any]:
    """Apply an epilogue to rows of `repeat` pixels; the last axis of `acc` is pixel by pixel, channel by channel."""
    multiplier: NDArray[Any] = np.tile(epilogue.multiplier, repeat)
    match epilogue:
        case Requantize(zero_point=zero, low=low, high=high):
            return qparams.requantize(acc, multiplier, zero, low, high, element)
        case RequantizeWideAdd(zero_point=zero, low=low, high=high, residual=source, residual_factor=real_factor):
            assert residual is not None
            other = residual.astype(np.int32) - source.qparams.zero_point
            return qparams.requantize_wide_add(acc, multiplier, other, real_factor, zero, low, high, element)
        case RequantizeAdd(zero_point=zero, low=low, high=high, residual=source, residual_factor=factor):
            assert residual is not None
            zero_r = source.qparams.zero_point
            return qparams.requantize_add(acc, multiplier, residual, zero_r, factor, zero, low, high)
        case RequantizeQ15(offset=offset, low=low, high=high):
            return qparams.requantize_q15(acc, multiplier, np.tile(offset, repeat), low, high)
        case RequantizeQ15Add(offset=offset, low=low, high=high, residual_factor=factor):
            assert residual is not None
            offset = np.tile(offset, repeat)
            return qparams.requantize_q15_add(acc, multiplier, residual, factor, offset, low, high)
        case ToLogits():
            return qparams.logits(acc, multiplier)


def _requantize(operator: Operator, epilogue: Requantize, acc: NDArray[np.int32]) -> NDArray[Any]:
    bounds = epilogue.zero_point, epilogue.low, epilogue.high
    return qparams.requantize(acc, epilogue.multiplier, *bounds, operator.output.element)


def _centred(tensor: Tensor, tensors: Activations) -> NDArray[np.int32]:
    """Return q - z."""
    return tensors[tensor.name].astype(np.int32) - tensor.qparams.zero_point


def _add(operator: Add, tensors: Activations) -> NDArray[np.int8]:
    """Return both inputs brought to 1/4096 of the output's step, summed and rounded once."""
    total = _centred(operator.input, tensors) * operator.factor
    total += _centred(operator.other, tensors) * operator.other_factor
    rounded = (total + (1 << (qparams.ADD_SHIFT - 1))) >> qparams.ADD_SHIFT
    return np.clip(rounded + operator.output.qparams.zero_point, operator.low, operator.high).astype(np.int8)


def _wide_add(operator: WideAdd, tensors: Activations) -> NDArray[Any]:
    a, b = _centred(operator.input, tensors), _centred(operator.other, tensors)
    factor, y = np.asarray([operator.factor], np.float32), operator.output
    bounds = y.qparams.zero_point, operator.low, operator.high
    return qparams.requantize_wide_add(a, factor, b, operator.other_factor, *bounds, y.element)


def _crop(operator: Crop, x: NDArray[Any]) -> NDArray[Any]:
    """Return a part of a map, [N, h, w, c] of [N, H, W, C]."""
    y, row, column, channel = operator.output, operator.row, operator.column, operator.channel
    return x[:, row : row + y.height, column : column + y.width, channel : channel + y.channels]


def _pad(operator: Pad, x: NDArray[Any]) -> NDArray[Any]:
    """Return a map within a larger one, [N, H, W, C] of [N, h, w, c]."""
    y, (_, height, width, channels) = operator.output, x.shape
    padded = np.full((len(x), *y.shape), operator.value, x.dtype)
    rows, columns = slice(operator.row, operator.row + height), slice(operator.column, operator.column + width)
    padded[:, rows, columns, operator.channel : operator.channel + channels] = x
    return padded
