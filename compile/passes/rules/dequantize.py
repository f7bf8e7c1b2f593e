"""Results that a file quantizes: the DequantizeLinear nodes at the ends of the network."""

from __future__ import annotations

import math

from calib.integer.program import Dequantize
from compile.ir.qdq_graph import DEQUANTIZE_SCORES, Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult, tensor_of


def dequantize(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower the DequantizeLinear that makes the scores, or one of several results."""
    if node.operator != DEQUANTIZE_SCORES:
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    if not graph.other_outputs and (x.height, x.width) != (1, 1):
        return Refusal("the scores are one value per class, not a map")
    before = graph.outputs[: graph.outputs.index(node.output)]
    return Dequantize(node.name, x, y, sum(math.prod(graph.shapes[name]) for name in before))
