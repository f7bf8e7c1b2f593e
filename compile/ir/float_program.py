"""The float program: the same network without quantization, so that int8 can be compared with the best float build.

It goes through the same memory plan, the same step function and the same tiles as the integer program. Weights are
float32 in the layouts of `calib.integer.program`; a kernel of half precision rounds them when it packs them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calib.integer.operation import Activation, Operation, Pooling
from calib.integer.operation import Convolution as ConvolutionBase
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.graph.formulas import HARD_SIGMOID
from repghost.graph.operators import (
    INPUT,
    RELU,
    UNBOUNDED,
    Add,
    Classifier,
    Convolution,
    Function,
    GlobalAveragePool,
    Graph,
    Multiply,
    Operator,
)
from repghost.graph.shapes import Shape, shapes_of

# Settings that stand at a fixed place in a digest, whether an operator has them or not. A setting that is not among
# them is added by its name, so no field is left out but those that have their default; this list only keeps the
# digests of older bundles as they are.
SETTINGS = ("stride", "padding", "relu", "function", "row", "column", "channel")
DIGEST = "digest"  # the key in a field's metadata of another name in the digest; None where it is left out


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
    """What both convolutions have in common: a bias, and at the end an optional ReLU. Padding pads with 0."""

    name: str
    input: FloatTensor
    output: FloatTensor
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]  # [O]
    strides: tuple[int, int] = field(metadata={DIGEST: "stride"})
    pads: tuple[int, int] = field(metadata={DIGEST: "padding"})
    relu: bool
    dilations: tuple[int, int] = field(default=(1, 1), kw_only=True)


@dataclass(frozen=True)
class FloatConv2d(FloatConvolution):
    """A dense convolution."""

    weight: NDArray[np.float32]  # [O, kh, kw, I]
    logits: bool = field(default=False, metadata={DIGEST: None})  # whether the output is the caller's array


@dataclass(frozen=True)
class FloatDepthwiseConv2d(FloatConvolution):
    """One kernel per channel; a residual is added before the ReLU."""

    weight: NDArray[np.float32]  # [C, kh, kw]
    residual: FloatTensor | None = None


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
class FloatGate(FloatOperation):
    """The squeeze-excite gate: x * clip(g / 6 + 0.5, 0, 1) with g of shape (1, 1, C)."""

    name: str
    input: FloatTensor
    gate: FloatTensor
    output: FloatTensor


@dataclass(frozen=True)
class FloatFunction(FloatOperation):
    """An element-wise function: "hard_swish", "hard_sigmoid" or "relu"."""

    name: str
    input: FloatTensor
    output: FloatTensor
    function: str


@dataclass(frozen=True)
class FloatAdd(FloatOperation):
    """The sum of two maps, then an optional ReLU."""

    name: str
    input: FloatTensor
    other: FloatTensor
    output: FloatTensor
    relu: bool


@dataclass(frozen=True)
class FloatConcat(FloatOperation):
    """The channels of several maps of one size behind each other."""

    name: str
    parts: tuple[FloatTensor, ...]
    output: FloatTensor


@dataclass(frozen=True)
class FloatCrop(FloatOperation):
    """A part of a map: y[i, j, c] = x[i + row, j + column, c + channel]."""

    name: str
    input: FloatTensor
    output: FloatTensor
    row: int
    column: int
    channel: int


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
    channels: int = 3  # of the image


def float_program(graph: Graph, preprocess: Preprocess, element: str = "float32") -> FloatProgram:
    """Return the float program of a fused network.

    Args:
        graph: from `repghost.graph.trace.graph_of`.
        preprocess: gives the size of the image and the value of each byte.
        element: what activations, weights and biases are kept in: "float32" or "float16".
    """
    image = FloatTensor(INPUT, *preprocess.shape, element)
    shapes = shapes_of(graph, (image.height, image.width))
    tensors = {name: _tensor(name, shape, element) for name, shape in shapes.items()}
    operators: list[FloatOperator] = [FloatInput(INPUT, image, preprocess.table())]
    sigmoids = {op.name: op.input for op in graph.operators if isinstance(op, Function) and op.steps == HARD_SIGMOID}
    adds = graph.fused_adds
    fused = {add.name for add in adds.values()}
    for op in graph.operators:
        if op.name not in sigmoids and op.name not in fused:
            operators.append(_operator(op, adds.get(op.name), tensors, sigmoids))
    last = operators[-1]
    digest = program_digest(operators, preprocess)
    return FloatProgram(
        tuple(operators),
        preprocess.height,
        preprocess.width,
        last.output.channels,
        digest,
        element,
        preprocess.channels,
    )


def _tensor(name: str, shape: Shape, element: str) -> FloatTensor:
    channels, height, width = shape
    return FloatTensor(name, height, width, channels, element)


def _operator(
    op: Operator, add: Add | None, tensors: dict[str, FloatTensor], sigmoids: dict[str, str]
) -> FloatOperator:
    x, y = tensors[op.inputs[0]], tensors[op.name]
    match op:
        case Convolution():
            return _convolution(op, add, tensors)
        case GlobalAveragePool():
            return FloatPool(op.name, x, y)
        case Multiply() if op.other in sigmoids:
            return FloatGate(op.name, x, tensors[sigmoids[op.other]], y)
        case Classifier():
            weight = op.weight[:, None, None, :]
            return FloatConv2d(op.name, x, y, weight, op.bias, (1, 1), (0, 0), relu=False, logits=True)
    raise UsageError(f"{op.name}: {type(op).__name__} has no float form; ask for PRECISION=int8.")


def _convolution(op: Convolution, add: Add | None, tensors: dict[str, FloatTensor]) -> FloatOperator:
    clamp = op.clamp if add is None else add.clamp
    if clamp not in (UNBOUNDED, RELU):
        raise UsageError(f"{op.name}: a convolution of this form has no float form; ask for PRECISION=int8.")
    x, where, relu = tensors[op.input], (op.strides, op.pads[:2]), clamp == RELU
    if op.is_depthwise:
        output = tensors[op.name if add is None else add.name]
        residual = None if add is None else tensors[add.other if add.input == op.name else add.input]
        layer = op.name, x, output, op.weight[:, 0], op.bias
        return FloatDepthwiseConv2d(*layer, *where, relu, residual, dilations=op.dilations)
    if add is None and op.groups == 1:
        weight = np.ascontiguousarray(op.weight.transpose(0, 2, 3, 1))
        layer = op.name, x, tensors[op.name], weight, op.bias
        return FloatConv2d(*layer, *where, relu, dilations=op.dilations)
    raise UsageError(f"{op.name}: a convolution of this form has no float form; ask for PRECISION=int8.")


def program_digest(operators: list[FloatOperator], preprocess: Preprocess) -> str:
    """Return the SHA-256 over shapes, weights and Preprocess."""
    digest = hashlib.sha256(repr(sorted(preprocess.to_dict().items())).encode())
    for operator in operators:
        for part in _digest_parts(operator):
            digest.update(part)
    return digest.hexdigest()


def _digest_parts(operator: FloatOperator) -> Iterator[bytes]:
    """Yield what an operator is, from every field but its name: tensors, then arrays, then settings."""
    yield f"{type(operator).__name__} {operator.output} {[tensor.name for tensor in operator.inputs]}".encode()
    for array in operator.weights:
        yield np.ascontiguousarray(array).tobytes()
    settings = {
        entry.metadata.get(DIGEST, entry.name): _setting(value)
        for entry in fields(operator)
        if entry.name != "name" and not _is_data(value := getattr(operator, entry.name)) and value != entry.default
    }
    settings.pop(None, None)
    yield repr([settings.pop(name, None) for name in SETTINGS]).encode()
    for name, value in settings.items():
        yield f"{name} {value}".encode()


def _setting(value: object) -> object:
    """Return a pair of equal numbers, as most windows have, as one: it was one in older bundles."""
    return value[0] if isinstance(value, tuple) and len({*value}) == 1 else value


def _is_data(value: object) -> bool:
    """Tell whether a field holds a tensor, several of them, an array, or nothing: no setting."""
    values = value if isinstance(value, tuple) else (value,)
    return all(item is None or isinstance(item, FloatTensor | np.ndarray) for item in values)
