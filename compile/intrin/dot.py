"""ARMv8.2 dot-product: sdot multiplies four bytes of a pixel with four bytes of each of four channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from compile import tir
from compile.intrin.arm import UNROLLED_STEPS, Arm
from compile.intrin.base import GemmShape, GemmTile, Operand
from compile.tir import Expr, Kernel, Pointer

StepWriter: TypeAlias = Callable[[Expr, Expr, int], None]  # (source, weights, groups of four)
STEP = 16  # bytes of a pixel loaded at once: four groups of four, each used by lane


def pack_groups_of_four(weight: NDArray[np.int8]) -> bytes:
    """Return the weights as [segment][k / 4][column][4]: one 16-byte load holds four channels of one group.

    Args:
        weight: int8 [columns, segments, length].
    """
    columns, segments, length = weight.shape
    return weight.reshape(columns, segments, length // 4, 4).transpose(1, 2, 0, 3).tobytes()


class Dot(Arm):
    """Cortex-A75 and later, Neoverse, Apple."""

    name = "dot"

    def pack(self, weight: NDArray[np.int8], columns: int) -> bytes:
        """Pack as the plain NEON variant does: both read the same weights."""
        return pack_groups_of_four(weight)

    def packed_bytes(self, shape: GemmShape, columns: int) -> int:
        """Return one byte for each weight."""
        return shape.segments * shape.length * columns

    def bias_correction(self, weight: NDArray[np.int8]) -> NDArray[np.int64]:
        """Return zeros: sdot takes signed bytes as they are."""
        return np.zeros(len(weight), np.int64)

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit sdot by element: the pixel's four bytes are picked from a lane of its 16-byte load."""
        vectors = tile.columns // 4
        acc = kernel.local(tile.rows * vectors, "int32x4")
        for row in range(tile.rows):
            for v in range(vectors):
                kernel.store(acc, row * vectors + v, starts[row][v])

        def step(source_at: Expr, weight_at: Expr, groups: int) -> None:
            loaded_pixels = [
                kernel.bind(pixels.pointer.load(source_at + row * pixels.row_stride, STEP), "pixel")
                for row in range(tile.rows)
            ]
            for group in range(groups):
                for v in range(vectors):
                    weight = kernel.bind(weights.load(weight_at + (group * vectors + v) * 16, 16), "weight")
                    for row in range(tile.rows):
                        at = row * vectors + v
                        kernel.store(acc, at, sdot_lane(acc.load(at), weight, loaded_pixels[row], group))

        emit_steps(kernel, shape, pixels, weight_start, tile.columns, step)
        return [[acc.load(row * vectors + v) for v in range(vectors)] for row in range(tile.rows)]


def emit_steps(
    kernel: Kernel, shape: GemmShape, pixels: Operand, weight_start: Expr, columns: int, step: StepWriter
) -> None:
    """Walk over all segments in steps of 16 bytes; what is left of a segment is a shorter step, never a scalar loop."""
    whole, rest = divmod(shape.length, STEP)
    with kernel.loop(shape.segments, name="segment") as segment:
        source_at = pixels.start + segment * pixels.segment_stride
        weight_at = weight_start + segment * (shape.length * columns)
        if whole:
            with kernel.loop(whole if whole <= UNROLLED_STEPS else pixels.whole_steps, name="k") as k:
                step(source_at + k * STEP, weight_at + k * (STEP * columns), STEP // 4)
        if rest:
            step(source_at + whole * STEP, weight_at + whole * STEP * columns, rest // 4)


def sdot_lane(acc: Expr, weight: Expr, pixels: Expr, lane: int) -> Expr:
    """Return acc + dot(weight, lane of pixels); with the lane last LLVM selects the by-element form."""
    words = tir.reinterpret(pixels, "int32x4")
    repeated = tir.reinterpret(tir.shuffle([words], [lane] * 4), "int8x16")
    return tir.intrinsic("int32x4", "llvm.aarch64.neon.sdot.v4i32.v16i8", acc, weight, repeated)
