"""Relu, ReLU6 and other limits into the operator before them."""

from __future__ import annotations

import math
from dataclasses import replace

from calib.importer.draft import DraftOperator, FilledPad
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
FARTHEST = 256  # operators that are looked at to find where numbers come from


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


def never_negative(tensor: str, drafts: Drafts) -> bool:
    """Return whether a tensor is known to hold no number below zero."""
    waiting, seen = [tensor], set[str]()
    while waiting:
        name = waiting.pop()
        maker = drafts.operators.get(name)
        if maker is None or len(seen) > FARTHEST:
            return False
        if name in seen or _makes_none(maker):
            continue
        if not isinstance(maker, Add | Multiply | PASS_ON):
            return False
        seen.add(name)
        waiting.extend(maker.inputs)
    return True


def _makes_none(op: DraftOperator) -> bool:
    """Return whether an operator makes no number below zero of whatever it reads."""
    if isinstance(op, Function):
        return op.steps[-1].operator in POSITIVE
    return isinstance(op, Convolution | Add | Subtract | Multiply) and op.clamp[0] >= 0
