"""How far the class probabilities of one network are from those of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def divergence(real: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the Kullback-Leibler divergence of probabilities from those of `real`, in nats, mean over images.

    Args:
        real: scores of the float network, float32 [N, classes].
        other: scores of another one, float32 [N, classes].
    """
    p, q = _log_probabilities(real), _log_probabilities(other)
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def _log_probabilities(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
