"""Integer programs of RepGhostNet with random weights and sane statistics, for tests that need no training.

The net is built layer by layer and calibrated on the way: each layer's real output on two random pictures is measured
with the reference, scaled to a standard deviation near 1, and its range becomes the layer's scale and zero point.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib import qparams
from calib.program import (
    Conv2d,
    DepthwiseConv2d,
    Epilogue,
    GlobalAveragePool,
    InputTable,
    Lookup,
    Multiply,
    Operator,
    Program,
    Requantize,
    RequantizeAdd,
    RequantizeQ15,
    RequantizeQ15Add,
    Tensor,
    ToLogits,
)
from calib.qparams import QParams
from calib.reference import execute

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])

# Width 1.0, one row a block: kernel, hidden channels, output channels, stride, squeeze-excite.
BLOCKS = [
    (3, 8, 16, 1, False), (3, 24, 24, 2, False), (3, 36, 24, 1, False), (5, 36, 40, 2, True), (5, 60, 40, 1, True),
    (5, 120, 80, 2, False), (3, 100, 80, 1, False), (3, 120, 80, 1, False), (3, 120, 80, 1, False),
    (3, 240, 112, 1, True), (3, 336, 112, 1, True), (5, 336, 160, 2, True), (5, 480, 160, 1, False),
    (5, 480, 160, 1, True), (5, 480, 160, 1, False), (5, 480, 160, 1, True),
]  # fmt: skip


def make_divisible(value: float, divisor: int = 4) -> int:
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def random_pictures(count: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return uint8 [count, height, width, 3] with large patches, fine noise and saturated corners."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (count, -(-height // 8), -(-width // 8), 3)).repeat(8, 1).repeat(8, 2)
    noisy = patches[:, :height, :width] + rng.normal(0, 20, (count, height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def random_program(width: float = 0.5, size: int = 64, classes: int = 10, seed: int = 0, int16: bool = True) -> Program:
    """Return the program of a fused RepGhostNet of any width, as quantization would leave it for a trained one.

    Args:
        width: any width multiplier.
        size: height and width of the picture in pixels.
        int16: whether depthwise layers accumulate in int16 (the Q15 epilogues) or in int32.
    """
    builder = _Builder(size, seed, int16)
    x = builder.picture()
    x = builder.dense("conv_stem", x, make_divisible(16 * width), kernel=3, stride=2, relu=True)
    for index, (kernel, hidden, out, stride, squeeze) in enumerate(BLOCKS):
        x = _block(builder, f"blocks.{index}", x, make_divisible(hidden * width), make_divisible(out * width),
                   kernel, stride, squeeze)  # fmt: skip
    x = builder.dense("blocks.9", x, make_divisible(960 * width), relu=True)
    x = builder.dense("conv_head", builder.pool("global_pool", x), 1280, relu=True)
    builder.dense("classifier", x, classes, logits=True)
    return Program(tuple(builder.operators), size, size, classes, digest="0" * 64)


def _block(b: _Builder, name: str, x: Tensor, hidden: int, out: int, kernel: int, stride: int, se: bool) -> Tensor:
    y = b.dense(f"{name}.ghost1.primary", x, hidden, relu=True)
    y = b.depthwise(f"{name}.ghost1.cheap", y, relu=True)
    if stride > 1:
        y = b.depthwise(f"{name}.conv_dw", y, kernel=kernel, stride=stride)
    if se:
        gate = b.dense(f"{name}.se.reduce", b.pool(f"{name}.se.pool", y), make_divisible(hidden / 4), relu=True)
        y = b.gate(f"{name}.se", y, b.dense(f"{name}.se.expand", gate, hidden))
    y = b.dense(f"{name}.ghost2.primary", y, out)
    if stride > 1 or x.channels != out:
        x = b.depthwise(f"{name}.shortcut.depthwise", x, kernel=kernel, stride=stride)
        x = b.dense(f"{name}.shortcut.pointwise", x, out)
    return b.depthwise(f"{name}.ghost2.cheap", y, residual=x)


class _Builder:
    """Appends operators, and runs each at once so that the next layer's statistics are known."""

    def __init__(self, size: int, seed: int, int16: bool) -> None:
        self.int16 = int16
        self.rng = np.random.default_rng(seed)
        self.pictures = random_pictures(2, size, size, seed)
        self.operators: list[Operator] = []
        self.tensors: dict[str, NDArray[Any]] = {}

    def picture(self) -> Tensor:
        bytes_ = np.arange(256, dtype=np.float32)[None] / np.float32(255)
        real = (bytes_ - MEAN[:, None]) / STD[:, None]
        size = self.pictures.shape[1]
        output = Tensor("picture", size, size, 3, _params(real))
        return self._append(InputTable("input", output, qparams.quantize(real, output.qparams)))

    def dense(
        self, name: str, x: Tensor, out: int, kernel: int = 1, stride: int = 1, relu: bool = False,
        logits: bool = False,
    ) -> Tensor:  # fmt: skip
        shape = (out, kernel, kernel, x.channels)
        weight, scales = self._weights(self.rng.normal(0, 1, shape), steps=127)
        output = _output(name, x, out, kernel, stride)
        draft = Conv2d(name, x, output, weight, np.zeros(out, np.int32), stride, kernel // 2, ToLogits(scales))
        bias, scales, real = self._measure(draft, x, scales, relu)
        if logits:
            return self._append(replace(draft, bias=bias, epilogue=ToLogits(_product(x, scales))))
        output = replace(output, qparams=_params(real))
        low = output.qparams.zero_point if relu else -128
        multiplier = qparams.requantize_multiplier(x.qparams.scale, scales, output.qparams.scale)
        epilogue = Requantize(multiplier, output.qparams.zero_point, low, 127)
        return self._append(replace(draft, output=output, bias=bias, epilogue=epilogue))

    def depthwise(
        self, name: str, x: Tensor, kernel: int = 3, stride: int = 1, relu: bool = False,
        residual: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        real_weight = self.rng.normal(0, 0.2, (x.channels, kernel, kernel))
        real_weight[:, kernel // 2, kernel // 2] += 1  # the centre tap of a fused RepGhost module stands out
        steps = np.full(x.channels, 127.0)
        if self.int16:  # 255 * sum|w| is the width of the accumulator's range; int16 has 65535
            steps = np.minimum(127, 250 * np.abs(real_weight).max((1, 2)) / np.abs(real_weight).sum((1, 2)))
        weight, scales = self._weights(real_weight, steps)
        output = _output(name, x, x.channels, kernel, stride)
        zero = np.zeros(x.channels, np.int32)
        draft = DepthwiseConv2d(name, x, output, weight, zero, stride, kernel // 2, ToLogits(scales))
        bias, scales, real = self._measure(draft, x, scales, relu)
        if residual is not None:
            real = real + qparams.dequantize(self.tensors[residual.name], residual.qparams)
        output = replace(output, qparams=_params(real))
        finish = _q15 if self.int16 else _int32
        start, epilogue = finish(draft, scales, bias, output.qparams, relu, residual)
        return self._append(replace(draft, output=output, bias=start, epilogue=epilogue))

    def pool(self, name: str, x: Tensor) -> Tensor:
        count = x.height * x.width
        real = qparams.dequantize(self.tensors[x.name], x.qparams).mean((1, 2))
        output = Tensor(name, 1, 1, x.channels, _params(real))
        multiplier = np.float32([x.qparams.scale / (output.qparams.scale * count)])
        epilogue = Requantize(multiplier, output.qparams.zero_point, -128, 127)
        return self._append(GlobalAveragePool(name, x, output, -count * x.qparams.zero_point, epilogue))

    def gate(self, name: str, x: Tensor, logits: Tensor) -> Tensor:
        gate = Tensor(f"{name}.gate", 1, 1, x.channels, QParams(1 / 255, -128))
        every = qparams.dequantize(np.arange(-128, 128).astype(np.int8), logits.qparams)
        table = qparams.quantize(np.clip(every / 6 + 0.5, 0, 1), gate.qparams)
        self._append(Lookup(f"{name}.hard_sigmoid", logits, gate, table))
        real = qparams.dequantize(self.tensors[x.name], x.qparams)
        real = real * qparams.dequantize(self.tensors[gate.name], gate.qparams)
        output = replace(x, name=name, qparams=_params(real))
        multiplier = np.float32([x.qparams.scale * gate.qparams.scale / output.qparams.scale])
        epilogue = Requantize(multiplier, output.qparams.zero_point, -128, 127)
        return self._append(Multiply(name, x, gate, output, epilogue))

    def _append(self, operator: Operator) -> Tensor:
        self.operators.append(operator)
        self.tensors[operator.output.name] = execute(operator, self.tensors, self.pictures)
        return operator.output

    def _weights(
        self, real: NDArray[np.float64], steps: float | NDArray[np.float64]
    ) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return int8 weights whose largest is `steps`, and the scales; channels differ up to eight times."""
        spread = np.exp2(self.rng.uniform(-1.5, 1.5, len(real)))
        largest = np.abs(real.reshape(len(real), -1)).max(1)
        scales = (spread * largest / steps).astype(np.float32)
        return qparams.quantize_weights((real.T * spread).T, scales), scales

    def _measure(
        self, draft: Conv2d | DepthwiseConv2d, x: Tensor, scales: NDArray[np.float32], relu: bool
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """Return b', weight scales that bring the real output to a deviation near 1, and that real output."""
        bias = qparams.integer_bias(np.zeros(len(scales)), x.qparams.scale, x.qparams.zero_point, scales, draft.weight)
        centred = replace(draft, bias=bias.astype(np.int32), epilogue=ToLogits(_product(x, scales)))
        scales = scales / np.float32(max(execute(centred, self.tensors).std(), 1e-3))
        shift = self.rng.normal(0, 0.3, len(scales))
        bias = qparams.integer_bias(shift, x.qparams.scale, x.qparams.zero_point, scales, draft.weight)
        scaled = replace(centred, bias=bias.astype(np.int32), epilogue=ToLogits(_product(x, scales)))
        real = execute(scaled, self.tensors)
        return bias.astype(np.int32), scales, np.maximum(real, 0) if relu else real


def _params(real: NDArray[np.floating]) -> QParams:
    """Return affine parameters for the measured range, which always holds 0."""
    low, high = min(float(real.min()), 0.0), max(float(real.max()), 0.0)
    scale = max(high - low, 1e-3) / 255
    return QParams(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def _product(x: Tensor, scales: NDArray[np.float32]) -> NDArray[np.float32]:
    return (np.float64(x.qparams.scale) * scales).astype(np.float32)


def _output(name: str, x: Tensor, channels: int, kernel: int, stride: int) -> Tensor:
    height, width = ((side + 2 * (kernel // 2) - kernel) // stride + 1 for side in (x.height, x.width))
    return Tensor(name, height, width, channels, QParams(1.0))


def _int32(
    draft: DepthwiseConv2d, scales: NDArray[np.float32], bias: NDArray[np.int32], params: QParams, relu: bool,
    residual: Tensor | None,
) -> tuple[NDArray[np.int32], Epilogue]:  # fmt: skip
    """Return b' and the int32 epilogue."""
    low = params.zero_point if relu else -128
    multiplier = qparams.requantize_multiplier(draft.input.qparams.scale, scales, params.scale)
    if residual is None:
        return bias, Requantize(multiplier, params.zero_point, low, 127)
    factor = int(np.rint(4096 * residual.qparams.scale / params.scale))
    return bias, RequantizeAdd(multiplier * np.float32(4096), params.zero_point, low, 127, residual, factor)


def _q15(
    draft: DepthwiseConv2d, scales: NDArray[np.float32], bias: NDArray[np.int32], params: QParams, relu: bool,
    residual: Tensor | None,
) -> tuple[NDArray[np.int32], Epilogue]:  # fmt: skip
    """Return the centred start value and the int16 epilogue; M is rounded, which moves the scale of a random net."""
    unit = 1 << (qparams.Q15_ADD_SHIFT if residual is not None else 0)
    ratio = draft.input.qparams.scale * scales.astype(np.float64) / params.scale * unit
    multiplier = np.clip(np.rint(ratio * 2**15), 1, 32767).astype(np.int16)
    lowest, highest = qparams.accumulator_range(draft.weight, np.zeros(len(scales), np.int64))
    start = -(lowest + highest + 1) // 2
    lowest, highest = qparams.accumulator_range(draft.weight, start)
    assert lowest.min() >= qparams.INT16_MIN and highest.max() <= qparams.INT16_MAX
    offset = np.rint((bias - start) * multiplier / 2**15) + params.zero_point * unit
    low = params.zero_point if relu else -128
    if residual is None:
        offset = np.clip(offset, -32768, 32767).astype(np.int16)
        return start.astype(np.int32), RequantizeQ15(multiplier, offset, low, 127)
    factor = int(np.rint(2**13 * residual.qparams.scale / params.scale))
    offset = np.clip(offset - 32 * residual.qparams.zero_point * factor / 2**13, -32768, 32767).astype(np.int16)
    return start.astype(np.int32), RequantizeQ15Add(multiplier, offset, low, 127, residual, min(factor, 32767))
