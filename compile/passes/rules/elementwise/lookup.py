"""Functions of one tensor, element by element."""

from __future__ import annotations

from calib.integer.program import Lookup
from compile.ir.qdq_graph import LOOKUP_TABLE, Node, QdqGraph
from compile.passes.rules.common import RuleResult, tensor_of


def lookup(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower what `fold_lookups` found."""
    if node.operator != LOOKUP_TABLE:
        return None
    x, output = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    return Lookup(node.name, x, output, graph.tables[node.output])
