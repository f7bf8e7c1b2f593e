"""Bias correction: each layer's mean output is that of the float network again.

Rounded weights and clipped activations shift a layer's mean. The shift is subtracted from the bias, layer after layer,
each on the outputs of the corrected layers before it (Nagel et al. 2019, section 4.2, from images).

The mean is a trimmed one, over images and positions. A plain mean does harm: at a few positions of a few images in a
hundred, activations are a hundred times as large as elsewhere; their clipping makes up most of a plain mean, and the
correction would shift all other images by it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from calib.ptq.blocks import numbers_of
from calib.settings.quantspec import QuantSpec
from calib.simulate.float32 import dequantized_weight, simulation_kernels, through_int8
from calib.weight_scales.int16 import fits_int16
from repghost.graph import canonical
from repghost.graph.operators import INPUT, Classifier, Convolution, Graph, Operator
from repghost.graph.run import FLOAT, run
from repghost.graph.shapes import shapes_of

TRIMMED = 0.1  # of the values, at each end
POSITIONS = 16  # sampled in each image, evenly spread
STEP = 32  # images through a layer at a time
MOST_PIXELS = 4 << 20  # of all images together
MOST_NUMBERS = 50 << 20  # of one operator's products, all images together; what is alive stays within some gigabytes


class _Pair(NamedTuple):
    """One tensor, float32 [N, C, H, W], in the float network and in the corrected quantized one."""

    real: torch.Tensor
    quantized: torch.Tensor


@torch.no_grad()
def correct_biases(graph: Graph, spec: QuantSpec, images: NDArray[np.float32]) -> Graph:
    """Return the graph with the biases that keep every layer's mean output where the float network has it.

    Args:
        graph: the float network, perhaps equalized.
        spec: from `calib.ptq.calibrate.calibrate`; it stays as it is.
        images: float32 [N, C, H, W], normalized; as many are used as fit memory.
    """
    size = (images.shape[2], images.shape[3])
    shapes = shapes_of(graph, size)
    largest = max(numbers_of([op], shapes) for op in graph.operators)
    count = max(1, min(MOST_PIXELS // math.prod(size), MOST_NUMBERS // largest))
    x = torch.from_numpy(np.ascontiguousarray(images[:count], np.float32))
    corrected: list[Operator] = []

    def compute(op: Operator, *inputs: _Pair) -> _Pair:
        """Correct a layer by what both networks give it, and run the operator in both."""
        changed, weights = op, {}
        if isinstance(op, Convolution | Classifier) and op.name in spec.weight_scales:
            weights[op.name] = dequantized_weight(op, spec.weight_scales[op.name])
            changed = _corrected(op, graph, spec, weights[op.name], *inputs[0])
        corrected.append(changed)
        real = FLOAT[type(op)](op, *(pair.real for pair in inputs))
        simulate = simulation_kernels(spec, weights)[type(op)]
        return _Pair(real, simulate(changed, *(pair.quantized for pair in inputs)))

    run(graph, dict.fromkeys(FLOAT, compute), _Pair(x, through_int8(x, spec.activations.get(INPUT))))
    return replace(graph, operators=tuple(corrected))


def _corrected(
    op: Convolution | Classifier,
    graph: Graph,
    spec: QuantSpec,
    weight: torch.Tensor,
    real: torch.Tensor,
    seen: torch.Tensor,
) -> Convolution | Classifier:
    """Return the layer with its corrected bias, or as it was where the new bias would not fit its accumulator."""
    parts = zip(real.split(STEP), seen.split(STEP), strict=True)
    shifts = [_sample(op, torch.from_numpy(op.weight), a) - _sample(op, weight, b) for a, b in parts]
    bias = (op.bias + trimmed_mean(torch.cat(shifts)).numpy()).astype(np.float32)
    if isinstance(op, Convolution) and spec.accumulators.get(op.name) == "int16":
        changed = replace(op, bias=bias)
        return changed if fits_int16(changed, graph, spec) else op
    return replace(op, bias=bias)


def _sample(op: Convolution | Classifier, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return a layer's output without its bias at some positions, float64 [N * positions, O]."""
    if isinstance(op, Classifier):
        return canonical.classify(x, weight, None).double()
    y = canonical.convolve(x, weight, None, op.strides, op.pads, op.dilations, op.groups).flatten(2)
    # A step that shares no factor with the width of a map goes through its columns too.
    step = max(1, y.shape[2] // POSITIONS) | 1
    return y[:, :, ::step].permute(0, 2, 1).flatten(0, 1).double()


def trimmed_mean(values: torch.Tensor) -> torch.Tensor:
    """Return the mean over axis 0 without the TRIMMED share of the smallest and of the largest values.

    Args:
        values: float64 [N, O].
    """
    left_out = int(TRIMMED * len(values))
    ordered = values.sort(dim=0).values.numpy()
    # numpy adds in an order that only the layout decides, PyTorch in one of the machine.
    return torch.from_numpy(ordered[left_out : len(values) - left_out].mean(axis=0))
