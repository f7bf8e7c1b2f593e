"""An activation with one scale per channel, as some tools write it before depthwise convolutions.

A depthwise convolution reads each channel on its own, so the scale of its input can be part of its weight's; a
convolution writes each channel with a factor of its own, so the scale of its output can be part of that. Between them
the integers stay what they were, with a step of 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import INT8_MAX, INT8_MIN
from compile.ir.qdq_graph import DEQUANTIZE, QUANTIZE, Node, QdqGraph, QuantizedWeight
from compile.passes.fusion.fold_channel_constants import scale_layer
from compile.passes.fusion.fuse_activation import interval_of

Scales = NDArray[np.float64]


@dataclass(frozen=True)
class _Link:
    """Everything around a Q node with several scales."""

    quantizer: Node
    host: Node  # the layer that makes the tensor
    activations: tuple[Node, ...]  # between that layer and the Q node
    dequantizers: tuple[Node, ...]
    readers: tuple[Node, ...]  # depthwise convolutions
    limits: tuple[float, float]  # of the activations, in steps


def fold_channel_scales(graph: QdqGraph) -> QdqGraph:
    """Move such scales into the weights before and behind them; what cannot be moved is left for `plan` to name."""
    for node in graph.nodes:
        if node.operator == QUANTIZE and graph.constants[node.inputs[1]].size > 1:
            link = _link(graph, node)
            graph = graph if link is None else _moved(graph, link)
    return graph


def _link(graph: QdqGraph, quantizer: Node) -> _Link | None:
    source, activations = graph.producers.get(quantizer.inputs[0]), []
    while source is not None and interval_of(graph, source) is not None and graph.only_consumer(source.output):
        activations.append(source)
        source = graph.producers.get(source.inputs[0])
    dequantizers = graph.consumers.get(quantizer.output, ())
    if source is None or graph.only_consumer(source.output) is None or not _same_steps(graph, quantizer, dequantizers):
        return None
    readers = tuple(reader for node in dequantizers for reader in graph.consumers.get(node.output, ()))
    limits = _limits(graph, quantizer, activations)
    if limits is None or not readers or not all(_is_depthwise(graph, reader) for reader in readers):
        return None
    return _Link(quantizer, source, tuple(activations), dequantizers, readers, limits)


def _same_steps(graph: QdqGraph, quantizer: Node, dequantizers: tuple[Node, ...]) -> bool:
    """Return whether all readers of a Q node are DQ nodes of its scales."""
    scales = graph.constants[quantizer.inputs[1]]
    return all(
        node.operator == DEQUANTIZE
        and node.output not in graph.outputs
        and np.array_equal(graph.constants[node.inputs[1]], scales)
        and _zero_point(graph, node) == _zero_point(graph, quantizer)
        for node in dequantizers
    )


def _zero_point(graph: QdqGraph, node: Node) -> int:
    """Return the zero point, which the frontend has found to be the same for every channel."""
    return int(graph.constants[node.inputs[2]].reshape(-1)[0]) if len(node.inputs) > 2 and node.inputs[2] else 0


def _limits(graph: QdqGraph, quantizer: Node, activations: list[Node]) -> tuple[float, float] | None:
    """Return the limits of Relu and Clip in steps from the zero point, None where they differ between channels."""
    low, high = -math.inf, math.inf
    for node in reversed(activations):  # from the layer on
        least, most = interval_of(graph, node) or (low, high)
        low, high = (min(max(bound, least), most) for bound in (low, high))
    scales, zero = graph.constants[quantizer.inputs[1]].astype(np.float32), _zero_point(graph, quantizer)
    steps = []
    for bound in (low, high):
        integers = np.clip(np.rint(np.float32(bound) / scales) + zero, INT8_MIN, INT8_MAX)
        if len({*integers.tolist()}) != 1:
            return None
        steps.append(float(integers.flat[0]) - zero)
    return steps[0], steps[1]


def _is_depthwise(graph: QdqGraph, node: Node) -> bool:
    weight = graph.weights.get(node.inputs[1]) if node.operator == "Conv" and len(node.inputs) > 1 else None
    if weight is None or weight.values.ndim != 4:
        return False
    channels = node.attributes.get("group", 1)
    whole = weight.scales.size == 1 or weight.axis == 0
    return whole and weight.values.shape[:2] == (channels, 1) and graph.shapes[node.inputs[0]][1] == channels


def _moved(graph: QdqGraph, link: _Link) -> QdqGraph:
    """Return the graph with the scales of a link in the weights around it."""
    scales: Scales = graph.constants[link.quantizer.inputs[1]].astype(np.float64)
    tensor = link.quantizer.output
    weights, constants, shapes = dict(graph.weights), dict(graph.constants), dict(graph.shapes)
    layer = scale_layer(weights, constants, link.host, 1 / scales, np.zeros_like(scales))
    if layer is None:
        return graph
    names = {part: f"{tensor}, {part}" for part in ("weight", "bias", "scale", "zero point", "low", "high")}
    weights[names["weight"]], constants[names["bias"]] = layer
    constants[names["scale"]] = np.asarray(1, np.float32)
    constants[names["zero point"]] = np.asarray(_zero_point(graph, link.quantizer), np.int8)
    constants[names["low"]], constants[names["high"]] = (np.asarray(limit, np.float32) for limit in link.limits)
    parameters = (names["scale"], names["zero point"])
    changed = {link.host.output: replace(link.host, inputs=(link.host.inputs[0], names["weight"], names["bias"]))}
    for node in link.activations:
        changed[node.output] = replace(
            node, operator="Clip", inputs=(node.inputs[0], names["low"], names["high"]), attributes={}
        )
    for node in (link.quantizer, *link.dequantizers):
        changed[node.output] = replace(node, inputs=(node.inputs[0], *parameters), attributes={})
    for node in link.readers:
        name = f"{node.inputs[1]}, with the scales of {tensor}"
        weight = weights[node.inputs[1]]
        weights[name] = QuantizedWeight(weight.values, (weight.scales * scales).astype(np.float32), 0)
        shapes[name] = weight.values.shape
        changed[node.output] = replace(node, inputs=(node.inputs[0], name, *node.inputs[2:]))
    shapes.update({name: constants[name].shape for name in names.values() if name in constants})
    shapes[names["weight"]] = layer[0].values.shape
    nodes = tuple(changed.get(node.output, node) for node in graph.nodes)
    return replace(graph, nodes=nodes, weights=weights, constants=constants, shapes=shapes)
