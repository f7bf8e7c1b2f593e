"""Products of int16 activations and int8 weights on ARM: smlal multiplies four channels with one lane of a pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compile.intrin.arm import (
    COLUMNS,
    Arm,
    emit_steps,
    epilogue_cost,
    row_cost,
    row_options,
    start_accumulators,
)
from compile.intrin.base import GemmShape, GemmTile, InstructionSet, Operand
from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer

LANES = 8  # int16 of a pixel loaded at once, and weights widened at once
SPARE = 6  # registers for the next loads: the weights of eight channels are widened in one and read from another


class WideProducts(InstructionSet):
    """What the 64-bit and the 32-bit sets have in common; vmlal is smlal of ARMv7."""

    def for_wide_product(self) -> InstructionSet:
        """Return itself."""
        return self

    def choose_tile(self, pixels: int, channels: int, shape: GemmShape) -> GemmTile:
        """Return the tile with the fewest instructions that fits the registers.

        For 4 rows by 16 columns that is 4 * 16 / 4 sums, 4 of pixels and 2 of weights.
        """
        options = [
            GemmTile(rows, columns)
            for rows in row_options(pixels)
            for columns in COLUMNS
            if columns <= max(4, -(-channels // 4) * 4)
            if rows * columns // 4 + rows + -(-columns // LANES) <= self.registers - SPARE
        ]
        return min(options, key=lambda tile: row_cost(self.tile_cost, tile, pixels, channels, shape))

    def tile_cost(self, tile: GemmTile, shape: GemmShape) -> float:
        """Return the estimated instructions of one tile: loads, widened weights, products, loop; epilogue."""
        inner = tile.rows + LANES * (tile.columns / 4 + tile.rows * tile.columns / 4) + 3
        return inner * shape.segments * shape.length / LANES + epilogue_cost(tile)

    def pack(self, weight: NDArray[np.int8], columns: int) -> bytes:
        """Return the weights of `columns` channels as [segment][k][column]."""
        return weight.transpose(1, 2, 0).tobytes()

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit smlal by element: each weight vector is widened once and multiplied with a lane of every pixel."""
        vectors = tile.columns // 4
        acc = start_accumulators(kernel, tile, starts)

        def step(source_at: Expr, weight_at: Expr, groups: int) -> None:
            for first in range(0, groups * 4, LANES):
                count = min(LANES, groups * 4 - first)
                loaded = [
                    kernel.bind(pixels.pointer.load(source_at + (row * pixels.row_stride + first), count), "pixel")
                    for row in range(tile.rows)
                ]
                # for each of `count` elements: [rows, 1] x [1, columns] -> [rows, columns]
                for lane in range(count):
                    at = weight_at + (first + lane) * tile.columns
                    for v, weight in enumerate(_widened(kernel, weights, at, tile.columns)):
                        for row, pixel in enumerate(loaded):
                            place = row * vectors + v
                            repeated = tir.cast(tir.shuffle([pixel], [lane] * 4), "int32")
                            kernel.store(acc, place, acc.load(place) + weight * repeated)

        emit_steps(kernel, shape, pixels, weight_start, tile.columns, step)
        return [[acc.load(row * vectors + v) for v in range(vectors)] for row in range(tile.rows)]


class WideNeon(WideProducts, Arm):
    """One kernel for all ARM variants: no instruction of the newer ones multiplies int16 with int8."""

    name = "neon"


def _widened(kernel: Kernel, weights: Pointer, at: Expr, columns: int) -> list[Expr]:
    """Return the weights of one element as vectors of four int32, which LLVM keeps as int16 and multiplies by smlal.

    Of 16 loaded at once it would widen each four by four instructions.
    """
    parts, first = [], 0
    while first < columns:
        lanes = LANES if columns - first >= LANES else 4
        loaded = tir.cast(weights.load(at + first, lanes), "int16")
        parts += [tir.cast(part, "int32") for part in tir.split(kernel.bind(loaded, "weight"), 4)]
        first += lanes
    return parts
