"""A residual add that no convolution could take."""

from __future__ import annotations

from calib.integer.program import Add
from calib.integer.qparams import ADD_SHIFT, INT32_MAX
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult, integer_bounds, tensor_of


def add(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower the sum of two int8 tensors of one shape."""
    if node.operator != "Add":
        return None
    a, b, output = (tensor_of(graph, name) for name in (*node.inputs, node.output))
    if not a.shape == b.shape == output.shape:
        return Refusal("only the sum of two tensors of one shape is supported")
    # rint(4096 * s / s_y), in the double precision of Python's floats; `round` rounds ties to even
    first, second = (round((1 << ADD_SHIFT) * tensor.qparams.scale / output.qparams.scale) for tensor in (a, b))
    if 255 * (first + second) + (1 << ADD_SHIFT) > INT32_MAX:
        return Refusal(f"an input's scale is more than {INT32_MAX // 255 >> ADD_SHIFT} times the output's")
    low, high = integer_bounds(node, output.qparams)
    return Add(node.name, a, b, output, first, second, low, high)
