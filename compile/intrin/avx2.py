"""AVX2: vpmaddwd multiplies two int16 of a pixel with two of each channel; exact, unlike vpmaddubsw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compile import tir
from compile.intrin.base import GemmShape, GemmTile, Operand
from compile.intrin.x86 import X86
from compile.tir import Expr, Kernel, Pointer

PAIR = 2  # bytes of a pixel, and weights of a channel, one vpmaddwd takes
MULTIPLY_ADD = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd"}


class Avx2(X86):
    """Haswell and Zen and later."""

    name = "avx2"
    lanes8 = 16
    registers = 16
    widest32 = 8
    float_lanes = 8
    float_step = 1
    step_bytes = PAIR
    instructions = 2
    words_per_copy = 8

    def convert(self, value: Expr) -> Expr:
        """Sign-extend to int16: a pair is one int32 that vpbroadcastd repeats."""
        return tir.cast(value, "int16")

    def pack(self, weight: NDArray[np.int8], columns: int) -> bytes:
        """Pack as [segment][k / 2][column][2] bytes; they are sign-extended when loaded."""
        columns, segments, length = weight.shape
        return weight.reshape(columns, segments, length // PAIR, PAIR).transpose(1, 2, 0, 3).tobytes()

    def packed_bytes(self, shape: GemmShape, columns: int) -> int:
        """Return one byte for each weight."""
        return shape.segments * shape.length * columns

    def bias_correction(self, weight: NDArray[np.int8]) -> NDArray[np.int64]:
        """Return zeros: both sides are signed."""
        return np.zeros(len(weight), np.int64)

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit vpbroadcastd, vpmaddwd, vpaddd."""
        widths = self.vector_widths(tile.columns)
        acc = [[kernel.local(1, f"int32x{width}") for width in widths] for _ in range(tile.rows)]
        for row, start_row in zip(acc, starts, strict=True):
            for cell, start in zip(row, start_row, strict=True):
                kernel.store(cell, 0, start)

        def step(segment: Expr, k: Expr, offset: Expr) -> None:
            vectors, at = [], 0
            for width in widths:
                packed = weights.load(weight_start + offset + at * PAIR, width * PAIR)
                vectors.append(kernel.bind(tir.cast(packed, "int16"), "weight"))
                at += width
            for row in range(tile.rows):
                word = pixels.pointer.load(row * pixels.row_stride + segment * pixels.segment_stride + k)
                word = kernel.bind(word, "pixel")
                for cell, vector, width in zip(acc[row], vectors, widths, strict=True):
                    repeated = tir.reinterpret(tir.splat(word, f"int32x{width}"), f"int16x{2 * width}")
                    product = tir.intrinsic(f"int32x{width}", MULTIPLY_ADD[width], repeated, vector)
                    kernel.store(cell, 0, cell.load(0) + product)

        self.walk(kernel, shape, tile.columns * PAIR, step)
        return [[cell.load(0) for cell in row] for row in acc]
