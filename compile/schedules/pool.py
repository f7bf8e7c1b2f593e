"""Global average pooling: sums in int16 while they cannot overflow, then int32, then one requantization."""

from __future__ import annotations

from calib.program import GlobalAveragePool
from compile import tir
from compile.layout import AnyOperator
from compile.schedules.base import Answer, Context, KernelFrame, Scheduled
from compile.schedules.depthwise import pixel_phases
from compile.tir import Expr

SAFE_TERMS = 255  # 255 * -128 still fits int16, 256 * -128 does too but 256 is no round number of any image


def schedule_pool(operator: AnyOperator, context: Context) -> Answer:
    """Schedule a global average pool; None for anything else."""
    if not isinstance(operator, GlobalAveragePool):
        return None
    isa, source, target = context.isa, context.place(operator.input), context.place(operator.output)
    phases = pixel_phases(isa.lanes8, target)
    frame = KernelFrame(operator.name, 2, 2)
    kernel, lanes = frame.kernel, phases.lanes
    height, width = operator.input.height, operator.input.width
    rows_safe = max(1, SAFE_TERMS // width)
    start_value, zero_point = frame.scalars
    scale = frame.constants("float32")
    multiplier = kernel.bind(scale.load(0), "multiplier")
    with kernel.when(frame.begin < frame.end):
        for start in phases.starts:
            wide = kernel.local(1, f"int32x{lanes}")
            kernel.store(wide, 0, tir.splat(start_value, f"int32x{lanes}"))

            def add_rows(first: Expr, rows: int, start: int = start, wide: tir.Pointer = wide) -> None:
                narrow = kernel.local(1, f"int16x{lanes}")
                kernel.store(narrow, 0, tir.splat(0, f"int16x{lanes}"))
                with kernel.loop(rows, name="row") as row, kernel.loop(width, name="x") as x:
                    at = source.origin + (first + row) * source.pitch + x * source.pixel + start
                    kernel.store(narrow, 0, narrow.load(0) + tir.cast(frame.tensors[0].load(at, lanes), "int16"))
                kernel.store(wide, 0, wide.load(0) + tir.cast(narrow.load(0), "int32"))

            blocks, rest = divmod(height, rows_safe)
            if blocks:
                with kernel.loop(blocks, name="block") as block:
                    add_rows(block * rows_safe, rows_safe)
            if rest:
                add_rows(blocks * rows_safe, rest)
            native = isa.vector_widths(lanes)[0]
            acc = tir.split(kernel.bind(wide.load(0), "sum"), native)
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
