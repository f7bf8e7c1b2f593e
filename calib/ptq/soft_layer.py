"""A layer whose weights are learned between their two neighbouring int8 values, and the steps of learning.

A weight is s * (floor(w / s) + h(v)) with h(v) = clip(1.2 * f(v) - 0.1, 0, 1). Nagel et al. 2020 have the sigmoid
for f; here it is 1/2 + u / (2 sqrt(1 + u**2)) with u = v / 2, which has the same slope at 0 and takes only operations
that machines agree on. So does Adam, which is written out here: PyTorch's fuses some of its steps on some machines.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from calib.integer.qparams import WEIGHT_MAX
from calib.settings.quantspec import QuantSpec
from calib.simulate.fake_quantize import limited_steps
from calib.weight_scales.int16 import fits_int16, magnitude_limits
from repghost.graph.functions import sqrt
from repghost.graph.operators import Classifier, Convolution, Graph

Layer = Convolution | Classifier
STRETCH, SHIFT = 1.2, -0.1  # of f, so that h reaches 0 and 1
MOMENTUM, SQUARES, TINY = 0.9, 0.999, 1e-8  # of Adam


class Adam:
    """Numbers that Adam changes (Kingma and Ba 2015).

    Args:
        values: float32, changed in place.
        rate: of learning.
    """

    def __init__(self, values: torch.Tensor, rate: float) -> None:
        self._values, self._rate = values, rate
        self._mean, self._square = torch.zeros_like(values), torch.zeros_like(values)
        self._mean_left = self._square_left = 1.0  # what the zeros that they began with still weigh

    def step(self, gradient: torch.Tensor) -> None:
        """Change the values against a gradient of their shape."""
        self._mean_left, self._square_left = self._mean_left * MOMENTUM, self._square_left * SQUARES
        self._mean = self._mean * MOMENTUM + gradient * (1.0 - MOMENTUM)
        self._square = self._square * SQUARES + gradient * gradient * (1.0 - SQUARES)
        spread = sqrt(self._square / (1.0 - self._square_left)) + TINY
        self._values -= self._mean / (1.0 - self._mean_left) / spread * self._rate


class SoftLayer:
    """A layer while its rounding is learned.

    Args:
        layer: with float weights.
        spec: has its scales.
        rate: of v.
        bias_rate: of the bias, in units of the largest weight times one step of the input.
    """

    def __init__(self, layer: Layer, spec: QuantSpec, rate: float = 0.0, bias_rate: float = 0.0) -> None:
        self._layer = layer
        scales = torch.from_numpy(np.asarray(spec.weight_scales[layer.name], np.float32))
        self._column = scales.reshape((-1,) + (1,) * (layer.weight.ndim - 1))
        scaled = (torch.from_numpy(layer.weight) / self._column).clamp(-WEIGHT_MAX, WEIGHT_MAX)
        self._floor = scaled.floor()
        share = ((scaled - self._floor).clamp(0.01, 0.99) - SHIFT) / STRETCH * 2.0 - 1.0
        self.v = share / sqrt(1.0 - share * share) * 2.0
        self._unit = scales * spec.activations[layer.input].scale * WEIGHT_MAX
        self._change = torch.zeros_like(scales)
        self._learn_v, self._learn_bias = Adam(self.v, rate), Adam(self._change, bias_rate)
        self.weight, self.bias = self._parameters()

    def learn(self, beta: int, strength: float) -> None:
        """Take one step by the gradients of `weight` and `bias`, and make both anew.

        Args:
            beta: of the term sum(1 - |2 h - 1|**beta), which is 0 where every h is 0 or 1.
            strength: of that term; 0 without.
        """
        assert self.weight.grad is not None and self.bias.grad is not None
        raw, root = self._curve()
        height = raw.clamp(0.0, 1.0)
        gradient = torch.where((self._floor + height).abs() <= WEIGHT_MAX, self.weight.grad * self._column, 0.0)
        if strength:
            away = height * 2.0 - 1.0
            gradient -= power(away.abs(), beta - 1) * away.sign() * (2.0 * beta * strength)
        slope = 0.25 * STRETCH / (root * root * root)
        self._learn_v.step(torch.where(raw == height, gradient * slope, 0.0))
        self._learn_bias.step(self.bias.grad * self._unit)
        self.weight, self.bias = self._parameters()

    def _curve(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return h before it is clipped, and sqrt(1 + u**2)."""
        u = self.v * 0.5
        root = sqrt(u * u + 1.0)
        return u / root * (0.5 * STRETCH) + (0.5 * STRETCH + SHIFT), root

    def _height(self) -> torch.Tensor:
        return self._curve()[0].clamp(0.0, 1.0)

    def _parameters(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight and bias as they are now, float32, with gradients of their own."""
        weight = (self._floor + self._height()).clamp(-WEIGHT_MAX, WEIGHT_MAX) * self._column
        bias = torch.from_numpy(self._layer.bias) + self._change * self._unit
        return weight.requires_grad_(), bias.requires_grad_()

    def rounded(self, graph: Graph, spec: QuantSpec) -> Layer:
        """Return the layer with its learned weights, or as it was where they do not fit its int16 accumulator."""
        wanted = self._floor + self._height()
        steps = wanted.round().clamp(-WEIGHT_MAX, WEIGHT_MAX)
        layer, bias = self._layer, self.bias.detach().numpy()
        if not (isinstance(layer, Convolution) and spec.accumulators.get(layer.name) == "int16"):
            return replace(layer, weight=(steps * self._column).numpy(), bias=bias)
        steps = limited_steps(steps, wanted, torch.from_numpy(magnitude_limits(layer, graph, spec)))
        changed = replace(layer, weight=(steps * self._column).numpy(), bias=bias)
        return changed if fits_int16(changed, graph, spec) else layer


def power(x: torch.Tensor, exponent: int) -> torch.Tensor:
    """Return x**exponent by multiplications, for a whole number that is not negative."""
    result = torch.ones_like(x)
    while exponent:
        if exponent & 1:
            result = result * x
        x, exponent = x * x, exponent >> 1
    return result
