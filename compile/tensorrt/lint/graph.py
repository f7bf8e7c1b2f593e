"""An index of a graph for the lint rules: maker and readers of each tensor, whether it is quantized or constant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from calib.importer.onnx_file import FOREIGN_TYPES, ONNX_DOMAINS, load_model
from calib.importer.onnx_values import stored_array
from compile.ir.qdq_graph import DEQUANTIZE, QUANTIZE

OPSETS = (10, 25)  # 10 brought QuantizeLinear; whether a JetPack reads a newer one is a rule
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Operators that only move values, so that a DequantizeLinear before them counts as one right before the reader.
MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(frozen=True)
class Breach:
    """A node that breaks a rule."""

    rule: str
    node: str
    operator: str
    reason: str

    def __str__(self) -> str:
        return f"{self.node} ({self.operator}): {self.reason} [{self.rule}]"


@dataclass(frozen=True, eq=False)
class LintGraph:
    """A file, indexed by tensor."""

    model: onnx.ModelProto
    opset: int
    constants: dict[str, NDArray[Any]]
    maker: dict[str, onnx.NodeProto] = field(default_factory=dict)
    readers: dict[str, list[onnx.NodeProto]] = field(default_factory=dict)
    constant_tensors: set[str] = field(default_factory=set)  # and what nodes make of constants alone

    def nodes(self, *operators: str) -> Iterator[onnx.NodeProto]:
        """Yield the nodes of some operators, all where none is named."""
        return (node for node in self.model.graph.node if not operators or node.op_type in operators)

    def made_by(self, tensor: str, *operators: str) -> onnx.NodeProto | None:
        """Return the node that makes a tensor if it is one of some operators."""
        node = self.maker.get(tensor)
        return node if node is not None and node.op_type in operators else None

    def dequantizer(self, tensor: str) -> onnx.NodeProto | None:
        """Return the DequantizeLinear a tensor comes from, or None when it is float."""
        while (mover := self.made_by(tensor, *MOVES)) is not None:
            tensor = mover.input[0]
        return self.made_by(tensor, DEQUANTIZE)

    def source_of_quantized(self, tensor: str) -> str | None:
        """Return the float tensor behind a Q/DQ pair, or None when `tensor` is not behind one."""
        dequantize = self.dequantizer(tensor)
        quantize = None if dequantize is None else self.made_by(dequantize.input[0], QUANTIZE)
        return None if quantize is None else quantize.input[0]

    def is_int8(self, node: onnx.NodeProto) -> bool:
        """Return whether both operands of a weighted node come from a DequantizeLinear."""
        return all(self.dequantizer(name) is not None for name in node.input[:2])

    def int8_layers(self) -> tuple[str, ...]:
        """Return the weighted nodes whose operands are both quantized, in the file's order."""
        return tuple(node.name for node in self.nodes(*WEIGHTED) if self.is_int8(node))


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """Return an integer attribute of a node."""
    return next((int(entry.i) for entry in node.attribute if entry.name == name), default)


def name_of(node: onnx.NodeProto) -> str:
    """Return the name of a node; that of its result where it has none."""
    return str(node.name or node.output[0])


def read_graph(path: Path) -> LintGraph:
    """Read a file and index it.

    Raises:
        UsageError: when the file cannot be read safely or is not valid ONNX.
    """
    return index_graph(load_model(path, OPSETS, FOREIGN_TYPES))


def index_graph(model: onnx.ModelProto) -> LintGraph:
    """Return the index of a checked model."""
    opset = next(entry.version for entry in model.opset_import if entry.domain in ONNX_DOMAINS)
    graph = LintGraph(model, opset, {tensor.name: stored_array(tensor) for tensor in model.graph.initializer})
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = onnx.helper.get_attribute_value(node.attribute[0])
            graph.constants[node.output[0]] = (
                stored_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
            )
        for name in node.output:
            graph.maker[name] = node
        for name in node.input:
            graph.readers.setdefault(name, []).append(node)
    graph.constant_tensors.update(graph.constants)
    for node in model.graph.node:
        if all(not name or name in graph.constant_tensors for name in node.input):
            graph.constant_tensors.update(node.output)
    return graph
