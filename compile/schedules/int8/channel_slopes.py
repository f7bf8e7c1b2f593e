"""A slope for each channel below the zero point, another one for all channels above it."""

from __future__ import annotations

import numpy as np

from calib.integer.program import ChannelSlopes
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled
from compile.schedules.phases import phase_runs, pixel_phases


def schedule_channel_slopes(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule slopes of channels; None for anything else."""
    if not isinstance(operator, ChannelSlopes):
        return None
    isa, source, target, y = context.isa, context.place(operator.input), context.place(operator.output), operator.output
    phases = pixel_phases(isa.lanes8, target)
    frame = KernelFrame(operator.name, 2, 2)
    kernel, lanes, (zero_x, zero_y) = frame.kernel, phases.lanes, frame.scalars
    constants, native = frame.constants("float32"), isa.vector_widths(lanes)[0]
    above = tir.splat(kernel.bind(constants.load(target.pixel), "multiplier"), f"float32x{native}")
    zero = tir.splat(0, f"int32x{native}")
    for run, step, count in phase_runs(phases.starts):
        with kernel.loop(count, name="phase") as phase:
            channel = phases.starts[run] + phase * step
            slopes = [
                kernel.bind(constants.load(channel + at, native), "slopes") for at in range(0, lanes, native)
            ]  # [native] of each
            with (
                kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
                kernel.loop(y.width, name="column") as column,
            ):
                x = frame.tensors[0].load(source.origin + row * source.pitch + column * source.pixel + channel, lanes)
                centred = tir.cast(x, "int32") - tir.splat(zero_x, f"int32x{lanes}")
                pieces = []
                for acc, below in zip(tir.split(kernel.bind(centred, "acc"), native), slopes, strict=True):
                    # One of the two is 0, so their sum is exact.
                    total = isa.round_to_int32(tir.cast(tir.maximum(acc, zero), "float32") * above)
                    total = total + isa.round_to_int32(tir.cast(tir.minimum(acc, zero), "float32") * below)
                    pieces.append(isa.narrow_to_int16(total))
                value = tir.concat(pieces)
                value = isa.add_saturating(value, tir.splat(zero_y, tir.dtype_of(value)))
                value = isa.clamp_int8(isa.narrow_to_int8(value), operator.epilogue.low, operator.epilogue.high)
                at = target.origin + row * target.pitch + column * target.pixel + channel
                kernel.store(frame.tensors[1], at, value)
    padded = np.zeros(target.pixel + 1, np.float32)
    padded[: y.channels], padded[-1] = operator.slopes, operator.epilogue.multiplier[0]
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_qs8_slopes_{y.height}x{y.width}_c{y.channels}__{isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
        scalars=(operator.input.qparams.zero_point, operator.epilogue.zero_point),
        constants=padded.tobytes(),
    )
