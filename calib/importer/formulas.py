"""Unary element-wise functions as lists of steps: composed from ONNX nodes, and recognized where they have a name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from repghost.graph.formulas import FORMULAS
from repghost.graph.operators import Step

COMMUTATIVE = ("Add", "Mul", "Max", "Min")


def last(steps: tuple[Step, ...]) -> int:
    """Return how the result of a formula is called as an operand of its next step."""
    return len(steps)


def appended(first: tuple[Step, ...], second: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return a formula that applies `second` to the result of `first`."""
    return first + tuple(_renumbered(step, {k: k + len(first) for k in range(len(second) + 1)}) for step in second)


def combined(first: tuple[Step, ...], second: tuple[Step, ...], operator: str) -> tuple[Step, ...]:
    """Return the formula of an operator of two formulas' results for one number; what both compute is done once."""
    steps = list(first)
    places = {0: 0}
    known = {step: place for place, step in enumerate(steps, 1)}
    for place, step in enumerate(second, 1):
        own = _renumbered(step, places)
        if own not in known:
            steps.append(own)
            known[own] = len(steps)
        places[place] = known[own]
    operands: tuple[int, ...] = (len(first), places[len(second)])
    return (*steps, Step(operator, tuple(sorted(operands)) if operator in COMMUTATIVE else operands))


def _renumbered(step: Step, places: dict[int, int]) -> Step:
    return replace(
        step, operands=tuple(places[operand] if isinstance(operand, int) else operand for operand in step.operands)
    )


def known_formula(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return the formula of `FORMULAS` that these steps are, or the steps themselves.

    Constants are compared as the float32 numbers that files hold.
    """
    return next((formula for formula in FORMULAS.values() if _rounded(formula) == _rounded(steps)), steps)


def _rounded(steps: tuple[Step, ...]) -> tuple[object, ...]:
    return tuple(
        (
            step.operator,
            tuple(np.float32(operand) if isinstance(operand, float) else operand for operand in step.operands),
            tuple((name, np.float32(value)) for name, value in step.attributes),
        )
        for step in steps
    )
