"""Average pooling with a window that is smaller than the map."""

from __future__ import annotations

from math import prod

import numpy as np

from calib.integer.lower import integer_bounds, lower_pool
from calib.integer.program import AveragePool
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult, exceeds_int32, tensor_of
from compile.passes.rules.geometry import geometry_of, shape_misfit
from compile.passes.rules.pools.pool import LARGEST_MAP, too_many


def average_pool(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower an AveragePool that is smaller than its map; `pool` has those over the whole map."""
    if node.operator != "AveragePool":
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    kernel = node.attributes.get("kernel_shape", ())
    geometry, taps = geometry_of(graph, node, kernel), prod(kernel)
    if isinstance(geometry, Refusal):
        return geometry
    if (x.height, x.width) == kernel and not any((*geometry.pads, *geometry.ends)):
        return None
    if misfit := shape_misfit(graph, node, geometry, x.channels, x.channels):
        return misfit
    if taps > LARGEST_MAP:
        return Refusal(f"its window has {taps} pixels; up to {LARGEST_MAP} are supported")
    rows, columns = geometry.taps_inside(x, y, with_padding=bool(node.attributes.get("count_include_pad", 0)))
    if min(*rows, *columns) < 1:
        return Refusal("a window lies outside the map")
    counts = np.outer(rows, columns)
    bias, epilogue = lower_pool(taps, x.qparams, y.qparams, *integer_bounds(node.bounds, y.qparams), counts)
    if refusal := too_many(x, taps) or exceeds_int32(x.qparams.farthest * taps, epilogue.multiplier):
        return refusal
    where = geometry.kernel, geometry.strides, geometry.pads
    return AveragePool(node.name, x, y, *where, bias, epilogue, geometry.dilations)
