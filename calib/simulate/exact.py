"""The quantized network in PyTorch, exact: bit for bit the integers of the numpy reference.

Tensors hold integers q - z as floats. A sum is computed in float32 where no partial sum can reach 2**24, in float64
elsewhere. The constants come from `calib.integer.lower`, so the numbers are those of the compiled kernels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from calib.integer import lower
from calib.integer.program import Requantize, RequantizeAdd, RequantizeQ15, RequantizeQ15Add, ToLogits
from calib.integer.program import Tensor as ProgramTensor
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
    Operator,
    ResidualAdd,
    operator_inputs,
)

FLOAT32_EXACT = 1 << 24

Epilogue = Requantize | RequantizeAdd | RequantizeQ15 | RequantizeQ15Add | ToLogits
Tensors = dict[str, torch.Tensor]  # int8 values [N, C, H, W], stored as int32, by name


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
    """A quantized network that answers as every exact implementation does.

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
        self._fused = {op.name: op for op in graph.operators if isinstance(op, Convolution) and op.name in self._adds}
        self._layers = {
            op.name: self._prepare(op) for op in graph.operators if isinstance(op, Convolution | Classifier)
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
        readers = Counter(name for op in self._graph.operators if op.name not in self._adds for name in self.reads(op))
        tensors = {INPUT: self.quantize_input(images)}
        if observe is not None:
            observe(INPUT, tensors[INPUT])
        for op in self._graph.operators:
            if op.name in self._adds:
                continue  # runs as part of the add, with its epilogue
            tensors[op.name] = self.run_operator(op, tensors)
            if observe is not None and not isinstance(op, Classifier):
                observe(op.name, tensors[op.name])
            for name in self.reads(op):
                readers[name] -= 1
                if not readers[name]:
                    tensors.pop(name, None)
        return tensors[self._graph.operators[-1].name]

    def reads(self, op: Operator) -> tuple[str, ...]:
        """Return the tensors an operator reads, an add reading in place of the convolution it contains."""
        if isinstance(op, ResidualAdd) and op.input in self._fused:
            return self._fused[op.input].input, op.other
        return operator_inputs(op)

    def is_fused(self, name: str) -> bool:
        """Return whether a convolution runs as part of the add behind it, with its epilogue."""
        return name in self._adds

    def replace_layer(self, op: Convolution | Classifier) -> None:
        """Give a layer other weights or another bias; its scales stay."""
        self._layers[op.name] = self._prepare(op)

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
        add = self._adds.get(op.name)
        y = activations[op.name if add is None else add.name]
        residual = None
        if add is not None:
            residual = ProgramTensor(add.other, 1, 1, len(scales), activations[add.other])
        output = lower.LayerOutput(y, y.zero_point if op.relu else INT8_MIN, INT8_MAX, residual)
        lowered = lower.lower_depthwise(layer, output) if op.is_depthwise else lower.lower_dense(layer, output)
        epilogue, start = lowered
        column = _column(start, x.zero_point, weight)
        return _Layer(_exact(weight), column, epilogue, op.stride, op.padding, op.groups)

    def run_operator(self, op: Operator, tensors: Tensors) -> torch.Tensor:
        """Return an operator's int8 values as int32, or the logits."""
        y = self._spec.activations.get(op.name)
        match op:
            case Convolution() | Classifier():
                return self._convolve(op.name, op.input, tensors, None)
            case ResidualAdd() if op.input in self._adds:
                convolution = self._fused[op.input]
                return self._convolve(convolution.name, convolution.input, tensors, tensors[op.other])
            case AveragePool():
                x, q = self._spec.activations[op.input], tensors[op.input]
                assert y is not None
                bias, epilogue = lower.lower_pool(q.shape[2] * q.shape[3], x, y)
                return _finish(epilogue, q.sum((2, 3), keepdim=True, dtype=torch.int32) + bias, None)
            case HardSigmoid():
                assert y is not None
                table = torch.from_numpy(lower.hard_sigmoid_table(self._spec.activations[op.input], y).astype(np.int32))
                return table[(tensors[op.input] - INT8_MIN).long()]
            case Gate():
                x, gate = self._spec.activations[op.input], self._spec.activations[op.gate]
                assert y is not None
                product = (tensors[op.input] - x.zero_point) * (tensors[op.gate] - gate.zero_point)
                return _finish(lower.lower_multiply(x, gate, y), product, None)
        raise UsageError(f"{op.name}: an add that no convolution can take is not part of a RepGhostNet.")

    def _convolve(self, name: str, source: str, tensors: Tensors, residual: torch.Tensor | None) -> torch.Tensor:
        """Return a layer's output; its sums run over q - z, so padding with zeros pads with the zero point."""
        layer = self._layers[name]
        centred = (tensors[source] - self._spec.activations[source].zero_point).to(layer.weight.dtype)
        sums = F.conv2d(centred, layer.weight, None, layer.stride, layer.padding, groups=layer.groups)
        result = _finish(layer.epilogue, sums.to(torch.int32) + layer.start, residual)
        return result.flatten(1) if isinstance(layer.epilogue, ToLogits) else result


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
