"""Max pooling."""

from __future__ import annotations

import numpy as np

from calib.integer.program import MaxPool
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import OTHER_SCALE, Refusal, RuleResult, tensor_of
from compile.passes.rules.geometry import geometry_of, shape_misfit


def max_pool(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a MaxPool; with `ceil_mode` the last window reaches beyond the map."""
    if node.operator != "MaxPool":
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    geometry = geometry_of(graph, node, node.attributes.get("kernel_shape", ()))
    if isinstance(geometry, Refusal):
        return geometry
    if misfit := shape_misfit(graph, node, geometry, x.channels, x.channels):
        return misfit
    if min(counts.min() for counts in geometry.taps_inside(x, y)) < 1:
        return Refusal("a window lies outside the map")
    if x.qparams != y.qparams or node.bounds != (-np.inf, np.inf):
        return Refusal(OTHER_SCALE)
    where = geometry.kernel, geometry.strides, geometry.pads, geometry.dilations
    return MaxPool(node.name, x, y, *where)
