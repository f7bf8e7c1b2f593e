"""Average pooling over a window: the taps are read from the border, too, which holds the zero point."""

from __future__ import annotations

from calib.integer.program import AveragePool
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled, product_fits_int16
from compile.schedules.phases import phase_runs, pixel_phases
from compile.schedules.tiles import window_name


def schedule_average_pool(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule an average pool over a window; None for anything else."""
    if not isinstance(operator, AveragePool):
        return None
    isa, source, target = context.isa, context.place(operator.input), context.place(operator.output)
    phases = pixel_phases(isa.lanes8, target)
    frame = KernelFrame(operator.name, 2, 2)
    kernel, lanes, y, (height, width) = frame.kernel, phases.lanes, operator.output, operator.kernel
    (down, across), (apart, beside) = operator.strides, operator.dilations
    start_value, zero_point = frame.scalars
    multiplier = kernel.bind(frame.constants("float32").load(0), "multiplier")
    native, epilogue = isa.vector_widths(lanes)[0], operator.epilogue
    factors = [tir.splat(multiplier, f"float32x{native}")] * (lanes // native)
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
            total = tir.splat(0, f"int16x{lanes}")
            for i in range(height):
                for j in range(width):  # [lanes] of each tap; the rule lets sums through that fit int16
                    tap = frame.tensors[0].load(at + (i * apart * source.pitch + j * beside * source.pixel), lanes)
                    total = kernel.bind(total + tir.cast(tap, "int16"), "sum")
            acc = tir.split(tir.cast(total, "int32") + tir.splat(start_value, f"int32x{lanes}"), native)
            value = isa.requantize(acc, factors, zero_point, epilogue.low, epilogue.high, fits_int16)
            kernel.store(frame.tensors[1], target.origin + row * target.pitch + column * target.pixel + channel, value)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_qs8_avgpool{window_name(operator)}_{y.height}x{y.width}_c{y.channels}__{isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
        scalars=(operator.bias, epilogue.zero_point),
        constants=epilogue.multiplier.tobytes(),
    )
