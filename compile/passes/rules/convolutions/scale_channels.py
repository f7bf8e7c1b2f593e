"""One factor and one offset for each channel: a depthwise kernel of one pixel, or a diagonal matrix before scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calib.integer.lower import IntegerLayer, lower_depthwise, lower_logits
from calib.integer.program import Conv2d, DepthwiseConv2d
from compile.ir.qdq_graph import NORMALIZATION, SCALE_CHANNELS, Node, QdqGraph
from compile.passes.rules.common import (
    Refusal,
    RuleResult,
    is_logits,
    layer_output,
    settle_dead_channels,
    tensor_of,
    unquantized_result,
)

UNIT = 64  # the weight that stands for the factor; the offset is rounded to 1/64 of a step of the input
MOST_SCORES = 4096  # a diagonal matrix of as many rows takes 16 MB


def scale_channels(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower y[c] = factor[c] * x[c] + offset[c], as `fold_channel_constants` leaves it."""
    if node.operator == NORMALIZATION:
        return Refusal(
            "its scale, bias, mean and variance have to be constants with one value for each channel, the variance "
            "positive; export the network in evaluation mode"
        )
    if node.operator != SCALE_CHANNELS:
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    factor, offset = (np.asarray(node.attributes[key]) for key in ("factor", "offset"))
    weight = (UNIT * np.sign(factor)).astype(np.int8).reshape(-1, 1, 1)
    # A factor of 0 leaves the offset alone, as 2**20 steps.
    alone = np.where(offset == 0, 1, np.abs(offset)) / 2.0**20 / x.qparams.scale
    scales = np.where(factor == 0, alone, np.abs(factor) / UNIT)
    layer = IntegerLayer(node.name, weight, offset, scales.astype(np.float32), x.qparams)
    if not is_logits(graph, node):
        layer = settle_dead_channels(layer, y.qparams.scale)
        epilogue, start = lower_depthwise(layer, layer_output(graph, node))
        return DepthwiseConv2d(node.name, x, y, layer.weight, start, (1, 1), (0, 0), epilogue)
    if refusal := unquantized_result(graph):
        return refusal
    if (y.height, y.width) != (1, 1) or y.channels > MOST_SCORES or node.bounds != (-np.inf, np.inf):
        return Refusal(f"the scores are one plain value for each of up to {MOST_SCORES} classes")
    layer = replace(layer, weight=np.diag(weight.reshape(-1))[:, None, None, :])  # [O, 1, 1, I]
    scores, start = lower_logits(layer)
    return Conv2d(node.name, x, y, np.ascontiguousarray(layer.weight), start, (1, 1), (0, 0), scores)
