"""PRelu with a slope for each channel; one slope for all is a function of one number, which `fold_lookups` finds."""

from __future__ import annotations

import numpy as np

from calib.integer.lower import integer_bounds, lower_slopes
from calib.integer.program import ChannelSlopes
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult, exceeds_int32, tensor_of

REACH = 255  # of an int8 value from a zero point


def channel_slopes(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a PRelu whose slopes are constants, one for each channel."""
    if node.operator != "PRelu" or len(node.inputs) != 2:
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    slopes, shape = graph.constants.get(node.inputs[1]), graph.shapes[node.output]
    if slopes is None:
        return Refusal("its slopes are computed by the graph; constants are supported")
    aligned = (1,) * (len(shape) - slopes.ndim) + slopes.shape
    if aligned != (1, y.channels, *(1,) * (len(shape) - 2)):
        return Refusal(f"its slopes have shape {list(slopes.shape)}; one for all, or one for each channel is supported")
    if x.shape != y.shape:
        return Refusal(f"its input has shape {x.shape}, its output {y.shape}")
    below, epilogue = lower_slopes(slopes.reshape(-1), x.qparams, y.qparams, *integer_bounds(node.bounds, y.qparams))
    largest = np.abs(below).max(keepdims=True)
    if refusal := exceeds_int32(REACH, np.maximum(largest, epilogue.multiplier)):
        return refusal
    return ChannelSlopes(node.name, x, y, below, epilogue)
