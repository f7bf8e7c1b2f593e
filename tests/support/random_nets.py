"""Random small QDQ networks, layer by layer: as RepGhostNet has them, and as other tools write the same things."""

from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from tests.support.qdq_models import Model

SIZE = 9  # odd, so that stride 2 meets a border


class Net(Model):
    """Appends random layers to one map and keeps its sizes."""

    def __init__(self, seed: int) -> None:
        super().__init__(SIZE, seed)
        self.channels, self.count = 3, 0
        self.x = self.quantize("input", 4.8 / 255, -15)

    def name(self) -> str:
        self.count += 1
        return f"layer{self.count}"

    def finish(self, tensor: str) -> str:
        """Quantize with a random scale and zero point."""
        return self.quantize(tensor, float(self.rng.uniform(0.01, 0.06)), int(self.rng.integers(-128, 128)))

    def activation(self, tensor: str) -> str:
        name = f"{tensor}.activation"
        match self.rng.integers(4):
            case 0:
                return self.node("Relu", [tensor], name)
            case 1:
                limits = [self.constant(f"{name}.low", -0.5), self.constant(f"{name}.high", 2.0)]
                return self.node("Clip", [tensor, *limits], name)
        return tensor

    def dense(self) -> None:
        out, kernel, stride = (
            int(self.rng.integers(1, 9)),
            int(self.rng.choice([1, 3, 5])),
            int(self.rng.integers(1, 3)),
        )
        y = self.conv(self.name(), self.x, self.channels, out, kernel, stride)
        self.x, self.channels = self.finish(self.activation(y)), out

    def depthwise(self) -> None:
        if self.channels == 1:
            return
        kernel, stride = int(self.rng.choice([3, 5])), int(self.rng.integers(1, 3))
        scale = float(self.rng.uniform(0.02, 0.06)) if self.rng.integers(2) else None
        y = self.conv(
            self.name(), self.x, self.channels, self.channels, kernel, stride, groups=self.channels, scale_y=scale
        )
        y = self.activation(y)
        self.x = self.finish(y) if scale is None else self.quantize(y, scale, int(self.rng.integers(-128, 128)))

    def residual(self) -> None:
        """Add in either order, fused or, behind a Q/DQ pair, on its own."""
        y = self.conv(self.name(), self.x, self.channels, self.channels, 3)
        if self.rng.integers(2):
            y = self.finish(y)
        operands = [y, self.x] if self.rng.integers(2) else [self.x, y]
        self.x = self.finish(self.activation(self.node("Add", operands, self.name())))

    def gate(self) -> None:
        g = self.finish(self.node("GlobalAveragePool", [self.x], self.name()))
        g = self.finish(self.conv(self.name(), g, self.channels, self.channels))
        g = self.finish(self.node("HardSigmoid", [g], self.name(), alpha=1 / 6, beta=0.5))
        self.x = self.finish(self.node("Mul", [g, self.x] if self.rng.integers(2) else [self.x, g], self.name()))

    def function(self) -> None:
        kind = str(self.rng.choice(["Sigmoid", "Tanh", "Relu", "Abs", "Neg"]))
        self.x = self.finish(self.node(kind, [self.x], self.name()))

    def requantize(self) -> None:
        self.x = self.finish(self.x)

    def end(self, classes: int = 3) -> None:
        pooled = self.finish(self.node("GlobalAveragePool", [self.x], self.name()))
        self.linear("logits", self.node("Flatten", [pooled], self.name()), self.channels, classes)


class ForeignNet(Net):
    """The same with the layers that files of other tools have."""

    def chosen(self, *options: str) -> str:
        return str(self.rng.choice(options))

    def stored(self, values: Any) -> str:
        """Return a real constant, in one of the ways tools write one; its shape stays."""
        name, real = self.name(), np.asarray(values, np.float32)
        if self.rng.integers(3) == 0:
            return self.constant(name, real)
        low, high = min(float(real.min()), 0.0), max(float(real.max()), 0.0)
        zero_point = int(self.rng.choice([0, -100]))
        scale = max(high / (127 - zero_point), -low / (128 + zero_point), 1e-3)
        if self.rng.integers(2):
            return self.quantize(self.constant(name, real), scale, zero_point)
        integers = np.clip(np.rint(real / np.float32(scale)) + zero_point, -128, 127)
        parameters = [self.constant(f"{name}.s", scale), self.constant(f"{name}.z", zero_point, np.int8)]
        return self.node("DequantizeLinear", [self.constant(name, integers, np.int8), *parameters], f"{name}.dq")

    def constant_operand(self) -> None:
        """Add, subtract, multiply or divide by one constant or one a channel, of any rank, on either side."""
        kind = self.chosen("Add", "Sub", "Mul", "Div")
        shapes = [(), (1,), (1, 1, 1, 1), (self.channels, 1, 1), (1, self.channels, 1, 1)]
        shape = shapes[int(self.rng.integers(len(shapes)))]
        values = self.rng.uniform(0.3, 1.5, shape) * (1 if kind == "Div" else self.rng.choice([-1, 1], shape))
        operands = [self.x, self.stored(values)]
        if kind != "Div" and self.rng.integers(2):
            operands.reverse()
        self.x = self.finish(self.activation(self.node(kind, operands, self.name())))

    def constant_behind_convolution(self) -> None:
        """Scale and move the real result of a convolution, nothing quantized between."""
        y, shape = self.conv(self.name(), self.x, self.channels, self.channels, 3), (1, self.channels, 1, 1)
        y = self.node("Mul", [y, self.stored(self.rng.uniform(-1.5, 1.5, shape))], self.name())
        y = self.node("Add", [self.stored(self.rng.uniform(-1, 1, shape)), y], self.name())
        self.x = self.finish(self.activation(y))

    def normalization(self, tensor: str, channels: int) -> str:
        """Append a BatchNormalization with constants of any sign; some of its factors are 0."""
        parts = self.rng.choice([-1, 0, 1, 1], channels) * self.rng.uniform(0.3, 1.5, channels)
        drawn = [parts, *self.rng.uniform(-1, 1, (2, channels))]
        variance = self.constant(self.name(), self.rng.uniform(0.2, 3, channels))
        stored = [self.stored(values) for values in drawn]
        return self.node("BatchNormalization", [tensor, *stored, variance], self.name(), epsilon=0.01)

    def batch_norm(self) -> None:
        """Normalize an int8 tensor, or the real result of a convolution."""
        y = self.x if self.rng.integers(2) else self.conv(self.name(), self.x, self.channels, self.channels, 3)
        self.x = self.finish(self.activation(self.normalization(y, self.channels)))

    def difference(self) -> None:
        """Subtract two int8 tensors in either order."""
        operands = [self.finish(self.conv(self.name(), self.x, self.channels, self.channels, 3)), self.x]
        self.rng.shuffle(operands)
        self.x = self.finish(self.activation(self.node("Sub", operands, self.name())))

    def grouped(self) -> None:
        """Convolve in groups, of one or several channels each way, with a residual or not."""
        groups, inputs, outputs = (
            int(self.rng.integers(2, 7)),
            int(self.rng.integers(1, 5)),
            int(self.rng.integers(1, 5)),
        )
        y = self.finish(self.conv(self.name(), self.x, self.channels, groups * inputs))
        kernel, stride = int(self.rng.choice([1, 3])), int(self.rng.integers(1, 3))
        z = self.conv(self.name(), y, groups * inputs, groups * outputs, kernel, stride, groups)
        if stride == 1 and inputs == outputs and self.rng.integers(2):
            z = self.node("Add", [z, y], self.name())
        self.x, self.channels = self.finish(self.activation(z)), groups * outputs

    def slopes(self) -> None:
        """Multiply what is below zero by a constant of its channel."""
        slopes = self.stored(self.rng.uniform(-1, 2, (self.channels, 1, 1)))
        self.x = self.finish(self.activation(self.node("PRelu", [self.x, slopes], self.name())))

    def enlarged(self) -> None:
        """Copy pixels, then convolve every second one."""
        scales = self.constant(self.name(), [1, 1, *self.rng.integers(1, 4, 2)])
        kind = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        y = self.finish(self.node("Resize", [self.x, "", scales], self.name(), **kind))
        self.x = self.finish(self.activation(self.conv(self.name(), y, self.channels, self.channels, 3, 2)))

    def shuffled(self) -> None:
        """Take the channels of each group in turn; the last shape is computed."""
        groups = next(count for count in (4, 3, 2, 1) if self.channels % count == 0)
        parts = self.constant(self.name(), [1, groups, self.channels // groups, -1], np.int64)
        y = self.node("Reshape", [self.x, parts], self.name())
        y = self.node("Transpose", [y], self.name(), perm=[0, 2, 1, 3])
        shape = self.node("Shape", [self.x], self.name())
        self.x = self.finish(self.node("Reshape", [y, shape], self.name()))

    def dilated(self) -> None:
        """Leave out pixels between the taps of a kernel, of all channels, of groups or of one."""
        groups = int(self.rng.choice([1, self.channels])) if self.channels > 1 else 1
        if self.channels % 2 == 0 and self.rng.integers(2):
            groups = 2
        dilation = int(self.rng.integers(2, 4))
        y = self.conv(self.name(), self.x, self.channels, self.channels, 3, groups=groups, padding=dilation)
        self.nodes[-1].attribute.append(helper.make_attribute("dilations", [dilation] * 2))
        self.x = self.finish(self.activation(y))

    def dedicated_pairs(self) -> None:
        """Quantize one tensor once for each of its readers."""
        y = self.conv(self.name(), self.x, self.channels, self.channels, 3)
        first = self.finish(y)
        names = [f"{y}.scale", f"{y}.zero_point"]
        again = self.node("QuantizeLinear", [y, *names], f"{y}.q2")
        second = self.node("DequantizeLinear", [again, *names], f"{y}.dq2")
        z = self.finish(self.conv(self.name(), first, self.channels, self.channels))
        self.x = self.finish(self.node("Add", [second, z], self.name()))

    def product_with_function(self) -> None:
        """Multiply a tensor by a function of itself: SiLU, hard-swish, GELU; quantized on the way or not."""

        def between(tensor: str) -> str:
            return self.finish(tensor) if self.rng.integers(2) else tensor

        match self.chosen("Sigmoid", "HardSigmoid", "Erf"):
            case "Erf":
                y = between(self.node("Div", [self.x, self.stored(np.sqrt(2))], self.name()))
                y = between(self.node("Erf", [y], self.name()))
                y = between(self.node("Add", [y, self.stored(1.0)], self.name()))
            case kind:
                y = between(self.node(kind, [self.x], self.name()))
        self.x = self.finish(self.node("Mul", [self.x, y] if self.rng.integers(2) else [y, self.x], self.name()))

    def shape_of(self, tensor: str, axis: int) -> str:
        """Return one size of a tensor as exporters compute it."""
        shape = self.node("Shape", [tensor], self.name())
        return self.node("Gather", [shape, self.constant(self.name(), [axis], np.int64)], self.name(), axis=0)

    def halves(self) -> None:
        """Take a tensor apart in the middle of its channels, which the graph computes, and put it together."""
        if self.channels < 2:
            return
        one, two = (self.constant(self.name(), [value], np.int64) for value in (1, 2))
        size = self.shape_of(self.x, 1)
        middle = self.node("Div", [size, two], self.name())
        zero = self.constant(self.name(), [0], np.int64)
        limits = ((middle, size), (zero, middle))
        parts = [self.node("Slice", [self.x, *ends, one], self.name()) for ends in limits]
        self.x = self.finish(self.node("Concat", parts, self.name(), axis=1))

    def padded(self) -> None:
        """Pad below and on the right before a convolution, by pads the graph computes, with a Q/DQ pair between."""
        six, zero = self.constant(self.name(), [6], np.int64), numpy_helper.from_array(np.zeros(1, np.int64))
        shape = self.node("ConstantOfShape", [six], self.name(), value=zero)
        ones = self.constant(self.name(), [1, 1], np.int64)
        pads = self.node("Cast", [self.node("Concat", [shape, ones], self.name(), axis=0)], self.name(), to=7)
        name, scale, zero = self.x.removesuffix(".dq"), self.name(), self.name()
        self.constant(scale, self.initializers[f"{name}.scale"])
        self.constant(zero, self.initializers[f"{name}.zero_point"], np.int8)
        y = self.node("Pad", [self.x, pads], self.name(), mode="constant")
        y = self.node("QuantizeLinear", [y, scale, zero], f"{y}.q")
        y = self.node("DequantizeLinear", [y, scale, zero], f"{y}.dq")
        y = self.conv(self.name(), y, self.channels, self.channels, 2, 2, padding=0)
        self.x = self.finish(self.activation(y))

    def pooled(self) -> None:
        """Take the largest of four, and put parts beside each other, before anything is quantized."""
        y = self.activation(self.conv(self.name(), self.x, self.channels, self.channels))
        z = self.conv(self.name(), self.x, self.channels, self.channels)
        y = self.node("Concat", [y, z], self.name(), axis=1)
        kernel = {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 0, 1, 1]}
        self.x, self.channels = self.finish(self.node("MaxPool", [y], self.name(), **kernel)), 2 * self.channels

    def channel_scales(self) -> None:
        """One scale per channel between a convolution and a depthwise one."""
        if self.channels == 1:
            return
        y = self.node("Relu", [self.conv(self.name(), self.x, self.channels, self.channels)], self.name())
        scales = self.constant(f"{y}.scale", self.rng.uniform(0.01, 0.06, self.channels))
        zeros = self.constant(f"{y}.zero_point", np.full(self.channels, -128), np.int8)
        y = self.node("QuantizeLinear", [y, scales, zeros], f"{y}.q", axis=1)
        y = self.node("DequantizeLinear", [y, scales, zeros], f"{y}.dq", axis=1)
        y = self.conv(self.name(), y, self.channels, self.channels, 3, groups=self.channels)
        self.x = self.finish(self.activation(y))

    def averaged_function(self) -> None:
        """Gate by the mean of a function that is left in float."""
        y = self.node(self.chosen("Sigmoid", "Relu", "Tanh"), [self.x], self.name())
        y = self.finish(self.node("ReduceMean", [y], self.name(), axes=[-1, -2], keepdims=1))
        self.x = self.finish(self.node("Mul", [self.x, y], self.name()))

    def normalize(self) -> None:
        """Normalize the image in the graph, before or behind its first Q; the first layer."""
        if self.rng.integers(2):
            self.x = self.finish(self.activation(self.normalization(self.x, 3)))
            return
        self.nodes.clear()
        if self.rng.integers(2):
            self.x = self.finish(self.activation(self.normalization("input", 3)))
            return
        mean, deviation = (self.stored(self.rng.uniform(0.1, 0.5, (1, 3, 1, 1))) for _ in range(2))
        y = self.node("Sub", ["input", mean], self.name())
        self.x = self.quantize(self.node("Mul", [y, deviation], self.name()), 0.02, 10)

    def end_with_matmul(self, classes: int = 3) -> None:
        """A Reshape, another scale, MatMul, Add and int8 scores."""
        pooled = self.node("ReduceMean", [self.x], self.name(), axes=[2, 3], keepdims=1)
        pooled = self.finish(self.finish(pooled))
        rows = self.constant(self.name(), [-1, self.channels], np.int64)
        y = self.finish(self.finish(self.node("Reshape", [pooled, rows], self.name())))
        values = self.rng.integers(-127, 128, (self.channels, classes))
        scales = self.rng.uniform(0.003, 0.01, classes)
        if self.rng.integers(2):
            weight = self.weight(self.name(), values, scales, axis=1)
        else:
            weight = self.node("Transpose", [self.weight(self.name(), values.T, scales)], self.name(), perm=[1, 0])
        y = self.node("MatMul", [y, weight], self.name())
        y = self.finish(y) if self.rng.integers(2) else y
        y = self.node("Add", [y, self.stored(self.rng.uniform(-1, 1, classes))], "scores")
        if self.rng.integers(2):
            self.node("Identity", [self.quantize(y, 0.03, 4)], "logits")
        else:
            shape = () if self.rng.integers(2) else (classes,)
            self.node("Mul", [y, self.stored(self.rng.uniform(0.5, 1.5, shape))], "logits")
