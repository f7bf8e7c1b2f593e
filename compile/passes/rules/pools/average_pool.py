"""Average pooling with a window that is smaller than the map."""

from __future__ import annotations

from math import prod

from calib.integer.lower import integer_bounds, lower_pool
from calib.integer.program import AveragePool
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult, exceeds_int32, tensor_of
from compile.passes.rules.geometry import geometry_of, shape_misfit

PIXELS = 128  # of a window: the kernel adds int8 values, at most 128 in size, in int16: 128 * 128 < 2^15


def average_pool(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower an AveragePool that is smaller than its map; `pool` has those over the whole map."""
    kernel = node.attributes.get("kernel_shape", ())
    if node.operator != "AveragePool":
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    geometry, count = geometry_of(graph, node, kernel), prod(kernel)
    if isinstance(geometry, Refusal):
        return geometry
    if (x.height, x.width) == kernel and not any((*geometry.pads, *geometry.ends)):
        return None
    if count > PIXELS:
        return Refusal(f"a window of {kernel[0]}x{kernel[1]}; at most {PIXELS} pixels, or the whole map, are supported")
    if misfit := shape_misfit(graph, node, geometry, x.channels, x.channels):
        return misfit
    rows, columns = geometry.taps_inside(x, y, with_padding=bool(node.attributes.get("count_include_pad", 0)))
    if min(rows) < kernel[0] or min(columns) < kernel[1]:
        return Refusal(
            "the mean at the border would have fewer pixels; export with count_include_pad=1 and ceil_mode=0"
        )
    bias, epilogue = lower_pool(count, x.qparams, y.qparams, *integer_bounds(node.bounds, y.qparams))
    if refusal := exceeds_int32(255 * count, epilogue.multiplier):
        return refusal
    where = geometry.kernel, geometry.strides, geometry.pads
    return AveragePool(node.name, x, y, *where, bias, epilogue, geometry.dilations)
