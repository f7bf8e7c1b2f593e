"""Comparing implementations operator by operator, on equal inputs, where bounds hold on every CPU.

Over a whole network a last bit that rounds differently moves an integer by a step, and the operators behind it make
more of that; how much is chance. For one operator on equal inputs it is arithmetic:
- Two implementations that round one real value to integers are at most one step apart, as long as what each adds to its
  half step of rounding is less than half a step. The integer epilogues add at most M / 2**16 < 0.5 (q15) or
  256 / 2**13 + 2 / 2**12 (an add on int32), see tests/calib/integer/test_lower.py; float32 adds `float_error`.
- A float32 sum of K products, in any order and with or without fused multiply-adds, is off by at most
  K * 2**-24 / (1 - K * 2**-24) * sum(|w * x|) (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from calib.settings.quantspec import QuantSpec
from calib.simulate.float32 import dequantized_weight
from repghost.graph.canonical import EXACT_BITS
from repghost.graph.operators import Classifier, Convolution, Graph
from repghost.graph.run import convolve, float_kernels, run_operator

UNIT = 2.0**-24  # of float32, half of its epsilon
Integers = Mapping[str, NDArray[np.integer]]


def float_error(op: Convolution | Classifier, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return how far a layer's float32 output can be from its real value, its bias included, float64, of its shape."""
    terms = weight[0].numel() + 1
    bias = torch.from_numpy(np.abs(op.bias)).double()
    size = linear(op, weight.abs(), x.abs()) + bias.reshape((1, -1) + (1,) * (2 if isinstance(op, Convolution) else 0))
    return terms * UNIT / (1 - terms * UNIT) * size


def grid_error(op: Convolution | Classifier, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return how far the grids of `repghost.graph.canonical` can move a layer's output, float64, one per channel.

    Each factor moves by at most half a unit, 2**-bits of the largest of its row of weights or of its tensor.
    """
    rows = weight.flatten(1).double().abs()
    bits = (EXACT_BITS - (rows.shape[1] - 1).bit_length()) // 2
    error = 2.0 * rows.shape[1] * 2.0**-bits * rows.amax(1) * float(x.abs().max())
    if isinstance(op, Convolution):
        return torch.zeros_like(error)[:, None, None] if op.is_depthwise else error[:, None, None]
    return error


def linear(op: Convolution | Classifier, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return what a layer makes of its input in float64, without bias and ReLU."""
    if isinstance(op, Classifier):
        return F.linear(x.flatten(1).double(), weight.double())
    return convolve(op, x.double(), weight.double(), None)


def assert_within_a_step(graph: Graph, spec: QuantSpec, integers: Integers, logits: NDArray[np.float32]) -> None:
    """Assert that each operator's integers are those of its real value, computed from the integers that it read.

    Args:
        graph: the float network.
        spec: its scales; every tensor of it has integers.
        integers: q, [N, C, H, W], by tensor, of the implementation under test.
        logits: what it gave, float32 [N, classes].
    """
    layers = [op for op in graph.operators if isinstance(op, Convolution | Classifier)]
    kernels = float_kernels({op.name: dequantized_weight(op, spec.weight_scales[op.name]) for op in layers})
    real = {
        name: torch.from_numpy(
            (q.astype(np.float32) - spec.activations[name].zero_point) * np.float32(spec.activations[name].scale)
        )
        for name, q in integers.items()
    }
    for op in graph.operators:
        value = run_operator(op, kernels, real)
        if isinstance(op, Classifier):
            weight = dequantized_weight(op, spec.weight_scales[op.name])
            step = spec.activations[op.input].scale * torch.from_numpy(spec.weight_scales[op.name]).double()
            # The bias is rounded to a step of the accumulator; sums and logits are rounded on both sides.
            allowed = step / 2 + 2 * float_error(op, weight, real[op.input])
            assert bool(((value - torch.from_numpy(logits)).abs() <= allowed).all())
        elif op.name in spec.activations:
            qparams = spec.activations[op.name]
            steps = torch.round(value.double() / qparams.scale) + qparams.zero_point
            difference = np.abs(steps.clamp(-128, 127).numpy() - integers[op.name])
            assert difference.max() <= 1, op.name
        else:
            real[op.name] = value  # what the add behind takes
