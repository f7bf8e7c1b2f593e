"""Depthwise layers with int16 accumulators: whether one fits, and the weight scales with which it does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.integer.lower import IntegerLayer, LayerOutput, integer_bounds, lower_q15
from calib.integer.qparams import QParams, q15_multiplier, quantize_weights
from calib.integer.values import Tensor
from calib.settings.quantspec import QuantSpec
from calib.weight_scales import planning as q15
from repghost.graph.operators import Clamp, Convolution, Graph


def plan_int16(
    layer: Convolution, x: QParams, y: QParams, residual: QParams | None, clamp: Clamp
) -> NDArray[np.float32] | None:
    """Return weight scales with which `calib.integer.lower.lower_q15` provably works for a depthwise layer, or None.

    Args:
        layer: a depthwise convolution.
        x: of its input.
        y: of its output, or of the add behind it.
        residual: of the other tensor of that add.
        clamp: of the layer, or of that add.
    """
    scales = q15.plan_scales(layer.weight[:, 0], x.scale, y.scale, residual is not None)
    return scales if scales is not None and _fits(layer, scales, x, y, residual, clamp) else None


def fits_int16(layer: Convolution, graph: Graph, spec: QuantSpec) -> bool:
    """Return whether a depthwise layer fits int16 accumulators with its present weights and bias, for every input.

    Args:
        layer: perhaps with other numbers than in `graph`.
        graph: says which add is the layer's epilogue.
        spec: has the scales.
    """
    epilogue = graph.epilogue(layer)
    residual = None if epilogue.residual is None else spec.activations[epilogue.residual]
    output = spec.activations[epilogue.output]
    return _fits(layer, spec.weight_scales[layer.name], spec.activations[layer.input], output, residual, epilogue.clamp)


def magnitude_limits(layer: Convolution, graph: Graph, spec: QuantSpec) -> NDArray[np.float32]:
    """Return the most that the int8 magnitudes of each channel may sum to, float32 [C] (`planning.largest_sums`)."""
    epilogue = graph.epilogue(layer)
    x, y = spec.activations[layer.input], spec.activations[epilogue.output]
    scales = spec.weight_scales[layer.name]
    return q15.largest_sums(np.rint(q15_multiplier(x.scale, scales, y.scale, epilogue.residual is not None)))


def _fits(
    layer: Convolution, scales: NDArray[np.float32], x: QParams, y: QParams, residual: QParams | None, clamp: Clamp
) -> bool:
    other = None if residual is None else Tensor("residual", 1, 1, len(scales), residual)
    quantized = IntegerLayer(layer.name, quantize_weights(layer.weight, scales), layer.bias, scales, x)
    output = LayerOutput(y, *integer_bounds(clamp, y), other)
    return lower_q15(quantized, output) is not None
