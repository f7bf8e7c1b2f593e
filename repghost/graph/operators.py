"""A float network as a list of operators: calibration observes it, the QDQ writer writes it, `run` evaluates it.

A tensor has the name of the operator that makes it; an operator of a checkpoint has the name of its module, e.g.
"blocks.3.0.ghost1.primary", so that names in configs, reports and ONNX files are those of the checkpoint. Tensors are
maps [N, C, H, W]; a vector of features is a map of one pixel. Batch norms are convolutions already: folded into one,
or a depthwise one of 1x1 where none was beside them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

INPUT = "input"

Pair: TypeAlias = tuple[int, int]  # of rows and columns
Pads: TypeAlias = tuple[int, int, int, int]  # above, on the left, below, on the right
Clamp: TypeAlias = tuple[float, float]  # smallest and largest value of a result

NO_PADS: Pads = (0, 0, 0, 0)
UNBOUNDED: Clamp = (-math.inf, math.inf)
RELU: Clamp = (0.0, math.inf)


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
    """A convolution with bias, whose result is clamped."""

    weight: NDArray[np.float32]  # [O, I / groups, kh, kw]
    bias: NDArray[np.float32]  # [O]
    strides: Pair = (1, 1)
    pads: Pads = NO_PADS
    dilations: Pair = (1, 1)
    groups: int = 1
    clamp: Clamp = UNBOUNDED

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel has a kernel of its own."""
        return self.groups > 1 and self.weight.shape[:2] == (self.groups, 1)


@dataclass(frozen=True)
class _Binary(_Unary):
    """An operator of two tensors, one number at a time."""

    other: str
    clamp: Clamp = UNBOUNDED

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of both operands."""
        return self.input, self.other


@dataclass(frozen=True)
class Add(_Binary):
    """output = input + other, two maps of one size."""


@dataclass(frozen=True)
class Subtract(_Binary):
    """output = input - other, two maps of one size."""


@dataclass(frozen=True)
class Multiply(_Binary):
    """output = input * other: two maps of one size, or a map and a gate of [N, C, 1, 1] or [N, 1, H, W]."""


@dataclass(frozen=True)
class Step:
    """One operator of ONNX within a formula.

    Attributes:
        operator: as ONNX calls it, one of `repghost.graph.functions.STEPS`.
        operands: a whole number k stands for the result of step k, counted from 1, and 0 for what the formula reads;
            a float stands for itself.
        attributes: names and values.
    """

    operator: str
    operands: tuple[int | float, ...]
    attributes: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Function(_Unary):
    """A function of one number, applied to each: the steps of its formula, the last of which is the result."""

    steps: tuple[Step, ...]


@dataclass(frozen=True)
class ChannelSlopes(_Unary):
    """A PReLU: each channel's values below zero times its slope."""

    slopes: NDArray[np.float32]  # [C]


@dataclass(frozen=True)
class GlobalAveragePool(_Unary):
    """The mean over height and width, [N, C, 1, 1]."""


@dataclass(frozen=True)
class _Window(_Unary):
    """An operator that reads a window around each pixel."""

    size: Pair
    strides: Pair = (1, 1)
    pads: Pads = NO_PADS


@dataclass(frozen=True)
class AveragePool(_Window):
    """The mean of a window."""

    padding_counts: bool = True  # as zeros; otherwise a mean at the border is one of fewer pixels


@dataclass(frozen=True)
class MaxPool(_Window):
    """The largest value of a window; padding never wins."""

    dilations: Pair = (1, 1)


@dataclass(frozen=True)
class Concat:
    """The channels of several maps behind each other."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Slice(_Unary):
    """A part of a map: from `start` up to `end` along (channels, rows, columns), every `step`-th."""

    start: tuple[int, int, int]
    end: tuple[int, int, int]
    step: tuple[int, int, int] = (1, 1, 1)


@dataclass(frozen=True)
class ShuffleChannels(_Unary):
    """Channels of n groups in turn: channel c * n + g is channel g * (channels / n) + c of the input."""

    groups: int


@dataclass(frozen=True)
class Pad(_Unary):
    """Zeros around a map, where no convolution or pool could take them."""

    pads: Pads


@dataclass(frozen=True)
class Resize(_Unary):
    """A map of another size.

    Attributes:
        size: of the output, in pixels.
        mode: "nearest" or "linear", as ONNX says.
        coordinates: ONNX's coordinate_transformation_mode: half_pixel, pytorch_half_pixel, align_corners, asymmetric.
        rounding: ONNX's nearest_mode: floor, ceil, round_prefer_floor, round_prefer_ceil.
    """

    size: Pair
    mode: str = "nearest"
    coordinates: str = "asymmetric"
    rounding: str = "floor"


@dataclass(frozen=True)
class Narrow(_Unary):
    """The same tensor again, for those that read it in 8 bits where others read it in 16 (`calib.settings.wide`)."""


@dataclass(frozen=True)
class Classifier(_Unary):
    """A last layer that writes the scores: logits = weight @ flatten(input) + bias."""

    weight: NDArray[np.float32]  # [classes, I]
    bias: NDArray[np.float32]  # [classes]


Layer: TypeAlias = Convolution | Classifier  # what has weights
Mover: TypeAlias = MaxPool | Slice | ShuffleChannels | Pad  # what writes numbers that it read, of one tensor
Operator: TypeAlias = (
    Convolution
    | Add
    | Subtract
    | Multiply
    | Function
    | ChannelSlopes
    | GlobalAveragePool
    | AveragePool
    | MaxPool
    | Concat
    | Slice
    | ShuffleChannels
    | Pad
    | Resize
    | Narrow
    | Classifier
)


@dataclass(frozen=True)
class Epilogue:
    """What a layer writes when the add behind it, if there is one, is computed in its epilogue.

    Attributes:
        output: the tensor, of the layer or of the add.
        clamp: of the layer or of the add.
        residual: the other tensor of the add; None without.
    """

    output: str
    clamp: Clamp
    residual: str | None = None


@dataclass(frozen=True)
class Graph:
    """Operators in execution order; the first reads INPUT, the last makes the scores.

    Attributes:
        operators: see above.
        channels: of the input.
        size: height and width of the only input it computes; None where any will do.
        results: the tensors that are given to the caller, where there are several; the last operator makes the last.
    """

    operators: tuple[Operator, ...]
    channels: int
    size: Pair | None = None
    results: tuple[str, ...] = ()

    @property
    def input(self) -> str:
        """The name of the tensor that the first operator reads."""
        return INPUT

    @property
    def output(self) -> str:
        """The name of the scores; of several results the last."""
        return self.operators[-1].name

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the tensors that are given to the caller."""
        return self.results or (self.output,)

    def names(self) -> tuple[str, ...]:
        """Return the input's and every operator's name."""
        return (INPUT, *(operator.name for operator in self.operators))

    def layers(self) -> Iterator[Layer]:
        """Yield the operators that have weights."""
        return (operator for operator in self.operators if isinstance(operator, Convolution | Classifier))

    @cached_property
    def readers(self) -> Counter[str]:
        """How often each tensor is read: that of the scores by nobody, one of several results by the caller."""
        return Counter(self.results) + Counter(name for operator in self.operators for name in operator.inputs)

    @cached_property
    def fused_adds(self) -> dict[str, Add]:
        """The add that each convolution computes in its epilogue: no clamp between them and no other reader.

        Of two convolutions that an add could belong to, it is the one that makes its first operand.
        """
        plain = {op.name for op in self.operators if isinstance(op, Convolution) and op.clamp == UNBOUNDED}
        hosts = {name for name in plain if self.readers[name] == 1}
        found: dict[str, Add] = {}
        for op in self.operators:
            if isinstance(op, Add) and op.input != op.other:
                host = next((name for name in op.inputs if name in hosts), None)
                if host is not None:
                    found[host] = op
        return found

    def epilogue(self, layer: Layer) -> Epilogue:
        """Return what a layer writes, with the add that is its epilogue."""
        add = self.fused_adds.get(layer.name)
        if add is None:
            return Epilogue(layer.name, layer.clamp if isinstance(layer, Convolution) else UNBOUNDED)
        return Epilogue(add.name, add.clamp, add.other if add.input == layer.name else add.input)
