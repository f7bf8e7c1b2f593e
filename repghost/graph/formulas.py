"""Formulas of the usual activation functions, by the name of PyTorch's module."""

from __future__ import annotations

import math

from repghost.graph.operators import Step

HARD_SIGMOID = (Step("HardSigmoid", (0,), (("alpha", 1 / 6), ("beta", 0.5))),)
FORMULAS: dict[str, tuple[Step, ...]] = {
    "Sigmoid": (Step("Sigmoid", (0,)),),
    "Tanh": (Step("Tanh", (0,)),),
    "HardSigmoid": HARD_SIGMOID,
    "HardSwish": (Step("HardSwish", (0,)),),
    "SiLU": (Step("Sigmoid", (0,)), Step("Mul", (0, 1))),
    "GELU": (
        Step("Div", (0, math.sqrt(2.0))),
        Step("Erf", (1,)),
        Step("Add", (2, 1.0)),
        Step("Mul", (0, 3)),
        Step("Mul", (4, 0.5)),
    ),
    "Mish": (Step("Softplus", (0,)), Step("Tanh", (1,)), Step("Mul", (0, 2))),
    "LeakyReLU": (Step("LeakyRelu", (0,), (("alpha", 0.01),)),),
    "ELU": (Step("Elu", (0,), (("alpha", 1.0),)),),
    "Softplus": (Step("Softplus", (0,)),),
}


def name_of(steps: tuple[Step, ...]) -> str:
    """Return what a formula is called, or its operators where it has no name."""
    known = next((name for name, formula in FORMULAS.items() if formula == steps), None)
    return known or "(".join(step.operator for step in reversed(steps))
