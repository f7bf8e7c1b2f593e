"""Depthwise convolutions, any kernel size and stride, accumulated exactly in int16 (Q15 epilogues) or in int32.

Of int16 inputs the products are int32 at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from calib.integer.program import DepthwiseConv2d
from calib.integer.values import (
    Requantize,
    RequantizeAdd,
    RequantizeQ15,
    RequantizeQ15Add,
    RequantizeWideAdd,
    Tensor,
)
from compile.intrin import InstructionSet
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr
from compile.schedules.base import (
    ELEMENT_BYTES,
    Context,
    MaybeScheduled,
    Scheduled,
    add_scalars,
    is_wide,
    lanes_of,
    layer_types,
    requantize_add,
)
from compile.schedules.depthwise_tile import DepthwiseWriter, Parameters, Tap, pack_phases
from compile.schedules.int8.q15 import Residual, requantize_q15
from compile.schedules.phases import Phases, flat_phases, pixel_phases, row_tile
from compile.schedules.tiles import window_name
from compile.schedules.wide_epilogue import add_wide, requantize_wide

STRIDED_ROWS = 2  # of a larger stride that are computed together
MOST_SHARED = 25  # taps


def schedule_depthwise(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a depthwise convolution; None for anything else."""
    if not isinstance(operator, DepthwiseConv2d):
        return None
    isa = context.isa
    target = context.place(operator.output)
    most = lanes_of(isa, "int16") if is_wide(operator) else isa.depthwise_lanes or isa.lanes8
    along_row = operator.strides[1] == 1
    phases = flat_phases(most, target) if along_row else pixel_phases(most, target, isa.product_lanes16)
    unit = row_tile(operator.output.height, prod(operator.kernel)) if operator.strides == (1, 1) else 1
    rows = STRIDED_ROWS if unit == 1 and shares_taps(operator, isa, phases) else unit
    writer = Int8DepthwiseWriter(operator, context, phases, rows, unit)
    return Scheduled(
        function=writer.write(),
        name=depthwise_name(operator, phases, rows, isa),
        offsets=writer.offsets,
        scalars=writer.scalars,
        units=writer.units,
        constants=pack_constants(operator, phases),
        tuning=isa.tuning(),
    )


def shares_taps(operator: DepthwiseConv2d, isa: InstructionSet, phases: Phases) -> bool:
    """Tell whether two rows of an output fit the registers together: two sums of each, and the taps, 25 at most.

    They share the loads of taps that do not fit, and those of some input rows.
    """
    narrow = is_int16(operator) and phases.lanes == isa.product_lanes16  # one register for each sum
    enough = isa.registers >= MOST_SHARED + 2 * STRIDED_ROWS
    return narrow and enough and operator.output.height % STRIDED_ROWS == 0 and prod(operator.kernel) <= MOST_SHARED


def depthwise_name(operator: DepthwiseConv2d, phases: Phases, rows: int, isa: InstructionSet) -> str:
    """Return e.g. rg_qs8_dwconv3x3s1_q15_r7c16_c120__neon."""
    epilogue = {
        Requantize: "", RequantizeAdd: "_add", RequantizeWideAdd: "_wadd", RequantizeQ15: "_q15",
        RequantizeQ15Add: "_q15_add",
    }[type(operator.epilogue)]  # fmt: skip
    types, tile = layer_types(operator), f"r{rows}c{phases.lanes}"
    return f"rg_q{types}_dwconv{window_name(operator)}{epilogue}_{tile}_c{operator.output.channels}__{isa.name}"


def is_int16(operator: DepthwiseConv2d) -> bool:
    """Tell whether the accumulator is int16."""
    return isinstance(operator.epilogue, RequantizeQ15 | RequantizeQ15Add)


def phase_bytes(operator: DepthwiseConv2d, lanes: int) -> int:
    """Return the constants of one phase: start value, multiplier and offset or float multiplier, then the taps."""
    return lanes * (prod(operator.kernel) + (6 if is_int16(operator) else 8))


def pack_constants(operator: DepthwiseConv2d, phases: Phases) -> bytes:
    """Return start value, multiplier and offset or float multiplier, then the taps, of each phase."""
    epilogue = operator.epilogue
    if isinstance(epilogue, RequantizeQ15 | RequantizeQ15Add):
        return pack_phases(
            phases, [operator.bias.astype(np.int16), epilogue.multiplier, epilogue.offset], operator.weight
        )
    assert isinstance(epilogue, Requantize | RequantizeAdd | RequantizeWideAdd)
    return pack_phases(phases, [operator.bias, epilogue.multiplier], operator.weight)


def scalars_of(operator: DepthwiseConv2d) -> tuple[int, ...]:
    """Return the zero points and the residual's factor; an int16 epilogue has its zero point in the offsets."""
    epilogue = operator.epilogue
    if isinstance(epilogue, RequantizeAdd):
        return add_scalars(epilogue)
    if isinstance(epilogue, RequantizeQ15Add):
        return (epilogue.residual_factor,)
    if operator.output.qparams.is_wide:
        return ()
    return (epilogue.zero_point,) if isinstance(epilogue, Requantize) else ()


@dataclass(frozen=True)
class EpilogueParameters(Parameters):
    """The constants of one phase as vectors, those of the epilogue included."""

    multiplier: Expr  # int16 for a Q15 epilogue, float32 otherwise
    offset: Expr | None  # int16, of a Q15 epilogue


class Int8DepthwiseWriter(DepthwiseWriter[EpilogueParameters]):
    """Writes the kernel of one depthwise convolution."""

    def __init__(self, operator: DepthwiseConv2d, context: Context, phases: Phases, rows: int, unit: int) -> None:
        apart = None if rows == unit else unit
        super().__init__(operator, context, phases, rows, residual_of(operator), scalars_of(operator), apart)
        self.epilogue, self.int16 = operator.epilogue, is_int16(operator)
        self.reads_wide, self.writes = operator.input.qparams.is_wide, operator.output.element
        self.phase_bytes = phase_bytes(operator, phases.lanes)
        self.views = {element: self.frame.constants(element) for element in ("int16", "int32", "float32")}

    def parameters(self, phase: Expr) -> EpilogueParameters:
        """Load the constants of a phase, see `pack_constants`."""
        lanes, taps, constants = self.phases.lanes, prod(self.taps), phase * self.phase_bytes

        def load(element: str, at: int) -> Expr:
            index = tir.floordiv(constants, ELEMENT_BYTES[element]) + at
            return self.kernel.bind(self.views[element].load(index, lanes), "constant")

        if self.int16:
            start, multiplier, offset = (load("int16", index * lanes) for index in range(3))
        else:
            start, multiplier, offset = load("int32", 0), load("float32", lanes), None
        head = self.phase_bytes - lanes * taps
        weights = [
            self.kernel.bind(self.frame.weights.load(constants + (head + tap * lanes), lanes), "tap")
            for tap in range(taps)
        ]
        return EpilogueParameters(start, weights, multiplier, offset)

    def load(self, at: Expr) -> Expr:
        """Return an input vector widened to int16, of int16 to int32; as it is where products are of bytes."""
        loaded = super().load(at)
        if self.isa.multiplies_bytes and not self.reads_wide:
            return loaded
        return tir.cast(loaded, "int32" if self.reads_wide else "int16")

    def _product(self, x: Expr, weight: Expr) -> Expr:
        """Return the int16 product of an input vector and a tap."""
        return self.isa.multiply_bytes(x, weight) if self.isa.multiplies_bytes else x * tir.cast(weight, "int16")

    def accumulate(self, total: Expr, taps: list[Tap], last: bool) -> Expr:
        """Add the waiting taps; int32 sums take them in pairs, because two products still fit int16."""
        if self.int16:
            for x, w in taps:
                total = total + self._product(x, w)
            taps.clear()
        if self.reads_wide:
            for x, w in taps:  # LLVM sees that both have 16 bits, and that the weights are widened once
                total = total + x * tir.cast(tir.cast(w, "int16"), "int32")
            taps.clear()
        while len(taps) >= 2 or (last and taps):
            pair = [self._product(x, w) for x, w in taps[:2]]
            total = total + tir.cast(pair[0] if len(pair) == 1 else pair[0] + pair[1], "int32")
            del taps[:2]
        return self.kernel.bind(total, "sum")

    def finish(self, total: Expr, residual: Expr | None, parameters: EpilogueParameters) -> Expr:
        """Return the epilogue of `calib.integer.qparams` that the operator has."""
        epilogue, values = self.epilogue, self.frame.scalars
        if isinstance(epilogue, RequantizeQ15 | RequantizeQ15Add):
            added = None if residual is None else Residual(residual, values[0])
            return requantize_q15(self.isa, total, parameters.multiplier, parameters.offset, epilogue, added)
        width = self.isa.vector_widths(self.phases.lanes)[0]
        acc, scale = tir.split(total, width), tir.split(parameters.multiplier, width)
        if isinstance(epilogue, RequantizeAdd):
            return requantize_add(self.isa, acc, scale, residual, epilogue, values)
        if isinstance(epilogue, RequantizeWideAdd):
            return add_wide(self.isa, acc, scale, residual, epilogue, self.writes)
        assert isinstance(epilogue, Requantize)
        if self.writes == "int16":
            return requantize_wide(self.isa, acc, scale, epilogue, self.writes)
        return self.isa.requantize(acc, scale, values[0], epilogue.low, epilogue.high)


def residual_of(operator: DepthwiseConv2d) -> Tensor | None:
    """Return what the epilogue adds, if it adds something."""
    if isinstance(operator.epilogue, RequantizeAdd | RequantizeWideAdd | RequantizeQ15Add):
        return operator.epilogue.residual
    return None
