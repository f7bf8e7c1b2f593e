"""The reference of a float program in numpy: it sums in float32 and rounds what a build stores.

A half-precision build keeps weights, biases and activations in 16 bits, so the reference rounds exactly these and
nothing else. How a kernel adds up in between is its own matter and what the tolerance of its precision is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calib.integer.functions import evaluate
from calib.integer.operation import Windowed
from compile.ir.float_program import (
    FloatAdd,
    FloatAveragePool,
    FloatChannelSlopes,
    FloatConcat,
    FloatConv2d,
    FloatCrop,
    FloatDepthwiseConv2d,
    FloatFunction,
    FloatGate,
    FloatInput,
    FloatMaxPool,
    FloatMultiply,
    FloatOperator,
    FloatPad,
    FloatPool,
    FloatProgram,
    FloatResize,
    FloatScores,
    FloatShuffleChannels,
    FloatSubtract,
    FloatTensor,
)
from repghost.errors import UsageError, option
from repghost.graph.operators import RELU, UNBOUNDED, Clamp

CHUNK = 16  # images computed together

Array: TypeAlias = NDArray[np.float32]
Activations: TypeAlias = dict[str, Array]  # [N, H, W, C] by tensor name


def hard_sigmoid(x: Array) -> Array:
    """Return clip(x / 6 + 0.5, 0, 1)."""
    opened: Array = np.clip(x * np.float32(1 / 6) + np.float32(0.5), 0, 1)
    return opened


def run_float(program: FloatProgram, images: NDArray[np.uint8]) -> Array:
    """Return the logits of images.

    Args:
        program: the float program; its element says what is rounded.
        images: uint8 [N, height, width, channels].

    Returns:
        float32 [N, classes].

    Raises:
        UsageError: when a weight, a bias or an activation is too large for the element.
    """
    scores = []
    for start in range(0, len(images), CHUNK):
        tensors: Activations = {}
        for operator in program.operators:
            value = execute(operator, tensors, images[start : start + CHUNK], program.element)
            is_logits = operator is program.operators[-1]
            tensors[operator.output.name] = value if is_logits else stored(value, program.element, operator.output.name)
        scores.append(tensors[program.operators[-1].output.name].reshape(-1, program.classes))
    return np.concatenate(scores)


def stored(value: Array, element: str, name: str) -> Array:
    """Return values as a build keeps them.

    Args:
        value: float32 of any shape.
        element: "float32" or "float16".
        name: of the tensor, for the message.

    Raises:
        UsageError: when a value is beyond the largest one of the element.
    """
    with np.errstate(over="ignore"):
        kept = value.astype(element).astype(np.float32)
    if not np.isfinite(kept).all():
        raise UsageError(
            f"{name!r} reaches {np.abs(value).max():g}, but {element} ends at {np.finfo(element).max:g}. Compile this "
            f"network with {option('precision', 'fp32')} or int8."
        )
    return kept


def execute(operator: FloatOperator, tensors: Activations, images: NDArray[np.uint8], element: str) -> Array:
    """Return the output of one operator, [N, H, W, C], before it is stored.

    Args:
        operator: any operator of `compile.ir.float_program`.
        tensors: its inputs by name.
        images: uint8 [N, H, W, channels], read by `FloatInput` alone.
        element: what weights and biases are kept as.
    """
    match operator:
        case FloatInput():
            return np.stack([table[images[..., c]] for c, table in enumerate(operator.tables)], axis=-1)
        case FloatConv2d():
            return _dense(operator, tensors, element)
        case FloatDepthwiseConv2d():
            return _depthwise(operator, tensors, element)
        case FloatPool():
            return tensors[operator.input.name].mean(axis=(1, 2), keepdims=True, dtype=np.float32)
        case FloatMaxPool():
            taps = _taps(operator, tensors[operator.input.name], outside=-np.inf)
            largest: Array = np.max([value for *_, value in taps], axis=0)
            return largest
        case FloatAveragePool():
            return _average(operator, tensors[operator.input.name])
        case FloatGate():
            return tensors[operator.input.name] * hard_sigmoid(tensors[operator.gate.name])
        case FloatFunction():
            return evaluate(operator.steps, tensors[operator.input.name])
        case FloatChannelSlopes():
            x = tensors[operator.input.name]
            slopes = stored(operator.slopes, element, f"{operator.name}.slopes")
            return np.where(x < 0, x * slopes, x)
        case FloatAdd():
            return _clamped(tensors[operator.input.name] + tensors[operator.other.name], operator.clamp)
        case FloatSubtract():
            return _clamped(tensors[operator.input.name] - tensors[operator.other.name], operator.clamp)
        case FloatMultiply():
            return _clamped(tensors[operator.input.name] * tensors[operator.other.name], operator.clamp)
        case FloatScores():
            return tensors[operator.input.name]
    return _moved(operator, tensors)


def _moved(operator: FloatOperator, tensors: Activations) -> Array:
    """Return the output of an operator that moves numbers, or makes one of a few neighbours."""
    x, y = tensors[operator.inputs[0].name], operator.output
    match operator:
        case FloatConcat():
            return np.concatenate([tensors[tensor.name] for tensor in operator.parts], axis=3)
        case FloatCrop():
            starts = operator.row, operator.column, operator.channel
            indices = [
                first + np.arange(size) * step
                for first, size, step in zip(starts, y.shape, operator.steps, strict=True)
            ]
            return x[:, indices[0]][:, :, indices[1]][..., indices[2]]
        case FloatShuffleChannels():
            by_group = x.reshape(*x.shape[:3], operator.groups, -1)
            return by_group.swapaxes(3, 4).reshape(x.shape)
        case FloatPad():
            starts, whole = (operator.row, operator.column, operator.channel), (len(x), *y.shape)
            inside = tuple(slice(first, first + side) for first, side in zip(starts, x.shape[1:], strict=True))
            padded = np.full(whole, operator.value, np.float32)
            padded[:, *inside] = x
            return padded
        case FloatResize():
            rows, columns = operator.row_shares[:, None, None], operator.column_shares[:, None]
            x = x[:, operator.rows[0]] * (1 - rows) + x[:, operator.rows[1]] * rows
            return x[:, :, operator.columns[0]] * (1 - columns) + x[:, :, operator.columns[1]] * columns
    raise TypeError(f"no reference of {operator!r}")


def _clamped(x: Array, clamp: Clamp) -> Array:
    if clamp == UNBOUNDED:
        return x
    limited: Array = np.maximum(x, 0) if clamp == RELU else np.clip(x, np.float32(clamp[0]), np.float32(clamp[1]))
    return limited


def _average(operator: FloatAveragePool, x: Array) -> Array:
    total = sum(value for *_, value in _taps(operator, x))
    return np.asarray(total * operator.row_shares[:, None, None] * operator.column_shares[:, None])


def _taps(operator: Windowed[FloatTensor], x: Array, outside: float = 0.0) -> Iterator[tuple[int, int, Array]]:
    """Yield row and column of each tap and the input it meets at every output pixel, [N, H, W, C]."""
    (above, left), (below, right) = operator.pads, operator.trailing_pads
    padded = np.pad(x, ((0, 0), (above, below), (left, right), (0, 0)), constant_values=outside)
    (down, across), (apart, beside) = operator.strides, operator.dilations
    rows, columns = operator.output.height * down, operator.output.width * across
    for i, j in np.ndindex(operator.kernel):
        row, column = i * apart, j * beside
        yield i, j, padded[:, row : row + rows : down, column : column + columns : across]


def _dense(operator: FloatConv2d, tensors: Activations, element: str) -> Array:
    weight = stored(operator.weight, element, f"{operator.name}.weight")
    total = stored(operator.bias, element, f"{operator.name}.bias")
    for row, column, value in _taps(operator, tensors[operator.input.name]):
        parts = zip(np.split(value, operator.groups, 3), np.split(weight[:, row, column], operator.groups), strict=True)
        products = [part @ of_group.T for part, of_group in parts]
        total = total + (products[0] if len(products) == 1 else np.concatenate(products, 3))
    return _finished(operator, total, tensors)


def _depthwise(operator: FloatDepthwiseConv2d, tensors: Activations, element: str) -> Array:
    weight = stored(operator.weight, element, f"{operator.name}.weight")
    total = stored(operator.bias, element, f"{operator.name}.bias")
    for row, column, value in _taps(operator, tensors[operator.input.name]):
        total = total + value * weight[:, row, column]
    return _finished(operator, total, tensors)


def _finished(operator: FloatConv2d | FloatDepthwiseConv2d, total: Array, tensors: Activations) -> Array:
    if operator.residual is not None:
        total = total + tensors[operator.residual.name]
    return _clamped(total, operator.clamp)
