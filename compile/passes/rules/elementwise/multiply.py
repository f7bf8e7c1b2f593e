"""The squeeze-excite gate."""

from __future__ import annotations

from calib.integer.lower import integer_bounds, lower_multiply
from calib.integer.program import Multiply
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult, exceeds_int32, tensor_of


def multiply(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower the product of a map and one value per channel, in either order."""
    if node.operator != "Mul":
        return None
    a, b = (tensor_of(graph, name) for name in node.inputs)
    x, gate = (b, a) if (a.height, a.width) == (1, 1) else (a, b)
    output = tensor_of(graph, node.output)
    if gate.shape != (1, 1, x.channels) or output.shape != x.shape:
        return Refusal("only a map times one value per channel is supported")
    epilogue = lower_multiply(x.qparams, gate.qparams, output.qparams, *integer_bounds(node.bounds, output.qparams))
    return exceeds_int32(255 * 255, epilogue.multiplier) or Multiply(node.name, x, gate, output, epilogue)
