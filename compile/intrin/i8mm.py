"""ARMv8.6 int8 matrix multiply: smmla takes two pixels and two channels, eight bytes deep, for four sums at once."""

from __future__ import annotations

from collections.abc import Sequence

from compile import tir
from compile.intrin.arm import REGISTERS, STEP, dot_cost, emit_steps, fits_dot
from compile.intrin.base import GemmShape, GemmTile, Operand
from compile.intrin.dot import Dot
from compile.tir import Expr, Kernel, Pointer

LOW_WORDS, HIGH_WORDS = (0, 4, 1, 5), (2, 6, 3, 7)  # zip1, zip2 of four words
LOW_HALVES, HIGH_HALVES = (0, 1, 4, 5), (2, 3, 6, 7)  # zip1, zip2 of two halves, in words


class I8mm(Dot):
    """Cortex-A510, A710, X2, Neoverse V1 and later; reads the weights of the dot-product variant."""

    name = "i8mm"

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit smmla, or sdot where that takes fewer instructions: few rows, or a reduction too short to pay.

        The weights lie as four channels of four bytes. Interleaving the words of two such vectors gives two channels of
        eight bytes, and interleaving the halves of two pixels gives two pixels of eight bytes: the operands of smmla.
        An odd last row is paired with itself.
        """
        if not self.uses_smmla(tile, shape):
            return super().accumulate(kernel, tile, shape, pixels, weights, weight_start, starts)
        vectors, pairs = tile.columns // 4, -(-tile.rows // 2)
        acc = kernel.local(pairs * vectors * 2, "int32x4")
        for pair in range(pairs):
            for v in range(vectors):
                for half in range(2):
                    repeated = [2 * half, 2 * half + 1] * 2
                    kernel.store(acc, (pair * vectors + v) * 2 + half, tir.shuffle([starts[0][v]], repeated))

        def step(source_at: Expr, weight_at: Expr, groups: int) -> None:
            rows = [
                tir.reinterpret(pixels.pointer.load(source_at + row * pixels.row_stride, STEP), "int32x4")
                for row in range(tile.rows)
            ]
            rows = [kernel.bind(row, "pixel") for row in rows]
            rows += rows[-1:] * (2 * pairs - tile.rows)
            for depth in range(0, groups, 2):
                halves = LOW_HALVES if depth == 0 else HIGH_HALVES
                twins = [_as_bytes(kernel, rows[2 * pair], rows[2 * pair + 1], halves) for pair in range(pairs)]
                words = [  # in the order of their addresses, so that LLVM loads them in pairs
                    [
                        kernel.bind(_weight(weights, weight_at, group, vectors, v, groups), "weight")
                        for v in range(vectors)
                    ]
                    for group in (depth, depth + 1)
                ]
                for v in range(vectors):
                    for half, order in enumerate((LOW_WORDS, HIGH_WORDS)):
                        two_channels = _as_bytes(kernel, words[0][v], words[1][v], order)
                        for pair in range(pairs):
                            at = (pair * vectors + v) * 2 + half
                            kernel.store(acc, at, _smmla(acc.load(at), twins[pair], two_channels))

        emit_steps(kernel, shape, pixels, weight_start, tile.columns, step)
        return [
            [_row(acc, (row // 2 * vectors + v) * 2, HIGH_HALVES if row % 2 else LOW_HALVES) for v in range(vectors)]
            for row in range(tile.rows)
        ]

    def uses_smmla(self, tile: GemmTile, shape: GemmShape) -> bool:
        """Tell whether smmla is the cheaper way to compute a tile."""
        return self._fits_smmla(tile) and (
            not fits_dot(tile, shape) or self._smmla_cost(tile, shape) < dot_cost(tile, shape)
        )

    def fits(self, tile: GemmTile, shape: GemmShape) -> bool:
        """Tell whether the tile fits in one of the two ways."""
        return fits_dot(tile, shape) or self._fits_smmla(tile)

    def tile_cost(self, tile: GemmTile, shape: GemmShape) -> float:
        """Return the estimated instructions of one tile by the cheaper of the two ways."""
        cost = dot_cost(tile, shape)
        return self._smmla_cost(tile, shape) if self.uses_smmla(tile, shape) else cost

    def _smmla_cost(self, tile: GemmTile, shape: GemmShape) -> float:
        vectors, pairs = tile.columns // 4, -(-tile.rows // 2)
        steps = shape.segments * -(-shape.length // 16)
        pixel_work, weight_work = tile.rows + 2 * pairs, vectors * (2 + 4)  # loads and interleaves
        inner = pixel_work + weight_work + 4 * pairs * vectors + 3
        return inner * steps + tile.rows * (vectors * 8 + 1) + 10

    def _fits_smmla(self, tile: GemmTile) -> bool:
        """Four sums for each two by two, the paired pixels and four weight vectors have to fit the registers."""
        pairs = -(-tile.rows // 2)
        return tile.rows > 1 and pairs * (tile.columns // 2) + 2 * pairs + 4 <= REGISTERS - 2


def _weight(weights: Pointer, weight_at: Expr, group: int, vectors: int, v: int, groups: int) -> Expr:
    """Return four channels of one group of four bytes as words; zeros where the reduction has ended."""
    if group >= groups:
        return tir.splat(0, "int32x4")
    return tir.reinterpret(weights.load(weight_at + (group * vectors + v) * 16, 16), "int32x4")


def _as_bytes(kernel: Kernel, left: Expr, right: Expr, order: Sequence[int]) -> Expr:
    return kernel.bind(tir.reinterpret(tir.shuffle([left, right], order), "int8x16"), "operand")


def _smmla(acc: Expr, pixels: Expr, channels: Expr) -> Expr:
    return tir.intrinsic("int32x4", "llvm.aarch64.neon.smmla.v4i32.v16i8", acc, pixels, channels)


def _row(acc: Pointer, at: int, halves: Sequence[int]) -> Expr:
    return tir.shuffle([acc.load(at), acc.load(at + 1)], halves)
