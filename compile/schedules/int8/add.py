"""A residual add that no convolution took over."""

from __future__ import annotations

from collections.abc import Sequence

from calib.integer.program import Add
from calib.integer.qparams import ADD_SHIFT
from compile.intrin import InstructionSet
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled
from compile.schedules.phases import flat_phases


def schedule_add(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a stand-alone add of two maps of one size; None for anything else."""
    if not isinstance(operator, Add) or operator.other.shape != operator.output.shape:
        return None
    isa = context.isa
    left, right, target = (context.place(t) for t in (operator.input, operator.other, operator.output))
    phases = flat_phases(isa.lanes8, target)
    frame = KernelFrame(operator.name, 3, 5)
    kernel, lanes = frame.kernel, phases.lanes
    # [H, W, C] + [H, W, C] -> [H, W, C], a row as one run of vectors
    for start in phases.starts:
        with (
            kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
            kernel.loop(phases.count, name="column") as column,
        ):
            along = phases.along(column) + start
            a = frame.tensors[0].load(left.origin + row * left.pitch + along, lanes)
            b = frame.tensors[1].load(right.origin + row * right.pitch + along, lanes)
            value = add_values(isa, operator, (a, b), frame.scalars)
            kernel.store(frame.tensors[2], target.origin + row * target.pitch + along, value)
    shape = f"{operator.input.height}x{operator.input.width}_c{operator.input.channels}"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_qs8_add_{shape}__{isa.name}",
        offsets=(left.offset, right.offset, target.offset),
        units=operator.output.height,
        scalars=add_scalars_of(operator),
    )


def add_values(isa: InstructionSet, operator: Add, values: tuple[Expr, Expr], scalars: Sequence[Expr]) -> Expr:
    """Return the sum of two int8 vectors as one; the scalars are `add_scalars_of` the operator."""
    lanes = tir.split_dtype(tir.dtype_of(values[0]))[1]
    wide = f"int32x{lanes}"
    a, b = (tir.cast(value, "int32") for value in values)
    zero_a, zero_b, factor_a, factor_b, zero_y = scalars
    total = (a - tir.splat(zero_a, wide)) * tir.splat(factor_a, wide)
    total = total + (b - tir.splat(zero_b, wide)) * tir.splat(factor_b, wide)
    total = tir.shift_right(total + tir.splat(1 << (ADD_SHIFT - 1), wide), ADD_SHIFT)
    pieces = [isa.narrow_to_int16(piece) for piece in tir.split(total, isa.vector_widths(lanes)[0])]
    value = tir.concat(pieces)
    value = isa.add_saturating(value, tir.splat(zero_y, tir.dtype_of(value)))
    return isa.clamp_int8(isa.narrow_to_int8(value), operator.low, operator.high)


def add_scalars_of(operator: Add) -> tuple[int, ...]:
    """Return the zero points of both inputs, their factors, and the zero point of the output."""
    zero_points = [tensor.qparams.zero_point for tensor in (operator.input, operator.other, operator.output)]
    return *zero_points[:2], operator.factor, operator.other_factor, zero_points[2]
