"""The image: quantize(normalize(byte)) as three tables."""

from __future__ import annotations

from calib.integer.program import InputTable
from calib.integer.qparams import quantize
from compile.ir.qdq_graph import INPUT_TABLE, Node, QdqGraph
from compile.passes.rules.common import RuleResult, tensor_of


def input_table(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower the Q node of the network's input."""
    if node.operator != INPUT_TABLE:
        return None
    output = tensor_of(graph, node.output)
    return InputTable(node.name, output, quantize(graph.preprocess.table(), output.qparams))
