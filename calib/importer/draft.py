"""Operators that only exist while a network is imported: passes turn them into those of a `Graph`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from repghost.graph.operators import NO_PADS, Operator, Pads
from repghost.graph.shapes import Shape


@dataclass(frozen=True)
class _Draft:
    name: str
    input: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the tensors it reads."""
        return (self.input,)


@dataclass(frozen=True)
class Affine(_Draft):
    """output = scale * input + shift, with one of each for a channel."""

    scale: NDArray[np.float64]  # [C]
    shift: NDArray[np.float64]  # [C]


@dataclass(frozen=True)
class FilledPad(_Draft):
    """One value around a map."""

    pads: Pads
    value: float


@dataclass(frozen=True)
class Probabilities(_Draft):
    """What makes probabilities of scores.

    Attributes:
        kind: Softmax or LogSoftmax.
    """

    kind: str


DraftOperator: TypeAlias = Operator | Affine | FilledPad | Probabilities


def drafted_shape(op: Affine | FilledPad | Probabilities, shapes: Mapping[str, Shape]) -> Shape:
    """Return the shape of an operator's result from that of what it reads."""
    channels, rows, columns = shapes[op.input]
    top, left, bottom, right = op.pads if isinstance(op, FilledPad) else NO_PADS
    return channels, rows + top + bottom, columns + left + right
