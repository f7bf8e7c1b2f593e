"""Global average pooling: sums in int16 while they cannot overflow, then int32, then one requantization."""

from __future__ import annotations

from dataclasses import dataclass

from calib.integer.program import GlobalAveragePool
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr, Kernel, Pointer
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled, is_wide
from compile.schedules.phases import phase_runs, pixel_phases

SAFE_TERMS = 256  # 256 * -128 is the lowest int16


@dataclass(frozen=True)
class Block:
    """A part of the map whose sum fits int16; `count` of them follow each other downwards."""

    row: int
    column: int
    rows: int
    columns: int
    count: int


def sum_blocks(height: int, width: int) -> tuple[Block, ...]:
    """Cut a map into blocks of at most `SAFE_TERMS` pixels: some rows, or parts of one where a row is too long."""
    columns = min(width, SAFE_TERMS)
    rows = min(height, SAFE_TERMS // columns)
    count, rest = divmod(height, rows)
    blocks = []
    for column in range(0, width, columns):
        part = min(columns, width - column)
        blocks.append(Block(0, column, rows, part, count))
        if rest:
            blocks.append(Block(count * rows, column, rest, part, 1))
    return tuple(blocks)


def schedule_pool(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a global average pool of 8 bits; None for anything else."""
    if not isinstance(operator, GlobalAveragePool) or is_wide(operator):
        return None
    isa, source, target = context.isa, context.place(operator.input), context.place(operator.output)
    phases = pixel_phases(isa.lanes8, target)
    frame = KernelFrame(operator.name, 2, 2)
    kernel, lanes = frame.kernel, phases.lanes
    height, width = operator.input.height, operator.input.width
    blocks = sum_blocks(height, width)
    start_value, zero_point = frame.scalars
    scale = frame.constants("float32")
    multiplier = kernel.bind(scale.load(0), "multiplier")
    # int8 [H, W, C] -> int32 sums [C] -> int8 means [1, 1, C]
    with kernel.when(frame.begin < frame.end):
        for first, step, count in phase_runs(phases.starts):
            with kernel.loop(count, name="phase") as number:
                start = phases.starts[first] + number * step
                zero, steps = tir.splat(start_value, f"int32x{lanes}"), (source.pitch, source.pixel)
                total = sum_pixels(kernel, frame.tensors[0], (source.origin, start), blocks, steps, zero)
                native = isa.vector_widths(lanes)[0]
                acc = tir.split(kernel.bind(total, "sum"), native)
                factors = [tir.splat(multiplier, f"float32x{native}")] * len(acc)
                epilogue = operator.epilogue
                value = isa.requantize(acc, factors, zero_point, epilogue.low, epilogue.high)
                kernel.store(frame.tensors[1], target.origin + start, value)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_qs8_pool_{height}x{width}_c{operator.input.channels}__{isa.name}",
        offsets=(source.offset, target.offset),
        units=1,
        scalars=(operator.bias, operator.epilogue.zero_point),
        constants=operator.epilogue.multiplier.tobytes(),
    )


def sum_pixels(
    kernel: Kernel,
    x: Pointer,
    first: tuple[Expr, Expr],
    blocks: tuple[Block, ...],
    steps: tuple[int, int],
    start_value: Expr,
) -> Expr:
    """Return `start_value` plus the sum over all pixels of some channels, as int32.

    Args:
        kernel: gets the loops.
        x: int8 activations.
        first: where the first pixel is, and from there the channels.
        blocks: the pixels, from `sum_blocks`.
        steps: elements from a row to the next, and from a pixel to the next.
        start_value: int32, as many lanes as there are channels.
    """
    lanes = tir.split_dtype(tir.dtype_of(start_value))[1]
    wide = kernel.local(1, f"int32x{lanes}")
    kernel.store(wide, 0, start_value)
    # each block, int8 [rows, columns, lanes] -> int16 sums [lanes], which are added to int32 [lanes]
    for block in blocks:
        with kernel.loop(block.count, name="block") as index:
            narrow = kernel.local(1, f"int16x{lanes}")
            kernel.store(narrow, 0, tir.splat(0, f"int16x{lanes}"))
            top = block.row + index * block.rows
            with (
                kernel.loop(block.rows, name="row") as row,
                kernel.loop(block.columns, block.column, name="x") as column,
            ):
                at = first[0] + (top + row) * steps[0] + column * steps[1] + first[1]
                kernel.store(narrow, 0, narrow.load(0) + tir.cast(x.load(at, lanes), "int16"))
            kernel.store(wide, 0, wide.load(0) + tir.cast(narrow.load(0), "int32"))
    return wide.load(0)
