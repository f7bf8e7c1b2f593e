"""The quantized network in PyTorch, exact: its integers are those of the numpy reference, bit for bit.

Tensors hold integers q - z as floats. A sum is computed in float32 where no partial sum can reach 2**24, in float64
elsewhere. The constants come from `calib.integer.lower`, so the numbers are those of the compiled kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from calib.integer import lower
from calib.integer.qparams import (
    ADD_SHIFT,
    INT8_MAX,
    INT8_MIN,
    INT16_MAX,
    INT16_MIN,
    Q15_ADD_SHIFT,
    Q15_SHIFT,
    RESIDUAL_SHIFT,
    quantize_weights,
)
from calib.integer.values import Requantize, RequantizeAdd, RequantizeQ15, RequantizeQ15Add, ToLogits
from calib.integer.values import Tensor as ProgramTensor
from calib.settings.policy import NO_FLOAT_LAYERS, float_parts
from calib.settings.quantspec import QuantSpec
from repghost.errors import UsageError
from repghost.graph.operators import (
    INPUT,
    AveragePool,
    Classifier,
    Convolution,
    Gate,
    Graph,
    HardSigmoid,
    ResidualAdd,
)
from repghost.graph.run import Kernels, run

FLOAT32_EXACT = 1 << 24

Epilogue = Requantize | RequantizeAdd | RequantizeQ15 | RequantizeQ15Add | ToLogits


@dataclass(frozen=True)
class _Layer:
    """A convolution or the classifier, ready to run."""

    weight: torch.Tensor  # float32 or float64 [O, I / groups, kh, kw], whole numbers
    start: torch.Tensor  # int32 [O, 1, 1]
    epilogue: Epilogue
    stride: int = 1
    padding: int = 0
    groups: int = 1


class ExactNetwork:
    """A quantized network whose logits equal those of every exact implementation.

    Args:
        graph: from `repghost.graph.trace.graph_of`.
        spec: from `calib.ptq.calibrate.calibrate`.

    Raises:
        UsageError: when an accumulator could leave its type (see `calib.integer.lower`), or a layer stays float.
    """

    def __init__(self, graph: Graph, spec: QuantSpec) -> None:
        kept = float_parts(graph, spec)
        if kept:
            raise UsageError(f"{', '.join(kept[:3])}: {NO_FLOAT_LAYERS}")
        self._graph = graph
        self._spec = spec
        self._adds = graph.fused_adds()
        self._layers = {
            op.name: self._prepare(op) for op in graph.operators if isinstance(op, Convolution | Classifier)
        }
        self._kernels: Kernels[torch.Tensor] = {
            Convolution: self._convolution,
            ResidualAdd: self._add,
            AveragePool: self._pool,
            HardSigmoid: self._hard_sigmoid,
            Gate: self._gate,
            Classifier: self._classifier,
        }

    @torch.no_grad()
    def __call__(
        self, images: torch.Tensor, observe: Callable[[str, torch.Tensor], None] | None = None
    ) -> torch.Tensor:
        """Return the float32 logits [N, classes].

        Args:
            images: float32 [N, C, H, W], normalized.
            observe: called with each int8 tensor's name and its values, int32 [N, C, H, W].
        """

        def int8_alone(name: str, value: torch.Tensor) -> None:
            if observe is not None and name not in self._adds and name != self._graph.output:
                observe(name, value)

        return run(self._graph, self._kernels, self.quantize_input(images), int8_alone)

    def quantize_input(self, images: torch.Tensor) -> torch.Tensor:
        """Return normalized images as int8 values, stored as int32."""
        qparams = self._spec.activations[INPUT]
        scaled = torch.round(images.to(torch.float32) / torch.tensor(qparams.scale, dtype=torch.float32))
        return torch.clamp(scaled + qparams.zero_point, INT8_MIN, INT8_MAX).to(torch.int32)

    def _prepare(self, op: Convolution | Classifier) -> _Layer:
        """Return the layer's integers; a convolution inside an add gets the add's epilogue."""
        activations, scales = self._spec.activations, self._spec.weight_scales[op.name]
        x = activations[op.input]
        weight = quantize_weights(op.weight, scales)
        layer = lower.IntegerLayer(op.name, weight, op.bias, scales, x)
        epilogue: Epilogue
        if isinstance(op, Classifier):
            epilogue, start = lower.lower_logits(layer)
            return _Layer(_exact(weight)[:, :, None, None], _column(start, x.zero_point, weight), epilogue)
        output = self._graph.epilogue(op)
        y, other = activations[output.output], output.residual
        residual = None if other is None else ProgramTensor(other, 1, 1, len(scales), activations[other])
        written = lower.LayerOutput(y, y.zero_point if op.relu else INT8_MIN, INT8_MAX, residual)
        lowered = lower.lower_depthwise(layer, written) if op.is_depthwise else lower.lower_dense(layer, written)
        epilogue, start = lowered
        column = _column(start, x.zero_point, weight)
        return _Layer(_exact(weight), column, epilogue, op.stride, op.padding, op.groups)

    def _convolution(self, op: Convolution, x: torch.Tensor) -> torch.Tensor:
        """Return a convolution's int8 values, or its int32 accumulators [N, C, H, W] for the add that requantizes."""
        acc = self._accumulate(op, x)
        return acc if op.name in self._adds else _finish(self._layers[op.name].epilogue, acc, None)

    def _classifier(self, op: Classifier, x: torch.Tensor) -> torch.Tensor:
        return _finish(self._layers[op.name].epilogue, self._accumulate(op, x), None).flatten(1)

    def _add(self, op: ResidualAdd, acc: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        if op.input not in self._adds:
            raise UsageError(f"{op.name}: an add that no convolution can take is not part of a RepGhostNet.")
        return _finish(self._layers[op.input].epilogue, acc, other)

    def _pool(self, op: AveragePool, x: torch.Tensor) -> torch.Tensor:
        qparams = self._spec.activations
        bias, epilogue = lower.lower_pool(x.shape[2] * x.shape[3], qparams[op.input], qparams[op.name])
        return _finish(epilogue, x.sum((2, 3), keepdim=True, dtype=torch.int32) + bias, None)

    def _hard_sigmoid(self, op: HardSigmoid, x: torch.Tensor) -> torch.Tensor:
        table = lower.hard_sigmoid_table(self._spec.activations[op.input], self._spec.activations[op.name])
        return torch.from_numpy(table.astype(np.int32))[(x - INT8_MIN).long()]

    def _gate(self, op: Gate, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        qparams = self._spec.activations
        product = (x - qparams[op.input].zero_point) * (gate - qparams[op.gate].zero_point)
        return _finish(lower.lower_multiply(qparams[op.input], qparams[op.gate], qparams[op.name]), product, None)

    def _accumulate(self, op: Convolution | Classifier, x: torch.Tensor) -> torch.Tensor:
        """Return int32 accumulators [N, O, H, W]; the sums run over q - z, so padding with zeros pads with z."""
        layer = self._layers[op.name]
        centred = (x - self._spec.activations[op.input].zero_point).to(layer.weight.dtype)
        sums = F.conv2d(centred, layer.weight, None, layer.stride, layer.padding, groups=layer.groups)
        return sums.to(torch.int32) + layer.start


def _exact(weight: NDArray[np.int8]) -> torch.Tensor:
    """Return the weights in the float type in which every partial sum of w * (q - z) is exact."""
    bound = 255 * np.abs(weight.reshape(len(weight), -1).astype(np.int64)).sum(axis=1).max()
    return torch.from_numpy(weight.astype(np.float32 if bound < FLOAT32_EXACT else np.float64))


def _column(start: NDArray[np.int32], zero_point: int, weight: NDArray[np.int8]) -> torch.Tensor:
    """Return the start values for sums over q - z instead of q, int32 [O, 1, 1]."""
    total = weight.reshape(len(weight), -1).astype(np.int64).sum(axis=1)
    return torch.from_numpy((start + zero_point * total).astype(np.int32))[:, None, None]


def _finish(epilogue: Epilogue, acc: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
    """Return the epilogue of `calib.integer.qparams` for int32 accumulators [N, C, H, W]."""
    multiplier = torch.from_numpy(epilogue.multiplier)[:, None, None]
    match epilogue:
        case ToLogits():
            return acc.to(torch.float32) * multiplier
        case Requantize():
            total = torch.round(acc.to(torch.float32) * multiplier).to(torch.int32) + epilogue.zero_point
        case RequantizeAdd():
            assert residual is not None
            total = torch.round(acc.to(torch.float32) * multiplier).to(torch.int32)
            total += (residual - epilogue.residual.qparams.zero_point) * epilogue.residual_factor
            total = ((total + (1 << (ADD_SHIFT - 1))) >> ADD_SHIFT) + epilogue.zero_point
        case RequantizeQ15():
            offset = torch.from_numpy(epilogue.offset.astype(np.int32))[:, None, None]
            total = _saturate(_multiply_q15(acc, multiplier) + offset)
        case RequantizeQ15Add():
            assert residual is not None
            offset = torch.from_numpy(epilogue.offset.astype(np.int32))[:, None, None]
            factor = torch.tensor(epilogue.residual_factor, dtype=torch.int32)
            total = _saturate(_multiply_q15(acc, multiplier) + _multiply_q15(residual << RESIDUAL_SHIFT, factor))
            total = (_saturate(total + offset) + (1 << (Q15_ADD_SHIFT - 1))) >> Q15_ADD_SHIFT
    return torch.clamp(total, epilogue.low, epilogue.high)


def _multiply_q15(value: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return (value * factor + 2**14) >> 15; both fit int16, so int32 holds the product."""
    return (value * factor.to(torch.int32) + (1 << (Q15_SHIFT - 1))) >> Q15_SHIFT


def _saturate(value: torch.Tensor) -> torch.Tensor:
    return torch.clamp(value, INT16_MIN, INT16_MAX)
