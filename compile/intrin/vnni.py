"""AVX-512 VNNI: vpdpbusd multiplies four unsigned bytes of a pixel with four signed bytes of each channel, exactly.

Activations are signed, so their top bit is flipped (x + 128) and 128 * sum(w) is taken off the bias.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compile.intrin.base import InstructionSet
from compile.intrin.x86 import X86
from compile.ir import tir
from compile.ir.tir import Expr

GROUP = 4  # bytes of a pixel one vpdpbusd takes
SIGN = -128  # flips the top bit of a byte
PAIR = 2  # int16 of a pixel one vpdpwssd takes
PAIR_DOT = {width: f"llvm.x86.avx512.vpdpwssd.{32 * width}" for width in (4, 8, 16)}
DOT = {4: "llvm.x86.avx512.vpdpbusd.128", 8: "llvm.x86.avx512.vpdpbusd.256", 16: "llvm.x86.avx512.vpdpbusd.512"}


class Vnni(X86):
    """Cascade Lake, Ice Lake, Zen 4 and later."""

    name = "vnni"
    lanes8 = 32
    registers = 32
    product_lanes16: int | None = 32
    widest32 = 16
    float_lanes = 16
    float_step = 1
    group_bytes = GROUP
    instructions = 1
    words_per_copy = 8
    table_lanes = 64

    def for_wide_product(self) -> InstructionSet:
        """Multiply pairs by vpdpwssd."""
        return WideVnni()

    def convert(self, value: Expr) -> Expr:
        """Flip the top bit."""
        return tir.bitwise_xor(value, tir.splat(SIGN, tir.dtype_of(value)))

    def bias_correction(self, weight: NDArray[np.int8]) -> NDArray[np.int64]:
        """Return -128 * sum(w) of each channel."""
        return SIGN * weight.reshape(len(weight), -1).astype(np.int64).sum(axis=1)

    def extend(self, packed: Expr) -> Expr:
        """Take the bytes as they are."""
        return packed

    def multiply_add(self, acc: Expr, pixel: Expr, weight: Expr) -> Expr:
        """Emit vpdpbusd."""
        width = tir.split_dtype(tir.dtype_of(acc))[1]
        groups = tir.reinterpret(pixel, f"int8x{GROUP * width}")
        return tir.intrinsic(f"int32x{width}", DOT[width], acc, groups, weight)


class WideVnni(Vnni):
    """Products of int16 activations: vpdpwssd multiplies two of them with two int16 of each channel, exactly."""

    group_bytes = PAIR
    instructions = 2  # the weights are widened, too
    words_per_copy = 16

    def convert(self, value: Expr) -> Expr:
        """Take a pair of int16 as it is."""
        return value

    def bias_correction(self, weight: NDArray[np.int8]) -> NDArray[np.int64]:
        """Return zeros: int16 is read as it is."""
        return np.zeros(len(weight), np.int64)

    def extend(self, packed: Expr) -> Expr:
        """Sign-extend to int16."""
        return tir.cast(packed, "int16")

    def multiply_add(self, acc: Expr, pixel: Expr, weight: Expr) -> Expr:
        """Emit vpdpwssd."""
        width = tir.split_dtype(tir.dtype_of(acc))[1]
        pairs = tir.reinterpret(pixel, f"int16x{PAIR * width}")
        return tir.intrinsic(f"int32x{width}", PAIR_DOT[width], acc, pairs, weight)
