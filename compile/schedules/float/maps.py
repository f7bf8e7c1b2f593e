"""Float operators that treat every element of a map alike, or only move it: functions, sums, concatenations, crops."""

from __future__ import annotations

import numpy as np

from compile.ir import tir
from compile.ir.float_program import FloatAdd, FloatConcat, FloatCrop, FloatFunction
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr
from compile.schedules.base import FLOAT_NAMES, Context, KernelFrame, MaybeScheduled, Scheduled
from compile.schedules.int8.moves.copy import copy_channels, pixel_at
from compile.schedules.phases import flat_phases

SIXTH = float(np.float32(1 / 6))


def schedule_float_map(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a function or a sum, a row as one run of vectors; None for anything else."""
    if not isinstance(operator, FloatFunction | FloatAdd):
        return None
    places = [context.place(tensor) for tensor in (*operator.inputs, operator.output)]
    target, element = places[-1], operator.output.element
    phases = flat_phases(context.isa.float_lanes, target)
    frame = KernelFrame(operator.name, len(places), element=element)
    kernel = frame.kernel
    for start in phases.starts:
        with (
            kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
            kernel.loop(phases.count, name="column") as column,
        ):
            along = phases.along(column) + start
            values = [
                kernel.bind(pointer.load(place.origin + row * place.pitch + along, phases.lanes), "x")
                for pointer, place in zip(frame.tensors[:-1], places[:-1], strict=True)
            ]
            value = _apply(operator, values)
            kernel.store(frame.tensors[-1], target.origin + row * target.pitch + along, value)
    what = "add" if isinstance(operator, FloatAdd) else operator.function
    shape = f"{operator.output.height}x{operator.output.width}_c{operator.output.channels}"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{FLOAT_NAMES[element]}_{what}_{shape}__{context.isa.name}",
        offsets=tuple(place.offset for place in places),
        units=operator.output.height,
    )


def _apply(operator: FloatFunction | FloatAdd, values: list[Expr]) -> Expr:
    dtype = tir.dtype_of(values[0])
    zero = tir.splat(0.0, dtype)
    if isinstance(operator, FloatAdd):
        total = values[0] + values[1]
        return tir.maximum(total, zero) if operator.relu else total
    (x,) = values
    if operator.function == "relu":
        return tir.maximum(x, zero)
    opened = x * tir.splat(SIXTH, dtype) + tir.splat(0.5, dtype)
    opened = tir.minimum(tir.maximum(opened, zero), tir.splat(1.0, dtype))
    return opened if operator.function == "hard_sigmoid" else x * opened


def schedule_float_copy(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a concatenation or a crop; None for anything else."""
    if not isinstance(operator, FloatConcat | FloatCrop):
        return None
    sources, target = [context.place(tensor) for tensor in operator.inputs], context.place(operator.output)
    y, lanes = operator.output, context.isa.float_lanes
    frame = KernelFrame(operator.name, len(sources) + 1, element=y.element)
    kernel, first = frame.kernel, 0
    row_at, column_at, channel = (
        (operator.row, operator.column, operator.channel) if isinstance(operator, FloatCrop) else (0, 0, 0)
    )
    for source, pointer in zip(sources, frame.tensors, strict=False):
        channels = y.channels if isinstance(operator, FloatCrop) else source.tensor.channels
        with (
            kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
            kernel.loop(y.width, name="column") as column,
        ):
            here = pixel_at(source, row + row_at, column + column_at) + channel
            there = pixel_at(target, row, column) + first
            copy_channels(kernel, pointer, here, frame.tensors[-1], there, channels, lanes)
        first += channels
    what = "crop" if isinstance(operator, FloatCrop) else "concat"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{FLOAT_NAMES[y.element]}_{what}_{y.height}x{y.width}_c{y.channels}__{context.isa.name}",
        offsets=(*(source.offset for source in sources), target.offset),
        units=y.height,
    )
