"""AVX2: vpmaddwd multiplies two int16 of a pixel with two of each channel; exact, unlike vpmaddubsw."""

from __future__ import annotations

from compile.intrin.base import InstructionSet
from compile.intrin.x86 import X86
from compile.ir import tir
from compile.ir.tir import Expr

PAIR = 2  # bytes of a pixel, and weights of a channel, one vpmaddwd takes


class Avx2(X86):
    """Haswell and Zen and later."""

    name = "avx2"
    lanes8 = 16
    registers = 16
    widest32 = 8
    float_lanes = 8
    float_step = 1
    group_bytes = PAIR
    instructions = 2
    words_per_copy = 8
    table_lanes = 32

    def for_wide_product(self) -> InstructionSet:
        """Multiply pairs as they are."""
        return WideAvx2()

    def convert(self, value: Expr) -> Expr:
        """Sign-extend to int16: a pair is one int32 that vpbroadcastd repeats."""
        return tir.cast(value, "int16")

    def extend(self, packed: Expr) -> Expr:
        """Sign-extend to int16."""
        return tir.cast(packed, "int16")

    def multiply_add(self, acc: Expr, pixel: Expr, weight: Expr) -> Expr:
        """Emit vpmaddwd and vpaddd."""
        return acc + self.multiply_pairs(pixel, tir.reinterpret(weight, tir.dtype_of(pixel)))


class WideAvx2(Avx2):
    """Products of int16 activations, which vpmaddwd takes as they are: 2 * 2**15 * 127 is far inside int32."""

    def convert(self, value: Expr) -> Expr:
        """Take a pair of int16 as it is."""
        return value
