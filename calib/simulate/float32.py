"""The quantized network simulated in float32, as the QDQ file describes it; layers without scales stay float.

On equal inputs an operator's values are at most one step from the integers of `calib.simulate.exact`. The simulation
costs half as much, has gradients, and can leave layers in float.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from calib.integer.qparams import QParams, quantize_weights
from calib.settings.quantspec import QuantSpec
from calib.simulate.fake_quantize import fake_quantize
from repghost.graph.operators import INPUT, Classifier, Convolution, Graph, Operator
from repghost.graph.run import Kernel, Kernels, Tensors, float_kernels, followed_by, run


def dequantized_weight(layer: Convolution | Classifier, scales: NDArray[np.float32]) -> torch.Tensor:
    """Return a layer's weights after quantization and dequantization, float32, of the same shape."""
    column = np.asarray(scales, np.float32).reshape((-1,) + (1,) * (layer.weight.ndim - 1))
    return torch.from_numpy(quantize_weights(layer.weight, scales).astype(np.float32) * column)


def through_int8(x: torch.Tensor, qparams: QParams | None) -> torch.Tensor:
    """Return a tensor after quantization and dequantization, or unchanged where `qparams` is None."""
    if qparams is None:
        return x
    low, high = qparams.low - qparams.zero_point, qparams.high - qparams.zero_point
    return fake_quantize(x, torch.zeros(()), low, high, qparams.scale)  # exp(0) is 1 on every machine


def simulation_kernels(spec: QuantSpec, weights: Tensors, biases: Tensors | None = None) -> Kernels[torch.Tensor]:
    """Return the kernels of the quantized network in float32, each output quantized and dequantized by its scale.

    Args:
        spec: the scales; outputs that it does not name stay float.
        weights: dequantized, by layer; a layer that is not named computes with its float weights.
        biases: by layer, in place of the layer's own.
    """
    kernels = float_kernels(weights, biases)
    return followed_by(kernels, lambda op, y: through_int8(y, spec.activations.get(op.name)))


class _Value(NamedTuple):
    """One tensor, float32 [N, C, H, W], as float layers and as quantized layers read it."""

    real: torch.Tensor
    quantized: torch.Tensor


class SimulatedNetwork:
    """A quantized network simulated in float32.

    Args:
        graph: the float network.
        spec: tensors and layers it does not name stay float; a float layer reads tensors before they are quantized.
    """

    def __init__(self, graph: Graph, spec: QuantSpec) -> None:
        self._graph = graph
        self._spec = spec
        layers = [op for op in graph.operators if isinstance(op, Convolution | Classifier)]
        self._float = {op.name for op in layers if op.name not in spec.weight_scales}
        weights = {
            op.name: dequantized_weight(op, spec.weight_scales[op.name])
            for op in layers
            if op.name in spec.weight_scales
        }
        self._kernels = {kind: partial(self._compute, kernel) for kind, kernel in float_kernels(weights).items()}

    @torch.no_grad()
    def __call__(
        self, images: torch.Tensor, observe: Callable[[str, torch.Tensor], None] | None = None
    ) -> torch.Tensor:
        """Return the float32 logits [N, classes].

        Args:
            images: float32 [N, C, H, W], normalized.
            observe: called with each tensor's name and its quantized values, float32 [N, C, H, W].
        """
        seen = None if observe is None else lambda name, value: observe(name, value.quantized)
        return run(self._graph, self._kernels, self._value(INPUT, images), seen).quantized.flatten(1)

    def _compute(self, kernel: Kernel[torch.Tensor], op: Operator, *inputs: _Value) -> _Value:
        """Return an operator's output from what it reads, which in a float layer is not quantized."""
        read = [value.real if op.name in self._float else value.quantized for value in inputs]
        return self._value(op.name, kernel(op, *read))

    def _value(self, name: str, real: torch.Tensor) -> _Value:
        return _Value(real, through_int8(real, self._spec.activations.get(name)))
