"""The scales of a quantized network in training: learned first, then final.

Activation scales and the weight scales of int32 layers are parameters, as the logarithm of how much they grew: before
the first step they are those of calibration to the bit. The weight scales of int16 layers follow from theirs and an
integer multiplier M (see `calib.integer.qparams.q15_unit`), which is chosen again now and then; the sum of each
channel's int8 magnitudes is limited in every step, so that no accumulator can leave int16.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calib.integer.qparams import INT8_MAX, INT8_MIN, QParams, q15_multiplier, q15_unit
from calib.qat.weights import Layer, key, layers_of
from calib.settings.policy import scale_owners
from calib.settings.quantspec import QuantSpec
from calib.simulate.fake_quantize import fake_quantize, grown
from calib.weight_scales import planning as q15
from calib.weight_scales.int16 import plan_int16
from repghost.graph.operators import INPUT, Classifier, Convolution, Graph


class ActivationScale(nn.Module):
    """One tensor's scale, learned as the natural logarithm of its growth, and its zero point, which stays.

    Args:
        qparams: what it begins with.
    """

    def __init__(self, qparams: QParams) -> None:
        super().__init__()
        self.start = qparams.scale
        self.log_growth = nn.Parameter(torch.zeros(()))
        self.zero_point = qparams.zero_point

    def forward(self, x: torch.Tensor, relu: bool) -> torch.Tensor:
        """Return float32 [N, C, H, W] quantized and dequantized, after a ReLU if that is said."""
        low = max(INT8_MIN, self.zero_point) if relu else INT8_MIN
        return fake_quantize(x, self.log_growth, low - self.zero_point, INT8_MAX - self.zero_point, self.start)

    def qparams(self) -> QParams:
        """Return scale and zero point as they are now."""
        return QParams(grown(self.start, self.log_growth), self.zero_point)


class Int32WeightScales(nn.Module):
    """The weight scales of a layer with int32 accumulators, float32 [O]: learned as `ActivationScale` is, or final.

    Args:
        scales: what they begin with, float32 [O].
    """

    final: torch.Tensor | None
    start: torch.Tensor  # float32 [O]

    def __init__(self, scales: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("start", scales)
        self.log_growth = nn.Parameter(torch.zeros_like(scales))
        self.register_buffer("final", None)

    def forward(self) -> torch.Tensor:
        """Return the scales, with gradients while they learn."""
        return self.start * self.log_growth.exp() if self.final is None else self.final

    def planned(self, op: Layer, x: QParams, y: QParams | None) -> NDArray[np.float32]:
        """Return the learned scales, coarser where the layer's bias would not fit int32, float32 [O]."""
        learned = self.forward().detach().cpu().numpy()
        # For weights of 0 the plan is what the bias alone needs.
        needed = q15.plan_dense_scales(np.zeros_like(op.weight), op.bias, x.scale, 1.0 if y is None else y.scale)
        return np.maximum(learned, needed).astype(np.float32)

    def freeze(self, scales: NDArray[np.float32]) -> None:
        """Make these scales final."""
        self.final = torch.from_numpy(scales).to(self.start.device)


class Int16WeightScales(nn.Module):
    """The weight scales of a depthwise layer with int16 accumulators: M * s_y / (2**15 * s_x), or final.

    Args:
        multiplier: M, whole numbers, float64 [C].
        residual: whether a residual add is the layer's epilogue.
    """

    final: torch.Tensor | None
    multiplier: torch.Tensor  # float32 [C]
    limits: torch.Tensor  # float32 [C], the most that a channel's magnitudes may sum to

    def __init__(self, multiplier: NDArray[np.float64], residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.register_buffer("final", None)
        self.register_buffer("multiplier", torch.tensor(multiplier, dtype=torch.float32))
        self.register_buffer("limits", torch.from_numpy(q15.largest_sums(multiplier)))

    def forward(self, ratio: torch.Tensor) -> torch.Tensor:
        """Return the scales, float32 [C], for s_y / s_x as it is now."""
        return self.multiplier * q15_unit(ratio, self.residual) if self.final is None else self.final

    def exact(self, x: QParams, y: QParams) -> NDArray[np.float32]:
        """Return the scales for these scales of input and output, computed in float64."""
        multiplier = self.multiplier.cpu().numpy().astype(np.float64)
        return (multiplier * q15_unit(y.scale / x.scale, self.residual)).astype(np.float32)

    def choose(self, multiplier: NDArray[np.float64]) -> None:
        """Take another M, and the limits that follow from it."""
        self.multiplier = torch.tensor(multiplier, dtype=torch.float32).to(self.multiplier.device)
        self.limits = torch.from_numpy(q15.largest_sums(multiplier)).to(self.limits.device)

    def freeze(self, scales: NDArray[np.float32]) -> None:
        """Make these scales final."""
        self.final = torch.from_numpy(scales).to(self.multiplier.device)


class LearnedScales(nn.Module):
    """Scales by tensor and by layer.

    Args:
        graph: its layers.
        spec: what they begin with; its zero points and accumulators stay.
    """

    def __init__(self, graph: Graph, spec: QuantSpec) -> None:
        super().__init__()
        self._layers = {op.name: op for op in layers_of(graph)}
        self._epilogues = {op.name: graph.epilogue(op) for op in layers_of(graph)}
        self._accumulators = dict(spec.accumulators)
        self._notes = spec.notes
        self._names = tuple(spec.activations)
        self._owners = {name: owner for name, owner in scale_owners(graph).items() if owner in spec.activations}
        self.frozen = False
        self.activation = nn.ModuleDict(
            {key(name): ActivationScale(q) for name, q in spec.activations.items() if name not in self._owners}
        )
        self._activation(INPUT).requires_grad_(False)  # it belongs to the images, not to the network
        self.weight = nn.ModuleDict()
        for name, scales in spec.weight_scales.items():
            self.weight[key(name)] = (
                Int16WeightScales(self._multiplier(name, scales), self._epilogues[name].residual is not None)
                if spec.accumulators.get(name) == "int16"
                else Int32WeightScales(torch.from_numpy(np.asarray(scales, np.float32).copy()))
            )

    def quantize(self, tensor: str, value: torch.Tensor, relu: bool) -> torch.Tensor:
        """Return a tensor quantized and dequantized, or as it is where it has no scale.

        Args:
            tensor: its name.
            value: float32 [N, C, H, W], before a ReLU if there is one.
            relu: whether there is.
        """
        return self._activation(tensor)(value, relu) if tensor in self._names else value

    def share(self, tensor: str, other: str) -> bool:
        """Return whether two tensors have one scale."""
        return self._activation(tensor) is self._activation(other)

    def weight_scales(self, layer: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return a layer's scales, float32 [O], and the most its magnitudes may sum to in each channel, or None."""
        scales = self._weight(layer)
        if isinstance(scales, Int32WeightScales):
            return scales(), None
        return scales(self._ratio(layer)), scales.limits

    def qparams(self) -> dict[str, QParams]:
        """Return every tensor's scale and zero point as they are now."""
        return {name: self._activation(name).qparams() for name in self._names}

    def plan(self, layers: Mapping[str, Layer]) -> dict[str, NDArray[np.float32]]:
        """Return the weight scales to convert with: int16 ones planned for these weights, the others as learned.

        Args:
            layers: the float layers by name.
        """
        return {name: self._planned(op) for name, op in layers.items()}

    def replan(self, layers: Mapping[str, Layer]) -> None:
        """Choose the int16 multipliers again, for weights and scales as they are now."""
        for name, op in layers.items():
            scales = self._weight(name)
            if isinstance(scales, Int16WeightScales) and not self.frozen:
                scales.choose(self._multiplier(name, self._planned(op)))

    def freeze(self, layers: Mapping[str, Layer]) -> None:
        """Make every scale final: from here on training computes with the numbers that are written."""
        for name, values in self.plan(layers).items():
            scales = self._weight(name)
            if isinstance(scales, Int16WeightScales):
                scales.choose(self._multiplier(name, values))
            scales.freeze(values)
        self.frozen = True
        self.requires_grad_(False)

    def limits(self, layer: str, scales: NDArray[np.float32]) -> torch.Tensor | None:
        """Return the most a layer's magnitudes may sum to with these scales, float32 [O], or None."""
        if isinstance(self._weight(layer), Int32WeightScales):
            return None
        return torch.from_numpy(q15.largest_sums(self._multiplier(layer, scales)))

    def spec(self, scales: Mapping[str, NDArray[np.float32]]) -> QuantSpec:
        """Return the scales as calibration would have returned them."""
        return QuantSpec(self.qparams(), scales, self._accumulators, self._notes)

    def _activation(self, tensor: str) -> ActivationScale:
        module = self.activation[key(self._owners.get(tensor, tensor))]
        assert isinstance(module, ActivationScale)
        return module

    def _weight(self, layer: str) -> Int32WeightScales | Int16WeightScales:
        module = self.weight[key(layer)]
        assert isinstance(module, Int32WeightScales | Int16WeightScales)
        return module

    def _planned(self, op: Layer) -> NDArray[np.float32]:
        """Return one layer's scales for its weights and the activation scales as they are now."""
        scales, epilogue = self._weight(op.name), self._epilogues[op.name]
        if scales.final is not None:
            return scales.final.cpu().numpy()
        x = self._activation(op.input).qparams()
        if isinstance(scales, Int32WeightScales):
            return scales.planned(op, x, None if isinstance(op, Classifier) else self._output(op.name).qparams())
        assert isinstance(op, Convolution)
        y, other = self._output(op.name).qparams(), epilogue.residual
        planned = plan_int16(op, x, y, None if other is None else self._activation(other).qparams(), epilogue.clamp)
        # Without a better plan the multipliers stay; the limits of the sums hold for them as well.
        return scales.exact(x, y) if planned is None else planned

    def _output(self, layer: str) -> ActivationScale:
        """Return the scale of what a convolution writes, the add behind it included."""
        return self._activation(self._epilogues[layer].output)

    def _multiplier(self, layer: str, scales: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the M that int16 weight scales stand for, whole numbers, float64 [C]."""
        x, y = self._activation(self._layers[layer].input).qparams(), self._output(layer).qparams()
        return np.rint(q15_multiplier(x.scale, scales, y.scale, self._epilogues[layer].residual is not None))

    @torch.no_grad()
    def _ratio(self, layer: str) -> torch.Tensor:
        """Return s_y / s_x without a gradient: the M of int16 scales is chosen, not learned."""
        source = self._activation(self._layers[layer].input)
        output = self._output(layer)
        return torch.exp(output.log_growth - source.log_growth) * (output.start / source.start)
