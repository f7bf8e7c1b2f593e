"""The float program: the same network without quantization, so that int8 can be compared with the best float build.

It goes through the same memory plan, the same step function and the same tiles as the integer program. Weights are
float32 in the layouts of `calib.integer.program`; a kernel of half precision rounds them when it packs them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from repghost.data.preprocess import Preprocess
from repghost.graph.operators import INPUT, AveragePool, Classifier, Convolution, Gate, Graph, HardSigmoid, ResidualAdd

# What an operator has besides tensors and weights.
SETTINGS = ("stride", "padding", "relu", "function", "row", "column", "channel")


@dataclass(frozen=True)
class FloatTensor:
    """A float activation of shape (height, width, channels)."""

    name: str
    height: int
    width: int
    channels: int
    element: str = "float32"  # or "float16": what the workspace holds


@dataclass(frozen=True)
class FloatInput:
    """Bytes of an RGB image to float, one table of 256 per colour."""

    name: str
    output: FloatTensor
    tables: NDArray[np.float32]  # [3, 256]

    @property
    def inputs(self) -> tuple[FloatTensor, ...]:
        """The activations it reads: none."""
        return ()


@dataclass(frozen=True)
class FloatConv2d:
    """A dense convolution with bias, then an optional ReLU. Padding pads with 0."""

    name: str
    input: FloatTensor
    output: FloatTensor
    weight: NDArray[np.float32]  # [O, kh, kw, I]
    bias: NDArray[np.float32]  # [O]
    stride: int
    padding: int
    relu: bool
    logits: bool = False  # whether the output is the caller's array

    @property
    def inputs(self) -> tuple[FloatTensor, ...]:
        """The activations it reads."""
        return (self.input,)


@dataclass(frozen=True)
class FloatDepthwiseConv2d:
    """One kernel per channel with bias, then an optional residual add, then an optional ReLU."""

    name: str
    input: FloatTensor
    output: FloatTensor
    weight: NDArray[np.float32]  # [C, kh, kw]
    bias: NDArray[np.float32]  # [C]
    stride: int
    padding: int
    relu: bool
    residual: FloatTensor | None = None

    @property
    def inputs(self) -> tuple[FloatTensor, ...]:
        """The activations it reads."""
        return (self.input,) if self.residual is None else (self.input, self.residual)


@dataclass(frozen=True)
class FloatPool:
    """The mean over height and width."""

    name: str
    input: FloatTensor
    output: FloatTensor

    @property
    def inputs(self) -> tuple[FloatTensor, ...]:
        """The activations it reads."""
        return (self.input,)


@dataclass(frozen=True)
class FloatMaxPool:
    """The largest number under a square window; pixels outside the map never win."""

    name: str
    input: FloatTensor
    output: FloatTensor
    kernel: int
    stride: int
    padding: int

    @property
    def inputs(self) -> tuple[FloatTensor, ...]:
        """The activations it reads."""
        return (self.input,)


@dataclass(frozen=True)
class FloatGate:
    """The squeeze-excite gate: x * clip(g / 6 + 0.5, 0, 1) with g of shape (1, 1, C)."""

    name: str
    input: FloatTensor
    gate: FloatTensor
    output: FloatTensor

    @property
    def inputs(self) -> tuple[FloatTensor, ...]:
        """The activations it reads."""
        return self.input, self.gate


@dataclass(frozen=True)
class FloatFunction:
    """An element-wise function: "hard_swish", "hard_sigmoid" or "relu"."""

    name: str
    input: FloatTensor
    output: FloatTensor
    function: str

    @property
    def inputs(self) -> tuple[FloatTensor, ...]:
        """The activations it reads."""
        return (self.input,)


@dataclass(frozen=True)
class FloatAdd:
    """The sum of two maps, then an optional ReLU."""

    name: str
    input: FloatTensor
    other: FloatTensor
    output: FloatTensor
    relu: bool

    @property
    def inputs(self) -> tuple[FloatTensor, ...]:
        """The activations it reads."""
        return self.input, self.other


@dataclass(frozen=True)
class FloatConcat:
    """The channels of several maps of one size behind each other."""

    name: str
    inputs: tuple[FloatTensor, ...]
    output: FloatTensor


@dataclass(frozen=True)
class FloatCrop:
    """A part of a map: y[i, j, c] = x[i + row, j + column, c + channel]."""

    name: str
    input: FloatTensor
    output: FloatTensor
    row: int
    column: int
    channel: int

    @property
    def inputs(self) -> tuple[FloatTensor, ...]:
        """The activations it reads."""
        return (self.input,)


FloatOperator: TypeAlias = (
    FloatInput
    | FloatConv2d
    | FloatDepthwiseConv2d
    | FloatPool
    | FloatMaxPool
    | FloatGate
    | FloatFunction
    | FloatAdd
    | FloatConcat
    | FloatCrop
)


@dataclass(frozen=True)
class FloatProgram:
    """Operators in execution order; the first reads the image, the last writes the logits."""

    operators: tuple[FloatOperator, ...]
    height: int
    width: int
    classes: int
    digest: str  # sha256 over shapes, weights and Preprocess
    element: str = "float32"  # of every activation, weight and bias; the logits are always float32


def float_program(graph: Graph, preprocess: Preprocess, element: str = "float32") -> FloatProgram:
    """Return the float program of a fused network.

    Args:
        graph: from `repghost.graph.trace.graph_of`.
        preprocess: gives the size of the image and the value of each byte.
        element: what activations, weights and biases are kept in: "float32" or "float16".
    """
    image = FloatTensor(INPUT, preprocess.size, preprocess.size, graph.channels, element)
    tensors: dict[str, FloatTensor] = {INPUT: image}
    operators: list[FloatOperator] = [FloatInput(INPUT, image, preprocess.table())]
    sigmoids = {op.name: op.input for op in graph.operators if isinstance(op, HardSigmoid)}
    adds = graph.fused_adds()
    fused = {add.name for add in adds.values()}
    for op in graph.operators:
        if isinstance(op, HardSigmoid) or op.name in fused:
            continue
        add = adds.get(op.name)
        made = _operator(op, add, tensors, sigmoids)
        operators.append(made)
        tensors[made.output.name] = made.output
    last = operators[-1]
    side = preprocess.size
    digest = program_digest(operators, preprocess)
    return FloatProgram(tuple(operators), side, side, last.output.channels, digest, element)


def _operator(
    op: object, add: ResidualAdd | None, tensors: dict[str, FloatTensor], sigmoids: dict[str, str]
) -> FloatOperator:
    match op:
        case Convolution() if op.is_depthwise:
            x = tensors[op.input]
            output = _convolved(op, x, op.name if add is None else add.name)
            residual = None if add is None else tensors[add.other]
            weight = op.weight[:, 0]
            return FloatDepthwiseConv2d(op.name, x, output, weight, op.bias, op.stride, op.padding, op.relu, residual)
        case Convolution() if add is None:
            x = tensors[op.input]
            weight = np.ascontiguousarray(op.weight.transpose(0, 2, 3, 1))
            return FloatConv2d(op.name, x, _convolved(op, x, op.name), weight, op.bias, op.stride, op.padding, op.relu)
        case AveragePool():
            x = tensors[op.input]
            return FloatPool(op.name, x, FloatTensor(op.name, 1, 1, x.channels, x.element))
        case Gate():
            x, gate = tensors[op.input], tensors[sigmoids[op.gate]]
            return FloatGate(op.name, x, gate, FloatTensor(op.name, x.height, x.width, x.channels, x.element))
        case Classifier():
            x = tensors[op.input]
            weight = op.weight[:, None, None, :]
            output = FloatTensor(op.name, 1, 1, len(op.weight), x.element)
            return FloatConv2d(op.name, x, output, weight, op.bias, 1, 0, relu=False, logits=True)
    raise TypeError(f"no float operator for {op!r}")


def _convolved(op: Convolution, x: FloatTensor, name: str) -> FloatTensor:
    kernel = op.weight.shape[2]
    height, width = ((side + 2 * op.padding - kernel) // op.stride + 1 for side in (x.height, x.width))
    return FloatTensor(name, height, width, len(op.weight), x.element)


def program_digest(operators: list[FloatOperator], preprocess: Preprocess) -> str:
    """Return the SHA-256 over shapes, weights and Preprocess."""
    digest = hashlib.sha256(repr(sorted(preprocess.to_dict().items())).encode())
    for operator in operators:
        digest.update(f"{type(operator).__name__} {operator.output} {[t.name for t in operator.inputs]}".encode())
        for name in ("weight", "bias", "tables"):
            value = getattr(operator, name, None)
            if value is not None:
                digest.update(np.ascontiguousarray(value).tobytes())
        digest.update(repr([getattr(operator, name, None) for name in SETTINGS]).encode())
        if isinstance(operator, FloatMaxPool):
            digest.update(f"window {operator.kernel}".encode())
    return digest.hexdigest()
