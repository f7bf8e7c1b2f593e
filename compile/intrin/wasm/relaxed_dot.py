"""WebAssembly's relaxed SIMD, where an engine's dot product of bytes multiplies signed with unsigned ones exactly.

Activations are signed, so their top bit is flipped (x + 128) and 128 * sum(w) is taken off the bias. `RELAXED_DOT` of
`compile.targets.features` is the test of the engine: others run the plainer variant.
"""

from __future__ import annotations

from collections.abc import Sequence

from compile.intrin.base import GemmShape, GemmTile, InstructionSet
from compile.intrin.vnni import SIGN, Vnni
from compile.intrin.wasm.rotated import LANES
from compile.intrin.wasm.simd128 import Simd128, WideSimd128, whole_registers
from compile.intrin.wasm.sliding import Sliding
from compile.ir import tir
from compile.ir.tir import Expr

Q15 = "llvm.wasm.relaxed.q15mulr.signed"
DOT = "llvm.wasm.relaxed.dot.i8x16.i7x16.add.signed"
LATENCY = 5  # cycles until a sum can be added to again; two products begin in each
AT_ONCE = 6  # instructions that begin in a cycle
BESIDE = 9  # instructions of a step that are neither loads nor products; about so many cycles before the first step
FINISHED = 1.5  # cycles that the requantization of a vector of sums takes


class RelaxedDot(Sliding, Simd128):
    """Chrome and Node on processors with AVX-VNNI, where the product is one vpdpbusd."""

    name = "relaxed"
    group_bytes = Vnni.group_bytes
    has_dot_product = True
    dot_always_pays = True
    instructions = 1
    words_per_copy = 4
    most_rows = 13  # as many sums, weights, a pixel: 15
    convert = Vnni.convert
    extend = Vnni.extend
    bias_correction = Vnni.bias_correction

    def cost(self, tile: GemmTile, pixels: int, channels: int, shape: GemmShape) -> float:
        """Return the estimated cycles for all pixels."""
        steps = shape.segments * shape.length / self.group_bytes
        full, rest = divmod(-(-channels // LANES) * LANES, tile.columns)
        total = 2 * tile.rows * shape.segments * shape.length / 16  # copied
        for columns, count in ((tile.columns, full), (rest, 1 if rest else 0)):
            vectors = columns // LANES
            products, loads = tile.rows * vectors, tile.rows + vectors
            step = max(products / 2, LATENCY, loads / 2, (products + loads + BESIDE) / AT_ONCE)
            total += count * (steps * step + products * FINISHED + BESIDE)
        return -(-pixels // tile.rows) * total

    def multiply_q15(self, value: Expr, factor: Expr) -> Expr:
        """Use i16x8.relaxed_q15mulr_s, of which engines differ for -32768 * -32768 alone; no factor is negative."""
        return whole_registers(8, lambda v, f: tir.intrinsic("int16x8", Q15, v, f), value, factor)

    def dot_product(self, acc: Expr, left: Expr, right: Expr) -> Expr:
        """Multiply weights with what `dot_operand` made of activations."""
        return self.multiply_add(acc, right, left)

    def dot_operand(self, value: Expr) -> Expr:
        """Flip the top bit."""
        return tir.bitwise_xor(value, tir.splat(SIGN, tir.dtype_of(value)))

    def dot_start(self, start: Expr, weights: Sequence[Expr]) -> Expr:
        """Take off 128 * sum(w), which is their product with bytes of 128."""
        bytes_of_128, sums = tir.splat(SIGN, "int8x16"), []
        for quads in zip(*(tir.split(vector, 16) for vector in weights), strict=True):
            total = tir.splat(0, f"int32x{LANES}")
            for quad in quads:
                total = self.multiply_add(total, bytes_of_128, quad)
            sums.append(total)
        return start - tir.concat(sums)

    def for_wide_product(self) -> InstructionSet:
        """Multiply pairs as they are."""
        return WideSimd128()

    def multiply_add(self, acc: Expr, pixel: Expr, weight: Expr) -> Expr:
        """Use i32x4.relaxed_dot_i8x16_i7x16_add_s, whose second operand is the unsigned one."""
        return tir.intrinsic("int32x4", DOT, weight, tir.reinterpret(pixel, "int8x16"), acc)
