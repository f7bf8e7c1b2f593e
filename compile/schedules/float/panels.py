"""How a dense float convolution is cut: the tile of the registers, panels of channels, runs of a long sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.intrin import InstructionSet
from compile.intrin.arm import row_options
from compile.intrin.base import GemmShape, GemmTile
from compile.ir.float_program import FloatConv2d
from compile.ir.memory_plan import CHANNEL_GROUP, TensorPlace, round_up
from compile.schedules.tiles import Panel, gemm_shape, pack_panels, padded_vector, padded_weight

SPARE_REGISTERS = 4  # for LLVM's scheduler to load ahead; none where a load repeats its value
MOST_COLUMNS = 32
WIDENING = 5  # instructions to add a register of float16 to two of float32, and to clear it
MOST_ROWS = 8  # pixels of a tile across rows; each has an address in a general-purpose register


def choose_tile(isa: InstructionSet, pixels: int, channels: int, shape: GemmShape) -> GemmTile:
    """Return the tile with the fewest instructions for all pixels that fits the registers.

    Registers: rows * columns / lanes sums, one of each pixel, columns / lanes of weights. For 6 rows by 16 columns of
    four float32 that is 24 + 6 + 4, too many for 32; 4 rows by 16 columns take 16 + 4 + 4 and leave 8.
    """
    steps = shape.segments * shape.length
    widened = sum(count for _, _, count in runs(isa, shape)) * shape.segments if is_cut(isa, shape) else 0

    def cost(tile: GemmTile) -> float:
        full, rest = divmod(channels, tile.columns)
        total = 0.0
        for columns, count in ((tile.columns, full), (rest, 1)):
            vectors = -(-columns // isa.float_lanes)
            inner = tile.rows / isa.float_step + vectors * (tile.rows + 0.5) + 3 / isa.float_step
            sums = tile.rows * vectors
            total += count * (inner * steps + sums * (3 + WIDENING * widened)) if columns else 0
        return -(-pixels // tile.rows) * total

    def fits(rows: int, columns: int) -> bool:
        vectors = -(-columns // isa.float_lanes)
        loaded = rows if isa.float_step > 1 else 1
        spare = SPARE_REGISTERS if isa.float_step > 1 else 0
        return rows * vectors + loaded + vectors + spare <= isa.registers

    widths = range(CHANNEL_GROUP, min(MOST_COLUMNS, channels) + 1, CHANNEL_GROUP)
    heights = range(1, min(MOST_ROWS, pixels) + 1) if isa.gathers_pixels else row_options(pixels)
    options = [GemmTile(rows, columns) for rows in heights for columns in widths if fits(rows, columns)]
    return min(options, key=cost)


def is_cut(isa: InstructionSet, shape: GemmShape) -> bool:
    """Tell whether a sum is too long for the element it is stored in."""
    return 0 < isa.products_in_half < shape.segments * shape.length


def runs(isa: InstructionSet, shape: GemmShape) -> list[tuple[int, int, int]]:
    """Return (start, length, count) of the runs of a segment: equal ones, then a rest."""
    if not is_cut(isa, shape):
        return [(0, shape.length, 1)]
    number = -(-shape.length // isa.products_in_half)
    length = round_up(-(-shape.length // number), isa.float_step)
    whole, rest = divmod(shape.length, length)
    return [(0, length, whole)] + ([(whole * length, rest, 1)] if rest else [])


@dataclass(frozen=True)
class Parts:
    """What a convolution of groups is computed as: `count` products, each of neighbouring groups and their channels."""

    count: int
    inputs: int  # channels of one
    outputs: int


def split_groups(operator: FloatConv2d, isa: InstructionSet) -> Parts:
    """Return as many groups together as fill a vector of outputs, with weights of 0 for those of each other.

    Their channels are whole groups of four, as vectors are; where no number of groups gives that, all are together.
    """
    groups, inputs, outputs = operator.groups, operator.input.channels, operator.output.channels
    fitting = [
        count
        for count in range(1, groups + 1)
        if groups % count == inputs // count % CHANNEL_GROUP == outputs // count % CHANNEL_GROUP == 0
    ]
    wide = [count for count in fitting if outputs // count >= isa.float_lanes]
    count = 1 if groups == 1 or not fitting else max(wide or fitting)
    return Parts(count, inputs // count, outputs // count)


def float_shape(operator: FloatConv2d, source: TensorPlace, parts: Parts) -> GemmShape:
    """Return how a part reads its input; of several, each tap is a segment, since other channels lie between."""
    if parts.count == 1:
        return gemm_shape(operator, source)
    (rows, columns), (down, across) = operator.kernel, operator.dilations
    return GemmShape(
        segments=rows * columns,
        length=parts.inputs,
        segment_stride=down * source.pitch,
        pixel_stride=operator.strides[1] * source.pixel,
        taps=columns,
        tap_stride=across * source.pixel,
    )


def pack_constants(operator: FloatConv2d, panels: tuple[Panel, ...], shape: GemmShape, parts: Parts) -> bytes:
    """Return bias, then weights as [segment][k][column], of each tile of each part."""
    channels, element = round_up(parts.outputs, CHANNEL_GROUP), operator.output.element
    packed = []
    for part in range(parts.count):
        whole = slice(part * parts.outputs, (part + 1) * parts.outputs)
        joined = _joined(operator.weight[whole], operator.groups // parts.count)
        weight = padded_weight(joined, shape, channels).reshape(channels, -1).astype(element)
        bias = padded_vector(operator.bias[whole], channels).astype(element)

        def pack_tile(
            panel: Panel, columns: slice, weight: NDArray[Any] = weight, bias: NDArray[Any] = bias
        ) -> list[bytes]:
            # [columns, segments * length] -> [segments * length, columns]
            return [bias[columns].tobytes(), weight[columns].T.tobytes()]

        packed.append(pack_panels(panels, pack_tile))
    return b"".join(packed)


def _joined(weight: NDArray[np.float32], groups: int) -> NDArray[np.float32]:
    """Return the dense kernel [O, kh, kw, groups * I] of one with groups, [O, kh, kw, I]."""
    outputs, *kernel, inputs = weight.shape
    joined = np.zeros((groups, outputs // groups, *kernel, groups, inputs), np.float32)
    for group, own in enumerate(weight.reshape(groups, outputs // groups, *kernel, inputs)):
        joined[group, ..., group, :] = own
    return joined.reshape(outputs, *kernel, groups * inputs)
