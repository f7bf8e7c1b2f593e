"""Average pooling over a window: the taps are read from the border, too, which holds the zero point."""

from __future__ import annotations

from itertools import product

from calib.integer.program import AveragePool
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled, is_wide, product_fits_int16
from compile.schedules.int8.pools.pool import sum_blocks, sum_pixels
from compile.schedules.phases import phase_runs, pixel_phases
from compile.schedules.tiles import window_name

UNROLLED = 128  # taps that are written one after the other; 128 * -128 is far from the lowest int16


def schedule_average_pool(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule an average pool over a window of 8 bits; None for anything else."""
    if not isinstance(operator, AveragePool) or is_wide(operator):
        return None
    isa, source, target = context.isa, context.place(operator.input), context.place(operator.output)
    phases = pixel_phases(isa.lanes8, target)
    frame = KernelFrame(operator.name, 2, 2)
    kernel, lanes, y, (height, width) = frame.kernel, phases.lanes, operator.output, operator.kernel
    (down, across), (apart, beside) = operator.strides, operator.dilations
    start_value, zero_point = frame.scalars
    multipliers, native, epilogue = frame.constants("float32"), isa.vector_widths(lanes)[0], operator.epilogue
    one = kernel.bind(multipliers.load(0), "multiplier") if epilogue.multiplier.size == 1 else None
    fits_int16 = product_fits_int16(255 * height * width, epilogue.multiplier)
    first = source.origin - operator.pads[0] * source.pitch - operator.pads[1] * source.pixel
    for run, step, count in phase_runs(phases.starts):
        with (
            kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
            kernel.loop(y.width, name="column") as column,
            kernel.loop(count, name="phase") as phase,
        ):
            channel = phases.starts[run] + phase * step
            at = row * (down * source.pitch) + column * (across * source.pixel)
            at = kernel.bind(at + channel + first, "at")
            start, steps = tir.splat(start_value, f"int32x{lanes}"), (apart * source.pitch, beside * source.pixel)
            if height * width > UNROLLED:
                total = sum_pixels(kernel, frame.tensors[0], (at, 0), sum_blocks(height, width), steps, start)
            else:
                total = tir.splat(0, f"int16x{lanes}")
                for i, j in product(range(height), range(width)):  # [lanes] of each tap
                    tap = frame.tensors[0].load(at + (i * steps[0] + j * steps[1]), lanes)
                    total = kernel.bind(total + tir.cast(tap, "int16"), "sum")
                total = tir.cast(total, "int32") + start
            factor = kernel.bind(multipliers.load(row * y.width + column), "multiplier") if one is None else one
            factors = [tir.splat(factor, f"float32x{native}")] * (lanes // native)
            acc = tir.split(kernel.bind(total, "sum"), native)
            value = isa.requantize(acc, factors, zero_point, epilogue.low, epilogue.high, fits_int16)
            kernel.store(frame.tensors[1], target.origin + row * target.pitch + column * target.pixel + channel, value)
    form = f"avgpool{window_name(operator)}{'_counted' * (one is None)}_{y.height}x{y.width}_c{y.channels}"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_qs8_{form}__{isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
        scalars=(operator.bias, epilogue.zero_point),
        constants=epilogue.multiplier.tobytes(),
    )
