"""The scales of a quantized network while they learn, and the moment they become final.

Activation scales and the weight scales of int32 layers are parameters, as logarithms. The weight scales of int16
layers follow from theirs and an integer multiplier M (see `planning`), which is chosen again now and then; the sum of
each channel's int8 magnitudes is limited in every step, so that no accumulator can ever leave int16.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calib.integer.qparams import INT8_MAX, INT8_MIN, Q15_ADD_SHIFT, Q15_SHIFT, QParams
from calib.qat.weights import Layer, key, layers_of
from calib.settings.quantspec import QuantSpec
from calib.weight_scales import planning as q15
from calib.weight_scales.int16 import plan_int16
from repghost.graph.operators import INPUT, Classifier, Convolution, Graph


@dataclass(frozen=True)
class Wiring:
    """Which tensors a layer's scales belong to.

    Attributes:
        input: read by the layer.
        output: what its epilogue makes, the add behind it included; None for the classifier.
        residual: the other tensor of that add.
    """

    input: str
    output: str | None
    residual: str | None


def wiring_of(graph: Graph) -> dict[str, Wiring]:
    """Return the tensors of every layer."""
    adds = graph.fused_adds()
    result = {}
    for op in layers_of(graph):
        add = adds.get(op.name)
        output = None if isinstance(op, Classifier) else op.name if add is None else add.name
        result[op.name] = Wiring(op.input, output, None if add is None else add.other)
    return result


class LearnedScales(nn.Module):
    """Scales by tensor and by layer.

    Args:
        graph: its layers.
        spec: what they begin with; its zero points and accumulators stay.
    """

    def __init__(self, graph: Graph, spec: QuantSpec) -> None:
        super().__init__()
        self.wiring = wiring_of(graph)
        self.zero_points = {name: qparams.zero_point for name, qparams in spec.activations.items()}
        self.int16 = frozenset(name for name, kind in spec.accumulators.items() if kind == "int16")
        self._accumulators = dict(spec.accumulators)
        self._notes = spec.notes
        self._final: dict[str, NDArray[np.float32]] = {}
        self.frozen = False
        self.activation = nn.ParameterDict(
            {key(name): nn.Parameter(torch.tensor(math.log(q.scale))) for name, q in spec.activations.items()}
        )
        self.activation[key(INPUT)].requires_grad_(False)  # it belongs to the images, not to the network
        self.weight = nn.ParameterDict()
        for name, scales in spec.weight_scales.items():
            values = torch.from_numpy(np.asarray(scales, np.float32).copy())
            if name in self.int16:
                self._set(name, values, self._multiplier(name, scales))
            else:
                self.weight[key(name)] = nn.Parameter(values.log())

    def bounds(self, tensor: str, relu: bool) -> tuple[int, int]:
        """Return the least and the largest q - zero point of a tensor."""
        zero = self.zero_points[tensor]
        return (max(INT8_MIN, zero) if relu else INT8_MIN) - zero, INT8_MAX - zero

    def weight_scales(self, layer: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return a layer's scales, float32 [O], and the most its magnitudes may sum to in each channel, or None."""
        limits = getattr(self, f"limits:{key(layer)}") if layer in self.int16 else None
        if self.frozen:
            return getattr(self, f"scales:{key(layer)}"), limits
        if limits is None:
            return self.weight[key(layer)].exp(), None
        return getattr(self, f"multiplier:{key(layer)}") * self._unit(layer), limits

    def qparams(self) -> dict[str, QParams]:
        """Return every tensor's scale and zero point as they are now."""
        return {
            name: QParams(float(torch.exp(self.activation[key(name)].detach())), zero)
            for name, zero in self.zero_points.items()
        }

    def plan(self, layers: Mapping[str, Layer]) -> dict[str, NDArray[np.float32]]:
        """Return the weight scales to convert with: int16 ones planned for these weights, the others as learned.

        Args:
            layers: the float layers by name.
        """
        if self.frozen:
            return dict(self._final)
        qparams = self.qparams()
        return {name: self._planned(op, qparams) for name, op in layers.items()}

    def replan(self, layers: Mapping[str, Layer]) -> None:
        """Choose the int16 multipliers again, for weights and scales as they are now."""
        if self.frozen:
            return
        qparams = self.qparams()
        for name in self.int16:
            scales = self._planned(layers[name], qparams)
            self._set(name, torch.from_numpy(scales), self._multiplier(name, scales))

    def freeze(self, layers: Mapping[str, Layer]) -> None:
        """Make every scale final: from here on training computes with the numbers that are written."""
        scales = self.plan(layers)
        for name, values in scales.items():
            multiplier = self._multiplier(name, values) if name in self.int16 else None
            self._set(name, torch.from_numpy(values), multiplier)
        self._final, self.frozen = scales, True
        self.requires_grad_(False)

    def limits(self, layer: str, scales: NDArray[np.float32]) -> torch.Tensor | None:
        """Return the most a layer's magnitudes may sum to with these scales, float32 [O], or None."""
        return _limits(self._multiplier(layer, scales)) if layer in self.int16 else None

    def spec(self, scales: Mapping[str, NDArray[np.float32]]) -> QuantSpec:
        """Return the scales as calibration would have returned them."""
        return QuantSpec(self.qparams(), scales, self._accumulators, self._notes)

    def _planned(self, op: Layer, qparams: Mapping[str, QParams]) -> NDArray[np.float32]:
        """Return one layer's scales for its weights and the activation scales given."""
        wiring = self.wiring[op.name]
        x, y = qparams[wiring.input], None if wiring.output is None else qparams[wiring.output]
        if op.name in self.int16:
            assert isinstance(op, Convolution) and y is not None
            residual = None if wiring.residual is None else qparams[wiring.residual]
            planned = plan_int16(op, x, y, residual)
            # Without a better plan the multipliers stay; the limits of the sums hold for them as well.
            return self._current(op.name, qparams) if planned is None else planned
        learned = np.exp(self.weight[key(op.name)].detach().cpu().numpy())
        # For weights of 0 the plan is what the bias alone needs.
        needed = q15.plan_dense_scales(np.zeros_like(op.weight), op.bias, x.scale, 1.0 if y is None else y.scale)
        return np.maximum(learned, needed).astype(np.float32)

    def _current(self, layer: str, qparams: Mapping[str, QParams]) -> NDArray[np.float32]:
        multiplier = getattr(self, f"multiplier:{key(layer)}").cpu().numpy().astype(np.float64)
        return (multiplier * self._exact_unit(layer, qparams)).astype(np.float32)

    def _set(self, layer: str, scales: torch.Tensor, multiplier: NDArray[np.float64] | None) -> None:
        """Keep a layer's scales, its multipliers, and the limits that follow from them."""
        device = self.activation[key(INPUT)].device
        self.register_buffer(f"scales:{key(layer)}", scales.to(device))
        if multiplier is not None:
            self.register_buffer(f"multiplier:{key(layer)}", torch.tensor(multiplier, dtype=torch.float32).to(device))
            self.register_buffer(f"limits:{key(layer)}", _limits(multiplier).to(device))

    def _multiplier(self, layer: str, scales: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return M of s_w = M * s_y / (2**15 * s_x), or 2**20 with a residual."""
        return np.rint(scales.astype(np.float64) / self._exact_unit(layer, self.qparams()))

    def _exact_unit(self, layer: str, qparams: Mapping[str, QParams]) -> float:
        wiring = self.wiring[layer]
        assert wiring.output is not None
        shift = Q15_SHIFT + (0 if wiring.residual is None else Q15_ADD_SHIFT)
        return qparams[wiring.output].scale / (2.0**shift * qparams[wiring.input].scale)

    @torch.no_grad()
    def _unit(self, layer: str) -> torch.Tensor:
        """Return the weight scale that M = 1 means now, without a gradient: M is chosen, not learned."""
        wiring = self.wiring[layer]
        assert wiring.output is not None
        shift = Q15_SHIFT + (0 if wiring.residual is None else Q15_ADD_SHIFT)
        ratio = self.activation[key(wiring.output)] - self.activation[key(wiring.input)]
        return torch.exp(ratio) * 2.0**-shift


def _limits(multiplier: NDArray[np.float64]) -> torch.Tensor:
    """Return the largest sums of magnitudes that fit int16 with what the rounded offset leaves (see `planning`)."""
    step = np.ceil(2.0**Q15_SHIFT / multiplier)
    return torch.tensor(np.floor((q15.INT16_WIDTH - step) / q15.INPUT_WIDTH), dtype=torch.float32)
