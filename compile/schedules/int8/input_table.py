"""The image: bytes through a table of 256 for each channel into int8 pixels of four bytes.

The bytes that are left over repeat the first one: the weights they meet in the stem are zero. A table of a
normalization is a line that was rounded: where integers of 16 bits give the same line at all 256 bytes, multiplying is
faster than looking up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.integer.program import InputTable
from calib.integer.qparams import INT8_MAX, INT8_MIN, INT16_MAX
from compile.intrin import InstructionSet
from compile.ir import tir
from compile.ir.memory_plan import CHANNEL_GROUP, AnyOperator
from compile.ir.tir import Expr, Kernel
from compile.schedules.base import Context, KernelFrame, MaybeScheduled, Scheduled
from repghost.channels import SUFFIXES

PIXEL = CHANNEL_GROUP  # bytes
TABLE_BYTES = 256
LINE_PIXELS = 8  # computed at once: 24 bytes become 32
LINE_SHIFTS = (15, 14, 13)  # the first one whose factors fit int16 is the most exact
SLOPES = 64  # factors tried on both sides of the slope


@dataclass(frozen=True)
class Lines:
    """Tables as lines: tables[c, b] = clamp((b * factor[c] + start[c]) >> shift, -128, 127) for every byte b."""

    factor: NDArray[np.int16]  # [channels]
    start: NDArray[np.int32]  # [channels]
    shift: int

    def constants(self) -> bytes:
        """Return the factors, then the starts, of two pixels of four bytes; a factor stands before a zero."""
        order = channel_order(len(self.factor)) * 2
        return self.factor[order].astype(np.int32).tobytes() + self.start[order].tobytes()


def channel_order(channels: int) -> list[int]:
    """Return the channel of each byte of a pixel."""
    return [*range(channels), *[0] * (PIXEL - channels)]


def spread_channels(pixels: Expr, channels: int) -> Expr:
    """Return `LINE_PIXELS` pixels of `channels` bytes as pixels of `PIXEL` bytes."""
    spread = [pixel * channels + channel for pixel in range(LINE_PIXELS) for channel in channel_order(channels)]
    copies = -(-len(spread) // (channels * LINE_PIXELS))  # a shuffle takes no more lanes than it is given
    return tir.shuffle([pixels] * copies, spread)


def find_lines(tables: NDArray[np.int8]) -> Lines | None:
    """Return lines that equal the tables at every byte, None where there are none."""
    for shift in LINE_SHIFTS:
        found = [_find_line(table.astype(np.int64), shift) for table in tables]
        lines = [line for line in found if line is not None]
        if len(lines) == len(tables):
            factors, starts = zip(*lines, strict=True)
            return Lines(np.array(factors, np.int16), np.array(starts, np.int32), shift)
    return None


def _find_line(table: NDArray[np.int64], shift: int) -> tuple[int, int] | None:
    """Return factor and start of a line, or None; where the table saturates, the line may go further."""
    byte, unit = np.arange(TABLE_BYTES), 1 << shift
    inner = np.flatnonzero((table > INT8_MIN) & (table < INT8_MAX))
    if len(inner) < 2:
        return None
    slope = (table[inner[-1]] - table[inner[0]]) / (inner[-1] - inner[0])
    for factor in sorted(range(round(slope * unit) - SLOPES, round(slope * unit) + SLOPES + 1),
                         key=lambda value: abs(value - slope * unit)):  # fmt: skip
        least = np.where(table > INT8_MIN, table * unit - byte * factor, np.iinfo(np.int32).min)
        most = np.where(table < INT8_MAX, (table + 1) * unit - 1 - byte * factor, np.iinfo(np.int32).max)
        if abs(factor) <= INT16_MAX and least.max() <= most.min():
            return factor, int(least.max())
    return None


def schedule_input_table(operator: AnyOperator, context: Context) -> MaybeScheduled:
    """Schedule the input lookup; None for anything else."""
    if not isinstance(operator, InputTable):
        return None
    isa, place = context.isa, context.place(operator.output)
    lines = find_lines(operator.tables) if isa.multiplies_pairs and operator.output.width >= LINE_PIXELS else None
    lanes = LINE_PIXELS if lines else table_lanes(isa, operator.output.width)
    frame = KernelFrame(operator.name, 1)
    kernel, width, channels = frame.kernel, operator.output.width, operator.output.channels
    with kernel.loop(frame.end - frame.begin, frame.begin, "row") as row:
        groups = -(-width // lanes)
        with kernel.loop(groups, name="group") as group:
            first = group * lanes
            if width % lanes:  # the last group overlaps its neighbour
                first = tir.minimum(first, tir.const(width - lanes))
            source = (row * width + first) * channels
            target = place.origin + row * place.pitch + first * place.pixel
            if lines is not None:
                _store_lines(kernel, frame, context, lines, source, target)
            elif lanes == 1:
                _store_one(kernel, frame, channels, source, target)
            else:
                _store_vector(kernel, frame, context, (lanes, channels), source, target)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_u8_{'line' if lines else 'table'}{SUFFIXES[channels]}_c{lanes}__{isa.name}",
        offsets=(place.offset,),
        units=operator.output.height,
        constants=lines.constants() if lines else operator.tables.tobytes(),
    )


def table_lanes(isa: InstructionSet, width: int) -> int:
    """Return how many pixels are looked up at once: two vectors, which share the table, if they divide a row.

    A set that multiplies pairs has lines for the tables of a normalization; others are too rare to be worth code.
    """
    if not isa.has_table_lookup or isa.multiplies_pairs or width < isa.lanes8:
        return 1
    return isa.lanes8 if width % (2 * isa.lanes8) else 2 * isa.lanes8


def _store_one(kernel: Kernel, frame: KernelFrame, channels: int, source: Expr, target: Expr) -> None:
    for place, channel in enumerate(channel_order(channels)):
        byte = tir.cast(frame.rgb.load(source + channel), tir.INDEX)
        kernel.store(frame.tensors[0], target + place, frame.weights.load(byte + channel * TABLE_BYTES))


def _store_vector(
    kernel: Kernel, frame: KernelFrame, context: Context, sizes: tuple[int, int], source: Expr, target: Expr
) -> None:
    """Take `sizes` = (pixels, channels) apart into channels, look each channel up, and put them together again."""
    lanes, channels = sizes
    bytes_ = kernel.bind(frame.rgb.load(source, channels * lanes), "rgb")
    planes = []
    for channel in range(channels):
        plane = tir.shuffle([bytes_], range(channel, channels * lanes, channels))
        planes.append(
            context.isa.table_lookup(kernel, frame.weights.at(channel * TABLE_BYTES), kernel.bind(plane, "plane"))
        )
    planes += [planes[0]] * (PIXEL - channels)
    order = [plane * lanes + lane for lane in range(lanes) for plane in range(PIXEL)]
    kernel.store(frame.tensors[0], target, tir.shuffle(planes, order))


def _store_lines(
    kernel: Kernel, frame: KernelFrame, context: Context, lines: Lines, source: Expr, target: Expr
) -> None:
    """Spread the channels of some pixels over int32, multiply, shift and narrow them."""
    isa, constants, channels = context.isa, frame.constants("int32"), len(lines.factor)
    order = channel_order(channels)
    bytes_ = kernel.bind(frame.rgb.load(source, channels * LINE_PIXELS), "rgb")
    wide = tir.cast(spread_channels(bytes_, channels), "int32")
    two = 2 * len(order)
    factor, start = (kernel.bind(constants.load(at, two), "line") for at in (0, two))
    pieces = [
        isa.narrow_to_int16(tir.shift_right(isa.multiply_pairs(piece, factor) + start, lines.shift))
        for piece in tir.split(kernel.bind(wide, "colours"), two)
    ]
    kernel.store(frame.tensors[0], target, isa.narrow_to_int8(tir.concat(pieces)))
