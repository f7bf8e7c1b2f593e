"""The fused network as a list of operators: what calibration observes, the QDQ writer writes and fake-quant evaluates.

A tensor has the name of the operator that makes it; an operator has the name of its module, e.g.
"blocks.3.0.ghost1.primary", so that names in configs, reports and ONNX files are those of the checkpoint.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

INPUT = "input"


@dataclass(frozen=True)
class Convolution:
    """A convolution with bias, then a ReLU or nothing; its output carries the operator's name."""

    name: str
    input: str
    weight: NDArray[np.float32]  # [O, I / groups, kh, kw]
    bias: NDArray[np.float32]  # [O]
    stride: int
    padding: int
    groups: int
    relu: bool

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel has a kernel of its own."""
        return self.groups > 1 and self.weight.shape[:2] == (self.groups, 1)


@dataclass(frozen=True)
class ResidualAdd:
    """output = input + other; `input` comes from the convolution whose epilogue the add can be."""

    name: str
    input: str
    other: str


@dataclass(frozen=True)
class AveragePool:
    """The mean over height and width, [N, C, 1, 1]."""

    name: str
    input: str


@dataclass(frozen=True)
class HardSigmoid:
    """clip(x / 6 + 0.5, 0, 1)."""

    name: str
    input: str


@dataclass(frozen=True)
class Gate:
    """output = input * gate, the gate being [N, C, 1, 1]."""

    name: str
    input: str
    gate: str


@dataclass(frozen=True)
class Classifier:
    """The last layer: logits = weight @ flatten(input) + bias."""

    name: str
    input: str
    weight: NDArray[np.float32]  # [classes, I]
    bias: NDArray[np.float32]  # [classes]


Operator: TypeAlias = Convolution | ResidualAdd | AveragePool | HardSigmoid | Gate | Classifier


@dataclass(frozen=True)
class Graph:
    """Operators in execution order; the first reads INPUT, the last is the classifier."""

    operators: tuple[Operator, ...]
    channels: int  # of the input

    def names(self) -> tuple[str, ...]:
        """Return the input's and every operator's name."""
        return (INPUT, *(operator.name for operator in self.operators))

    def fused_adds(self) -> dict[str, ResidualAdd]:
        """Return, by convolution, the add that is its epilogue: no ReLU between them and no other reader."""
        readers = Counter(name for operator in self.operators for name in operator_inputs(operator))
        plain = {op.name for op in self.operators if isinstance(op, Convolution) and not op.relu}
        return {
            op.input: op
            for op in self.operators
            if isinstance(op, ResidualAdd) and op.input in plain and readers[op.input] == 1 and op.input != op.other
        }


def operator_inputs(operator: Operator) -> tuple[str, ...]:
    """Return the names of the tensors an operator reads."""
    match operator:
        case ResidualAdd():
            return operator.input, operator.other
        case Gate():
            return operator.input, operator.gate
    return (operator.input,)
