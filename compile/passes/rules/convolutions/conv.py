"""Convolutions: dense ones, groups as dense ones with zeros between, and one kernel per channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.integer.lower import IntegerLayer, lower_depthwise
from calib.integer.operation import dilated
from calib.integer.program import DepthwiseConv2d
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import (
    Refusal,
    RuleResult,
    bias_of,
    dense_operator,
    layer_output,
    settle_dead_channels,
    shape_misfit,
    tensor_of,
    weight_of,
)

MOST_PADDING = 64  # of a dilated kernel, whose weights do not say how far it reaches
MOST_WEIGHTS = 1 << 26  # of a kernel, zeros included: 64 MB


@dataclass(frozen=True)
class _Kernel:
    """Weight, scales and geometry of a Conv."""

    weight: NDArray[np.int8]  # OIHW, square
    scales: NDArray[np.float32]  # [O]
    stride: int
    padding: int  # above and on the left
    dilation: int


def conv(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a Conv with any groups but one for each channel; `split_groups` left as many as one kernel should take."""
    if node.operator != "Conv" or _is_depthwise(graph, node):
        return None
    kernel = _kernel(graph, node)
    if isinstance(kernel, Refusal):
        return kernel
    weight = _block_diagonal(kernel.weight, node.attributes.get("group", 1))
    if isinstance(weight, Refusal):
        return weight
    return dense_operator(graph, node, weight, kernel.scales, kernel.stride, kernel.padding, kernel.dilation)


def depthwise(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a Conv with as many groups as channels."""
    if node.operator != "Conv" or not _is_depthwise(graph, node):
        return None
    kernel = _kernel(graph, node)
    if isinstance(kernel, Refusal):
        return kernel
    channels, _, *taps = kernel.weight.shape
    sides = (dilated(side, kernel.dilation) for side in taps)
    bias = bias_of(graph, node, channels)
    if isinstance(bias, Refusal):
        return bias
    if misfit := shape_misfit(graph, node, (channels, *sides), channels, kernel.stride, kernel.padding):
        return misfit
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    layer = IntegerLayer(node.name, np.ascontiguousarray(kernel.weight[:, 0]), bias, kernel.scales, x.qparams)
    layer = settle_dead_channels(layer, y.qparams.scale)
    epilogue, start = lower_depthwise(layer, layer_output(graph, node))
    geometry = kernel.stride, kernel.padding
    return DepthwiseConv2d(node.name, x, y, layer.weight, start, *geometry, epilogue, kernel.dilation)


def _is_depthwise(graph: QdqGraph, node: Node) -> bool:
    group, weight = node.attributes.get("group", 1), graph.weights.get(node.inputs[1])
    return group > 1 and weight is not None and weight.values.shape[:2] == (group, 1)


def _block_diagonal(weight: NDArray[np.int8], group: int) -> NDArray[np.int8] | Refusal:
    """Return int8 [O, kh, kw, I * group] of [O, I, kh, kw], zeros where an output does not read a channel."""
    outputs, inputs, height, width = weight.shape
    if group < 1 or outputs % group:
        return Refusal(f"its {outputs} outputs are no multiple of its {group} groups")
    if group > 1 and weight.size * group > MOST_WEIGHTS:
        return Refusal(f"its {group} groups make a kernel of {weight.size * group:,} weights; {MOST_WEIGHTS:,} is most")
    dense, each = np.zeros((group, outputs // group, height, width, group, inputs), np.int8), np.arange(group)
    dense[each, :, :, :, each] = weight.reshape(group, -1, inputs, height, width).transpose(0, 1, 3, 4, 2)
    return dense.reshape(outputs, height, width, group * inputs)


def _kernel(graph: QdqGraph, node: Node) -> _Kernel | Refusal:
    """Return weight and geometry; the schedules walk over square kernels, so others are refused."""
    geometry, found = _geometry(node), weight_of(graph, node, rank=4, channel_axis=0)
    if isinstance(geometry, Refusal):
        return geometry
    if isinstance(found, Refusal):
        return found
    height, width = found[0].shape[2:]
    if height != width:
        return Refusal(f"its kernel is {height}x{width}; only square kernels are supported")
    return _Kernel(*found, *geometry)


def _geometry(node: Node) -> tuple[int, int, int] | Refusal:
    """Return stride, padding and dilation in pixels, the same in both directions."""
    attributes = node.attributes
    strides, dilations = attributes.get("strides", (1, 1)), attributes.get("dilations", (1, 1))
    pads = attributes.get("pads", (0, 0, 0, 0))
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return Refusal(f"auto_pad {attributes['auto_pad']!r} is not supported; export with explicit pads")
    if len(strides) != 2 or strides[0] != strides[1] or len({*dilations}) != 1 or min(dilations) < 1:
        return Refusal(f"strides {strides} with dilations {dilations}; equal strides and equal dilations are supported")
    if len(pads) != 4 or min(pads) < 0 or pads[0] != pads[1]:
        return Refusal(f"pads {pads}; the same padding above and on the left is supported")
    if dilations[0] > 1 and max(pads) > MOST_PADDING:
        return Refusal(f"pads {pads} of a dilated kernel; at most {MOST_PADDING} pixels are supported")
    return strides[0], pads[0], dilations[0]
