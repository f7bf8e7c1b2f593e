"""Bias correction "auto": corrected biases are kept where they bring predictions nearer to the float network's.

Networks differ: where clamps and depthwise layers shift means (MobileNetV2), the correction halves the divergence;
where int8 changes nearly nothing it adds noise. Predictions are compared on images that correct nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from calib.analysis.sensitivity import mean_divergence
from calib.ptq.bias_correction import correct_biases
from calib.settings.quantspec import QuantSpec
from calib.simulate.float32 import SimulatedNetwork
from repghost.graph.operators import Graph
from repghost.graph.run import run_float

FEWEST = 16  # images: with fewer, nothing is corrected
MOST_CORRECTING = 64  # images: on MobileNetV2, 32 left 0.0144 nats and 83 left 0.0139
MOST_COMPARED = 32
MOST_PIXELS = 1 << 21  # of the images that correct, and half as many of those that are compared
KEPT = 0.9  # of the divergence: corrected biases have to leave less, because a smaller change of a few images is chance


def images_used(pixels: int) -> int:
    """Return how many images of so many pixels `correct_where_nearer` reads at most."""
    return sum(_parts(2 * MOST_CORRECTING, pixels))


def correct_where_nearer(graph: Graph, spec: QuantSpec, images: NDArray[np.float32]) -> tuple[Graph, str | None]:
    """Return the graph with corrected biases and a note of what they bring, or the graph itself and None.

    Args:
        graph: the float network, perhaps equalized.
        spec: its scales.
        images: float32 [N, C, H, W], normalized; `images_used` of them are read.
    """
    if len(images) < FEWEST:
        return graph, None
    correcting, compared = _parts(len(images), images.shape[2] * images.shape[3])
    others = torch.from_numpy(np.ascontiguousarray(images[correcting : correcting + compared]))
    corrected = correct_biases(graph, spec, images[:correcting])
    real = run_float(graph, others)
    before, after = (mean_divergence(real, SimulatedNetwork(it, spec)(others)) for it in (graph, corrected))
    if not after < KEPT * before:
        return graph, None
    return corrected, (
        f"corrected biases bring the answers nearer to float's, from {before:.4f} to {after:.4f} nats on {compared} "
        "pictures, and were kept"
    )


def _parts(images: int, pixels: int) -> tuple[int, int]:
    """Return how many images correct and how many are compared."""
    correcting = min(images // 2, MOST_CORRECTING, max(FEWEST // 2, MOST_PIXELS // pixels))
    compared = min(images - correcting, MOST_COMPARED, max(FEWEST // 2, MOST_PIXELS // 2 // pixels))
    return correcting, compared
