"""Sums with int16 in them that no convolution took over, and tensors brought to another scale."""

from __future__ import annotations

from calib.integer.program import Rescale, WideAdd
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.schedules.base import NAMES, Context, KernelFrame, MaybeScheduled, Scheduled, lanes_of
from compile.schedules.int8.broadcast import load_spread
from compile.schedules.phases import flat_phases, phase_runs, pixel_phases
from compile.schedules.wide_epilogue import narrowed, requantize_wide, sum_wide


def schedule_wide_add(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule such a sum of two maps, or of a map and one value along some axes; None for anything else."""
    if not isinstance(operator, WideAdd):
        return None
    isa, y = context.isa, operator.output
    source, other, target = (context.place(tensor) for tensor in (operator.input, operator.other, y))
    phases = pixel_phases(lanes_of(isa, "int16"), target)
    frame = KernelFrame(operator.name, 3, element=tuple(p.tensor.element for p in (source, other, target)))
    kernel, lanes, native = frame.kernel, phases.lanes, isa.vector_widths(phases.lanes)[0]
    factors = [
        [tir.splat(factor, f"float32x{native}")] * (lanes // native)
        for factor in (operator.factor, operator.other_factor)
    ]
    # [H, W, C] + [H or 1, W or 1, C or 1] -> [H, W, C]
    for first, step, count in phase_runs(phases.starts):
        with (
            kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
            kernel.loop(y.width, name="column") as column,
            kernel.loop(count, name="phase") as phase,
        ):
            channel = phases.starts[first] + phase * step
            at = source.origin + row * source.pitch + column * source.pixel + channel
            values = (
                frame.tensors[0].load(at, lanes),
                load_spread(frame.tensors[1], other, (row, column, channel), lanes),
            )
            terms = [
                tir.split(tir.cast(value, "int32") - tir.splat(tensor.qparams.zero_point, f"int32x{lanes}"), native)
                for value, tensor in zip(values, operator.inputs, strict=True)
            ]
            sums = sum_wide(isa, (terms[0], terms[1]), (factors[0], factors[1]))
            value = narrowed(isa, sums, y.qparams.zero_point, (operator.low, operator.high), y.element)
            kernel.store(frame.tensors[2], target.origin + row * target.pitch + column * target.pixel + channel, value)
    kinds = "".join(NAMES[tensor.element] for tensor in (*operator.inputs, y))
    shapes = f"{'x'.join(map(str, y.shape))}_by_{'x'.join(map(str, operator.other.shape))}"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_q{kinds}_add_{shapes}__{isa.name}",
        offsets=(source.offset, other.offset, target.offset),
        units=y.height,
    )


def schedule_rescale(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a tensor brought to another scale and width; None for anything else."""
    if not isinstance(operator, Rescale):
        return None
    isa, x, y = context.isa, operator.input, operator.output
    source, target = context.place(x), context.place(y)
    phases = flat_phases(lanes_of(isa, "int16"), target)
    frame = KernelFrame(operator.name, 2, 1, (x.element, y.element))
    kernel, lanes, native = frame.kernel, phases.lanes, isa.vector_widths(phases.lanes)[0]
    multiplier = kernel.bind(frame.constants("float32").load(0), "multiplier")
    factors = [tir.splat(multiplier, f"float32x{native}")] * (lanes // native)
    # [H, W, C] -> [H, W, C], a row as one run of vectors
    for start in phases.starts:
        with (
            kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
            kernel.loop(phases.count, name="column") as column,
        ):
            along = phases.along(column) + start
            value = frame.tensors[0].load(source.origin + row * source.pitch + along, lanes)
            steps = tir.cast(value, "int32") - tir.splat(frame.scalars[0], f"int32x{lanes}")
            result = requantize_wide(isa, tir.split(steps, native), factors, operator.epilogue, y.element)
            kernel.store(frame.tensors[1], target.origin + row * target.pitch + along, result)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_q{NAMES[x.element]}_rescale_{NAMES[y.element]}_{y.height}x{y.width}_c{y.channels}__{isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
        scalars=(x.qparams.zero_point,),
        constants=operator.epilogue.multiplier.tobytes(),
    )
