"""Unsigned tensors as signed ones: uint8 with zero point z is int8 with zero point z - 128, number for number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compile.ir.qdq_graph import DEQUANTIZE, QUANTIZE, Node

HALF = 128  # half of what a byte holds
ZERO_OF_UNSIGNED = "zero point of unsigned tensors"  # ONNX's default, 0 of uint8
ZERO_OF_WIDE = "zero point of 16 bits"


def tensors_of(model: onnx.ModelProto, kind: int) -> frozenset[str]:
    """Return the names of all tensors of one of ONNX's types, of a model whose types have been inferred."""
    graph = model.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    computed = {value.name for value in values if value.type.tensor_type.elem_type == kind}
    return frozenset(computed | {tensor.name for tensor in graph.initializer if tensor.data_type == kind})


def to_signed(
    nodes: tuple[Node, ...],
    constants: Mapping[str, NDArray[Any]],
    unsigned: frozenset[str],
    wide: frozenset[str] = frozenset(),
) -> tuple[tuple[Node, ...], dict[str, NDArray[Any]]]:
    """Return nodes and constants in which every uint8 tensor is int8, 128 lower, and zero points name their type.

    Args:
        nodes: only QuantizeLinear and DequantizeLinear give bytes a meaning; others do not get to see them.
        constants: uint8 zero points and weights among them.
        unsigned: the names of the uint8 tensors.
        wide: the names of the int16 tensors.
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
        elif _has_default_zero_point(node, wide):
            name = f"{node.name}, {ZERO_OF_WIDE}"
            signed[name] = np.zeros(signed[node.inputs[1]].shape if node.inputs[1] in signed else (), np.int16)
            node = replace(node, inputs=(*node.inputs[:2], name))
        made.append(node)
    return tuple(made), signed


def _has_default_zero_point(node: Node, tensors: frozenset[str]) -> bool:
    """Return whether a Q or DQ node of one of these tensors leaves its zero point out."""
    if node.operator not in (QUANTIZE, DEQUANTIZE) or (len(node.inputs) > 2 and node.inputs[2]):
        return False
    return (node.output if node.operator == QUANTIZE else node.inputs[0]) in tensors
