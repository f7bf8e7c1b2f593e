"""A map times or plus one constant per channel: part of the layer before it, or an operator of its own.

Behind a convolution's real result the constants go into its weight scales and its bias. Behind an int8 tensor they
become SCALE_CHANNELS, which a depthwise kernel of one pixel computes, or, on the image, its tables (`fold_lookups`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import WEIGHT_MAX
from compile.ir.qdq_graph import NORMALIZATION, SCALE_CHANNELS, Node, QdqGraph, QuantizedWeight
from compile.passes.fusion.fuse_residual import HOSTS

Values = NDArray[np.float64]
CONSTANT_OPERATORS = ("Add", "Sub", "Mul", "Div")


@dataclass(frozen=True, eq=False)
class _Line:
    """y[c] = factor[c] * x[c] + offset[c]."""

    source: str
    factor: Values
    offset: Values


def fold_channel_constants(graph: QdqGraph) -> QdqGraph:
    """Fold every Add, Sub, Mul and Div of a tensor and a constant with one value for each channel, and BatchNorm.

    One constant for the whole of an int8 tensor is left to `fold_lookups`, as a function of one number, unless the
    result is the network's scores.
    """
    made: dict[str, Node] = {}  # the nodes so far by output, in order
    weights, constants, shapes = dict(graph.weights), dict(graph.constants), dict(graph.shapes)
    for node in graph.nodes:
        made[node.output] = node
        line = _line(graph, node)
        if line is None:
            continue
        if line.source in graph.qparams or (line.source == graph.input and node.operator == NORMALIZATION):
            made[node.output] = _scale(node, line)
            continue
        host = made.get(line.source) if graph.only_consumer(line.source) is not None else None
        if host is not None and host.operator == SCALE_CHANNELS:
            made[node.output] = _scale(node, _behind(host, line))
            del made[host.output]
        elif host is not None and (layer := scale_layer(weights, constants, host, line.factor, line.offset)):
            weight, bias = (f"{host.output}, {part} of {node.output}" for part in ("weight", "bias"))
            weights[weight], constants[bias] = layer
            shapes[weight], shapes[bias] = layer[0].values.shape, layer[1].shape
            made[node.output] = replace(host, inputs=(host.inputs[0], weight, bias), output=node.output)
            del made[host.output]
    return replace(graph, nodes=tuple(made.values()), weights=weights, constants=constants, shapes=shapes)


def _line(graph: QdqGraph, node: Node) -> _Line | None:
    """Return what a node does to each channel, None for anything but a line with constants."""
    if node.operator == NORMALIZATION:
        return _normalization(graph, node)
    if node.operator not in CONSTANT_OPERATORS or len(node.inputs) != 2:
        return None
    stored = [name in graph.constants for name in node.inputs]
    if stored.count(True) != 1 or (node.operator == "Div" and stored[0]):
        return None
    source, constant = (node.inputs[1], node.inputs[0]) if stored[0] else node.inputs
    if source in graph.qparams and graph.constants[constant].size == 1 and node.output not in graph.outputs:
        return None
    values = _per_channel(graph.constants[constant], graph.shapes[source], graph.shapes[node.output])
    if values is None or (node.operator == "Div" and not values.all()):
        return None
    one, nothing = np.ones_like(values), np.zeros_like(values)
    match node.operator:
        case "Add":
            return _Line(source, one, values)
        case "Sub":
            return _Line(source, -one, values) if stored[0] else _Line(source, one, -values)
        case "Mul":
            return _Line(source, values, nothing)
    return _Line(source, one / values, nothing)


def _normalization(graph: QdqGraph, node: Node) -> _Line | None:
    """Return scale * (x - mean) / sqrt(variance + epsilon) + bias, None for other constants than one per channel."""
    shape = graph.shapes[node.output]
    found = [graph.constants.get(name) for name in node.inputs[1:]]
    parts = [part.astype(np.float64) for part in found if part is not None and part.shape == shape[1:2]]
    if len(parts) != 4 or not 2 <= len(shape) <= 4 or node.attributes.get("training_mode", 0):
        return None
    scale, bias, mean, variance = parts
    square = variance + float(np.float32(node.attributes.get("epsilon", 1e-5)))
    if not square.min(initial=1) > 0 or not np.isfinite(parts).all():
        return None
    factor = scale / np.sqrt(square)
    return _Line(node.inputs[0], factor, bias - mean * factor)


def _per_channel(constant: NDArray[np.generic], source: tuple[int, ...], output: tuple[int, ...]) -> Values | None:
    """Return one value for each channel, None for a constant that differs within one or changes the shape."""
    if source != output or not 2 <= len(output) <= 4 or constant.ndim > len(output) or constant.dtype.kind != "f":
        return None
    channels = output[1]
    aligned = (1,) * (len(output) - constant.ndim) + constant.shape
    if any(size != 1 for axis, size in enumerate(aligned) if axis != 1):
        return None
    return np.array(np.broadcast_to(constant.reshape(-1), (channels,)), np.float64)


def _behind(scaled: Node, line: _Line) -> _Line:
    """Return a line behind a SCALE_CHANNELS as one line of what that reads."""
    factor, offset = (np.asarray(scaled.attributes[key]) for key in ("factor", "offset"))
    return _Line(scaled.inputs[0], line.factor * factor, line.factor * offset + line.offset)


def _scale(node: Node, line: _Line) -> Node:
    attributes = {"factor": tuple(line.factor.tolist()), "offset": tuple(line.offset.tolist())}
    return Node(node.name, SCALE_CHANNELS, (line.source,), node.output, attributes)


def scale_layer(
    weights: Mapping[str, QuantizedWeight],
    constants: Mapping[str, NDArray[Any]],
    host: Node,
    factor: Values,
    offset: Values,
) -> tuple[QuantizedWeight, NDArray[np.floating]] | None:
    """Return weight and bias of a layer whose result is multiplied and moved, None where they cannot take it.

    Args:
        weights: those of the layer among them.
        constants: its bias among them.
        host: any node.
        factor: one for each channel of its result.
        offset: as many.
    """
    weight = weights.get(host.inputs[1]) if host.operator in HOSTS and len(host.inputs) > 1 else None
    axis = 0 if host.operator == "Conv" or host.attributes.get("transB", 0) else 1
    name = host.inputs[2] if len(host.inputs) > 2 else ""
    bias = constants.get(name) if name else np.zeros(len(factor))
    channels = len(factor)
    if weight is None or bias is None or host.residual is not None or host.bounds != (-math.inf, math.inf):
        return None
    if weight.values.min(initial=0) < -WEIGHT_MAX or weight.values.ndim <= axis:
        return None
    if weight.values.shape[axis] != channels or bias.size != channels or bias.shape[-1:] != (channels,):
        return None
    if weight.scales.size > 1 and weight.axis != axis:
        return None
    signs = np.sign(factor).astype(np.int8).reshape([-1 if at == axis else 1 for at in range(weight.values.ndim)])
    size = np.where(factor == 0, 1, np.abs(factor))  # 0 is one of the signs
    scales = np.broadcast_to(weight.scales, (channels,)).astype(np.float64) * size
    moved = bias.reshape(-1) * factor + offset
    return QuantizedWeight(weight.values * signs, scales.astype(np.float32), axis), moved
