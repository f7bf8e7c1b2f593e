"""Sums that no convolution could take, and differences."""

from __future__ import annotations

from calib.integer.lower import LARGEST_RATIO, integer_bounds, lower_add, lower_wide_add
from calib.integer.program import Add, WideAdd
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
    tensors, bounds = (a.qparams, b.qparams, output.qparams), integer_bounds(node.bounds, output.qparams)
    sign = 1 if node.operator == "Add" else -1
    if any(params.is_wide for params in tensors):
        wide = lower_wide_add(*tensors)
        if wide is None:
            return Refusal("an input's scale is too many times the output's; calibrate with other pictures")
        wide = (wide[0], sign * wide[1]) if x is a else (sign * wide[1], wide[0])
        return WideAdd(node.name, x, other, output, *wide, *bounds)
    factors = lower_add(*tensors)
    if factors is None:
        return Refusal(f"an input's scale is more than {LARGEST_RATIO} times the output's")
    factors = (factors[0], sign * factors[1]) if x is a else (sign * factors[1], factors[0])
    return Add(node.name, x, other, output, *factors, *bounds)
