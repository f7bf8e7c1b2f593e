"""Float operators that take one number per channel or per pixel along: gates, slopes below zero."""

from __future__ import annotations

import numpy as np

from compile.ir import tir
from compile.ir.float_program import FloatBinary, FloatChannelSlopes, FloatGate, FloatTensor
from compile.ir.memory_plan import AnyOperator, TensorPlace
from compile.ir.tir import Expr
from compile.schedules.base import (
    FLOAT_NAMES,
    Context,
    KernelFrame,
    MaybeScheduled,
    Scheduled,
    binary_name,
    combine_floats,
)
from compile.schedules.int8.moves.copy import pixel_at
from compile.schedules.int8.multiply import gate_runs, load_gate
from compile.schedules.phases import channel_phases, phase_runs, pixel_phases

SIXTH = float(np.float32(1 / 6))


def schedule_float_gate(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a gate or whatever else takes a number per channel along; None for anything else."""
    if not isinstance(operator, FloatGate | FloatChannelSlopes) and not _is_of_channels(operator):
        return None
    assert isinstance(operator, FloatGate | FloatChannelSlopes | FloatBinary)
    places = [context.place(tensor) for tensor in (*operator.inputs, operator.output)]
    source, target, element = places[0], places[-1], operator.output.element
    phases = channel_phases(context.isa.float_lanes, target)
    frame = KernelFrame(operator.name, len(places), element=element)
    kernel, factors, place = frame.kernel, frame.tensors[1], places[1]
    constants = b""
    if isinstance(operator, FloatChannelSlopes):
        slopes = FloatTensor("slopes", 1, 1, operator.output.channels, element)
        factors, place = frame.constants(element), TensorPlace(slopes, 0, 0)
        constants = np.pad(operator.slopes, (0, place.pixel - slopes.channels)).astype(element).tobytes()
    # [H, W, C] by [C] -> [H, W, C]: the factors of a phase stay in a register for all its pixels
    for first, step, count in gate_runs(phases, target):
        with kernel.loop(count, name="phase") as number:
            start = phases.starts[first] + number * step
            raw = load_gate(kernel, factors, place, phases.lanes, start if count > 1 else phases.starts[first])
            factor = kernel.bind(_opened(raw), "gate") if isinstance(operator, FloatGate) else raw
            with (
                kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
                kernel.loop(phases.count, name="column") as column,
            ):
                for pixel in range(phases.pixels):
                    along = phases.along(column) + start + pixel * target.pixel
                    x = frame.tensors[0].load(source.origin + row * source.pitch + along, phases.lanes)
                    value = _applied(operator, x, factor)
                    kernel.store(frame.tensors[-1], target.origin + row * target.pitch + along, value)
    what = "slopes" if isinstance(operator, FloatChannelSlopes) else "gate"
    if isinstance(operator, FloatBinary):
        what = f"{binary_name(operator)}_channels"
    return Scheduled(
        function=kernel.finish(),
        name=_name(operator, what, context),
        offsets=tuple(place.offset for place in places),
        units=operator.output.height,
        constants=constants,
    )


def _opened(raw: Expr) -> Expr:
    vector = tir.dtype_of(raw)
    opened = raw * tir.splat(SIXTH, vector) + tir.splat(0.5, vector)
    return tir.minimum(tir.maximum(opened, tir.splat(0.0, vector)), tir.splat(1.0, vector))


def _applied(operator: FloatGate | FloatChannelSlopes | FloatBinary, x: Expr, factor: Expr) -> Expr:
    match operator:
        case FloatGate():
            return x * factor
        case FloatBinary():
            return combine_floats(operator, x, factor)
    return tir.select(x < tir.splat(0.0, tir.dtype_of(x)), x * factor, x)


def schedule_float_pixel_gate(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a sum, a difference or a product with one number per pixel, row or column; None for anything else."""
    if not isinstance(operator, FloatBinary) or operator.other.shape == operator.output.shape:
        return None
    if _is_of_channels(operator):
        return None
    source, gate, target = (context.place(t) for t in (operator.input, operator.other, operator.output))
    phases, element = pixel_phases(context.isa.float_lanes, target), operator.output.element
    frame = KernelFrame(operator.name, 3, element=element)
    kernel, vector = frame.kernel, f"{element}x{phases.lanes}"
    # [H, W, C] by [H or 1, W or 1, 1] -> [H, W, C]
    with (
        kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
        kernel.loop(operator.output.width, name="column") as column,
    ):
        other_row = row if operator.other.height > 1 else 0
        other_column = column if operator.other.width > 1 else 0
        factor = frame.tensors[1].load(pixel_at(gate, other_row, other_column))
        factor = kernel.bind(tir.splat(factor, vector), "gate")
        for first, step, count in phase_runs(phases.starts):
            with kernel.loop(count, name="phase") as number:
                along = column * target.pixel + (phases.starts[first] + number * step)
                x = frame.tensors[0].load(source.origin + row * source.pitch + along, phases.lanes)
                value = combine_floats(operator, x, factor)
                kernel.store(frame.tensors[2], target.origin + row * target.pitch + along, value)
    return Scheduled(
        function=kernel.finish(),
        name=_name(operator, f"{binary_name(operator)}_pixels", context),
        offsets=(source.offset, gate.offset, target.offset),
        units=operator.output.height,
    )


def _is_of_channels(operator: AnyOperator) -> bool:
    """Tell whether the other map of a sum, a difference or a product is one pixel of several channels."""
    if not isinstance(operator, FloatBinary) or operator.other.shape == operator.output.shape:
        return False
    return operator.other.channels > 1


def _name(operator: FloatGate | FloatChannelSlopes | FloatBinary, what: str, context: Context) -> str:
    y = operator.output
    return f"rg_{FLOAT_NAMES[y.element]}_{what}_{y.height}x{y.width}_c{y.channels}__{context.isa.name}"
