"""The integer program: what a quantized network computes, operator by operator, without float tensors but the logits.

It is the value between the passes that read a QDQ file and everything that executes it: the numpy reference in
`calib.integer.reference` and the compiled kernels. Activations are NHWC with batch 1, int8 unless said: convolutions,
pools, sums of two tensors and what only moves numbers also read and write int16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calib.integer import operation
from calib.integer.values import Epilogue, IntegerOperation, Requantize, Tensor


@dataclass(frozen=True)
class InputTable(IntegerOperation):
    """Bytes of an RGB or grey image to int8, one table of 256 per channel: x[.., c] = tables[c, byte]."""

    name: str
    output: Tensor
    tables: NDArray[np.int8]  # [channels, 256]
    arithmetic = "table"


@dataclass(frozen=True)
class IntegerConvolution(operation.Convolution[Tensor]):
    """What both convolutions have in common; padding pads with the zero point of the input."""

    name: str
    input: Tensor
    output: Tensor  # its qparams are meaningless for ToLogits
    weight: NDArray[np.int8]
    bias: NDArray[np.int32]  # [O], b' of the contract
    strides: tuple[int, int]
    pads: tuple[int, int]
    epilogue: Epilogue
    dilations: tuple[int, int] = (1, 1)

    @property
    def arithmetic(self) -> str:
        """How the accumulator is kept: its epilogue says so."""
        return self.epilogue.arithmetic


@dataclass(frozen=True)
class Conv2d(IntegerConvolution):
    """A dense convolution; a 1x1 kernel on a 1x1 map is a fully connected layer."""

    weight: NDArray[np.int8]  # [O, kh, kw, I]


@dataclass(frozen=True)
class DepthwiseConv2d(IntegerConvolution):
    """One kernel per channel. With a Q15 epilogue the accumulator starts at `bias` and fits int16 for every input."""

    weight: NDArray[np.int8]  # [C, kh, kw]


@dataclass(frozen=True)
class GlobalAveragePool(IntegerOperation):
    """The mean over height and width: acc = sum(x) - n * z_x, then requantize with m = s_x / (s_y * n)."""

    name: str
    input: Tensor
    output: Tensor
    bias: int  # -n * z_x
    epilogue: Requantize  # multiplier of shape [1]
    arithmetic = "int32"


@dataclass(frozen=True)
class AveragePool(operation.Pooling[Tensor]):
    """The mean of a window of n taps: acc = sum(x) - n * z_x, then requantize with m[i, j] = s_x / (s_y * count[i, j]).

    The border holds the zero point, the real number 0. A result is the mean of count[i, j] pixels: of all n, or of
    those on the map where padding does not count, or on the map and its padding where the last window leaves both.
    """

    name: str
    input: Tensor
    output: Tensor
    size: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int]
    bias: int  # -n * z_x
    epilogue: Requantize  # multiplier of shape [1], or [H, W, 1] where the counts differ
    dilations: tuple[int, int] = (1, 1)
    arithmetic = "int32"


@dataclass(frozen=True)
class Lookup(IntegerOperation):
    """An element-wise function as a table: y = table[x + 128]."""

    name: str
    input: Tensor
    output: Tensor
    table: NDArray[np.int8]  # [256]
    arithmetic = "table"


@dataclass(frozen=True)
class ChannelSlopes(IntegerOperation):
    """A slope for each channel below zero: acc = x - z_x, requantized with m = s_x / s_y, or with m[c] where acc < 0.

    m[c] = float32(float64(slope of c) * s_x / s_y).
    """

    name: str
    input: Tensor
    output: Tensor
    slopes: NDArray[np.float32]  # [C], m[c]
    epilogue: Requantize  # multiplier of shape [1]
    arithmetic = "int32"


@dataclass(frozen=True)
class Multiply(IntegerOperation):
    """The squeeze-excite gate, or any product: acc = (x - z_x) * (g - z_g), then requantize.

    The gate has the size of the map or 1 along each axis: one value for each channel, for each pixel, or for both.
    """

    name: str
    input: Tensor
    gate: Tensor
    output: Tensor
    epilogue: Requantize  # multiplier of shape [1]
    arithmetic = "int32"


@dataclass(frozen=True)
class Add(IntegerOperation):
    """A residual add that no convolution could take: acc = (a - z_a) * A; t = acc + (b - z_b) * B, see requantize_add.

    Both factors are rint(4096 * s / s_y), B with the opposite sign for a difference; the sum is exact in int32.
    The other tensor has the size of the map or 1 along each axis.
    """

    name: str
    input: Tensor
    other: Tensor
    output: Tensor
    factor: int
    other_factor: int
    low: int
    high: int
    arithmetic = "int32"


@dataclass(frozen=True)
class WideAdd(IntegerOperation):
    """A sum with int16 in it that no convolution could take: `requantize_wide_add` of a - z_a and b - z_b.

    Both factors are float32(16 * s / s_y), B with the opposite sign for a difference. The other tensor has the size of
    the map or 1 along each axis.
    """

    name: str
    input: Tensor
    other: Tensor
    output: Tensor
    factor: float
    other_factor: float
    low: int
    high: int
    arithmetic = "int32"


@dataclass(frozen=True)
class Rescale(IntegerOperation):
    """A tensor at another scale, int16 to int8 or int8 to int16: x - z_x, requantized with m = s_x / s_y."""

    name: str
    input: Tensor
    output: Tensor
    epilogue: Requantize  # multiplier of shape [1]
    arithmetic = "int16"


@dataclass(frozen=True)
class MaxPool(operation.Pooling[Tensor]):
    """The largest integer under a window; pixels outside the map never win. Scale and zero point stay."""

    name: str
    input: Tensor
    output: Tensor
    size: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int]
    dilations: tuple[int, int] = (1, 1)
    arithmetic = "int8"
    border = 0  # the kernel does not leave the map


@dataclass(frozen=True)
class Concat(IntegerOperation):
    """The channels of several maps of one size behind each other; all have the scale and zero point of the output."""

    name: str
    parts: tuple[Tensor, ...]
    output: Tensor
    arithmetic = "int8"


@dataclass(frozen=True)
class Crop(IntegerOperation):
    """A part of a map: y[i, j, c] = x[i + row, j + column, c + channel], with scale and zero point of the input."""

    name: str
    input: Tensor
    output: Tensor
    row: int
    column: int
    channel: int
    arithmetic = "int8"


@dataclass(frozen=True)
class NearestUpsample(IntegerOperation):
    """Each pixel several times: y[i, j, c] = x[i // rows, j // columns, c], with scale and zero point of the input."""

    name: str
    input: Tensor
    output: Tensor
    rows: int
    columns: int
    arithmetic = "int8"


@dataclass(frozen=True)
class SelectPixels(IntegerOperation):
    """Any rows and columns: y[i, j, c] = x[rows[i], columns[j], c], with scale and zero point of the input."""

    name: str
    input: Tensor
    output: Tensor
    rows: NDArray[np.int32]  # [H]
    columns: NDArray[np.int32]  # [W]
    arithmetic = "int8"


@dataclass(frozen=True)
class Pad(IntegerOperation):
    """A map within a larger one: y[i + row, j + column, c + channel] = x[i, j, c], and one integer everywhere else."""

    name: str
    input: Tensor
    output: Tensor
    row: int
    column: int
    channel: int
    value: int
    arithmetic = "int8"


@dataclass(frozen=True)
class LinearResize(IntegerOperation):
    """A map of another size, bilinear: acc = `qparams.interpolate` - z_x * 2**22, then requantize.

    m = s_x / (s_y * 2**22).
    """

    name: str
    input: Tensor
    output: Tensor
    rows: NDArray[np.int32]  # [H, 3], from `qparams.linear_taps`
    columns: NDArray[np.int32]  # [W, 3]
    bias: int  # -z_x * 2**22
    epilogue: Requantize  # multiplier of shape [1]
    arithmetic = "int32"


@dataclass(frozen=True)
class ShuffleChannels(IntegerOperation):
    """Channels of n groups in turn: y[i, j, c * n + g] = x[i, j, g * k + c] with k = channels / n of each group."""

    name: str
    input: Tensor
    output: Tensor
    groups: int
    arithmetic = "int8"


@dataclass(frozen=True)
class Dequantize(IntegerOperation):
    """The operator that makes a result of a network that quantizes it: float32(q - z) * s (`qparams.dequantize`)."""

    name: str
    input: Tensor
    output: Tensor  # its qparams are meaningless
    start: int = 0  # where the numbers of this result begin among those of all
    arithmetic = "int8, float scores"


Operator: TypeAlias = (
    InputTable
    | Conv2d
    | DepthwiseConv2d
    | GlobalAveragePool
    | AveragePool
    | Lookup
    | ChannelSlopes
    | Multiply
    | Add
    | WideAdd
    | Rescale
    | MaxPool
    | Concat
    | Crop
    | NearestUpsample
    | SelectPixels
    | Pad
    | LinearResize
    | ShuffleChannels
    | Dequantize
)


@dataclass(frozen=True)
class Output:
    """One of several results: float32 [height, width, channels]."""

    name: str
    height: int
    width: int
    channels: int

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return self.height * self.width * self.channels


@dataclass(frozen=True)
class Program:
    """Operators in execution order; the first reads the image, the last writes the logits.

    A network with several results gives the numbers of one behind those of another, in the order of `outputs`; each is
    written by a `Dequantize`, and what is called logits elsewhere are all these numbers.
    """

    operators: tuple[Operator, ...]
    height: int
    width: int
    classes: int  # logits of one image, or the numbers of all its results
    digest: str  # sha256 of the canonical QDQ graph and Preprocess, the *program digest*
    channels: int = 3  # of the image
    outputs: tuple[Output, ...] = ()  # empty where there is one result, the logits

    @property
    def results(self) -> tuple[str, ...]:
        """The tensors that are given to the caller, by name."""
        return tuple(output.name for output in self.outputs) or (self.operators[-1].output.name,)
