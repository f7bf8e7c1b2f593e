"""Int8 constants under DequantizeLinear become quantized weights, or real numbers where no weight is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compile.ir.qdq_graph import DEQUANTIZE, Node, QdqGraph, QuantizedWeight
from compile.passes.quantization.fold_constants import along_axis

WEIGHTED = ("Conv", "Gemm", "MatMul")  # operators whose second input is a weight
COPIES = ("Identity", "Transpose")


def fold_weights(graph: QdqGraph) -> QdqGraph:
    """Move such nodes into `weights`, and the other operands of Add, Mul and the like into `constants`.

    A weight with a zero point other than 0 stays: weights are symmetric in the numerics contract.
    """
    weights, constants = dict(graph.weights), dict(graph.constants)
    nodes = []
    for node in graph.nodes:
        if node.operator in COPIES and node.inputs[0] in weights:  # exporters store equal weights once
            copy = _turned(node, weights[node.inputs[0]])
            if copy is not None:
                weights[node.output] = copy
                continue
        values = graph.constants.get(node.inputs[0]) if node.operator == DEQUANTIZE else None
        if values is None or values.dtype != np.int8:
            nodes.append(node)
            continue
        zero_point = graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 else None
        symmetric = zero_point is None or not zero_point.any()
        as_weight = [_reads_weight(reader, node.output) for reader in graph.consumers.get(node.output, ())]
        scales = graph.constants[node.inputs[1]].reshape(-1)
        if not all(as_weight):
            constants[node.output] = _real(graph, node, values, zero_point)
        if symmetric:
            axis = node.attributes.get("axis", 1)
            weights[node.output] = QuantizedWeight(values, scales, axis % max(values.ndim, 1))
        elif any(as_weight) or not as_weight:
            constants.pop(node.output, None)
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes), weights=weights, constants=constants)


def _turned(node: Node, weight: QuantizedWeight) -> QuantizedWeight | None:
    """Return what a copy makes of a weight, None for an order that is none of its axes."""
    if node.operator == "Identity":
        return weight
    axes = tuple(node.attributes.get("perm", reversed(range(weight.values.ndim))))
    if weight.values.ndim == 0 or sorted(axes) != list(range(weight.values.ndim)):
        return None
    return QuantizedWeight(np.ascontiguousarray(weight.values.transpose(axes)), weight.scales, axes.index(weight.axis))


def _reads_weight(reader: Node, tensor: str) -> bool:
    return reader.operator in COPIES or (reader.operator in WEIGHTED and reader.inputs[1] == tensor)


def _real(
    graph: QdqGraph, node: Node, values: NDArray[np.int8], zero_point: NDArray[np.int8] | None
) -> NDArray[np.float32]:
    """Return scale * (q - z) in float32, as ONNX DequantizeLinear does."""
    shifted = values.astype(np.int32)
    if zero_point is not None:
        shifted -= along_axis(zero_point, node, values.ndim)
    return shifted.astype(np.float32) * along_axis(graph.constants[node.inputs[1]], node, values.ndim)
