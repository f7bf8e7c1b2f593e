"""Channel shuffles."""

from __future__ import annotations

import numpy as np

from calib.integer.program import ShuffleChannels
from compile.ir.qdq_graph import SHUFFLE_CHANNELS, Node, QdqGraph
from compile.passes.rules.common import OTHER_SCALE, Refusal, RuleResult, tensor_of


def shuffle_channels(graph: QdqGraph, node: Node) -> RuleResult:
    """Lower what `fold_shuffles` found."""
    if node.operator != SHUFFLE_CHANNELS:
        return None
    x, y = tensor_of(graph, node.inputs[0]), tensor_of(graph, node.output)
    if x.qparams != y.qparams or node.bounds != (-np.inf, np.inf):
        return Refusal(OTHER_SCALE)
    return ShuffleChannels(node.name, x, y, node.attributes["groups"])
