"""Integer programs of RepGhostNet with random weights and sane statistics, for tests that need no training.

The net is built layer by layer and calibrated on the way: each layer's real output on two random images is measured
with the reference, scaled to a standard deviation near 1, and its range becomes the layer's scale and zero point. The
integers then come from `calib.integer.lower`, as for a real network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.integer import lower, qparams
from calib.integer.functions import table_of
from calib.integer.program import (
    Conv2d,
    DepthwiseConv2d,
    GlobalAveragePool,
    InputTable,
    Lookup,
    Multiply,
    Operator,
    Program,
)
from calib.integer.qparams import QParams
from calib.integer.reference import execute
from calib.integer.values import Epilogue, RequantizeQ15, RequantizeQ15Add, Tensor, ToLogits
from calib.weight_scales.planning import plan_scales
from repghost.data.images.preprocess import Preprocess
from repghost.graph.formulas import HARD_SIGMOID
from repghost.network.spec import HEAD_CHANNELS, BlockShape, network_shape


def random_images(count: int, height: int, width: int, seed: int = 0, channels: int = 3) -> NDArray[np.uint8]:
    """Return uint8 [count, height, width, channels] with large patches, fine noise and saturated corners."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (count, -(-height // 8), -(-width // 8), channels)).repeat(8, 1).repeat(8, 2)
    noisy = patches[:, :height, :width] + rng.normal(0, 20, (count, height, width, channels))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def random_program(width: float = 0.5, size: int = 64, classes: int = 10, seed: int = 0, int16: bool = True) -> Program:
    """Return the program of a fused RepGhostNet of any width, as quantization would leave it for a trained one.

    Args:
        width: any width multiplier.
        size: height and width of the image in pixels.
        int16: whether depthwise layers accumulate in int16 (the Q15 epilogues) or in int32.
    """
    b = _Builder(size, seed, int16)
    append_network(b, width, classes)
    return Program(tuple(b.operators), size, size, classes, digest="0" * 64)


def append_network(b: _Builder, width: float, classes: int) -> None:
    """Append the operators of a fused RepGhostNet of any width."""
    shape = network_shape(width)
    x = b.dense("conv_stem", b.image(), shape.stem_channels, kernel=3, stride=2, relu=True)
    for stage, blocks in enumerate(shape.stages):
        for index, block in enumerate(blocks):
            x = _block(b, f"blocks.{stage}.{index}", x, block)
    x = b.dense("blocks.9.0", x, shape.tail_channels, relu=True)
    x = b.dense("conv_head", b.pool("global_pool", x), HEAD_CHANNELS, relu=True)
    b.dense("classifier", x, classes, logits=True)


def _block(b: _Builder, name: str, x: Tensor, block: BlockShape) -> Tensor:
    y = b.dense(f"{name}.ghost1.primary", x, block.mid_channels, relu=True)
    y = b.depthwise(f"{name}.ghost1.cheap", y, relu=True)
    if block.stride > 1:
        y = b.depthwise(f"{name}.conv_dw", y, kernel=block.kernel, stride=block.stride)
    if block.se_channels:
        gate = b.dense(f"{name}.se.reduce", b.pool(f"{name}.se.pool", y), block.se_channels, relu=True)
        y = b.gate(f"{name}.se", y, b.dense(f"{name}.se.expand", gate, block.mid_channels))
    y = b.dense(f"{name}.ghost2.primary", y, block.out_channels)
    if block.stride > 1 or block.in_channels != block.out_channels:
        x = b.depthwise(f"{name}.shortcut.depthwise", x, kernel=block.kernel, stride=block.stride)
        x = b.dense(f"{name}.shortcut.project", x, block.out_channels)
    return b.depthwise(f"{name}.ghost2.cheap", y, residual=x)


class _Builder:
    """Appends operators, and runs each at once so that the next layer's statistics are known."""

    def __init__(self, size: int, seed: int, int16: bool) -> None:
        self.int16 = int16
        self.rng = np.random.default_rng(seed)
        self.images = random_images(2, size, size, seed)
        self.operators: list[Operator] = []
        self.tensors: dict[str, NDArray[Any]] = {}

    def image(self) -> Tensor:
        size = self.images.shape[1]
        table = Preprocess(size, size).table()
        output = Tensor("input", size, size, 3, _params(table))
        return self._append(InputTable("input.quantize", output, qparams.quantize(table, output.qparams)))

    def dense(
        self, name: str, x: Tensor, out: int, kernel: int = 1, stride: int = 1, relu: bool = False,
        logits: bool = False,
    ) -> Tensor:  # fmt: skip
        weight, scales = self._weights(self.rng.normal(0, 1, (out, kernel, kernel, x.channels)))
        output = _output(name, x, out, kernel, stride)
        draft = Conv2d(
            name,
            x,
            output,
            weight,
            np.zeros(out, np.int32),
            (stride, stride),
            (kernel // 2, kernel // 2),
            ToLogits(scales),
        )
        bias, scales, real = self._measure(draft, scales, relu)
        layer = lower.IntegerLayer(name, weight, bias, scales, x.qparams)
        epilogue: Epilogue
        if logits:
            epilogue, start = lower.lower_logits(layer)
        else:
            output = replace(output, qparams=_params(real))
            epilogue, start = lower.lower_dense(layer, _layer_output(output.qparams, relu))
        return self._append(replace(draft, output=output, bias=start, epilogue=epilogue))

    def depthwise(
        self, name: str, x: Tensor, kernel: int = 3, stride: int = 1, relu: bool = False,
        residual: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        real_weight = self.rng.normal(0, 0.2, (x.channels, kernel, kernel))
        real_weight[:, kernel // 2, kernel // 2] += 1  # the centre tap of a fused RepGhost module stands out
        weight, scales = self._weights(real_weight)
        output = _output(name, x, x.channels, kernel, stride)
        zeros = np.zeros(x.channels, np.int32)
        draft = DepthwiseConv2d(
            name, x, output, weight, zeros, (stride, stride), (kernel // 2, kernel // 2), ToLogits(scales)
        )
        bias, scales, real = self._measure(draft, scales, relu)
        if residual is not None:
            real = real + qparams.dequantize(self.tensors[residual.name], residual.qparams)
        y = _params(real)
        if self.int16:
            float_weight = weight * scales[:, None, None]
            planned = plan_scales(float_weight, x.qparams.scale, y.scale, residual is not None)
            assert planned is not None
            weight, scales = qparams.quantize_weights(float_weight, planned), planned
        layer = lower.IntegerLayer(name, weight, bias, scales, x.qparams)
        epilogue, start = lower.lower_depthwise(layer, _layer_output(y, relu, residual))
        assert isinstance(epilogue, RequantizeQ15 | RequantizeQ15Add) == self.int16
        output = replace(output, qparams=y)
        return self._append(replace(draft, output=output, weight=weight, bias=start, epilogue=epilogue))

    def pool(self, name: str, x: Tensor) -> Tensor:
        real = qparams.dequantize(self.tensors[x.name], x.qparams).mean((1, 2))
        output = Tensor(name, 1, 1, x.channels, _params(real))
        bias, epilogue = lower.lower_pool(x.height * x.width, x.qparams, output.qparams)
        return self._append(GlobalAveragePool(name, x, output, bias, epilogue))

    def gate(self, name: str, x: Tensor, scores: Tensor) -> Tensor:
        gate = Tensor(f"{name}.gate", 1, 1, x.channels, QParams(1 / 255, -128))
        table = table_of(HARD_SIGMOID, scores.qparams, gate.qparams)
        self._append(Lookup(gate.name, scores, gate, table))
        real = qparams.dequantize(self.tensors[x.name], x.qparams)
        real = real * qparams.dequantize(self.tensors[gate.name], gate.qparams)
        output = replace(x, name=f"{name}.scale", qparams=_params(real))
        epilogue = lower.lower_multiply(x.qparams, gate.qparams, output.qparams)
        return self._append(Multiply(output.name, x, gate, output, epilogue))

    def _append(self, operator: Operator) -> Tensor:
        self.operators.append(operator)
        self.tensors[operator.output.name] = execute(operator, self.tensors, self.images)
        return operator.output

    def _weights(self, real: NDArray[np.float64]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return int8 weights and their scales; the channels of a layer differ up to eight times."""
        spread = np.exp2(self.rng.uniform(-1.5, 1.5, len(real)))
        scales = (spread * np.abs(real.reshape(len(real), -1)).max(1) / 127).astype(np.float32)
        return qparams.quantize_weights((real.T * spread).T, scales), scales

    def _measure(
        self, draft: Conv2d | DepthwiseConv2d, scales: NDArray[np.float32], relu: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
        """Return a bias, weight scales that bring the real output to a deviation near 1, and that real output."""
        centred = self._real(draft, np.zeros(len(scales)), scales)
        scales = scales / np.float32(max(centred.std(), 1e-3))
        bias = self.rng.normal(0, 0.3, len(scales))
        real = self._real(draft, bias, scales)
        return bias, scales, np.maximum(real, 0) if relu else real

    def _real(
        self, draft: Conv2d | DepthwiseConv2d, bias: NDArray[np.float64], scales: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the layer's output as real numbers."""
        layer = lower.IntegerLayer(draft.name, draft.weight, bias, scales, draft.input.qparams)
        epilogue, start = lower.lower_logits(layer)
        return execute(replace(draft, bias=start, epilogue=epilogue), self.tensors)


def _layer_output(y: QParams, relu: bool, residual: Tensor | None = None) -> lower.LayerOutput:
    return lower.LayerOutput(y, y.zero_point if relu else -128, residual=residual)


def _params(real: NDArray[np.floating]) -> QParams:
    """Return affine parameters for the measured range, which always holds 0."""
    low, high = min(float(real.min()), 0.0), max(float(real.max()), 0.0)
    scale = max(high - low, 1e-3) / 255
    return QParams(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def _output(name: str, x: Tensor, channels: int, kernel: int, stride: int) -> Tensor:
    height, width = ((side + 2 * (kernel // 2) - kernel) // stride + 1 for side in (x.height, x.width))
    return Tensor(name, height, width, channels, QParams(1.0))
