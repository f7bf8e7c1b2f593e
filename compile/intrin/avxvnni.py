"""AVX-VNNI: the products of AVX-512 VNNI in 256 bits and sixteen registers, everything else as AVX2 does it."""

from __future__ import annotations

from compile.intrin.avx2 import Avx2
from compile.intrin.base import InstructionSet
from compile.intrin.vnni import Vnni, WideVnni


class AvxVnni(Vnni):
    """Alder Lake, Arrow Lake, the N-series, Zen 5 and later."""

    name = "avxvnni"
    lanes8 = Avx2.lanes8
    registers = Avx2.registers
    widest32 = Avx2.widest32
    float_lanes = Avx2.float_lanes
    words_per_copy = Avx2.lanes8 // Vnni.group_bytes
    table_lanes = Avx2.table_lanes

    def for_wide_product(self) -> InstructionSet:
        """Multiply pairs by vpdpwssd."""
        return WideAvxVnni()


class WideAvxVnni(WideVnni):
    """Products of int16 activations by vpdpwssd, in 256 bits."""

    name = "avxvnni"
    lanes8 = Avx2.lanes8
    registers = Avx2.registers
    widest32 = Avx2.widest32
    float_lanes = Avx2.float_lanes
    words_per_copy = Avx2.lanes8 // WideVnni.group_bytes
    table_lanes = Avx2.table_lanes
