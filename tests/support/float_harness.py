"""Runs single float operators as compiled kernels, on numbers whose sums are exact in half precision.

Inputs, weights and biases are small integers, so no order of adding up and no rounding of a partial sum can change an
answer: what differs is a mistake. The replay, its noise and its guard pages are those of the integer kernels.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from compile.codegen.program_to_objects import ScheduledNetwork, Step
from compile.intrin.table import find_instruction_set
from compile.ir.compiled_network import BLOB_ALIGNMENT
from compile.ir.float_program import (
    FloatDepthwiseConv2d,
    FloatInput,
    FloatOperator,
    FloatProgram,
    FloatScores,
    FloatTensor,
)
from compile.ir.float_reference import execute, stored
from compile.ir.memory_plan import MemoryPlan, TensorPlace, plan_memory
from compile.machine.execute import machine_for
from compile.schedules import Context
from compile.targets.table import Target, Variant
from repghost.graph.operators import UNBOUNDED
from tests.support.kernel_harness import ORDERS, STATUS, append_steps, distinct_inputs, pack, replay

NO_IMAGE = np.zeros((1, 1, 1, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class FloatCase:
    """One operator and its inputs."""

    name: str
    operator: FloatOperator
    tensors: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # [1, H, W, C] by name
    image: NDArray[np.uint8] | None = None  # [1, H, W, 3]
    halo: int = 0  # the border another reader of the output would need
    tolerance: float = 0.0  # of the answers, where a sum cannot be exact

    @property
    def is_logits(self) -> bool:
        """Whether the operator writes the caller's array."""
        return isinstance(self.operator, FloatScores) or bool(getattr(self.operator, "logits", False))

    def expected(self) -> NDArray[np.float32]:
        """Return what the reference says, [H, W, C]."""
        return self._answer

    @cached_property
    def _answer(self) -> NDArray[np.float32]:
        """Computed once for all instruction sets."""
        element = self.operator.output.element
        value = execute(self.operator, self.tensors, NO_IMAGE if self.image is None else self.image, element)[0]
        return value if self.is_logits else stored(value, element, self.name)


@dataclass(frozen=True, eq=False)
class _Prepared:
    case: FloatCase
    plan: MemoryPlan
    steps: tuple[tuple[int, int], ...]
    before: NDArray[np.int8]
    weights: bytes
    logits: NDArray[np.float32]


def run_float_cases(cases: Sequence[FloatCase], target: Target, variant: Variant) -> list[str]:
    """Compile and run cases for one instruction set and return what is wrong, one line for each case that fails.

    Raises:
        ToolMissingError: when this machine cannot run the instruction set.
    """
    machine = machine_for(target, variant)
    steps: list[Step] = []
    prepared = [_prepare(case, steps, variant, np.random.default_rng(seed)) for seed, case in enumerate(cases)]
    packed = pack(prepared)  # type: ignore[arg-type]
    results = replay(ScheduledNetwork(tuple(steps), b""), target, variant, machine, packed)
    failures = [failure for item in prepared if (failure := _compare(item, results))]
    if results.read():
        raise RuntimeError("the replay wrote more than was asked for")
    return failures


def _prepare(case: FloatCase, steps: list[Step], variant: Variant, noise: np.random.Generator) -> _Prepared:
    plan = plan_memory(_program(case))
    context = Context(find_instruction_set(variant.name), plan)
    numbers, constants = append_steps(case.operator, case.is_logits, context, steps)
    before = noise.integers(-128, 128, plan.workspace_bytes).astype(np.int8)
    for name, value in case.tensors.items():
        place = plan.placements[name]
        if place.halo:
            before[place.offset : place.offset + place.size] = 0
        inside = _inside(before, place)
        inside[...] = 0  # channels that pad a pixel are always written by whoever writes the pixel
        inside[..., : value.shape[3]] = value[0]
    weights = bytes(BLOB_ALIGNMENT) + constants + bytes(-len(constants) % BLOB_ALIGNMENT)
    logits = case.expected().astype(np.float32).ravel() if case.is_logits else np.zeros(0, np.float32)
    return _Prepared(case, plan, numbers, before, weights, logits)


def _program(case: FloatCase) -> FloatProgram:
    """Return a program in which the case's tensors are alive together and have the borders it asks for."""
    inputs, output = distinct_inputs(case.operator), case.operator.output
    operators: list[FloatOperator] = [FloatInput(t.name, t, np.zeros((3, 256), np.float32)) for t in inputs]
    operators.append(case.operator)
    if not case.is_logits:
        halos = case.halo, case.halo
        weight = np.zeros((output.channels, 2 * case.halo + 1, 2 * case.halo + 1), np.float32)
        end = FloatTensor("end", 1, 1, 1, output.element)
        operators += [
            FloatDepthwiseConv2d("end", t, end, weight, weight[:, 0, 0], (1, 1), (0, 0), UNBOUNDED) for t in inputs
        ]
        operators.append(FloatDepthwiseConv2d("end", output, end, weight, weight[:, 0, 0], (1, 1), halos, UNBOUNDED))
    return FloatProgram(tuple(operators), 1, 1, 1, "", output.element)


def _inside(memory: NDArray[np.int8], place: TensorPlace) -> NDArray[np.floating]:
    """Return the pixels of a tensor as a view of the memory: [H, W, elements of a pixel]."""
    height, width = place.tensor.height, place.tensor.width
    whole = memory[place.offset : place.offset + place.size].view(np.dtype(place.tensor.element))
    rows = whole[place.origin : place.origin + height * place.pitch].reshape(height, place.pitch)
    return rows[:, : width * place.pixel].reshape(height, width, place.pixel)


def _compare(item: _Prepared, results: io.BytesIO) -> str:
    """Return what is wrong with a case, or an empty text; reads the results of both orders."""
    wrong = ""
    for order in ORDERS:
        status = int(np.frombuffer(results.read(4), np.int32)[0])
        workspace = np.frombuffer(results.read(len(item.before)), np.int8).copy()
        logits = np.frombuffer(results.read(4 * len(item.logits)), np.float32)
        said = STATUS[status] if status else _difference(item, workspace, logits)
        wrong = wrong or (f"{item.case.name}: {said} ({order})" if said else "")
    return wrong


def _difference(item: _Prepared, workspace: NDArray[np.int8], logits: NDArray[np.float32]) -> str:
    case, expected = item.case, item.case.expected()
    if case.is_logits:
        found = logits.reshape(expected.shape)
    else:
        place = item.plan.placements[case.operator.output.name]
        pixels = _inside(workspace, place)
        if not np.isfinite(pixels).all():
            return "a channel that pads a pixel is not a number"
        found = pixels[..., : expected.shape[2]].astype(np.float32)
        border = _border(workspace, place)
        if border.any():
            return f"{int(np.count_nonzero(border))} numbers of the border are not zero"
        if touched := _touched(item, workspace):
            return f"{touched} bytes of no output were changed"
    off = np.abs(found - expected) > case.tolerance * np.maximum(1, np.abs(expected))
    if not (off | ~np.isfinite(found)).any():
        return ""
    at = tuple(int(index) for index in np.argwhere(off | ~np.isfinite(found))[0])
    return f"{int(off.sum())} of {off.size} differ, first at {at}: {found[at]:g} instead of {expected[at]:g}"


def _border(workspace: NDArray[np.int8], place: TensorPlace) -> NDArray[np.floating]:
    if not place.halo:
        return np.zeros(0, np.float32)
    memory = workspace.copy()
    _inside(memory, place)[...] = 0
    return memory[place.offset : place.offset + place.size].view(np.dtype(place.tensor.element))


def _touched(item: _Prepared, workspace: NDArray[np.int8]) -> int:
    """Return how many bytes outside the output are not as they were."""
    changed = workspace != item.before
    output = item.plan.placements[item.case.operator.output.name]
    changed[output.offset : output.offset + output.size] = False
    return int(changed.sum())
