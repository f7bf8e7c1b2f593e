"""Average pooling with a window that is smaller than the map."""

from __future__ import annotations

from calib.integer.lower import integer_bounds, lower_pool
from calib.integer.program import AveragePool
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult, exceeds_int32, shape_misfit, tensor_of

PIXELS = 128  # of a window: the kernel adds int8 values, at most 128 in size, in int16: 128 * 128 < 2^15


def average_pool(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower an AveragePool that is smaller than its map; `pool` has those over the whole map."""
    attributes = node.attributes
    window = attributes.get("kernel_shape", ())
    if node.operator != "AveragePool" or len(window) != 2 or min(window) < 1:
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    pads, strides, count = attributes.get("pads", (0,) * 4), attributes.get("strides", (1, 1)), window[0] * window[1]
    if (x.height, x.width) == window and not any(pads):
        return None
    if count > PIXELS:
        return Refusal(f"a window of {window[0]}x{window[1]}; at most {PIXELS} pixels, or the whole map, are supported")
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return Refusal(f"auto_pad {attributes['auto_pad']!r} is not supported; export with explicit pads")
    if len({*strides}) != 1 or {*attributes.get("dilations", (1,))} != {1}:
        return Refusal("only equal strides and no dilation are supported")
    if len(pads) != 4 or pads[0] != pads[1] or min(pads) < 0:
        return Refusal(f"pads {pads}; the same padding above and on the left is supported")
    if any(pads) and not attributes.get("count_include_pad", 0):
        return Refusal("the mean at the border would have fewer pixels; export with count_include_pad=1")
    if misfit := shape_misfit(graph, node, (x.channels, *window), x.channels, strides[0], pads[0]):
        rounded_up = Refusal("the last mean would have fewer pixels; export with ceil_mode=0")
        return rounded_up if attributes.get("ceil_mode", 0) else misfit
    bias, epilogue = lower_pool(count, x.qparams, y.qparams, *integer_bounds(node.bounds, y.qparams))
    if refusal := exceeds_int32(255 * count, epilogue.multiplier):
        return refusal
    return AveragePool(node.name, x, y, window, strides[0], pads[0], bias, epilogue)
