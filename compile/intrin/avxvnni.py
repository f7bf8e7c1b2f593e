"""AVX-VNNI: the products of AVX-512 VNNI in 256 bits and sixteen registers, everything else as AVX2 does it."""

from __future__ import annotations

from compile.intrin.avx2 import Avx2
from compile.intrin.base import InstructionSet
from compile.intrin.vnni import Vnni, WideVnni


class _Sizes:
    """The registers of AVX2."""

    name = "avxvnni"
    lanes8 = Avx2.lanes8
    registers = Avx2.registers
    product_lanes16: int | None = Avx2.product_lanes16
    widest32 = Avx2.widest32
    float_lanes = Avx2.float_lanes
    table_lanes = Avx2.table_lanes


class AvxVnni(_Sizes, Vnni):
    """Alder Lake, Arrow Lake, the N-series, Zen 5 and later."""

    words_per_copy = Avx2.lanes8 // Vnni.group_bytes

    def for_wide_product(self) -> InstructionSet:
        """Multiply pairs by vpdpwssd."""
        return WideAvxVnni()


class WideAvxVnni(_Sizes, WideVnni):
    """Products of int16 activations by vpdpwssd, in 256 bits."""

    words_per_copy = Avx2.lanes8 // WideVnni.group_bytes
