"""Programs with the shapes of real networks and invented numbers: nothing is measured, so any width takes a moment."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.integer.program import Operator, Program
from calib.integer.values import Tensor
from tests.support.programs import _Builder, append_network


class _ShapeBuilder(_Builder):
    """Appends operators without running them; every tensor is said to reach from -1 to 1."""

    def _append(self, operator: Operator) -> Tensor:
        self.operators.append(operator)
        self.tensors[operator.output.name] = np.array([-128, 127], np.int8).reshape(1, 2, 1, 1)
        return operator.output

    def _measure(self, draft: Any, scales: NDArray[np.float32], relu: bool) -> tuple[Any, Any, Any]:
        reach = np.abs(draft.weight).reshape(len(scales), -1).sum(1).max() * 128 * draft.input.qparams.scale
        return np.zeros(len(scales)), np.full(len(scales), 4 / reach, np.float32), np.array([-1.0, 1.0])


@cache
def shape_program(width: float, size: int) -> Program:
    """Return a program with the operators, shapes and epilogues of RepGhostNet at a width and image size."""
    b = _ShapeBuilder(size, 0, int16=True)
    append_network(b, width, 1000)
    return Program(tuple(b.operators), size, size, 1000, digest="0" * 64)


@cache
def small_program() -> Program:
    """Return a real program of few operators: one of each family that RepGhostNet has."""
    b = _Builder(16, 0, int16=True)
    x = b.dense("stem", b.image(), 12, kernel=3, stride=2, relu=True)
    y = b.depthwise("cheap", b.dense("expand", x, 60, relu=True), relu=True)
    y = b.gate("gate", y, b.dense("scores", b.pool("squeeze", y), 60))
    y = b.depthwise("spatial", b.dense("project", y, 12), residual=x)
    y = b.depthwise("down", y, kernel=5, stride=2)
    b.dense("classifier", b.pool("pool", y), 10, logits=True)
    return Program(tuple(b.operators), 16, 16, 10, digest="0" * 64)
