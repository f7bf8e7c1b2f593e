"""What follows an accumulator where int16 is written, or is among what is added."""

from __future__ import annotations

from collections.abc import Sequence

from calib.integer.qparams import INT16_MAX, INT16_MIN, WIDE_ADD_SHIFT
from calib.integer.values import Requantize, RequantizeWideAdd
from compile.intrin import InstructionSet
from compile.ir import tir
from compile.ir.tir import Expr


def requantize_wide(
    isa: InstructionSet, acc: Sequence[Expr], multiplier: Sequence[Expr], epilogue: Requantize, element: str
) -> Expr:
    """Return one vector: clamp(rint(float32(acc) * m) + z, low, high), see `calib.integer.qparams.requantize`.

    Args:
        isa: the instruction set.
        acc: int32 vectors.
        multiplier: float32 vectors of the same widths.
        epilogue: its bounds and zero point.
        element: of the result.
    """
    scaled = [isa.round_to_int32(tir.cast(a, "float32") * m) for a, m in zip(acc, multiplier, strict=True)]
    return narrowed(isa, scaled, epilogue.zero_point, (epilogue.low, epilogue.high), element)


def add_wide(
    isa: InstructionSet,
    acc: Sequence[Expr],
    multiplier: Sequence[Expr],
    other: Expr,
    epilogue: RequantizeWideAdd,
    element: str,
) -> Expr:
    """Return one vector: the epilogue with a residual, see `calib.integer.qparams.requantize_wide_add`.

    Args:
        isa: the instruction set.
        acc: int32 vectors.
        multiplier: float32 vectors of the same widths, already times 16.
        other: the residual, as many lanes as `acc` has together.
        epilogue: zero points, the residual's factor, bounds.
        element: of the result.
    """
    width = tir.split_dtype(tir.dtype_of(acc[0]))[1]
    zero = epilogue.residual.qparams.zero_point
    pieces = tir.split(other, width)
    centred = [tir.cast(piece, "int32") - tir.splat(zero, f"int32x{width}") for piece in pieces]
    factors = [tir.splat(epilogue.residual_factor, f"float32x{width}")] * len(pieces)
    total = sum_wide(isa, (acc, centred), (multiplier, factors))
    return narrowed(isa, total, epilogue.zero_point, (epilogue.low, epilogue.high), element)


def sum_wide(
    isa: InstructionSet,
    terms: tuple[Sequence[Expr], Sequence[Expr]],
    factors: tuple[Sequence[Expr], Sequence[Expr]],
) -> list[Expr]:
    """Return (rint(a * A) + rint(b * B) + 8) >> 4 for each pair of int32 vectors and their float32 factors."""
    sums = []
    for a, b, first, second in zip(*terms, *factors, strict=True):
        total = isa.round_to_int32(tir.cast(a, "float32") * first) + isa.round_to_int32(tir.cast(b, "float32") * second)
        half = tir.splat(1 << (WIDE_ADD_SHIFT - 1), tir.dtype_of(total))
        sums.append(tir.shift_right(total + half, WIDE_ADD_SHIFT))
    return sums


def narrowed(
    isa: InstructionSet, values: Sequence[Expr], zero_point: int, bounds: tuple[int, int], element: str
) -> Expr:
    """Return int32 vectors as one of int8 or int16, the zero point added, within bounds."""
    wide = tir.concat([isa.narrow_to_int16(value) for value in values])
    dtype, (low, high) = tir.dtype_of(wide), bounds
    if element == "int8":
        wide = isa.add_saturating(wide, tir.splat(zero_point, dtype))
        return isa.clamp_int8(isa.narrow_to_int8(wide), low, high)
    if low > INT16_MIN:
        wide = tir.maximum(wide, tir.splat(low, dtype))
    if high < INT16_MAX:
        wide = tir.minimum(wide, tir.splat(high, dtype))
    return wide
