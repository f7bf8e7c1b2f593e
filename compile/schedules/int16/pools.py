"""Averages that read or write int16: of a whole map and of windows, summed in int32."""

from __future__ import annotations

from calib.integer.program import AveragePool, GlobalAveragePool
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr, Kernel, Pointer
from compile.schedules.base import NAMES, Context, KernelFrame, MaybeScheduled, Scheduled, is_wide, lanes_of
from compile.schedules.phases import phase_runs, pixel_phases
from compile.schedules.tiles import window_name
from compile.schedules.wide_epilogue import requantize_wide


def schedule_wide_pool(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule such an average; None for anything else.

    A unit is a row of the output. The border of the input holds the zero point.
    """
    if not isinstance(operator, AveragePool | GlobalAveragePool) or not is_wide(operator):
        return None
    isa, x, y, epilogue = context.isa, operator.input, operator.output, operator.epilogue
    source, target = context.place(x), context.place(y)
    phases = pixel_phases(lanes_of(isa, "int16"), target)
    frame = KernelFrame(operator.name, 2, 1, (x.element, y.element))
    kernel, lanes, native = frame.kernel, phases.lanes, isa.vector_widths(phases.lanes)[0]
    if isinstance(operator, AveragePool):
        (down, across), (above, left) = operator.strides, operator.pads
        size, steps = operator.kernel, (operator.dilations[0] * source.pitch, operator.dilations[1] * source.pixel)
        what = f"avgpool{window_name(operator)}"
    else:
        down = across = above = left = 0
        size, steps, what = (x.height, x.width), (source.pitch, source.pixel), f"pool_{x.height}x{x.width}"
    multipliers, several = frame.constants("float32"), epilogue.multiplier.size > 1
    # each window [kh, kw, C] -> int32 sums [C] -> means [C]
    with (
        kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
        kernel.loop(y.width, name="column") as column,
    ):
        factor = kernel.bind(multipliers.load(row * y.width + column if several else 0), "multiplier")
        at = row * (down * source.pitch) + column * (across * source.pixel)
        at = kernel.bind(at + (source.origin - above * source.pitch - left * source.pixel), "at")
        there = target.origin + row * target.pitch + column * target.pixel
        for first, step, count in phase_runs(phases.starts):
            with kernel.loop(count, name="phase") as phase:
                channel = phases.starts[first] + phase * step
                start = tir.splat(frame.scalars[0], f"int32x{lanes}")
                total = _sum(kernel, frame.tensors[0], at + channel, size, steps, start)
                acc = tir.split(kernel.bind(total, "sum"), native)
                factors = [tir.splat(factor, f"float32x{native}")] * len(acc)
                value = requantize_wide(isa, acc, factors, epilogue, y.element)
                kernel.store(frame.tensors[1], there + channel, value)
    kinds = NAMES[x.element] + NAMES[y.element]
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_q{kinds}_{what}{'_counted' * several}_{y.height}x{y.width}_c{y.channels}__{isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
        scalars=(operator.bias,),
        constants=epilogue.multiplier.tobytes(),
    )


def _sum(kernel: Kernel, x: Pointer, at: Expr, size: tuple[int, int], steps: tuple[int, int], start: Expr) -> Expr:
    """Return `start` plus the sum of the taps of a window, int32 [lanes].

    Args:
        kernel: gets the loops.
        x: what is read.
        at: elements before the channels of the first tap.
        size: taps, down and across.
        steps: elements from a tap to the next, down and across.
        start: int32.
    """
    dtype = tir.dtype_of(start)
    total = kernel.local(1, dtype)
    kernel.store(total, 0, start)
    with kernel.loop(size[0], name="i") as i, kernel.loop(size[1], name="j") as j:
        tap = x.load(at + i * steps[0] + j * steps[1], tir.split_dtype(dtype)[1])
        kernel.store(total, 0, total.load(0) + tir.cast(tap, "int32"))
    return total.load(0)
