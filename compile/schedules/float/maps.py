"""Float operators that treat every element of a map alike, a row as one run of vectors: formulas, sums, products."""

from __future__ import annotations

import hashlib

from compile.intrin import InstructionSet
from compile.ir import tir
from compile.ir.float_program import FloatBinary, FloatFunction
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr, Kernel
from compile.schedules.base import (
    FLOAT_NAMES,
    Context,
    KernelFrame,
    MaybeScheduled,
    Scheduled,
    binary_name,
    combine_floats,
)
from compile.schedules.float.copies import clear_padding
from compile.schedules.float.formulas import FormulaWriter
from compile.schedules.int8.moves.copy import pixel_at
from compile.schedules.phases import flat_phases
from repghost.graph.formulas import name_of


def schedule_float_map(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a formula, or what is made of two maps of one size; None for anything else."""
    if not isinstance(operator, FloatFunction | FloatBinary):
        return None
    if any(tensor.shape != operator.output.shape for tensor in operator.inputs):
        return None  # a gate, or what else is spread over the map
    places = [context.place(tensor) for tensor in (*operator.inputs, operator.output)]
    target, y = places[-1], operator.output
    phases = flat_phases(context.isa.float_lanes, target)
    frame = KernelFrame(operator.name, len(places), element=y.element)
    kernel = frame.kernel
    with kernel.loop(frame.end - frame.begin, frame.begin, "row") as row:
        for start in phases.starts:
            with kernel.loop(phases.count, name="column") as column:
                along = phases.along(column) + start
                values = [
                    kernel.bind(pointer.load(place.origin + row * place.pitch + along, phases.lanes), "x")
                    for pointer, place in zip(frame.tensors[:-1], places[:-1], strict=True)
                ]
                value = _apply(operator, values, kernel, context.isa)
                kernel.store(frame.tensors[-1], target.origin + row * target.pitch + along, value)
        if isinstance(operator, FloatFunction) and target.pixel > y.channels:  # a formula of 0 may be infinite
            with kernel.loop(y.width, name="column") as column:
                clear_padding(kernel, frame.tensors[-1], pixel_at(target, row, column), target)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{FLOAT_NAMES[y.element]}_{_what(operator)}_{y.height}x{y.width}_c{y.channels}__{context.isa.name}",
        offsets=tuple(place.offset for place in places),
        units=y.height,
    )


def _apply(operator: FloatFunction | FloatBinary, values: list[Expr], kernel: Kernel, isa: InstructionSet) -> Expr:
    if isinstance(operator, FloatBinary):
        return combine_floats(operator, *values)
    (x,) = values
    writer = FormulaWriter(kernel, isa, tir.split_dtype(tir.dtype_of(x))[1])
    value = writer.write(operator.steps, kernel.bind(tir.cast(x, "float32")))
    return tir.cast(value, operator.output.element)


def _what(operator: FloatFunction | FloatBinary) -> str:
    if not isinstance(operator, FloatFunction):
        return binary_name(operator)
    name = name_of(operator.steps).lower()
    if name.isidentifier() and len(name) <= 16:
        return name
    return f"formula{hashlib.sha256(repr(operator.steps).encode()).hexdigest()[:8]}"
