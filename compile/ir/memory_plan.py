"""Where activations lie in the workspace: NHWC with a border; memory is used again after the last read of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from calib.integer.program import Operator, Program
from calib.integer.values import Tensor
from compile.ir.float_program import FloatOperator, FloatProgram, FloatTensor

AnyProgram: TypeAlias = Program | FloatProgram
AnyOperator: TypeAlias = Operator | FloatOperator
AnyTensor: TypeAlias = Tensor | FloatTensor

ALIGNMENT = 64  # bytes, one cache line
CHANNEL_GROUP = 4  # a pixel is stored in a multiple of this, so that products run in groups of four
OVERREAD = 64  # bytes a kernel may read past the last pixel: one load of the widest vector


@dataclass(frozen=True)
class TensorPlace:
    """An activation in the workspace: pixel (y, x) is the element `origin + y * pitch + x * pixel` from `offset` on.

    `halo` pixels of padding stand above, below and left of the image; the padding on the right of a row is the one on
    the left of the next row.
    """

    tensor: AnyTensor
    offset: int  # bytes from the start of the workspace
    halo: int  # pixels

    @property
    def pixel(self) -> int:
        """Elements of one pixel."""
        return round_up(self.tensor.channels, CHANNEL_GROUP)

    @property
    def pitch(self) -> int:
        """Elements from one row to the next."""
        return (self.tensor.width + self.halo) * self.pixel

    @property
    def origin(self) -> int:
        """Elements from `offset` to pixel (0, 0)."""
        return self.halo * (self.pitch + self.pixel)

    @property
    def size(self) -> int:
        """Bytes of the whole image with its border."""
        return (self.origin + (self.tensor.height + self.halo) * self.pitch) * self.element_bytes

    @property
    def element_bytes(self) -> int:
        """Bytes of one element."""
        return np.dtype(self.tensor.element).itemsize


@dataclass(frozen=True)
class MemoryPlan:
    """The place of each tensor by name, and the bytes they need together."""

    placements: dict[str, TensorPlace]
    workspace_bytes: int


def round_up(value: int, multiple: int) -> int:
    """Return the smallest multiple not below `value`."""
    return -(-value // multiple) * multiple


def plan_memory(program: AnyProgram) -> MemoryPlan:
    """Return a plan in which each activation has the lowest address that is free from its writer to its last reader.

    Results are not placed: the operators that make them write to the caller's array.
    """
    lives = _lifetimes(program)
    halos = _halos(program.operators)
    placed: dict[str, TensorPlace] = {}
    end = 0
    for name, (born, last) in sorted(lives.items(), key=lambda item: -_largest(program, item[0], halos)):
        tensor = _tensor(program, name)
        draft = TensorPlace(tensor, 0, halos.get(name, 0))
        busy = sorted(
            (other.offset, other.offset + round_up(other.size + OVERREAD, ALIGNMENT))
            for other_name, other in placed.items()
            if lives[other_name][0] <= last and born <= lives[other_name][1]
        )
        offset = _first_gap(busy, round_up(draft.size + OVERREAD, ALIGNMENT))
        placed[name] = TensorPlace(tensor, offset, draft.halo)
        end = max(end, offset + round_up(draft.size + OVERREAD, ALIGNMENT))
    return MemoryPlan(placed, end)


def _lifetimes(program: AnyProgram) -> dict[str, tuple[int, int]]:
    lives: dict[str, tuple[int, int]] = {}
    for index, operator in enumerate(program.operators):
        for tensor in operator.inputs:
            lives[tensor.name] = (lives[tensor.name][0], index)
        if operator.output.name not in program.results:
            lives[operator.output.name] = (index, index)
    return lives


def _halos(operators: Sequence[AnyOperator]) -> dict[str, int]:
    """Return the border each tensor needs, the largest that one of its readers asks for; no entry where it is 0."""
    halos: dict[str, int] = {}
    for operator in operators:
        if operator.border:
            name = operator.inputs[0].name
            halos[name] = max(halos.get(name, 0), operator.border)
    return halos


def _tensor(program: AnyProgram, name: str) -> AnyTensor:
    return next(operator.output for operator in program.operators if operator.output.name == name)


def _largest(program: AnyProgram, name: str, halos: dict[str, int]) -> int:
    return TensorPlace(_tensor(program, name), 0, halos.get(name, 0)).size


def _first_gap(busy: list[tuple[int, int]], size: int) -> int:
    at = 0
    for begin, stop in busy:
        if begin - at >= size:
            return at
        at = max(at, stop)
    return at
