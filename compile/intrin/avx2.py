"""AVX2: vpmaddwd multiplies two int16 of a pixel with two of each channel; exact, unlike vpmaddubsw."""

from __future__ import annotations

from compile.intrin.base import InstructionSet
from compile.intrin.repeated import Pairs, WidePairs
from compile.intrin.x86 import X86


class Avx2(Pairs, X86):
    """Haswell and Zen and later."""

    name = "avx2"
    lanes8 = 16
    registers = 16
    widest32 = 8
    float_lanes = 8
    float_step = 1
    table_lanes = 32

    def for_wide_product(self) -> InstructionSet:
        """Multiply pairs as they are."""
        return WideAvx2()


class WideAvx2(WidePairs, Avx2):
    """Products of int16 activations, which vpmaddwd takes as they are."""
