"""What the x86-64 variants share: clamps and packs that LLVM selects, pmulhrsw, a lookup by vpshufb."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compile.intrin.repeated import Repeated
from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer

MULTIPLY_ADD_PAIRS = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd"}
TABLE_ENTRIES = 16  # vpshufb takes the entry that the low four bits of a byte name; none for a negative byte
LOOK_UP = {16: "llvm.x86.ssse3.pshuf.b.128", 32: "llvm.x86.avx2.pshuf.b", 64: "llvm.x86.avx512.pshuf.b.512"}
MULTIPLY_HIGH_ROUNDED = {
    8: "llvm.x86.ssse3.pmul.hr.sw.128",
    16: "llvm.x86.avx2.pmul.hr.sw",
    32: "llvm.x86.avx512.pmul.hr.sw.512",
}


class X86(Repeated):
    """The shared part."""

    has_table_lookup = True

    def narrow_to_int16(self, value: Expr) -> Expr:
        """Clamp and truncate: LLVM selects vpackssdw or vpmovsdw."""
        return _narrow(value, "int16", 1 << 15)

    def narrow_to_int8(self, value: Expr) -> Expr:
        """Clamp and truncate: LLVM selects vpacksswb or vpmovswb."""
        return _narrow(value, "int8", 1 << 7)

    def multiply_q15(self, value: Expr, factor: Expr) -> Expr:
        """Use pmulhrsw; half a register is widened with itself first."""
        lanes = tir.split_dtype(tir.dtype_of(value))[1]
        if lanes == 4:
            doubled = self.multiply_q15(tir.concat([value, value]), tir.concat([factor, factor]))
            return tir.shuffle([doubled], range(4))
        return tir.intrinsic(f"int16x{lanes}", MULTIPLY_HIGH_ROUNDED[lanes], value, factor)

    def shift_and_narrow(self, value: Expr, bits: int) -> Expr:
        """Multiply by 2**(15 - bits): pmulhrsw then is the rounding shift."""
        factor = tir.splat(1 << (15 - bits), tir.dtype_of(value))
        return self.narrow_to_int8(self.multiply_q15(value, factor))

    def multiply_pairs(self, left: Expr, right: Expr) -> Expr:
        """Use vpmaddwd."""
        width = tir.split_dtype(tir.dtype_of(left))[1]
        pairs = [tir.reinterpret(value, f"int16x{2 * width}") for value in (left, right)]
        return tir.intrinsic(f"int32x{width}", MULTIPLY_ADD_PAIRS[width], *pairs)

    def pack_table(self, table: NDArray[np.int8]) -> bytes:
        """Return each 16 entries as their exclusive or with the 16 before; each half of 128 begins without one."""
        halves = table.view(np.uint8).reshape(2, -1, TABLE_ENTRIES)
        before = np.concatenate([np.zeros_like(halves[:, :1]), halves[:, :-1]], axis=1)
        return (halves ^ before).tobytes()

    def table_lookup(self, kernel: Kernel, table: Pointer, index: Expr) -> Expr:
        """Use vpshufb 16 times, once for each 16 entries: it returns 0 for an index whose top bit is set.

        For index i in [0, 128), step s looks up i - 16 * s. A step with i < 16 * s has a negative index and returns 0;
        one with i >= 16 * (s + 1) returns an entry that the next steps have to cancel. `pack_table` therefore stores
        each 16 entries as the exclusive or with the 16 before, and the exclusive or of all steps is table[i]. For
        i in [128, 256) the top bit is flipped first. The subtraction saturates, so that a negative index stays negative
        and the steps of the other half return 0 throughout.
        """
        lanes = tir.split_dtype(tir.dtype_of(index))[1]
        dtype = f"int8x{lanes}"
        found, lower = None, tir.reinterpret(index, dtype)
        for half, rest in enumerate((lower, tir.bitwise_xor(lower, tir.splat(-128, dtype)))):
            rest = kernel.bind(rest, "index")
            for step in range(128 // TABLE_ENTRIES):
                entries = table.load((half * 128 // TABLE_ENTRIES + step) * TABLE_ENTRIES, TABLE_ENTRIES)
                repeated = tir.concat([kernel.bind(entries, "entries")] * (lanes // TABLE_ENTRIES))
                picked = tir.intrinsic(dtype, LOOK_UP[lanes], repeated, rest)
                found = kernel.bind(picked if found is None else tir.bitwise_xor(found, picked), "found")
                sixteen = tir.splat(TABLE_ENTRIES, dtype)
                rest = kernel.bind(tir.intrinsic(dtype, f"llvm.ssub.sat.v{lanes}i8", rest, sixteen), "index")
        return found


def _narrow(value: Expr, element: str, limit: int) -> Expr:
    dtype = tir.dtype_of(value)
    clamped = tir.minimum(tir.maximum(value, tir.splat(-limit, dtype)), tir.splat(limit - 1, dtype))
    return tir.cast(clamped, element)
