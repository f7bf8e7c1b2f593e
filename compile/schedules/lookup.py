"""Element-wise functions as a table of 256, e.g. the hard sigmoid of a squeeze-excite gate."""

from __future__ import annotations

from calib.program import Lookup
from compile import tir
from compile.layout import AnyOperator
from compile.schedules.base import Answer, Context, KernelFrame, Scheduled

OFFSET = 128  # the table starts with the entry of -128


def schedule_lookup(operator: AnyOperator, context: Context) -> Answer:
    """Schedule a table lookup; None for anything else."""
    if not isinstance(operator, Lookup):
        return None
    source, target = context.place(operator.input), context.place(operator.output)
    frame = KernelFrame(operator.name, 2)
    kernel = frame.kernel
    with (
        kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
        kernel.loop(operator.input.width, name="x") as x,
        kernel.loop(operator.input.channels, name="channel") as channel,
    ):
        value = frame.tensors[0].load(source.origin + row * source.pitch + x * source.pixel + channel)
        entry = frame.weights.load(tir.cast(value, tir.INDEX) + OFFSET)
        kernel.store(frame.tensors[1], target.origin + row * target.pitch + x * target.pixel + channel, entry)
    shape = f"{operator.input.height}x{operator.input.width}_c{operator.input.channels}"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_qs8_lookup_{shape}__{context.isa.name}",
        offsets=(source.offset, target.offset),
        units=operator.input.height,
        constants=operator.table.tobytes(),
    )
