"""Convolutions: dense ones, and one kernel per channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.lower import IntegerLayer, lower_depthwise
from calib.program import DepthwiseConv2d
from compile.graph import Node, QdqGraph
from compile.passes.rules.common import (
    Answer,
    Refusal,
    bias_of,
    dense_operator,
    layer_output,
    shape_misfit,
    tensor_of,
    weight_of,
)


def conv(graph: QdqGraph, node: Node) -> Answer:
    """Lower a Conv with one group."""
    if node.operator != "Conv" or node.attributes.get("group", 1) != 1:
        return None
    geometry, found = _geometry(node), weight_of(graph, node, rank=4, channel_axis=0)
    if isinstance(geometry, Refusal):
        return geometry
    if isinstance(found, Refusal):
        return found
    weight, scales = found
    if oblong := _oblong(weight):
        return oblong
    return dense_operator(graph, node, weight.transpose(0, 2, 3, 1), scales, *geometry)  # OIHW to OHWI


def depthwise(graph: QdqGraph, node: Node) -> Answer:
    """Lower a Conv with as many groups as channels."""
    group = node.attributes.get("group", 1)
    if node.operator != "Conv" or group == 1:
        return None
    geometry, found = _geometry(node), weight_of(graph, node, rank=4, channel_axis=0)
    if isinstance(geometry, Refusal):
        return geometry
    if isinstance(found, Refusal):
        return found
    weight, scales = found
    if oblong := _oblong(weight):
        return oblong
    if weight.shape[0] != group or weight.shape[1] != 1:
        return Refusal(
            f"it has {group} groups of {weight.shape[1]} channels; 1 group or 1 channel a group is supported"
        )
    bias = bias_of(graph, node, group)
    if isinstance(bias, Refusal):
        return bias
    if misfit := shape_misfit(graph, node, (group, *weight.shape[2:]), group, *geometry):
        return misfit
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    layer = IntegerLayer(node.name, np.ascontiguousarray(weight[:, 0]), bias, scales, x.qparams)
    epilogue, start = lower_depthwise(layer, layer_output(graph, node))
    return DepthwiseConv2d(node.name, x, y, layer.weight, start, *geometry, epilogue)


def _oblong(weight: NDArray[np.int8]) -> Refusal | None:
    """Refuse a kernel that is higher than wide or wider than high: the schedules walk over square ones."""
    height, width = weight.shape[2:]
    return None if height == width else Refusal(f"its kernel is {height}x{width}; only square kernels are supported")


def _geometry(node: Node) -> tuple[int, int] | Refusal:
    """Return stride and padding in pixels, the same in both directions."""
    attributes = node.attributes
    strides, dilations = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
    pads = attributes.get("pads", (0, 0, 0, 0))
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return Refusal(f"auto_pad {attributes['auto_pad']!r} is not supported; export with explicit pads")
    if len(strides) != 2 or strides[0] != strides[1] or any(dilation != 1 for dilation in dilations):
        return Refusal(f"strides {strides} with dilations {dilations}; equal strides and no dilation are supported")
    if len(pads) != 4 or min(pads) < 0 or pads[0] != pads[1]:
        return Refusal(f"pads {pads}; the same padding above and on the left is supported")
    return strides[0], pads[0]
