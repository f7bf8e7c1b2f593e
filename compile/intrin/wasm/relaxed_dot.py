"""WebAssembly's relaxed SIMD, where an engine's dot product of bytes multiplies signed with unsigned ones exactly.

Activations are signed, so their top bit is flipped (x + 128) and 128 * sum(w) is taken off the bias. `RELAXED_DOT` of
`compile.targets.features` is the test of the engine: others run the plainer variant.
"""

from __future__ import annotations

from compile.intrin.base import GemmShape, GemmTile, InstructionSet
from compile.intrin.vnni import Vnni
from compile.intrin.wasm.rotated import LANES
from compile.intrin.wasm.simd128 import Simd128, WideSimd128
from compile.ir import tir
from compile.ir.tir import Expr

DOT = "llvm.wasm.relaxed.dot.i8x16.i7x16.add.signed"
LATENCY = 5  # cycles until a sum can be added to again; two products begin in each
AT_ONCE = 6  # instructions that begin in a cycle


class RelaxedDot(Simd128):
    """Chrome and Node on processors with AVX-VNNI, where the product is one vpdpbusd."""

    name = "relaxed"
    group_bytes = Vnni.group_bytes
    instructions = 1
    words_per_copy = 8
    turns_together = 2  # one behind the other, products of a sum wait for the one before
    most_rows = 11  # as many sums, the weights of two turns, a pixel in both: 15
    convert = Vnni.convert
    extend = Vnni.extend
    bias_correction = Vnni.bias_correction

    def cost(self, tile: GemmTile, pixels: int, channels: int, shape: GemmShape) -> float:
        """Return the estimated cycles for all pixels."""
        vectors = tile.columns // LANES
        products = tile.rows * vectors  # of a turn
        turns = shape.segments * shape.length / self.group_bytes
        turn = max(products / 2, LATENCY, (products + tile.rows + vectors + 5) / AT_ONCE)
        copied = tile.rows * shape.segments * shape.length / 16
        panels = -(-channels // tile.columns)
        return -(-pixels // tile.rows) * (panels * (turns * turn + products * 2 + 4) + 2 * copied)

    def for_wide_product(self) -> InstructionSet:
        """Multiply pairs as they are."""
        return WideSimd128()

    def multiply_add(self, acc: Expr, pixel: Expr, weight: Expr) -> Expr:
        """Use i32x4.relaxed_dot_i8x16_i7x16_add_s, whose second operand is the unsigned one."""
        return tir.intrinsic("int32x4", DOT, weight, tir.reinterpret(pixel, "int8x16"), acc)
