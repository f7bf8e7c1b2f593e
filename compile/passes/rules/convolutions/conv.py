"""Convolutions: dense ones, groups as dense ones with zeros between, and one kernel per channel."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from calib.integer.lower import IntegerLayer, lower_depthwise
from calib.integer.program import DepthwiseConv2d
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import (
    Refusal,
    RuleResult,
    bias_of,
    layer_output,
    settle_dead_channels,
    tensor_of,
    weight_of,
)
from compile.passes.rules.convolutions.dense import dense_operator
from compile.passes.rules.geometry import geometry_of, shape_misfit

MOST_WEIGHTS = 1 << 26  # of a kernel, zeros included: 64 MB
MOST_TAPS = 1 << 10  # of a depthwise kernel, which writes one after the other


def conv(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a Conv with any groups but one for each channel; `split_groups` left as many as one kernel should take."""
    if node.operator != "Conv" or _is_depthwise(graph, node):
        return None
    found = weight_of(graph, node, rank=4, channel_axis=0)
    if isinstance(found, Refusal):
        return found
    geometry, weight = geometry_of(graph, node, found[0].shape[2:]), _block_diagonal(found[0], node)
    if isinstance(geometry, Refusal):
        return geometry
    return weight if isinstance(weight, Refusal) else dense_operator(graph, node, weight, found[1], geometry)


def depthwise(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a Conv with as many groups as channels."""
    if node.operator != "Conv" or not _is_depthwise(graph, node):
        return None
    found = weight_of(graph, node, rank=4, channel_axis=0)
    if isinstance(found, Refusal):
        return found
    (weight, scales), channels = found, len(found[0])
    geometry, bias = geometry_of(graph, node, weight.shape[2:]), bias_of(graph, node, channels)
    if isinstance(geometry, Refusal):
        return geometry
    if isinstance(bias, Refusal):
        return bias
    if misfit := shape_misfit(graph, node, geometry, channels, channels):
        return misfit
    if prod(geometry.kernel) > MOST_TAPS:
        return Refusal(f"its kernel of {geometry.kernel} has too many taps; up to {MOST_TAPS} are supported")
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    layer = IntegerLayer(node.name, np.ascontiguousarray(weight[:, 0]), bias, scales, x.qparams)
    layer = settle_dead_channels(layer, y.qparams.scale)
    epilogue, start = lower_depthwise(layer, layer_output(graph, node))
    where = geometry.strides, geometry.pads
    return DepthwiseConv2d(node.name, x, y, layer.weight, start, *where, epilogue, geometry.dilations)


def _is_depthwise(graph: QdqGraph, node: Node) -> bool:
    group, weight = node.attributes.get("group", 1), graph.weights.get(node.inputs[1])
    return group > 1 and weight is not None and weight.values.shape[:2] == (group, 1)


def _block_diagonal(weight: NDArray[np.int8], node: Node) -> NDArray[np.int8] | Refusal:
    """Return int8 [O, kh, kw, I * group] of [O, I, kh, kw], zeros where an output does not read a channel."""
    group = node.attributes.get("group", 1)
    outputs, inputs, height, width = weight.shape
    if group < 1 or outputs % group:
        return Refusal(f"its {outputs} outputs are no multiple of its {group} groups")
    if group > 1 and weight.size * group > MOST_WEIGHTS:
        return Refusal(f"its {group} groups make a kernel of {weight.size * group:,} weights; {MOST_WEIGHTS:,} is most")
    dense, each = np.zeros((group, outputs // group, height, width, group, inputs), np.int8), np.arange(group)
    dense[each, :, :, :, each] = weight.reshape(group, -1, inputs, height, width).transpose(0, 1, 3, 4, 2)
    return dense.reshape(outputs, height, width, group * inputs)
