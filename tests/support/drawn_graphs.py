"""Small random float graphs of every operator, of odd sizes and channel counts."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from repghost.graph.formulas import FORMULAS, HARD_SIGMOID
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
    Narrow,
    Operator,
    Pad,
    Resize,
    ShuffleChannels,
    Slice,
    Subtract,
)
from repghost.graph.shapes import shape_of

CLAMPS = (UNBOUNDED, UNBOUNDED, RELU, (0.0, 1.0), (-0.5, 0.75))
RESIZES = (
    ("nearest", "asymmetric", "floor"),
    ("nearest", "half_pixel", "round_prefer_floor"),
    ("linear", "half_pixel", "floor"),
    ("linear", "align_corners", "floor"),
    ("linear", "pytorch_half_pixel", "floor"),
)
OPERATORS = tuple(kind for kind in get_args(Operator) if kind is not Narrow)  # which calibration alone makes


class Drawing:
    """Appends random operators to a graph."""

    def __init__(self, seed: int, side: int) -> None:
        self.rng, self.operators = np.random.default_rng(seed), list[Operator]()
        self.shapes = {INPUT: (3, side, side)}
        self.last = INPUT

    def graph(self, count: int) -> Graph:
        """Return a graph of about `count` layers, which ends in one of the usual ways."""
        self.convolution(channels=12)
        layers = [
            self.convolution, self.depthwise, self.grouped, self.residual, self.binary, self.gate, self.function,
            self.slopes, self.pool, self.concat, self.slice, self.shuffle, self.pad, self.resize,
        ]  # fmt: skip
        for index in range(count):
            layers[index % len(layers) if index < len(layers) else self.below(len(layers))]()
        self.end()
        return Graph(tuple(self.operators), 3)

    def below(self, limit: int) -> int:
        return int(self.rng.integers(limit))

    def choose(self, options: Any) -> Any:
        return options[self.below(len(options))]

    def append(self, operator: Operator) -> str:
        self.operators.append(operator)
        self.shapes[operator.name] = shape_of(operator, self.shapes)
        self.last = operator.name
        return self.last

    @property
    def name(self) -> str:
        return f"op{len(self.operators)}"

    @property
    def size(self) -> tuple[int, int]:
        return self.shapes[self.last][1:]

    def weights(self, *shape: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        weight = self.rng.normal(0, 1.4 / np.sqrt(np.prod(shape[1:])), shape)
        return weight.astype(np.float32), self.rng.normal(0, 0.2, shape[0]).astype(np.float32)

    def convolution(self, channels: int = 0, groups: int = 1, clamp: Clamp | None = None, same: bool = False) -> str:
        inputs = self.shapes[self.last][0]
        outputs = channels or 1 + self.below(21)
        kernel = self.choose(((1, 1), (3, 3), (1, 3), (5, 2)))
        dilations = (1, 1) if same else self.choose(((1, 1), (1, 1), (2, 1)))
        strides = (1, 1) if same or min(self.size) < 8 else self.choose(((1, 1), (2, 2), (1, 2)))
        rows, columns = ((side - 1) * apart for side, apart in zip(kernel, dilations, strict=True))
        pads = (rows // 2, columns - columns // 2, rows - rows // 2, columns // 2)
        weight, bias = self.weights(outputs, inputs // groups, *kernel)
        clamp = self.choose(CLAMPS) if clamp is None else clamp
        return self.append(Convolution(self.name, self.last, weight, bias, strides, pads, dilations, groups, clamp))

    def depthwise(self) -> None:
        channels = self.shapes[self.last][0]
        self.convolution(channels, channels)

    def grouped(self) -> None:
        groups = self.choose((2, 3, 4))
        self.convolution(groups * self.choose((1, 3, 4, 8)), clamp=RELU)
        self.convolution(groups * self.choose((2, 4, 5)), groups)

    def residual(self) -> None:
        """Add a map to what a convolution makes of it, dense or depthwise, perhaps the other way round."""
        before, (channels, *_) = self.last, self.shapes[self.last]
        groups = self.choose((1, channels))
        self.convolution(channels, groups, UNBOUNDED, same=True)
        pair = self.choose(((self.last, before), (before, self.last)))
        self.append(Add(self.name, *pair, self.choose(CLAMPS)))

    def binary(self) -> None:
        """Combine two maps that a later convolution than the first one made."""
        before, (channels, *_) = self.last, self.shapes[self.last]
        first = self.convolution(channels, 1, UNBOUNDED, same=True)
        self.last = before
        second = self.convolution(channels, 1, self.choose((UNBOUNDED, RELU)), same=True)
        self.append(self.choose((Add, Subtract, Multiply))(self.name, first, second, self.choose(CLAMPS)))

    def gate(self) -> None:
        x, (channels, *_) = self.last, self.shapes[self.last]
        if self.below(2):
            self.append(GlobalAveragePool(self.name, self.last))
            self.convolution(channels, clamp=UNBOUNDED, same=True)
        else:
            self.convolution(1, clamp=UNBOUNDED, same=True)
        self.append(Function(self.name, self.last, self.choose((HARD_SIGMOID, FORMULAS["Sigmoid"]))))
        self.append(Multiply(self.name, x, self.last, self.choose(CLAMPS)))

    def function(self) -> None:
        self.append(Function(self.name, self.last, self.choose(tuple(FORMULAS.values()))))

    def slopes(self) -> None:
        slopes = self.rng.uniform(-0.2, 0.5, self.shapes[self.last][0]).astype(np.float32)
        self.append(ChannelSlopes(self.name, self.last, slopes))

    def pool(self) -> None:
        size, strides, pads = self.choose((((3, 3), (1, 1), (1, 1, 1, 1)), ((2, 3), (1, 1), (0, 1, 1, 1))))
        if self.below(2):
            self.append(MaxPool(self.name, self.last, size, strides, pads))
        else:
            self.append(AveragePool(self.name, self.last, size, strides, pads, bool(self.below(2))))

    def concat(self) -> None:
        same = [name for name, shape in self.shapes.items() if shape[1:] == self.size and name != INPUT]
        self.append(Concat(self.name, (self.last, self.choose(same), self.choose(same))))
        if self.shapes[self.last][0] > 24:
            self.convolution()

    def slice(self) -> None:
        channels, height, width = self.shapes[self.last]
        step = self.choose((1, 1, 2, 3)) if channels > 3 else 1
        start = (self.below(max(1, channels // 3)), self.below(2) if height > 6 else 0, 0)
        self.append(Slice(self.name, self.last, start, (channels, height, width), (step, 1, 1)))

    def shuffle(self) -> None:
        groups = self.choose((2, 3, 5))
        self.convolution(groups * self.choose((1, 3, 4, 6)))
        self.append(ShuffleChannels(self.name, self.last, groups))

    def pad(self) -> None:
        if max(self.size) < 20:
            self.append(Pad(self.name, self.last, self.choose(((1, 0, 0, 1), (0, 2, 1, 0)))))

    def resize(self) -> None:
        size = tuple(3 + self.below(9) for _ in range(2))
        self.append(Resize(self.name, self.last, (size[0], size[1]), *self.choose(RESIZES)))

    def end(self) -> None:
        match self.below(4):
            case 0:
                self.append(GlobalAveragePool(self.name, self.last))
                self.append(Classifier(self.name, self.last, *self.weights(7, self.shapes[self.last][0])))
            case 1:
                self.append(Classifier(self.name, self.last, *self.weights(7, int(np.prod(self.shapes[self.last])))))
            case 2:
                self.convolution(7)
                self.append(GlobalAveragePool(self.name, self.last))
            case 3:
                self.append(GlobalAveragePool(self.name, self.last))
                self.convolution(9, clamp=RELU, same=True)


def drawn_graph(seed: int, side: int = 13, count: int = 20) -> Graph:
    """Return a random graph for images of `side` by `side` pixels, the same for a seed."""
    return Drawing(seed, side).graph(count)
