"""Scales that float16 holds exactly, so that one set of integers serves the float32 and the float16 file alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import QParams
from calib.settings.quantspec import QuantSpec
from repghost.errors import UsageError
from repghost.graph.operators import Graph

SMALLEST = float(np.finfo(np.float16).smallest_subnormal)  # 6e-8; int8 times it is exact in float16
LARGEST = float(np.finfo(np.float16).max) / 127  # above, a dequantized value would be infinite in float16


def half_scale(scale: float) -> float:
    """Return the float16 number nearest to a scale, at least the smallest one."""
    return max(float(np.float16(scale)), SMALLEST)


def half_weight_scales(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 [O] scales rounded up to float16, so that no weight leaves [-127, 127] steps."""
    rounded = np.asarray(scales, np.float32).astype(np.float16)
    short = rounded.astype(np.float32) < scales
    rounded[short] = np.nextafter(rounded[short], np.float16(np.inf))
    return np.maximum(rounded, np.float16(SMALLEST)).astype(np.float32)


def half_spec(graph: Graph, spec: QuantSpec) -> QuantSpec:
    """Return a symmetric spec with every scale rounded to float16.

    Args:
        graph: the network.
        spec: from calibration with the policy "tensorrt".

    Raises:
        UsageError: for a zero point other than 0, or a range float16 cannot hold.
    """
    for name in graph.names():
        qparams = spec.activations.get(name)
        if qparams is not None and qparams.zero_point:
            raise UsageError(
                f"tensor {name!r} has zero point {qparams.zero_point}; TensorRT takes only 0. "
                "Calibrate with the policy 'tensorrt'."
            )
        if qparams is not None and qparams.scale > LARGEST:
            raise UsageError(
                f"tensor {name!r} reaches {127 * qparams.scale:.3g}, float16 ends at {127 * LARGEST:.5g}; the network "
                "cannot run in fp16. Check the checkpoint and the calibration pictures."
            )
    activations = {name: QParams(half_scale(q.scale), 0) for name, q in spec.activations.items()}
    weights = {name: half_weight_scales(scales) for name, scales in spec.weight_scales.items()}
    return QuantSpec(activations, weights, spec.accumulators, spec.notes)
