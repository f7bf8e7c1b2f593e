"""The float program: the same network without quantization, so that int8 can be compared with the best float build.

It goes through the same memory plan, the same step function and the same tiles as the integer program. Weights are
float32 in the layouts of `calib.integer.program`; a kernel of half precision rounds them when it packs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calib.integer.operation import Activation, Operation, Pooling
from calib.integer.operation import Convolution as ConvolutionBase
from repghost.graph.operators import Clamp, Step

DIGEST = "digest"  # the key in a field's metadata of another name in `float_digest`; None where it is left out


@dataclass(frozen=True)
class FloatTensor(Activation):
    """A float activation of shape (height, width, channels)."""

    element: str = "float32"  # or "float16": what the workspace holds


class FloatOperation(Operation[FloatTensor]):
    """The base of every operator."""

    @property
    def arithmetic(self) -> str:
        """What it computes in: the element it writes."""
        return self.output.element


@dataclass(frozen=True)
class FloatInput(FloatOperation):
    """Bytes of an RGB or grey image to float, one table of 256 per channel."""

    name: str
    output: FloatTensor
    tables: NDArray[np.float32]  # [channels, 256]


@dataclass(frozen=True)
class FloatConvolution(FloatOperation, ConvolutionBase[FloatTensor]):
    """What both convolutions have in common: a bias, perhaps a map that is added, then a clamp. Padding pads with 0."""

    name: str
    input: FloatTensor
    output: FloatTensor
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]  # [O]
    strides: tuple[int, int] = field(metadata={DIGEST: "stride"})
    pads: tuple[int, int] = field(metadata={DIGEST: "padding"})
    clamp: Clamp = field(metadata={DIGEST: "relu"})
    dilations: tuple[int, int] = field(default=(1, 1), kw_only=True)
    residual: FloatTensor | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class FloatConv2d(FloatConvolution):
    """A dense convolution, or one of several groups."""

    weight: NDArray[np.float32]  # [O, kh, kw, I / groups]
    logits: bool = field(default=False, metadata={DIGEST: None})  # whether the output is the caller's array
    groups: int = field(default=1, kw_only=True)


@dataclass(frozen=True)
class FloatDepthwiseConv2d(FloatConvolution):
    """One kernel per channel."""

    weight: NDArray[np.float32]  # [C, kh, kw]


@dataclass(frozen=True)
class FloatPool(FloatOperation):
    """The mean over height and width."""

    name: str
    input: FloatTensor
    output: FloatTensor


@dataclass(frozen=True)
class FloatMaxPool(FloatOperation, Pooling[FloatTensor]):
    """The largest number under a window; pixels outside the map never win."""

    name: str
    input: FloatTensor
    output: FloatTensor
    size: tuple[int, int] = field(metadata={DIGEST: "window"})
    strides: tuple[int, int] = field(metadata={DIGEST: "stride"})
    pads: tuple[int, int] = field(metadata={DIGEST: "padding"})
    dilations: tuple[int, int] = (1, 1)
    border = 0  # the kernel does not leave the map


@dataclass(frozen=True)
class FloatAveragePool(FloatOperation, Pooling[FloatTensor]):
    """The mean of a window: its sum times a share of its row and one of its column, which count the pixels."""

    name: str
    input: FloatTensor
    output: FloatTensor
    size: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int]
    row_shares: NDArray[np.float32]  # [H]
    column_shares: NDArray[np.float32]  # [W]
    dilations: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class FloatGate(FloatOperation):
    """The squeeze-excite gate: x * clip(g / 6 + 0.5, 0, 1) with g of shape (1, 1, C)."""

    name: str
    input: FloatTensor
    gate: FloatTensor
    output: FloatTensor


@dataclass(frozen=True)
class FloatFunction(FloatOperation):
    """A formula, of each number."""

    name: str
    input: FloatTensor
    output: FloatTensor
    steps: tuple[Step, ...] = field(metadata={DIGEST: "function"})


@dataclass(frozen=True)
class FloatChannelSlopes(FloatOperation):
    """A PReLU: each channel's values below zero times its slope."""

    name: str
    input: FloatTensor
    output: FloatTensor
    slopes: NDArray[np.float32]  # [C]


@dataclass(frozen=True)
class FloatBinary(FloatOperation):
    """What is made of the numbers at the same place of two maps, then a clamp.

    The other one may be of fewer numbers: of one pixel (1, 1, C), or of one channel and one pixel or one row or one
    column or all of them.
    """

    name: str
    input: FloatTensor
    other: FloatTensor
    output: FloatTensor
    clamp: Clamp = field(metadata={DIGEST: "relu"})


@dataclass(frozen=True)
class FloatAdd(FloatBinary):
    """Their sum."""


@dataclass(frozen=True)
class FloatSubtract(FloatBinary):
    """Their difference."""


@dataclass(frozen=True)
class FloatMultiply(FloatBinary):
    """Their product."""


@dataclass(frozen=True)
class FloatConcat(FloatOperation):
    """The channels of several maps of one size behind each other."""

    name: str
    parts: tuple[FloatTensor, ...]
    output: FloatTensor


@dataclass(frozen=True)
class FloatCrop(FloatOperation):
    """A part of a map: y[i, j, c] = x[i * a + row, j * b + column, c * d + channel] with the steps (a, b, d)."""

    name: str
    input: FloatTensor
    output: FloatTensor
    row: int
    column: int
    channel: int
    steps: tuple[int, int, int] = (1, 1, 1)


@dataclass(frozen=True)
class FloatShuffleChannels(FloatOperation):
    """Channels of n groups in turn: y[i, j, c * n + g] = x[i, j, g * k + c] with k = channels / n of each group."""

    name: str
    input: FloatTensor
    output: FloatTensor
    groups: int


@dataclass(frozen=True)
class FloatPad(FloatOperation):
    """A map within a larger one: y[i + row, j + column, c + channel] = x[i, j, c], and one number everywhere else."""

    name: str
    input: FloatTensor
    output: FloatTensor
    row: int
    column: int
    channel: int = 0
    value: float = 0.0


@dataclass(frozen=True)
class FloatResize(FloatOperation):
    """A map of another size: (1 - s) * x[a] + s * x[b] of two rows a and b with the share s, then the same of columns.

    Where every share is 0, each pixel is the copy of one.
    """

    name: str
    input: FloatTensor
    output: FloatTensor
    rows: NDArray[np.int32]  # [2, H], of the input
    columns: NDArray[np.int32]  # [2, W]
    row_shares: NDArray[np.float32]  # [H], of the second of each two
    column_shares: NDArray[np.float32]  # [W]


@dataclass(frozen=True)
class FloatScores(FloatOperation):
    """A map of one pixel as the scores."""

    name: str
    input: FloatTensor
    output: FloatTensor


FloatOperator: TypeAlias = (
    FloatInput
    | FloatConv2d
    | FloatDepthwiseConv2d
    | FloatPool
    | FloatMaxPool
    | FloatAveragePool
    | FloatGate
    | FloatFunction
    | FloatChannelSlopes
    | FloatAdd
    | FloatSubtract
    | FloatMultiply
    | FloatConcat
    | FloatCrop
    | FloatShuffleChannels
    | FloatPad
    | FloatResize
    | FloatScores
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
    channels: int = 3  # of the image

    @property
    def results(self) -> tuple[str, ...]:
        """The tensors that are given to the caller, by name: the logits."""
        return (self.operators[-1].output.name,)
