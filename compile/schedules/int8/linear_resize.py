"""Bilinear interpolation: four neighbours with weights of 11 bits along each axis, summed in int32."""

from __future__ import annotations

from calib.integer.program import LinearResize
from calib.integer.qparams import LINEAR_SHIFT
from compile.ir import tir
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr, Kernel, Pointer
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled, product_fits_int16
from compile.schedules.phases import phase_runs, pixel_phases

LARGEST_SUM = 255 << 2 * LINEAR_SHIFT


def schedule_linear_resize(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a bilinear interpolation; None for anything else."""
    if not isinstance(operator, LinearResize):
        return None
    isa, source, target, y = context.isa, context.place(operator.input), context.place(operator.output), operator.output
    phases = pixel_phases(isa.lanes8, target)
    frame = KernelFrame(operator.name, 2, 2)
    kernel, lanes, epilogue = frame.kernel, phases.lanes, operator.epilogue
    start_value, zero_point = frame.scalars
    taps, native = frame.constants("int32"), isa.vector_widths(lanes)[0]
    of_columns, of_epilogue = 3 * y.height, 3 * (y.height + y.width)
    multiplier = tir.splat(kernel.bind(frame.constants("float32").load(of_epilogue), "multiplier"), f"float32x{native}")
    fits_int16 = product_fits_int16(LARGEST_SUM, epilogue.multiplier)
    with kernel.loop(frame.end - frame.begin, frame.begin, "row") as row:
        rows, row_weights = _taps(kernel, taps, row * 3, source.pitch)
        with kernel.loop(y.width, name="column") as column:
            columns, column_weights = _taps(kernel, taps, column * 3 + of_columns, source.pixel)
            for first, step, count in phase_runs(phases.starts):
                with kernel.loop(count, name="phase") as phase:
                    channel = phases.starts[first] + phase * step
                    acc = tir.splat(start_value, f"int32x{lanes}")
                    for at_row, row_weight in zip(rows, row_weights, strict=True):
                        pixels = [
                            frame.tensors[0].load(at_row + at_column + (channel + source.origin), lanes)
                            for at_column in columns
                        ]
                        # [lanes] of two neighbours in a row, then of the two rows
                        across = _weighted(pixels, column_weights)
                        acc = kernel.bind(acc + across * tir.splat(row_weight, f"int32x{lanes}"), "sum")
                    parts = tir.split(acc, native)
                    factors = [multiplier] * len(parts)
                    value = isa.requantize(parts, factors, zero_point, epilogue.low, epilogue.high, fits_int16)
                    at = target.origin + row * target.pitch + column * target.pixel + channel
                    kernel.store(frame.tensors[1], at, value)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_qs8_linear_{y.height}x{y.width}_c{y.channels}__{isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
        scalars=(operator.bias, epilogue.zero_point),
        constants=operator.rows.tobytes() + operator.columns.tobytes() + epilogue.multiplier.tobytes(),
    )


def _taps(kernel: Kernel, taps: Pointer, at: Expr, step: int) -> tuple[list[Expr], list[Expr]]:
    """Load two neighbours, as elements from the first one's row or column on, and their weights."""
    first, second, weight = (kernel.bind(taps.load(at + index), "tap") for index in range(3))
    places = [kernel.bind(tir.cast(tap, tir.INDEX) * step, "place") for tap in (first, second)]
    return places, [tir.const(1 << LINEAR_SHIFT, "int32") - weight, weight]


def _weighted(values: list[Expr], weights: list[Expr]) -> Expr:
    """Return the sum of two int8 vectors times their weights, int32."""
    lanes = tir.split_dtype(tir.dtype_of(values[0]))[1]
    left, right = (
        tir.cast(value, "int32") * tir.splat(weight, f"int32x{lanes}")
        for value, weight in zip(values, weights, strict=True)
    )
    return left + right
