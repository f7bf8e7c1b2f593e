"""Max pooling; a tap beyond the border reads the nearest pixel instead, which the window holds anyway."""

from __future__ import annotations

import numpy as np

from calib.integer.program import MaxPool
from compile.ir import tir
from compile.ir.float_program import FloatMaxPool
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr
from compile.schedules.base import FLOAT_NAMES, NAMES, Context, KernelFrame, MaybeScheduled, Scheduled, lanes_of
from compile.schedules.phases import phase_runs, pixel_phases
from compile.schedules.tiles import window_name


def schedule_max_pool(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a max pool of integers or floats; None for anything else."""
    if not isinstance(operator, MaxPool | FloatMaxPool):
        return None
    isa, source, target = context.isa, context.place(operator.input), context.place(operator.output)
    element = operator.output.element
    lowest = float(np.finfo(element).min) if element in FLOAT_NAMES else int(np.iinfo(element).min)
    phases = pixel_phases(lanes_of(isa, element), target)
    frame = KernelFrame(operator.name, 2, element=element)
    kernel, vector = frame.kernel, f"{element}x{phases.lanes}"
    x, y = operator.input, operator.output
    (height, width), (down, across), (apart, beside) = operator.kernel, operator.strides, operator.dilations
    # each window [kh, kw, C] -> maxima [C]
    for first, step, count in phase_runs(phases.starts):
        with (
            kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
            kernel.loop(y.width, name="column") as column,
            kernel.loop(count, name="phase") as phase,
        ):
            channel = phases.starts[first] + phase * step
            largest = kernel.local(1, vector)
            kernel.store(largest, 0, tir.splat(lowest, vector))
            with kernel.loop(height, name="i") as i, kernel.loop(width, name="j") as j:
                top = _inside(row * down + i * apart - operator.pads[0], apart, x.height)
                left = _inside(column * across + j * beside - operator.pads[1], beside, x.width)
                at = source.origin + top * source.pitch + left * source.pixel + channel
                kernel.store(largest, 0, tir.maximum(largest.load(0), frame.tensors[0].load(at, phases.lanes)))
            place = target.origin + row * target.pitch + column * target.pixel + channel
            kernel.store(frame.tensors[1], place, largest.load(0))
    form = f"maxpool{window_name(operator)}_{y.height}x{y.width}_c{y.channels}"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{NAMES[element]}_{form}__{isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
    )


def _inside(position: Expr, dilation: int, size: int) -> Expr:
    """Return where a tap is along one side of the map; one that lies outside repeats the nearest that does not."""
    least, most = tir.const(0), tir.const(size - 1)
    if dilation > 1:  # the taps of a window leave the same rest
        least, most = _rest(position, dilation), most - _rest(most - position, dilation)
    return tir.minimum(tir.maximum(position, least), most)


def _rest(value: Expr, divisor: int) -> Expr:
    return value - tir.floordiv(value, divisor) * divisor
