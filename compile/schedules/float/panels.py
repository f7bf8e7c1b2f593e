"""How a dense float convolution is cut: the tile of the registers, panels of channels, runs of a long sum."""

from __future__ import annotations

from compile.intrin import InstructionSet
from compile.intrin.arm import row_options
from compile.intrin.base import GemmShape, GemmTile
from compile.ir.float_program import FloatConv2d
from compile.ir.memory_plan import CHANNEL_GROUP, round_up
from compile.schedules.tiles import Panel, pack_panels, padded_vector, padded_weight

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


def pack_constants(operator: FloatConv2d, panels: tuple[Panel, ...], shape: GemmShape) -> bytes:
    """Return bias, then weights as [segment][k][column], of each tile."""
    channels, element = round_up(operator.output.channels, CHANNEL_GROUP), operator.output.element
    weight = padded_weight(operator.weight, shape, channels).reshape(channels, -1).astype(element)
    bias = padded_vector(operator.bias, channels).astype(element)

    def pack_tile(panel: Panel, part: slice) -> list[bytes]:
        # [columns, segments * length] -> [segments * length, columns]
        return [bias[part].tobytes(), weight[part].T.tobytes()]

    return pack_panels(panels, pack_tile)
