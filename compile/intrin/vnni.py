"""AVX-512 VNNI: vpdpbusd multiplies four unsigned bytes of a pixel with four signed bytes of each channel, exactly.

Activations are signed, so their top bit is flipped (x + 128) and 128 * sum(w) is taken off the bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compile import tir
from compile.intrin.base import GemmShape, GemmTile, Operand
from compile.intrin.dot import pack_groups_of_four
from compile.intrin.x86 import X86
from compile.tir import Expr, Kernel, Pointer

GROUP = 4  # bytes of a pixel one vpdpbusd takes
SIGN = -128  # flips the top bit of a byte
DOT = {4: "llvm.x86.avx512.vpdpbusd.128", 8: "llvm.x86.avx512.vpdpbusd.256", 16: "llvm.x86.avx512.vpdpbusd.512"}


class Vnni(X86):
    """Cascade Lake, Ice Lake, Zen 4 and later."""

    name = "vnni"
    lanes8 = 32
    registers = 32
    widest32 = 16
    float_lanes = 16
    float_step = 1
    step_bytes = GROUP
    instructions = 1
    words_per_copy = 8

    def convert(self, value: Expr) -> Expr:
        """Flip the top bit."""
        return tir.bitwise_xor(value, tir.splat(SIGN, tir.dtype_of(value)))

    def pack(self, weight: NDArray[np.int8], columns: int) -> bytes:
        """Pack as [segment][k / 4][column][4] bytes."""
        return pack_groups_of_four(weight)

    def packed_bytes(self, shape: GemmShape, columns: int) -> int:
        """Return one byte for each weight."""
        return shape.segments * shape.length * columns

    def bias_correction(self, weight: NDArray[np.int8]) -> NDArray[np.int64]:
        """Return -128 * sum(w) of each channel."""
        return SIGN * weight.reshape(len(weight), -1).astype(np.int64).sum(axis=1)

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit vpbroadcastd and vpdpbusd."""
        widths = self.vector_widths(tile.columns)
        acc = [[kernel.local(1, f"int32x{width}") for width in widths] for _ in range(tile.rows)]
        for row, start_row in zip(acc, starts, strict=True):
            for cell, start in zip(row, start_row, strict=True):
                kernel.store(cell, 0, start)

        def step(segment: Expr, k: Expr, offset: Expr) -> None:
            vectors, at = [], 0
            for width in widths:
                vectors.append(kernel.bind(weights.load(weight_start + offset + at * GROUP, width * GROUP), "weight"))
                at += width
            for row in range(tile.rows):
                word = pixels.pointer.load(row * pixels.row_stride + segment * pixels.segment_stride + k)
                word = kernel.bind(word, "pixel")
                for cell, vector, width in zip(acc[row], vectors, widths, strict=True):
                    repeated = tir.reinterpret(tir.splat(word, f"int32x{width}"), f"int8x{GROUP * width}")
                    kernel.store(cell, 0, tir.intrinsic(f"int32x{width}", DOT[width], cell.load(0), repeated, vector))

        self.walk(kernel, shape, tile.columns * GROUP, step)
        return [[cell.load(0) for cell in row] for row in acc]
