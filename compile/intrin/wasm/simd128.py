"""WebAssembly's 128-bit SIMD: i32x4.dot_i16x8_s multiplies two int16 of a pixel with two of each channel, exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compile.intrin.arm import ROUNDING
from compile.intrin.base import InstructionSet
from compile.intrin.repeated import WidePairs
from compile.intrin.wasm.rotated import Rotated
from compile.ir import tir
from compile.ir.tir import Expr, Kernel, Pointer

ROUNDING_BITS = 0x4B400000  # of the float32 `ROUNDING`
HALF = 8  # bytes of half a register
TABLE_ENTRIES = 16  # that i8x16.swizzle chooses from; an index beyond them gives 0


class Simd128(Rotated):
    """Browsers since 2021 (Safari 2023) and Node 16: every engine computes the same bits."""

    name = "simd128"
    lanes8 = 16
    registers = 16  # of x86-64, where engines keep them; arm64 has 32
    widest32 = 4
    float_lanes = 4
    float_step = 1
    narrowed_lanes = 16
    depthwise_lanes = 8
    has_table_lookup = True

    # -- numerics ------------------------------------------------------------------------------------------------
    def requantize(
        self, acc: Sequence[Expr], multiplier: Sequence[Expr], zero_point: Expr, low: int, high: int,
        fits_int16: bool = False, from_lowest: bool = False,
    ) -> Expr:  # fmt: skip
        """Round a product that fits int16 by adding a number whose neighbours are one apart.

        Its bits are subtracted again, less the zero point. That takes f32x4.add and i32x4.sub, where engines make nine
        instructions of f32x4.nearest and i32x4.trunc_sat_f32x4_s.
        """
        if not fits_int16:
            return super().requantize(acc, multiplier, zero_point, low, high)
        bits, sums = tir.cast(ROUNDING_BITS - zero_point, "int32"), []
        for a, m in zip(acc, multiplier, strict=True):
            product = tir.reinterpret(tir.cast(a, "float32") * m, tir.dtype_of(a))  # rounded: never part of a sum
            rounded = tir.reinterpret(product, tir.dtype_of(m)) + tir.splat(ROUNDING, tir.dtype_of(m))
            sums.append(tir.reinterpret(rounded, tir.dtype_of(a)) - tir.splat(bits, tir.dtype_of(a)))
        return self.clamp_int8(self.narrow_to_int8(self.narrow_to_int16(tir.concat(sums))), low, high)

    def narrow_to_int16(self, value: Expr) -> Expr:
        """Use i16x8.narrow_i32x4_s, which takes two registers."""
        return _narrow(value, "int16", "llvm.wasm.narrow.signed.v8i16.v4i32", 4)

    def narrow_to_int8(self, value: Expr) -> Expr:
        """Use i8x16.narrow_i16x8_s, which takes two registers."""
        return _narrow(value, "int8", "llvm.wasm.narrow.signed.v16i8.v8i16", 8)

    def multiply_q15(self, value: Expr, factor: Expr) -> Expr:
        """Use i16x8.q15mulr_sat_s, which saturates only for -32768 * -32768; factors are never negative."""
        return whole_registers(
            8, lambda v, f: tir.intrinsic("int16x8", "llvm.wasm.q15mulr.sat.signed", v, f), value, factor
        )

    def pieces(self, value: Expr, lanes: int) -> list[Expr]:
        """Cut halves of a register so that v128.store64_lane takes them from where they are."""
        if lanes != HALF or tir.split_dtype(tir.dtype_of(value))[1] != 2 * HALF:
            return super().pieces(value, lanes)
        whole = tir.reinterpret(value, "int64x2")
        return [tir.reinterpret(tir.shuffle([whole], [half]), f"int8x{HALF}") for half in range(2)]

    def shift_and_narrow(self, value: Expr, bits: int) -> Expr:
        """Multiply by 2**(15 - bits): q15mulr then is the rounding shift."""
        return self.narrow_to_int8(self.multiply_q15(value, tir.splat(1 << (15 - bits), tir.dtype_of(value))))

    def multiply_pairs(self, left: Expr, right: Expr) -> Expr:
        """Use i32x4.dot_i16x8_s."""
        width = tir.split_dtype(tir.dtype_of(left))[1]
        pairs = [tir.reinterpret(value, f"int16x{2 * width}") for value in (left, right)]
        return tir.by_pieces(lambda a, b: tir.intrinsic("int32x4", "llvm.wasm.dot", a, b), 8, *pairs)

    def table_lookup(self, kernel: Kernel, table: Pointer, index: Expr) -> Expr:
        """Use i8x16.swizzle 16 times, once for each 16 entries: it returns 0 for an index that is not below 16.

        Step s looks up i - 16 * s, which wraps around where i is smaller, so one step alone returns an entry.
        """
        found, rest = None, tir.reinterpret(index, "int8x16")
        sixteen = tir.splat(TABLE_ENTRIES, "int8x16")
        for step in range(256 // TABLE_ENTRIES):
            entries = kernel.bind(table.load(step * TABLE_ENTRIES, TABLE_ENTRIES), "entries")
            picked = tir.intrinsic("int8x16", "llvm.wasm.swizzle", entries, rest)
            found = kernel.bind(picked if found is None else tir.bitwise_or(found, picked), "found")
            rest = kernel.bind(rest - sixteen, "index")
        return found

    # -- matrix product ------------------------------------------------------------------------------------------
    def for_wide_product(self) -> InstructionSet:
        """Multiply pairs as they are."""
        return WideSimd128()


class WideSimd128(WidePairs, Simd128):
    """Products of int16 activations, which i32x4.dot_i16x8_s takes as they are."""


def whole_registers(lanes: int, apply: Callable[..., Expr], *values: Expr) -> Expr:
    """Return what `apply` makes of pieces of `lanes` lanes; shorter vectors are repeated to a piece first."""
    own = tir.split_dtype(tir.dtype_of(values[0]))[1]
    if own < lanes:
        repeated = [tir.concat([value] * (lanes // own)) for value in values]
        return tir.shuffle([tir.by_pieces(apply, lanes, *repeated)], range(own))
    return tir.by_pieces(apply, lanes, *values)


def _narrow(value: Expr, element: str, name: str, half: int) -> Expr:
    """Return a vector limited to a narrower type; an instruction takes two pieces of `half` lanes."""
    lanes = tir.split_dtype(tir.dtype_of(value))[1]
    if lanes < 2 * half:
        doubled = _narrow(tir.concat([value] * (2 * half // lanes)), element, name, half)
        return tir.shuffle([doubled], range(lanes))
    pieces = tir.split(value, half)
    pairs = zip(pieces[::2], pieces[1::2], strict=True)
    return tir.concat([tir.intrinsic(f"{element}x{2 * half}", name, low, high) for low, high in pairs])
