"""ARMv8.6 int8 matrix multiply: smmla takes two pixels and two channels, eight bytes deep, for four sums at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compile.intrin.arm import REGISTERS, STEP, UNROLLED_STEPS, row_cost
from compile.intrin.base import GemmShape, GemmTile, InstructionSet, Operand, widest_first
from compile.intrin.dot import Dot, load_registers
from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer
from compile.targets.tuning import AS_VARIANT, Tuning

DEPTH = 8  # bytes of a pixel and of a channel that one smmla takes
LOW_HALVES, HIGH_HALVES = (0, 1, 4, 5), (2, 3, 6, 7)  # zip1, zip2 of two halves, in words
SCRATCH_BYTES = 1 << 14  # of interleaved pixels: half of the smallest level-1 data cache, 32 KB
MOST_ROWS = 12  # of a tile: six pairs of pixels, with four columns as many registers of sums as with eight
MOST_COPIES = 4  # of the start values, one for each pair of pixels
UNROLLED_VECTORS = 24  # interleaved pixels of a tile that are written without a loop, and so may stay in registers
LOOSE_REGISTERS = 27  # of a tile whose loop LLVM schedules without spills however long it is
SPARE_LOOP, SPARE_UNROLLED = 3, 9  # registers LLVM's scheduler needs to load ahead: with fewer it spills to the stack


class I8mm(Dot):
    """Cortex-A510, A710, X2, Neoverse V1 and later."""

    name = "i8mm"

    def tuning(self, shape: GemmShape | None = None) -> Tuning:
        """Leave products to LLVM, which loads in pairs: that costs the cores with smmla nothing."""
        return super().tuning() if shape is None else AS_VARIANT

    def for_product(self, height: int, width: int, channels: int, shape: GemmShape) -> InstructionSet:
        """Return the set that uses smmla where that takes fewer instructions, and otherwise this one with sdot."""
        along = self.choose_tile(width, channels, shape)
        smmla = Smmla(width)
        if height * width == 1 or not smmla.tiles(height * width, channels, shape):
            return self
        sdot_cost = height * row_cost(self.tile_cost, along, width, channels, shape)
        return smmla if self.prefers(smmla.cost(height * width, channels, shape), sdot_cost) else self

    def prefers(self, smmla_cost: float, sdot_cost: float) -> bool:
        """Tell whether smmla is estimated to be cheaper than sdot."""
        return smmla_cost < sdot_cost


@dataclass(frozen=True)
class Smmla(Dot):
    """Products by smmla in tiles of even rows that walk across the rows of the map.

    Everything lies as the products take it: pixels are interleaved once, before the loop over channels, eight bytes of
    two pixels in a register; weights are packed so, eight bytes of two channels; start values and multipliers of two
    channels are repeated for the second pixel. No operand is rearranged inside a tile.
    """

    width: int  # of the map: where a tile does not divide it, each pixel has to be looked for
    name = I8mm.name
    gathers_pixels = True
    pixels_in_vector = 2
    depth = DEPTH

    def choose_tile(self, pixels: int, channels: int, shape: GemmShape) -> GemmTile:
        """Return the tile with the fewest instructions for a map of `pixels`."""
        return min(self.tiles(pixels, channels, shape), key=lambda tile: self._cost(tile, pixels, channels, shape))

    def tuning(self, shape: GemmShape | None = None) -> Tuning:
        """Leave everything to LLVM."""
        return AS_VARIANT

    def tiles(self, pixels: int, channels: int, shape: GemmShape) -> list[GemmTile]:
        """Return the tiles that fit."""
        most = max(4, -(-channels // 4) * 4)
        options = [GemmTile(r, c) for r in range(2, MOST_ROWS + 1, 2) for c in (4, 8, 12, 16, 20, 24) if c <= most]
        return [tile for tile in options if tile.rows <= pixels and fits(tile, shape)]

    def cost(self, pixels: int, channels: int, shape: GemmShape) -> float:
        """Return the estimated instructions for a map of `pixels`."""
        return self._cost(self.choose_tile(pixels, channels, shape), pixels, channels, shape)

    def _cost(self, tile: GemmTile, pixels: int, channels: int, shape: GemmShape) -> float:
        # Of 16 bytes of each row: a load, a zip, half a pair of stores. Addresses of each row, to read and to write.
        addresses = 6 if self.width % tile.rows else 2
        interleaving = tile.rows * (2.5 * _eights(shape) / 2 + addresses) + 8
        full, rest = divmod(-(-channels // 4) * 4, tile.columns)
        total = interleaving + full * self.tile_cost(tile, shape)
        total += self.tile_cost(GemmTile(tile.rows, rest), shape) if rest else 0
        return -(-pixels // tile.rows) * total

    def tile_cost(self, tile: GemmTile, shape: GemmShape) -> float:
        """Return the estimated instructions of one tile: products and loads in pairs, loop, start values; epilogue."""
        pairs, vectors = tile.rows // 2, tile.columns // 2
        inner = pairs * vectors + vectors / 2 + -(-pairs // 2) + 1
        total = _eights(shape) * inner + pairs * vectors / 2 + 12
        # Four outputs: scvtf, fmul, fabd, half of uzp1 and sqxtn; a permutation and a store for each row and group.
        total += pairs * vectors * 4 + vectors / 2
        return total + tile.rows * sum(2 if columns > 4 else 3 for columns in widest_first(tile.columns, 16))

    def start_copies(self, columns: int) -> int:
        """Return the most pairs of pixels of a tile: ldp fills two accumulators, mov one, and mov is SIMD work."""
        return min(MOST_COPIES, (REGISTERS - SPARE_LOOP - 2) // (columns // 2 + 1))

    def pack(self, weight: NDArray[np.int8], columns: int) -> bytes:
        """Return the weights of `columns` channels as [segment][k / 8][column][8]; a segment ends with zeros."""
        padded = np.pad(weight, ((0, 0), (0, 0), (0, -weight.shape[2] % DEPTH)))
        return padded.reshape(columns, weight.shape[1], -1, DEPTH).transpose(1, 2, 0, 3).tobytes()

    def packed_bytes(self, shape: GemmShape, columns: int) -> int:
        """Return the length of `pack` for a tile of `columns` channels."""
        return _eights(shape) * DEPTH * columns

    def prepare(self, kernel: Kernel, shape: GemmShape, source: Pointer, starts: Sequence[Expr]) -> Operand:
        """Interleave the pixels in steps of eight bytes: those of the first pair, then those of the next."""
        pairs, eights = len(starts) // 2, _eights(shape) // shape.segments
        # [pixels, segments * length] -> [segments, length / 8, pixels / 2] vectors of [2 pixels, 8 bytes]
        scratch = kernel.local(shape.segments * eights * pairs, "int32x4")
        places = [kernel.bind(start, "place") for start in starts]

        def copy(segment: Expr, first: Expr, count: int) -> None:
            offset, at = shape.offset_of(segment) + first * DEPTH, (segment * eights + first) * pairs
            dtype = f"int32x{2 * count}"
            rows = [
                kernel.bind(tir.reinterpret(source.load(p + offset, DEPTH * count), dtype), "pixel") for p in places
            ]
            for half, order in enumerate((LOW_HALVES, HIGH_HALVES) if count == 2 else (range(4),)):
                for pair in range(pairs):
                    kernel.store(scratch, at + half * pairs + pair, tir.shuffle(rows[2 * pair : 2 * pair + 2], order))

        if shape.segments * eights * pairs <= UNROLLED_VECTORS:
            for segment in range(shape.segments):
                for first in range(0, eights, 2):
                    copy(segment, first, min(2, eights - first))
        else:
            with kernel.loop(shape.segments, name="segment") as segment:
                if eights > 1:
                    with kernel.loop(eights // 2, name="step") as step:
                        copy(segment, step * 2, 2)
                if eights % 2:
                    copy(segment, eights - 1, 1)
        return Operand(scratch, 0, 1, eights * pairs)

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit smmla: each accumulator holds the sums of two pixels and two channels."""
        vectors, pairs = tile.columns // 2, tile.rows // 2
        acc = kernel.local(pairs * vectors, "int32x4")  # [pairs of pixels, pairs of channels]
        for pair in range(pairs):
            for v in range(vectors):
                kernel.store(acc, pair * vectors + v, starts[pair][v])

        def steps(source_at: Expr, weight_at: Expr, count: int) -> None:
            # for eight bytes: [rows, 8] x [8, columns] -> [rows, columns]; one smmla is [2, 8] x [8, 2] -> [2, 2]
            for eight in range(count):
                row_pairs = [
                    kernel.bind(tir.reinterpret(pixels.pointer.load(source_at + (eight * pairs + pair)), "int8x16"))
                    for pair in range(pairs)
                ]
                for first in range(0, vectors, 2):
                    at = weight_at + (eight * vectors + first) * STEP
                    for v, channels in enumerate(load_registers(kernel, weights, at, 2), first):
                        for pair in range(pairs):
                            place = pair * vectors + v
                            kernel.store(acc, place, _smmla(acc.load(place), row_pairs[pair], channels))

        eights = _eights(shape) // shape.segments
        together = 4 if pairs * vectors + pairs + 2 <= LOOSE_REGISTERS else 2  # steps in a round of the loop
        with kernel.loop(shape.segments, name="segment") as segment:
            source_at = segment * pixels.segment_stride
            weight_at = weight_start + segment * (eights * DEPTH * tile.columns)
            if eights <= UNROLLED_STEPS * 2 + 1:
                steps(source_at, weight_at, eights)
            else:
                # A number of rounds that LLVM does not know: `whole_steps` are of two times eight bytes.
                with kernel.loop(tir.floordiv(pixels.whole_steps, together // 2), name="k") as k:
                    first = k * together
                    steps(source_at + first * pairs, weight_at + first * (DEPTH * tile.columns), together)
                done = eights // together * together
                steps(source_at + done * pairs, weight_at + done * DEPTH * tile.columns, eights - done)
        return [[acc.load(pair * vectors + v) for v in range(vectors)] for pair in range(pairs)]


def _eights(shape: GemmShape) -> int:
    """Return the steps of eight bytes of a product; each segment ends with a step of its own."""
    return shape.segments * -(-shape.length // DEPTH)


def fits(tile: GemmTile, shape: GemmShape) -> bool:
    """Tell whether a tile fits the registers, and its interleaved pixels half of a level-1 cache.

    Registers: sums, pixels, two of weights. For 6 rows by 16 columns that is 3 * 8 + 3 + 2 = 29 of 32. Unrolled steps
    overlap and need room for the next loads.
    """
    pairs, vectors = tile.rows // 2, tile.columns // 2
    spare = SPARE_LOOP if -(-shape.length // STEP) > UNROLLED_STEPS + 1 else SPARE_UNROLLED
    return pairs * vectors + pairs + 2 <= REGISTERS - spare and _eights(shape) * pairs * STEP <= SCRATCH_BYTES


def _smmla(acc: Expr, pixels: Expr, channels: Expr) -> Expr:
    return tir.intrinsic("int32x4", "llvm.aarch64.neon.smmla.v4i32.v16i8", acc, pixels, channels)
