"""The image: quantize(normalize(byte)) as a table for each channel."""

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
    tables = graph.tables.get(node.output)  # where the graph computes something of the image before it is quantized
    if tables is None:
        tables = quantize(graph.preprocess.table(), output.qparams)
    return InputTable(node.name, output, tables)
