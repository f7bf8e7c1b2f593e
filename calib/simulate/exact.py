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
from calib.integer.qparams import QParams, quantize_weights
from calib.integer.values import Epilogue
from calib.integer.values import Tensor as ProgramTensor
from calib.settings.policy import float_parts, no_float_layers
from calib.settings.quantspec import QuantSpec
from calib.simulate.integer_kernels import finish, integer_kernels, looked_up
from calib.simulate.joint_tables import Table, with_tables
from repghost.errors import UsageError
from repghost.graph.operators import INPUT, Add, Classifier, Convolution, Graph, Layer
from repghost.graph.run import Kernels, convolve, numbers_of, run

FLOAT32_EXACT = 1 << 24


@dataclass(frozen=True)
class _Layer:
    """A convolution or the classifier, ready to run."""

    weight: torch.Tensor  # float32 or float64 [O, I / groups, kh, kw], whole numbers
    start: torch.Tensor  # int32 [O, 1, 1]
    epilogue: Epilogue
    geometry: Convolution | None = None  # strides, pads, dilations and groups; the classifier has none


class ExactNetwork:
    """A quantized network whose logits equal those of every exact implementation.

    Args:
        graph: the float network.
        spec: from `calib.ptq.calibrate.calibrate`.

    Raises:
        UsageError: when an accumulator could leave its type (see `calib.integer.lower`), or a layer stays float.
    """

    def __init__(self, graph: Graph, spec: QuantSpec) -> None:
        kept = float_parts(graph, spec)
        if kept:
            raise UsageError(f"{', '.join(kept[:3])}: {no_float_layers()}")
        self._graph = with_tables(graph, spec.activations)
        self._spec = spec
        self._adds = graph.fused_adds
        self._layers = {op.name: self._prepare(graph, op) for op in graph.layers()}
        weightless = integer_kernels(spec.activations)
        self._sum = weightless[Add]
        self._kernels: Kernels[torch.Tensor] = {
            **weightless,
            Convolution: self._convolution,
            Add: self._add,
            Classifier: self._classifier,
            Table: lambda op, x: looked_up(op.table, x),  # type: ignore[dict-item]
        }

    @torch.no_grad()
    def __call__(
        self, images: torch.Tensor, observe: Callable[[str, torch.Tensor], None] | None = None
    ) -> torch.Tensor:
        """Return the float32 logits [N, classes], or the numbers of all results as `Program` orders them.

        Args:
            images: float32 [N, C, H, W], normalized.
            observe: called with the name of each tensor of integers and its values, int32 [N, C, H, W].
        """
        results: dict[str, torch.Tensor] = {}

        def integers_alone(name: str, value: torch.Tensor) -> None:
            if name in self._graph.results:
                results[name] = value
            if observe is not None and name in self._spec.activations:
                observe(name, value)

        scores = run(self._graph, self._kernels, self.quantize_input(images), integers_alone)
        if results:
            return numbers_of([self._dequantized(name, results[name]) for name in self._graph.results])
        if self._graph.output not in self._spec.activations:
            return scores
        return self._dequantized(self._graph.output, scores).flatten(1)

    def _dequantized(self, name: str, value: torch.Tensor) -> torch.Tensor:
        output = self._spec.activations[name]
        return (value - output.zero_point).float() * output.scale

    def quantize_input(self, images: torch.Tensor) -> torch.Tensor:
        """Return normalized images as int8 values, stored as int32."""
        qparams = self._spec.activations[INPUT]
        scaled = torch.round(images.to(torch.float32) / torch.tensor(qparams.scale, dtype=torch.float32))
        return torch.clamp(scaled + qparams.zero_point, qparams.low, qparams.high).to(torch.int32)

    def _prepare(self, graph: Graph, op: Layer) -> _Layer:
        """Return the layer's integers; a convolution inside an add gets the add's epilogue."""
        activations, scales = self._spec.activations, self._spec.weight_scales[op.name]
        x = activations[op.input]
        weight = quantize_weights(op.weight, scales)
        layer = lower.IntegerLayer(op.name, weight, op.bias, scales, x)
        epilogue: Epilogue
        if isinstance(op, Classifier):
            epilogue, start = lower.lower_logits(layer)
            return _Layer(_exact(weight, x)[:, :, None, None], _column(start, x.zero_point, weight), epilogue)
        output = graph.epilogue(op)
        y, other = activations[output.output], output.residual
        residual = None if other is None else ProgramTensor(other, 1, 1, len(scales), activations[other])
        written = lower.LayerOutput(y, *lower.integer_bounds(output.clamp, y), residual)
        lowered = lower.lower_depthwise(layer, written) if op.is_depthwise else lower.lower_dense(layer, written)
        epilogue, start = lowered
        column = _column(start, x.zero_point, weight)
        return _Layer(_exact(weight, x), column, epilogue, op)

    def _convolution(self, op: Convolution, x: torch.Tensor) -> torch.Tensor:
        """Return a convolution's integers, or its int32 accumulators [N, C, H, W] for the add that requantizes."""
        acc = self._accumulate(op, x)
        return acc if op.name in self._adds else finish(self._layers[op.name].epilogue, acc, None)

    def _classifier(self, op: Classifier, x: torch.Tensor) -> torch.Tensor:
        return finish(self._layers[op.name].epilogue, self._accumulate(op, x), None).flatten(1)

    def _add(self, op: Add, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return a sum: of a layer's accumulators and the other tensor where it is the layer's epilogue."""
        for name, acc, residual in ((op.input, x, other), (op.other, other, x)):
            if self._adds.get(name) is op:
                return finish(self._layers[name].epilogue, acc, residual)
        return self._sum(op, x, other)

    def _accumulate(self, op: Layer, x: torch.Tensor) -> torch.Tensor:
        """Return int32 accumulators [N, O, H, W]; the sums run over q - z, so padding with zeros pads with z."""
        layer = self._layers[op.name]
        centred = (x - self._spec.activations[op.input].zero_point).to(layer.weight.dtype)
        if layer.geometry is None:
            sums = F.linear(centred.flatten(1), layer.weight.flatten(1))[:, :, None, None]
        else:
            sums = convolve(layer.geometry, centred, layer.weight, None)
        return sums.to(torch.int32) + layer.start


def _exact(weight: NDArray[np.int8], x: QParams) -> torch.Tensor:
    """Return the weights in the float type in which every partial sum of w * (q - z) is exact."""
    bound = x.farthest * np.abs(weight.reshape(len(weight), -1).astype(np.int64)).sum(axis=1).max()
    return torch.from_numpy(weight.astype(np.float32 if bound < FLOAT32_EXACT else np.float64))


def _column(start: NDArray[np.int32], zero_point: int, weight: NDArray[np.int8]) -> torch.Tensor:
    """Return the start values for sums over q - z instead of q, int32 [O, 1, 1]."""
    total = weight.reshape(len(weight), -1).astype(np.int64).sum(axis=1)
    return torch.from_numpy((start + zero_point * total).astype(np.int32))[:, None, None]
