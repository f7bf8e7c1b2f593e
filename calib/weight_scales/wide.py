"""How far each int16 tensor may reach, so that no accumulator of a layer that reads it can leave int32."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from math import prod

from calib.integer.qparams import INT32_MAX, WIDEST, accumulator_range, integer_bias, quantize_weights
from calib.settings.config import QuantConfig
from calib.settings.policy import scale_owners
from calib.settings.quantspec import QuantSpec
from calib.settings.wide import wide_tensors
from calib.weight_scales.planning import plan_reach
from repghost.graph.operators import AveragePool, Classifier, Convolution, Graph, Layer, Operator


def plan_reaches(graph: Graph, config: QuantConfig, clipped: Collection[str] = ()) -> dict[str, int]:
    """Return the reach of every int16 tensor: the least that one of its readers allows, or of what shares its scale.

    Args:
        graph: from `calib.settings.wide.widened`.
        config: its settings.
        clipped: layers of which any weight may be 127 (see `plan_reach`).
    """
    wide, owners = wide_tensors(graph, config), scale_owners(graph)
    shared = {name: owners.get(name, name) for name in wide}
    reaches = dict.fromkeys(shared.values(), WIDEST)
    for op in graph.operators if wide else ():
        for name in wide.intersection(op.inputs):
            reaches[shared[name]] = min(reaches[shared[name]], _allowed(op, config, op.name in clipped))
    return {name: reaches[owner] for name, owner in shared.items()}


def _allowed(op: Operator, config: QuantConfig, clipped: bool) -> int:
    if isinstance(op, Convolution | Classifier):
        return plan_reach(op.weight, config.settings(op.name).weight_range, clipped)
    return min(WIDEST, INT32_MAX // prod(op.size)) if isinstance(op, AveragePool) else WIDEST


def overflowing(graph: Graph, spec: QuantSpec) -> set[str]:
    """Return the layers that read int16 and whose accumulators could leave int32 with their scales."""
    return {op.name for op in graph.layers() if op.name in spec.weight_scales and _overflows(op, spec)}


def _overflows(op: Layer, spec: QuantSpec) -> bool:
    x, scales = spec.activations[op.input], spec.weight_scales[op.name]
    if not x.is_wide:
        return False
    weight = quantize_weights(op.weight, scales)
    start = integer_bias(op.bias, x.scale, x.zero_point, scales, weight)
    least, most = accumulator_range(weight, start, x.low, x.high)
    return bool(max(-least.min(), most.max()) > INT32_MAX)


def bits_notes(graph: Graph, reaches: Mapping[str, int]) -> list[str]:
    """Return a sentence for each layer that reads int16 of fewer than 16 bits, so that its sums stay inside int32."""
    read = [(op, reaches[op.input]) for op in graph.layers() if op.input in reaches]
    return [
        f"{op.name}: {op.input} has {math.log2(2 * reach):.1f} of 16 bits, so that no sum leaves int32; the largest "
        f"sums of this layer are of {op.weight[0].size} products"
        for op, reach in read
        if reach < WIDEST
    ]
