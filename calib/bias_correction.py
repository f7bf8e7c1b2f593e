"""Bias correction: each layer's mean output is that of the float network again.

Rounded weights and clipped activations shift a layer's mean. A convolution is linear, so its mean output follows from
the mean input picture, and the shift can be taken out of the bias exactly, layer after layer, each with the inputs
that the corrected layers before it really give (Nagel et al. 2019, section 4.2, by pictures).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from calib import lower
from calib.fakequant import ExactNetwork
from calib.graph import INPUT, Classifier, Convolution, Graph, Operator
from calib.program import Tensor
from calib.qparams import INT8_MAX, INT8_MIN, quantize_weights
from calib.quantspec import QuantSpec
from calib.walk import run_operator

MOST_PIXELS = 4 << 20  # of all pictures together; the tensors that are alive at a time stay within a gigabyte


@torch.no_grad()
def correct_biases(graph: Graph, spec: QuantSpec, pictures: NDArray[np.float32]) -> Graph:
    """Return the graph with the biases that keep every layer's mean output where the float network has it.

    Args:
        graph: from `calib.walk.graph_of`, perhaps equalized.
        spec: from `calib.calibrate.calibrate`; it stays as it is.
        pictures: float32 [N, C, H, W], normalized; as many are used as fit memory.
    """
    count = max(1, MOST_PIXELS // (pictures.shape[2] * pictures.shape[3]))
    x = torch.from_numpy(np.ascontiguousarray(pictures[:count], np.float32))
    network = ExactNetwork(graph, spec)
    readers = Counter(name for op in graph.operators if not network.is_fused(op.name) for name in network.reads(op))
    real, exact = {INPUT: x}, {INPUT: network.quantize_input(x)}
    corrected: list[Operator] = []
    for op in graph.operators:
        changed = op
        if isinstance(op, Convolution | Classifier):
            changed = _corrected(op, graph, spec, real[op.input], exact[op.input])
            network.replace_layer(changed)
        corrected.append(changed)
        real[op.name] = run_operator(op, real)
        if network.is_fused(op.name):
            continue  # runs as part of the add, which needs the inputs of both
        exact[op.name] = network.run_operator(op, exact)
        for name in network.reads(op):
            readers[name] -= 1
            if not readers[name]:
                real.pop(name, None)
                exact.pop(name, None)
    return replace(graph, operators=tuple(corrected))


def _corrected(
    op: Convolution | Classifier, graph: Graph, spec: QuantSpec, real: torch.Tensor, exact: torch.Tensor
) -> Convolution | Classifier:
    """Return the layer with its corrected bias, or as it was where the new bias would not fit its accumulator."""
    qparams, scales = spec.activations[op.input], spec.weight_scales[op.name]
    column = scales.reshape((-1,) + (1,) * (op.weight.ndim - 1)).astype(np.float64)
    weight = quantize_weights(op.weight, scales).astype(np.float64) * column
    mean_exact = (exact.double().mean(0, keepdim=True) - qparams.zero_point) * qparams.scale
    shift = _mean_output(op, op.weight.astype(np.float64), real.double().mean(0, keepdim=True))
    shift = shift - _mean_output(op, weight, mean_exact)
    changed = replace(op, bias=(op.bias + shift.numpy()).astype(np.float32))
    return changed if _fits(changed, graph, spec) else op


def _mean_output(op: Convolution | Classifier, weight: NDArray[np.float64], x: torch.Tensor) -> torch.Tensor:
    """Return the mean over all positions of what a layer makes of a mean picture, without its bias, [O]."""
    if isinstance(op, Classifier):
        return F.linear(x.flatten(1), torch.from_numpy(weight))[0]
    return F.conv2d(x, torch.from_numpy(weight), None, op.stride, op.padding, groups=op.groups).mean((0, 2, 3))


def _fits(op: Convolution | Classifier, graph: Graph, spec: QuantSpec) -> bool:
    """Return whether a layer planned for int16 still fits it; int32 has room for any bias that calibration allowed."""
    if not isinstance(op, Convolution) or spec.accumulators.get(op.name) != "int16":
        return bool(np.all(np.isfinite(op.bias)))
    add = graph.fused_adds().get(op.name)
    x, y = spec.activations[op.input], spec.activations[op.name if add is None else add.name]
    scales = spec.weight_scales[op.name]
    residual = None if add is None else Tensor(add.other, 1, 1, len(scales), spec.activations[add.other])
    low = max(INT8_MIN, y.zero_point) if op.relu else INT8_MIN
    weight = quantize_weights(op.weight, scales)[:, 0]
    lowered = lower.lower_q15(
        weight, op.bias, x.scale, x.zero_point, scales, y.scale, y.zero_point, low, INT8_MAX, residual
    )
    return lowered is not None
