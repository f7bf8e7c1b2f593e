"""A map within a larger one: each row is filled with one integer, and what the map has of it is copied over that."""

from __future__ import annotations

from calib.integer.program import Pad
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.schedules.base import NAMES, Context, KernelFrame, MaybeScheduled, Scheduled, lanes_of
from compile.schedules.halo import fill
from compile.schedules.int8.moves.copy import copy_channels, pixel_at


def schedule_pad(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a Pad; None for anything else."""
    if not isinstance(operator, Pad):
        return None
    source, target, x, y = (
        context.place(operator.input),
        context.place(operator.output),
        operator.input,
        operator.output,
    )
    frame = KernelFrame(operator.name, 2, 1, y.element)
    kernel, lanes = frame.kernel, lanes_of(context.isa, y.element)
    value = tir.splat(frame.scalars[0], y.element)
    # [x.height, x.width, x.channels] into [y.height, y.width, y.channels], whose row is filled before
    with kernel.loop(frame.end - frame.begin, frame.begin, "row") as row:
        fill(kernel, frame.tensors[1], pixel_at(target, row, 0), y.width * target.pixel, value, lanes)
        inside = kernel.bind(row - operator.row, "inside")
        with (
            kernel.when(inside >= tir.const(0)),
            kernel.when(inside < tir.const(x.height)),
            kernel.loop(x.width, name="column") as column,
        ):
            here = pixel_at(source, inside, column)
            there = pixel_at(target, row, column + operator.column) + operator.channel
            copy_channels(kernel, frame.tensors[0], here, frame.tensors[1], there, x.channels, lanes)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{NAMES[y.element]}_pad_{y.height}x{y.width}_c{y.channels}__{context.isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
        scalars=(operator.value,),
    )
