"""The float program of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compile.ir.float_digest import program_digest
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
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.graph.formulas import HARD_SIGMOID
from repghost.graph.operators import (
    INPUT,
    UNBOUNDED,
    Add,
    AveragePool,
    ChannelSlopes,
    Classifier,
    Concat,
    Convolution,
    Function,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Multiply,
    Operator,
    Pad,
    Resize,
    ShuffleChannels,
    Slice,
    Subtract,
)
from repghost.graph.places import nearest_places, source_places
from repghost.graph.shapes import shapes_of

BINARY: dict[type, type[FloatAdd | FloatSubtract | FloatMultiply]] = {
    Add: FloatAdd,
    Subtract: FloatSubtract,
    Multiply: FloatMultiply,
}


def float_program(graph: Graph, preprocess: Preprocess, element: str = "float32") -> FloatProgram:
    """Return the float program of a graph.

    Args:
        graph: any network.
        preprocess: gives the size of the image and the value of each byte.
        element: what activations, weights and biases are kept in: "float32" or "float16".

    Raises:
        UsageError: when the scores are a map of several pixels, or two maps that do not fit are multiplied.
    """
    shapes = shapes_of(graph, (preprocess.height, preprocess.width))
    tensors = {
        name: FloatTensor(name, height, width, channels, element) for name, (channels, height, width) in shapes.items()
    }
    form = _FloatForm(graph, tensors)
    form.operators.append(FloatInput(INPUT, tensors[INPUT], preprocess.table()))
    for op in graph.operators:
        form.add(op)
    operators = with_scores(form.operators)
    digest = program_digest(operators, preprocess)
    return FloatProgram(
        operators,
        preprocess.height,
        preprocess.width,
        operators[-1].output.channels,
        digest,
        element,
        preprocess.channels,
    )


def with_scores(operators: Sequence[FloatOperator]) -> tuple[FloatOperator, ...]:
    """Return the operators of a program whose last writes the scores: the one there is, or one behind it.

    Raises:
        UsageError: when the scores are a map of several pixels.
    """
    *before, last = operators
    scores = last.output
    if (scores.height, scores.width) != (1, 1):
        raise UsageError(
            f"the scores, {scores.name!r}, are a map of {scores.height}x{scores.width} pixels; a network that names "
            "classes ends with one number for each of them, behind an average over the map for example."
        )
    if isinstance(last, FloatConv2d) and last.residual is None:
        return (*before, replace(last, logits=True))
    return (*operators, FloatScores(f"{last.name}.scores", scores, replace(scores, name=f"{scores.name}.scores")))


class _FloatForm:
    """Collects the operators of a program."""

    def __init__(self, graph: Graph, tensors: dict[str, FloatTensor]) -> None:
        self.tensors, self.operators, self.adds = tensors, list[FloatOperator](), graph.fused_adds
        self.hosts = {self.adds[op.name].name: op for op in graph.operators if op.name in self.adds}
        gated = [op.other for op in graph.operators if isinstance(op, Multiply) and self._is_channel_gate(op)]
        self.gates = {  # hard sigmoids that only gates read, and what they read
            op.name: op.input
            for op in graph.operators
            if isinstance(op, Function) and op.steps == HARD_SIGMOID and graph.readers[op.name] == gated.count(op.name)
        }

    def _is_channel_gate(self, op: Multiply) -> bool:
        x, gate = self.tensors[op.input], self.tensors[op.other]
        return gate.shape == (1, 1, x.channels) and op.clamp == UNBOUNDED and op.input != op.other

    def add(self, op: Operator) -> None:
        """Append the float form of an operator; a convolution with an add waits for what is added."""
        made = {operator.output.name for operator in self.operators}
        host = self.hosts.get(op.name)
        if op.name in self.gates or op.name in made:
            return
        if host is not None and isinstance(host, Convolution):
            self.operators.append(self._convolution(host, self.adds[host.name]))
        elif isinstance(op, Convolution):
            add = self.adds.get(op.name)
            if add is None or {*add.inputs} - {op.name} <= made:
                self.operators.append(self._convolution(op, add))
        else:
            self.operators.append(self._weightless(op))

    def _convolution(self, op: Convolution, add: Add | None) -> FloatOperator:
        x, where = self.tensors[op.input], (op.strides, op.pads[:2])
        y = self.tensors[op.name if add is None else add.name]
        clamp = op.clamp if add is None else add.clamp
        residual = None if add is None else self.tensors[add.other if add.input == op.name else add.input]
        if op.is_depthwise:
            layer = op.name, x, y, op.weight[:, 0], op.bias
            return FloatDepthwiseConv2d(*layer, *where, clamp, residual=residual, dilations=op.dilations)
        weight = np.ascontiguousarray(op.weight.transpose(0, 2, 3, 1))
        layer = op.name, x, y, weight, op.bias
        return FloatConv2d(
            *layer, *where, clamp, residual=residual, dilations=op.dilations, groups=op.groups
        )  # fmt: skip

    def _weightless(self, op: Operator) -> FloatOperator:
        x, y = self.tensors[op.inputs[0]], self.tensors[op.name]
        match op:
            case Classifier():
                weight = op.weight.reshape(len(op.weight), x.channels, x.height, x.width).transpose(0, 2, 3, 1)
                layer = op.name, x, y, np.ascontiguousarray(weight), op.bias
                return FloatConv2d(*layer, (1, 1), (0, 0), UNBOUNDED)
            case Multiply() if op.other in self.gates:
                return FloatGate(op.name, x, self.tensors[self.gates[op.other]], y)
            case Add() | Subtract() | Multiply():
                return self._binary(op)
            case Function():
                return FloatFunction(op.name, x, y, op.steps)
            case ChannelSlopes():
                return FloatChannelSlopes(op.name, x, y, op.slopes)
            case GlobalAveragePool():
                return FloatPool(op.name, x, y)
            case AveragePool():
                shares = _shares(op, 0, x, y), _shares(op, 1, x, y)
                return FloatAveragePool(op.name, x, y, op.size, op.strides, op.pads[:2], *shares)
            case MaxPool():
                return FloatMaxPool(op.name, x, y, op.size, op.strides, op.pads[:2], op.dilations)
            case Concat():
                return FloatConcat(op.name, tuple(self.tensors[name] for name in op.inputs), y)
            case Slice():
                return _crop(op, x, y)
            case ShuffleChannels():
                return FloatShuffleChannels(op.name, x, y, op.groups)
            case Pad():
                return FloatPad(op.name, x, y, *op.pads[:2])
            case Resize():
                return resized(op, x, y)
        raise TypeError(f"no float form of {op!r}")

    def _binary(self, op: Add | Subtract | Multiply) -> FloatAdd | FloatSubtract | FloatMultiply:
        x, other, y = (self.tensors[name] for name in (op.input, op.other, op.name))
        if x.shape != y.shape and not isinstance(op, Subtract):
            x, other = other, x
        if x.shape != y.shape or not is_broadcast(other, y):
            raise UsageError(
                f"{op.name}: maps of (height, width, channels) = {x.shape} and {other.shape} are put together; both "
                "have to be of one size, or the second one of one pixel or one channel."
            )
        return BINARY[type(op)](op.name, x, other, y, op.clamp)


def is_broadcast(other: FloatTensor, y: FloatTensor) -> bool:
    """Tell whether a `FloatBinary` reads a tensor of this shape."""
    rows, columns, channels = (a in (1, b) for a, b in zip(other.shape, y.shape, strict=True))
    one_pixel = other.height == other.width == 1
    return rows and columns and channels and (other.channels == 1 or one_pixel or other.shape == y.shape)


def _shares(op: AveragePool, axis: int, x: FloatTensor, y: FloatTensor) -> NDArray[np.float32]:
    """Return the share of one row or column of a window in its mean, for each row or column of windows."""
    taps, side = op.size[axis], x.shape[axis]
    first = np.arange(y.shape[axis]) * op.strides[axis] - op.pads[axis]
    inside = np.minimum(first + taps, side) - np.maximum(first, 0)
    pixels = np.full(len(first), taps) if op.padding_counts else np.maximum(inside, 1)
    return (1 / pixels).astype(np.float32)


def _crop(op: Slice, x: FloatTensor, y: FloatTensor) -> FloatCrop:
    limits = zip((x.channels, x.height, x.width), op.start, op.end, op.step, strict=True)
    channel, row, column = (range(side)[start:end:step].start for side, start, end, step in limits)
    return FloatCrop(op.name, x, y, row, column, channel, (*op.step[1:], op.step[0]))


def resized(op: Resize, x: FloatTensor, y: FloatTensor) -> FloatResize:
    """Return the float form of a change of size, from x to y."""
    rows, row_shares = _places(op, y.height, x.height)
    columns, column_shares = _places(op, y.width, x.width)
    return FloatResize(op.name, x, y, rows, columns, row_shares, column_shares)


def _places(op: Resize, side: int, source: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the two rows or columns that each of `side` is made of, [2, side], and the share of the second."""
    places = source_places(side, source, op.coordinates)
    if op.mode == "nearest":
        nearest = nearest_places(places, source, op.rounding)
        return np.stack([nearest, nearest]).astype(np.int32), np.zeros(side, np.float32)
    low = np.clip(np.floor(places), 0, source - 1)
    shares = np.clip(places - low, 0, 1).astype(np.float32)
    return np.stack([low, np.minimum(low + 1, source - 1)]).astype(np.int32), shares
