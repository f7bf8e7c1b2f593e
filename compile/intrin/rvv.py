"""RISC-V with vectors of at least 128 bits (RVV 1.0): plain products, which LLVM turns into vwmacc of int16."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calib.integer.qparams import Q15_SHIFT
from compile.intrin.base import GemmShape, GemmTile, InstructionSet, Operand, widest_first
from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer

WIDEST = 8  # int32 of a sum: two registers, as vwmacc writes them
COLUMNS = (4, 8, 12, 16, 24, 32)  # candidate tile widths
MOST_ROWS = 8  # of a tile; each has an address in a general-purpose register
SPARE = 6  # registers for weights, before and after they are widened


class Rvv(InstructionSet):
    """Every core with the vector extension, whatever the length of its registers."""

    name = "rvv"
    lanes8 = 16
    registers = 32
    group_bytes = 1
    depth = 1
    float_lanes = 8
    float_step = 1

    def for_wide_product(self) -> InstructionSet:
        """Return itself: int16 activations are multiplied as int8 ones are, once both have 16 bits."""
        return self

    # -- numerics ------------------------------------------------------------------------------------------------
    def round_to_int32(self, value: Expr) -> Expr:
        """Round with a mode of the instruction itself, which LLVM sets before and takes back behind it."""
        return tir.cast(self.round_float("roundeven", value), "int32")

    def narrow_to_int16(self, value: Expr) -> Expr:
        """Limit and cut: LLVM selects vnclip."""
        return _narrow(value, "int16", 1 << 15)

    def narrow_to_int8(self, value: Expr) -> Expr:
        """Limit and cut: LLVM selects vnclip."""
        return _narrow(value, "int8", 1 << 7)

    def multiply_q15(self, value: Expr, factor: Expr) -> Expr:
        """Widen, add half a unit and shift: vsmul would depend on a register that no LLVM intrinsic sets here."""
        product = tir.cast(value, "int32") * tir.cast(factor, "int32")
        half = tir.splat(1 << (Q15_SHIFT - 1), tir.dtype_of(product))
        return tir.cast(tir.shift_right(product + half, Q15_SHIFT), "int16")

    def add_saturating(self, left: Expr, right: Expr) -> Expr:
        """Use vsadd."""
        lanes = tir.split_dtype(tir.dtype_of(left))[1]
        return tir.intrinsic(f"int16x{lanes}", f"llvm.sadd.sat.v{lanes}i16", left, right)

    def shift_and_narrow(self, value: Expr, bits: int) -> Expr:
        """Widen first, so that half a unit can be added to the largest int16."""
        wide = tir.cast(value, "int32")
        shifted = tir.shift_right(wide + tir.splat(1 << (bits - 1), tir.dtype_of(wide)), bits)
        return self.narrow_to_int8(tir.cast(shifted, "int16"))

    # -- matrix product ------------------------------------------------------------------------------------------
    def vector_widths(self, columns: int) -> list[int]:
        """Cut columns into vectors of eight int32, and one of four."""
        return widest_first(columns, WIDEST)

    def choose_tile(self, pixels: int, channels: int, shape: GemmShape) -> GemmTile:
        """Return the tile with the fewest instructions that fits the registers.

        For 4 rows by 24 columns that is 4 * 24 / 8 * 2 + 6 = 30 of 32.
        """
        options = [
            GemmTile(rows, columns)
            for rows in range(1, min(MOST_ROWS, pixels) + 1)
            for columns in COLUMNS
            if columns <= max(4, -(-channels // 4) * 4)
            if 2 * rows * len(self.vector_widths(columns)) + SPARE <= self.registers
        ]
        return min(options, key=lambda tile: self._cost(tile, pixels, channels, shape))

    def _cost(self, tile: GemmTile, pixels: int, channels: int, shape: GemmShape) -> float:
        """Return the estimated instructions for a row of pixels: loads, two widenings, products; epilogue."""
        vectors = len(self.vector_widths(tile.columns))
        inner = 2 * vectors + tile.rows * (1 + vectors) + 3
        epilogue = tile.rows * (vectors * 8 + 2) + 10
        tiles = -(-pixels // tile.rows) * -(-channels // tile.columns)
        return tiles * (inner * shape.segments * shape.length + epilogue)

    def pack(self, weight: NDArray[np.int8], columns: int) -> bytes:
        """Return the weights of `columns` channels as [segment][k][column]."""
        return weight.transpose(1, 2, 0).tobytes()

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit, for each element of a pixel, [rows, 1] x [1, columns] -> [rows, columns]."""
        widths = self.vector_widths(tile.columns)
        firsts = [sum(widths[:index]) for index in range(len(widths))]
        acc = [[kernel.local(1, f"int32x{width}") for width in widths] for _ in range(tile.rows)]
        for row in acc:
            for cell, start in zip(row, starts[0], strict=True):
                kernel.store(cell, 0, start)
        with kernel.loop(shape.segments, name="segment") as segment, kernel.loop(shape.length, name="k") as k:
            weight_at = weight_start + (segment * shape.length + k) * tile.columns
            loaded = [
                kernel.bind(tir.cast(weights.load(weight_at + first, width), "int16"), "weight")
                for first, width in zip(firsts, widths, strict=True)
            ]
            for number, row in enumerate(acc):
                at = pixels.start + number * pixels.row_stride + shape.offset_of(segment) + k
                pixel = kernel.bind(tir.cast(tir.cast(pixels.pointer.load(at), "int16"), "int32"), "pixel")
                for cell, weight, width in zip(row, loaded, widths, strict=True):
                    product = tir.cast(weight, "int32") * tir.splat(pixel, f"int32x{width}")
                    kernel.store(cell, 0, cell.load(0) + product)
        return [[cell.load(0) for cell in row] for row in acc]


def _narrow(value: Expr, element: str, limit: int) -> Expr:
    dtype = tir.dtype_of(value)
    limited = tir.minimum(tir.maximum(value, tir.splat(-limit, dtype)), tir.splat(limit - 1, dtype))
    return tir.cast(limited, element)
