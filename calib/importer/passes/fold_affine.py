"""Batch norms, and arithmetic with constants, into the convolutions before and behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calib.importer.draft import Affine, DraftOperator
from calib.importer.passes.drafts import Drafts
from repghost.graph.operators import UNBOUNDED, Convolution, Function, Step

Doubles = NDArray[np.float64]
Line = tuple[Doubles | float, Doubles | float]  # scale and shift
# What a step makes of scale * x + shift, given the place of the number among its operands.
STEPS: dict[str, Callable[[float, bool, Line], Line]] = {
    "Add": lambda number, first, line: (line[0], line[1] + number),
    "Sub": lambda number, first, line: (-line[0], number - line[1]) if first else (line[0], line[1] - number),
    "Mul": lambda number, first, line: (line[0] * number, line[1] * number),
}


def fold_affine(drafts: Drafts) -> None:
    """Fold what is scale * x + shift into a neighbour, where that computes the same.

    It goes into a convolution before it that nothing else reads, and into its clamp where it is one line for all
    channels; or into those behind it, when they are all that reads it, and do not pad it with zeros, which it would
    have moved.
    """
    for op in drafts:
        line = line_of(op)
        if line is None:
            continue
        maker = drafts.sole_maker(op)
        if isinstance(maker, Convolution) and (maker.clamp == UNBOUNDED or not np.ndim(line[0])):
            drafts.put(_behind(maker, line))
        elif isinstance(maker, Affine):
            drafts.put(_chained(maker, line))
        elif op.name not in drafts.outputs and (readers := _before(drafts.readers(op.name), line)):
            for reader in readers:
                drafts.put(reader)
        else:
            continue
        drafts.drop(op)


def line_of(op: DraftOperator) -> Line | None:
    """Return scale and shift of an operator that is a straight line, None for others."""
    if isinstance(op, Affine):
        return op.scale, op.shift
    if not isinstance(op, Function):
        return None
    line: Line = (1.0, 0.0)
    for place, step in enumerate(op.steps):
        found = _step_of_line(step, place, line)
        if found is None:
            return None
        line = found
    return line


def _step_of_line(step: Step, place: int, line: Line) -> Line | None:
    """Return the line behind a step that reads the result of the one before it, and a number."""
    if step.operator == "Neg" and step.operands == (place,):
        return -line[0], -line[1]
    numbers = [operand for operand in step.operands if isinstance(operand, float)]
    if len(step.operands) != 2 or len(numbers) != 1 or place not in step.operands:
        return None
    first = isinstance(step.operands[0], float)
    if step.operator == "Div" and not first and numbers[0]:
        return line[0] / numbers[0], line[1] / numbers[0]
    return STEPS[step.operator](numbers[0], first, line) if step.operator in STEPS else None


def _behind(conv: Convolution, line: Line) -> Convolution:
    """Return a convolution whose results are scaled and moved."""
    scale, shift = line
    weight = conv.weight * np.reshape(scale, (-1, 1, 1, 1)) if np.ndim(scale) else conv.weight * np.float64(scale)
    bias = conv.bias.astype(np.float64) * scale + shift
    if conv.clamp == UNBOUNDED:
        return replace(conv, weight=_single(weight), bias=_single(bias))
    low, high = sorted(float(np.float32(limit * scale + shift)) for limit in conv.clamp)
    return replace(conv, weight=_single(weight), bias=_single(bias), clamp=(low, high))


def _chained(first: Affine, line: Line) -> Affine:
    scale, shift = line
    return replace(first, scale=first.scale * scale, shift=first.shift * scale + shift)


def _before(readers: list[DraftOperator], line: Line) -> list[Convolution]:
    """Return convolutions that scale and move what they read; none where one of the readers cannot."""
    folded = []
    for reader in readers:
        if not isinstance(reader, Convolution) or (any(reader.pads) and np.any(line[1])):
            return []
        groups, inputs = reader.groups, reader.weight.shape[1]
        scale, shift = (np.broadcast_to(part, groups * inputs).reshape(groups, 1, inputs, 1, 1) for part in line)
        weight = reader.weight.astype(np.float64).reshape(groups, -1, *reader.weight.shape[1:])
        bias = reader.bias + (weight * shift).sum((2, 3, 4)).reshape(-1)
        folded.append(
            replace(reader, weight=_single((weight * scale).reshape(reader.weight.shape)), bias=_single(bias))
        )
    return folded


def affine_to_convolution(drafts: Drafts) -> None:
    """Make depthwise convolutions of one pixel of the batch norms that are left."""
    for op in drafts:
        if isinstance(op, Affine):
            weight = _single(op.scale.reshape(-1, 1, 1, 1))
            drafts.put(Convolution(op.name, op.input, weight, _single(op.shift), groups=len(op.scale)))


def _single(values: Doubles) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)
