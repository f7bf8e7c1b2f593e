"""A tensor at another scale where one of both is int16; between int8 tensors `fold_lookups` makes a table of it."""

from __future__ import annotations

from calib.integer.lower import lower_rescale
from calib.integer.program import Rescale
from compile.ir.qdq_graph import REQUANTIZE, Node, QdqGraph
from compile.passes.rules.common import RuleResult, exceeds_int32, tensor_of


def rescale(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower such a requantization."""
    if node.operator != REQUANTIZE:
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    if not (x.qparams.is_wide or y.qparams.is_wide):
        return None
    epilogue = lower_rescale(x.qparams, y.qparams)
    return exceeds_int32(x.qparams.farthest, epilogue.multiplier) or Rescale(node.name, x, y, epilogue)
