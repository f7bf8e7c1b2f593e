"""Relu, ReLU6 and other limits into the operator before them."""

from __future__ import annotations

import math
from dataclasses import replace

from calib.importer.draft import FilledPad
from calib.importer.passes.drafts import Drafts
from repghost.graph.operators import (
    RELU,
    Add,
    AveragePool,
    Clamp,
    Concat,
    Convolution,
    Function,
    GlobalAveragePool,
    MaxPool,
    Multiply,
    Resize,
    ShuffleChannels,
    Slice,
    Step,
    Subtract,
)

PASS_ON = AveragePool | GlobalAveragePool | MaxPool | Concat | Slice | ShuffleChannels | Resize | FilledPad
POSITIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softplus", "Exp", "Abs", "Sqrt")
DEEPEST = 32  # operators that are followed to find where numbers come from


def fuse_clamps(drafts: Drafts) -> None:
    """Put each limit at the beginning of a formula into the operator before it.

    A Relu of what is never negative is left out.
    """
    for op in drafts:
        if not isinstance(op, Function) or (clamp := _first_clamp(op.steps)) is None:
            continue
        maker = drafts.sole_maker(op)
        if isinstance(maker, Convolution | Add | Subtract | Multiply):
            drafts.put(replace(maker, clamp=_narrowed(maker.clamp, clamp)))
        elif clamp != RELU or not never_negative(op.input, drafts):
            continue
        if len(op.steps) == 1:
            drafts.drop(op)
        else:
            drafts.put(replace(op, steps=without_first(op.steps)))


def _first_clamp(steps: tuple[Step, ...]) -> Clamp | None:
    """Return the limits that the first step is, if the formula reads its input there alone."""
    first, *others = steps
    if any(operand == 0 and isinstance(operand, int) for step in others for operand in step.operands):
        return None
    limits = [operand for operand in first.operands if isinstance(operand, float)]
    if len(first.operands) != len(limits) + 1:
        return None
    match first.operator, limits:
        case "Relu", []:
            return RELU
        case "Max", [low]:
            return low, math.inf
        case "Min", [high]:
            return -math.inf, high
        case "Clip", [low, high]:
            return low, high
    return None


def _narrowed(inner: Clamp, outer: Clamp) -> Clamp:
    low, high = (min(max(limit, outer[0]), outer[1]) for limit in inner)
    return low, high


def without_first(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return a formula of the result of its first step."""
    return tuple(
        replace(step, operands=tuple(operand - 1 if isinstance(operand, int) else operand for operand in step.operands))
        for step in steps[1:]
    )


def never_negative(tensor: str, drafts: Drafts, depth: int = DEEPEST) -> bool:
    """Return whether a tensor is known to hold no number below zero."""
    maker = drafts.operators.get(tensor)
    if maker is None or not depth:
        return False
    if isinstance(maker, Function):
        return maker.steps[-1].operator in POSITIVE
    if isinstance(maker, Convolution | Subtract):
        return maker.clamp[0] >= 0
    if isinstance(maker, Add | Multiply) and maker.clamp[0] >= 0:
        return True
    if isinstance(maker, Add | Multiply | PASS_ON):
        return all(never_negative(name, drafts, depth - 1) for name in maker.inputs)
    return False
