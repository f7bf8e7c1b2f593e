"""Formulas of tables: an int8 program keeps 256 integers of a function, and its float form needs the function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calib.integer.functions import EVERY, evaluate
from calib.integer.program import Lookup
from calib.integer.qparams import QParams, dequantize
from repghost.graph.formulas import FORMULAS
from repghost.graph.operators import Step

RELU = (Step("Relu", (0,)),)
KNOWN = (RELU, *FORMULAS.values())
TABLE_STEPS = 1  # by which a table may differ from the function it is recognized as
NEAR_STEPS = 1  # by which lines may pass the points of a table, each of which was rounded by up to a half


def only_rescales(op: Lookup) -> bool:
    """Return whether a table stands for the same real number in another scale, as before a concatenation."""
    return _differs_by(op, ()) <= TABLE_STEPS


def formula_of(op: Lookup) -> tuple[Step, ...]:
    """Return the formula of a table of 256: a usual one, or else lines between as few of its points as will do."""
    nearest = min(KNOWN, key=lambda formula: _differs_by(op, formula))
    if _differs_by(op, nearest) <= TABLE_STEPS:
        return nearest
    near = NEAR_STEPS * float(np.float32(op.output.qparams.scale))
    return lines(dequantize(EVERY, op.input.qparams), dequantize(op.table, op.output.qparams), near)


def _differs_by(op: Lookup, formula: tuple[Step, ...]) -> float:
    """Return the largest difference of a table from that of a formula, in steps of the output."""
    real = evaluate(formula, dequantize(EVERY, op.input.qparams))
    return float(np.abs(_quantized(real, op.output.qparams) - op.table).max())


def _quantized(values: NDArray[np.float32], qparams: QParams) -> NDArray[np.float64]:
    return np.clip(np.rint(values / np.float64(qparams.scale)) + qparams.zero_point, -128, 127)


def lines(x: NDArray[np.float32], y: NDArray[np.float32], near: float) -> tuple[Step, ...]:
    """Return the formula of connected lines through points: a first line, and at each knot what its slope changes by.

    Args:
        x: float32 [N], ascending.
        y: float32 [N].
        near: how far a line may pass a point by.
    """
    knots, slopes = _segments(x.astype(np.float64), y.astype(np.float64), near)
    steps = [Step("Sub", (0, knots[0])), Step("Mul", (1, slopes[0])), Step("Add", (2, float(y[0])))]
    for knot, change in zip(knots[1:], np.diff(slopes), strict=True):
        total = len(steps)
        steps += [Step("Sub", (0, knot)), Step("Relu", (total + 1,)), Step("Mul", (total + 2, float(change)))]
        steps.append(Step("Add", (total, total + 3)))
    return tuple(steps)


def _segments(x: NDArray[np.float64], y: NDArray[np.float64], near: float) -> tuple[list[float], list[float]]:
    """Return where each line begins and its slope: each goes on as long as one slope leads near every point."""
    knots, slopes, height = [float(x[0])], list[float](), float(y[0])
    least, most = -np.inf, np.inf
    for index in range(1, len(x)):
        along = x[index] - knots[-1]
        low, high = (y[index] - near - height) / along, (y[index] + near - height) / along
        if low > most or high < least:
            slopes.append(float(least + most) / 2)
            height += slopes[-1] * (x[index - 1] - knots[-1])
            knots.append(float(x[index - 1]))
            along = x[index] - knots[-1]
            low, high = (y[index] - near - height) / along, (y[index] + near - height) / along
            least, most = low, high
        least, most = max(least, low), min(most, high)
    slopes.append(float(least + most) / 2)
    return knots, slopes
