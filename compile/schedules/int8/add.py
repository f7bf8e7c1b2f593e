"""A residual add that no convolution took over."""

from __future__ import annotations

from calib.integer.program import Add
from calib.integer.qparams import ADD_SHIFT
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled
from compile.schedules.phases import flat_phases


def schedule_add(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a stand-alone add; None for anything else."""
    if not isinstance(operator, Add):
        return None
    isa = context.isa
    left, right, target = (context.place(t) for t in (operator.input, operator.other, operator.output))
    phases = flat_phases(isa.lanes8, target)
    frame = KernelFrame(operator.name, 3, 5)
    kernel, lanes = frame.kernel, phases.lanes
    wide = f"int32x{lanes}"
    zero_a, zero_b, factor_a, factor_b, zero_y = frame.scalars
    for start in phases.starts:
        with (
            kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
            kernel.loop(phases.count, name="column") as column,
        ):
            along = phases.along(column) + start
            a = tir.cast(frame.tensors[0].load(left.origin + row * left.pitch + along, lanes), "int32")
            b = tir.cast(frame.tensors[1].load(right.origin + row * right.pitch + along, lanes), "int32")
            total = (a - tir.splat(zero_a, wide)) * tir.splat(factor_a, wide)
            total = total + (b - tir.splat(zero_b, wide)) * tir.splat(factor_b, wide)
            total = tir.shift_right(total + tir.splat(1 << (ADD_SHIFT - 1), wide), ADD_SHIFT)
            pieces = [isa.narrow_to_int16(piece) for piece in tir.split(total, isa.vector_widths(lanes)[0])]
            value = tir.concat(pieces)
            value = isa.add_saturating(value, tir.splat(zero_y, tir.dtype_of(value)))
            value = isa.clamp_int8(isa.narrow_to_int8(value), operator.low, operator.high)
            kernel.store(frame.tensors[2], target.origin + row * target.pitch + along, value)
    shape = f"{operator.input.height}x{operator.input.width}_c{operator.input.channels}"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_qs8_add_{shape}__{isa.name}",
        offsets=(left.offset, right.offset, target.offset),
        units=operator.output.height,
        scalars=(
            operator.input.qparams.zero_point,
            operator.other.qparams.zero_point,
            operator.factor,
            operator.other_factor,
            operator.output.qparams.zero_point,
        ),
    )
