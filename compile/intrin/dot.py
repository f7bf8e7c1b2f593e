"""ARMv8.2 dot-product: sdot multiplies four bytes of a pixel with four bytes of each of four channels."""

from __future__ import annotations

from collections.abc import Sequence

from compile.intrin.arm import STEP, Arm, Chunk, StepsAhead, emit_steps_ahead, start_accumulators
from compile.intrin.base import GemmShape, GemmTile, InstructionSet, Operand
from compile.intrin.wide_neon import WideNeon
from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer
from compile.targets.tuning import SINGLE_LOADS, Tuning

MOST_USED = 30  # registers of a tile; the others are for the loads of its start values
SDOT = "llvm.aarch64.neon.sdot.v4i32.v16i8"


class Dot(Arm):
    """Cortex-A75 and later, Neoverse, Apple."""

    name = "dot"
    has_dot_product = True

    def for_wide_product(self) -> InstructionSet:
        """Multiply by smlal, which every 64-bit core has."""
        return WideNeon()

    def tuning(self, shape: GemmShape | None = None) -> Tuning:
        """Keep the loads of a product apart: between them its products are started."""
        tuning = super().tuning(shape)
        return tuning if shape is None else tuning.with_flags(SINGLE_LOADS)

    def accumulate(
        self, kernel: Kernel, tile: GemmTile, shape: GemmShape, pixels: Operand, weights: Pointer, weight_start: Expr,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:  # fmt: skip
        """Emit sdot by element: the pixel's four bytes are picked from a lane of its 16-byte load."""
        acc = start_accumulators(kernel, tile, starts)
        steps = _Steps(kernel, tile, pixels, weights, acc)
        emit_steps_ahead(kernel, shape, pixels, weight_start, tile.columns, steps)
        vectors = tile.columns // 4
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


class _Steps(StepsAhead):
    """Steps of a reduction that load what the next one begins with, for cores that wait for a load they need.

    The pixels and the first weights of a step stay in registers from the step before; a register is loaded again as
    soon as its last product is written.
    """

    def __init__(self, kernel: Kernel, tile: GemmTile, pixels: Operand, weights: Pointer, acc: Pointer) -> None:
        self.kernel, self.rows, self.vectors = kernel, tile.rows, tile.columns // 4
        self.pixels, self.weights, self.acc = pixels, weights, acc
        used = tile.rows * self.vectors + tile.rows
        self.ahead = 4 if used + 4 <= MOST_USED else 2  # weights; divides those of a step
        self.pixel = kernel.local(tile.rows, "int8x16")
        self.weight = kernel.local(self.ahead, "int8x16")

    def load_first(self, source: Expr, weight: Expr, groups: int) -> None:
        """Load the pixels and the first weights of a step."""
        for index in range(min(self.ahead, groups * self.vectors)):
            self._load_weight(index, weight)
        for row in range(self.rows):
            self._load_pixel(row, source)

    def emit(self, source: Expr, weight: Expr, groups: int, following: Chunk | None) -> None:
        """Emit a step: for each group [rows, 4] x [4, columns] -> [rows, columns], one sdot for each row and vector."""
        count = groups * self.vectors
        for index in range(count):
            group, v = divmod(index, self.vectors)
            for row in range(self.rows):
                place = row * self.vectors + v
                product = sdot_lane(
                    self.acc.load(place), self.weight.load(index % self.ahead), self.pixel.load(row), group
                )
                self.kernel.store(self.acc, place, product)
                if following and index == count - 1:
                    self._load_pixel(row, following[0])
            if index + self.ahead < count:
                self._load_weight(index + self.ahead, weight)
            elif following and index + self.ahead - count < following[2] * self.vectors:
                self._load_weight(index + self.ahead - count, following[1])

    def _load_weight(self, index: int, start: Expr) -> None:
        self.kernel.store(self.weight, index % self.ahead, self.weights.load(start + index * STEP, STEP))

    def _load_pixel(self, row: int, source: Expr) -> None:
        at = source + row * self.pixels.row_stride
        self.kernel.store(self.pixel, row, self.pixels.pointer.load(at, STEP))


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
