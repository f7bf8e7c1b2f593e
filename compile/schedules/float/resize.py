"""A map of another size: each pixel a copy of one, or a mean of four, that tables of rows and columns name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compile.ir import tir
from compile.ir.float_program import FloatResize
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr, Kernel
from compile.schedules.base import FLOAT_NAMES, Context, KernelFrame, MaybeScheduled, Scheduled
from compile.schedules.phases import phase_runs, pixel_phases


def schedule_float_resize(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule a change of size, interpolated in float32 whatever is stored; None for anything else."""
    if not isinstance(operator, FloatResize):
        return None
    source, target, y = context.place(operator.input), context.place(operator.output), operator.output
    phases, frame = pixel_phases(context.isa.float_lanes, target), KernelFrame(operator.name, 2, element=y.element)
    kernel, places, shares = frame.kernel, frame.constants("int32"), frame.constants("float32")
    is_copy = not (operator.row_shares.any() or operator.column_shares.any())
    height, width, lanes = y.height, y.width, phases.lanes
    with kernel.loop(frame.end - frame.begin, frame.begin, "row") as row:
        rows = [kernel.bind(tir.cast(places.load(row + at), tir.INDEX), "row") for at in (0, height)]
        row_shares = _pair(kernel, shares.load(row + 2 * height))
        with kernel.loop(width, name="column") as column:
            across = column + 3 * height
            columns = [kernel.bind(tir.cast(places.load(across + at), tir.INDEX), "column") for at in (0, width)]
            column_shares = _pair(kernel, shares.load(across + 2 * width))
            there = target.origin + row * target.pitch + column * target.pixel
            for first, step, count in phase_runs(phases.starts):
                with kernel.loop(count, name="phase") as number:
                    channel = phases.starts[first] + number * step
                    corners = [  # above on the left, above on the right, below
                        frame.tensors[0].load(source.origin + r + c + channel, lanes) for r in rows for c in columns
                    ]
                    value = corners[0] if is_copy else _mean(kernel, corners, row_shares, column_shares)
                    kernel.store(frame.tensors[1], there + channel, tir.cast(value, y.element))
    what = "copy" if is_copy else "linear"
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{FLOAT_NAMES[y.element]}_resize_{what}_{y.height}x{y.width}_c{y.channels}__{context.isa.name}",
        offsets=(source.offset, target.offset),
        units=y.height,
        constants=_table(operator.rows * source.pitch, operator.row_shares)
        + _table(operator.columns * source.pixel, operator.column_shares),
    )


def _table(places: NDArray[np.int32], shares: NDArray[np.float32]) -> bytes:
    """Return where the first and the second of each two begin, in elements, and the share of the second."""
    return places.astype(np.int32).tobytes() + shares.tobytes()


def _pair(kernel: Kernel, share: Expr) -> tuple[Expr, Expr]:
    """Return the share of the first of two rows or columns, and that of the second."""
    second = kernel.bind(share, "share")
    return kernel.bind(tir.splat(1.0, "float32") - second, "share"), second


def _mean(kernel: Kernel, corners: list[Expr], row_shares: tuple[Expr, Expr], column_shares: tuple[Expr, Expr]) -> Expr:
    """Return the mean of four vectors, between the rows first."""
    dtype = f"float32x{tir.split_dtype(tir.dtype_of(corners[0]))[1]}"
    wide = [kernel.bind(tir.cast(corner, "float32"), "corner") for corner in corners]
    above, below, left, right = (tir.splat(share, dtype) for share in (*row_shares, *column_shares))
    return (wide[0] * above + wide[2] * below) * left + (wide[1] * above + wide[3] * below) * right
