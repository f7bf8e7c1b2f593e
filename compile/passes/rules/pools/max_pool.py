"""Max pooling with a square window."""

from __future__ import annotations

import numpy as np

from calib.integer.program import MaxPool
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import OTHER_SCALE, Refusal, RuleResult, tensor_of


def max_pool(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a MaxPool with a square window."""
    if node.operator != "MaxPool":
        return None
    x, y, attributes = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output), node.attributes
    kernel, strides = attributes.get("kernel_shape", ()), attributes.get("strides", (1, 1))
    pads = attributes.get("pads", (0, 0, 0, 0))
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return Refusal(f"auto_pad {attributes['auto_pad']!r} is not supported; export with explicit pads")
    if len(kernel) != 2 or len({*kernel}) != 1 or len({*strides}) != 1 or {*attributes.get("dilations", (1,))} != {1}:
        return Refusal("only a square window with equal strides and no dilation is supported")
    size, stride = kernel[0], strides[0]
    if len(pads) != 4 or pads[0] != pads[1] or min(pads) < 0 or max(pads) >= size or stride < 1:
        return Refusal(f"pads {pads}; equal ones above and on the left, smaller than the window, are supported")
    inside = max((y.height - 1) * stride - pads[0] - x.height, (y.width - 1) * stride - pads[0] - x.width) < 0
    if not inside or x.channels != y.channels:
        return Refusal("a window lies outside the map")
    if x.qparams != y.qparams or node.bounds != (-np.inf, np.inf):
        return Refusal(OTHER_SCALE)
    return MaxPool(node.name, x, y, size, stride, pads[0])
