"""Max pooling; a tap beyond the border reads the nearest pixel instead, which the window holds anyway."""

from __future__ import annotations

from calib.program import MaxPool
from compile import tir
from compile.layout import AnyOperator
from compile.schedules.base import Answer, Context, KernelFrame, Scheduled
from compile.schedules.phases import phase_runs, pixel_phases
from compile.tir import Expr


def schedule_max_pool(operator: AnyOperator, context: Context) -> Answer:
    """Schedule a max pool; None for anything else."""
    if not isinstance(operator, MaxPool):
        return None
    isa, source, target = context.isa, context.place(operator.input), context.place(operator.output)
    phases = pixel_phases(isa.lanes8, target)
    frame = KernelFrame(operator.name, 2)
    kernel, lanes = frame.kernel, phases.lanes
    x, y, size = operator.input, operator.output, operator.kernel
    for first, step, count in phase_runs(phases.starts):
        with (
            kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
            kernel.loop(y.width, name="column") as column,
            kernel.loop(count, name="phase") as phase,
        ):
            channel = phases.starts[first] + phase * step
            largest = kernel.local(1, f"int8x{lanes}")
            kernel.store(largest, 0, tir.splat(-128, f"int8x{lanes}"))
            with kernel.loop(size, name="i") as i, kernel.loop(size, name="j") as j:
                top = _inside(row * operator.stride + i - operator.padding, x.height)
                left = _inside(column * operator.stride + j - operator.padding, x.width)
                at = source.origin + top * source.pitch + left * source.pixel + channel
                kernel.store(largest, 0, tir.maximum(largest.load(0), frame.tensors[0].load(at, lanes)))
            place = target.origin + row * target.pitch + column * target.pixel + channel
            kernel.store(frame.tensors[1], place, largest.load(0))
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_s8_maxpool{size}x{size}s{operator.stride}_{y.height}x{y.width}_c{y.channels}__{isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
    )


def _inside(position: Expr, size: int) -> Expr:
    return tir.minimum(tir.maximum(position, tir.const(0)), tir.const(size - 1))
