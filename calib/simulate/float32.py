"""The quantized network in float32: what the QDQ file says, with some layers in float where it says nothing.

It differs from the integers of `calib.simulate.exact` by single steps, costs half as much, has gradients, and is the
only one that can leave layers in float.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from calib.integer.qparams import INT8_MAX, INT8_MIN, QParams, quantize_weights
from calib.settings.quantspec import QuantSpec
from calib.simulate.fake_quantize import fake_quantize
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

Tensors = dict[str, torch.Tensor]  # float32 [N, C, H, W] by name


def dequantized_weight(layer: Convolution | Classifier, scales: NDArray[np.float32]) -> torch.Tensor:
    """Return the real numbers that a layer's int8 weights stand for, float32."""
    column = np.asarray(scales, np.float32).reshape((-1,) + (1,) * (layer.weight.ndim - 1))
    return torch.from_numpy(quantize_weights(layer.weight, scales).astype(np.float32) * column)


def through_int8(x: torch.Tensor, qparams: QParams | None) -> torch.Tensor:
    """Return the real numbers that a tensor's int8 values stand for, or the tensor where it stays float."""
    if qparams is None:
        return x
    low, high = INT8_MIN - qparams.zero_point, INT8_MAX - qparams.zero_point
    return fake_quantize(x, torch.log(torch.tensor(qparams.scale)), low, high)


def simulate_operator(
    op: Operator,
    tensors: Mapping[str, torch.Tensor],
    qparams: QParams | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return an operator's output, quantized and dequantized where it has a scale.

    Args:
        op: any operator.
        tensors: its inputs, as their readers see them.
        qparams: of its output; None leaves it float.
        weight: of a layer, as it is computed with; None takes its float weights.
        bias: the same of its bias.
    """
    x = tensors[op.input]
    match op:
        case Convolution() | Classifier():
            weight = torch.from_numpy(op.weight) if weight is None else weight
            y = _layer(op, x, weight, torch.from_numpy(op.bias) if bias is None else bias)
        case ResidualAdd():
            y = x + tensors[op.other]
        case AveragePool():
            y = x.mean((2, 3), keepdim=True)
        case HardSigmoid():
            y = F.hardsigmoid(x)
        case Gate():
            y = x * tensors[op.gate]
    return through_int8(y, qparams)


def _layer(op: Convolution | Classifier, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    if isinstance(op, Classifier):
        return F.linear(x.flatten(1), weight, bias)
    y = F.conv2d(x, weight, bias, op.stride, op.padding, groups=op.groups)
    return F.relu(y) if op.relu else y


class SimulatedNetwork:
    """A quantized network in float32, callable like the others.

    Args:
        graph: from `repghost.graph.trace.graph_of`.
        spec: tensors and layers it does not name stay float; a float layer reads tensors before they are quantized.
    """

    def __init__(self, graph: Graph, spec: QuantSpec) -> None:
        self._graph = graph
        self._spec = spec
        self._weights = {
            op.name: dequantized_weight(op, spec.weight_scales[op.name])
            for op in graph.operators
            if isinstance(op, Convolution | Classifier) and op.name in spec.weight_scales
        }
        layers = {op.name for op in graph.operators if isinstance(op, Convolution | Classifier)}
        self._float = layers - set(self._weights)

    @torch.no_grad()
    def __call__(
        self, images: torch.Tensor, observe: Callable[[str, torch.Tensor], None] | None = None
    ) -> torch.Tensor:
        """Return the float32 logits [N, classes].

        Args:
            images: float32 [N, C, H, W], normalized.
            observe: called with each tensor's name and its values, float32 [N, C, H, W].
        """
        readers = Counter(name for op in self._graph.operators for name in operator_inputs(op))
        real: Tensors = {INPUT: images}  # what float layers read
        tensors: Tensors = {INPUT: through_int8(images, self._spec.activations.get(INPUT))}
        if observe is not None:
            observe(INPUT, tensors[INPUT])
        for op in self._graph.operators:
            real[op.name] = self._compute(op, real if op.name in self._float else tensors)
            tensors[op.name] = through_int8(real[op.name], self._spec.activations.get(op.name))
            if observe is not None:
                observe(op.name, tensors[op.name])
            for name in operator_inputs(op):
                readers[name] -= 1
                if not readers[name]:
                    del tensors[name], real[name]
        return tensors[self._graph.operators[-1].name]

    @torch.no_grad()
    def run_operator(self, op: Operator, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return one operator's output, quantized and dequantized where it has a scale, from its inputs by name."""
        return through_int8(self._compute(op, tensors), self._spec.activations.get(op.name))

    def _compute(self, op: Operator, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return simulate_operator(op, tensors, None, self._weights.get(op.name))
