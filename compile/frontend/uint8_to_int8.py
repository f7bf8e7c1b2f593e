"""Unsigned tensors as signed ones: uint8 with zero point z is int8 with zero point z - 128, number for number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from compile.ir.qdq_graph import DEQUANTIZE, QUANTIZE, Node

HALF = 128  # half of what a byte holds
ZERO_OF_UNSIGNED = "zero point of unsigned tensors"  # ONNX's default, 0 of uint8


def unsigned_tensors(model: onnx.ModelProto) -> frozenset[str]:
    """Return the names of all uint8 tensors of a model whose types have been inferred."""
    graph = model.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    computed = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.UINT8}
    return frozenset(computed | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.UINT8})


def to_signed(
    nodes: tuple[Node, ...], constants: Mapping[str, NDArray[Any]], unsigned: frozenset[str]
) -> tuple[tuple[Node, ...], dict[str, NDArray[Any]]]:
    """Return nodes and constants in which every uint8 tensor is int8, 128 lower.

    Args:
        nodes: only QuantizeLinear and DequantizeLinear give bytes a meaning; others do not get to see them.
        constants: uint8 zero points and weights among them.
        unsigned: the names of the uint8 tensors.
    """
    signed = {
        name: (array.astype(np.int16) - HALF).astype(np.int8) if array.dtype == np.uint8 else array
        for name, array in constants.items()
    }
    made = []
    for node in nodes:
        if _has_default_zero_point(node, unsigned):
            name = f"{node.name}, {ZERO_OF_UNSIGNED}"
            signed[name] = np.full(signed[node.inputs[1]].shape if node.inputs[1] in signed else (), -HALF, np.int8)
            node = replace(node, inputs=(*node.inputs[:2], name))
        made.append(node)
    return tuple(made), signed


def _has_default_zero_point(node: Node, unsigned: frozenset[str]) -> bool:
    """Return whether a Q or DQ node of a uint8 tensor leaves its zero point out."""
    if node.operator not in (QUANTIZE, DEQUANTIZE) or (len(node.inputs) > 2 and node.inputs[2]):
        return False
    return (node.output if node.operator == QUANTIZE else node.inputs[0]) in unsigned
