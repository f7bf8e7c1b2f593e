"""The network that is trained: its graph with a fake-quantizer wherever inference has integers.

Values are float32 and close to what the integers stand for; once scales are final, weights are exactly those of the
integer program. Conversion gives a graph and a spec, from which everything else follows as after calibration.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from calib.qat.scales import LearnedScales
from calib.qat.weights import Layer, WeightSource, layers_of
from calib.settings.policy import moves
from calib.settings.quantspec import QuantSpec
from calib.simulate.fake_quantize import fake_quantize_weight, weight_steps
from repghost.graph.operators import INPUT, RELU, Classifier, Concat, Convolution, Graph, Operator
from repghost.graph.run import FAST, Kernels, clamped, convolve, followed_by, run


class QatNetwork(nn.Module):
    """Maps normalized images to logits like the integer program, but in float32 and with gradients.

    Args:
        graph: the float network, perhaps equalized.
        spec: of the same graph, from calibration.
        weights: a module that is a `WeightSource`, for the layers of the graph.
    """

    def __init__(self, graph: Graph, spec: QuantSpec, weights: WeightSource) -> None:
        super().__init__()
        self._graph = graph
        self.source = weights
        self.scales = LearnedScales(graph, spec)
        # Quantized weights of this step by layer, where they do not depend on the layer's input.
        self._weights: dict[str, torch.Tensor] = {}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, classes] of float32 [N, C, H, W], normalized."""
        self._weights = {} if self.source.observes else self._quantized_weights()
        kernels: Kernels[torch.Tensor] = {
            **FAST,
            Convolution: self._convolution,
            Classifier: self._classifier,
            Concat: self._concat,
        }
        logits = run(self._graph, followed_by(kernels, self._output), self.scales.quantize(INPUT, images, False))
        self._weights = {}  # the next step has others
        return logits.flatten(1)

    def freeze_observers(self) -> None:
        """Make scales, zero points and multipliers final."""
        self.scales.freeze(self.float_layers())

    def freeze_statistics(self) -> None:
        """Make batch-norm statistics final, where there are any."""
        self.source.freeze_statistics()

    def replan(self) -> None:
        """Choose the int16 multipliers for the weights as they are now."""
        self.scales.replan(self.float_layers())

    @torch.no_grad()
    def float_layers(self) -> dict[str, Layer]:
        """Return every layer with its float weights as they are now."""
        result = {}
        for op in layers_of(self._graph):
            weight, bias = self.source.layer(op.name)
            result[op.name] = replace(op, weight=weight.cpu().numpy().copy(), bias=bias.cpu().numpy().copy())
        return result

    def convert(self) -> tuple[Graph, QuantSpec]:
        """Return the network as calibration would have: a graph, whose weights lie on their int8 steps, and a spec."""
        layers = self.float_layers()
        scales = self.scales.plan(layers)
        operators: list[Operator] = []
        for op in self._graph.operators:
            if op.name in layers:
                operators.append(self._on_steps(layers[op.name], scales[op.name]))
            else:
                operators.append(op)
        return replace(self._graph, operators=tuple(operators)), self.scales.spec(scales)

    def _on_steps(self, op: Layer, scales: NDArray[np.float32]) -> Layer:
        """Return a layer whose weights lie on their int8 steps, within the limits of its accumulator."""
        limits = self.scales.limits(op.name, scales)
        steps = weight_steps(torch.from_numpy(op.weight), torch.from_numpy(scales), limits)
        return replace(op, weight=steps.numpy() * scales.reshape((-1,) + (1,) * (op.weight.ndim - 1)))

    def _convolution(self, op: Convolution, x: torch.Tensor) -> torch.Tensor:
        """Return a convolution's output; a ReLU is left to the quantizer behind it, of which it is a bound."""
        weight, bias = self._layer(op.name, x)
        y = convolve(op, x, weight, bias)
        return y if op.clamp == RELU else clamped(y, op.clamp)

    def _classifier(self, op: Classifier, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self._layer(op.name, x)
        return F.linear(x.flatten(1), weight, bias)

    def _concat(self, op: Concat, *parts: torch.Tensor) -> torch.Tensor:
        """Return maps behind each other, those of another scale brought to that of the whole."""
        given = zip(op.inputs, parts, strict=True)
        return torch.cat(
            [x if self.scales.share(name, op.name) else self.scales.quantize(op.name, x, False) for name, x in given], 1
        )

    def _output(self, op: Operator, value: torch.Tensor) -> torch.Tensor:
        """Return an operator's output through its quantizer; logits, and what an add takes, have none.

        What only moves numbers has no further quantizer: its numbers are on steps already, and another one would take
        the gradient from those on the last step.
        """
        if moves(op) or isinstance(op, Concat):
            return value
        return self.scales.quantize(op.name, value, isinstance(op, Convolution) and op.clamp == RELU)

    def _layer(self, name: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's quantized weight and its bias."""
        if self.training:
            self.source.observe(name, x)
        weight, bias = self.source.layer(name)
        if name in self._weights:
            return self._weights[name].reshape(weight.shape), bias
        return fake_quantize_weight(weight, *self.scales.weight_scales(name)), bias

    def _quantized_weights(self) -> dict[str, torch.Tensor]:
        """Return every layer's quantized weight, float32 [O, weights of a channel].

        Layers with equally many weights per channel are quantized in one call, which takes a dozen small operations.
        """
        groups: dict[tuple[int, bool], list[str]] = {}
        rows, scales = {}, {}
        for op in layers_of(self._graph):
            rows[op.name] = self.source.layer(op.name)[0].flatten(1)
            scales[op.name] = self.scales.weight_scales(op.name)
            groups.setdefault((rows[op.name].shape[1], scales[op.name][1] is None), []).append(op.name)
        result: dict[str, torch.Tensor] = {}
        for names in groups.values():
            limits = [limit for _, limit in (scales[name] for name in names) if limit is not None]
            quantized = fake_quantize_weight(
                torch.cat([rows[name] for name in names]),
                torch.cat([scales[name][0] for name in names]),
                torch.cat(limits) if limits else None,
            )
            result |= zip(names, quantized.split([len(rows[name]) for name in names]), strict=True)
        return result
