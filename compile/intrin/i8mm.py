"""ARMv8.6 int8 matrix multiply: smmla takes two pixels and two channels, eight bytes deep, for four sums at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compile.intrin.arm import MOST_ROWS, REGISTERS, SPARE, STEP, emit_steps, epilogue_cost, row_cost
from compile.intrin.base import GemmShape, GemmTile, InstructionSet, Operand
from compile.intrin.dot import Dot, load_registers
from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer

LOW_WORDS, HIGH_WORDS = (0, 4, 1, 5), (2, 6, 3, 7)  # zip1, zip2 of four words
LOW_HALVES, HIGH_HALVES = (0, 1, 4, 5), (2, 3, 6, 7)  # zip1, zip2 of two halves, in words
SCRATCH_BYTES = 1 << 14  # of interleaved pixels: half of the smallest level-1 data cache, 32 KB
GAIN = 0.97  # what smmla may cost at most of what sdot does: the estimates are not better than that


class I8mm(Dot):
    """Cortex-A510, A710, X2, Neoverse V1 and later; reads the weights of the dot-product variant."""

    name = "i8mm"

    def for_product(self, height: int, width: int, channels: int, shape: GemmShape) -> InstructionSet:
        """Return the set that uses smmla where that takes fewer instructions, and otherwise this one with sdot."""
        along = self.choose_tile(width, channels, shape)
        smmla = Smmla(along.columns)
        if height * width == 1 or not smmla.fits(GemmTile(2, along.columns), shape):
            return self
        sdot_cost = height * row_cost(self.tile_cost, along, width, channels, shape)
        return smmla if self.prefers(smmla.cost(height * width, channels, shape), sdot_cost) else self

    def prefers(self, smmla_cost: float, sdot_cost: float) -> bool:
        """Tell whether smmla is estimated to be cheaper than sdot by more than the error of the estimates."""
        return smmla_cost < GAIN * sdot_cost


@dataclass(frozen=True)
class Smmla(Dot):
    """Products by smmla in tiles of even rows that walk across the rows of the map.

    The pixels of a tile are interleaved once, before the loop over channels: eight bytes of two pixels are one operand.
    The weights lie as four channels of four bytes, and two such vectors give two operands by zips.
    """

    fixed_columns: int  # of the dot-product variant, whose weights are read
    name = I8mm.name
    gathers_pixels = True

    def choose_tile(self, pixels: int, channels: int, shape: GemmShape) -> GemmTile:
        """Return the tile with the fewest instructions for a map of `pixels`."""
        options = [GemmTile(rows, self.fixed_columns) for rows in range(2, MOST_ROWS + 1, 2) if rows <= pixels]
        options = [tile for tile in options if self.fits(tile, shape)]
        return min(options, key=lambda tile: self._cost(tile, pixels, channels, shape))

    def cost(self, pixels: int, channels: int, shape: GemmShape) -> float:
        """Return the estimated instructions for a map of `pixels`."""
        return self._cost(self.choose_tile(pixels, channels, shape), pixels, channels, shape)

    def _cost(self, tile: GemmTile, pixels: int, channels: int, shape: GemmShape) -> float:
        interleaving = 3 * tile.rows * shape.segments * _steps(shape) + 6 * tile.rows
        full, rest = divmod(-(-channels // 4) * 4, tile.columns)
        total = interleaving + full * self.tile_cost(tile, shape)
        total += self.tile_cost(GemmTile(tile.rows, rest), shape) if rest else 0
        return -(-pixels // tile.rows) * total

    def fits(self, tile: GemmTile, shape: GemmShape) -> bool:
        """Tell whether a tile fits the registers, and its interleaved pixels half of a level-1 cache.

        Registers: rows * columns / 4 sums, four in each, rows / 2 pairs of pixels, columns / 2 of weights. For
        8 rows by 8 columns that is 16 + 4 + 4 = 24 of 32.
        """
        pairs, vectors = tile.rows // 2, tile.columns // 4
        scratch = shape.segments * _steps(shape) * 2 * pairs * 16
        return 2 * pairs * vectors + pairs + 2 * vectors <= REGISTERS - SPARE and scratch <= SCRATCH_BYTES

    def tile_cost(self, tile: GemmTile, shape: GemmShape) -> float:
        """Return the estimated instructions of one tile: pixels, weights and their zips, products, loop; epilogue."""
        pairs, vectors = tile.rows // 2, tile.columns // 4
        inner = pairs + 2 * vectors + 4 * vectors + 4 * pairs * vectors + 4
        copied = 2 * vectors * (pairs + 1) - vectors * tile.rows / 2  # start values, which sdot loads in pairs
        return shape.segments * shape.length / STEP * inner + copied + 2 * pairs * vectors + epilogue_cost(tile)

    def prepare(self, kernel: Kernel, shape: GemmShape, source: Pointer, starts: Sequence[Expr]) -> Operand:
        """Interleave the pixels in steps of 16 bytes: the first eight bytes of each pair, then the others."""
        pairs, steps = len(starts) // 2, _steps(shape)
        scratch = kernel.local(shape.segments * steps * 2 * pairs, "int32x4")
        places = [kernel.bind(start, "place") for start in starts]
        with (
            kernel.loop(shape.segments, name="segment") as segment,
            kernel.loop(steps, name="step") as step,
        ):
            offset = shape.offset_of(segment) + step * STEP
            rows = [kernel.bind(tir.reinterpret(source.load(at + offset, STEP), "int32x4"), "pixel") for at in places]
            for half, order in enumerate((LOW_HALVES, HIGH_HALVES)):
                for pair in range(pairs):
                    row_pair = tir.shuffle(rows[2 * pair : 2 * pair + 2], order)
                    kernel.store(scratch, ((segment * steps + step) * 2 + half) * pairs + pair, row_pair)
        return Operand(scratch, 0, 1, steps * 2 * pairs)

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit smmla: each accumulator holds the sums of two pixels and two channels."""
        vectors, pairs = tile.columns // 4, tile.rows // 2
        # [row pairs, columns / 4, 2 halves]; each vector is [2 pixels, 2 channels]
        acc = kernel.local(pairs * vectors * 2, "int32x4")
        for pair in range(pairs):
            for v in range(vectors):
                for half in range(2):
                    repeated = [2 * half, 2 * half + 1] * 2
                    kernel.store(acc, (pair * vectors + v) * 2 + half, tir.shuffle([starts[0][v]], repeated))

        def step(source_at: Expr, weight_at: Expr, groups: int) -> None:
            # for eight bytes: [rows, 8] x [8, columns] -> [rows, columns]; one smmla is [2, 8] x [8, 2] -> [2, 2]
            for depth in range(0, groups, 2):
                row_pairs = [
                    kernel.bind(tir.reinterpret(pixels.pointer.load(source_at + depth // 2 * pairs + pair), "int8x16"))
                    for pair in range(pairs)
                ]
                count = min(2, groups - depth) * vectors
                words = load_registers(kernel, weights, weight_at + depth * vectors * 16, count)
                words += [tir.splat(0, "int8x16")] * (2 * vectors - count)  # where the reduction has ended
                for v in range(vectors):
                    for half, order in enumerate((LOW_WORDS, HIGH_WORDS)):
                        channels = _two_channels(kernel, words[v], words[vectors + v], order)
                        for pair in range(pairs):
                            at = (pair * vectors + v) * 2 + half
                            kernel.store(acc, at, _smmla(acc.load(at), row_pairs[pair], channels))

        emit_steps(kernel, shape, pixels, weight_start, tile.columns, step, source_step=2 * pairs)
        return [
            [_row(acc, (row // 2 * vectors + v) * 2, HIGH_HALVES if row % 2 else LOW_HALVES) for v in range(vectors)]
            for row in range(tile.rows)
        ]


def _steps(shape: GemmShape) -> int:
    """Return the steps of 16 bytes of a segment."""
    return -(-shape.length // STEP)


def _two_channels(kernel: Kernel, left: Expr, right: Expr, order: Sequence[int]) -> Expr:
    """Return int8 [2 channels, 8 bytes] of two vectors of [4 channels, 4 bytes]: their words are zipped."""
    words = [tir.reinterpret(value, "int32x4") for value in (left, right)]
    return kernel.bind(tir.reinterpret(tir.shuffle(words, order), "int8x16"), "operand")


def _smmla(acc: Expr, pixels: Expr, channels: Expr) -> Expr:
    return tir.intrinsic("int32x4", "llvm.aarch64.neon.smmla.v4i32.v16i8", acc, pixels, channels)


def _row(acc: Pointer, at: int, halves: Sequence[int]) -> Expr:
    """Return the four channels of one pixel out of two accumulators of [2 pixels, 2 channels]."""
    return tir.shuffle([acc.load(at), acc.load(at + 1)], halves)
