"""Padding that no layer behind it can take."""

from __future__ import annotations

from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import Refusal, RuleResult


def pad(graph: QdqGraph, node: Node) -> RuleResult:
    """Refuse a Pad that `fold_pads` has left."""
    if node.operator != "Pad":
        return None
    return Refusal(
        "only constant padding of rows and columns is supported, with 0 before convolutions alone, or with the "
        "smallest number before max pools alone"
    )
