"""The graph between the frontend and the integer program: checked nodes, named tensors, plain numpy constants.

A tensor is int8 when it has an entry in `QdqGraph.qparams` and real otherwise. The frontend leaves every tensor real
and every Q/DQ node in place; the passes move quantization from nodes to tensors until only int8 tensors are left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import QParams
from repghost.data.images.preprocess import Preprocess

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
NORMALIZATION = "BatchNormalization"

# Operators the passes introduce; the names do not exist in ONNX.
INPUT_TABLE = "InputTable"  # quantize(normalize(byte)); reads the image, no tensor
REQUANTIZE = "Requantize"  # int8 to int8 of another scale
DEQUANTIZE_SCORES = "DequantizeScores"  # the last node of a file whose scores are int8
SCALE_CHANNELS = "ScaleChannels"  # factor[c] * x[c] + offset[c]
SHUFFLE_CHANNELS = "ShuffleChannels"  # channel i of n groups of k becomes channel i % k * n + i // k
LOOKUP_TABLE = "LookupTable"  # any function of one int8 tensor, element by element
MISALIGNED = "misaligned"  # an attribute: the operand of a sum or product whose axes are others than its shape says


@dataclass(frozen=True)
class Node:
    """One operator with one output.

    Attributes:
        name: unique; as the file has it, or the output's name.
        operator: the ONNX operator, or one of the names above.
        inputs: tensor names; "" where an optional input is absent.
        attributes: ints, floats, strings and tuples of them.
        bounds: the real interval the result is clipped to, after the residual add: a fused Relu or Clip.
        residual: the int8 tensor that is added to the result, or None.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    bounds: tuple[float, float] = (-math.inf, math.inf)
    residual: str | None = None

    @property
    def operands(self) -> tuple[str, ...]:
        """Every tensor the node reads, the residual included."""
        present = tuple(name for name in self.inputs if name)
        return present if self.residual is None else (*present, self.residual)


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """An int8 constant with its scales: real = values * scales along `axis`."""

    values: NDArray[np.int8]
    scales: NDArray[np.float32]  # [1] for the whole tensor, or one per entry of `axis`
    axis: int


@dataclass(frozen=True, eq=False)
class QdqGraph:
    """Nodes in execution order and everything that is known about their tensors."""

    nodes: tuple[Node, ...]
    input: str  # float32 [1, channels, H, W], the normalized image
    output: str  # float32 [1, classes]; of several results the first
    shapes: Mapping[str, tuple[int, ...]]  # of every tensor, NCHW
    constants: Mapping[str, NDArray[Any]]
    preprocess: Preprocess
    digest: str  # the program digest
    metadata: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, QuantizedWeight] = field(default_factory=dict)
    qparams: Mapping[str, QParams] = field(default_factory=dict)
    tables: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)  # of LOOKUP_TABLE and INPUT_TABLE, by output
    other_outputs: tuple[str, ...] = ()  # the results after the first, float32 [1, channels, height, width] like it

    def __post_init__(self) -> None:
        """Freeze the mappings, so that a pass cannot change what another one holds."""
        for name in ("shapes", "constants", "metadata", "weights", "qparams", "tables"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The results of the network."""
        return self.output, *self.other_outputs

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """The node that writes each tensor."""
        return MappingProxyType({node.output: node for node in self.nodes})

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each tensor; a tensor nobody reads has no entry."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.operands):
                readers.setdefault(name, []).append(node)
        return MappingProxyType({name: tuple(nodes) for name, nodes in readers.items()})

    def only_consumer(self, tensor: str) -> Node | None:
        """Return the one node that reads a tensor, or None when there are several, none, or it is the output."""
        readers = self.consumers.get(tensor, ())
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None
