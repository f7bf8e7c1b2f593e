"""ARMv8.2 dot-product: sdot multiplies four bytes of a pixel with four bytes of each of four channels."""

from __future__ import annotations

from collections.abc import Sequence

from compile.intrin.arm import STEP, Arm, emit_steps, start_accumulators
from compile.intrin.base import GemmShape, GemmTile, InstructionSet, Operand
from compile.intrin.wide_neon import WideNeon
from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer

SDOT = "llvm.aarch64.neon.sdot.v4i32.v16i8"


class Dot(Arm):
    """Cortex-A75 and later, Neoverse, Apple."""

    name = "dot"
    has_dot_product = True

    def for_wide_product(self) -> InstructionSet:
        """Multiply by smlal, which every 64-bit core has."""
        return WideNeon()

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit sdot by element: the pixel's four bytes are picked from a lane of its 16-byte load."""
        vectors = tile.columns // 4
        acc = start_accumulators(kernel, tile, starts)

        def step(source_at: Expr, weight_at: Expr, groups: int) -> None:
            loaded_pixels = [
                kernel.bind(pixels.pointer.load(source_at + row * pixels.row_stride, STEP), "pixel")
                for row in range(tile.rows)
            ]
            # for each group: [rows, 4] x [4, columns] -> [rows, columns], one sdot for each row and vector
            for at, weight in enumerate(load_registers(kernel, weights, weight_at, groups * vectors)):
                group, v = divmod(at, vectors)
                for row in range(tile.rows):
                    place = row * vectors + v
                    kernel.store(acc, place, sdot_lane(acc.load(place), weight, loaded_pixels[row], group))

        emit_steps(kernel, shape, pixels, weight_start, tile.columns, step)
        return [[acc.load(row * vectors + v) for v in range(vectors)] for row in range(tile.rows)]

    def add_product_q15(self, total: Expr, value: Expr, factor: Expr) -> Expr:
        """Use sqrdmlah, which every core with sdot has: it rounds the product and limits the sum."""
        lanes = min(8, tir.split_dtype(tir.dtype_of(value))[1])
        pieces = zip(*(tir.split(operand, lanes) for operand in (total, value, factor)), strict=True)
        call = f"llvm.aarch64.neon.sqrdmlah.v{lanes}i16"
        return tir.concat([tir.intrinsic(f"int16x{lanes}", call, *piece) for piece in pieces])

    def dot_product(self, acc: Expr, left: Expr, right: Expr) -> Expr:
        """Use sdot."""
        return tir.intrinsic("int32x4", SDOT, acc, left, right)


def load_registers(kernel: Kernel, source: Pointer, start: Expr, count: int) -> list[Expr]:
    """Return `count` consecutive vectors of 16 bytes.

    They are loaded as 32 bytes each, which become one ldp: from single loads LLVM makes only some of the pairs.
    """
    pairs = [kernel.bind(source.load(start + at * 16, 32), "pair") for at in range(0, count - 1, 2)]
    loaded = [kernel.bind(half, "loaded") for pair in pairs for half in tir.split(pair, 16)]
    if count % 2:
        loaded.append(kernel.bind(source.load(start + (count - 1) * 16, 16), "loaded"))
    return loaded


def sdot_lane(acc: Expr, weight: Expr, pixels: Expr, lane: int) -> Expr:
    """Return acc[c] + sum over i of weight[c, i] * pixels[lane, i] for four channels c and four bytes i.

    The repeated lane is the last operand: there LLVM selects the form of sdot that takes a lane, without a copy.
    """
    words = tir.reinterpret(pixels, "int32x4")
    repeated = tir.reinterpret(tir.shuffle([words], [lane] * 4), "int8x16")
    return tir.intrinsic("int32x4", SDOT, acc, weight, repeated)
