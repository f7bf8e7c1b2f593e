"""One factor and one offset for each channel: a depthwise kernel of one pixel."""

from __future__ import annotations

import numpy as np

from calib.integer.lower import IntegerLayer, lower_depthwise
from calib.integer.program import DepthwiseConv2d
from compile.ir.qdq_graph import SCALE_CHANNELS, Node, QdqGraph
from compile.passes.rules.common import RuleResult, layer_output, settle_dead_channels, tensor_of

UNIT = 64  # the weight that stands for the factor; the offset is rounded to 1/64 of a step of the input


def scale_channels(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower y[c] = factor[c] * x[c] + offset[c], as `fold_channel_constants` leaves it."""
    if node.operator != SCALE_CHANNELS:
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    factor, offset = (np.asarray(node.attributes[key]) for key in ("factor", "offset"))
    weight = (UNIT * np.sign(factor)).astype(np.int8).reshape(-1, 1, 1)
    # A factor of 0 leaves the offset alone, in steps of 1/64 of the output's.
    scales = np.where(factor == 0, y.qparams.scale / x.qparams.scale, np.abs(factor)) / UNIT
    layer = IntegerLayer(node.name, weight, offset, scales.astype(np.float32), x.qparams)
    layer = settle_dead_channels(layer, y.qparams.scale)
    epilogue, start = lower_depthwise(layer, layer_output(graph, node))
    return DepthwiseConv2d(node.name, x, y, layer.weight, start, 1, 0, epilogue)
