"""The centre tap of fused depthwise kernels: how much larger it is, and what that leaves to the other weights.

Fusion adds the identity branch to the middle of a 3x3 kernel, so one weight of nine is far larger than the others and
sets the scale of its channel. `python -m benchmarks.centre_tap CKPT` prints what follows for a checkpoint.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import WEIGHT_MAX, quantize_weights
from calib.weight_scales.planning import INPUT_WIDTH, INT16_WIDTH, plan_dense_scales
from repghost.graph.operators import Convolution, Graph


@dataclass(frozen=True)
class CentreTap:
    """One depthwise 3x3 layer; medians over its channels.

    Attributes:
        layer: its name.
        ratio: the centre's magnitude over the largest of the eight others.
        steps: the int8 magnitude of the largest other weight, of at most 127, where the largest weight is 127.
        noise_db: power of the weights over that of their int8 rounding, over the whole layer, in dB.
        other_noise_db: the same of the eight others alone.
        int16_steps: the int8 magnitude of the largest other weight where an int16 accumulator bounds the sum of all.
    """

    layer: str
    ratio: float
    steps: float
    noise_db: float
    other_noise_db: float
    int16_steps: float


def centre_taps(graph: Graph) -> tuple[CentreTap, ...]:
    """Return a row for each depthwise 3x3 layer."""
    return tuple(
        centre_tap(op.name, op.weight[:, 0])
        for op in graph.operators
        if isinstance(op, Convolution) and op.is_depthwise and op.weight.shape[2:] == (3, 3)
    )


def centre_tap(layer: str, weight: NDArray[np.float32]) -> CentreTap:
    """Return the row of one kernel, float32 [C, 3, 3]; channels without any weight are left out."""
    flat = weight.reshape(len(weight), 9).astype(np.float64)
    flat = flat[np.abs(flat).max(axis=1) > 0]
    others = np.delete(flat, 4, axis=1)
    largest_other = np.abs(others).max(axis=1)
    scales = plan_dense_scales(flat.astype(np.float32), np.zeros(len(flat), np.float32), 1.0, 1.0)
    column = scales.astype(np.float64)
    error = quantize_weights(flat.astype(np.float32), scales).astype(np.float64) * column[:, None] - flat
    bounded = np.maximum(column, np.abs(flat).sum(axis=1) * INPUT_WIDTH / INT16_WIDTH)
    return CentreTap(
        layer=layer,
        ratio=float(np.median(np.abs(flat[:, 4]) / np.maximum(largest_other, np.finfo(np.float64).tiny))),
        steps=float(np.median(largest_other / column)),
        noise_db=_decibels(flat, error),
        other_noise_db=_decibels(others, np.delete(error, 4, axis=1)),
        int16_steps=float(np.median(largest_other / bounded)),
    )


def _decibels(signal: NDArray[np.float64], noise: NDArray[np.float64]) -> float:
    return float(10.0 * np.log10(np.square(signal).sum() / max(np.square(noise).sum(), np.finfo(np.float64).tiny)))


def main(path: Path) -> None:
    """Print the rows of a checkpoint, and their medians."""
    from repghost.checkpoints.checkpoint import load_model
    from repghost.graph.trace import graph_of
    from repghost.network.fuse import fuse

    rows = centre_taps(graph_of(fuse(load_model(path))))
    print(f"{'layer':32} {'ratio':>7} {'steps':>6} {'int16':>6} {'noise dB':>9} {'others dB':>9}")
    for row in rows:
        print(
            f"{row.layer:32} {row.ratio:7.2f} {row.steps:6.1f} {row.int16_steps:6.1f} {row.noise_db:9.1f} "
            f"{row.other_noise_db:9.1f}"
        )
    medians = [float(np.median([vars(row)[key] for row in rows])) for key in list(vars(rows[0]))[1:]]
    ratio, steps, noise, other, int16 = medians
    print(f"{f'median of {len(rows)} layers':32} {ratio:7.2f} {steps:6.1f} {int16:6.1f} {noise:9.1f} {other:9.1f}")
    print(f"steps are of {WEIGHT_MAX}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
