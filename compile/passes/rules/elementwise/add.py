"""A residual add that no convolution could take, and the difference of two tensors."""

from __future__ import annotations

from calib.integer.lower import LARGEST_RATIO, integer_bounds, lower_add
from calib.integer.program import Add
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult, tensor_of


def add(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower the sum or difference of two int8 tensors of one shape; a difference adds with a negative factor."""
    if node.operator not in ("Add", "Sub"):
        return None
    a, b, output = (tensor_of(graph, name) for name in (*node.inputs, node.output))
    if not a.shape == b.shape == output.shape:
        return Refusal("only the sum or difference of two tensors of one shape is supported")
    factors = lower_add(a.qparams, b.qparams, output.qparams)
    if factors is None:
        return Refusal(f"an input's scale is more than {LARGEST_RATIO} times the output's")
    first, second = factors
    low, high = integer_bounds(node.bounds, output.qparams)
    return Add(node.name, a, b, output, first, second if node.operator == "Add" else -second, low, high)
