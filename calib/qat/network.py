"""The network that is trained: its graph with a fake-quantizer wherever inference has integers.

Values are float32 and close to what the integers stand for; once scales are final, weights are exactly those of the
integer program. Conversion gives a graph and a spec, from which everything else follows as after calibration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from calib.qat.convertible import check_scales
from calib.qat.scales import LearnedScales
from calib.qat.weights import Layer, WeightSource, key, layers_of, relative_groups
from calib.settings.policy import moves
from calib.settings.quantspec import QuantSpec
from calib.simulate.fake_quantize import fake_quantize_weight, full_precision, weight_steps
from repghost.errors import UsageError
from repghost.graph.operators import INPUT, RELU, ChannelSlopes, Classifier, Concat, Convolution, Graph, Operator
from repghost.graph.run import FAST, Kernels, clamped, convolve, followed_by, numbers_of, run
from repghost.graph.trace import check_finite

LayerWeights = Callable[[str, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]  # name, input -> weight, bias


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
        for op in graph.operators:
            if isinstance(op, ChannelSlopes):
                self.register_buffer(f"slopes{key(op.name)}", torch.tensor(op.slopes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits, float32 [N, classes], of float32 [N, C, H, W], normalized.

        Of several results the numbers, float32 [N, numbers], as `calib.integer.program.Program` orders them.

        Raises:
            UsageError: for bytes, which are not normalized, or a single image.
        """
        if images.ndim != 4 or not images.is_floating_point():
            raise UsageError(
                f"training takes normalized images, floats [N, C, H, W], not {images.dtype} {list(images.shape)}."
            )
        observing = self.training and self.source.observes
        # Where weights do not depend on the layer's input, all are quantized at once.
        layer = partial(self._layer, weights={} if observing else self._quantized_weights(), observing=observing)
        kernels: Kernels[torch.Tensor] = {
            **FAST,
            Convolution: partial(self._convolution, layer),
            Classifier: partial(self._classifier, layer),
            Concat: self._concat,
            ChannelSlopes: lambda op, x: F.prelu(x, getattr(self, f"slopes{key(op.name)}")),
        }
        found: dict[str, torch.Tensor] = {}

        def keep(name: str, value: torch.Tensor) -> None:
            if name in self._graph.results:
                found[name] = value

        quantized = self.scales.quantize(INPUT, images, False)
        logits = run(self._graph, followed_by(kernels, self._output), quantized, keep)
        if found:
            return full_precision(numbers_of([found[name] for name in self._graph.results]))
        return full_precision(logits.flatten(1))

    def freeze_observers(self) -> None:
        """Make scales, zero points and multipliers final."""
        self.scales.freeze(self.float_layers())

    def freeze_statistics(self) -> None:
        """Make batch-norm statistics final, where there are any."""
        self.source.freeze_statistics()

    def replan(self) -> None:
        """Choose the int16 multipliers for the weights as they are now, while scales still change."""
        if not bool(self.scales.frozen):
            self.scales.replan(self.float_layers())

    def parameter_groups(self, learning_rate: float = 1e-3, scale_learning_rate: float = 1e-3) -> list[dict[str, Any]]:
        """Return the groups that an optimizer such as Adam takes, each with a rate that suits it.

        Args:
            learning_rate: of weights and biases, in units of each tensor's mean magnitude.
            scale_learning_rate: of the logarithms of the scales.
        """
        scales = [parameter for parameter in self.scales.parameters() if parameter.requires_grad]
        groups = relative_groups((parameters for _, parameters in self.source.groups()), learning_rate)
        return [*groups, {"params": scales, "lr": scale_learning_rate}]

    @torch.no_grad()
    def float_layers(self) -> dict[str, Layer]:
        """Return every layer with its float weights as they are now.

        Raises:
            UsageError: naming a layer whose weights are NaN or infinite.
        """
        result = {}
        for op in layers_of(self._graph):
            weight, bias = (tensor.float().cpu().numpy().copy() for tensor in self.source.layer(op.name))
            result[op.name] = replace(op, weight=weight, bias=bias)
            check_finite(result[op.name])
        return result

    def convert(self) -> tuple[Graph, QuantSpec]:
        """Return the network as calibration would have: a graph, whose weights lie on their int8 steps, and a spec.

        Raises:
            UsageError: naming a layer or tensor with weights or scales that are no numbers for int8.
        """
        layers = self.float_layers()
        scales = self.scales.plan(layers)
        operators: list[Operator] = []
        for op in self._graph.operators:
            if op.name in layers:
                check_scales(op.name, scales[op.name])
                operators.append(self._on_steps(layers[op.name], scales[op.name]))
            else:
                operators.append(op)
        return replace(self._graph, operators=tuple(operators)), self.scales.spec(scales)

    def _on_steps(self, op: Layer, scales: NDArray[np.float32]) -> Layer:
        """Return a layer whose weights lie on their int8 steps, within the limits of its accumulator."""
        limits = self.scales.limits(op.name, scales)
        steps = weight_steps(torch.from_numpy(op.weight), torch.from_numpy(scales), limits)
        return replace(op, weight=steps.numpy() * scales.reshape((-1,) + (1,) * (op.weight.ndim - 1)))

    def _convolution(self, layer: LayerWeights, op: Convolution, x: torch.Tensor) -> torch.Tensor:
        """Return a convolution's output; a ReLU is left to the quantizer behind it, of which it is a bound."""
        weight, bias = layer(op.name, x)
        y = convolve(op, x, weight, bias)
        return y if op.clamp == RELU else clamped(y, op.clamp)

    def _classifier(self, layer: LayerWeights, op: Classifier, x: torch.Tensor) -> torch.Tensor:
        weight, bias = layer(op.name, x)
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

    def _layer(
        self, name: str, x: torch.Tensor, weights: Mapping[str, torch.Tensor], observing: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's quantized weight and its bias.

        Args:
            name: of the layer.
            x: its input.
            weights: float32 [O, weights of a channel] by layer, where they are known already.
            observing: whether batch-norm statistics follow the input.
        """
        if observing:
            self.source.observe(name, x)
        weight, bias = self.source.layer(name)
        if name in weights:
            return weights[name].reshape(weight.shape), bias
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
