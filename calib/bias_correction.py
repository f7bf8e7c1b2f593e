"""Bias correction: each layer's mean output is that of the float network again.

Rounded weights and clipped activations shift a layer's mean. The shift is taken out of the bias, layer after layer,
each with the inputs that the corrected layers before it really give (Nagel et al. 2019, section 4.2, by pictures).

A plain mean over the pictures does harm: a few of 512 make activations a hundred times as large as the others do,
their clipping is most of the mean, and every other picture pays for it. So each picture has its own shift, and the
mean is that of the middle ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from calib.fakequant import ExactNetwork
from calib.graph import INPUT, Classifier, Convolution, Graph, Operator
from calib.int16 import fits_int16
from calib.qparams import quantize_weights
from calib.quantspec import QuantSpec
from calib.walk import run_operator

TRIMMED = 0.1  # of the pictures, at each end
STEP = 32  # pictures through a layer at a time
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
    column = scales.reshape((-1,) + (1,) * (op.weight.ndim - 1))
    weight = quantize_weights(op.weight, scales).astype(np.float32) * column
    dequantized = (exact - qparams.zero_point).to(torch.float32) * qparams.scale
    shift = _mean_outputs(op, op.weight, real) - _mean_outputs(op, weight, dequantized)
    changed = replace(op, bias=(op.bias + trimmed_mean(shift).numpy()).astype(np.float32))
    return changed if _fits(changed, graph, spec) else op


def _mean_outputs(op: Convolution | Classifier, weight: NDArray[np.float32], x: torch.Tensor) -> torch.Tensor:
    """Return the mean over all positions of what a layer makes of each picture, without its bias, float64 [N, O]."""
    if isinstance(op, Classifier):
        return F.linear(x.flatten(1), torch.from_numpy(weight)).double()
    parts = [
        F.conv2d(part, torch.from_numpy(weight), None, op.stride, op.padding, groups=op.groups).mean((2, 3))
        for part in x.split(STEP)
    ]
    return torch.cat(parts).double()


def trimmed_mean(values: torch.Tensor) -> torch.Tensor:
    """Return the mean over axis 0 without the TRIMMED share of the smallest and of the largest values.

    Args:
        values: float64 [N, O].
    """
    left_out = int(TRIMMED * len(values))
    ordered = values.sort(dim=0).values
    return ordered[left_out : len(values) - left_out].mean(0)


def _fits(op: Convolution | Classifier, graph: Graph, spec: QuantSpec) -> bool:
    """Return whether a layer planned for int16 still fits it; int32 has room for any bias that calibration allowed."""
    if isinstance(op, Convolution) and spec.accumulators.get(op.name) == "int16":
        return fits_int16(op, graph, spec)
    return bool(np.all(np.isfinite(op.bias)))
