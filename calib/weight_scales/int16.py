"""Depthwise layers with int16 accumulators: whether one fits, and the weight scales with which it does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.integer.lower import IntegerLayer, LayerOutput, lower_q15
from calib.integer.program import Tensor
from calib.integer.qparams import INT8_MIN, Q15_ADD_SHIFT, Q15_SHIFT, QParams, quantize_weights
from calib.settings.quantspec import QuantSpec
from calib.weight_scales import planning as q15
from repghost.graph.operators import Convolution, Graph


def plan_int16(layer: Convolution, x: QParams, y: QParams, residual: QParams | None) -> NDArray[np.float32] | None:
    """Return weight scales with which `calib.integer.lower.lower_q15` provably works for a depthwise layer, or None.

    Args:
        layer: a depthwise convolution.
        x: of its input.
        y: of its output, or of the add behind it.
        residual: of the other tensor of that add.
    """
    scales = q15.plan_scales(layer.weight[:, 0], x.scale, y.scale, residual is not None)
    return scales if scales is not None and _fits(layer, scales, x, y, residual) else None


def fits_int16(layer: Convolution, graph: Graph, spec: QuantSpec) -> bool:
    """Return whether a depthwise layer fits int16 accumulators with its present weights and bias, for every input.

    Args:
        layer: perhaps with other numbers than in `graph`.
        graph: says which add is the layer's epilogue.
        spec: has the scales.
    """
    add = graph.fused_adds().get(layer.name)
    output = spec.activations[layer.name if add is None else add.name]
    residual = None if add is None else spec.activations[add.other]
    return _fits(layer, spec.weight_scales[layer.name], spec.activations[layer.input], output, residual)


def magnitude_limits(layer: Convolution, graph: Graph, spec: QuantSpec) -> NDArray[np.float32]:
    """Return the most that the int8 magnitudes of each channel may sum to, float32 [C] (see `planning.py`)."""
    add = graph.fused_adds().get(layer.name)
    output = spec.activations[layer.name if add is None else add.name].scale
    shift = Q15_SHIFT + (0 if add is None else Q15_ADD_SHIFT)
    unit = output / (2.0**shift * spec.activations[layer.input].scale)
    multiplier = np.rint(spec.weight_scales[layer.name].astype(np.float64) / unit)
    room = q15.INT16_WIDTH - np.ceil(2.0**Q15_SHIFT / multiplier)
    return np.floor(room / q15.INPUT_WIDTH).astype(np.float32)


def _fits(layer: Convolution, scales: NDArray[np.float32], x: QParams, y: QParams, residual: QParams | None) -> bool:
    other = None if residual is None else Tensor("residual", 1, 1, len(scales), residual)
    quantized = IntegerLayer(layer.name, quantize_weights(layer.weight, scales), layer.bias, scales, x)
    output = LayerOutput(y, y.zero_point if layer.relu else INT8_MIN, residual=other)
    return lower_q15(quantized, output) is not None
