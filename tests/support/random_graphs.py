"""Small random float graphs of every operator of `repghost.graph.operators`, for properties that hold for all of them.

`random_graph(seed, kinds)` appends some operators of some kinds to one map; equal arguments give equal graphs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from repghost.graph.formulas import FORMULAS
from repghost.graph.operators import (
    INPUT,
    RELU,
    UNBOUNDED,
    Add,
    AveragePool,
    ChannelSlopes,
    Clamp,
    Classifier,
    Concat,
    Convolution,
    Function,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Multiply,
    Operator,
    Pad,
    Pads,
    Pair,
    Resize,
    ShuffleChannels,
    Slice,
    Step,
    Subtract,
)
from repghost.graph.shapes import Shape, shape_of

SIZE = 13  # pixels; odd, so that stride 2 meets a border
CLASSES = 5
CLAMPS: tuple[Clamp, ...] = (UNBOUNDED, RELU, (0.0, 6.0), (-0.5, 1.5))
RESIZES = (  # mode, coordinates, rounding
    ("nearest", "asymmetric", "floor"),
    ("nearest", "half_pixel", "round_prefer_floor"),
    ("nearest", "half_pixel", "round_prefer_ceil"),
    ("nearest", "align_corners", "ceil"),
    ("nearest", "pytorch_half_pixel", "floor"),
    ("linear", "half_pixel", "floor"),
    ("linear", "pytorch_half_pixel", "floor"),
    ("linear", "align_corners", "floor"),
    ("linear", "asymmetric", "floor"),
)
MORE_FORMULAS: dict[str, tuple[Step, ...]] = {
    "ReLU": (Step("Relu", (0,)),),
    "ReLU6": (Step("Clip", (0, 0.0, 6.0)),),
    "hard swish by steps": (
        Step("Add", (0, 3.0)), Step("Clip", (1, 0.0, 6.0)), Step("Mul", (0, 2)), Step("Div", (3, 6.0)),
    ),
    "GELU by tanh": (
        Step("Mul", (0, 0.7978845608)), Step("Mul", (0, 0.0356774081)), Step("Mul", (0, 0)), Step("Mul", (2, 3)),
        Step("Add", (1, 4)), Step("Tanh", (5,)), Step("Add", (6, 1.0)), Step("Mul", (0, 7)), Step("Mul", (8, 0.5)),
    ),
    "root": (Step("Abs", (0,)), Step("Sqrt", (1,)), Step("Neg", (2,))),
    "SELU": (Step("Selu", (0,)),),
    "Softsign": (Step("Softsign", (0,)),),
    "falling": (Step("Neg", (0,)), Step("Exp", (1,)), Step("Add", (2, 1.0)), Step("Reciprocal", (3,))),
}  # fmt: skip


class Builder:
    """Appends random operators to one map and keeps the sizes of every tensor.

    Args:
        seed: of every choice and number.
        size: height and width of the input.
    """

    def __init__(self, seed: int, size: Pair = (SIZE, SIZE)) -> None:
        self.rng = np.random.default_rng(seed)
        self.operators: list[Operator] = []
        self.shapes: dict[str, Shape] = {INPUT: (3, *size)}
        self.x = INPUT

    @property
    def channels(self) -> int:
        return self.shapes[self.x][0]

    @property
    def size(self) -> Pair:
        return self.shapes[self.x][1:]

    def append(self, op: Operator) -> str:
        self.shapes[op.name] = shape_of(op, self.shapes)
        self.operators.append(op)
        return op.name

    def name(self, kind: str) -> str:
        return f"{kind}.{len(self.operators)}"

    def chosen(self, *options: int) -> int:
        return options[int(self.rng.integers(len(options)))]

    def clamp(self) -> Clamp:
        return CLAMPS[self.chosen(*range(len(CLAMPS)))]

    def numbers(self, *shape: int) -> NDArray[np.float32]:
        """Return numbers with which sums over all axes but the first have a variance of 2."""
        inputs = math.prod(shape[1:]) if len(shape) > 1 else 50
        return (self.rng.normal(0, math.sqrt(2 / inputs), shape)).astype(np.float32)

    def convolution(
        self,
        x: str,
        outputs: int,
        kernel: Pair = (1, 1),
        strides: Pair = (1, 1),
        pads: Pads | None = None,
        dilations: Pair = (1, 1),
        groups: int = 1,
        clamp: Clamp = UNBOUNDED,
    ) -> str:
        """Append a convolution, by default with the padding that keeps a map's size."""
        rows, columns = ((taps - 1) * dilation // 2 for taps, dilation in zip(kernel, dilations, strict=True))
        weight = self.numbers(outputs, self.shapes[x][0] // groups, *kernel)
        pads = (rows, columns, rows, columns) if pads is None else pads
        name = self.name("conv")
        return self.append(Convolution(name, x, weight, self.numbers(outputs), strides, pads, dilations, groups, clamp))

    def split_channels(self, x: str) -> tuple[str, int]:
        """Return a tensor whose channels can be divided into groups, and their number."""
        groups = self.chosen(2, 3)
        return self.convolution(x, groups * self.chosen(2, 4), clamp=RELU), groups

    def dense(self) -> None:
        kernel, stride = (self.chosen(1, 3),) * 2, (self.stride(),) * 2
        self.x = self.convolution(self.x, self.chosen(4, 7, 8), kernel, stride, clamp=self.clamp())

    def oblong(self) -> None:
        """Kernel, strides, pads and dilations that differ between rows and columns."""
        kernel = self.chosen(1, 3), self.chosen(2, 5)
        pads = self.chosen(0, 1), self.chosen(1, 2), self.chosen(1, 2), self.chosen(2, 3)
        strides = self.stride(), 1
        groups = self.channels if self.rng.integers(2) else 1
        self.x = self.convolution(self.x, self.channels, kernel, strides, pads, (1, 1), groups, self.clamp())

    def dilated(self) -> None:
        dilations = self.chosen(1, 2), self.chosen(2, 3)
        self.x = self.convolution(self.x, 6, (3, 3), dilations=dilations, clamp=self.clamp())

    def grouped(self) -> None:
        x, groups = self.split_channels(self.x)
        self.x = self.convolution(
            x, groups * self.chosen(1, 3), (3, 3), (self.stride(),) * 2, groups=groups, clamp=self.clamp()
        )

    def depthwise(self) -> None:
        """One kernel a channel, behind a dense layer or not."""
        kernel, stride = self.chosen(3, 5), self.stride()
        self.x = self.convolution(
            self.x, self.channels, (kernel,) * 2, (stride,) * 2, groups=self.channels, clamp=self.clamp()
        )

    def multiplied(self) -> None:
        """Several kernels a channel."""
        x = self.convolution(self.x, 4, clamp=RELU)
        self.x = self.convolution(x, 8, (3, 3), groups=4, clamp=self.clamp())

    def residual(self) -> None:
        """A sum in either order, computed in an epilogue or standing alone, of a dense or depthwise layer."""
        groups = self.channels if self.rng.integers(2) else 1
        y = self.convolution(
            self.x, self.channels, (3, 3), groups=groups, clamp=self.clamp() if self.rng.integers(2) else UNBOUNDED
        )
        self.x = self.append(Add(self.name("add"), *self.in_any_order(y, self.x), self.clamp()))

    def two_hosts(self) -> None:
        """A sum that two convolutions could compute in their epilogue."""
        y, z = (self.convolution(self.x, 6, (3, 3)) for _ in range(2))
        self.x = self.append(Add(self.name("add"), *self.in_any_order(y, z), self.clamp()))

    def doubled(self) -> None:
        """Sums, differences and products of functions of one tensor."""
        kind = (Add, Subtract, Multiply)[self.chosen(0, 1, 2)]
        y = (
            self.append(Function(self.name("function"), self.x, FORMULAS["Sigmoid"]))
            if self.rng.integers(2)
            else self.x
        )
        z = self.append(Function(self.name("function"), self.x, FORMULAS["SiLU"])) if self.rng.integers(2) else self.x
        kind = Add if y == z else kind
        self.x = self.append(kind(self.name("joint"), *self.in_any_order(y, z), self.clamp()))

    def difference(self) -> None:
        y = self.convolution(self.x, self.channels, (3, 3), clamp=self.clamp())
        self.x = self.append(Subtract(self.name("sub"), *self.in_any_order(y, self.x), self.clamp()))

    def in_any_order(self, a: str, b: str) -> tuple[str, str]:
        return (a, b) if self.rng.integers(2) else (b, a)

    def product(self) -> None:
        y = self.convolution(self.x, self.channels, (3, 3), clamp=self.clamp())
        self.x = self.append(Multiply(self.name("mul"), *self.in_any_order(y, self.x), self.clamp()))

    def gate_of_channels(self) -> None:
        pooled = self.append(GlobalAveragePool(self.name("pool"), self.x))
        gate = self.convolution(self.convolution(pooled, 3, clamp=RELU), self.channels)
        gate = self.append(Function(self.name("gate"), gate, FORMULAS["HardSigmoid"]))
        self.x = self.append(Multiply(self.name("mul"), self.x, gate, self.clamp()))

    def gate_of_pixels(self) -> None:
        gate = self.append(Function(self.name("gate"), self.convolution(self.x, 1), FORMULAS["Sigmoid"]))
        self.x = self.append(Multiply(self.name("mul"), self.x, gate))

    def function(self) -> None:
        """A formula behind a convolution, or behind whatever is there."""
        formulas = [*FORMULAS.values(), *MORE_FORMULAS.values()]
        x = self.convolution(self.x, self.channels) if self.rng.integers(2) else self.x
        self.x = self.append(Function(self.name("function"), x, formulas[self.chosen(*range(len(formulas)))]))

    def slopes(self) -> None:
        if self.rng.integers(4) == 0:
            self.x = self.convolution(self.x, 1)
        slopes = self.rng.uniform(-0.5, 1.5, self.channels).astype(np.float32)
        self.x = self.append(ChannelSlopes(self.name("slopes"), self.x, slopes))

    def global_pool(self) -> None:
        """A mean of the map, spread over it again."""
        pooled = self.append(GlobalAveragePool(self.name("pool"), self.x))
        self.x = self.append(Multiply(self.name("mul"), self.x, pooled))

    def average_pool(self) -> None:
        self.x = self.append(AveragePool(self.name("pool"), self.x, (3, 3), (self.stride(),) * 2, (1, 1, 1, 1)))

    def partial_average(self) -> None:
        """A mean at the border of which fewer pixels count."""
        size, pads = (self.chosen(2, 3), 3), (self.chosen(0, 1), 1, 1, self.chosen(0, 1))
        self.x = self.append(AveragePool(self.name("pool"), self.x, size, (self.stride(), 1), pads, False))

    def max_pool(self) -> None:
        pads = (1, 1, 1, 1) if self.rng.integers(2) else (0, 0, 1, 1)
        self.x = self.append(MaxPool(self.name("pool"), self.x, (3, 3), (self.stride(),) * 2, pads))

    def oblong_max_pool(self) -> None:
        dilations = (1, 2) if min(self.size) > 4 else (1, 1)
        self.x = self.append(MaxPool(self.name("pool"), self.x, (2, 3), (1, self.stride()), (1, 0, 0, 1), dilations))

    def concat(self) -> None:
        """Maps whose scale becomes that of the whole, and one or two that keep their own."""
        parts = [self.convolution(self.x, self.chosen(2, 3), (3, 3), clamp=self.clamp()) for _ in range(2)]
        if self.rng.integers(2):
            parts.append(self.append(MaxPool(self.name("pool"), parts[0], (3, 3), pads=(1, 1, 1, 1))))
        self.x = self.append(Concat(self.name("concat"), (*parts, self.x)))

    def nested_concat(self) -> None:
        parts = self.convolution(self.x, 2), self.convolution(self.x, 3)
        inner = self.append(Concat(self.name("concat"), parts))
        self.x = self.append(Concat(self.name("concat"), (inner, self.convolution(self.x, 2, clamp=RELU))))

    def slice(self) -> None:
        height, width = self.size
        start = (self.chosen(0, 1), self.chosen(0, 1), 0)
        self.x = self.append(Slice(self.name("slice"), self.x, start, (self.channels, height, max(1, width - 1))))

    def strided_slice(self) -> None:
        self.x = self.append(Slice(self.name("slice"), self.x, (0, 0, 0), self.shapes[self.x], (1, 2, self.stride())))

    def halves(self) -> None:
        """Two halves of the channels, one of them changed, behind each other and in turn."""
        x = self.convolution(self.x, 8, clamp=RELU)
        low, high = (
            self.append(Slice(self.name("half"), x, (start, 0, 0), (start + 4, *self.shapes[x][1:])))
            for start in (0, 4)
        )
        high = self.convolution(high, 4, (3, 3), clamp=self.clamp())
        joined = self.append(Concat(self.name("concat"), (low, high)))
        self.x = self.append(ShuffleChannels(self.name("shuffle"), joined, 2))

    def pad(self) -> None:
        pads = self.chosen(0, 1), self.chosen(1, 2), self.chosen(0, 2), 0
        self.x = self.append(Pad(self.name("pad"), self.x, pads))

    def nearest(self) -> None:
        height, width = self.size
        size = height * self.chosen(1, 2), width * 2
        self.x = self.append(Resize(self.name("resize"), self.x, size))

    def any_nearest(self) -> None:
        self.resize([kind for kind in RESIZES if kind[0] == "nearest"])

    def linear(self) -> None:
        self.resize([kind for kind in RESIZES if kind[0] == "linear"])

    def resize(self, kinds: Sequence[tuple[str, str, str]]) -> None:
        height, width = self.size  # by powers of two: other libraries round the places of other factors
        size = height * self.chosen(1, 2), width * self.chosen(2, 4)
        kind = kinds[self.chosen(*range(len(kinds)))]
        self.x = self.append(Resize(self.name("resize"), self.x, size, *kind))

    def stride(self) -> int:
        return self.chosen(1, 2) if min(self.size) > 5 else 1

    def end_with_classifier(self) -> None:
        pooled = self.append(GlobalAveragePool(self.name("pool"), self.x))
        self.append(Classifier("classifier", pooled, self.numbers(CLASSES, self.channels), self.numbers(CLASSES)))

    def end_with_flat_map(self) -> None:
        """A classifier over every pixel of a map."""
        x = self.convolution(self.x, 2, clamp=RELU)
        inputs = math.prod(self.shapes[x])
        self.append(Classifier("classifier", x, self.numbers(CLASSES, inputs), self.numbers(CLASSES)))

    def end_with_pool(self) -> None:
        """Scores that are means, as SqueezeNet has them."""
        x = self.convolution(self.x, CLASSES, clamp=RELU)
        self.append(GlobalAveragePool("scores", x))

    def end_with_function(self) -> None:
        x = self.convolution(self.append(GlobalAveragePool(self.name("pool"), self.x)), CLASSES)
        self.append(Function("scores", x, FORMULAS["Sigmoid"]))

    def graph(self) -> Graph:
        """Return what was appended."""
        return Graph(tuple(self.operators), self.shapes[INPUT][0], self.shapes[INPUT][1:])


Kind = Callable[[Builder], None]
KINDS: tuple[Kind, ...] = (
    Builder.dense, Builder.oblong, Builder.dilated, Builder.grouped, Builder.depthwise, Builder.multiplied,
    Builder.residual, Builder.two_hosts, Builder.doubled, Builder.difference, Builder.product,
    Builder.gate_of_channels, Builder.gate_of_pixels, Builder.function, Builder.slopes, Builder.global_pool,
    Builder.average_pool, Builder.partial_average, Builder.max_pool, Builder.oblong_max_pool, Builder.concat,
    Builder.nested_concat, Builder.slice, Builder.strided_slice, Builder.halves, Builder.pad, Builder.nearest,
    Builder.any_nearest, Builder.linear,
)  # fmt: skip
ENDS: tuple[Kind, ...] = (
    Builder.end_with_classifier, Builder.end_with_flat_map, Builder.end_with_pool, Builder.end_with_function,
)  # fmt: skip


def random_graph(seed: int, kinds: Sequence[Kind] = KINDS, length: int = 4, size: Pair = (SIZE, SIZE)) -> Graph:
    """Return a graph of a first convolution, `length` parts chosen from some kinds, and an end."""
    builder = Builder(seed, size)
    builder.dense()
    for _ in range(length):
        kinds[builder.chosen(*range(len(kinds)))](builder)
    ENDS[seed % len(ENDS)](builder)
    return builder.graph()


def graph_with(kind: Kind, seed: int, size: Pair = (SIZE, SIZE)) -> Graph:
    """Return a graph of a first convolution, one part of a kind, and an end."""
    return random_graph(seed, (kind,), 1, size)
