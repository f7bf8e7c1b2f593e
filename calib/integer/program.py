"""The integer program: what a quantized network computes, operator by operator, without float tensors but the logits.

It is the value between the passes that read a QDQ file and everything that executes it: the numpy reference in
`calib.integer.reference` and the compiled kernels. Activations are NHWC int8 with batch 1 unless said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import QParams


@dataclass(frozen=True)
class Tensor:
    """An int8 activation of shape (height, width, channels)."""

    name: str
    height: int
    width: int
    channels: int
    qparams: QParams


@dataclass(frozen=True)
class Requantize:
    """The epilogue of an int32 accumulator (`calib.integer.qparams.requantize`)."""

    multiplier: NDArray[np.float32]  # [C]
    zero_point: int
    low: int
    high: int


@dataclass(frozen=True)
class RequantizeAdd:
    """The epilogue of an int32 accumulator followed by a residual add (`calib.integer.qparams.requantize_add`)."""

    multiplier: NDArray[np.float32]  # [C], already times 4096
    zero_point: int
    low: int
    high: int
    residual: Tensor
    residual_factor: int


@dataclass(frozen=True)
class RequantizeQ15:
    """The epilogue of an int16 accumulator (`calib.integer.qparams.requantize_q15`)."""

    multiplier: NDArray[np.int16]  # [C]
    offset: NDArray[np.int16]  # [C]
    low: int
    high: int


@dataclass(frozen=True)
class RequantizeQ15Add:
    """The epilogue of an int16 accumulator followed by a residual add (`calib.integer.qparams.requantize_q15_add`)."""

    multiplier: NDArray[np.int16]  # [C]
    offset: NDArray[np.int16]  # [C]
    low: int
    high: int
    residual: Tensor
    residual_factor: int


@dataclass(frozen=True)
class ToLogits:
    """The last epilogue: float32 scores (`calib.integer.qparams.logits`)."""

    multiplier: NDArray[np.float32]  # [C]


Epilogue: TypeAlias = Requantize | RequantizeAdd | RequantizeQ15 | RequantizeQ15Add | ToLogits


@dataclass(frozen=True)
class InputTable:
    """Bytes of an RGB image to int8, one table of 256 per colour: x[.., c] = tables[c, byte]."""

    name: str
    output: Tensor
    tables: NDArray[np.int8]  # [3, 256]


@dataclass(frozen=True)
class Conv2d:
    """A dense convolution; a 1x1 kernel on a 1x1 map is a fully connected layer. Padding pads with the zero point."""

    name: str
    input: Tensor
    output: Tensor  # its qparams are meaningless for ToLogits
    weight: NDArray[np.int8]  # [O, kh, kw, I]
    bias: NDArray[np.int32]  # [O], b' of the contract
    stride: int
    padding: int
    epilogue: Epilogue


@dataclass(frozen=True)
class DepthwiseConv2d:
    """One kernel per channel. With a Q15 epilogue the accumulator starts at `bias` and fits int16 for every input."""

    name: str
    input: Tensor
    output: Tensor
    weight: NDArray[np.int8]  # [C, kh, kw]
    bias: NDArray[np.int32]  # [C]
    stride: int
    padding: int
    epilogue: Epilogue


@dataclass(frozen=True)
class GlobalAveragePool:
    """The mean over height and width: acc = sum(x) - n * z_x, then requantize with m = s_x / (s_y * n)."""

    name: str
    input: Tensor
    output: Tensor
    bias: int  # -n * z_x
    epilogue: Requantize  # multiplier of shape [1]


@dataclass(frozen=True)
class Lookup:
    """An element-wise function as a table: y = table[x + 128]."""

    name: str
    input: Tensor
    output: Tensor
    table: NDArray[np.int8]  # [256]


@dataclass(frozen=True)
class Multiply:
    """The squeeze-excite gate: acc = (x - z_x) * (g - z_g) with g of shape (1, 1, C), then requantize."""

    name: str
    input: Tensor
    gate: Tensor
    output: Tensor
    epilogue: Requantize  # multiplier of shape [1]


@dataclass(frozen=True)
class Add:
    """A residual add that no convolution could take: acc = (a - z_a) * A; t = acc + (b - z_b) * B, see requantize_add.

    Both factors are rint(4096 * s / s_y); the sum is exact in int32.
    """

    name: str
    input: Tensor
    other: Tensor
    output: Tensor
    factor: int
    other_factor: int
    low: int
    high: int


@dataclass(frozen=True)
class MaxPool:
    """The largest integer under a square window; pixels outside the map never win. Scale and zero point stay."""

    name: str
    input: Tensor
    output: Tensor
    kernel: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Concat:
    """The channels of several maps of one size behind each other; all have the scale and zero point of the output."""

    name: str
    inputs: tuple[Tensor, ...]
    output: Tensor

    @property
    def input(self) -> Tensor:
        """The first of the inputs."""
        return self.inputs[0]


@dataclass(frozen=True)
class Crop:
    """A part of a map: y[i, j, c] = x[i + row, j + column, c + channel], with scale and zero point of the input."""

    name: str
    input: Tensor
    output: Tensor
    row: int
    column: int
    channel: int


@dataclass(frozen=True)
class Dequantize:
    """The last operator of a file that quantizes its scores: float32(q - z) * s (`qparams.dequantize`)."""

    name: str
    input: Tensor
    output: Tensor  # its qparams are meaningless


Operator: TypeAlias = (
    InputTable
    | Conv2d
    | DepthwiseConv2d
    | GlobalAveragePool
    | Lookup
    | Multiply
    | Add
    | MaxPool
    | Concat
    | Crop
    | Dequantize
)


@dataclass(frozen=True)
class Program:
    """Operators in execution order; the first reads the image, the last writes the logits."""

    operators: tuple[Operator, ...]
    height: int
    width: int
    classes: int
    digest: str  # sha256 of the canonical QDQ graph and Preprocess, the *program digest*


def operator_inputs(operator: Operator) -> tuple[Tensor, ...]:
    """Return the activations an operator reads, the residual of its epilogue included."""
    inputs: list[Tensor] = []
    if isinstance(operator, Concat):
        inputs += operator.inputs
    elif not isinstance(operator, InputTable):
        inputs.append(operator.input)
    if isinstance(operator, Multiply):
        inputs.append(operator.gate)
    if isinstance(operator, Add):
        inputs.append(operator.other)
    epilogue = getattr(operator, "epilogue", None)
    if isinstance(epilogue, RequantizeAdd | RequantizeQ15Add):
        inputs.append(epilogue.residual)
    return tuple(inputs)


def trailing_padding(operator: Conv2d | DepthwiseConv2d) -> tuple[int, int]:
    """Return the rows below and the columns right of the input that a convolution reads: its output's size says so.

    `padding` is the border above and on the left. Both are equal where stride and size fit; TensorFlow's "same"
    padding has nothing above and one row below.
    """
    x, y = operator.input, operator.output
    sides = zip((y.height, y.width), (x.height, x.width), operator.weight.shape[1:3], strict=True)
    rows, columns = (
        max(0, (out - 1) * operator.stride + kernel - operator.padding - size) for out, size, kernel in sides
    )
    return rows, columns
