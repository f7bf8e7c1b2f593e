"""The image in float: bytes into pixels of four floats, of which those left over meet weights of zero.

A table of a normalization is a line: multiplying eight pixels at a time is several times faster than looking up. Other
tables are looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from compile.ir import tir
from compile.ir.float_program import FloatInput
from compile.ir.memory_plan import AnyOperator
from compile.ir.tir import Expr
from compile.schedules.base import FLOAT_NAMES, Context, KernelFrame, MaybeScheduled, Scheduled
from compile.schedules.int8.input_table import LINE_PIXELS, PIXEL, TABLE_BYTES, channel_order, spread_channels
from repghost.channels import SUFFIXES

INTEGER = {"float32": "int32", "float16": "int16"}  # a byte as wide as the float it becomes
NEAR = 3  # neighbours of slope and start that are tried, in units of the last place
ULPS = 1.5  # of the largest value: how far a line may be from the table; rounding alone is half a unit


@dataclass(frozen=True)
class FloatLines:
    """Tables as lines: byte * factor[c] + start[c], rounded once, is tables[c, byte] but for the last place."""

    factor: NDArray[np.floating]  # [channels]
    start: NDArray[np.floating]  # [channels]

    def constants(self) -> bytes:
        """Return the factors, then the starts, of two pixels."""
        order = channel_order(len(self.factor)) * 2
        return self.factor[order].tobytes() + self.start[order].tobytes()


def find_float_lines(tables: NDArray[np.float32], element: str) -> FloatLines | None:
    """Return lines as close to the tables as `element` allows, None where a table is no line."""
    found = [_find_line(table.astype(np.float64), np.dtype(element)) for table in tables]
    lines = [line for line in found if line is not None]
    if len(lines) < len(tables):
        return None
    factors, starts = zip(*lines, strict=True)
    return FloatLines(np.array(factors, element), np.array(starts, element))


def _find_line(table: NDArray[np.float64], element: np.dtype[np.floating]) -> tuple[float, float] | None:
    byte = np.arange(TABLE_BYTES)
    slope = (table[-1] - table[0]) / (TABLE_BYTES - 1)
    best, least = None, ULPS * float(np.spacing(np.abs(table).max().astype(element)))
    for factor, start in product(_neighbours(slope, element), _neighbours(table[0], element)):
        line = (byte * factor + start).astype(element).astype(np.float64)
        error = float(np.abs(line - table).max())
        if error <= least:
            best, least = (factor, start), error
    return best


def _neighbours(value: float, element: np.dtype[np.floating]) -> list[float]:
    near = np.array(value, element)
    return [float(near + step * np.spacing(near)) for step in range(-NEAR, NEAR + 1)]


def schedule_float_input(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule the image's bytes; None for anything else."""
    if not isinstance(operator, FloatInput):
        return None
    place, width, element = context.place(operator.output), operator.output.width, operator.output.element
    channels = operator.output.channels
    lines = find_float_lines(operator.tables, element) if width >= LINE_PIXELS else None
    pixels = LINE_PIXELS if lines else 1
    frame = KernelFrame(operator.name, 1, element=element)
    kernel = frame.kernel
    with (
        kernel.loop(frame.end - frame.begin, frame.begin, "row") as row,
        kernel.loop(-(-width // pixels), name="group") as group,
    ):
        first = group * pixels
        if width % pixels:  # the last group overlaps its neighbour
            first = tir.minimum(first, tir.const(width - pixels))
        source = (row * width + first) * channels
        target = place.origin + row * place.pitch + first * place.pixel
        (_store_lines if lines else _store_one)(frame, element, channels, source, target)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_{FLOAT_NAMES[element]}_{'line' if lines else 'table'}{SUFFIXES[channels]}_c{pixels}"
        f"_{operator.output.height}x{width}__{context.isa.name}",
        offsets=(place.offset,),
        units=operator.output.height,
        constants=lines.constants() if lines else operator.tables.astype(element).tobytes(),
    )


def _store_one(frame: KernelFrame, element: str, channels: int, source: Expr, target: Expr) -> None:
    table = frame.constants(element)
    for place, channel in enumerate(channel_order(channels)):
        byte = tir.cast(frame.rgb.load(source + channel), tir.INDEX)
        frame.kernel.store(frame.tensors[0], target + place, table.load(byte + channel * TABLE_BYTES))


def _store_lines(frame: KernelFrame, element: str, channels: int, source: Expr, target: Expr) -> None:
    """Spread the channels of eight pixels over floats, multiply and add."""
    kernel, constants, two = frame.kernel, frame.constants(element), 2 * PIXEL
    bytes_ = kernel.bind(frame.rgb.load(source, channels * LINE_PIXELS), "rgb")
    factor, start = (kernel.bind(constants.load(at, two), "line") for at in (0, two))
    colours = kernel.bind(spread_channels(bytes_, channels), "colours")
    for number, piece in enumerate(tir.split(colours, two)):
        value = tir.cast(tir.cast(piece, INTEGER[element]), element)
        kernel.store(frame.tensors[0], target + number * two, value * factor + start)
