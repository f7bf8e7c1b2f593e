"""Channels of several maps behind each other."""

from __future__ import annotations

import numpy as np

from calib.integer.program import Concat
from compile.ir.qdq_graph import Node, QdqGraph
from compile.passes.rules.common import OTHER_SCALE, Refusal, RuleResult, tensor_of


def concat(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower a Concat of channels."""
    if node.operator != "Concat":
        return None
    inputs, y = tuple(tensor_of(graph, name) for name in node.inputs), tensor_of(graph, node.output)
    if node.attributes.get("axis") not in (1, 1 - len(graph.shapes[node.output])):
        return Refusal("only the concatenation of channels is supported")
    sizes = {(x.height, x.width) for x in inputs}
    if sizes != {(y.height, y.width)} or sum(x.channels for x in inputs) != y.channels:
        return Refusal("its inputs do not fit its output")
    if any(x.qparams != y.qparams for x in inputs) or node.bounds != (-np.inf, np.inf):
        return Refusal(OTHER_SCALE)
    return Concat(node.name, inputs, y)
