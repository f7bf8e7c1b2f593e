"""Rows and columns picked by number: enlargements by other than whole factors, slices with steps, mirrored borders."""

from __future__ import annotations

from calib.integer.program import SelectPixels
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.schedules.base import NAMES, Context, KernelFrame, MaybeScheduled, Scheduled, lanes_of
from compile.schedules.int8.moves.copy import copy_channels, pixel_at


def schedule_select_pixels(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a selection of pixels; None for anything else."""
    if not isinstance(operator, SelectPixels):
        return None
    source, target, y = context.place(operator.input), context.place(operator.output), operator.output
    frame = KernelFrame(operator.name, 2, element=y.element)
    kernel, numbers, lanes = frame.kernel, frame.constants("int32"), lanes_of(context.isa, y.element)
    # [x.height, x.width, C] -> [y.height, y.width, C]; constants: the numbers of the rows, then of the columns
    with kernel.loop(frame.end - frame.begin, frame.begin, "row") as row:
        source_row = kernel.bind(tir.cast(numbers.load(row), tir.INDEX), "source_row")
        with kernel.loop(y.width, name="column") as column:
            source_column = tir.cast(numbers.load(column + y.height), tir.INDEX)
            here = kernel.bind(pixel_at(source, source_row, source_column), "here")
            there = pixel_at(target, row, column)
            copy_channels(kernel, frame.tensors[0], here, frame.tensors[1], there, y.channels, lanes)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{NAMES[y.element]}_select_{y.height}x{y.width}_c{y.channels}__{context.isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
        constants=operator.rows.tobytes() + operator.columns.tobytes(),
    )
