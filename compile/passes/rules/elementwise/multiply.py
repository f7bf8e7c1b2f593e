"""Products of two tensors, the squeeze-excite gate among them."""

from __future__ import annotations

from calib.integer.lower import integer_bounds, lower_multiply
from calib.integer.program import Multiply
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import RuleResult, exceeds_int32, misfit, tensor_of


def multiply(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower the product of a map and a tensor of its size, or of one value along some axes, in either order."""
    if node.operator != "Mul":
        return None
    a, b = (tensor_of(graph, name) for name in node.inputs)
    output = tensor_of(graph, node.output)
    x, gate = (a, b) if a.shape == output.shape else (b, a)
    if refusal := misfit(node, gate, x, output):
        return refusal
    epilogue = lower_multiply(x.qparams, gate.qparams, output.qparams, *integer_bounds(node.bounds, output.qparams))
    return exceeds_int32(255 * 255, epilogue.multiplier) or Multiply(node.name, x, gate, output, epilogue)
