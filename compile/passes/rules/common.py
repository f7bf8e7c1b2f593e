"""What the lowering rules share: their answer, tensors in NHWC, bounds as integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calib.integer.lower import IntegerLayer, LayerOutput, integer_bounds
from calib.integer.program import Operator
from calib.integer.qparams import INT32_MAX, WEIGHT_MAX, QParams
from calib.integer.values import Tensor
from compile.ir.qdq_graph import MISALIGNED, Node, QdqGraph

OTHER_SCALE = "its result has another scale or zero point than what it reads"


@dataclass(frozen=True)
class Refusal:
    """Why a node cannot be computed in integers."""

    reason: str


RuleResult: TypeAlias = Operator | Refusal | None  # None: the node is not this rule's
Rule: TypeAlias = Callable[[QdqGraph, Node], RuleResult]


def map_sizes(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return (height, width, channels) of one image's tensor; [1, C] is a map of one pixel. None for other shapes."""
    if not 2 <= len(shape) <= 4 or shape[0] != 1:
        return None
    channels, height, width = (*shape[1:], 1, 1)[:3]
    return height, width, channels


def tensor_of(graph: QdqGraph, name: str) -> Tensor:
    """Return an int8 or int16 tensor, or the logits, with its NHWC sizes; [1, C] is a map of one pixel."""
    height, width, channels = map_sizes(graph.shapes[name]) or (0, 0, 0)  # `plan` refuses other shapes before
    return Tensor(name, height, width, channels, graph.qparams.get(name, QParams(1.0)))


def layer_output(graph: QdqGraph, node: Node) -> LayerOutput:
    """Return the int8 tensor a node writes, with its bounds and the residual added to it."""
    params = graph.qparams[node.output]
    residual = None if node.residual is None else tensor_of(graph, node.residual)
    return LayerOutput(params, *integer_bounds(node.bounds, params), residual)


def misfit(node: Node, other: Tensor, x: Tensor, output: Tensor) -> Refusal | None:
    """Return a refusal unless an output has the size of a map, and the other operand the same or 1 along each axis."""
    if MISALIGNED in node.attributes:
        return Refusal(f"{node.attributes[MISALIGNED]!r} has fewer axes than its result and meets other ones than it "
                       "has; reshape it to [1, C, 1, 1] or [1, 1, H, W]")  # fmt: skip
    if x.shape == output.shape and all(size in (1, whole) for size, whole in zip(other.shape, x.shape, strict=True)):
        return None
    return Refusal(
        f"its operands have shapes {x.shape} and {other.shape}; a map and a tensor of its size, or of size 1 along "
        "some axes, are supported"
    )


def is_logits(graph: QdqGraph, node: Node) -> bool:
    """Return whether a node writes a result of the network in float."""
    return node.output in graph.outputs and node.output not in graph.qparams


def unquantized_result(graph: QdqGraph) -> Refusal | None:
    """Return a refusal of a result in float where a network has several: each of them is quantized."""
    if not graph.other_outputs:
        return None
    return Refusal(
        f"the network has {len(graph.outputs)} results; put QuantizeLinear and DequantizeLinear before each of them"
    )


def exceeds_int32(largest: int, multiplier: NDArray[np.float32]) -> Refusal | None:
    """Return a refusal when |acc * m| could leave int32, or when m is not a normal float32."""
    for value in (float(multiplier.max()), float(multiplier.min())):
        if not np.isfinite(value) or value < np.finfo(np.float32).tiny or largest * value >= INT32_MAX:
            return Refusal(f"its scales are too far apart (factor {value:.3g}); calibrate with other pictures")
    return None


def weight_of(
    graph: QdqGraph, node: Node, rank: int, channel_axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]] | Refusal:
    """Return the int8 weight of a node, still in the file's layout, and one scale per output channel."""
    weight = graph.weights.get(node.inputs[1])
    if weight is None:
        return Refusal("its weight is not an int8 constant with zero point 0")
    if weight.values.ndim != rank or not weight.values.size:
        return Refusal(f"its weight has shape {list(weight.values.shape)}; {rank} dimensions are needed")
    if weight.values.min() < -WEIGHT_MAX:
        return Refusal(f"a weight is {weight.values.min()}; symmetric weights lie in [-{WEIGHT_MAX}, {WEIGHT_MAX}]")
    channels = weight.values.shape[channel_axis]
    if weight.scales.size == 1:
        return weight.values, np.full(channels, weight.scales[0], np.float32)
    if weight.axis != channel_axis:
        return Refusal(
            f"its weight has scales along axis {weight.axis}; only axis {channel_axis}, the output, has them"
        )
    return weight.values, weight.scales


def bias_of(graph: QdqGraph, node: Node, channels: int) -> NDArray[np.floating] | Refusal:
    """Return the real bias [channels]; zeros where there is none."""
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    if not name:
        return np.zeros(channels)
    bias = graph.constants.get(name)
    if bias is None and name in graph.weights:
        return Refusal("its bias is int8; float32, or int32 under DequantizeLinear, is needed")
    if bias is None or bias.size != channels or bias.shape[-1:] != (channels,):
        return Refusal(f"its bias is not a constant of {channels} values")
    return bias.reshape(-1)


def settle_dead_channels(layer: IntegerLayer, scale_y: float) -> IntegerLayer:
    """Return the layer with the weights of dead channels at 0, where they keep their bias from fitting int32.

    A channel is dead when no input can make its weights move the output by half a step. Folding leaves such channels:
    weights near 0, a scale as small, and a bias that is millions of times as large.

    Args:
        layer: weights with their scales, and the real bias.
        scale_y: the step of the output.
    """
    bias_steps = np.abs(np.asarray(layer.bias, np.float64)) / layer.step
    weight_sum = np.abs(layer.weight.reshape(len(layer.weight), -1).astype(np.int64)).sum(axis=1)
    x = layer.input
    farthest = max(x.high - x.zero_point, x.zero_point - x.low)
    dead = (bias_steps + x.farthest * weight_sum > INT32_MAX) & (weight_sum * farthest * layer.step < scale_y / 2)
    if not dead.any():
        return layer
    weight, scales = layer.weight.copy(), np.array(layer.scales, np.float32)
    weight[dead] = 0
    # The bias becomes 2**24 steps, the most that float32 holds exactly.
    scales[dead] = np.abs(layer.bias[dead]) / (np.float64(np.float32(layer.input.scale)) * 2.0**24)
    return replace(layer, weight=weight, scales=scales)
