"""The part of a tensor's range that can make a difference to the network: finer steps for free.

A tensor that only functions read is limited where none of them changes its result by more than half of a step of that
result: a sigmoid tells -7 from -70 in no integer, and a SiLU hardly.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from repghost.graph.functions import evaluate
from repghost.graph.operators import Function, Graph, Operator, Step

POINTS = 4097  # at which a function is looked at, ends included; the cut is exact to 1/4096 of the range
STEPS = 255  # of the result
WORTH = POINTS // 32  # points that a cut has to take; at a steep end half a step is nothing to win


def useful_range(graph: Graph, tensor: str, low: float, high: float) -> tuple[float, float]:
    """Return the part of a range that can make a difference to the network.

    Args:
        graph: the network.
        tensor: the name of one of its tensors.
        low: its smallest value.
        high: its largest value.
    """
    ranges = [_useful_to(op, low, high) for op in graph.operators if tensor in op.inputs]
    known = [entry for entry in ranges if entry is not None]
    if not ranges or len(known) < len(ranges):
        return low, high
    return max(low, min(least for least, _ in known)), min(high, max(most for _, most in known))


def _useful_to(reader: Operator, low: float, high: float) -> tuple[float, float] | None:
    """Return the part of a range in which an operator's result depends on what it reads; None where it always does."""
    match reader:
        case Function(steps=(Step("HardSigmoid", (0,), attributes),)):
            alpha, beta = (dict(attributes).get(name, default) for name, default in (("alpha", 0.2), ("beta", 0.5)))
            return (-beta / alpha, (1 - beta) / alpha) if alpha > 0 else None
        case Function(steps=(Step("HardSwish", (0,)),)):
            return -3.0, math.inf
        case Function(steps=steps):
            return _ends_apart(steps, low, high)
    return None


def _ends_apart(steps: tuple[Step, ...], low: float, high: float) -> tuple[float, float] | None:
    """Return where a function leaves the values of its ends by half a step of its result; None for no such place."""
    points = np.linspace(low, high, POINTS)
    values = evaluate(steps, torch.from_numpy(points.astype(np.float32))).double().numpy()
    if not np.all(np.isfinite(values)):
        return None
    half = (max(values.max(), 0.0) - min(values.min(), 0.0)) / STEPS / 2
    if np.ptp(values) <= half:
        return None  # a constant
    first, last = _last_alike(values, half), POINTS - 1 - _last_alike(values[::-1], half)
    return (float(points[first]), float(points[last])) if first < last else None


def _last_alike(values: NDArray[np.float64], half: float) -> int:
    """Return the last place whose value no value before it differs from by more than `half`; 0 for a steep end."""
    apart = np.maximum(np.maximum.accumulate(values) - values, values - np.minimum.accumulate(values))
    last = int(np.flatnonzero(apart <= half)[-1])
    return last if last >= WORTH else 0
