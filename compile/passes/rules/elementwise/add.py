"""A residual add that no convolution could take, and the difference of two tensors."""

from __future__ import annotations

from calib.integer.program import Add
from calib.integer.qparams import ADD_SHIFT, INT32_MAX
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult, integer_bounds, tensor_of


def add(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower the sum or difference of two int8 tensors of one shape; a difference adds with a negative factor."""
    if node.operator not in ("Add", "Sub"):
        return None
    a, b, output = (tensor_of(graph, name) for name in (*node.inputs, node.output))
    if not a.shape == b.shape == output.shape:
        return Refusal("only the sum or difference of two tensors of one shape is supported")
    # rint(4096 * s / s_y), in the double precision of Python's floats; `round` rounds ties to even
    first, second = (round((1 << ADD_SHIFT) * tensor.qparams.scale / output.qparams.scale) for tensor in (a, b))
    if 255 * (first + second) + (1 << ADD_SHIFT) > INT32_MAX:
        return Refusal(f"an input's scale is more than {INT32_MAX // 255 >> ADD_SHIFT} times the output's")
    low, high = integer_bounds(node, output.qparams)
    return Add(node.name, a, b, output, first, second if node.operator == "Add" else -second, low, high)
