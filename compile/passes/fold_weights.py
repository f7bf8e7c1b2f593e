"""Int8 constants under DequantizeLinear become quantized weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compile.ir.qdq_graph import DEQUANTIZE, QdqGraph, QuantizedWeight


def fold_weights(graph: QdqGraph) -> QdqGraph:
    """Move such nodes into `weights`, under the name of their output.

    A weight with a zero point other than 0 stays: weights are symmetric in the numerics contract.
    """
    weights = dict(graph.weights)
    nodes = []
    for node in graph.nodes:
        if node.operator == "Identity" and node.inputs[0] in weights:
            weights[node.output] = weights[node.inputs[0]]  # exporters store equal weights once
            continue
        values = graph.constants.get(node.inputs[0]) if node.operator == DEQUANTIZE else None
        zero_point = graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 else None
        if values is None or values.dtype != np.int8 or (zero_point is not None and zero_point.any()):
            nodes.append(node)
            continue
        axis = node.attributes.get("axis", 1)
        scales = graph.constants[node.inputs[1]].reshape(-1)
        weights[node.output] = QuantizedWeight(values, scales, axis % max(values.ndim, 1))
    return replace(graph, nodes=tuple(nodes), weights=weights)
