"""Plain ARMv8 NEON: products of bytes in int16, two of them before they are widened to int32."""

from __future__ import annotations

from collections.abc import Sequence

from compile.intrin.arm import MOST_ROWS, REGISTERS, SPARE_UNROLLED, STEP, Arm, emit_steps, row_cost
from compile.intrin.base import GemmShape, GemmTile, InstructionSet, Operand
from compile.intrin.wide_neon import WideNeon
from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer

PLACE_COST = 8  # instructions for the place of a pixel in a row
MOST_USED_ACROSS = 14  # registers for sums and pixels of a tile across rows: beyond, LLVM's scheduler spills


class Neon(Arm):
    """Cortex-A53, A72 and every other 64-bit core; reads the weights of the dot-product variant."""

    name = "neon"

    def for_wide_product(self) -> InstructionSet:
        """Multiply by smlal, which every 64-bit core has."""
        return WideNeon()

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit smull, smlal and sadalp.

        A 16-byte weight load holds four channels of one group of four. Its product with the group repeated is eight
        int16 for two channels; two groups fit, since 2 * 127 * 128 < 2**15. sadalp adds neighbours into int32, so each
        channel has two partial sums until addp joins them at the end.
        """
        vectors = tile.columns // 4
        halves = 2 * vectors  # accumulators of a row: (channels 0, 1), (channels 2, 3) of each vector
        acc = kernel.local(tile.rows * halves, "int32x4")  # [rows, columns, 2], two partial sums for each channel
        for index in range(tile.rows * halves):
            kernel.store(acc, index, tir.splat(0, "int32x4"))

        def step(source_at: Expr, weight_at: Expr, groups: int) -> None:
            loaded_pixels = [
                kernel.bind(pixels.pointer.load(source_at + row * pixels.row_stride, STEP), "pixel")
                for row in range(tile.rows)
            ]
            # for two groups: [rows, 8] x [8, columns] -> [rows, columns, 2]
            for pair in range(0, groups, 2):
                both = range(pair, min(pair + 2, groups))
                for v in range(vectors):
                    loaded = [
                        kernel.bind(weights.load(weight_at + (group * vectors + v) * 16, 16), "weight")
                        for group in both
                    ]
                    for row in range(tile.rows):
                        _add_products(kernel, acc, row * halves + 2 * v, loaded, loaded_pixels[row], both)

        emit_steps(kernel, shape, pixels, weight_start, tile.columns, step)
        return [[_join(acc, row * halves + 2 * v) + starts[0][v] for v in range(vectors)] for row in range(tile.rows)]

    def fits(self, tile: GemmTile, shape: GemmShape) -> bool:
        """Tell whether two partial sums for each channel, the pixels and a pair of weight loads fit the registers."""
        return tile.rows * tile.columns // 2 + tile.rows + 4 <= REGISTERS - SPARE_UNROLLED or tile.rows == 1

    def tile_of_map(self, tile: GemmTile, height: int, width: int, channels: int, shape: GemmShape) -> GemmTile:
        """Return a tile that walks across the rows of the map, where that is cheaper: seven pixels are one row, or 7.

        Where it does not divide a row, each pixel has to be looked for.
        """
        costs = {tile: height * row_cost(self.tile_cost, tile, width, channels, shape)}
        for rows in range(1, min(MOST_ROWS, height * width) + 1):
            option = GemmTile(rows, tile.columns)
            if option != tile and rows * tile.columns // 2 + rows <= MOST_USED_ACROSS:
                places = PLACE_COST * height * width * (width % rows > 0)
                costs[option] = row_cost(self.tile_cost, option, height * width, channels, shape) + places
        return min(costs, key=lambda option: costs[option])

    def tile_cost(self, tile: GemmTile, shape: GemmShape) -> float:
        """Return the estimated instructions of one tile: a repeat for each group, two products and half a widening."""
        vectors = tile.columns // 4
        steps = shape.segments * -(-shape.length // 16)
        inner = tile.rows * (1 + 4) + 4 * vectors * (tile.rows * 3 + 0.5) + 3
        return inner * steps + tile.rows * (vectors * 7.5 + 1) + 10


def _add_products(kernel: Kernel, acc: Pointer, at: int, weights: Sequence[Expr], pixel: Expr, groups: range) -> None:
    """Add the products of one pixel and four channels for one or two groups.

    Args:
        acc: int32x4; the two vectors from `at` on hold two partial sums for each of four channels.
        weights: one int8 [4 channels, 4 bytes] for each group.
        pixel: int8 [4 groups, 4 bytes].
        groups: which groups of the pixel belong to `weights`.
    """
    words = tir.reinterpret(pixel, "int32x4")
    repeated = [tir.reinterpret(tir.shuffle([words], [group] * 4), "int8x16") for group in groups]
    for half in range(2):
        lanes = range(8 * half, 8 * half + 8)
        products = [
            tir.cast(tir.shuffle([w], lanes), "int16") * tir.cast(tir.shuffle([x], lanes), "int16")
            for w, x in zip(weights, repeated, strict=True)
        ]
        total = products[0] if len(products) == 1 else products[0] + products[1]
        pairs = tir.intrinsic("int32x4", "llvm.aarch64.neon.saddlp.v4i32.v8i16", total)
        kernel.store(acc, at + half, acc.load(at + half) + pairs)


def _join(acc: Pointer, at: int) -> Expr:
    """Return the sums of four channels: [4, 2] partial sums -> [4]."""
    return tir.intrinsic("int32x4", "llvm.aarch64.neon.addp.v4i32", acc.load(at), acc.load(at + 1))
