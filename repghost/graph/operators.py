"""The fused network as a list of operators: calibration observes it, the QDQ writer writes it, `run` evaluates it.

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
class _Unary:
    """An operator that reads one tensor; those that read more override `inputs`."""

    name: str
    input: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the tensors it reads, in the order in which its kernels take them."""
        return (self.input,)


@dataclass(frozen=True)
class Convolution(_Unary):
    """A convolution with bias, with or without a ReLU behind it."""

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
class ResidualAdd(_Unary):
    """output = input + other; `input` comes from the convolution whose epilogue the add can be."""

    other: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of both summands."""
        return self.input, self.other


@dataclass(frozen=True)
class AveragePool(_Unary):
    """The mean over height and width, [N, C, 1, 1]."""


@dataclass(frozen=True)
class HardSigmoid(_Unary):
    """clip(x / 6 + 0.5, 0, 1)."""


@dataclass(frozen=True)
class Gate(_Unary):
    """output = input * gate, the gate being [N, C, 1, 1]."""

    gate: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of both factors."""
        return self.input, self.gate


@dataclass(frozen=True)
class Classifier(_Unary):
    """The last layer: logits = weight @ flatten(input) + bias."""

    weight: NDArray[np.float32]  # [classes, I]
    bias: NDArray[np.float32]  # [classes]


Operator: TypeAlias = Convolution | ResidualAdd | AveragePool | HardSigmoid | Gate | Classifier


@dataclass(frozen=True)
class Epilogue:
    """What a layer writes when the add behind it, if there is one, is computed in its epilogue.

    Attributes:
        output: the tensor, of the layer or of the add.
        residual: the other tensor of the add; None without.
    """

    output: str
    residual: str | None = None


@dataclass(frozen=True)
class Graph:
    """Operators in execution order; the first reads INPUT, the last is the classifier."""

    operators: tuple[Operator, ...]
    channels: int  # of the input

    @property
    def input(self) -> str:
        """The name of the tensor that the first operator reads."""
        return INPUT

    @property
    def output(self) -> str:
        """The name of the logits."""
        return self.operators[-1].name

    def names(self) -> tuple[str, ...]:
        """Return the input's and every operator's name."""
        return (INPUT, *(operator.name for operator in self.operators))

    def fused_adds(self) -> dict[str, ResidualAdd]:
        """Return the add that each convolution computes in its epilogue: no ReLU between them and no other reader."""
        readers = Counter(name for operator in self.operators for name in operator.inputs)
        plain = {op.name for op in self.operators if isinstance(op, Convolution) and not op.relu}
        return {
            op.input: op
            for op in self.operators
            if isinstance(op, ResidualAdd) and op.input in plain and readers[op.input] == 1 and op.input != op.other
        }

    def epilogue(self, layer: Convolution | Classifier) -> Epilogue:
        """Return what a layer writes, with the add that is its epilogue."""
        add = self.fused_adds().get(layer.name)
        return Epilogue(layer.name) if add is None else Epilogue(add.name, add.other)
