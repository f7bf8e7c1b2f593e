"""Scores that a file quantizes: the last DequantizeLinear of the network."""

from __future__ import annotations

from calib.integer.program import Dequantize
from compile.ir.qdq_graph import DEQUANTIZE_SCORES, Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult, tensor_of


def dequantize(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower the DequantizeLinear that makes the scores."""
    if node.operator != DEQUANTIZE_SCORES:
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    if (x.height, x.width) != (1, 1):
        return Refusal("the scores are one value per class, not a map")
    return Dequantize(node.name, x, y)
