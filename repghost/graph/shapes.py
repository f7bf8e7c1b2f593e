"""The size of every tensor of a graph, without computing it."""

from __future__ import annotations

from collections.abc import Mapping

from repghost.errors import UsageError
from repghost.graph.operators import (
    INPUT,
    AveragePool,
    Classifier,
    Concat,
    Convolution,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Operator,
    Pad,
    Pads,
    Pair,
    Resize,
    Slice,
)
from repghost.sizes import Size, sides

Shape = tuple[int, int, int]  # channels, height, width


def shapes_of(graph: Graph, size: Size) -> dict[str, Shape]:
    """Return (channels, height, width) of the input's and every operator's tensor.

    Args:
        graph: the network.
        size: height and width of the input, in pixels.

    Raises:
        UsageError: when the network takes another size, or a tensor would have no pixel.
    """
    size = sides(size)
    if graph.size not in (None, size):
        assert graph.size is not None
        raise UsageError(f"the network is for {graph.size[0]}x{graph.size[1]} px, not {size[0]}x{size[1]}.")
    shapes: dict[str, Shape] = {INPUT: (graph.channels, *size)}
    for op in graph.operators:
        shapes[op.name] = shape_of(op, shapes)
        if min(shapes[op.name]) < 1:
            raise UsageError(f"{size[0]}x{size[1]} px are too few: nothing is left of the map at {op.name!r}.")
    return shapes


def shape_of(op: Operator, shapes: Mapping[str, Shape]) -> Shape:
    """Return the shape of an operator's result from those of what it reads."""
    channels, height, width = shapes[op.inputs[0]]
    size = height, width
    match op:
        case Convolution():
            kernel = (op.weight.shape[2], op.weight.shape[3])
            return len(op.weight), *slid(size, kernel, op.strides, op.pads, op.dilations)
        case AveragePool():
            return channels, *slid(size, op.size, op.strides, op.pads)
        case MaxPool():
            return channels, *slid(size, op.size, op.strides, op.pads, op.dilations)
        case GlobalAveragePool():
            return channels, 1, 1
        case Classifier():
            return len(op.weight), 1, 1
        case Concat():
            return sum(shapes[name][0] for name in op.inputs), height, width
        case Slice():
            limits = zip(op.start, op.end, op.step, (channels, *size), strict=True)
            parts = [len(range(side)[start:end:step]) for start, end, step, side in limits]
            return parts[0], parts[1], parts[2]
        case Pad():
            return channels, height + op.pads[0] + op.pads[2], width + op.pads[1] + op.pads[3]
        case Resize():
            return channels, *op.size
    largest = max((shapes[name] for name in op.inputs), key=lambda shape: shape[1] * shape[2])
    return max(shapes[name][0] for name in op.inputs), *largest[1:]


def slid(size: Pair, window: Pair, strides: Pair, pads: Pads, dilations: Pair = (1, 1)) -> Pair:
    """Return how often a window fits into a map with its padding, along rows and columns."""
    rows, columns = (
        (side + before + after - (taps - 1) * dilation - 1) // stride + 1
        for side, before, after, taps, dilation, stride in zip(
            size, pads[:2], pads[2:], window, dilations, strides, strict=True
        )
    )
    return rows, columns
