"""Random small QDQ networks of windows along each axis, means, pads, other sizes, products and sums of maps."""

from __future__ import annotations

import numpy as np
from onnx import helper

from calib.integer.qparams import quantize_weights
from tests.support.random_nets import ForeignNet


class MapNet(ForeignNet):
    """Appends layers that need no sizes: each pads as much as its window takes away, or changes a map by a factor."""

    def window(self, most: int = 4, farthest: int = 2) -> dict[str, list[int]]:
        """Return kernel, strides, pads and dilations of a window whose every place has a tap on the map."""
        kernel, strides = ([int(side) for side in self.rng.integers(1, high, 2)] for high in (most + 1, 3))
        dilations = [int(self.rng.integers(1, farthest + 1)) if taps < 4 else 1 for taps in kernel]
        before = [int(self.rng.integers(0, taps)) * apart for taps, apart in zip(kernel, dilations, strict=True)]
        whole = [(taps - 1) * apart for taps, apart in zip(kernel, dilations, strict=True)]
        after = [all_ - first for all_, first in zip(whole, before, strict=True)]
        return {"kernel_shape": kernel, "strides": strides, "pads": [*before, *after], "dilations": dilations}

    def oblong(self) -> None:
        """Convolve with a window that differs along the axes; all channels, groups or one each."""
        window = self.window()
        groups = int(self.rng.choice([1, self.channels, 2 if self.channels % 2 == 0 else 1]))
        real = self.rng.normal(0, 0.4, (self.channels, self.channels // groups, *window["kernel_shape"]))
        scales = np.maximum(np.abs(real).max((1, 2, 3)), 1e-3) / 127
        name = self.name()
        weight = self.weight(f"{name}.weight", quantize_weights(real.astype(np.float32), scales), scales)
        bias = self.constant(f"{name}.bias", self.rng.normal(0, 0.2, self.channels))
        y = self.node("Conv", [self.x, weight, bias], name, group=groups, **window)
        self.x = self.finish(self.activation(y))

    def same_pads(self) -> None:
        """Convolve with pads that follow from the sizes."""
        y = self.conv(self.name(), self.x, self.channels, self.channels, int(self.rng.integers(1, 6)), 2)
        del self.nodes[-1].attribute[:]
        auto = {"strides": [2, int(self.rng.integers(1, 3))], "auto_pad": self.chosen("SAME_UPPER", "SAME_LOWER")}
        self.nodes[-1].attribute.extend(helper.make_attribute(key, value) for key, value in auto.items())
        self.x = self.finish(self.activation(y))

    def mean(self) -> None:
        """Average windows; padding counts or not."""
        window = self.window(6)
        del window["dilations"]
        kernel = window["kernel_shape"]
        window["pads"] = [taps // 2 for taps in kernel] + [(taps - 1) // 2 for taps in kernel]
        y = self.node("AveragePool", [self.x], self.name(), count_include_pad=int(self.rng.integers(2)), **window)
        self.x = self.finish(self.activation(y))

    def largest(self) -> None:
        """Take the largest of each window."""
        self.x = self.finish(self.node("MaxPool", [self.x], self.name(), **self.window(farthest=1)))

    def border(self) -> None:
        """Pad with any number, or with pixels of the map, before a layer that cannot take it."""
        mode = self.chosen("constant", "constant", "edge")
        pads = self.constant(
            self.name(), [0, 0, *self.rng.integers(0, 3, 2), 0, 0, *self.rng.integers(0, 3, 2)], np.int64
        )
        value = [self.constant(self.name(), self.rng.uniform(-1, 1))] if mode == "constant" else []
        y = self.node("Pad", [self.x, pads, *value], self.name(), mode=mode)
        self.x = self.finish(self.node("Neg", [self.finish(y)], self.name()))

    def resized(self) -> None:
        """Bring a map to another size, by a factor or to a size; linear or to the nearest pixel."""
        places = self.chosen("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
        mode = self.chosen("linear", "nearest")
        empty = self.constant(self.name(), np.zeros(0))
        if self.rng.integers(2):
            to = [empty, self.constant(self.name(), [1, 1, *self.rng.choice([1, 1.5, 2, 2.5, 3], 2)])]
        else:
            sizes = [1, self.channels, *self.rng.integers(1, 14, 2)]
            to = [empty, empty, self.constant(self.name(), sizes, np.int64)]
        rounding = {"nearest_mode": "round_prefer_floor"} if places != "asymmetric" else {"nearest_mode": "floor"}
        more = {"coordinate_transformation_mode": places, **rounding}
        self.x = self.finish(self.node("Resize", [self.x, *to], self.name(), mode=mode, **more))

    def gated(self) -> None:
        """Multiply, add or subtract a tensor of the map's size or one value for each channel, pixel, row or column."""
        y = self.finish(self.conv(self.name(), self.x, self.channels, self.channels))
        means = {"map": None, "channels": [2, 3], "pixels": [1], "rows": [1, 3], "columns": [2]}
        axes = means[self.chosen(*means)]
        if axes is not None:
            y = self.finish(self.node("ReduceMean", [y], self.name(), axes=axes, keepdims=1)) if axes != [1] else y
        if axes == [1]:  # one value for each pixel is what a convolution to one channel makes
            y = self.finish(self.conv(self.name(), self.x, self.channels, 1))
        elif axes is not None and axes != [2, 3]:
            return
        operands = [self.x, y] if self.rng.integers(2) else [y, self.x]
        kind = self.chosen("Mul", "Add", "Sub")
        self.x = self.finish(self.activation(self.node(kind, operands, self.name())))

    def squeezed(self) -> None:
        """Gate by a mean without its axes, that come back; a Sigmoid or HardSigmoid of it."""
        g = self.finish(self.node("ReduceMean", [self.x], self.name(), axes=[2, 3], keepdims=0))
        if self.rng.integers(2):
            g = self.node("Unsqueeze", [g, self.constant(self.name(), [2, 3], np.int64)], self.name())
        else:
            shape = self.constant(self.name(), [1, self.channels, 1, 1], np.int64)
            g = self.node("Reshape", [g, shape], self.name())
        g = self.finish(g) if self.rng.integers(2) else g
        g = self.finish(self.conv(self.name(), g, self.channels, self.channels))
        g = self.finish(self.node(self.chosen("Sigmoid", "HardSigmoid"), [g], self.name()))
        self.x = self.finish(self.node("Mul", [self.x, g], self.name()))

    def unequal_parts(self) -> None:
        """Split channels into unequal parts and put them together behind layers of other scales."""
        if self.channels < 3:
            return
        sizes = [1, 2, self.channels - 3] if self.channels > 3 else [1, 2]
        parts = [self.name() for _ in sizes]
        split = self.constant(self.name(), sizes, np.int64)
        self.nodes.append(helper.make_node("Split", [self.x, split], parts, axis=1, name=self.name()))
        made = [self.finish(self.conv(self.name(), parts[0], 1, 2, 3)), *(self.finish(part) for part in parts[1:])]
        self.rng.shuffle(made)
        self.x, self.channels = self.finish(self.node("Concat", made, self.name(), axis=1)), self.channels + 1

    def every_other(self) -> None:
        """Take every other pixel."""
        values = ([int(self.rng.integers(0, 2)), 0], [1000, 1000], [2, 3], [2, 1])
        limits = [self.constant(self.name(), value, np.int64) for value in values]
        first = self.node("Pad", [self.x, self.constant(self.name(), [0, 0, 1, 0, 0, 0, 1, 0], np.int64)], self.name())
        self.x = self.finish(self.node("Slice", [first, *limits], self.name()))


MAP_LAYERS = [
    MapNet.oblong, MapNet.same_pads, MapNet.mean, MapNet.largest, MapNet.border, MapNet.resized, MapNet.gated,
    MapNet.squeezed, MapNet.unequal_parts, MapNet.every_other,
]  # fmt: skip
