"""Averages: of a whole map and of windows, summed in float32 whatever is stored."""

from __future__ import annotations

from compile.ir import tir
from compile.ir.float_program import FloatAveragePool, FloatPool
from compile.ir.memory_plan import AnyOperator
from compile.schedules.base import FLOAT_NAMES, Context, KernelFrame, MaybeScheduled, Scheduled
from compile.schedules.phases import phase_runs, pixel_phases
from compile.schedules.tiles import window_name


def schedule_float_pool(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a global average pool; None for anything else."""
    if not isinstance(operator, FloatPool):
        return None
    source, target, element = context.place(operator.input), context.place(operator.output), operator.output.element
    height, width = operator.input.height, operator.input.width
    phases = pixel_phases(context.isa.float_lanes, target)
    frame = KernelFrame(operator.name, 2, element=element)
    kernel, vector = frame.kernel, f"float32x{phases.lanes}"
    # [H, W, C] -> float32 sums [C] -> means [1, 1, C]
    with kernel.when(frame.begin < frame.end):
        for first, step, count in phase_runs(phases.starts):
            with kernel.loop(count, name="phase") as number:
                start = phases.starts[first] + number * step
                total = kernel.local(1, vector)
                kernel.store(total, 0, tir.splat(0.0, vector))
                with kernel.loop(height, name="row") as row, kernel.loop(width, name="x") as x:
                    at = source.origin + row * source.pitch + x * source.pixel + start
                    kernel.store(total, 0, total.load(0) + tir.cast(frame.tensors[0].load(at, phases.lanes), "float32"))
                mean = tir.cast(total.load(0) * tir.splat(1 / (height * width), vector), element)
                kernel.store(frame.tensors[1], target.origin + start, mean)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{FLOAT_NAMES[element]}_pool_{height}x{width}_c{operator.input.channels}__{context.isa.name}",
        offsets=(source.offset, target.offset),
        units=1,
    )


def schedule_float_average_pool(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule an average pool over windows, whose taps beyond the map read zeros; None for anything else."""
    if not isinstance(operator, FloatAveragePool):
        return None
    source, target, y = context.place(operator.input), context.place(operator.output), operator.output
    phases, (height, width) = pixel_phases(context.isa.float_lanes, target), operator.kernel
    frame = KernelFrame(operator.name, 2, element=y.element)
    kernel, shares, vector = frame.kernel, frame.constants("float32"), f"float32x{phases.lanes}"
    apart, beside = operator.dilations[0] * source.pitch, operator.dilations[1] * source.pixel
    first = source.origin - operator.pads[0] * source.pitch - operator.pads[1] * source.pixel
    # each window [kh, kw, C] -> float32 sums [C] -> means [C]
    with (
        kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
        kernel.loop(y.width, name="column") as column,
    ):
        share = kernel.bind(shares.load(row) * shares.load(column + y.height), "share")
        at = row * (operator.strides[0] * source.pitch) + column * (operator.strides[1] * source.pixel)
        at = kernel.bind(at + first, "at")
        there = target.origin + row * target.pitch + column * target.pixel
        for run, step, count in phase_runs(phases.starts):
            with kernel.loop(count, name="phase") as phase:
                channel = phases.starts[run] + phase * step
                total = kernel.local(1, vector)
                kernel.store(total, 0, tir.splat(0.0, vector))
                with kernel.loop(height, name="i") as i, kernel.loop(width, name="j") as j:
                    tap = frame.tensors[0].load(at + i * apart + j * beside + channel, phases.lanes)
                    kernel.store(total, 0, total.load(0) + tir.cast(tap, "float32"))
                mean = tir.cast(total.load(0) * tir.splat(share, vector), y.element)
                kernel.store(frame.tensors[1], there + channel, mean)
    form = f"avgpool{window_name(operator)}_{y.height}x{y.width}_c{y.channels}"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{FLOAT_NAMES[y.element]}_{form}__{context.isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
        constants=operator.row_shares.tobytes() + operator.column_shares.tobytes(),
    )
