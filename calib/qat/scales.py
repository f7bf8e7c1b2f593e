"""The scales of a quantized network in training: learned first, then final.

Activation scales and the weight scales of int32 layers are parameters, as the logarithm of how much they grew: before
the first step they are those of calibration to the bit. The weight scales of int16 layers follow from theirs and an
integer multiplier M (see `calib.integer.qparams.q15_unit`), which is chosen again now and then; the sum of each
channel's int8 magnitudes is limited in every step, so that no accumulator can leave int16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calib.integer.qparams import QParams, q15_multiplier, q15_unit
from calib.qat.weights import Layer, key, layers_of
from calib.settings.policy import scale_owners
from calib.settings.quantspec import QuantSpec
from calib.simulate.fake_quantize import fake_quantize, grown
from calib.weight_scales import planning as q15
from calib.weight_scales.int16 import plan_int16
from repghost.errors import UsageError
from repghost.graph.operators import INPUT, Classifier, Convolution, Graph


class ActivationScale(nn.Module):
    """One tensor's scale, learned as the natural logarithm of its growth, and its zero point, which stays.

    Args:
        qparams: what it begins with.
    """

    start: torch.Tensor  # float32 scalar
    zero: torch.Tensor  # int32 scalar: in checkpoints, so that those of another calibration are refused

    def __init__(self, qparams: QParams) -> None:
        super().__init__()
        self.log_growth = nn.Parameter(torch.zeros(()))
        self.zero_point, self.reach = qparams.zero_point, qparams.reach
        self.low, self.high = qparams.low - qparams.zero_point, qparams.high - qparams.zero_point
        self.register_buffer("start", torch.tensor(qparams.scale, dtype=torch.float32))
        self.register_buffer("zero", torch.tensor(qparams.zero_point, dtype=torch.int32))

    def forward(self, x: torch.Tensor, relu: bool, frozen: torch.Tensor) -> torch.Tensor:
        """Return float32 [N, C, H, W] quantized and dequantized, after a ReLU if that is said."""
        growth = self.growth(frozen)
        return fake_quantize(x, growth, max(self.low, 0) if relu else self.low, self.high, self.start)

    def growth(self, frozen: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of the growth, 0 and with gradients of 0 where the scale is final."""
        return self.log_growth.masked_fill(frozen, 0.0)

    def scale(self, frozen: torch.Tensor) -> float:
        """Return the scale as it is now."""
        return float(grown(self.start, self.growth(frozen)))

    @torch.no_grad()
    def freeze(self, frozen: torch.Tensor) -> None:
        """Make the scale as it is now final."""
        self.start.copy_(grown(self.start, self.growth(frozen)))

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        """Load, and refuse the state of another calibration, whose zero points the graph's bounds do not have."""
        zero, errors = state.get(f"{prefix}zero"), rest[-1]
        if isinstance(zero, torch.Tensor) and zero.numel() == 1 and int(zero) != self.zero_point:
            errors.append(
                f"{prefix[:-1]}: zero point {int(zero)} in the checkpoint, {self.zero_point} here; it belongs to a "
                "network that was calibrated on other pictures or with other settings."
            )
        super()._load_from_state_dict(state, prefix, *rest)


class Int32WeightScales(nn.Module):
    """The weight scales of a layer with int32 accumulators, float32 [O]: learned as `ActivationScale` is, or final.

    Args:
        scales: what they begin with, float32 [O].
    """

    start: torch.Tensor  # float32 [O]

    def __init__(self, scales: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("start", scales)
        self.log_growth = nn.Parameter(torch.zeros_like(scales))

    def forward(self, frozen: torch.Tensor) -> torch.Tensor:
        """Return the scales, whose gradients are 0 once they are final."""
        return self.start * self.log_growth.masked_fill(frozen, 0.0).exp()

    def planned(self, op: Layer, x: QParams, y: QParams | None, frozen: torch.Tensor) -> NDArray[np.float32]:
        """Return the learned scales, coarser where the layer's bias would not fit int32, float32 [O]."""
        learned = self.forward(frozen).detach().float().cpu().numpy()
        # For weights of 0 the plan is what the bias alone needs.
        needed = q15.plan_dense_scales(np.zeros_like(op.weight), op.bias, x.scale, 1.0 if y is None else y.scale)
        return learned if bool(frozen) else np.maximum(learned, needed).astype(np.float32)

    @torch.no_grad()
    def freeze(self, scales: NDArray[np.float32]) -> None:
        """Make these scales final."""
        self.start.copy_(torch.from_numpy(scales))


class Int16WeightScales(nn.Module):
    """The weight scales of a depthwise layer with int16 accumulators: M * s_y / (2**15 * s_x), or final.

    Args:
        scales: what they begin with, float32 [C].
        multiplier: the M that they stand for, whole numbers, float64 [C].
        residual: whether a residual add is the layer's epilogue.
    """

    final: torch.Tensor  # float32 [C], of use once scales are frozen
    multiplier: torch.Tensor  # int32 [C]: no average of two of them is one
    limits: torch.Tensor  # float32 [C], the most that a channel's magnitudes may sum to

    def __init__(self, scales: torch.Tensor, multiplier: NDArray[np.float64], residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.register_buffer("final", scales)
        self.register_buffer("multiplier", torch.from_numpy(multiplier.astype(np.int32)))
        self.register_buffer("limits", torch.from_numpy(q15.largest_sums(multiplier)))

    def forward(self, ratio: torch.Tensor, frozen: torch.Tensor) -> torch.Tensor:
        """Return the scales, float32 [C], for s_y / s_x as it is now."""
        return torch.where(frozen, self.final, self.multiplier * q15_unit(ratio, self.residual))

    def exact(self, x: QParams, y: QParams) -> NDArray[np.float32]:
        """Return the scales for these scales of input and output, computed in float64."""
        multiplier = self.multiplier.cpu().numpy().astype(np.float64)
        return (multiplier * q15_unit(y.scale / x.scale, self.residual)).astype(np.float32)

    @torch.no_grad()
    def choose(self, multiplier: NDArray[np.float64]) -> None:
        """Take another M, and the limits that follow from it."""
        self.multiplier.copy_(torch.from_numpy(multiplier.astype(np.int32)))
        self.limits.copy_(torch.from_numpy(q15.largest_sums(multiplier)))

    @torch.no_grad()
    def freeze(self, scales: NDArray[np.float32]) -> None:
        """Make these scales final."""
        self.final.copy_(torch.from_numpy(scales))


class LearnedScales(nn.Module):
    """Scales by tensor and by layer. All that changes is a parameter or a buffer, and always there.

    Args:
        graph: its layers.
        spec: what they begin with; its zero points and accumulators stay.
    """

    frozen: torch.Tensor  # bool scalar: whether every scale is final

    def __init__(self, graph: Graph, spec: QuantSpec) -> None:
        super().__init__()
        self._layers = {op.name: op for op in layers_of(graph)}
        self._epilogues = {op.name: graph.epilogue(op) for op in layers_of(graph)}
        self._accumulators = dict(spec.accumulators)
        self._notes = spec.notes
        self._names = tuple(spec.activations)
        self._owners = {name: owner for name, owner in scale_owners(graph).items() if owner in spec.activations}
        self.register_buffer("frozen", torch.tensor(False))
        self.activation = nn.ModuleDict(
            {key(name): ActivationScale(q) for name, q in spec.activations.items() if name not in self._owners}
        )
        self._activation(INPUT).requires_grad_(False)  # it belongs to the images, not to the network
        self.weight = nn.ModuleDict()
        for name, values in spec.weight_scales.items():
            scales = torch.tensor(np.asarray(values, np.float32))
            self.weight[key(name)] = (
                Int16WeightScales(scales, self._multiplier(name, values), self._epilogues[name].residual is not None)
                if spec.accumulators.get(name) == "int16"
                else Int32WeightScales(scales)
            )

    def quantize(self, tensor: str, value: torch.Tensor, relu: bool) -> torch.Tensor:
        """Return a tensor quantized and dequantized, or as it is where it has no scale.

        Args:
            tensor: its name.
            value: float32 [N, C, H, W], before a ReLU if there is one.
            relu: whether there is.
        """
        return self._activation(tensor)(value, relu, self.frozen) if tensor in self._names else value

    def share(self, tensor: str, other: str) -> bool:
        """Return whether two tensors have one scale."""
        return self._activation(tensor) is self._activation(other)

    def weight_scales(self, layer: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return a layer's scales, float32 [O], and the most its magnitudes may sum to in each channel, or None."""
        scales = self._weight(layer)
        if isinstance(scales, Int32WeightScales):
            return scales(self.frozen), None
        return scales(self._ratio(layer), self.frozen), scales.limits

    def qparams(self) -> dict[str, QParams]:
        """Return every tensor's scale and zero point as they are now."""
        return {name: self._qparams(name) for name in self._names}

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
            if isinstance(scales, Int16WeightScales):
                scales.choose(self._multiplier(name, self._planned(op)))

    def freeze(self, layers: Mapping[str, Layer]) -> None:
        """Make every scale final: from here on training computes with the numbers that are written.

        Parameters of scales keep gradients, of 0, as `DistributedDataParallel` expects of what it was built with.
        """
        if bool(self.frozen):
            return
        planned = self.plan(layers)
        for name, values in planned.items():
            scales = self._weight(name)
            if isinstance(scales, Int16WeightScales):
                scales.choose(self._multiplier(name, values))
            scales.freeze(values)
        for activation in self.activation.values():
            assert isinstance(activation, ActivationScale)
            activation.freeze(self.frozen)
        self.frozen.fill_(True)

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

    def _qparams(self, tensor: str) -> QParams:
        """Return a tensor's scale and zero point as they are now.

        Raises:
            UsageError: naming the tensor, when training left it no scale.
        """
        activation = self._activation(tensor)
        scale = activation.scale(self.frozen)
        try:
            return QParams(scale, activation.zero_point, activation.reach)
        except UsageError:
            raise UsageError(
                f"tensor {tensor!r}: its scale is {scale!r} after training, and int8 needs a finite number above 0; "
                "take an earlier checkpoint, or train with a lower learning rate for scales."
            ) from None

    def _weight(self, layer: str) -> Int32WeightScales | Int16WeightScales:
        module = self.weight[key(layer)]
        assert isinstance(module, Int32WeightScales | Int16WeightScales)
        return module

    def _planned(self, op: Layer) -> NDArray[np.float32]:
        """Return one layer's scales for its weights and the activation scales as they are now."""
        scales, epilogue = self._weight(op.name), self._epilogues[op.name]
        x = self._qparams(op.input)
        if isinstance(scales, Int32WeightScales):
            y = None if isinstance(op, Classifier) else self._output(op.name)
            return scales.planned(op, x, y, self.frozen)
        assert isinstance(op, Convolution)
        y, other = self._output(op.name), epilogue.residual
        if bool(self.frozen):
            return scales.exact(x, y)
        planned = plan_int16(op, x, y, None if other is None else self._qparams(other), epilogue.clamp)
        # Without a better plan the multipliers stay; the limits of the sums hold for them as well.
        return scales.exact(x, y) if planned is None else planned

    def _output(self, layer: str) -> QParams:
        """Return the scale of what a convolution writes, the add behind it included."""
        return self._qparams(self._epilogues[layer].output)

    def _multiplier(self, layer: str, scales: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the M that int16 weight scales stand for, whole numbers, float64 [C]."""
        x, y = self._qparams(self._layers[layer].input), self._output(layer)
        return np.rint(q15_multiplier(x.scale, scales, y.scale, self._epilogues[layer].residual is not None))

    @torch.no_grad()
    def _ratio(self, layer: str) -> torch.Tensor:
        """Return s_y / s_x without a gradient: the M of int16 scales is chosen, not learned."""
        source = self._activation(self._layers[layer].input)
        output = self._activation(self._epilogues[layer].output)
        return torch.exp(output.log_growth - source.log_growth) * (output.start / source.start)
