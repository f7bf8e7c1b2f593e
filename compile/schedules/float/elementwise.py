"""The small float operators: average pool, squeeze-excite gate."""

from __future__ import annotations

import numpy as np

from compile.ir import tir
from compile.ir.float_program import FloatGate, FloatPool
from compile.ir.memory_plan import AnyOperator
from compile.schedules.base import FLOAT_NAMES, Context, KernelFrame, MaybeScheduled, Scheduled
from compile.schedules.int8.multiply import gate_runs, load_gate
from compile.schedules.phases import channel_phases, phase_runs, pixel_phases

SIXTH = float(np.float32(1 / 6))


def schedule_float_pool(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a global average pool, summed in float32 whatever is stored; None for anything else."""
    if not isinstance(operator, FloatPool):
        return None
    source, target, element = context.place(operator.input), context.place(operator.output), operator.output.element
    height, width = operator.input.height, operator.input.width
    phases = pixel_phases(context.isa.float_lanes, target)
    frame = KernelFrame(operator.name, 2, element=element)
    kernel, vector = frame.kernel, f"float32x{phases.lanes}"
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


def schedule_float_gate(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule x * hard_sigmoid(gate); None for anything else."""
    if not isinstance(operator, FloatGate):
        return None
    source, gate, target = (context.place(t) for t in (operator.input, operator.gate, operator.output))
    phases, element = channel_phases(context.isa.float_lanes, target), operator.output.element
    frame = KernelFrame(operator.name, 3, element=element)
    kernel, vector = frame.kernel, f"{element}x{phases.lanes}"
    for first, step, count in gate_runs(phases, target):
        with kernel.loop(count, name="phase") as number:
            start = phases.starts[first] + number * step
            raw = load_gate(kernel, frame.tensors[1], gate, phases.lanes, start if count > 1 else phases.starts[first])
            opened = raw * tir.splat(SIXTH, vector) + tir.splat(0.5, vector)
            opened = tir.minimum(tir.maximum(opened, tir.splat(0.0, vector)), tir.splat(1.0, vector))
            opened = kernel.bind(opened, "gate")
            with (
                kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
                kernel.loop(phases.count, name="column") as column,
            ):
                for pixel in range(phases.pixels):
                    along = phases.along(column) + start + pixel * target.pixel
                    x = frame.tensors[0].load(source.origin + row * source.pitch + along, phases.lanes)
                    kernel.store(frame.tensors[2], target.origin + row * target.pitch + along, x * opened)
    shape = f"{operator.input.height}x{operator.input.width}_c{operator.input.channels}"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{FLOAT_NAMES[element]}_gate_{shape}__{context.isa.name}",
        offsets=(source.offset, gate.offset, target.offset),
        units=operator.output.height,
    )
