"""Element-wise functions as a table of 256, e.g. the hard sigmoid of a squeeze-excite gate."""

from __future__ import annotations

from calib.integer.program import Lookup
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr, Kernel
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled

OFFSET = 128  # the table starts with the entry of -128
LEAST = 16  # bytes that are looked up at once; a shorter row goes byte by byte


def schedule_lookup(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a table lookup; None for anything else."""
    if not isinstance(operator, Lookup):
        return None
    source, target = context.place(operator.input), context.place(operator.output)
    frame = KernelFrame(operator.name, 2)
    kernel = frame.kernel
    length = target.tensor.width * target.pixel  # bytes of a row; both tensors have pixels of one size
    is_vector = context.isa.has_table_lookup and length >= LEAST
    with kernel.loop(frame.end - frame.begin, frame.begin, "row") as row:
        here, there = source.origin + row * source.pitch, target.origin + row * target.pitch
        if is_vector:
            _look_up_vectors(kernel, frame, context, length, here, there)
        else:
            with (
                kernel.loop(operator.input.width, name="x") as x,
                kernel.loop(operator.input.channels, name="channel") as channel,
            ):
                value = frame.tensors[0].load(here + x * source.pixel + channel)
                entry = frame.weights.load(tir.cast(value, tir.INDEX) + OFFSET)
                kernel.store(frame.tensors[1], there + x * target.pixel + channel, entry)
    shape = f"{operator.input.height}x{operator.input.width}_c{operator.input.channels}"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_qs8_lookup_{shape}__{context.isa.name}",
        offsets=(source.offset, target.offset),
        units=operator.input.height,
        constants=context.isa.pack_table(operator.table) if is_vector else operator.table.tobytes(),
    )


def _look_up_vectors(
    kernel: Kernel, frame: KernelFrame, context: Context, length: int, here: Expr, there: Expr
) -> None:
    """Look up a row as one run of bytes; the last vector overlaps the one before."""
    lanes = context.isa.table_lanes
    while lanes > length:
        lanes //= 2
    with kernel.loop(-(-length // lanes), name="part") as part:
        at = part * lanes
        if length % lanes:
            at = tir.minimum(at, tir.const(length - lanes))
        value = frame.tensors[0].load(here + at, lanes)
        index = tir.reinterpret(tir.bitwise_xor(value, tir.splat(-OFFSET, f"int8x{lanes}")), f"uint8x{lanes}")
        entries = context.isa.table_lookup(kernel, frame.weights, kernel.bind(index, "index"))
        kernel.store(frame.tensors[1], there + at, entries)
