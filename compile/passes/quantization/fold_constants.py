"""Compute what depends on constants alone: int32 biases, float weights that are quantized in the graph, copies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import INT8_MAX, INT8_MIN
from compile.ir.qdq_graph import DEQUANTIZE, QUANTIZE, Node, QdqGraph


def fold_constants(graph: QdqGraph) -> QdqGraph:
    """Replace such nodes by constants; int8 constants under DequantizeLinear are left to `fold_weights`."""
    constants = dict(graph.constants)
    nodes = []
    for node in graph.nodes:
        if node.inputs and node.inputs[0] in constants and (value := _value(node, constants)) is not None:
            constants[node.output] = value
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _value(node: Node, constants: dict[str, NDArray[Any]]) -> NDArray[Any] | None:
    """Return what a node computes from a constant, or None when it is not one of the foldable kinds."""
    data = constants[node.inputs[0]]
    if node.operator == "Identity":
        return data
    if node.operator == DEQUANTIZE and data.dtype == np.int32:
        # float64 keeps all 32 bits of the bias, which the integer program needs back.
        return data * along_axis(constants[node.inputs[1]], node, data.ndim).astype(np.float64)
    if node.operator == QUANTIZE and data.dtype == np.float32:
        zero_point = constants[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else np.int8(0)
        scaled = np.rint(data / along_axis(constants[node.inputs[1]], node, data.ndim))
        shifted = scaled + along_axis(np.asarray(zero_point), node, data.ndim).astype(np.float32)
        return np.clip(shifted, INT8_MIN, INT8_MAX).astype(np.int8)
    return None


def along_axis(values: NDArray[Any], node: Node, rank: int) -> NDArray[Any]:
    """Return per-channel values shaped to broadcast along the node's axis; a single value as a scalar."""
    if values.size == 1:
        return values.reshape(())
    shape = [1] * rank
    shape[node.attributes.get("axis", 1)] = values.size
    return values.reshape(shape)
