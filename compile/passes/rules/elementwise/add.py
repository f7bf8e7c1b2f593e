"""Sums that no convolution could take, and differences."""

from __future__ import annotations

from calib.integer.lower import LARGEST_RATIO, integer_bounds, lower_add
from calib.integer.program import Add
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult, misfit, tensor_of


def add(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower the sum or difference of a map and a tensor of its size, or of one value along some axes, in either order.

    A difference adds with a negative factor.
    """
    if node.operator not in ("Add", "Sub"):
        return None
    a, b, output = (tensor_of(graph, name) for name in (*node.inputs, node.output))
    x, other = (a, b) if a.shape == output.shape else (b, a)
    if refusal := misfit(node, other, x, output):
        return refusal
    factors = lower_add(a.qparams, b.qparams, output.qparams)
    if factors is None:
        return Refusal(f"an input's scale is more than {LARGEST_RATIO} times the output's")
    first, second = (factors[0], factors[1] if node.operator == "Add" else -factors[1])
    first, second = (first, second) if x is a else (second, first)
    return Add(node.name, x, other, output, first, second, *integer_bounds(node.bounds, output.qparams))
